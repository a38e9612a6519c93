//! The power goes at any moment, several times in one life: what was synced is there, and what is there is exactly the
//! state after some commit. The disk tears, drops and reorders what was not synced; writes and syncs err.

use super::replays::{digest, replayed_with};
use super::world::{World, run};
use leveret_wal::faulty::FaultyDisk;
use std::collections::HashMap;

const LIVES: usize = 4;
const STEPS_MAX: usize = 250;

/// What may have been told to clients: this position is synced; this state belongs to that position.
struct Promises {
    /// Checkpoints published.
    published: u32,
    synced: u64,
    digests: HashMap<u64, u64>,
}

#[test]
fn nothing_synced_is_lost_and_nothing_is_there_by_half() {
    let (mut cut_short, mut kept_unsynced, mut published, mut read_count) = (0, 0, 0, 0);
    for seed in 0..250 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut disk = FaultyDisk::new(seed);
        // In every second one there is no memory for messages.
        let memory_bytes_max = (seed % 2 == 1).then_some(0);
        let mut promises = Promises { published: 0, synced: 0, digests: HashMap::from([(0, 0)]) };
        for life in 0..LIVES {
            let mut world = World::open_with(&disk, seed, memory_bytes_max);
            let position = world.engine.position();
            if life > 0 {
                check(&mut world, &disk, &promises, seed);
                cut_short += u32::from(!promises.digests.contains_key(&(position + 1)));
                kept_unsynced += u32::from(position > promises.synced);
            }
            // What was recovered counts as synced: recovery has made it so before anybody is answered.
            promises = Promises { published: 0, synced: position, digests: HashMap::new() };
            promises.digests.insert(position, world.digest());
            live(&mut world, &disk, &mut promises, &mut rng);
            read_count += world.read_count;
            published += promises.published;
            disk = disk.crash();
        }
    }
    // Both ends of the range were met, else the disk was too kind to prove anything.
    assert!(
        cut_short > 100 && kept_unsynced > 100 && published > 500,
        "{cut_short} and {kept_unsynced} of {}, {published} checkpoints",
        250 * (LIVES - 1)
    );
    assert!(read_count > 1000, "only {read_count} messages were read again");
}

/// Works until a step count that the seed says, or until the disk errs, which ends the process.
fn live(world: &mut World, disk: &FaultyDisk, promises: &mut Promises, rng: &mut fastrand::Rng) {
    match rng.u8(..4) {
        0 => disk.fail_writes_after(rng.u64(1..200)),
        1 => disk.fail_syncs_after(rng.u64(1..20)),
        2 => disk.full_after(rng.u64(1000..60_000)),
        _ => {}
    }
    let has_little_memory = world.engine.broker.memory_bytes_max.is_some();
    for _ in 0..rng.usize(..STEPS_MAX) {
        world.step(rng);
        if has_little_memory {
            // What is not written cannot be read.
            if world.write().is_err() {
                return;
            }
            world.fetch(rng, 3);
            if world.write().is_err() {
                return;
            }
        }
        promises.digests.insert(world.engine.position(), world.digest());
        // A turn holds several commits.
        if rng.u8(..3) > 0 && world.write().is_err() {
            return;
        }
        if rng.u8(..4) == 0 {
            match world.checkpoint(rng) {
                Ok(published) => promises.published += u32::from(published),
                Err(_) => return,
            }
        }
        if rng.u8(..10) == 0 {
            match world.syncer.sync() {
                Ok(position) => promises.synced = position,
                Err(_) => return,
            }
        }
    }
}

fn check(world: &mut World, disk: &FaultyDisk, promises: &Promises, seed: u64) {
    let (position, synced) = (world.engine.position(), promises.synced);
    assert!(position >= synced, "seed {seed}: commit {synced} was synced, {position} is the last one there");
    // A step may be several commits; the state between them is compared with the log alone.
    let (mut engine, mut reader) = replayed_with(disk, position, None);
    let live = world.digest();
    assert_eq!(live, digest(&engine, &mut reader), "seed {seed}");
    if let Some(promised) = promises.digests.get(&position) {
        assert_eq!(live, *promised, "seed {seed}: the state at {position} is not the one there was");
    }
    assert_eq!(run(&mut engine, "GET left"), run(&mut engine, "GET right"), "seed {seed}: half a commit");
}
