//! The segment in which the log goes on from its checkpoint is damaged or gone: nothing is removed for that, everybody says so, and after
//! a repair the log begins anew, with a number above all. What only other files have is never lost.

use super::reader::{Life, read};
use super::{add, open, replay};
use crate::faulty::FaultyDisk;
use crate::held::files_held;
use crate::log::{segment_name, segment_ordinal};
use crate::{
    Ending, Error, Inspection, Log, Storage, Tail, Until, backup, inspect, repair, restore, verify_held,
};

fn contents(disk: &FaultyDisk) -> Vec<(String, Option<Vec<u8>>)> {
    disk.list().unwrap().into_iter().map(|name| (name.clone(), disk.content(&name))).collect()
}

pub(super) fn look(disk: &FaultyDisk) -> Inspection {
    let before = contents(disk);
    let looked = inspect(disk, &mut |_| Ok(())).unwrap();
    assert!(contents(disk) == before, "looking changes nothing");
    looked
}

/// A start on the disk, which may be refused; then nothing has changed.
fn start(disk: &FaultyDisk) -> Result<(Log, usize), Error> {
    let (before, mut log) = (contents(disk), open(disk, 1024));
    let started = log.restore(&mut |_| Ok(())).and_then(|_| replay(&mut log));
    if started.is_err() {
        assert!(contents(disk) == before, "a refusal changes nothing");
    }
    started.map(|(_, records)| (log, records.len()))
}

/// Some messages of before the checkpoint live; the segments in order, of which the last one has the checkpoint's position.
fn life(seed: u64, keeps: u64) -> (Life, Vec<String>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut life = Life::new(seed, 1024);
    for _ in 0..2 {
        life.write(&mut rng, 50);
        // Of some lives nothing is in the last segment.
        let end = life.written.len() as u64 - if seed % 4 == 1 { 30 } else { 0 };
        life.alive.retain(|at| at % keeps == 0 && *at <= end);
        life.checkpoint().unwrap();
    }
    life.log.syncer().sync().unwrap();
    let segments: Vec<String> =
        life.disk.list().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
    (life, segments)
}

/// Which of those that live can be read.
pub(super) fn readable(life: &Life, log: &Log) -> Vec<u64> {
    let mut reader = log.reader();
    let mut is_there = |at: &u64| match read(&mut reader, *at) {
        Ok(Some(found)) => {
            assert_eq!(found, life.written[*at as usize - 1].1, "position {at}");
            true
        }
        Ok(None) | Err(Error::Corrupt { .. }) => false,
        Err(other) => panic!("position {at}: {other}"),
    };
    life.alive.iter().copied().filter(|at| is_there(at)).collect()
}

#[test]
fn a_repair_begins_anew_above_all_that_is_there() {
    let (mut held_files, mut lost_some, mut copied) = (0, 0, 0);
    for seed in 0..24 {
        let (mut life, segments) = life(seed, 1 + seed % 4);
        let newest = segments.last().unwrap().clone();
        let whole = life.disk.content(&newest).unwrap();
        let others: Vec<String> =
            files_held(&life.disk).unwrap().into_iter().filter(|name| *name != newest).collect();
        held_files += others.len();
        let disk = life.disk.clone();
        // What can be read without it: a message may span it and the one before.
        let could = {
            let without = life.disk.crash();
            without.put(&newest, &[]);
            without.put(&segment_name(segment_ordinal(&newest).unwrap() + 2), &{
                crate::block::segment_head(segment_ordinal(&newest).unwrap() + 2, life.checkpoint + 1)
            });
            readable(&life, &start(&without).unwrap().0)
        };
        match seed % 3 {
            0 => disk.remove(&newest).unwrap(),
            1 => disk.put(&newest, &[]),
            _ => disk.put(
                &newest,
                &whole.iter().map(|byte| byte.wrapping_mul(31).wrapping_add(7)).collect::<Vec<_>>(),
            ),
        }
        let what = format!("seed {seed}: {newest}");
        let Ending::Damaged(place) = look(&disk).ending else { panic!("{what}: it is not whole") };
        assert_eq!(place.begins_anew, Some(life.checkpoint + 1), "{what}");
        let error = start(&disk).err().expect("it is refused").to_string();
        assert!(
            error.contains("segment") && error.contains(&format!("position {}", life.checkpoint)),
            "{error}"
        );
        let lost = life.alive.len() - could.len();
        lost_some += usize::from(lost > 0);
        assert!((place.messages > 0) >= (lost > 0), "{what}: {} of {lost} in two queues", place.messages);
        repair(&disk, &place).unwrap();
        let disk = disk.crash();
        assert_eq!(look(&disk).ending, Ending::Whole, "{what}");
        assert_eq!(verify_held(&disk).unwrap().missing, [""; 0], "{what} {place:?} {:?}", disk.list());
        life.written.truncate(life.checkpoint as usize);
        life.restart(disk.clone());
        assert_eq!(readable(&life, &life.log), could, "{what}: after the repair");
        // A copy of it is as good as any, unless something is lost.
        let (archive, into) = (FaultyDisk::new(1), FaultyDisk::new(2));
        let made = backup(&disk, &archive, 1);
        assert_eq!(made.is_ok(), place.messages == 0, "{what}: {made:?}");
        copied += usize::from(made.is_ok());
        if made.is_ok() {
            restore(&archive, &into, Until::End).unwrap();
            assert_eq!(readable(&life, &start(&into).unwrap().0), could, "{what}: restored");
        }
        // It goes on for a long time, and nothing that could be read is lost on the way.
        let mut rng = fastrand::Rng::with_seed(seed);
        for round in 0..3 {
            life.write(&mut rng, 30);
            assert!(others.iter().all(|name| disk.content(name).is_some()) || round > 0, "{what}");
            life.checkpoint().unwrap();
            life.log.syncer().sync().unwrap();
            let crashed = life.disk.crash();
            life.restart(crashed);
            let now = readable(&life, &life.log);
            assert!(could.iter().all(|at| now.contains(at)), "{what}: round {round}");
            assert_eq!(now.len(), life.alive.len() - lost, "{what}: round {round}");
        }
        assert!(!matches!(look(&life.disk).ending, Ending::Damaged(_)), "{what}");
    }
    assert!(held_files > 100 && lost_some > 3, "{held_files} held files, {lost_some} had lost something");
    assert!(copied > 3, "{copied} were copied");
}

/// One that is there for messages only is not taken for the one that is missing, and copies behind it are not thrown away.
#[test]
fn what_is_behind_a_held_segment_is_not_thrown_away_for_a_missing_one() {
    let mut tried = 0;
    for seed in 0..30 {
        let (life, segments) = life(seed, 2 + seed % 3);
        if segments.len() < 2 {
            continue;
        }
        tried += 1;
        let disk = life.disk.crash();
        disk.remove(segments.last().unwrap()).unwrap();
        let before = contents(&disk);
        assert!(matches!(look(&disk).ending, Ending::Damaged(_)));
        assert!(start(&disk).is_err());
        let Ending::Damaged(place) = look(&disk).ending else { unreachable!() };
        repair(&disk, &place).unwrap();
        start(&disk).unwrap();
        for (name, content) in before.into_iter().filter(|(name, _)| name.ends_with(".bodies")) {
            assert_eq!(disk.content(&name), content, "seed {seed}: {name}");
        }
    }
    assert!(tried > 10, "only {tried} were tried");
}

/// A crash at any step of a repair leaves what can be repaired.
#[test]
fn a_repair_may_be_broken_off() {
    for seed in 0..12 {
        let (mut life, segments) = life(seed, 2);
        let newest = segments.last().unwrap();
        let bytes = life.disk.content(newest).unwrap();
        let disk = life.disk.crash();
        disk.put(newest, &bytes.iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>());
        let mut disk = disk;
        for syncs in 0..12 {
            let Ending::Damaged(place) = look(&disk).ending else { break };
            disk.fail_syncs_after(syncs % 5);
            let _ = repair(&disk, &place);
            disk = disk.crash();
        }
        if let Ending::Damaged(place) = look(&disk).ending {
            repair(&disk, &place).unwrap();
        }
        life.written.truncate(life.checkpoint as usize);
        life.restart(disk.crash());
        life.written.push(add(&mut life.tail, life.checkpoint + 1, b"afterwards"));
        life.log.write(&mut life.tail).unwrap();
    }
}

/// Looking at a log says what a start would do with it, and changes nothing; what is damaged can be cut, and is kept.
#[test]
fn an_inspection_foretells_the_start_and_a_repair_makes_it_possible() {
    let disk = FaultyDisk::new(1);
    let mut log = open(&disk, 512);
    replay(&mut log).unwrap();
    let mut tail = Tail::default();
    for position in 1..=40 {
        add(&mut tail, position, &[position as u8; 60]);
        log.write(&mut tail).unwrap();
        log.syncer().sync().unwrap();
    }
    let names: Vec<String> = disk.list().unwrap();
    let contents: Vec<Vec<u8>> = names.iter().map(|name| disk.content(name).unwrap()).collect();
    let (mut torn, mut damaged) = (0, 0);
    for (i, content) in contents.iter().enumerate() {
        for at in (0..content.len()).step_by(7) {
            let disk = FaultyDisk::new(2);
            names.iter().zip(&contents).for_each(|(name, content)| disk.put(name, content));
            let mut changed = content.clone();
            changed[at] ^= 0x55;
            disk.put(&names[i], &changed);
            let all = |disk: &FaultyDisk| -> Vec<_> {
                disk.list().unwrap().into_iter().map(|name| (disk.content(&name), name)).collect()
            };
            let before = all(&disk);
            let looked = inspect(&disk, &mut |_| Ok(()));
            assert_eq!(all(&disk), before, "looking changes nothing");
            let Ok(looked) = looked else {
                assert!(replay(&mut open(&disk, 512)).is_err(), "a format that is not known is no damage");
                continue;
            };
            match looked.ending {
                Ending::Whole => {
                    let noticed = &looked.summary.noticed;
                    assert!(
                        noticed.len() == 1 && noticed[0].contains(&names[i]),
                        "nobody sees {at} of {}",
                        names[i]
                    );
                    assert_eq!(replay(&mut open(&disk, 512)).unwrap().1.len(), 40);
                }
                Ending::Torn(place) => {
                    torn += 1;
                    let (summary, _) = replay(&mut open(&disk, 512)).unwrap();
                    let cut = summary.cut.unwrap();
                    assert_eq!((cut.file, cut.offset), place.end.unwrap_or((names[0].clone(), 0)));
                    assert_eq!(summary.last_position, looked.summary.last_position);
                }
                Ending::Damaged(place) => {
                    damaged += 1;
                    let refusal = replay(&mut open(&disk, 512)).unwrap_err();
                    assert!(
                        matches!(&refusal, Error::Corrupt { file, offset, .. } if *file == place.file && *offset == place.offset),
                        "{refusal} is not {place:?}"
                    );
                    assert_eq!(place.last_behind, Some(40), "what would be lost can be made out");
                    let kept = repair(&disk, &place).unwrap();
                    let disk = disk.crash();
                    let (summary, _) = replay(&mut open(&disk, 512)).unwrap();
                    assert_eq!((summary.cut, summary.last_position), (None, looked.summary.last_position));
                    let bytes: usize = kept.iter().map(|name| disk.content(name).unwrap().len()).sum();
                    assert!(bytes as u64 >= place.bytes_behind, "what was cut is kept");
                }
            }
        }
    }
    assert!(torn > 5 && damaged > 100, "{torn} torn, {damaged} damaged");
}

#[test]
fn a_second_repair_leaves_what_the_first_has_kept() {
    let disk = FaultyDisk::new(1);
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..4 {
        let mut log = open(&disk, 512);
        let (summary, _) = replay(&mut log).unwrap();
        let mut tail = Tail::default();
        for position in 1..=20 {
            add(&mut tail, summary.last_position + position, &[round; 60]);
            log.write(&mut tail).unwrap();
            log.syncer().sync().unwrap();
        }
        let second = segment_name(2);
        let mut bytes = disk.content(&second).unwrap();
        bytes[100] ^= 1;
        disk.put(&second, &bytes);
        let Ending::Damaged(place) = look(&disk).ending else { panic!("it is damaged") };
        for name in repair(&disk, &place).unwrap() {
            assert!(kept.iter().all(|(known, _)| *known != name), "{name} was there");
            kept.push((name.clone(), disk.content(&name).unwrap()));
        }
        for (name, bytes) in &kept {
            assert!(disk.content(name).as_ref() == Some(bytes), "round {round}: {name}");
        }
    }
    assert!(kept.len() > 12, "{} were kept", kept.len());
}
