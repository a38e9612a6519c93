//! What streams keep and what waits in exchanges need not be in memory either.

use super::paging::{Queue, number};
use leveret_amqp::{PropertyValues, TableBuf, Value};
use leveret_broker::{Consume, Event, ExchangeDeclare, How, Message, VhostId};
use std::collections::BTreeMap;
use std::sync::Arc;

const COUNT: u32 = 10_000;
/// Less than a tenth of what they take.
const MAX: u64 = 256 * 1024;

fn consume(queue: &mut Queue, channel: u16, tag: &[u8], offset: Value<'_>) {
    let mut arguments = TableBuf::default();
    arguments.push(b"x-stream-offset", offset);
    let consume = Consume {
        session: queue.session,
        channel,
        queue: b"q",
        tag,
        no_ack: false,
        exclusive: false,
        no_local: false,
        hears_cancel: true,
        prefetch: 50,
        arguments: arguments.as_table(),
    };
    queue.engine.on_broker(|txn| txn.consume(VhostId(0), &consume)).expect("the stream is there");
}

/// What consumers get until nothing more comes, by their tags.
fn read(queue: &mut Queue) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let (mut got, mut events, mut quiet) = (BTreeMap::<_, Vec<u32>>::new(), Vec::new(), 0);
    while quiet < 10 {
        let session = queue.session;
        queue.engine.session(session).expect("it is open").collect(&mut Vec::new(), &mut events);
        quiet += 1;
        for event in events.drain(..) {
            quiet = 0;
            let Event::Deliver { channel, consumer_tag, queue: id, seq, message, .. } = event else {
                continue;
            };
            got.entry(consumer_tag.to_vec()).or_default().push(number(&message));
            queue.engine.on_broker(|txn| {
                txn.settle(session, channel, id, seq, How::Ack);
                txn.drained(session, message.size());
            });
        }
        queue.turn();
    }
    got
}

#[test]
fn a_stream_takes_little_memory_and_is_read_from_anywhere() {
    let mut queue = Queue::new(MAX, &[("x-queue-type", Value::LongStr(b"stream"))]);
    queue.publish_mixed(COUNT, |i| i % 2 == 0);
    let used = queue.engine.broker.in_memory().bytes();
    assert!(used <= MAX + 256 * 1024, "{used} bytes are in memory");
    consume(&mut queue, 1, b"first", Value::LongStr(b"first"));
    consume(&mut queue, 2, b"middle", Value::Long(COUNT as i64 / 2));
    consume(&mut queue, 3, b"last", Value::LongStr(b"last"));
    let got = read(&mut queue);
    assert_eq!(got[&b"first"[..]], (0..COUNT).collect::<Vec<_>>());
    assert_eq!(got[&b"middle"[..]], (COUNT / 2..COUNT).collect::<Vec<_>>());
    assert_eq!(got[&b"last"[..]], [COUNT - 1]);
    // What was read is in memory for a while beside it.
    let used = queue.engine.broker.in_memory().bytes();
    assert!(used <= MAX + 256 * 1024 + 8 * 200 * 1024, "{used} bytes are in memory");
    // Those who have come to the end are not held up by a disk.
    let before = queue.read_count;
    queue.publish_mixed(10, |_| true);
    let got = read(&mut queue);
    assert_eq!(got.values().map(Vec::len).collect::<Vec<_>>(), [10; 3]);
    assert_eq!(queue.read_count, before);
}

/// A message that waits so long.
fn delayed(delay: u32, is_persistent: bool) -> Arc<Message> {
    let (mut headers, mut properties) = (TableBuf::default(), Vec::new());
    headers.push(b"x-delay", Value::Long(delay.into()));
    let delivery_mode = Some(if is_persistent { 2 } else { 1 });
    let values =
        PropertyValues { delivery_mode, headers: Some(headers.as_table()), ..PropertyValues::default() };
    values.encode(&mut properties);
    let body = format!("{delay:0>200}");
    Arc::new(Message::new(b"later", b"q", &properties, body.as_bytes()).expect("the properties are valid"))
}

fn declare_later(queue: &mut Queue) {
    let mut arguments = TableBuf::default();
    arguments.push(b"x-delayed-type", Value::LongStr(b"fanout"));
    let exchange = ExchangeDeclare {
        name: b"later",
        kind: b"x-delayed-message",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: arguments.as_table(),
    };
    let session = queue.session;
    queue.engine.on_broker(|txn| txn.exchange_declare(VhostId(0), &exchange)).expect("the name is free");
    let bound = queue.engine.on_broker(|txn| {
        txn.queue_bind(VhostId(0), session, b"q", b"later", b"", leveret_amqp::Table::default())
    });
    bound.expect("both are there");
}

#[test]
fn what_cannot_be_read_of_a_stream_is_not_read_again_and_again() {
    let mut queue = Queue::new(MAX, &[("x-queue-type", Value::LongStr(b"stream"))]);
    queue.publish_mixed(COUNT, |_| true);
    queue.damaged.extend([COUNT / 2]);
    consume(&mut queue, 1, b"first", Value::LongStr(b"first"));
    // What stands before it comes.
    assert_eq!(read(&mut queue)[&b"first"[..]], (0..COUNT / 2).collect::<Vec<_>>());
    let before = queue.read_count;
    assert_eq!(read(&mut queue), BTreeMap::new());
    assert_eq!(queue.read_count, before);
    queue.damaged.clear();
    assert_eq!(read(&mut queue)[&b"first"[..]], (COUNT / 2..COUNT).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_read_of_what_waits_holds_up_nothing_else() {
    let mut queue = Queue::new(0, &[]);
    declare_later(&mut queue);
    for delay in 1..=COUNT {
        let message = delayed(delay, delay % 3 > 0);
        queue.engine.on_broker(|txn| txn.publish(VhostId(0), &message)).expect("the exchange is there");
    }
    queue.damaged.extend([1, 2, 3, COUNT / 2]);
    queue.engine.enter(queue.engine.now_ms() + u64::from(COUNT));
    queue.consume(b"q");
    (0..10).for_each(|_| queue.turn());
    let readable: Vec<u32> = (1..=COUNT).filter(|delay| !queue.damaged.contains(delay)).collect();
    assert_eq!(queue.drain_some(readable.len()), readable);
    // There is nothing to do at once.
    assert!(queue.engine.next_deadline().is_some_and(|at| at > queue.engine.now_ms()));
    let second = queue.engine.broker.scheduled((0, 0)).nth(1).map(|waits| (waits.due, waits.number));
    let (due, number) = second.expect("four wait");
    assert!(queue.engine.on_broker(|txn| txn.cancel_scheduled(due, number)));
    queue.damaged.clear();
    let mut got = queue.drain_some(3);
    got.sort_unstable();
    assert_eq!(got, [1, 3, COUNT / 2]);
    assert_eq!(queue.engine.broker.scheduled((0, 0)).count(), 0);
}

#[test]
fn what_waits_takes_little_memory_and_goes_on_in_time() {
    let mut queue = Queue::new(MAX, &[]);
    declare_later(&mut queue);
    let mut order: Vec<u32> = (1..=COUNT).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    for delay in order {
        let message = delayed(delay, delay % 3 > 0);
        queue.engine.on_broker(|txn| txn.publish(VhostId(0), &message)).expect("the exchange is there");
    }
    queue.turn();
    let used = queue.engine.broker.in_memory().bytes();
    assert!(used <= MAX + 64 * 1024, "{used} bytes are in memory");
    // What is routed by now is a tenth.
    queue.engine.enter(queue.engine.now_ms() + u64::from(COUNT) / 10);
    for _ in 0..100 {
        queue.turn();
    }
    let ready = queue.engine.broker.counts()[2];
    assert!(ready >= COUNT as usize / 10 && ready < COUNT as usize / 5, "{ready} have been routed");
    queue.engine.enter(queue.engine.now_ms() + u64::from(COUNT));
    queue.consume(b"q");
    assert_eq!(queue.drain_some(COUNT as usize), (1..=COUNT).collect::<Vec<_>>());
    queue.spilled.settle();
    assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
    assert_eq!(queue.engine.broker.in_memory().bytes() / 4096, 0);
}
