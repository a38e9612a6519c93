//! Checkpoints: what they make unnecessary goes, and what is damaged is refused.

use super::{Kept, add, open, replay, small_log};
use crate::faulty::FaultyDisk;
use crate::log::segment_name;
use crate::{CheckpointHead, Ending, Error, Log, Storage, Tail, Why, explain, inspect};

/// Six records in the log, and a checkpoint of the first three.
fn checkpointed(disk: &FaultyDisk) -> Vec<Kept> {
    let mut log = open(disk, 256);
    assert_eq!(log.restore(&mut |_| Ok(())).unwrap(), None);
    replay(&mut log).unwrap();
    let checkpoints = log.checkpoints(|_| None);
    let (mut tail, mut written) = (Tail::default(), Vec::new());
    for position in 1..=6 {
        written.push(add(&mut tail, position, &[position as u8; 100]));
        log.write(&mut tail).unwrap();
        if position == 3 {
            let mut writer = checkpoints.begin(CheckpointHead { position, time_ms: 77 }).unwrap();
            writer.write(b"first").unwrap();
            writer.write(b"").unwrap();
            writer.write(b"second").unwrap();
            let reclaimed = checkpoints.publish(writer).unwrap();
            assert!(reclaimed.segments > 0 && reclaimed.checkpoint_bytes > 32, "{reclaimed:?}");
            assert_eq!(checkpoints.checkpoint_bytes(), reclaimed.checkpoint_bytes);
        }
    }
    log.syncer().sync().unwrap();
    written
}

fn restore(log: &mut Log) -> Result<(Option<CheckpointHead>, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let head = log.restore(&mut |changes| {
        bytes.extend_from_slice(changes);
        Ok(())
    })?;
    Ok((head, bytes))
}

#[test]
fn a_checkpoint_takes_the_place_of_what_comes_before() {
    let disk = FaultyDisk::new(1);
    let written = checkpointed(&disk);
    let name = "00000000000000000003.checkpoint";
    assert!(disk.content(&segment_name(1)).is_none(), "its records are in the checkpoint");
    let bytes = disk.content(name).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.checkpoint");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    assert_eq!(bytes, std::fs::read(path).unwrap(), "the format has changed: it needs a new version");
    let disk = disk.crash();
    disk.short_reads();
    let mut log = open(&disk, 256);
    let (head, changes) = restore(&mut log).unwrap();
    assert_eq!(head, Some(CheckpointHead { position: 3, time_ms: 77 }));
    assert_eq!(changes, b"firstsecond");
    let (summary, records) = replay(&mut log).unwrap();
    assert_eq!((records, summary.last_position), (written[3..].to_vec(), 6));
    // Without it the log is not whole, and nothing is cut for that.
    disk.remove(name).unwrap();
    let error = replay(&mut open(&disk, 256)).unwrap_err().to_string();
    assert!(error.contains("and 1 is missing"), "{error}");
    assert!(disk.content(&segment_name(3)).is_some());
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let disk = FaultyDisk::new(1);
    checkpointed(&disk);
    let name = "00000000000000000003.checkpoint";
    let whole = disk.content(name).unwrap();
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            disk.put(name, &bytes);
            let error = restore(&mut open(&disk, 256)).expect_err("a flip was not seen").to_string();
            assert!(error.starts_with(name), "{error}");
        }
        disk.put(name, &whole[..at]);
        assert!(restore(&mut open(&disk, 256)).is_err(), "cut at {at}");
    }
    disk.put(name, &[&whole[..], b"x"].concat());
    assert!(restore(&mut open(&disk, 256)).is_err(), "there is more behind it");
    // One that was not finished is no checkpoint.
    disk.put(name, &whole);
    disk.put("checkpoint.tmp", &whole[..40]);
    let mut log = open(&disk, 256);
    assert!(restore(&mut log).unwrap().0.is_some());
    replay(&mut log).unwrap();
    assert!(disk.content("checkpoint.tmp").is_none());
}

#[test]
fn an_inspection_begins_with_the_checkpoint() {
    let disk = FaultyDisk::new(1);
    let written = checkpointed(&disk);
    let mut records = 0;
    let looked = inspect(&disk, &mut |record| {
        assert_eq!((record.head, record.changes), (written[3 + records].0, &*written[3 + records].1));
        records += 1;
        Ok(())
    });
    let looked = looked.unwrap();
    assert_eq!(looked.checkpoint, Some(CheckpointHead { position: 3, time_ms: 77 }));
    assert_eq!((records, looked.ending), (3, Ending::Whole));
    let name = "00000000000000000003.checkpoint";
    let mut bytes = disk.content(name).unwrap();
    bytes[50] ^= 1;
    disk.put(name, &bytes);
    assert!(inspect(&disk, &mut |_| Ok(())).unwrap_err().to_string().starts_with(name));
}

#[test]
fn every_file_can_say_why_it_is_there() {
    let disk = FaultyDisk::new(1);
    checkpointed(&disk);
    let whys = |disk: &FaultyDisk| -> Vec<Why> {
        explain(disk).unwrap().into_iter().map(|explained| explained.why).collect()
    };
    let before = whys(&disk);
    assert!(matches!(before[..], [Why::Newest(3), Why::After(..), .., Why::Last(6)]), "{before:?}");
    // A crash has kept what the checkpoint made unnecessary.
    let first = FaultyDisk::new(2);
    let mut log = open(&first, 256);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    for position in 1..=4 {
        add(&mut tail, position, &[position as u8; 100]);
        log.write(&mut tail).unwrap();
    }
    let checkpoint = "00000000000000000003.checkpoint";
    first.put(checkpoint, &disk.content(checkpoint).unwrap());
    assert!(whys(&first).contains(&Why::InCheckpoint), "{:?}", whys(&first));
}

/// Else a start would take a segment for none that it needs.
#[test]
fn a_head_that_comes_in_pieces_is_a_head() {
    let disk = FaultyDisk::new(1);
    small_log(&disk);
    disk.short_reads();
    assert!((0..100).all(|_| matches!(crate::recovery::first_position(&disk, 1), Ok(Some(1)))));
}
