//! Damage that a start passes over, because everything behind the checkpoint is whole: what is damaged waits, and nothing else is lost.

use super::anew::{look, readable};
use super::reader::Life;
use super::{add, open, replay};
use crate::block::{self, BLOCK_HEAD, Found, Part, Records, SEGMENT_HEAD};
use crate::faulty::FaultyDisk;
use crate::log::segment_ordinal;
use crate::{Ending, Storage, Tail, repair, verify_held};
use leveret_base::codec::Place;
use std::ops::Range;

const SEGMENT: u64 = 4096;

/// The blocks of a segment: their bytes, and the positions of which something is in them.
fn blocks(bytes: &[u8], ordinal: u64) -> Vec<(Range<usize>, Range<u64>)> {
    let (mut at, mut found) = (SEGMENT_HEAD, Vec::new());
    while let Ok(Found::Block(head, payload)) = block::read(&bytes[at..], ordinal) {
        let (first, end) = (head.first.position, at + BLOCK_HEAD + payload.len());
        let count =
            if head.part == Part::Whole { Records::new(head.first, payload).count() as u64 } else { 1 };
        found.push((at..end, first..first + count));
        at = end;
    }
    found
}

/// Short turns, a checkpoint, more of them. Some of what the checkpoint has is alive; the segment it ends in is the last but some.
fn life(seed: u64) -> (Life, String) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut life = Life::new(seed, SEGMENT);
    let write = |life: &mut Life, rng: &mut fastrand::Rng, turns: usize| {
        for _ in 0..turns {
            let count = rng.usize(1..4);
            life.write(rng, count);
            life.log.preparer().run(&mut || ()).unwrap();
        }
    };
    write(&mut life, &mut rng, 40);
    let keeps = 1 + seed % 3;
    life.alive.retain(|at| at % keeps == 0);
    life.checkpoint().unwrap();
    write(&mut life, &mut rng, 30);
    life.alive.retain(|at| at % keeps == 0 && seed % 4 < 3);
    life.checkpoint().unwrap();
    let newest =
        life.disk.list().unwrap().into_iter().filter(|name| name.ends_with(".segment")).max().unwrap();
    let after = life.written.len();
    write(&mut life, &mut rng, 6);
    life.log.syncer().sync().unwrap();
    life.alive.retain(|at| *at <= after as u64);
    (life, newest)
}

/// Checkpoints and power cuts go on, and nothing more is missed.
fn goes_on(life: &mut Life, seed: u64, missed: usize, what: &str) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..2 {
        life.write(&mut rng, 40);
        life.checkpoint().unwrap();
        life.log.syncer().sync().unwrap();
        let disk = life.disk.crash();
        life.restart(disk);
        let now = readable(life, &life.log);
        assert_eq!(now.len(), life.alive.len() - missed, "{what}: later");
    }
}

fn flipped(disk: &FaultyDisk, name: &str, at: usize, flip: u8) -> FaultyDisk {
    let disk = disk.crash();
    let mut bytes = disk.content(name).unwrap();
    bytes[at] ^= flip;
    disk.put(name, &bytes);
    disk
}

#[test]
fn what_the_checkpoint_has_is_not_needed() {
    let (mut passed, mut waits, mut refused) = (0, 0, 0);
    for seed in 0..16 {
        let (whole, newest) = life(seed);
        let ordinal = segment_ordinal(&newest).unwrap();
        let bytes = whole.disk.content(&newest).unwrap();
        for (place, positions) in blocks(&bytes, ordinal) {
            let is_in = positions.end - 1 <= whole.checkpoint;
            for (at, flip) in
                [(0, 1), (5, 1), (6, 0x70), (9, 4), (25, 1), (BLOCK_HEAD + 3, 0x80), (place.len() - 1, 1)]
            {
                let what = format!(
                    "seed {seed}: {newest} at {} + {at}, {positions:?} of {}",
                    place.start, whole.checkpoint
                );
                let disk = flipped(&whole.disk, &newest, place.start + at, flip);
                let lost: Vec<u64> =
                    whole.alive.iter().copied().filter(|at| positions.contains(at)).collect();
                let looked = look(&disk);
                if !is_in {
                    refused += 1;
                    match looked.ending {
                        Ending::Whole => panic!("{what}: it is passed over"),
                        Ending::Torn(_) => {}
                        Ending::Damaged(damage) => {
                            assert_eq!(
                                (&damage.file, damage.offset),
                                (&newest, place.start as u64),
                                "{what}"
                            );
                            drop(repair(&disk, &damage).unwrap());
                        }
                    }
                    let mut log = open(&disk, SEGMENT);
                    log.restore(&mut |_| Ok(())).unwrap();
                    let (_, records) = replay(&mut log).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(
                        records,
                        whole.written[whole.checkpoint as usize..][..records.len()],
                        "{what}"
                    );
                    let there = readable(&whole, &log);
                    let all = whole.alive.iter().filter(|at| !positions.contains(at));
                    assert!(all.into_iter().all(|at| there.contains(at)), "{what}");
                    continue;
                }
                passed += 1;
                assert!(
                    looked.ending == Ending::Whole && looked.summary.noticed.len() == 1,
                    "{what}: {looked:?}"
                );
                let held = verify_held(&disk).unwrap();
                assert_eq!(held.missing, [""; 0], "{what}");
                let is_said = held
                    .damage
                    .iter()
                    .any(|(file, offset, _)| *file == newest && *offset == place.start as u64);
                assert_eq!(
                    (is_said, held.damage.len()),
                    (!lost.is_empty(), usize::from(is_said)),
                    "{what}: {held:?}"
                );
                let (mut life, _) = life(seed);
                life.restart(disk);
                assert_eq!(life.damaged.contains(&newest), is_said, "{what}");
                assert_eq!(life.noticed, looked.summary.noticed);
                waits += usize::from(is_said);
                let could = readable(&life, &life.log);
                let missed: Vec<u64> = life.alive.iter().copied().filter(|at| !could.contains(at)).collect();
                // A message that goes on there may be whole in the file before.
                assert!(
                    missed.iter().all(|at| lost.contains(at)),
                    "{what}: {missed:?} cannot be read {:?} {:?}",
                    blocks(&bytes, ordinal),
                    life.disk.list()
                );
                goes_on(&mut life, seed, missed.len(), &what);
            }
        }
    }
    assert!(
        passed > 200 && waits > 100 && refused > 100,
        "{passed} passed over, {waits} wait, {refused} refused"
    );
}

/// A damaged head: its first block says the same, and nothing is lost; a start writes it again.
#[test]
fn a_head_is_told_by_what_stands_behind_it() {
    let (mut alone, mut behind_held) = (0, 0);
    for seed in 0..16 {
        let (whole, newest) = life(seed);
        let segments: Vec<String> =
            whole.disk.list().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
        for name in segments.iter().filter(|name| **name >= newest) {
            for at in [0, 8, 13, 20, 30] {
                let what = format!("seed {seed}: {name} at {at}");
                let disk = flipped(&whole.disk, name, at, 0x41);
                let looked = look(&disk);
                assert!(
                    looked.ending == Ending::Whole && looked.summary.noticed.len() == 1,
                    "{what}: {looked:?}"
                );
                assert!(looked.summary.noticed[0].contains(name), "{what}: {looked:?}");
                let held = verify_held(&disk).unwrap();
                assert!(held.damage.is_empty() && held.missing.is_empty(), "{what}: {held:?}");
                let (mut life, _) = life(seed);
                life.restart(disk);
                assert_eq!(readable(&life, &life.log), life.alive, "{what}");
                assert_eq!(life.disk.content(name), whole.disk.content(name), "{what}: it is mended");
                if *name == newest {
                    alone += usize::from(segments[0] == newest);
                    behind_held += usize::from(segments[0] != newest);
                }
            }
        }
        // Its first block as well, if that is in the checkpoint.
        let bytes = whole.disk.content(&newest).unwrap();
        let (place, positions) = blocks(&bytes, segment_ordinal(&newest).unwrap()).remove(0);
        if positions.end - 1 > whole.checkpoint {
            continue;
        }
        for at in [place.start, place.start + 5, place.end - 1] {
            let what = format!("seed {seed}: {newest} at 20 and at {at}");
            let disk = flipped(&flipped(&whole.disk, &newest, 20, 0x41), &newest, at, 4);
            let looked = look(&disk);
            assert!(
                looked.ending == Ending::Whole && looked.summary.noticed.len() == 1,
                "{what}: {looked:?}"
            );
            assert_eq!(verify_held(&disk).unwrap().missing, [""; 0], "{what}");
            let (mut life, _) = life(seed);
            life.restart(disk);
            let could = readable(&life, &life.log);
            let missed: Vec<u64> = life.alive.iter().copied().filter(|at| !could.contains(at)).collect();
            assert!(missed.iter().all(|at| positions.contains(at)), "{what}: {missed:?} of {positions:?}");
            assert_eq!(
                life.damaged.contains(&newest),
                whole.alive.iter().any(|at| positions.contains(at)),
                "{what}"
            );
            goes_on(&mut life, seed, missed.len(), &what);
        }
    }
    assert!(alone > 4 && behind_held > 30, "{alone} alone, {behind_held} behind held segments");
}

/// What stands behind the last block of a segment was nothing, if the next one goes on.
#[test]
fn nothing_is_missing_where_the_next_segment_goes_on() {
    let mut tried = 0;
    for seed in 0..20 {
        let (whole, newest) = life(seed);
        let segments: Vec<String> =
            whole.disk.list().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
        let needed: Vec<&String> = segments.iter().filter(|name| **name >= newest).collect();
        let [before, .., _] = needed[..] else { continue };
        let bytes = whole.disk.content(before).unwrap();
        let used = blocks(&bytes, segment_ordinal(before).unwrap()).last().unwrap().0.end;
        for at in [used, used + 100, bytes.len() - 1] {
            if !(used..bytes.len()).contains(&at) {
                continue;
            }
            let what = format!("seed {seed}: {before} at {at} of {used}");
            let disk = flipped(&whole.disk, before, at, 1);
            let looked = look(&disk);
            let begins = crate::reach::begins(&disk, segment_ordinal(before).unwrap() + 1).unwrap();
            if begins {
                tried += 1;
                assert!(
                    looked.ending == Ending::Whole && looked.summary.noticed.len() == 1,
                    "{what}: {looked:?}"
                );
                let (mut life, _) = life(seed);
                life.restart(disk);
                assert_eq!(readable(&life, &life.log), life.alive, "{what}");
            }
        }
    }
    assert!(tried > 5, "only {tried} were tried");
}

/// A log that nobody synced while it was written to, and then was left in order: damage to it is damage. If it was not left in order, what
/// can be read behind the damage is kept.
#[test]
fn what_is_not_known_to_have_been_synced_is_kept() {
    let (mut refused, mut kept) = (0, 0);
    for (seed, proves) in (0..10).flat_map(|seed| [(seed, false), (seed, true)]) {
        let disk = FaultyDisk::new(seed);
        let mut log = open(&disk, 1024);
        replay(&mut log).unwrap();
        let (mut tail, mut written) = (Tail::default(), Vec::new());
        for position in 1..=40 {
            written.push(add(&mut tail, position, &vec![position as u8; 60 + seed as usize]));
            log.write(&mut tail).unwrap();
        }
        log.syncer().sync().unwrap();
        let names = disk.list().unwrap();
        if proves {
            let size = |name: &String| disk.content(name).unwrap().len();
            let before: usize = names.iter().map(size).sum();
            for _ in 0..3 {
                log.prove_synced().unwrap();
                log.syncer().sync().unwrap();
                log = open(&disk, 1024);
                assert_eq!(replay(&mut log).unwrap().1, written);
            }
            let now: usize = names.iter().map(size).sum();
            assert!(now <= before + BLOCK_HEAD, "it is said once");
        }
        for name in &names[..names.len() - 1] {
            let damaged = flipped(&disk, name, 200, 1);
            let behind: usize = names.iter().filter(|other| *other > name).count();
            match (proves, look(&damaged).ending) {
                (true, Ending::Damaged(place)) => {
                    refused += 1;
                    assert_eq!((place.file.as_str(), place.last_behind), (name.as_str(), Some(40)));
                }
                (false, Ending::Torn(_)) => {
                    let (summary, _) = replay(&mut open(&damaged, 1024)).unwrap();
                    let cut = summary.cut.unwrap();
                    assert!(cut.kept.len() >= behind, "{:?}", cut.kept);
                    for file in cut.kept.iter().filter(|file| file.ends_with(".cut")) {
                        assert_eq!(damaged.content(file), disk.content(file.strip_suffix(".cut").unwrap()));
                    }
                    kept += 1;
                }
                (_, ending) => panic!("seed {seed}: {ending:?}"),
            }
        }
        // It goes on, also where the proof was.
        log = open(&disk, 1024);
        replay(&mut log).unwrap();
        for position in 41..=60 {
            written.push(add(&mut tail, position, &[position as u8; 60]));
            log.write(&mut tail).unwrap();
        }
        log.syncer().sync().unwrap();
        let mut reader = log.reader();
        for (head, changes) in &written {
            let found = reader.read(Place { position: head.position, offset: 0 }).unwrap();
            assert_eq!(found, Some(changes.as_slice()));
        }
        assert_eq!(replay(&mut open(&disk.crash(), 1024)).unwrap().1, written);
    }
    assert!(refused > 20 && kept > 20, "{refused} refused, {kept} kept");
}
