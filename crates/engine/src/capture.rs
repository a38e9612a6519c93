//! Change data capture: what happens to keys goes to the exchange `leveret.keyspace` of each vhost where something is bound to it, in
//! the commit in which it happens. While nothing is bound a commit pays one look at a flag. A message never changes a key, so
//! nothing comes round.

use crate::engine::{Engine, Position};
use crate::forward;
use leveret_amqp::{PropertyValues, TableBuf, Value};
use leveret_broker::{KEYSPACE, Message};
use leveret_keyspace::{Captured, DbIndex, event::Event};
use std::sync::Arc;

impl Engine {
    /// Publishes what has been captured since the last call, in order.
    #[cold]
    pub(crate) fn publish_captured(&mut self) {
        let captured = std::mem::take(&mut self.keyspace.watches.captured);
        let (position, now_ms) = (self.position() + 1, self.now_ms());
        let exchanges = self.broker.capturing();
        // A transaction comes here after each of its commands.
        let first = if self.captured.0 == position { self.captured.1 } else { 0 };
        self.captured = (position, first + captured.len() as i64);
        self.on_broker(|txn| {
            for (index, captured) in (first..).zip(captured) {
                let message = Arc::new(message(&captured, (position, index), now_ms));
                for exchange in &exchanges {
                    txn.publish_from(*exchange, &message);
                }
            }
        });
    }

    /// Whether changes are captured follows from the bindings.
    #[inline]
    pub(crate) fn follow_bindings(&mut self) {
        let captures = self.broker.captures();
        self.keyspace.watches.capture(captures);
    }
}

fn message(captured: &Captured, (position, index): (Position, i64), now_ms: u64) -> Message {
    let Captured { db, event, ref key } = *captured;
    let key = key.as_deref();
    let mut headers = TableBuf::new();
    headers.push(b"database", Value::SignedInt(db.into()));
    headers.push(b"event", Value::LongStr(event.name.as_bytes()));
    headers.push(b"position", Value::Long(position as i64));
    headers.push(b"index", Value::Long(index));
    let values = PropertyValues {
        delivery_mode: Some(2),
        timestamp: Some(now_ms / 1000),
        headers: Some(headers.as_table()),
        ..PropertyValues::default()
    };
    let mut properties = Vec::new();
    values.encode(&mut properties);
    let routing_key = routing_key(db, event, key);
    Message::new(KEYSPACE, routing_key.as_bytes(), &properties, key.unwrap_or_default())
        .expect("the parts are as long as they may be")
}

/// `0.set.user:7`.
fn routing_key(db: DbIndex, event: Event, key: Option<&[u8]>) -> String {
    let what = format!("{db}.{}", event.name);
    match key {
        None => what,
        Some(key) => forward::routing_key(what + ".", key),
    }
}
