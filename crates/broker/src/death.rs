//! What is written on a dead letter: the headers `x-death`, `x-first-death-*` and `x-last-death-*`, and whether it goes in
//! circles. The trap: publishers can send such headers, too; only those of a message that has died before are believed.

use crate::{Message, QueueId, UnixMillis};
use leveret_amqp::{ArrayBuf, PropertyValues, Table, TableBuf, Value};
use std::sync::Arc;

/// Why a message leaves its queue unacknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Expired,
    Rejected,
    MaxLen,
    DeliveryLimit,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::Rejected => "rejected",
            Reason::MaxLen => "maxlen",
            Reason::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A message that has left its queue.
pub(crate) struct Dead {
    pub(crate) queue: QueueId,
    pub(crate) message: Arc<Message>,
    pub(crate) reason: Reason,
    /// Somebody has had it.
    pub(crate) redelivered: bool,
}

/// The argument of queues that says where dead letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetters {
    pub(crate) exchange: Box<[u8]>,
    /// In place of the message's own keys.
    pub(crate) routing_key: Option<Box<[u8]>>,
}

/// The history of a message, newest first; empty for one that has not died.
fn history(message: &Message) -> Vec<Table<'_>> {
    if !message.died {
        return Vec::new();
    }
    let array = message.headers().find(X_DEATH).and_then(|value| value.as_array());
    array.into_iter().flat_map(|array| array.iter()).filter_map(|value| value.as_table()).collect()
}

fn is(table: Table<'_>, name: &str, text: &[u8]) -> bool {
    table.find(name.as_bytes()).and_then(|value| value.as_longstr()) == Some(text)
}

/// True when the message would come to a queue where it has died already, and nobody has rejected it since: it would
/// never end. (RabbitMQ: dead letter cycles)
pub(crate) fn is_cycle(message: &Message, queue: &[u8]) -> bool {
    let history = history(message);
    match history.iter().position(|death| is(*death, "queue", queue)) {
        Some(last) => history
            .iter()
            .take(last + 1)
            .all(|death| !is(*death, "reason", Reason::Rejected.name().as_bytes())),
        None => false,
    }
}

// DEVIATION: the keys of `BCC` are forgotten.
/// The message as it goes to the dead letter exchange.
pub(crate) fn letter(
    message: &Message,
    queue: &[u8],
    reason: Reason,
    to: &DeadLetters,
    now_ms: UnixMillis,
) -> Message {
    let values = message.values();
    let (reason, history) = (reason.name().as_bytes(), history(message));
    let same = history.iter().position(|death| is(*death, "queue", queue) && is(*death, "reason", reason));
    let mut deaths = ArrayBuf::new();
    let first = match same.and_then(|place| history.get(place)) {
        Some(before) => again(*before),
        None => death(message, queue, reason, values.expiration, now_ms),
    };
    deaths.push(Value::Table(first.as_table()));
    for (_, death) in history.iter().enumerate().filter(|(place, _)| Some(*place) != same) {
        deaths.push(Value::Table(*death));
    }
    let mut headers = TableBuf::from(message.headers());
    headers.set(X_DEATH, Value::Array(deaths.as_array()));
    for (name, value) in [("exchange", message.exchange()), ("queue", queue), ("reason", reason)] {
        let first = format!("x-first-death-{name}");
        if !message.died || headers.as_table().find(first.as_bytes()).is_none() {
            headers.set(first.as_bytes(), Value::LongStr(value));
        }
        headers.set(format!("x-last-death-{name}").as_bytes(), Value::LongStr(value));
    }
    let values = PropertyValues { headers: Some(headers.as_table()), expiration: None, ..values };
    let routing_key = to.routing_key.as_deref().unwrap_or(message.routing_key());
    let mut letter = message.rewritten(&to.exchange, routing_key, &values);
    letter.died = true;
    // Its keys are replaced, all of them, although the header stays.
    letter.is_rekeyed =
        message.is_rekeyed || to.routing_key.is_some() && message.headers().find(b"CC").is_some();
    letter
}

/// A death for the first time in this queue and for this reason.
fn death(
    message: &Message,
    queue: &[u8],
    reason: &[u8],
    expiration: Option<&[u8]>,
    now_ms: UnixMillis,
) -> TableBuf {
    let mut keys = ArrayBuf::new();
    keys.push(Value::LongStr(message.routing_key()));
    let copies = message.headers().find(b"CC").filter(|_| !message.is_rekeyed);
    let copies = copies.and_then(|value| value.as_array());
    for key in copies.iter().flat_map(|array| array.iter()).filter_map(|value| value.as_longstr()) {
        keys.push(Value::LongStr(key));
    }
    let mut table = TableBuf::new();
    table.push(b"count", Value::Long(1));
    table.push(b"reason", Value::LongStr(reason));
    table.push(b"queue", Value::LongStr(queue));
    table.push(b"time", Value::Timestamp(now_ms / 1000));
    table.push(b"exchange", Value::LongStr(message.exchange()));
    table.push(b"routing-keys", Value::Array(keys.as_array()));
    if let Some(expiration) = expiration {
        table.push(b"original-expiration", Value::LongStr(expiration));
    }
    table
}

/// The same death once more.
fn again(before: Table<'_>) -> TableBuf {
    let mut table = TableBuf::new();
    for (name, value) in before.iter() {
        match (name, value.as_integer()) {
            (b"count", Some(count)) => table.push(name, Value::Long(count.saturating_add(1))),
            _ => table.push(name, value),
        };
    }
    table
}

const X_DEATH: &[u8] = b"x-death";
