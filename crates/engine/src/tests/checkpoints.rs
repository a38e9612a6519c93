//! A checkpoint is the state as it was when it began, whatever happens while it is handed over; and what comes after it in
//! the log leads from there to where the server is.

use super::replays::{digest, replayed_from};
use super::world::{World, find};
use crate::engine::KIND_COMMIT;
use crate::{Engine, Slice};
use leveret_base::codec::{Name, Place};
use leveret_keyspace::{ArgsBuf, Reply};
use leveret_resp::Version;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{CheckpointHead, Head, Record};
use std::fmt::Write;

/// One that is being handed over.
struct OnItsWay {
    head: CheckpointHead,
    digest: u64,
    changes: Vec<u8>,
    names: Vec<Name>,
}

impl OnItsWay {
    fn begin(world: &mut World) -> Self {
        let (digest, mut changes) = (world.digest(), Vec::new());
        let head = world.engine.begin_checkpoint(&mut changes).expect("there is no other");
        Self { head, digest, changes, names: Vec::new() }
    }

    /// True at the end.
    fn go_on(&mut self, engine: &mut Engine, rng: &mut fastrand::Rng) -> bool {
        engine.checkpoint_slice(rng.usize(..3000), &mut self.changes, &mut self.names) == Slice::Last
    }

    fn check(&self, disk: &FaultyDisk, world: &mut World, seed: u64) {
        let head = Head { kind: KIND_COMMIT, partition: 0, term: 0, position: 1, time_ms: 0 };
        let told = crate::describe_record(&Record { head, changes: &self.changes });
        told.expect("every change has a name, and its fields are where they should be");
        let mut restored = Engine::new(seed ^ 77, 1);
        restored.restore(&self.changes).expect("it can be read");
        restored.restored(self.head);
        let restored_digest = digest(&restored, &mut world.reader);
        assert_eq!(restored_digest, self.digest, "seed {seed}: it is not what it was");
        let mut wanted: Vec<Place> = restored.broker.places_away().collect();
        let mut named: Vec<Place> = self.names.iter().map(|name| name.place).collect();
        wanted.sort_unstable();
        named.sort_unstable();
        assert_eq!(named, wanted, "seed {seed}: the log is not told what it has to keep");
        replayed_from(disk, &mut restored);
        assert_eq!(restored.position(), world.engine.position(), "seed {seed}");
        let restored = digest(&restored, &mut world.reader);
        assert_eq!(restored, world.digest(), "seed {seed}: the log leads elsewhere");
    }
}

fn run_in(engine: &mut Engine, db: u8, line: &str) {
    let args: ArgsBuf = line.split(' ').map(str::as_bytes).collect();
    let name = args.as_args().get(0).expect("a line is not empty").to_vec();
    engine.run(find(&name), db, args.as_args(), &mut Reply::new(&mut Vec::new(), Version::Resp2));
}

/// A command with many arguments.
fn many(command: &str, count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).fold(command.to_owned(), |mut line, i| {
        write!(line, " {}", each(i)).expect("a string takes everything");
        line
    })
}

/// Values that take more than one slice are made, changed, moved and lost.
fn large(engine: &mut Engine, rng: &mut fastrand::Rng) {
    let (db, key, other) = (rng.u8(..3), rng.u8(..3), rng.u8(..3));
    let name = ["big-set", "big-hash", "big-zset", "big-list", "big-stream", "big-text"][rng.usize(..6)];
    let one = rng.usize(..1500);
    let line = match (rng.u8(..14), name) {
        (0, "big-set") => many(&format!("SADD big-set{key}"), 900, |i| format!("member{}", i * 2)),
        (0, "big-hash") => many(&format!("HSET big-hash{key}"), 900, |i| format!("field{} {i}", i * 2)),
        (0, "big-zset") => many(&format!("ZADD big-zset{key}"), 900, |i| format!("{} member{i}", i * 7 % 97)),
        (0, "big-list") => many(&format!("RPUSH big-list{key}"), 3000, |i| format!("element{i}")),
        (0, "big-text") => format!("SET big-text{key} {}", "text".repeat(20_000)),
        (1..=5, "big-set") if rng.bool() => format!("SADD big-set{key} member{one}"),
        (1..=5, "big-set") => format!("SREM big-set{key} member{one} member{}", one / 2),
        (1..=3, "big-hash") => format!("HSET big-hash{key} field{one} changed"),
        (4, "big-hash") => format!("HDEL big-hash{key} field{one}"),
        (5, "big-hash") => format!("HPEXPIREAT big-hash{key} 99999999999{} FIELDS 1 field{one}", one % 10),
        (1..=3, "big-zset") => format!("ZADD big-zset{key} {} member{one}", rng.i8(..)),
        (4 | 5, "big-zset") => format!("ZREM big-zset{key} member{one}"),
        (1, "big-list") => format!("LPOP big-list{key} {}", one / 3),
        (2, "big-list") => format!("RPOP big-list{key} {}", one / 3),
        (3, "big-list") => format!("LSET big-list{key} {one} changed"),
        (4, "big-list") => format!("LINSERT big-list{key} BEFORE element{one} inserted"),
        (5, "big-list") => format!("LPUSH big-list{key} {one}"),
        (0..=2, "big-stream") => format!("XADD big-stream{key} * field {}", "x".repeat(one)),
        (3, "big-stream") => format!("XTRIM big-stream{key} MAXLEN 20"),
        (4, "big-stream") => format!("XGROUP|CREATE . big-stream{key} group{other} 0"),
        (5, "big-stream") => format!("XREADGROUP GROUP group{other} c{db} COUNT 3 STREAMS big-stream{key} >"),
        (1..=3, _) => format!("APPEND big-text{key} {}", "more".repeat(one * 10)),
        (4 | 5, _) => format!("SETRANGE big-text{key} {} overwritten", one * 40),
        (6, _) => format!("DEL {name}{key}"),
        (7, _) => format!("RENAME {name}{key} {name}{other}"),
        (8, _) => format!("MOVE {name}{key} {other}"),
        (9, _) => format!("COPY {name}{key} {name}{other} DB {other} REPLACE"),
        (10, _) => format!("PEXPIREAT {name}{key} 9999999999999"),
        (11, _) => format!("SET {name}{key} small"),
        (12, _) if rng.u8(..4) == 0 => "FLUSHDB".to_owned(),
        (12, _) => format!("SWAPDB {db} {other}"),
        _ => format!("PERSIST {name}{key}"),
    };
    run_in(engine, db, &line);
}

#[test]
fn a_checkpoint_is_the_state_when_it_began() {
    let (mut checked, mut bytes, mut names) = (0, 0, 0);
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        // In some there is no memory for messages.
        let memory_bytes_max = (seed % 3 > 0).then_some(0);
        let mut world = World::open_with(&disk, seed, memory_bytes_max);
        let mut on_its_way: Option<OnItsWay> = None;
        let with_large = seed % 2 == 0;
        for step in 0..600 {
            if with_large && rng.bool() {
                large(&mut world.engine, &mut rng);
            } else {
                world.step(&mut rng);
            }
            world.write().expect("the disk is fine");
            world.fetch(&mut rng, 2);
            world.write().expect("the disk is fine");
            let Some(checkpoint) = &mut on_its_way else {
                if step > 100 && rng.u8(..20) == 0 {
                    on_its_way = Some(OnItsWay::begin(&mut world));
                }
                continue;
            };
            if rng.u8(..3) == 0 && checkpoint.go_on(&mut world.engine, &mut rng) {
                checkpoint.check(&disk, &mut world, seed);
                (checked, bytes) = (checked + 1, bytes + checkpoint.changes.len());
                names += checkpoint.names.len();
                on_its_way = None;
            }
        }
    }
    assert!(checked > 100 && bytes > 1_000_000, "{checked} of {bytes} bytes");
    assert!(names > 300, "only {names} messages were not in memory");
}

/// Few elements, but large ones, take as many slices as many small ones would.
#[test]
fn a_slice_is_small_whatever_the_elements_are() {
    let disk = FaultyDisk::new(1);
    let mut world = World::open(&disk, 1);
    let element = "e".repeat(8000);
    for (command, each) in [
        ("HSET large-hash", "field"),
        ("SADD large-set", "member"),
        ("ZADD large-zset", "score"),
        ("RPUSH large-list", "value"),
    ] {
        let one = |i: usize| match each {
            "field" => format!("field{i} {element}"),
            "score" => format!("{i} {i}{element}"),
            _ => format!("{i}{element}"),
        };
        run_in(&mut world.engine, 0, &many(command, 200, one));
    }
    world.write().expect("the disk is fine");
    let mut checkpoint = OnItsWay::begin(&mut world);
    let mut slices = 0;
    loop {
        let before = checkpoint.changes.len();
        let (changes, names) = (&mut checkpoint.changes, &mut checkpoint.names);
        let slice = world.engine.checkpoint_slice(16 * 1024, changes, names);
        let bytes = checkpoint.changes.len() - before;
        // Elements whose hashes begin alike are handed over together.
        assert!(bytes < 256 * 1024, "slice {slices} has {bytes} bytes");
        slices += 1;
        // What comes meanwhile is in no slice, and what goes is handed over first.
        if slices % 8 == 0 {
            run_in(&mut world.engine, 0, &format!("HSET large-hash field{slices} changed new{slices} new"));
            run_in(&mut world.engine, 0, &format!("SREM large-set {slices}{element}"));
            run_in(&mut world.engine, 0, "RPOP large-list");
            world.write().expect("the disk is fine");
        }
        if slice == Slice::Last {
            break;
        }
    }
    assert!(slices > 50, "{slices}");
    checkpoint.check(&disk, &mut world, 1);
}
