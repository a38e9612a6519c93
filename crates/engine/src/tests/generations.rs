//! What checkpoints have as a whole is not let go of: the log keeps only what they name.

use super::declare;
use super::world::{World, publish_to, run};
use crate::Slice;
use leveret_amqp::{Table, TableBuf, Value};
use leveret_broker::{Consume, Event, ExchangeDeclare, How, VhostId};
use leveret_wal::faulty::FaultyDisk;

const COUNT: u32 = 1_500;

/// A server without memory for messages whose queue has a backlog.
struct Backlog {
    disk: FaultyDisk,
    world: World,
    session: u64,
    rng: fastrand::Rng,
    got: Vec<u32>,
}

impl Backlog {
    fn new() -> Self {
        let (disk, rng) = (FaultyDisk::new(1), fastrand::Rng::with_seed(1));
        let mut world = World::open_with(&disk, 1, Some(0));
        let session = world.engine.open_session(0);
        declare(&mut world.engine, session, b"q", &[]);
        Self { disk, world, session, rng, got: Vec::new() }
    }

    fn fill(&mut self) {
        (0..COUNT).for_each(|i| self.publish("", i));
        self.world.write().expect("the disk is fine");
    }

    fn publish(&mut self, exchange: &str, number: u32) {
        let message = publish_to(exchange, "q", &format!("{number:0>200}"), true);
        let published = self.world.engine.on_broker(|txn| txn.publish(VhostId(0), &message));
        published.expect("the exchange is there");
    }

    fn checkpoint(&mut self) {
        while !self.world.checkpoint(&mut self.rng).expect("the disk is fine") {}
    }

    /// One that cannot be written.
    fn lose_checkpoint(&mut self) {
        let (mut changes, mut names) = (Vec::new(), Vec::new());
        let engine = &mut self.world.engine;
        engine.begin_checkpoint(&mut changes).expect("there is no other");
        while engine.checkpoint_slice(1000, &mut changes, &mut names) == Slice::More {}
    }

    fn restart(&mut self) {
        self.world.write().expect("the disk is fine");
        self.world = World::open_with(&self.disk, 2, Some(0));
        self.session = self.world.engine.open_session(0);
    }

    fn consume(&mut self, prefetch: u16) {
        let consume = Consume {
            session: self.session,
            channel: 1,
            queue: b"q",
            tag: b"t",
            no_ack: false,
            exclusive: false,
            no_local: false,
            hears_cancel: true,
            prefetch,
            arguments: Table::default(),
        };
        let consumer = self.world.engine.on_broker(|txn| txn.consume(VhostId(0), &consume));
        consumer.expect("the queue is there");
    }

    /// What has come since, after what is wanted was read.
    fn collect(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.world.fetch(&mut self.rng, 10);
        self.world.engine.session(self.session).expect("it is open").collect(&mut Vec::new(), &mut events);
        events
    }

    fn settle(&mut self, events: Vec<Event>) {
        for event in events {
            let Event::Deliver { queue, seq, message, .. } = event else { continue };
            self.got.push(String::from_utf8_lossy(message.body()).parse().expect("it is a number"));
            let session = self.session;
            self.world.engine.on_broker(|txn| {
                txn.settle(session, 1, queue, seq, How::Ack);
                txn.drained(session, message.size());
            });
        }
        self.world.write().expect("the disk is fine");
    }

    /// Acknowledges everything; gives how often something had to be looked for.
    fn drain(&mut self) -> usize {
        let mut rounds = 0;
        while self.world.engine.broker.counts()[2..4] != [0, 0] && rounds < 10 * COUNT as usize {
            let events = self.collect();
            self.settle(events);
            rounds += 1;
        }
        rounds
    }
}

#[test]
fn of_two_checkpoints_at_one_position_the_second_may_have_as_a_whole_what_the_first_one_names() {
    let mut backlog = Backlog::new();
    backlog.fill();
    // Numbers that may have been delivered are noted in advance.
    backlog.consume(1);
    backlog.collect();
    backlog.restart();
    let position = backlog.world.engine.position();
    backlog.lose_checkpoint();
    backlog.consume(100);
    let mut held = backlog.collect();
    held.extend(backlog.collect());
    assert_eq!((held.len(), backlog.world.engine.position()), (100, position));
    backlog.checkpoint();
    backlog.settle(held);
    let held = backlog.collect();
    assert_eq!(held.len(), 100);
    // What is not in memory is in the log.
    backlog.world.digest();
    backlog.checkpoint();
    backlog.settle(held);
    backlog.drain();
    assert_eq!(backlog.got, (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn what_an_exchange_kept_is_looked_for_where_it_was_recorded_last() {
    let mut backlog = Backlog::new();
    let mut arguments = TableBuf::new();
    arguments.push(b"x-recent-history-length", Value::Long(10));
    let exchange = ExchangeDeclare {
        name: b"recent",
        kind: b"x-recent-history",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: arguments.as_table(),
    };
    let declared = backlog.world.engine.on_broker(|txn| txn.exchange_declare(VhostId(0), &exchange));
    declared.expect("the name is free");
    (COUNT..COUNT + 10).for_each(|i| backlog.publish("recent", i));
    // Nothing else that is kept lies in the same segment.
    run(&mut backlog.world.engine, &format!("SET large {}", "x".repeat(20_000)));
    backlog.world.write().expect("the disk is fine");
    backlog.fill();
    backlog.checkpoint();
    // The last block is in memory when they come.
    backlog.consume(1);
    while backlog.got.len() < COUNT as usize - 50 {
        let events = backlog.collect();
        backlog.settle(events);
    }
    let session = backlog.session;
    let bound = backlog
        .world
        .engine
        .on_broker(|txn| txn.queue_bind(VhostId(0), session, b"q", b"recent", b"", Table::default()));
    bound.expect("both are there");
    backlog.world.write().expect("the disk is fine");
    assert!(backlog.world.engine.broker.places_away().count() >= 10);
    backlog.world.digest();
    backlog.drain();
    assert_eq!(backlog.got, (0..COUNT + 10).collect::<Vec<_>>());
}
