//! Messages that only the log has: a reader that answers late, in any order and now and then not at all for long changes
//! nothing of what clients get and what the state is.

use super::places::commits;
use super::world::{World, replayed};
use super::{declare, publish};
use crate::{Engine, SessionId};
use leveret_amqp::Value;
use leveret_broker::{Consume, Event, How, Message, VhostId, Wanted};
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Log, Options, Tail};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads what is wanted from the log.
#[derive(Default)]
struct Reader {
    commits: BTreeMap<u64, Vec<u8>>,
    asked: Vec<Wanted>,
    read_count: usize,
}

impl Reader {
    /// Answers what was asked for, `chance` of ten each.
    fn answer(&mut self, engine: &mut Engine, disk: &FaultyDisk, rng: &mut fastrand::Rng, chance: u8) {
        self.asked.append(&mut engine.broker.take_wanted());
        if self.asked.is_empty() {
            return;
        }
        rng.shuffle(&mut self.asked);
        if self.commits.last_key_value().is_none_or(|(last, _)| *last < engine.position()) {
            self.commits = commits(disk);
        }
        for wanted in std::mem::take(&mut self.asked) {
            // What is not written cannot be read yet.
            let is_written =
                wanted.messages.iter().all(|(_, place)| self.commits.contains_key(&place.position));
            if !is_written || rng.u8(..10) >= chance {
                self.asked.push(wanted);
                continue;
            }
            let read = wanted.messages.iter().map(|(seq, place)| {
                let changes = &self.commits[&place.position];
                (
                    *seq,
                    Arc::new(
                        Message::read(&changes[place.offset as usize..], *place)
                            .expect("a message lies there"),
                    ),
                )
            });
            let read: Vec<_> = read.collect();
            self.read_count += read.len();
            engine.on_broker(|txn| txn.fetched(wanted.queue, &read));
        }
    }

    /// Answers everything that can be; true when that was nothing.
    fn answer_all(&mut self, engine: &mut Engine, disk: &FaultyDisk, rng: &mut fastrand::Rng) -> bool {
        engine.broker.want_everything();
        let before = self.read_count;
        self.answer(engine, disk, rng, 10);
        self.read_count == before
    }
}

#[test]
fn the_state_is_the_same_wherever_its_messages_are() {
    let mut read_count = 0;
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut world, mut reader) = (World::open(&disk, seed), Reader::default());
        world.engine.broker.memory_bytes_max = Some(0);
        for _ in 0..400 {
            world.step(&mut rng);
            world.write().expect("the disk is fine");
            reader.answer(&mut world.engine, &disk, &mut rng, 3);
            world.write().expect("the disk is fine");
        }
        while !reader.answer_all(&mut world.engine, &disk, &mut rng) {
            world.write().expect("the disk is fine");
        }
        let mut paged = Engine::new(99, 1);
        paged.broker.memory_bytes_max = Some(0);
        let mut log = Log::open(Arc::new(disk.clone()), Options::default()).expect("the log opens");
        log.replay(&mut |record| paged.apply(&record)).expect("the log replays");
        while !reader.answer_all(&mut paged, &disk, &mut rng) {}
        let digest = replayed(&disk, u64::MAX).digest();
        assert_eq!(world.engine.digest(), digest, "seed {seed}");
        assert_eq!(paged.digest(), digest, "seed {seed}, replayed with little memory");
        read_count += reader.read_count;
    }
    assert!(read_count > 1000, "only {read_count} messages were read");
}

/// An engine, its log and its reader.
struct Queue {
    engine: Engine,
    session: SessionId,
    disk: FaultyDisk,
    log: Log,
    tail: Tail,
    reader: Reader,
    rng: fastrand::Rng,
}

impl Queue {
    fn new(memory_bytes_max: u64, arguments: &[(&str, Value<'_>)]) -> Self {
        let disk = FaultyDisk::new(1);
        let mut log = Log::open(Arc::new(disk.clone()), Options::default()).expect("an empty disk opens");
        log.replay(&mut |_| Ok(())).expect("an empty disk replays");
        let mut engine = Engine::new(1, 1);
        engine.broker.memory_bytes_max = Some(memory_bytes_max);
        let session = engine.open_session(0);
        declare(&mut engine, session, b"dead", &[]);
        declare(&mut engine, session, b"q", arguments);
        let (tail, reader) = (Tail::default(), Reader::default());
        Self { engine, session, disk, log, tail, reader, rng: fastrand::Rng::with_seed(1) }
    }

    fn write(&mut self) {
        self.engine.take_tail(&mut self.tail);
        self.log.write(&mut self.tail).expect("the disk is fine");
    }

    fn publish(&mut self, count: u32) {
        (0..count).for_each(|i| publish(&mut self.engine, "q", &format!("{i:0>200}")));
        self.write();
    }

    fn consume(&mut self, queue: &[u8]) {
        let consume = Consume {
            session: self.session,
            channel: 1,
            queue,
            tag: b"t",
            no_ack: false,
            exclusive: false,
            no_local: false,
            prefetch: 100,
            arguments: leveret_amqp::Table::default(),
        };
        self.engine.on_broker(|txn| txn.consume(VhostId(0), &consume)).expect("the queue is there");
    }

    /// All that the consumer gets, acknowledged as it comes.
    fn drain(&mut self) -> Vec<u32> {
        let (mut got, mut events) = (Vec::new(), Vec::new());
        for _ in 0..100_000 {
            let session = self.engine.session(self.session).expect("it is open");
            session.collect(&mut Vec::new(), &mut events);
            for event in events.drain(..) {
                let Event::Deliver { queue, seq, message, .. } = event else { continue };
                got.push(String::from_utf8_lossy(message.body()).parse().expect("it is a number"));
                let (session, size) = (self.session, message.size());
                self.engine.on_broker(|txn| {
                    txn.settle(session, 1, queue, seq, How::Ack);
                    txn.drained(session, size);
                });
            }
            self.write();
            let before = self.reader.read_count;
            self.reader.answer(&mut self.engine, &self.disk, &mut self.rng, 5);
            let was_read = self.reader.read_count > before || !self.reader.asked.is_empty();
            self.engine.enter(self.engine.now_ms() + 1);
            self.engine.tick();
            self.write();
            if !was_read && self.engine.broker.counts()[2..4] == [0, 0] {
                break;
            }
        }
        got
    }
}

const COUNT: u32 = 20_000;

#[test]
fn a_backlog_takes_little_memory_and_comes_in_order() {
    let max = 256 * 1024;
    let mut queue = Queue::new(max, &[]);
    queue.publish(COUNT);
    let (used, all) = (queue.engine.broker.memory_bytes(), u64::from(COUNT) * 328);
    assert!(used <= max + 512 * 328 && used < all / 10, "{used} of {all} bytes are in memory");
    queue.consume(b"q");
    assert_eq!(queue.drain(), (0..COUNT).collect::<Vec<_>>());
    assert!(queue.reader.read_count > COUNT as usize * 8 / 10, "{} were read", queue.reader.read_count);
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
