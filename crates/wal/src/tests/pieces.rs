//! Whoever reads on is given pieces before they are needed, and never anything but what was written.

use super::reader::{message, read as read_one};
use super::{add, replay};
use crate::faulty::FaultyDisk;
use crate::{Disk, Log, Options, Storage, Tail};
use leveret_base::codec::Place;
use std::sync::Arc;

const SEGMENT_BYTES: u64 = 3 * 1024 * 1024;

/// Reads while others write, mostly on, sometimes from somewhere else, and over places that are written only later; then all
/// of it again. Gives how many messages of a hundred had been read before they were needed then.
fn read_on(storage: Arc<dyn Storage>, seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut log = Log::open(storage, Options { segment_bytes: SEGMENT_BYTES }).unwrap();
    replay(&mut log).unwrap();
    let (mut reader, mut tail, mut written) = (log.reader(), Tail::default(), Vec::new());
    let mut next = 0;
    while written.len() < 6000 || next < written.len() {
        if written.len() < 6000 {
            for _ in 0..rng.usize(1..300) {
                // Now and then one that no piece has as a whole.
                let len = if rng.u16(..800) == 0 { rng.usize(..5_000_000) } else { rng.usize(..8000) };
                written.push(add(&mut tail, written.len() as u64 + 1, &message(len, rng.u8(..))));
            }
            log.write(&mut tail).unwrap();
        }
        for _ in 0..rng.usize(..300) {
            if rng.u16(..500) == 0 {
                next = rng.usize(..written.len());
            }
            let Some((head, changes)) = written.get(next) else { break };
            assert_eq!(read_one(&mut reader, head.position).unwrap().as_ref(), Some(changes), "seed {seed}");
            next += 1;
        }
    }
    let (mut reader, mut ahead) = (log.reader(), 0);
    for (head, changes) in &written {
        assert_eq!(read_one(&mut reader, head.position).unwrap().as_ref(), Some(changes), "seed {seed}");
        ahead += usize::from(reader.was_ahead());
    }
    ahead * 100 / written.len()
}

#[test]
fn what_is_read_on_is_there_before_it_is_needed() {
    for seed in 0..6 {
        let disk = FaultyDisk::new(seed);
        if seed % 2 == 0 {
            disk.short_reads();
        }
        let ahead = read_on(Arc::new(disk), seed);
        assert!(seed % 2 == 0 || ahead > 50, "seed {seed}: {ahead} %");
    }
}

#[test]
fn what_is_read_on_from_a_real_disk_is_there_before_it_is_needed() {
    let path = std::env::temp_dir().join(format!("leveret-wal-pieces-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    let ahead = read_on(Arc::new(Disk::open(&path).unwrap()), 7);
    assert!(ahead > 50, "{ahead} %");
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn a_commit_longer_than_a_segment_is_not_read_again_for_each_of_its_messages() {
    let disk = FaultyDisk::new(1);
    let mut log = Log::open(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024 }).unwrap();
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    let (long, short) = (vec![7; 300_000], message(100, 1));
    add(&mut tail, 1, &long);
    add(&mut tail, 2, &short);
    log.write(&mut tail).unwrap();
    let (mut reader, before) = (log.reader(), disk.bytes_read());
    for offset in (0..300_000).step_by(1000) {
        let read = reader.read(Place { position: 1, offset }).unwrap().unwrap();
        assert_eq!(read.len(), 300_000 - offset as usize);
        if offset % 5000 == 0 {
            assert_eq!(read_one(&mut reader, 2).unwrap().as_ref(), Some(&short), "others are read meanwhile");
        }
    }
    assert!(disk.bytes_read() - before < 3 * 300_000, "{} bytes", disk.bytes_read() - before);
}
