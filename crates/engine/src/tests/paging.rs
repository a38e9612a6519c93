//! Messages that only the log has: a reader that answers late, in any order and now and then not at all for long changes
//! nothing of what clients get and what the state is.

use super::replays::{digest, replayed, replayed_with};
use super::spilled::Spilled;
use super::world::{World, publish_to};
use super::{declare, publish};
use crate::{BRIDGE_ROWS, Engine, SessionId};
use leveret_amqp::{Table, Value};
use leveret_broker::{Consume, Event, How, Message, QueueDeclare, QueueId, VhostId, Wanted};
use leveret_keyspace::{ArgsBuf, Reply};
use leveret_resp::Version;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Log, Options, Reader, Tail};
use std::collections::BTreeSet;
use std::sync::Arc;

#[test]
fn the_state_is_the_same_wherever_its_messages_are() {
    let mut read_count = 0;
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::open_with(&disk, seed, Some(0));
        for _ in 0..400 {
            world.step(&mut rng);
            world.write().expect("the disk is fine");
            world.fetch(&mut rng, 3);
            world.write().expect("the disk is fine");
        }
        let whole = replayed(&disk, u64::MAX).digest();
        assert_eq!(world.digest(), whole, "seed {seed}");
        let (paged, mut reader) = replayed_with(&disk, u64::MAX, Some(0));
        assert_eq!(digest(&paged, &mut reader), whole, "seed {seed}, replayed with little memory");
        read_count += world.read_count;
    }
    assert!(read_count > 1000, "only {read_count} messages were read");
}

/// An engine, its log and its reader.
pub(super) struct Queue {
    pub(super) engine: Engine,
    pub(super) session: SessionId,
    log: Log,
    tail: Tail,
    reader: Reader,
    pub(super) spilled: Spilled,
    wanted: Vec<Wanted>,
    pub(super) read_count: usize,
    /// What cannot be read.
    pub(super) damaged: BTreeSet<u32>,
    rng: fastrand::Rng,
}

impl Queue {
    pub(super) fn new(memory_bytes_max: u64, arguments: &[(&str, Value<'_>)]) -> Self {
        let disk = FaultyDisk::new(1);
        let mut log = Log::open(Arc::new(disk), Options::default()).expect("an empty disk opens");
        log.replay(&mut |_| Ok(())).expect("an empty disk replays");
        let mut engine = Engine::new(1, 1);
        engine.broker.memory_bytes_max = Some(memory_bytes_max);
        let spilled = Spilled::of(&mut engine);
        let session = engine.open_session(0);
        declare(&mut engine, session, b"dead", &[]);
        declare(&mut engine, session, b"q", arguments);
        let (tail, reader, rng) = (Tail::default(), log.reader(), fastrand::Rng::with_seed(1));
        let (wanted, damaged) = (Vec::new(), BTreeSet::new());
        Self { engine, session, log, tail, reader, spilled, wanted, read_count: 0, damaged, rng }
    }

    fn write(&mut self) {
        self.engine.take_tail(&mut self.tail);
        self.log.write(&mut self.tail).expect("the disk is fine");
    }

    /// Reads what was asked for, every second time.
    fn fetch(&mut self) {
        self.wanted.append(&mut self.engine.broker.take_wanted());
        self.spilled.settle();
        for wanted in std::mem::take(&mut self.wanted) {
            if self.rng.bool() {
                self.wanted.push(wanted);
                continue;
            }
            let mut messages = Vec::new();
            for (seq, place) in &wanted.messages {
                let message = self.spilled.read(&mut self.reader, *place).expect("it is there");
                if !self.damaged.contains(&number(&message)) {
                    messages.push((*seq, Arc::new(message)));
                } else if wanted.is_in_order() {
                    break;
                }
            }
            self.read_count += messages.len();
            let again = self.engine.on_broker(|txn| txn.fetched(&wanted, &messages));
            self.wanted.extend(again);
        }
    }

    fn publish(&mut self, count: u32) {
        (0..count).for_each(|i| publish(&mut self.engine, "q", &format!("{i:0>200}")));
        self.write();
    }

    pub(super) fn consume(&mut self, queue: &[u8]) {
        self.consume_at_most(queue, 100);
    }

    pub(super) fn consume_at_most(&mut self, queue: &[u8], prefetch: u16) {
        let consume = Consume {
            session: self.session,
            channel: 1,
            queue,
            tag: b"t",
            no_ack: false,
            exclusive: false,
            no_local: false,
            hears_cancel: true,
            prefetch,
            arguments: Table::default(),
        };
        self.engine.on_broker(|txn| txn.consume(VhostId(0), &consume)).expect("the queue is there");
    }

    /// Likewise, some of them for good.
    pub(super) fn publish_mixed(&mut self, count: u32, is_persistent: impl Fn(u32) -> bool) {
        for i in 0..count {
            let message = publish_to("", "q", &format!("{i:0>200}"), is_persistent(i));
            self.engine.on_broker(|txn| txn.publish(VhostId(0), &message)).expect("the queue is there");
        }
        self.write();
    }

    /// Time goes on, and what is asked for is read.
    pub(super) fn turn(&mut self) {
        self.write();
        self.fetch();
        self.engine.enter(self.engine.now_ms() + 1);
        self.engine.tick();
        self.write();
    }

    /// All that the consumer gets, acknowledged as it comes.
    pub(super) fn drain(&mut self) -> Vec<u32> {
        self.drain_some(usize::MAX)
    }

    /// Likewise, so many of them.
    pub(super) fn drain_some(&mut self, count: usize) -> Vec<u32> {
        self.take(count, |queue, id, seq| {
            let session = queue.session;
            queue.engine.on_broker(|txn| txn.settle(session, 1, id, seq, How::Ack));
        })
    }

    /// Likewise, and does something else with them.
    pub(super) fn take(&mut self, count: usize, mut settle: impl FnMut(&mut Self, QueueId, u64)) -> Vec<u32> {
        let (mut got, mut events) = (Vec::new(), Vec::new());
        for _ in 0..100_000 {
            let session = self.engine.session(self.session).expect("it is open");
            session.collect(&mut Vec::new(), &mut events);
            for event in events.drain(..) {
                let Event::Deliver { queue, seq, message, .. } = event else { continue };
                got.push(number(&message));
                let (session, size) = (self.session, message.size());
                settle(self, queue, seq);
                self.engine.on_broker(|txn| txn.drained(session, size));
            }
            let before = self.read_count;
            self.turn();
            let was_read = self.read_count > before || !self.wanted.is_empty();
            if got.len() >= count || !was_read && self.engine.broker.counts()[2..4] == [0, 0] {
                break;
            }
        }
        got
    }
}

/// What is in a message.
pub(super) fn number(message: &Message) -> u32 {
    String::from_utf8_lossy(message.body()).parse().expect("it is a number")
}

const COUNT: u32 = 20_000;

#[test]
fn a_backlog_takes_little_memory_and_comes_in_order() {
    let max = 256 * 1024;
    let mut queue = Queue::new(max, &[]);
    queue.publish(COUNT);
    let (used, all) = (queue.engine.broker.in_memory().bytes(), u64::from(COUNT) * 328);
    assert!(used <= max + 512 * 328 && used < all / 10, "{used} of {all} bytes are in memory");
    queue.consume(b"q");
    assert_eq!(queue.drain(), (0..COUNT).collect::<Vec<_>>());
    assert!(queue.read_count > COUNT as usize * 8 / 10, "{} were read", queue.read_count);
}

#[test]
fn what_becomes_a_letter_is_read_and_comes_in_order() {
    let arguments = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
        ("x-message-ttl", Value::Long(60_000)),
    ];
    let mut queue = Queue::new(0, &arguments);
    queue.publish(COUNT / 4);
    queue.engine.enter(queue.engine.now_ms() + 60_001);
    queue.consume(b"dead");
    assert_eq!(queue.drain(), (0..COUNT / 4).collect::<Vec<_>>());
}

#[test]
fn what_is_dropped_without_a_letter_is_not_read() {
    let arguments = [("x-message-ttl", Value::Long(60_000)), ("x-max-length", Value::Long(4_000))];
    let mut queue = Queue::new(0, &arguments);
    queue.publish(5_000);
    assert_eq!(queue.engine.broker.counts()[2], 4_000);
    queue.engine.enter(queue.engine.now_ms() + 60_001);
    for _ in 0..10 {
        queue.engine.tick();
    }
    assert_eq!(queue.engine.broker.counts()[2], 0);
    assert!(queue.engine.broker.take_wanted().is_empty());
}

#[test]
fn a_queue_lets_go_of_nothing_that_the_log_has_for_others_only() {
    let mut queue = Queue::new(0, &[("x-queue-type", Value::LongStr(b"quorum"))]);
    let (engine, session) = (&mut queue.engine, queue.session);
    let mine = QueueDeclare {
        name: b"mine",
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        arguments: Table::default(),
    };
    engine.on_broker(|txn| txn.queue_declare(VhostId(0), session, &mine)).expect("the name is free");
    for name in [&b"q"[..], b"dead", b"mine"] {
        let bound = engine
            .on_broker(|txn| txn.queue_bind(VhostId(0), session, name, b"amq.fanout", b"", Table::default()));
        bound.expect("both are there");
    }
    let mut publish = |persistent| {
        for _ in 0..100 {
            let message = publish_to("amq.fanout", "", "body", persistent);
            engine.on_broker(|txn| txn.publish(VhostId(0), &message)).expect("the exchange is there");
        }
        engine.broker.places_away().count()
    };
    // `q` keeps everything, `dead` what is persistent.
    assert_eq!(publish(true), 200);
    assert_eq!(publish(false), 300);
}

#[test]
fn whoever_waited_for_a_message_on_disk_that_another_got_waits_no_longer_than_said() {
    let mut queue = Queue::new(0, &[]);
    queue.publish(1);
    let began = queue.engine.now_ms();
    let get = BRIDGE_ROWS.iter().find(|row| row.spec.name == "amqp.get").expect("it is a row").run;
    let [one, other, third] = ["AMQP.GET q BLOCK 100", "AMQP.GET q BLOCK 130", "AMQP.GET q"].map(|line| {
        let args: ArgsBuf = line.split(' ').map(str::as_bytes).collect();
        let (id, mut bytes) = (queue.engine.open_session(0), Vec::new());
        let wait = queue.engine.run_bridge(get, args.as_args(), &mut Reply::new(&mut bytes, Version::Resp2));
        queue.engine.wait_at_queue(id, get, args.as_args(), wait.expect("the message is on the disk"));
        id
    });
    // Consumers come first.
    queue.consume(b"q");
    assert_eq!(queue.drain(), [0]);
    let answers = |queue: &mut Queue, ms| {
        queue.engine.enter(began + ms);
        queue.engine.tick();
        [one, other, third].map(|id| {
            let mut bytes = Vec::new();
            queue.engine.session(id).expect("it is open").collect(&mut bytes, &mut Vec::new());
            String::from_utf8(bytes).expect("it is text")
        })
    };
    assert_eq!(answers(&mut queue, 50), ["", "", "*0\r\n"]);
    assert_eq!(answers(&mut queue, 99), ["", "", ""]);
    assert_eq!(answers(&mut queue, 100), ["*0\r\n", "", ""]);
    assert_eq!(answers(&mut queue, 130), ["", "*0\r\n", ""]);
}

#[test]
fn what_cannot_be_read_is_tried_again_as_long_as_it_is_wanted() {
    let mut queue = Queue::new(0, &[]);
    queue.publish(1_000);
    queue.damaged.insert(600);
    queue.consume(b"q");
    assert_eq!(queue.drain_some(600), (0..600).collect::<Vec<_>>());
    let before = queue.read_count;
    (0..50).for_each(|_| queue.turn());
    assert_eq!((queue.read_count, queue.wanted.len()), (before, 1));
    let session = queue.session;
    let purged = queue.engine.on_broker(|txn| txn.queue_purge(VhostId(0), session, b"q"));
    assert_eq!(purged.expect("the queue is there"), 400);
    queue.damaged.clear();
    (0..50).for_each(|_| queue.turn());
    assert!(queue.wanted.is_empty());
    queue.publish(10);
    assert_eq!(queue.drain_some(10), (0..10).collect::<Vec<_>>());
}

#[test]
fn what_is_too_much_goes_to_nobody_who_comes_while_it_is_read() {
    let letters = [
        ("x-max-length", Value::Long(1_000)),
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
    ];
    let mut queue = Queue::new(0, &letters);
    queue.publish(3_000);
    queue.consume(b"q");
    assert_eq!(queue.drain_some(1_000), (2_000..3_000).collect::<Vec<_>>());
    // All else is letters.
    assert_eq!(queue.engine.broker.counts()[2], 2_000);
}
