//! What is damaged or missing among the files that a checkpoint holds: nothing goes for that, the log starts, everything else is read,
//! and whoever verifies or copies is told. What is missing altogether is refused.

use super::reader::{Life, read};
use super::{add, open, replay};
use crate::archive::listing::backup_name;
use crate::bodies::{BodiesWriter, bodies_name};
use crate::faulty::FaultyDisk;
use crate::held::files_held;
use crate::log::segment_name;
use crate::{
    Ending, Error, Storage, Until, Why, backup, backups, explain, gaps, inspect, restore, stand_in,
    verify_held,
};
use leveret_base::codec::Place;

/// Old messages of which some files have many and others few, and a few that span two or more.
fn life(seed: u64) -> Life {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut life = Life::new(seed, 1024);
    for _ in 0..3 {
        life.write(&mut rng, 50);
        let [from, chance] = [life.alive.len() as u64 / 2, rng.u64(10..60)];
        life.alive.retain(|at| *at < from && at % 5 > 1 || rng.u64(..100) < chance);
        life.checkpoint().unwrap();
    }
    life.log.syncer().sync().unwrap();
    life
}

/// What was not read of what lives.
fn unreadable(life: &Life) -> Vec<u64> {
    let mut reader = life.log.reader();
    let is_there = |at: &u64| match read(&mut reader, *at) {
        Ok(Some(found)) => {
            assert_eq!(found, life.written[*at as usize - 1].1, "position {at}");
            true
        }
        Ok(None) | Err(Error::Corrupt { .. }) => false,
        Err(other) => panic!("position {at}: {other}"),
    };
    let mut is_there = is_there;
    life.alive.iter().copied().filter(|at| !is_there(at)).collect()
}

/// Damages one held file: a start and a later checkpoint leave it where it is, and everybody says so. Gives what cannot be read.
fn damaged(life: &mut Life, name: &str, bytes: &[u8], what: &str) -> Vec<u64> {
    let disk = life.disk.crash();
    disk.put(name, bytes);
    let held = verify_held(&disk).unwrap();
    assert!(held.damage.len() == 1 && held.damage[0].0 == name, "{what}: {held:?}");
    assert_eq!(held.missing, [""; 0], "{what}");
    let error = backup(&disk, &FaultyDisk::new(1), 1).unwrap_err().to_string();
    assert!(error.contains(name), "{what}: {error}");
    let whys = explain(&disk).unwrap();
    let why = whys.iter().find(|explained| explained.file == name).map(|explained| explained.why);
    assert!(matches!(why, Some(Why::Holds { .. })), "{what}: {why:?}");
    life.restart(disk);
    let lost = unreadable(life);
    assert!(life.disk.content(name).is_some(), "{what}: a start has removed it");
    let is_said = life.damaged.iter().any(|file| file == name);
    assert!(is_said || lost.is_empty(), "{what}: a start says {:?}", life.damaged);
    life.checkpoint().unwrap();
    // A copy of all that was wanted may take its place.
    assert!(life.disk.content(name).is_some() || lost.is_empty(), "{what}: a checkpoint has removed it");
    assert_eq!(unreadable(life), lost, "{what}: after a checkpoint");
    life.log.syncer().sync().unwrap();
    let disk = life.disk.clone();
    life.restart(disk);
    assert_eq!(unreadable(life), lost, "{what}: after another start");
    lost
}

/// Every damage to heads that is tried, for each held file of this kind.
fn heads(ending: &str, head: usize) -> usize {
    let mut files = 0;
    for seed in 0..4 {
        let whole = life(seed);
        for name in files_held(&whole.disk).unwrap().iter().filter(|name| name.ends_with(ending)) {
            files += 1;
            let bytes = whole.disk.content(name).unwrap();
            let again = || {
                let mut again = life(seed);
                again.disk = whole.disk.clone();
                again
            };
            for at in (0..head).step_by(3) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0xff;
                let lost = damaged(&mut again(), name, &flipped, &format!("seed {seed}: {name} at {at}"));
                assert_eq!(lost, [0; 0], "seed {seed}: {name} at {at}: the blocks are whole");
            }
            for len in [0, 1, head - 1] {
                let what = format!("seed {seed}: {name} of {len} bytes");
                let lost = damaged(&mut again(), name, &bytes[..len], &what);
                assert!(lost.len() < whole.alive.len(), "{what}: others can be read");
            }
            let mut garbage = bytes.clone();
            garbage.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7));
            damaged(&mut again(), name, &garbage, &format!("seed {seed}: {name} is something else"));
        }
    }
    files
}

#[test]
fn a_held_segment_with_a_damaged_head_stays_and_is_read() {
    let files = heads(".segment", 32);
    assert!(files > 8, "only {files} were tried");
}

#[test]
fn a_file_of_messages_with_a_damaged_head_stays_and_is_read() {
    let files = heads(".bodies", 40);
    assert!(files > 8, "only {files} were tried");
}

#[test]
fn what_is_missing_is_missed_by_everybody_and_what_is_not_needed_is_not() {
    let (mut missed, mut unneeded) = (0, 0);
    for seed in 0..60 {
        let mut life = life(seed);
        for name in files_held(&life.disk).unwrap() {
            let disk = life.disk.crash();
            let Some(whole) = disk.content(&name) else { continue };
            disk.remove(&name).unwrap();
            life.log = open(&disk, 1024);
            let started = life.log.restore(&mut |_| Ok(()));
            let held = verify_held(&disk).unwrap();
            let made = backup(&disk, &FaultyDisk::new(1), 1);
            let what = format!("seed {seed}: {name}");
            let lost = unreadable(&life);
            if lost.is_empty() {
                unneeded += 1;
                assert!(started.is_ok() && held.missing.is_empty() && made.is_ok(), "{what}: {held:?}");
                continue;
            }
            missed += 1;
            assert_eq!((held.missing.len(), held.damage.len()), (1, 0), "{what}: {held:?}");
            for error in [started.unwrap_err(), made.unwrap_err()] {
                assert!(error.to_string().contains(&held.missing[0]), "{what}: {error}");
            }
            // Nothing can be done but to wait for what it had; everything else goes on.
            let found = gaps(&disk).unwrap();
            assert!(found.len() == 1 && found[0].messages >= 2 * lost.len() as u64, "{what}: {found:?}");
            let (first, last) = found[0].positions;
            assert!(lost.iter().all(|at| (first..=last).contains(at)), "{what}: {found:?} for {lost:?}");
            if missed % 8 == 0 {
                let repaired = disk.clone();
                let stands = stand_in(&repaired, &found).unwrap().remove(0);
                assert_eq!(verify_held(&repaired).unwrap().missing, [""; 0], "{what}");
                let mut again = self::life(seed);
                again.restart(repaired);
                assert_eq!(unreadable(&again), lost, "{what}");
                again.checkpoint().unwrap();
                assert_eq!(unreadable(&again), lost, "{what}");
                again.disk.remove(&stands).unwrap();
                again.disk.put(&name, &whole);
                again.log.syncer().sync().unwrap();
                let disk = again.disk.clone();
                again.restart(disk);
                assert_eq!(unreadable(&again), [0; 0], "{what}: it was put back");
            }
            // Which one that is can be told if its neighbours are there.
            let ordinal = name.get(..20).unwrap();
            let said = &held.missing[0];
            assert!(
                said.contains("is missing") && (said.contains(ordinal) || said.contains("one of ")),
                "{said}"
            );
        }
    }
    assert!(missed > 300, "only {missed} were missed");
    // Where a message spans two files and is whole in both of them.
    assert!(unneeded < missed / 10, "{unneeded} were not needed");
}

#[test]
fn a_backup_goes_on_only_from_what_is_whole() {
    let (life, archive) = (life(1), FaultyDisk::new(1));
    backup(&life.disk, &archive, 1).unwrap();
    let name = files_held(&life.disk).unwrap().into_iter().nth(2).unwrap();
    let bytes = life.disk.content(&name).unwrap();
    life.disk.remove(&name).unwrap();
    // Of the same checkpoint, which the archive has.
    let error = backup(&life.disk, &archive, 2).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
    life.disk.put(&name, &bytes);
    backup(&life.disk, &archive, 3).unwrap();
    restore(&archive, &FaultyDisk::new(2), Until::End).unwrap();
    // One that was made before this was looked at.
    let list = backup_name(backups(&archive).unwrap().whole.pop().unwrap().number);
    let text = String::from_utf8(archive.content(&list).unwrap()).unwrap();
    let held = files_held(&life.disk).unwrap();
    let left_out = held.iter().find(|name| name.ends_with(".segment")).unwrap();
    let is_left = |line: &&str| !line.contains(left_out.as_str()) && !line.starts_with("end ");
    let text: String = text.split_inclusive('\n').filter(is_left).collect();
    archive.put(&list, format!("{text}end {:08x}\n", crc32c::crc32c(text.as_bytes())).as_bytes());
    let error = restore(&archive, &FaultyDisk::new(2), Until::End).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
}

#[test]
fn a_held_file_that_ends_early_is_found() {
    let mut found = 0;
    for seed in 0..10 {
        let life = life(seed);
        for name in files_held(&life.disk).unwrap() {
            let bytes = life.disk.content(&name).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            let head = if name.ends_with(".segment") { 32 } else { 40 };
            // Only its head, and all but its last block: neither is damage by itself.
            let last = (head + 1..used).rev().find(|at| bytes[*at..].starts_with(b"LVBK"));
            for len in [Some(head), last].into_iter().flatten() {
                let disk = life.disk.crash();
                disk.put(&name, &bytes[..len]);
                let held = verify_held(&disk).unwrap();
                let lost = {
                    let mut log = open(&disk, 1024);
                    let is_refused = log.restore(&mut |_| Ok(())).is_err();
                    assert!(!is_refused || !held.missing.is_empty(), "seed {seed}: {name}: {held:?}");
                    let (mut reader, life) = (log.reader(), &life);
                    life.alive.iter().filter(|at| !matches!(read(&mut reader, **at), Ok(Some(_)))).count()
                };
                let is_said = held.damage.iter().any(|(file, ..)| *file == name) || !held.missing.is_empty();
                assert!(is_said || lost == 0, "seed {seed}: {name} of {len} bytes: {lost} are lost");
                found += usize::from(is_said);
            }
        }
    }
    assert!(found > 100, "only {found} were found");
}

#[test]
fn a_torn_head_of_the_newest_segment_is_still_cut() {
    for (len, garbage) in [(0, 0), (20, 0xff), (32, 0x55)] {
        let mut life = life(3);
        let newest = life.disk.list().unwrap().into_iter().filter(|name| name.ends_with(".segment")).max();
        let ordinal: u64 = newest.unwrap()[..20].parse().unwrap();
        let torn = segment_name(ordinal + 1);
        let before = files_held(&life.disk).unwrap();
        let disk = life.disk.crash();
        disk.put(&torn, &vec![garbage; len]);
        assert_eq!(files_held(&disk).unwrap(), before, "it holds nothing");
        life.restart(disk);
        assert!(life.disk.content(&torn).is_none(), "it is cut");
        assert_eq!(unreadable(&life), [0; 0]);
        life.written.push(add(&mut life.tail, life.written.len() as u64 + 1, b"afterwards"));
        life.log.write(&mut life.tail).unwrap();
        life.log.syncer().sync().unwrap();
    }
}

/// Heads and blocks that say what they like, with the right checksums.
#[test]
fn hostile_files_are_survived() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let life = life(seed % 3);
        let disk = life.disk.crash();
        for name in files_held(&disk).unwrap() {
            let mut bytes = disk.content(&name).unwrap();
            match rng.u8(..6) {
                0 => disk.remove(&name).unwrap(),
                1 => disk.put(&name, &bytes[..rng.usize(..=bytes.len())]),
                2 => {
                    for _ in 0..rng.usize(1..9) {
                        let at = rng.usize(..bytes.len());
                        bytes[at] = rng.u8(..);
                    }
                    disk.put(&name, &bytes);
                }
                3 if name.ends_with(".segment") => {
                    let ordinal = name[..20].parse().unwrap();
                    bytes[..32].copy_from_slice(&crate::block::segment_head(ordinal, rng.u64(..)));
                    disk.put(&name, &bytes);
                }
                4 => disk.put(&name.replacen('0', "9", 1), &bytes),
                _ => {}
            }
        }
        let _ = (verify_held(&disk), explain(&disk), backup(&disk, &FaultyDisk::new(1), 1));
        let mut log = open(&disk, 1024);
        if log.restore(&mut |_| Ok(())).is_ok() && replay(&mut log).is_ok() {
            let mut reader = log.reader();
            for &at in &life.alive {
                if let Ok(Some(found)) = read(&mut reader, at) {
                    assert_eq!(found, life.written[at as usize - 1].1, "seed {seed}");
                }
            }
        }
    }
}

/// Everything that a checkpoint has was on disk before it: that is no trace of a power cut.
#[test]
fn the_segment_that_a_checkpoint_ends_in_is_never_cut() {
    let mut alone = 0;
    for seed in 0..8 {
        let mut life = life(seed);
        // What comes before it is not there any more, or only what is left of it.
        life.alive.retain(|at| at % 9 == 0);
        if seed % 2 == 0 {
            life.alive.clear();
        }
        life.checkpoint().unwrap();
        life.log.syncer().sync().unwrap();
        let segments: Vec<String> =
            life.disk.list().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
        let newest = segments.iter().max().unwrap();
        alone += usize::from(segments.len() == 1);
        let bytes = life.disk.content(newest).unwrap();
        let flipped: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
        for damaged in [&flipped[..], &bytes[..20], &[]] {
            let disk = life.disk.clone();
            disk.put(newest, damaged);
            let looked = inspect(&disk, &mut |_| Ok(())).unwrap();
            assert!(matches!(looked.ending, Ending::Damaged(_)), "seed {seed}: {looked:?}");
            let mut log = open(&disk, 1024);
            log.restore(&mut |_| Ok(())).unwrap();
            let error = replay(&mut log).unwrap_err().to_string();
            assert!(error.contains("although the checkpoint says"), "{error}");
            assert_eq!(disk.content(newest).as_deref(), Some(damaged));
            backup(&disk, &FaultyDisk::new(1), 1).unwrap_err();
        }
    }
    assert!((4..8).contains(&alone), "{alone} were alone");
}

/// A held segment of which only the head is left, or that was cut between two blocks, is damaged; no file behind it is missing.
#[test]
fn a_held_segment_that_was_cut_is_not_taken_for_a_missing_one() {
    let (mut heads, mut blocks) = (0, 0);
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut whole = Life::new(seed, 16 * 1024);
        for _ in 0..60 {
            let count = rng.usize(1..5);
            whole.write(&mut rng, count);
            whole.log.preparer().run(&mut || ()).unwrap();
        }
        // Most of some segments lives, and nothing of what is between.
        whole.alive.retain(|at| at % 50 < 30);
        whole.checkpoint().unwrap();
        whole.log.syncer().sync().unwrap();
        whole.disk.sync_dir().unwrap();
        let names = whole.disk.list().unwrap();
        let segments: Vec<u64> = names
            .iter()
            .filter(|name| name.ends_with(".segment"))
            .map(|name| name[..20].parse().unwrap())
            .collect();
        for pair in segments.windows(2).filter(|pair| pair[1] > pair[0] + 1) {
            let name = segment_name(pair[0]);
            if names
                .iter()
                .any(|other| *other > name && other.ends_with(".bodies") && *other < segment_name(pair[1]))
            {
                continue;
            }
            let bytes = whole.disk.content(&name).unwrap();
            let ends = (33..bytes.len()).filter(|at| bytes[*at..].starts_with(b"LVBK") && at % 4096 != 0);
            for len in std::iter::once(32).chain(ends.step_by(3)) {
                let disk = whole.disk.crash();
                disk.put(&name, &bytes[..len]);
                let what = format!("seed {seed}: {name} of {len} bytes");
                let held = verify_held(&disk).unwrap();
                assert_eq!(held.missing, [""; 0], "{what}");
                let mut log = open(&disk, 16 * 1024);
                log.restore(&mut |_| Ok(())).unwrap_or_else(|error| panic!("{what}: {error}"));
                let (summary, _) = replay(&mut log).unwrap();
                let mut reader = log.reader();
                let lost =
                    whole.alive.iter().filter(|at| !matches!(read(&mut reader, **at), Ok(Some(_)))).count();
                if lost == 0 {
                    continue;
                }
                assert_eq!(summary.damaged, [name.as_str()], "{what}");
                assert!(held.damage.len() == 1 && held.damage[0].0 == name, "{what}: {held:?}");
                assert!(backup(&disk, &FaultyDisk::new(1), 1).is_err(), "{what}");
                *(if len == 32 { &mut heads } else { &mut blocks }) += 1;
            }
        }
    }
    assert!(heads > 3 && blocks > 3, "{heads} heads, {blocks} blocks");
}

/// A file that looks like what is left of a segment, whose number is that of one which is needed or comes later, is believed by nobody.
#[test]
fn what_is_left_of_no_segment_is_not_believed() {
    let mut tried = 0;
    for seed in 0..12 {
        for (behind, content) in [(0, 0), (1, 0), (1, 1), (7, 1), (0, 2), (3, 2)] {
            let mut life = life(seed);
            let disk = life.disk.crash();
            let names = disk.list().unwrap();
            let newest: u64 =
                names.iter().filter(|name| name.ends_with(".segment")).max().unwrap()[..20].parse().unwrap();
            let strange = bodies_name(newest + behind, life.checkpoint);
            let copy =
                names.iter().find(|name| name.ends_with(".bodies")).map(|name| disk.content(name).unwrap());
            match content {
                0 => disk.put(&strange, &[]),
                1 => disk.put(&strange, &[0x55; 100]),
                // With a head that is right.
                _ => {
                    let mut writer = BodiesWriter::begin(&disk, newest + behind, life.checkpoint).unwrap();
                    writer
                        .put(Place { position: life.checkpoint, offset: 0 }, &copy.unwrap_or_default())
                        .unwrap();
                    writer.finish(&disk, life.checkpoint).unwrap();
                }
            }
            tried += 1;
            let what = format!("seed {seed}: {strange}");
            let held = verify_held(&disk).unwrap();
            assert_eq!((&held.damage[..], &held.missing[..]), (&[][..], &[][..]), "{what}");
            disk.keep(seed % 2 == 0, None);
            life.restart(disk);
            assert!(
                life.noticed.len() == 1 && life.noticed[0].contains(&strange),
                "{what}: {:?}",
                life.noticed
            );
            assert!(life.disk.content(&strange).is_none());
            life.check(&what);
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..3 {
                life.write(&mut rng, 30);
                let chance = rng.u8(5..60);
                life.alive.retain(|_| rng.u8(..100) < chance);
                life.checkpoint().unwrap();
                life.check(&what);
                life.log.syncer().sync().unwrap();
                let disk = life.disk.crash();
                life.restart(disk);
                life.check(&what);
            }
        }
    }
    assert_eq!(tried, 72);
}
