//! A disk that was full in the middle of a block: what is half there is written over, and never left behind.

use super::{add, open, replay};
use crate::Tail;
use crate::faulty::FaultyDisk;

/// The rest of a block that did not fit would look like damage in front of what had been synced.
#[test]
fn a_prepared_segment_waits_until_a_broken_block_is_whole() {
    let mut refusals = 0;
    for room in 0..400 {
        let disk = FaultyDisk::new(room);
        let mut log = open(&disk, 4096);
        replay(&mut log).unwrap();
        let (mut tail, mut all) = (Tail::default(), Vec::new());
        for position in 1..=4 {
            all.push(add(&mut tail, position, &[position as u8; 300]));
            log.write(&mut tail).unwrap();
        }
        log.syncer().sync().unwrap();
        all.push(add(&mut tail, 5, &[5; 300]));
        disk.full_after(room);
        refusals += usize::from(log.write(&mut tail).is_err());
        disk.free_space();
        // There is space again, and a segment that does not grow.
        assert!(log.preparer().run(&mut || {}).unwrap());
        for position in 6..=8 {
            log.write(&mut tail).unwrap();
            log.syncer().sync().unwrap();
            all.push(add(&mut tail, position, &[position as u8; 300]));
        }
        log.write(&mut tail).unwrap();
        log.syncer().sync().unwrap();
        let (summary, records) = replay(&mut open(&disk.crash(), 4096)).unwrap();
        assert_eq!((records, summary.cut), (all, None), "room {room}");
    }
    assert!(refusals > 300, "{refusals}");
}
