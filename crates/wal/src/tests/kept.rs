//! What somebody reads, or an archive has not got yet, stays though a checkpoint makes it unnecessary; later it goes.

use super::{add, open, replay};
use crate::faulty::FaultyDisk;
use crate::{Archived, CheckpointHead, Checkpoints, Disk, Log, Onlooker, Options, Storage, Tail};
use std::path::PathBuf;
use std::sync::Arc;

fn segments(storage: &dyn Storage) -> Vec<u64> {
    crate::recovery::ordinals(storage).unwrap()
}

fn checkpoints_in(storage: &dyn Storage) -> usize {
    storage.list().unwrap().iter().filter(|name| name.ends_with(".checkpoint")).count()
}

fn checkpoint(checkpoints: &Checkpoints, position: u64) -> crate::Reclaimed {
    let writer = checkpoints.begin(CheckpointHead { position, time_ms: 1 }).unwrap();
    checkpoints.publish(writer).unwrap()
}

/// Each record fills a segment.
fn write(log: &mut Log, positions: std::ops::RangeInclusive<u64>) {
    let mut tail = Tail::default();
    for position in positions {
        add(&mut tail, position, &[position as u8; 150]);
        log.write(&mut tail).unwrap();
    }
    log.syncer().sync().unwrap();
}

fn archived(first: u64, bytes_max: u64) -> Option<Archived> {
    Some(Archived { first, bytes_max, archive: "elsewhere".into() })
}

#[test]
fn nothing_goes_while_somebody_reads() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk, 256);
    replay(&mut log).unwrap();
    write(&mut log, 1..=4);
    let checkpoints = log.checkpoints(|_| None);
    checkpoint(&checkpoints, 2);
    disk.keep(true, None);
    assert_eq!(checkpoint(&checkpoints, 4).segments, 0);
    assert_eq!((segments(&disk), checkpoints_in(&disk)), (vec![2, 3, 4], 2));
    assert!(checkpoints.has_left_over());
    assert_eq!(checkpoints.remove_unnecessary().unwrap().segments, 0);
    // Nor at a start.
    let mut again = open(&disk, 256);
    again.restore(&mut |_| Ok(())).unwrap();
    assert_eq!(replay(&mut again).unwrap().0.records, 0);
    assert_eq!((segments(&disk), checkpoints_in(&disk)), (vec![2, 3, 4], 2));
    write(&mut again, 5..=5);
    disk.keep(false, None);
    let checkpoints = again.checkpoints(|_| None);
    assert!(checkpoints.has_left_over());
    assert_eq!(checkpoints.remove_unnecessary().unwrap().segments, 2);
    assert_eq!((segments(&disk), checkpoints_in(&disk)), (vec![4, 5], 1));
    assert!(!checkpoints.has_left_over());
}

#[test]
fn what_waits_for_an_archive_stays_up_to_a_limit() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk, 256);
    replay(&mut log).unwrap();
    write(&mut log, 1..=8);
    let checkpoints = log.checkpoints(|_| None);
    disk.keep(false, archived(3, 1 << 20));
    let reclaimed = checkpoint(&checkpoints, 7);
    assert_eq!((reclaimed.segments, reclaimed.given_up), (2, 0));
    assert_eq!(segments(&disk), vec![3, 4, 5, 6, 7, 8]);
    // The archive has come further.
    disk.keep(false, archived(5, 1 << 20));
    assert_eq!(checkpoints.remove_unnecessary().unwrap().segments, 2);
    let mut again = open(&disk, 256);
    again.restore(&mut |_| Ok(())).unwrap();
    replay(&mut again).unwrap();
    assert_eq!(segments(&disk), vec![5, 6, 7, 8]);
    // One segment may wait, and two would have to.
    disk.keep(false, archived(5, 256));
    let reclaimed = again.checkpoints(|_| None).remove_unnecessary().unwrap();
    assert_eq!((reclaimed.segments, reclaimed.given_up), (1, 1));
    assert_eq!(segments(&disk), vec![6, 7, 8]);
    disk.keep(false, None);
    again.checkpoints(|_| None).remove_unnecessary().unwrap();
    assert_eq!(segments(&disk), vec![7, 8]);
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("leveret-wal-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_directory_knows_who_reads_it_and_how_far_an_archive_is() {
    let path = folder("kept");
    let disk = Arc::new(Disk::open(&path).unwrap());
    let mut log = Log::open(disk.clone(), Options { segment_bytes: 256 }).unwrap();
    replay(&mut log).unwrap();
    write(&mut log, 1..=4);
    assert!(Onlooker::open(&path).is_err(), "a server has it");
    let onlooker = Onlooker::beside(&path).unwrap();
    assert!(onlooker.is_used());
    assert_eq!(checkpoint(&log.checkpoints(|_| None), 4).segments, 0);
    assert_eq!(segments(&onlooker), vec![1, 2, 3, 4]);
    let file = onlooker.open("00000000000000000001.segment").unwrap();
    assert!(file.write_at(b"x", 0).is_err() && file.set_len(0).is_err());
    file.sync_data().unwrap();
    onlooker.sync_dir().unwrap();
    drop(onlooker);
    assert_eq!(crate::archived(&path).unwrap(), None);
    crate::set_archived(&path, archived(3, 1 << 20).as_ref()).unwrap();
    assert_eq!(crate::archived(&path).unwrap(), archived(3, 1 << 20));
    assert_eq!(log.checkpoints(|_| None).remove_unnecessary().unwrap().segments, 2);
    crate::set_archived(&path, None).unwrap();
    crate::set_archived(&path, None).unwrap();
    assert_eq!(log.checkpoints(|_| None).remove_unnecessary().unwrap().segments, 1);
    std::fs::write(path.join("ARCHIVED"), "segment many\n").unwrap();
    assert!(disk.kept().unwrap_err().to_string().contains("cannot be understood"));
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn a_lock_that_somebody_removes_still_holds() {
    let path = folder("lock");
    let disk = Disk::open(&path).unwrap();
    let refused = |what: std::io::Error| assert!(what.to_string().contains("in use by another"), "{what}");
    refused(Disk::open(&path).err().unwrap());
    std::fs::remove_file(path.join("LOCK")).unwrap();
    refused(Onlooker::open(&path).err().unwrap());
    refused(Disk::open(&path).err().unwrap());
    drop(disk);
    let onlooker = Onlooker::open(&path).unwrap();
    refused(Disk::open(&path).err().unwrap());
    drop(onlooker);
    drop(Disk::open(&path).unwrap());
    std::fs::remove_dir_all(&path).unwrap();
}
