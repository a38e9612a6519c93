//! What consumers hold need not be in memory: it is read again when it comes back.

use super::paging::Queue;
use leveret_amqp::{TableBuf, Value};
use leveret_broker::{ApplyTo, How, Pattern, Policy, PolicyKey, VhostId};

const COUNT: u32 = 10_000;
/// Less than a tenth of what they take.
const MAX: u64 = 256 * 1024;

fn all() -> Vec<u32> {
    (0..COUNT).collect()
}

#[test]
fn what_is_held_takes_little_memory_and_comes_back_in_order() {
    for is_persistent in [|_| true, |_| false, |i: u32| i.is_multiple_of(3)] {
        let mut queue = Queue::new(MAX, &[]);
        queue.publish_mixed(COUNT, is_persistent);
        queue.consume_at_most(b"q", 0);
        assert_eq!(queue.take(COUNT as usize, |_, _, _| ()), all());
        assert_eq!(queue.engine.broker.counts()[2..4], [0, COUNT as usize]);
        let used = queue.engine.broker.in_memory().bytes();
        // What is fetched, a block and the next, comes on top.
        assert!(used <= MAX + 3 * 512 * 330, "{used} bytes are in memory");
        let session = queue.session;
        queue.engine.on_broker(|txn| txn.channel_closed(session, 1));
        queue.consume(b"q");
        assert_eq!(queue.drain(), all());
        queue.spilled.settle();
        assert!(queue.spilled.runs.is_empty(), "{} runs are left", queue.spilled.runs.len());
        assert_eq!(queue.engine.broker.in_memory().bytes() / 4096, 0);
    }
}

#[test]
fn what_goes_to_a_consumer_at_once_is_let_go_of_too() {
    let mut queue = Queue::new(MAX, &[]);
    queue.consume_at_most(b"q", 0);
    for part in 0..10 {
        queue.publish_mixed(COUNT / 10, |i| i % 2 == 0);
        assert_eq!(queue.take(COUNT as usize / 10, |_, _, _| ()).len(), COUNT as usize / 10, "part {part}");
    }
    let used = queue.engine.broker.in_memory().bytes();
    assert!(used <= MAX + 512 * 330, "{used} bytes are in memory");
}

#[test]
fn what_got_a_dead_letter_exchange_meanwhile_is_rejected_when_it_comes_next() {
    let mut queue = Queue::new(0, &[]);
    queue.publish_mixed(100, |i| i % 2 == 0);
    queue.consume_at_most(b"q", 0);
    let mut held = Vec::new();
    queue.take(100, |_, id, seq| held.push((id, seq)));
    let mut definition = TableBuf::default();
    definition.push(b"dead-letter-exchange", Value::LongStr(b""));
    definition.push(b"dead-letter-routing-key", Value::LongStr(b"dead"));
    let key: PolicyKey = (VhostId(0), false, "letters".into());
    let policy = Policy {
        pattern: Pattern::new("^q$").expect("it is one"),
        apply_to: ApplyTo::All,
        priority: 0,
        definition: definition.as_table().raw().into(),
    };
    queue.engine.on_broker(|txn| txn.put_policy(key, policy));
    let session = queue.session;
    for (id, seq) in held {
        queue.engine.on_broker(|txn| txn.settle(session, 1, id, seq, How::Drop));
    }
    // They are there again, and rejected for good now.
    let reject = |queue: &mut Queue, id, seq| {
        let session = queue.session;
        queue.engine.on_broker(|txn| txn.settle(session, 1, id, seq, How::Drop));
    };
    assert_eq!(queue.take(100, reject), (0..100).collect::<Vec<_>>());
    queue.engine.on_broker(|txn| txn.channel_closed(session, 1));
    queue.consume(b"dead");
    assert_eq!(queue.drain(), (0..100).collect::<Vec<_>>());
}
