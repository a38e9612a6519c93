//! A message says where the log has it: whoever reads that record finds the same message there, and replay says the same.

use super::replays::replayed;
use super::world::{QUEUES, World, message};
use crate::Engine;
use leveret_broker::{Message, VhostId};
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Log, Options};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The changes of every commit in the log.
fn commits(disk: &FaultyDisk) -> BTreeMap<u64, Vec<u8>> {
    let mut commits = BTreeMap::new();
    let mut log = Log::open(Arc::new(disk.clone()), Options::default()).expect("the log opens");
    let mut keep = |record: leveret_wal::Record<'_>| {
        commits.insert(record.head.position, record.changes.to_vec());
        Ok(())
    };
    log.replay(&mut keep).expect("the log replays");
    commits
}

/// Everything that is ready.
fn drain(engine: &mut Engine) -> Vec<Arc<Message>> {
    let session = engine.open_session(0);
    let mut messages = Vec::new();
    for queue in QUEUES {
        while let Ok(Some(got)) = engine.on_broker(|txn| txn.get(VhostId(0), session, 1, queue, true)) {
            messages.push(got.message);
        }
    }
    messages
}

#[test]
fn the_log_has_a_message_where_it_says() {
    let mut found = 0;
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::open(&disk, seed);
        for _ in 0..400 {
            world.step(&mut rng);
        }
        world.engine.on_broker(|txn| txn.publish(VhostId(0), &message("q0", "alone", true))).ok();
        world.write().expect("the disk is fine");
        let commits = commits(&disk);
        for engine in [&mut world.engine, &mut replayed(&disk, u64::MAX)] {
            for message in drain(engine) {
                let Some(place) = message.place() else { continue };
                let changes = commits.get(&place.position).expect("the log has the commit");
                let read =
                    Message::read(&changes[place.offset as usize..], place).expect("a message lies there");
                assert_eq!(read, *message, "seed {seed}");
                found += 1;
            }
        }
    }
    assert!(found > 400, "only {found} messages were found");
}

#[test]
fn a_place_where_no_message_lies_is_refused() {
    let place = leveret_base::codec::Place { position: 1, offset: 0 };
    let whole = [0x46, 1, b'e', 1, b'k', 2, 0, 0, 1, b'b'];
    assert!(Message::read(&whole, place).is_ok());
    for end in 0..whole.len() {
        assert!(Message::read(&whole[..end], place).is_err());
    }
    assert!(Message::read(&whole[1..], place).is_err());
}
