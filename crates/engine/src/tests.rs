//! The properties that guard the heart: whatever is done, the log replayed gives the same durable state; whenever the
//! power goes, what was synced is there and nothing is there by half. And what spans both worlds is one record.

mod capture;
mod checkpoints;
mod generations;
mod held;
mod paging;
mod places;
mod power_loss;
mod replays;
mod spilled;
mod streams;
mod waiting;
mod world;

use crate::{Engine, SessionId};
use leveret_amqp::{PropertyValues, Table, TableBuf, Value};
use leveret_broker::{Consume, Event, Message, QueueDeclare, VhostId};
use leveret_keyspace::{ArgsBuf, Reply};
use leveret_resp::Version;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Log, Options, Tail};
use replays::replayed;
use std::sync::Arc;
use world::{World, find, message, run};

#[test]
fn the_log_replayed_is_the_state() {
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::open(&disk, seed);
        for _ in 0..400 {
            world.step(&mut rng);
            world.write().expect("the disk is fine");
        }
        let mut log = Log::open(Arc::new(disk.crash()), Options::default()).expect("the disk opens");
        let told = log.replay(&mut |record| crate::describe_record(&record).map(|_| ()));
        told.expect("every change has a name, and its fields are where they should be");
        let replayed = replayed(&disk, u64::MAX);
        assert_eq!(replayed.digest(), world.engine.digest(), "seed {seed}");
        assert_eq!(replayed.position(), world.engine.position(), "seed {seed}");
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
        name: b"order",
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
        .on_broker(|txn| txn.publish(VhostId(0), &message("order", "paid", true)))
        .expect("the default exchange is there");
    engine.end();
    assert_eq!(engine.position(), before + 1);
    engine.take_tail(&mut tail);
    log.write(&mut tail).expect("the disk is fine");
    assert_eq!(replayed(&disk, u64::MAX).digest(), engine.digest());
}

/// A new session that blocks in a command.
fn wait(engine: &mut Engine, line: &str) -> SessionId {
    let args: ArgsBuf = line.split(' ').map(str::as_bytes).collect();
    let (id, run) = (engine.open_session(0), find(args.as_args().get(0).expect("a line is not empty")));
    let mut out = Vec::new();
    let block = engine
        .run(run, 0, args.as_args(), &mut Reply::new(&mut out, Version::Resp2))
        .expect("there is nothing to take");
    engine.wait(id, run, 0, args.as_args(), block, b"*-1\r\n");
    id
}

#[test]
fn a_chain_of_waiters_may_be_long() {
    const LEN: usize = 20_000;
    let mut engine = Engine::new(1, 1);
    for i in 0..LEN {
        wait(&mut engine, &format!("BLMOVE l{i} l{} LEFT RIGHT 0", i + 1));
    }
    assert_eq!(run(&mut engine, "RPUSH l0 hare"), ":1\r\n");
    assert_eq!(run(&mut engine, &format!("LRANGE l{LEN} 0 -1")), "*1\r\n$4\r\nhare\r\n");
    assert_eq!(engine.awaited_keys_count(), 0);
}

#[test]
fn a_waiter_is_served_in_order_and_in_its_own_commit() {
    let mut engine = Engine::new(1, 1);
    let (first, second) = (wait(&mut engine, "BLPOP l 0"), wait(&mut engine, "BLPOP l 0"));
    assert_eq!(run(&mut engine, "RPUSH l one two three"), ":3\r\n");
    let pushed = |engine: &mut Engine, id| {
        String::from_utf8_lossy(&engine.session(id).expect("it is open").pushed).into_owned()
    };
    assert_eq!(pushed(&mut engine, first), "*2\r\n$1\r\nl\r\n$3\r\none\r\n");
    assert_eq!(pushed(&mut engine, second), "*2\r\n$1\r\nl\r\n$3\r\ntwo\r\n");
    assert_eq!(run(&mut engine, "LRANGE l 0 -1"), "*1\r\n$5\r\nthree\r\n");
}

fn declare(engine: &mut Engine, session: SessionId, name: &[u8], arguments: &[(&str, Value<'_>)]) {
    let mut table = TableBuf::new();
    for (name, value) in arguments {
        table.push(name.as_bytes(), *value);
    }
    let declare = QueueDeclare {
        name,
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        arguments: table.as_table(),
    };
    engine.on_broker(|txn| txn.queue_declare(VhostId(0), session, &declare)).expect("the name is free");
}

fn publish(engine: &mut Engine, routing_key: &str, body: &str) {
    let message = message(routing_key, body, true);
    engine.on_broker(|txn| txn.publish(VhostId(0), &message)).expect("the default exchange is there");
}

/// So many messages are ready and so many are held.
fn ready_and_held(engine: &Engine) -> [usize; 2] {
    let [_, _, ready, held, _] = engine.broker.counts();
    [ready, held]
}

#[test]
fn what_a_session_held_goes_back_in_slices() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    declare(&mut engine, session, b"q", &[]);
    for _ in 0..25_000 {
        publish(&mut engine, "q", "m");
        engine
            .on_broker(|txn| txn.get(VhostId(0), session, 1, b"q", false))
            .expect("the queue is there")
            .expect("it has a message");
    }
    assert_eq!(ready_and_held(&engine), [0, 25_000]);
    engine.close_session(session);
    let mut seen = vec![ready_and_held(&engine)];
    while engine.next_deadline().is_some_and(|at| at <= engine.now_ms()) {
        engine.tick();
        seen.push(ready_and_held(&engine));
    }
    assert_eq!(seen, [[10_000, 15_000], [20_000, 5_000], [25_000, 0]]);
    let other = engine.open_session(0);
    let first = engine.on_broker(|txn| txn.get(VhostId(0), other, 1, b"q", false));
    assert_eq!(first.expect("the queue is there").map(|got| got.seq), Some(1));
}

#[test]
fn dead_letters_leave_in_slices_and_in_order() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    declare(&mut engine, session, b"dead", &[]);
    let letters = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
        ("x-message-ttl", Value::Long(100)),
    ];
    declare(&mut engine, session, b"q", &letters);
    (0..2500).for_each(|i| publish(&mut engine, "q", &i.to_string()));
    engine.enter(engine.now_ms() + 100);
    let mut ticks = 0;
    while engine.next_deadline().is_some_and(|at| at <= engine.now_ms()) {
        engine.tick();
        ticks += 1;
    }
    assert_eq!(ticks, 3);
    for i in 0..2500 {
        let got = engine.on_broker(|txn| txn.get(VhostId(0), session, 1, b"dead", true));
        let got = got.expect("the queue is there").expect("it has all of them");
        assert_eq!(got.message.body(), i.to_string().as_bytes());
    }
    assert_eq!(ready_and_held(&engine), [0, 0]);
}

#[test]
fn messages_expire_between_others() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    declare(&mut engine, session, b"q", &[]);
    for i in 0..3000u64 {
        let mut properties = Vec::new();
        let expiration = (i % 7 * 10).to_string();
        // Every seventh stays.
        let expiration = (i % 7 > 0).then_some(expiration.as_bytes());
        PropertyValues { expiration, ..PropertyValues::default() }.encode(&mut properties);
        let message = Message::new(b"", b"q", &properties, &i.to_be_bytes()).expect("it is valid");
        engine.on_broker(|txn| txn.publish(VhostId(0), &Arc::new(message))).expect("the queue is there");
    }
    let start = engine.now_ms();
    for (tenth, expected) in (1..=6).map(|n| (n, (n + 1..7).chain([0]).collect::<Vec<u64>>())) {
        engine.enter(start + tenth * 10);
        engine.tick();
        let left = (0..3000).filter(|i| expected.contains(&(i % 7))).count();
        assert_eq!(ready_and_held(&engine), [left, 0]);
    }
    for i in (0..3000u64).step_by(7) {
        let got = engine.on_broker(|txn| txn.get(VhostId(0), session, 1, b"q", true));
        let got = got.expect("the queue is there").expect("it stays");
        assert_eq!(got.message.body(), i.to_be_bytes());
    }
}

#[test]
fn full_queues_that_lead_everywhere_stall_nobody() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    // Each message that one of them drops goes to all others: the ways through them are without number.
    for name in (0..12).map(|i| format!("q{i}")) {
        let dropping = [
            ("x-dead-letter-exchange", Value::LongStr(b"amq.fanout")),
            ("x-max-length", Value::Long(0)),
            (
                "x-overflow",
                Value::LongStr(if name.len() == 2 { b"drop-head" } else { b"reject-publish-dlx" }),
            ),
        ];
        declare(&mut engine, session, name.as_bytes(), &dropping);
        let bind = |txn: &mut leveret_broker::Txn<'_>| {
            txn.queue_bind(VhostId(0), session, name.as_bytes(), b"amq.fanout", b"", Table::default())
        };
        engine.on_broker(bind).expect("both are there");
    }
    publish(&mut engine, "q0", "m");
    engine.tick();
    // A commit moves a slice, and each moved message has eleven more at most.
    assert!(engine.broker.counts()[2] <= 2 * 12_000, "{:?}", engine.broker.counts());
}

#[test]
fn a_closed_session_gives_everything_back() {
    let mut engine = Engine::new(1, 1);
    let (owner, other) = (engine.open_session(0), engine.open_session(0));
    declare(&mut engine, owner, b"q", &[]);
    let consume = |session| Consume {
        session,
        channel: 1,
        queue: b"q",
        tag: b"t",
        no_ack: false,
        exclusive: false,
        no_local: false,
        hears_cancel: true,
        prefetch: 0,
        arguments: Table::from_validated(b""),
    };
    engine.on_broker(|txn| txn.consume(VhostId(0), &consume(owner))).expect("the queue is there");
    for i in 0..3 {
        engine
            .on_broker(|txn| txn.publish(VhostId(0), &message("q", &format!("{i}"), true)))
            .expect("the default exchange is there");
    }
    assert_eq!(engine.broker.counts()[3], 3);
    engine.close_session(owner);
    engine.on_broker(|txn| txn.consume(VhostId(0), &consume(other))).expect("the queue is there");
    let events = &engine.session(other).expect("it is open").events;
    let seqs: Vec<(u64, bool)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Deliver { seq, redelivered, .. } => Some((*seq, *redelivered)),
            Event::Cancel { .. } | Event::Released { .. } | Event::TimedOut { .. } | Event::Fetched => None,
        })
        .collect();
    assert_eq!(seqs, [(1, true), (2, true), (3, true)]);
}
