//! What the log promises, tried on disks that fail: cuts and flips at every byte, crashes by seed, errors, a full disk.

mod anew;
mod archive;
mod checkpoints;
mod full;
mod held;
mod joints;
mod kept;
mod passed;
mod pieces;
mod reader;

use crate::faulty::FaultyDisk;
use crate::fuzz;
use crate::log::segment_name;
use crate::{Disk, Error, Head, Log, Onlooker, Options, Storage, Summary, Tail};
use std::sync::Arc;

type Kept = (Head, Vec<u8>);

fn open(disk: &FaultyDisk, segment_bytes: u64) -> Log {
    Log::open(Arc::new(disk.clone()), Options { segment_bytes }).expect("the options are valid")
}

fn replay(log: &mut Log) -> Result<(Summary, Vec<Kept>), Error> {
    let mut records = Vec::new();
    let summary = log.replay(&mut |record| {
        records.push((record.head, record.changes.to_vec()));
        Ok(())
    })?;
    Ok((summary, records))
}

fn add(tail: &mut Tail, position: u64, changes: &[u8]) -> Kept {
    let head = Head {
        kind: 1 + (position % 3) as u8,
        partition: 3,
        term: 7,
        position,
        time_ms: 1_000_000 + position * 5,
    };
    tail.begin();
    tail.changes().extend_from_slice(changes);
    tail.commit(head);
    (head, changes.to_vec())
}

/// Three writes with a sync after the second.
fn small_log(disk: &FaultyDisk) -> Vec<Kept> {
    let mut log = open(disk, 4096);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    let mut written = Vec::new();
    for (positions, sync) in [(1..=2, false), (3..=3, true), (4..=6, false)] {
        for position in positions {
            written.push(add(&mut tail, position, format!("change {position}").as_bytes()));
        }
        log.write(&mut tail).unwrap();
        if sync {
            assert_eq!(log.syncer().sync().unwrap(), 3);
        }
    }
    written
}

#[test]
fn golden_bytes() {
    let disk = FaultyDisk::new(1);
    let written = small_log(&disk);
    let bytes = disk.content(&segment_name(1)).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.segment");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap();
        std::fs::write(path, &bytes).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(bytes, golden, "the format has changed: it needs a new version");
    let again = FaultyDisk::new(2);
    again.put(&segment_name(1), &golden);
    again.short_reads();
    let (summary, records) = replay(&mut open(&again, 4096)).unwrap();
    assert_eq!(records, written);
    assert_eq!(
        (summary.records, summary.first_position, summary.last_position, summary.cut),
        (6, 1, 6, None)
    );
}

/// Whatever stands on the disk: a prefix or a refusal, and after a prefix the log goes on and is whole.
fn check_prefix(bytes: &[u8], written: &[Kept], what: &str) -> Option<usize> {
    let disk = FaultyDisk::new(3);
    disk.put(&segment_name(1), bytes);
    let mut log = open(&disk, 4096);
    let Ok((summary, records)) = replay(&mut log) else { return None };
    assert_eq!(records, written[..records.len()], "{what}");
    assert_eq!(summary.last_position, records.len() as u64, "{what}");
    let mut tail = Tail::default();
    let mut all = records.clone();
    all.push(add(&mut tail, records.len() as u64 + 1, b"after"));
    log.write(&mut tail).unwrap();
    log.syncer().sync().unwrap();
    let (summary, found) = replay(&mut open(&disk.crash(), 4096)).unwrap();
    assert_eq!((found, summary.cut), (all, None), "{what}");
    Some(records.len())
}

#[test]
fn cut_at_every_offset_leaves_a_prefix() {
    let disk = FaultyDisk::new(1);
    let written = small_log(&disk);
    let bytes = disk.content(&segment_name(1)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for end in 0..=bytes.len() {
        seen.insert(
            check_prefix(&bytes[..end], &written, &format!("cut at {end}")).expect("a cut is no damage"),
        );
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 2, 3, 6]);
}

#[test]
fn flip_at_every_offset_leaves_a_prefix_or_refuses() {
    let disk = FaultyDisk::new(1);
    let written = small_log(&disk);
    let bytes = disk.content(&segment_name(1)).unwrap();
    let (mut refused, mut cut) = (0, 0);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            match check_prefix(&bytes, &written, &format!("flip at {at}")) {
                None => refused += 1,
                // Its first block says where the segment begins.
                Some(6) if at < 32 => {}
                Some(records) => {
                    assert!(records < 6, "a flip at {at} went unseen");
                    assert_eq!(records, 3, "what had been synced was cut by a flip at {at}");
                    cut += 1;
                }
            }
        }
    }
    assert!(refused > 0 && cut > 0);
}

#[test]
fn damage_names_segment_offset_and_reason() {
    let disk = FaultyDisk::new(1);
    small_log(&disk);
    let mut bytes = disk.content(&segment_name(1)).unwrap();
    bytes[32 + 50] ^= 1;
    disk.put(&segment_name(1), &bytes);
    let error = replay(&mut open(&disk, 4096)).unwrap_err().to_string();
    assert!(
        error.starts_with("00000000000000000001.segment is damaged at byte 32: a block's checksum is wrong"),
        "{error}"
    );
}

#[test]
fn a_record_may_span_segments() {
    let disk = FaultyDisk::new(5);
    let mut log = open(&disk, 1024);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    let large: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
    let mut written =
        vec![add(&mut tail, 1, b"small"), add(&mut tail, 2, &large), add(&mut tail, 3, b"behind")];
    assert_eq!(log.write(&mut tail).unwrap(), 3);
    assert!(tail.is_empty() && tail.len_bytes() == 0);
    log.syncer().sync().unwrap();
    let crashed = disk.crash();
    assert!(crashed.list().unwrap().len() > 9);
    let (summary, records) = replay(&mut open(&crashed, 1024)).unwrap();
    assert_eq!((records, summary.cut), (written.clone(), None));
    // Without its last part the record never was.
    let last = crashed.list().unwrap().pop().unwrap();
    crashed.remove(&last).unwrap();
    written.truncate(1);
    let mut log = open(&crashed, 1024);
    let (summary, records) = replay(&mut log).unwrap();
    assert_eq!(records, written);
    assert!(summary.cut.is_some());
    written.push(add(&mut tail, 2, b"another"));
    log.write(&mut tail).unwrap();
    log.syncer().sync().unwrap();
    assert_eq!(replay(&mut open(&crashed.crash(), 1024)).unwrap().1, written);
}

/// Random turns, syncs, prepared segments and crashes: what was synced is there, in order, and nothing half.
fn life(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut disk = FaultyDisk::new(seed);
    let mut written: Vec<Kept> = Vec::new();
    let mut synced = 0;
    let segment_bytes = random.u64(256..6000);
    for _ in 0..6 {
        let mut log = open(&disk, segment_bytes);
        let (summary, records) = replay(&mut log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(records.len() >= synced, "seed {seed}: {} records, {synced} were synced", records.len());
        assert_eq!(records, written[..records.len()], "seed {seed}");
        assert_eq!(summary.last_position, records.len() as u64, "seed {seed}");
        written.truncate(records.len());
        let (syncer, preparer) = (log.syncer(), log.preparer());
        synced = records.len();
        let mut tail = Tail::default();
        for _ in 0..random.usize(0..30) {
            for _ in 0..random.usize(1..6) {
                let len = if random.u8(..20) == 0 { random.usize(..9000) } else { random.usize(..200) };
                let changes: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                written.push(add(&mut tail, written.len() as u64 + 1, &changes));
                if random.u8(..4) == 0 {
                    tail.begin();
                    tail.changes().extend_from_slice(b"never");
                    tail.abort();
                }
            }
            assert_eq!(log.write(&mut tail).unwrap(), written.len() as u64);
            if random.u8(..4) == 0 {
                synced = syncer.sync().unwrap() as usize;
                assert_eq!(synced, written.len());
            }
            if random.bool() {
                preparer.run(&mut || ()).unwrap();
            }
        }
        // A killed process loses nothing, a power cut what was not synced.
        if random.u8(..4) == 0 { synced = written.len() } else { disk = disk.crash() }
    }
}

#[test]
fn crashes_lose_nothing_that_was_synced() {
    for seed in 0..400 {
        life(seed);
    }
}

#[test]
fn a_crash_of_recovery_itself_is_survived() {
    for seed in 0..300 {
        let disk = FaultyDisk::new(seed);
        let mut log = open(&disk, 600);
        replay(&mut log).unwrap();
        let mut tail = Tail::default();
        let mut written = Vec::new();
        for position in 1..=30 {
            written.push(add(&mut tail, position, &[position as u8; 90]));
            log.write(&mut tail).unwrap();
            if position == 12 {
                log.syncer().sync().unwrap();
            }
        }
        let mut disk = disk.crash();
        for syncs in 0..20 {
            disk.fail_syncs_after(syncs);
            let outcome = replay(&mut open(&disk, 600));
            disk = disk.crash();
            if let Err(error) = outcome {
                assert!(matches!(error, Error::Io { .. }), "seed {seed}: {error}");
            }
        }
        let (_, records) = replay(&mut open(&disk, 600)).unwrap();
        assert!(records.len() >= 12, "seed {seed}");
        assert_eq!(records, written[..records.len()], "seed {seed}");
    }
}

#[test]
fn after_a_failure_everything_is_refused() {
    for fault in [0, 2] {
        let disk = FaultyDisk::new(9);
        let mut log = open(&disk, 4096);
        replay(&mut log).unwrap();
        let syncer = log.syncer();
        let mut tail = Tail::default();
        add(&mut tail, 1, b"one");
        log.write(&mut tail).unwrap();
        syncer.sync().unwrap();
        match fault {
            0 => disk.fail_writes_after(0),
            _ => disk.fail_syncs_after(0),
        }
        add(&mut tail, 2, b"two");
        let error = if fault < 2 {
            log.write(&mut tail).unwrap_err()
        } else {
            log.write(&mut tail).unwrap();
            syncer.sync().unwrap_err()
        };
        let operation =
            if fault < 2 { "cannot write 00000000000000000001.segment" } else { "cannot sync 0000" };
        assert!(error.to_string().starts_with(operation), "{error}");
        add(&mut tail, 3, b"three");
        assert!(matches!(log.write(&mut tail), Err(Error::Poisoned)));
        assert!(matches!(syncer.sync(), Err(Error::Poisoned)));
        assert!(matches!(log.preparer().run(&mut || ()), Err(Error::Poisoned)));
        let (_, records) = replay(&mut open(&disk.crash(), 4096)).unwrap();
        assert!(records.len() == 1 || (fault == 2 && records.len() == 2));
    }
}

#[test]
fn unknown_versions_stop_the_reader() {
    let disk = FaultyDisk::new(1);
    small_log(&disk);
    let mut bytes = disk.content(&segment_name(1)).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..32]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.put(&segment_name(1), &bytes);
    let error = replay(&mut open(&disk, 4096)).unwrap_err().to_string();
    assert!(error.ends_with("segment format 9 is not known to this version"), "{error}");
    let disk = FaultyDisk::new(1);
    small_log(&disk);
    let refused =
        open(&disk, 4096).replay(&mut |record| Err(format!("kind {} is not known", record.head.kind)));
    assert!(refused.unwrap_err().to_string().ends_with("byte 32: kind 2 is not known"));
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let path = std::env::temp_dir().join(format!("leveret-wal-lock-{}", std::process::id()));
    let first = Disk::open(&path).unwrap();
    let error = Disk::open(&path).err().expect("the directory is locked").to_string();
    assert!(
        error.ends_with(&format!("is in use by another process (pid {})", std::process::id())),
        "{error}"
    );
    drop(first);
    Disk::open(&path).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn any_bytes_are_survived() {
    let golden = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.segment")).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..3000 {
        let mut bytes = golden.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        fuzz::segments(&bytes);
        fuzz::blocks(&bytes);
        fuzz::records(&bytes);
        fuzz::lists(&bytes);
    }
}

#[test]
fn the_corpus_reaches_the_records() {
    // Refused are "synced" and "blocks", which has no head: their later blocks say that what is damaged had been synced.
    let seed = |name| std::fs::read(format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for (name, records) in
        [("one_segment", Some(6)), ("two_segments", Some(6)), ("parts", Some(4)), ("synced", None)]
    {
        let found = fuzz::recover(&fuzz::sealed(&seed(format!("blocks/{name}"))));
        assert_eq!(found, records, "{name}");
    }
    for (name, records) in
        [("golden", Some(6)), ("cut", Some(3)), ("zeros", Some(6)), ("head", Some(0)), ("blocks", None)]
    {
        assert_eq!(fuzz::recover(&[seed(format!("segments/{name}"))]), records, "{name}");
    }
}

#[test]
fn who_looks_on_keeps_servers_out_and_leaves_no_trace() {
    let folder = std::env::temp_dir().join(format!("leveret-onlooker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    Onlooker::open(&folder).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is made");
    let server = Disk::open(&folder).unwrap();
    let refusal = Onlooker::open(&folder).err().unwrap().to_string();
    assert!(refusal.contains(&format!("(pid {})", std::process::id())), "{refusal}");
    drop(server);
    let (one, other) = (Onlooker::open(&folder).unwrap(), Onlooker::open(&folder).unwrap());
    assert!(one.create("x").is_err() && other.remove("LOCK").is_err() && one.rename("LOCK", "x").is_err());
    assert!(Disk::open(&folder).is_err(), "a server would write while somebody reads");
    drop((one, other));
    Disk::open(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Wherever the space ends: what is written is what was said, the rest is tried again, and nothing is there twice.
#[test]
fn a_full_disk_takes_the_same_again() {
    let (mut refusals, mut kept_some) = (0, 0);
    for (room, seed) in (0..2600).step_by(13).zip(0..) {
        let disk = FaultyDisk::new(seed);
        let mut log = open(&disk, 512);
        replay(&mut log).unwrap();
        let mut tail = Tail::default();
        // The next record begins anywhere in a segment.
        let mut all = vec![add(&mut tail, 1, &vec![b'b'; room as usize * 7 % 360])];
        log.write(&mut tail).unwrap();
        log.syncer().sync().unwrap();
        for (position, len) in (2..).zip([10, 60, 700, 3, 90, 90, 1500, 1]) {
            all.push(add(&mut tail, position, &vec![position as u8; len]));
        }
        disk.full_after(room);
        let mut tries = 0;
        while let Err(error) = log.write(&mut tail) {
            assert!(error.is_full(), "{error}");
            refusals += 1;
            tries += 1;
            // What the log says it has is there after a crash that loses nothing, and no more.
            let written = log.syncer().sync().unwrap();
            kept_some += usize::from(written > 1);
            let (summary, records) = replay(&mut open(&disk.crash(), 512)).unwrap();
            assert_eq!(records, all[..written as usize], "room {room}");
            assert!(summary.last_position == written);
            match tries {
                1 => disk.full_after(room / 2),
                _ => disk.free_space(),
            }
        }
        disk.free_space();
        let last = add(&mut tail, 10, b"after");
        log.write(&mut tail).unwrap();
        all.push(last);
        assert_eq!(log.syncer().sync().unwrap(), 10);
        let (summary, records) = replay(&mut open(&disk.crash(), 512)).unwrap();
        assert_eq!((records, summary.cut), (all, None), "room {room}");
    }
    assert!(refusals > 200 && kept_some > 50, "{refusals} refusals, {kept_some} with something written");
}

/// A sync that answers so has failed like any other.
#[test]
fn a_sync_is_never_tried_again() {
    let error = Error::io("sync", "a file", std::io::Error::from_raw_os_error(28));
    assert!(!error.is_full());
    assert!(Error::io("write", "a file", std::io::Error::from_raw_os_error(122)).is_full(), "a quota");
}
