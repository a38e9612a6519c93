//! Messages that only the log has, and somebody who keeps the log: backups hold what their checkpoints name, nothing goes while it
//! is read, and what is left over from a checkpoint that failed is never believed.

use super::reader::{Life, message_len, read};
use super::{add, open, replay};
use crate::faulty::FaultyDisk;
use crate::{Archived, Error, Storage, Tail, Until, backup, backups, prune, restore, verify_held};
use std::collections::BTreeMap;

fn names(disk: &FaultyDisk, ending: &str) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(ending)).collect()
}

/// What was alive at each checkpoint.
type States = BTreeMap<u64, Vec<u64>>;

/// A restore has every record behind its checkpoint, and every message that this one has by name only.
fn holds(life: &Life, archive: &FaultyDisk, states: &States, until: Until, position: u64) -> bool {
    let into = FaultyDisk::new(3);
    let restored = match restore(archive, &into, until) {
        Ok(restored) => restored,
        Err(Error::Refused(_)) => return false,
        Err(other) => panic!("{until:?}: {other}"),
    };
    assert_eq!(restored.position, position);
    let into = into.crash();
    assert_eq!(verify_held(&into).unwrap().damage, [], "{until:?}");
    let mut log = open(&into, life.segment_bytes);
    let from = log.restore(&mut |_| Ok(())).unwrap().map_or(0, |head| head.position);
    let (summary, records) = replay(&mut log).unwrap();
    assert_eq!(summary.cut, None);
    assert_eq!(records, life.written[from as usize..position as usize], "{until:?} from {from}");
    let mut reader = log.reader();
    for &at in states.get(&from).into_iter().flatten() {
        let found = read(&mut reader, at).unwrap();
        assert_eq!(found.as_ref(), Some(&life.written[at as usize - 1].1), "{until:?} from {from}: {at}");
    }
    // And it goes on, and its checkpoints leave nothing behind.
    let mut tail = Tail::default();
    add(&mut tail, position + 1, b"afterwards");
    log.write(&mut tail).unwrap();
    log.syncer().sync().unwrap();
    true
}

#[test]
fn backups_hold_the_messages_that_their_checkpoints_name() {
    let (mut copies, mut gaps) = (0, 0);
    for seed in 0..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::new(seed, [1024, 4096][seed as usize % 2]);
        let (archive, keeps, mut states) = (FaultyDisk::new(seed), seed % 3 > 0, States::new());
        let mut kept = None;
        for round in 0..10 {
            let count = rng.usize(1..60);
            life.write(&mut rng, count);
            let chance = rng.u8(20..100);
            life.alive.retain(|_| rng.u8(..100) < chance);
            if rng.u8(..3) > 0 {
                // Somebody may be reading.
                life.disk.keep(rng.bool(), kept.clone());
                life.checkpoint().unwrap();
                states.insert(life.checkpoint, life.alive.clone());
                life.check("after a checkpoint");
            }
            if rng.bool() || round == 9 {
                let made = backup(&life.disk, &archive, round + 1).unwrap();
                assert!(keeps || made.gap_after.is_none() || !made.backup.continues);
                assert!(!keeps || made.gap_after.is_none(), "seed {seed}: {:?}", made.gap_after);
                gaps += usize::from(made.gap_after.is_some());
                let first = made.first_unfinished;
                kept = keeps.then(|| Archived { first, bytes_max: 1 << 30, archive: "elsewhere".into() });
                assert!(holds(&life, &archive, &states, Until::End, made.backup.position), "seed {seed}");
            }
            if rng.u8(..3) == 0 {
                life.log.syncer().sync().unwrap();
                let disk = life.disk.crash();
                disk.keep(rng.bool(), kept.clone());
                life.restart(disk);
                life.check("after a start");
            }
        }
        copies += names(&archive, ".bodies").len();
        let all = backups(&archive).unwrap().whole;
        let last = all.last().unwrap().position;
        for position in (seed % 5..=last).step_by(5) {
            let is_there = holds(&life, &archive, &states, Until::Position(position), position);
            // The log is kept from the first backup on.
            assert!(is_there || !keeps || position < all[0].position, "seed {seed}: {position}");
        }
        // What no list names any more is gone, and what one names is not.
        prune(&archive, u64::MAX).unwrap();
        let lists: String = all
            .iter()
            .filter_map(|it| archive.content(&crate::archive::listing::backup_name(it.number)))
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect();
        for name in names(&archive, ".bodies") {
            assert!(lists.contains(&name), "{name} belongs to nobody");
        }
        assert!(holds(&life, &archive, &states, Until::End, last));
    }
    assert!(copies > 100 && gaps > 5, "{copies} copies, {gaps} gaps");
}

#[test]
fn damage_to_a_copy_of_messages_is_found() {
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut life, archive) = (Life::new(1, 1024), FaultyDisk::new(1));
    life.write(&mut rng, 60);
    life.alive.retain(|at| *at % 10 == 3);
    life.checkpoint().unwrap();
    backup(&life.disk, &archive, 1).unwrap();
    let copies = names(&archive, ".bodies");
    assert!(copies.len() > 2);
    for name in copies {
        let whole = archive.content(&name).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            archive.put(&name, &bytes);
            let error = restore(&archive, &FaultyDisk::new(1), Until::End).unwrap_err().to_string();
            assert!(error.contains(&name), "{error}");
            // Where it was made a start may not see it; a check does, and so does a backup.
            life.disk.put(&name, &bytes);
            match verify_held(&life.disk) {
                Ok(held) => assert!(held.damage.iter().any(|(file, ..)| *file == name), "{name} at {at}"),
                Err(error) => assert!(error.to_string().contains(&name), "{error}"),
            }
            backup(&life.disk, &FaultyDisk::new(1), 1).unwrap_err();
        }
        archive.put(&name, &whole);
        life.disk.put(&name, &whole);
    }
    restore(&archive, &FaultyDisk::new(1), Until::End).unwrap();
}

#[test]
fn nothing_goes_while_somebody_reads_and_all_of_it_later() {
    let mut copied = 0;
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::new(seed, 1024);
        for _ in 0..6 {
            life.write(&mut rng, 40);
            life.alive.retain(|_| rng.u8(..100) < 40);
            let before = life.disk.list().unwrap();
            life.disk.keep(true, None);
            life.checkpoint().unwrap();
            let after = life.disk.list().unwrap();
            assert!(before.iter().all(|name| after.contains(name)), "seed {seed}: something has gone");
            life.check("while it is kept");
            if rng.bool() {
                life.log.syncer().sync().unwrap();
                let disk = life.disk.crash();
                disk.keep(true, None);
                life.restart(disk);
                life.check("after a start");
                let found = life.disk.list().unwrap();
                assert!(after.iter().all(|name| found.contains(name)), "seed {seed}: a start has removed it");
            }
            if rng.u8(..3) == 0 {
                life.disk.keep(false, None);
                let checkpoints = life.log.checkpoints(message_len);
                assert!(checkpoints.has_left_over());
                checkpoints.remove_unnecessary().unwrap();
                assert!(!checkpoints.has_left_over());
                life.check("afterwards");
                copied += names(&life.disk, ".bodies").len();
                assert_eq!(names(&life.disk, ".checkpoint").len(), 1);
                // What is there now is what is needed: a start removes nothing more.
                let found = life.disk.list().unwrap();
                life.log.syncer().sync().unwrap();
                life.restart(life.disk.clone());
                assert_eq!(life.disk.list().unwrap(), found, "seed {seed}");
            }
        }
        life.disk.keep(false, None);
        life.alive.clear();
        life.checkpoint().unwrap();
        assert!(life.bytes() <= 2 * life.segment_bytes, "seed {seed}: nothing lives any more");
    }
    assert!(copied > 50, "only {copied} copies were there");
}

#[test]
fn a_copy_for_a_checkpoint_that_failed_is_never_believed() {
    let mut left = 0;
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::new(seed, 1024);
        life.write(&mut rng, 60);
        life.alive.retain(|_| rng.u8(..100) < 60);
        life.log.syncer().sync().unwrap();
        life.checkpoint().unwrap();
        let (before, of_before) = (life.alive.clone(), life.checkpoint);
        life.write(&mut rng, 60);
        let between: Vec<u64> = (of_before + 1..=life.written.len() as u64).collect();
        life.log.syncer().sync().unwrap();
        life.alive.retain(|_| rng.u8(..100) < 20);
        life.disk.keep(true, None);
        life.disk.fail_writes_after(rng.u64(20..80));
        if life.checkpoint().is_ok() {
            continue;
        }
        left += usize::from(!names(&life.disk, ".bodies").is_empty());
        // In the next life other messages are not in memory, of before this checkpoint as well.
        life.checkpoint = of_before;
        life.alive = before;
        let disk = life.disk.crash();
        disk.keep(true, None);
        life.restart(disk);
        life.alive.extend(between);
        life.write(&mut rng, 10);
        life.log.syncer().sync().unwrap();
        life.checkpoint().unwrap();
        let disk = life.disk.crash();
        disk.keep(true, None);
        life.restart(disk);
        life.check("after a later checkpoint");
        assert_eq!(verify_held(&life.disk).unwrap().damage, [], "seed {seed}");
    }
    assert!(left > 50, "only {left} left something");
}

#[test]
fn a_second_checkpoint_of_one_position_takes_nothing_from_the_first() {
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut life, archive) = (Life::new(1, 1024), FaultyDisk::new(1));
    life.write(&mut rng, 60);
    life.alive.retain(|at| *at % 10 == 3);
    life.checkpoint().unwrap();
    backup(&life.disk, &archive, 1).unwrap();
    let (all, files) = (life.alive.clone(), life.disk.list().unwrap());
    // Some have been read, and are in it as a whole.
    life.alive.retain(|at| *at % 30 == 3);
    let checkpoints = life.log.checkpoints(message_len);
    life.publish(&checkpoints).unwrap();
    assert_eq!(life.disk.list().unwrap(), files);
    life.alive = all;
    life.log.syncer().sync().unwrap();
    life.restart(life.disk.crash());
    life.check("after a start");
    let states = States::from([(life.checkpoint, life.alive.clone())]);
    backup(&life.disk, &archive, 2).unwrap();
    assert!(holds(&life, &archive, &states, Until::End, life.checkpoint));
}

#[test]
fn a_first_segment_that_stays_for_its_messages_is_no_beginning() {
    let (mut life, archive) = (Life::new(1, 1024), FaultyDisk::new(1));
    for position in 1..=60 {
        life.written.push(add(&mut life.tail, position, &super::reader::message(100, 7)));
    }
    life.log.write(&mut life.tail).unwrap();
    life.alive = vec![1, 2, 3, 4, 5, 6];
    life.checkpoint().unwrap();
    let segments = names(&life.disk, ".segment");
    assert!(segments.len() > 1 && segments[0] == crate::log::segment_name(1), "{segments:?}");
    assert!(!segments.contains(&crate::log::segment_name(3)));
    backup(&life.disk, &archive, 1).unwrap();
    let states = States::from([(life.checkpoint, life.alive.clone())]);
    assert!(holds(&life, &archive, &states, Until::End, life.checkpoint));
    for position in [0, 3, life.checkpoint - 1] {
        assert!(!holds(&life, &archive, &states, Until::Position(position), position), "{position}");
    }
}
