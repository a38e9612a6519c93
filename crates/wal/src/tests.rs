//! The log's promises: what was synced comes back, whole and in order; damage is seen; the format stays.

use crate::faulty::{Fault, FaultyDisk};
use crate::log::segment_name;
use crate::*;
use std::sync::Arc;

fn head(position: u64) -> Head {
    Head { kind: 1, partition: 0, term: 0, position, time_ms: 1_700_000_000_000 + position }
}

fn changes_of(position: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (position as usize * 31 + i) as u8).collect()
}

fn push(tail: &mut Tail, position: u64, len: usize) {
    tail.begin();
    tail.changes().extend_from_slice(&changes_of(position, len));
    tail.commit(head(position));
}

fn open(disk: &FaultyDisk, segment_bytes: u64) -> Result<(Log, Summary, Vec<(Head, Vec<u8>)>), Error> {
    let mut log = Log::open(Arc::new(disk.clone()), Options { segment_bytes })?;
    let mut records = Vec::new();
    let summary = log.replay(&mut |record| {
        records.push((record.head, record.changes.to_vec()));
        Ok(())
    })?;
    Ok((log, summary, records))
}

/// Lengths by position; a few are longer than a segment of 4 KiB.
fn len_of(position: u64) -> usize {
    match position % 23 {
        0 => 9_000,
        n if n % 5 == 0 => 700,
        n => n as usize * 3,
    }
}

fn check(records: &[(Head, Vec<u8>)], len: impl Fn(u64) -> usize) {
    for (i, (found, changes)) in records.iter().enumerate() {
        let position = i as u64 + 1;
        assert_eq!((*found, changes), (head(position), &changes_of(position, len(position))));
    }
}

#[test]
fn records_come_back_across_segments_and_restarts() {
    let mut disk = FaultyDisk::default();
    let mut position = 0;
    for _ in 0..5 {
        let (mut log, summary, records) = open(&disk, 4096).expect("a whole log opens");
        assert_eq!((summary.last_position, summary.cut), (position, None));
        check(&records, len_of);
        let mut tail = Tail::default();
        for _ in 0..40 {
            for _ in 0..3 {
                position += 1;
                push(&mut tail, position, len_of(position));
            }
            tail.begin();
            tail.changes().push(7);
            tail.abort();
            assert_eq!(log.write(&mut tail).expect("the disk is fine"), position);
            log.preparer().run().expect("the disk is fine");
        }
        disk = disk.kill();
    }
}

#[test]
fn what_was_synced_survives_power_cuts() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut disk = FaultyDisk::default();
        let mut survived = 0;
        for _ in 0..6 {
            let (mut log, _, records) = open(&disk, 4096).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            check(&records, len_of);
            assert!(records.len() as u64 >= survived, "seed {seed}: {} of {survived} came back", records.len());
            let (mut position, mut tail, syncer) = (records.len() as u64, Tail::default(), log.syncer());
            survived = position;
            for _ in 0..rng.usize(1..30) {
                for _ in 0..rng.usize(1..5) {
                    position += 1;
                    push(&mut tail, position, len_of(position));
                }
                log.write(&mut tail).expect("the disk is fine");
                if rng.u8(..3) == 0 {
                    survived = syncer.sync().expect("the disk is fine");
                }
                if rng.bool() {
                    log.preparer().run().expect("the disk is fine");
                }
            }
            disk = disk.crash(rng.u64(..));
        }
    }
}

#[test]
fn a_cut_log_is_a_prefix_and_a_flipped_one_is_a_prefix_or_refused() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk, 1 << 20).expect("an empty disk opens");
    let mut tail = Tail::default();
    for position in 1..=12 {
        push(&mut tail, position, position as usize * 7);
        if position % 3 == 0 {
            log.write(&mut tail).expect("the disk is fine");
            log.syncer().sync().expect("the disk is fine");
        }
    }
    let name = segment_name(1);
    let whole = disk.content(&name).expect("the segment is there");
    let mut refused = 0;
    for at in 0..whole.len() {
        let cut = FaultyDisk::default();
        cut.set_content(&name, &whole[..at]);
        let (_, _, records) = open(&cut, 1 << 20).expect("a cut log opens");
        check(&records, |position| position as usize * 7);

        let flipped = FaultyDisk::default();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        flipped.set_content(&name, &bytes);
        match open(&flipped, 1 << 20) {
            Ok((_, _, records)) => check(&records, |position| position as usize * 7),
            Err(Error::Corrupt { file, .. }) => {
                assert_eq!(file, name);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > whole.len() / 2, "damage to synced blocks is refused, not cut: {refused} of {}", whole.len());
}

#[test]
fn a_cut_is_durable_before_anything_new_is_written() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk, 1 << 20).expect("an empty disk opens");
    let mut tail = Tail::default();
    for position in 1..=3 {
        push(&mut tail, position, 100);
        log.write(&mut tail).expect("the disk is fine");
    }
    let name = segment_name(1);
    let mut bytes = disk.content(&name).expect("the segment is there");
    let second = 32 + 48 + 109 + 60;
    bytes[second] ^= 1;
    let disk = FaultyDisk::default();
    disk.set_content(&name, &bytes);
    let (mut log, summary, records) = open(&disk, 1 << 20).expect("an unsynced end is cut");
    assert_eq!(records.len(), 1);
    assert!(summary.cut.is_some());
    // A record of the same size again: the old third block must not come back to life behind it.
    push(&mut tail, 2, 100);
    log.write(&mut tail).expect("the disk is fine");
    log.syncer().sync().expect("the disk is fine");
    let (_, summary, records) = open(&disk.crash(1), 1 << 20).expect("a whole log opens");
    assert_eq!((records.len(), summary.cut), (2, None));
}

#[test]
fn after_a_failure_nothing_is_taken() {
    for fault in [Fault::Write, Fault::Sync] {
        let disk = FaultyDisk::default();
        let (mut log, _, _) = open(&disk, 4096).expect("an empty disk opens");
        disk.fail_after(1, fault);
        let mut tail = Tail::default();
        push(&mut tail, 1, 10);
        let first = log.write(&mut tail).and_then(|_| log.syncer().sync());
        assert!(matches!(first, Err(Error::Io { .. })), "{fault:?}");
        push(&mut tail, 2, 10);
        assert!(matches!(log.write(&mut tail), Err(Error::Poisoned)));
        assert!(matches!(log.syncer().sync(), Err(Error::Poisoned)));
    }
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk, 4096).expect("an empty disk opens");
    disk.set_room(100);
    let mut tail = Tail::default();
    push(&mut tail, 1, 500);
    assert!(matches!(log.write(&mut tail), Err(Error::Io { operation: "write", .. })));
}

#[test]
fn the_second_process_is_told_who_is_first() {
    let dir = std::env::temp_dir().join(format!("leveret-wal-{}", std::process::id()));
    let first = Disk::open(&dir).expect("the directory is ours");
    let second = Disk::open(&dir).err().expect("it is taken").to_string();
    assert!(second.contains(&format!("in use by another process (pid {})", std::process::id())), "{second}");
    drop(first);
    std::fs::remove_dir_all(&dir).expect("it was made above");
}

#[test]
fn the_format_stays() {
    let disk = FaultyDisk::default();
    let (mut log, _, _) = open(&disk, 4096).expect("an empty disk opens");
    let mut tail = Tail::default();
    push(&mut tail, 1, 4);
    push(&mut tail, 2, 3);
    log.write(&mut tail).expect("the disk is fine");
    let golden = include_bytes!("../tests/golden/segment-v1.bin");
    let written = disk.content(&segment_name(1)).expect("the segment is there");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-v1.bin"), &written).expect("the tree is ours");
    } else {
        assert_eq!(written, golden, "the format changed: old logs would not be read");
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let golden = include_bytes!("../tests/golden/segment-v1.bin");
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..20_000 {
        let mut data = golden.to_vec();
        for _ in 0..rng.usize(..6) {
            let at = rng.usize(..data.len());
            data[at] = rng.u8(..);
        }
        fuzz::segment(&data);
    }
}
