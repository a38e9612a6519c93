//! The property that guards the heart: whatever is done, the log replayed gives the same durable state. And what
//! spans both worlds is one record.

use crate::Engine;
use leveret_amqp::{Properties, PropertyValues, Table};
use leveret_broker::{Consume, How, Message, QueueDeclare, VhostId};
use leveret_keyspace::{ArgsBuf, Reply, Row, Run};
use leveret_resp::Version;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Log, Options, Tail};
use std::sync::Arc;

fn find(name: &[u8]) -> Run {
    let rows = leveret_keyspace::commands::TABLES.iter().copied().flatten();
    let mut found = rows.filter(|row: &&Row| row.spec.name.as_bytes().eq_ignore_ascii_case(name));
    found.next().expect("the command is there").run
}

fn run(engine: &mut Engine, line: &str) -> String {
    let args: ArgsBuf = line.split(' ').map(str::as_bytes).collect();
    let mut out = Vec::new();
    let name = args.as_args().get(0).expect("a line is not empty").to_vec();
    engine.run(find(&name), 0, args.as_args(), &mut Reply::new(&mut out, Version::Resp2));
    String::from_utf8_lossy(&out).into_owned()
}

fn replayed(disk: &FaultyDisk) -> Engine {
    let mut engine = Engine::new(99, 1);
    let mut log =
        Log::open(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024 }).expect("the log opens");
    log.replay(&mut |record| engine.apply(&record)).expect("the log replays");
    engine
}

fn message(body: String, persistent: bool) -> Arc<Message> {
    let mut properties = Vec::new();
    PropertyValues { delivery_mode: Some(if persistent { 2 } else { 1 }), ..PropertyValues::default() }
        .encode(&mut properties);
    Properties::parse(&properties).expect("they were made above");
    let message =
        Message::new(Box::from(&b""[..]), Box::from(&b"q"[..]), properties.into(), body.into_bytes().into());
    Arc::new(message.expect("the properties are valid"))
}

/// One random operation of either world.
fn step(
    engine: &mut Engine,
    rng: &mut fastrand::Rng,
    held: &mut Vec<(leveret_broker::QueueId, u64)>,
    session: u64,
) {
    let key = rng.u8(..6);
    let vhost = VhostId(0);
    match rng.u8(..16) {
        0 => drop(run(engine, &format!("SET k{key} {}", rng.u16(..)))),
        1 => drop(run(engine, &format!("SET k{key} value PX {}", rng.u8(1..)))),
        2 => drop(run(engine, &format!("INCR k{key}"))),
        3 => drop(run(engine, &format!("APPEND k{key} tail"))),
        4 => drop(run(engine, &format!("DEL k{key}"))),
        5 => drop(run(engine, &format!("RPUSH l{key} a b c"))),
        6 => drop(run(engine, &format!("LPOP l{key} {}", rng.u8(1..3)))),
        7 => drop(run(engine, &format!("RENAME l{key} l{}", rng.u8(..6)))),
        8 => drop(run(engine, &format!("PEXPIRE l{key} {}", rng.u8(1..)))),
        9 => drop(run(engine, &format!("PERSIST k{key}"))),
        10 | 11 => {
            let message = message(format!("m{}", rng.u32(..)), rng.bool());
            engine.on_broker(|txn| txn.publish(vhost, &message)).expect("the default exchange is there");
        }
        12 => {
            let got =
                engine.on_broker(|txn| txn.get(vhost, session, 1, b"q", false)).expect("the queue is there");
            held.extend(got.map(|got| (got.queue, got.seq)));
        }
        13 | 14 => {
            if !held.is_empty() {
                let (queue, seq) = held.swap_remove(rng.usize(..held.len()));
                let how = if rng.bool() { How::Ack } else { How::Requeue };
                engine.on_broker(|txn| txn.settle(session, 1, queue, seq, how));
            }
        }
        _ => {
            engine.enter(engine.now_ms() + u64::from(rng.u8(..)));
            engine.tick();
        }
    }
}

#[test]
fn the_log_replayed_is_the_state() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = FaultyDisk::new(seed);
        let mut log = Log::open(Arc::new(disk.clone()), Options { segment_bytes: 64 * 1024 })
            .expect("an empty disk opens");
        log.replay(&mut |_| Ok(())).expect("an empty disk replays");
        let (mut engine, mut tail, mut held) = (Engine::new(seed, 1), Tail::default(), Vec::new());
        engine.enter(1_000_000);
        let session = engine.open_session(0);
        let declare = QueueDeclare {
            name: b"q",
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: Table::from_validated(b""),
        };
        engine.on_broker(|txn| txn.queue_declare(VhostId(0), session, &declare)).expect("the name is free");
        for _ in 0..400 {
            step(&mut engine, &mut rng, &mut held, session);
            engine.take_tail(&mut tail);
            log.write(&mut tail).expect("the disk is fine");
        }
        let replayed = replayed(&disk);
        assert_eq!(replayed.digest(), engine.digest(), "seed {seed}");
        assert_eq!(replayed.position(), engine.position(), "seed {seed}");
    }
}

#[test]
fn keys_and_messages_of_one_commit_are_one_record() {
    let disk = FaultyDisk::new(1);
    let mut log = Log::open(Arc::new(disk.clone()), Options::default()).expect("an empty disk opens");
    log.replay(&mut |_| Ok(())).expect("an empty disk replays");
    let (mut engine, mut tail) = (Engine::new(1, 1), Tail::default());
    let session = engine.open_session(0);
    let declare = QueueDeclare {
        name: b"q",
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: Table::from_validated(b""),
    };
    engine.on_broker(|txn| txn.queue_declare(VhostId(0), session, &declare)).expect("the name is free");
    let before = engine.position();
    engine.begin();
    run(&mut engine, "SET order paid");
    engine
        .on_broker(|txn| txn.publish(VhostId(0), &message("paid".into(), true)))
        .expect("the default exchange is there");
    engine.end();
    assert_eq!(engine.position(), before + 1);
    engine.take_tail(&mut tail);
    log.write(&mut tail).expect("the disk is fine");
    assert_eq!(replayed(&disk).digest(), engine.digest());
}

#[test]
fn a_waiter_is_served_in_order_and_in_its_own_commit() {
    let mut engine = Engine::new(1, 1);
    let (first, second) = (engine.open_session(0), engine.open_session(0));
    for id in [first, second] {
        let args: ArgsBuf = ["BLPOP", "l", "0"].iter().map(|arg| arg.as_bytes()).collect();
        let mut out = Vec::new();
        let run = find(b"BLPOP");
        let block = engine
            .run(run, 0, args.as_args(), &mut Reply::new(&mut out, Version::Resp2))
            .expect("the list is missing");
        engine.wait(id, run, 0, args.as_args(), block, b"*-1\r\n");
    }
    assert_eq!(run(&mut engine, "RPUSH l one two three"), ":3\r\n");
    let pushed = |engine: &mut Engine, id| {
        String::from_utf8_lossy(&engine.session(id).expect("it is open").pushed).into_owned()
    };
    assert_eq!(pushed(&mut engine, first), "*2\r\n$1\r\nl\r\n$3\r\none\r\n");
    assert_eq!(pushed(&mut engine, second), "*2\r\n$1\r\nl\r\n$3\r\ntwo\r\n");
    assert_eq!(run(&mut engine, "LRANGE l 0 -1"), "*1\r\n$5\r\nthree\r\n");
}

#[test]
fn a_closed_session_gives_everything_back() {
    let mut engine = Engine::new(1, 1);
    let (owner, other) = (engine.open_session(0), engine.open_session(0));
    let declare = QueueDeclare {
        name: b"q",
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: Table::from_validated(b""),
    };
    engine.on_broker(|txn| txn.queue_declare(VhostId(0), owner, &declare)).expect("the name is free");
    let consume = |session| Consume {
        session,
        channel: 1,
        queue: b"q",
        tag: b"t",
        no_ack: false,
        exclusive: false,
        no_local: false,
        prefetch: 0,
        arguments: Table::from_validated(b""),
    };
    engine.on_broker(|txn| txn.consume(VhostId(0), &consume(owner))).expect("the queue is there");
    for i in 0..3 {
        engine
            .on_broker(|txn| txn.publish(VhostId(0), &message(format!("{i}"), true)))
            .expect("the default exchange is there");
    }
    assert_eq!(engine.broker.counts()[3], 3);
    engine.close_session(owner);
    engine.on_broker(|txn| txn.consume(VhostId(0), &consume(other))).expect("the queue is there");
    let events = &engine.session(other).expect("it is open").events;
    let seqs: Vec<(u64, bool)> = events
        .iter()
        .filter_map(|event| match event {
            leveret_broker::Event::Deliver { seq, redelivered, .. } => Some((*seq, *redelivered)),
            leveret_broker::Event::Cancel { .. } => None,
        })
        .collect();
    assert_eq!(seqs, [(1, true), (2, true), (3, true)]);
}
