//! A reader gives the records that were written, from any position on, while others are written and after a start.

use super::{Kept, add, open, replay};
use crate::faulty::FaultyDisk;
use crate::log::segment_name;
use crate::{Error, Reader, Tail};
use std::ops::ControlFlow;

/// So many records from a position on.
fn read(reader: &mut Reader, from: u64, count: usize) -> Result<Vec<Kept>, Error> {
    let mut records = Vec::new();
    reader.read(from, &mut |record| {
        records.push((record.head, record.changes.to_vec()));
        if records.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(records)
}

#[test]
fn records_are_read_from_any_position_on() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = FaultyDisk::new(seed);
        if seed % 2 == 0 {
            disk.short_reads();
        }
        let segment_bytes = [1024, 4096, 1024 * 1024][seed as usize % 3];
        let mut log = open(&disk, segment_bytes);
        replay(&mut log).unwrap();
        let (mut reader, mut tail, mut written) = (log.reader(), Tail::default(), Vec::new());
        for _ in 0..60 {
            for _ in 0..rng.usize(1..20) {
                let len = match rng.u8(..20) {
                    // Over several segments.
                    0 => rng.usize(..6000),
                    // Over several places that are kept.
                    1 if segment_bytes > 4096 => rng.usize(..100_000),
                    _ => rng.usize(..200),
                };
                let position = written.len() as u64 + 1;
                written.push(add(&mut tail, position, &vec![rng.u8(..); len]));
            }
            log.write(&mut tail).unwrap();
            for _ in 0..5 {
                let (from, count) = (rng.usize(..written.len()), rng.usize(1..30));
                let expected = &written[from..written.len().min(from + count)];
                assert_eq!(read(&mut reader, from as u64 + 1, count).unwrap(), expected, "seed {seed}");
            }
        }
        assert_eq!(read(&mut reader, written.len() as u64 + 1, 1).unwrap(), []);
        let mut again = open(&disk, segment_bytes);
        replay(&mut again).unwrap();
        assert_eq!(read(&mut again.reader(), 1, usize::MAX).unwrap(), written, "seed {seed}");
        assert_eq!(read(&mut again.reader(), 0, usize::MAX).unwrap(), [], "there is no position 0");
    }
}

#[test]
fn a_turn_is_blocks_that_can_be_read_by_themselves() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk, 8 * 1024 * 1024);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    let written: Vec<Kept> = (1..=4000).map(|position| add(&mut tail, position, &[7; 1000])).collect();
    log.write(&mut tail).unwrap();
    let mut reader = log.reader();
    assert_eq!(read(&mut reader, 3000, 1).unwrap(), written[2999..3000]);
    assert!(reader.block_bytes_max() <= 128 * 1024 + 48, "{} bytes were read", reader.block_bytes_max());
    assert_eq!(read(&mut reader, 1, usize::MAX).unwrap(), written);
}

#[test]
fn damage_that_is_read_is_named() {
    let disk = FaultyDisk::new(1);
    super::small_log(&disk);
    let mut log = open(&disk, 4096);
    replay(&mut log).unwrap();
    let mut reader = log.reader();
    let mut bytes = disk.content(&segment_name(1)).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    disk.put(&segment_name(1), &bytes);
    assert_eq!(read(&mut reader, 1, 3).unwrap().len(), 3);
    let error = read(&mut reader, 6, 1).unwrap_err().to_string();
    assert!(error.contains("is damaged at byte") && error.contains("checksum"), "{error}");
    // A head that says too much.
    let at = bytes.windows(4).rposition(|window| window == b"LVBK").unwrap();
    bytes[at + 4..at + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    disk.put(&segment_name(1), &bytes);
    assert_eq!(read(&mut log.reader(), 4, 1).unwrap(), []);
}
