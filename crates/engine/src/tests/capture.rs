//! Changes are captured exactly while something is bound, wherever the bindings come from and however they go.

use super::world::run;
use crate::{Engine, Slice};
use leveret_amqp::Table;
use leveret_broker::{QueueDeclare, VhostAbout, VhostId};

fn bind(engine: &mut Engine, vhost: VhostId, session: u64, queue: &[u8], durable: bool) {
    let declare = QueueDeclare {
        name: queue,
        passive: false,
        durable,
        exclusive: !durable,
        auto_delete: false,
        arguments: Table::default(),
    };
    engine.on_broker(|txn| txn.queue_declare(vhost, session, &declare)).expect("the name is free");
    let bound = engine
        .on_broker(|txn| txn.queue_bind(vhost, session, queue, b"leveret.keyspace", b"#", Table::default()));
    bound.expect("both are there");
}

/// How many messages a change makes.
fn captured(engine: &mut Engine) -> usize {
    let before = engine.broker.counts()[2];
    let position = engine.position();
    run(engine, "SET k v");
    assert_eq!(engine.position(), position + 1, "a change and its messages are one commit");
    engine.broker.counts()[2] - before
}

#[test]
fn changes_are_captured_while_something_is_bound() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    assert_eq!(captured(&mut engine), 0);
    bind(&mut engine, VhostId(0), session, b"own", false);
    assert_eq!(captured(&mut engine), 1);
    let about = VhostAbout::default();
    let shop = engine.on_broker(|txn| txn.vhost_put(b"shop", &about));
    bind(&mut engine, shop, session, b"changes", true);
    assert_eq!(captured(&mut engine), 2);
    engine.close_session(session);
    assert_eq!(captured(&mut engine), 1);
    let mut checkpoint = Vec::new();
    let head = engine.begin_checkpoint(&mut checkpoint).expect("there is no other");
    while engine.checkpoint_slice(1000, &mut checkpoint, &mut Vec::new()) == Slice::More {}
    let mut restored = Engine::new(2, 1);
    restored.restore(&checkpoint).expect("it can be read");
    restored.restored(head);
    restored.after_replay(engine.now_ms());
    assert_eq!(restored.digest(), engine.digest());
    assert_eq!(captured(&mut restored), 1);
    for engine in [&mut engine, &mut restored] {
        engine.on_broker(|txn| txn.vhost_delete(shop));
        assert_eq!(captured(engine), 0);
        let again = engine.on_broker(|txn| txn.vhost_put(b"shop", &about));
        let session = engine.open_session(0);
        bind(engine, again, session, b"changes", true);
        assert_eq!(captured(engine), 1);
        engine
            .on_broker(|txn| txn.queue_delete(again, session, b"changes", false, false))
            .expect("it is ours");
        assert_eq!(captured(engine), 0);
    }
}
