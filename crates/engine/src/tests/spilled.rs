//! Messages that the log does not have and that are let go of: kept here in a map by who would have files for them.

use super::declare;
use super::paging::Queue;
use super::replays;
use super::world::publish_to;
use crate::Engine;
use leveret_amqp::{Table, Value};
use leveret_base::codec::Place;
use leveret_broker::{Message, Spill, VhostId};
use leveret_wal::Reader;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was spilled.
#[derive(Default)]
pub(super) struct Spilled {
    pub(super) spill: Arc<Spill>,
    pub(super) runs: BTreeMap<u64, Vec<u8>>,
    pub(super) written_bytes: usize,
    gone: BTreeSet<u64>,
}

impl Spilled {
    /// Takes what an engine spills from now on.
    pub(super) fn of(engine: &mut Engine) -> Self {
        let spilled = Self::default();
        engine.broker.spill = Some(spilled.spill.clone());
        spilled
    }

    /// Takes what was spilled, and forgets what has gone.
    pub(super) fn settle(&mut self) {
        // In this order, as nothing is forgotten before it is here.
        let gone = self.spill.take_gone();
        for run in self.spill.take_all_out() {
            self.written_bytes += run.bytes.len();
            self.runs.insert(run.number, run.bytes);
        }
        for number in gone {
            self.runs.remove(&number);
            assert!(self.gone.insert(number), "it goes once");
        }
    }

    /// The message that lies there, or in the log.
    pub(super) fn read(&self, reader: &mut Reader, place: Place) -> Option<Message> {
        let Some(run) = place.run() else { return replays::read(reader, place) };
        let bytes = self.runs.get(&run)?.get(place.offset as usize..)?;
        Some(Message::read(bytes, place).expect("a message lies there"))
    }
}

const COUNT: u32 = 10_000;

fn number(i: u32) -> String {
    format!("{i:0>200}")
}

#[test]
fn transient_messages_take_little_memory_and_come_in_order() {
    let max = 256 * 1024;
    let mut queue = Queue::new(max, &[]);
    queue.publish_mixed(COUNT, |_| false);
    let (used, all) = (queue.engine.broker.in_memory().bytes(), u64::from(COUNT) * 328);
    assert!(used <= max + 512 * 328 && used < all / 5, "{used} of {all} bytes are in memory");
    queue.spilled.settle();
    assert!(queue.spilled.written_bytes as u64 > all / 2, "{} were written", queue.spilled.written_bytes);
    queue.consume(b"q");
    assert_eq!(queue.drain(), (0..COUNT).collect::<Vec<_>>());
    queue.spilled.settle();
    assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
    assert_eq!(queue.engine.broker.in_memory().left(), 0, "the log had nothing of them");
}

#[test]
fn a_mixed_queue_lets_go_of_both_kinds() {
    for max in [0, 100 * 1024] {
        let mut queue = Queue::new(max, &[]);
        queue.publish_mixed(COUNT, |i| i % 3 == 0);
        let used = queue.engine.broker.in_memory().bytes();
        assert!(used <= max + 512 * 328, "{used} bytes are in memory");
        queue.consume(b"q");
        assert_eq!(queue.drain(), (0..COUNT).collect::<Vec<_>>());
        queue.spilled.settle();
        assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
    }
}

#[test]
fn what_is_spilled_becomes_a_letter_in_order() {
    let arguments = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"dead")),
        ("x-message-ttl", Value::Long(60_000)),
    ];
    let mut queue = Queue::new(0, &arguments);
    queue.publish_mixed(COUNT / 4, |_| false);
    queue.engine.enter(queue.engine.now_ms() + 60_001);
    queue.consume(b"dead");
    assert_eq!(queue.drain(), (0..COUNT / 4).collect::<Vec<_>>());
    queue.spilled.settle();
    assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
}

#[test]
fn what_is_purged_or_dropped_is_not_read_and_leaves_nothing() {
    let mut queue = Queue::new(0, &[("x-max-length", Value::Long(4_000))]);
    queue.publish_mixed(5_000, |i| i % 2 == 0);
    let session = queue.session;
    let purged = queue.engine.on_broker(|txn| txn.queue_purge(VhostId(0), session, b"q"));
    assert_eq!(purged.expect("the queue is there"), 4_000);
    assert!(queue.engine.broker.take_wanted().is_empty());
    drop(queue.engine.take_garbage());
    queue.spilled.settle();
    assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
}

#[test]
fn what_cannot_be_written_stays_in_memory() {
    let mut queue = Queue::new(0, &[]);
    queue.spilled.spill.set_closed(true);
    queue.publish_mixed(COUNT / 10, |_| false);
    assert!(!queue.spilled.spill.has_out());
    let used = queue.engine.broker.in_memory().bytes();
    assert!(used >= u64::from(COUNT / 10) * 320, "only {used} bytes are in memory");
    queue.consume(b"q");
    assert_eq!(queue.drain(), (0..COUNT / 10).collect::<Vec<_>>());
}

#[test]
fn a_message_in_several_queues_is_written_once() {
    let mut queue = Queue::new(100 * 1024, &[]);
    for name in [&b"q"[..], b"second", b"third"] {
        declare(&mut queue.engine, queue.session, name, &[]);
        let session = queue.session;
        let bound = queue
            .engine
            .on_broker(|txn| txn.queue_bind(VhostId(0), session, name, b"amq.fanout", b"", Table::default()));
        bound.expect("both are there");
    }
    for i in 0..COUNT {
        let message = publish_to("amq.fanout", "", &number(i), false);
        queue.engine.on_broker(|txn| txn.publish(VhostId(0), &message)).expect("the exchange is there");
    }
    queue.spilled.settle();
    let once = COUNT as usize * 240;
    assert!(
        queue.spilled.written_bytes < once * 3 / 2,
        "{} of {once} were written",
        queue.spilled.written_bytes
    );
    for name in [&b"third"[..], b"q", b"second"] {
        queue.consume(name);
        assert_eq!(queue.drain_some(COUNT as usize), (0..COUNT).collect::<Vec<_>>());
        let session = queue.session;
        queue.engine.on_broker(|txn| txn.channel_closed(session, 1));
    }
    queue.spilled.settle();
    assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
}
