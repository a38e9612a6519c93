//! What the changes of the broker are called, and what stands in them.

use super::*;
use leveret_base::describe::Field;
use leveret_base::describe::Kind::{Bytes, Many, Number};
use leveret_base::describe::Row;

const QUEUE: Field = ("queue", Number);
const EXCHANGE: Field = ("exchange", Number);
const SEQ: Field = ("seq", Number);
const MESSAGE_FIELDS: &[Field] =
    &[("exchange", Bytes), ("routing_key", Bytes), ("properties", Bytes), ("body", Bytes)];
const BINDING_FIELDS: &[Field] = &[
    ("source", Number),
    ("to_exchange", Number),
    ("destination", Number),
    ("key", Bytes),
    ("arguments", Bytes),
];

/// Every change of the broker.
pub const CHANGE_NAMES: &[Row] = &[
    (
        EXCHANGE_DECLARE,
        "exchange declare",
        &[
            ("vhost", Number),
            EXCHANGE,
            ("flags", Number),
            ("name", Bytes),
            ("type", Bytes),
            ("arguments", Bytes),
        ],
    ),
    (EXCHANGE_DELETE, "exchange delete", &[EXCHANGE]),
    (
        QUEUE_DECLARE,
        "queue declare",
        &[("vhost", Number), QUEUE, ("flags", Number), ("name", Bytes), ("arguments", Bytes)],
    ),
    (QUEUE_DELETE, "queue delete", &[QUEUE]),
    (BIND, "bind", BINDING_FIELDS),
    (UNBIND, "unbind", BINDING_FIELDS),
    (MESSAGE, "message", MESSAGE_FIELDS),
    (LETTER, "dead letter", MESSAGE_FIELDS),
    (REKEYED_LETTER, "dead letter with another key", MESSAGE_FIELDS),
    (ENQUEUE, "enqueue", &[QUEUE, SEQ, ("deadline_ms", Number)]),
    (SETTLE, "settle", &[QUEUE, SEQ]),
    (DELIVERED_THROUGH, "delivered through", &[QUEUE, SEQ]),
    (PURGE, "purge", &[QUEUE, ("through", Number), ("kept", Many(&[SEQ]))]),
    (RETURNED, "returned", &[QUEUE, SEQ, ("returns", Number)]),
    (RETRY_AT, "retry at", &[QUEUE, SEQ, ("until_ms", Number)]),
    (DELAY, "delay", &[EXCHANGE, ("number", Number), ("due_ms", Number)]),
    (DELAY_OVER, "delay over", &[("number", Number), ("due_ms", Number)]),
    (SEEN_BY_EXCHANGE, "seen by exchange", &[EXCHANGE, ("until_ms", Number), ("key", Bytes)]),
    (SEEN_BY_QUEUE, "seen by queue", &[QUEUE, ("until_ms", Number), ("key", Bytes)]),
    (
        VHOST_PUT,
        "vhost put",
        &[
            ("vhost", Number),
            ("first_exchange", Number),
            ("protected", Number),
            ("name", Bytes),
            ("description", Bytes),
            ("default_queue_type", Bytes),
            ("tags", Many(&[("tag", Bytes)])),
        ],
    ),
    (VHOST_DELETE, "vhost delete", &[("vhost", Number)]),
    (
        POLICY_PUT,
        "policy put",
        &[
            ("vhost", Number),
            ("operator", Number),
            ("name", Bytes),
            ("pattern", Bytes),
            ("apply_to", Bytes),
            ("priority", Bytes),
            ("definition", Bytes),
        ],
    ),
    (POLICY_DELETE, "policy delete", &[("vhost", Number), ("operator", Number), ("name", Bytes)]),
    (STREAM_APPEND, "stream append", &[QUEUE, ("offset", Number), ("at_ms", Number)]),
    (STREAM_TRUNCATE, "stream truncate", &[QUEUE, ("first", Number)]),
    (RECENT_KEPT, "recent kept", &[EXCHANGE]),
    (RECENT_FORGOTTEN, "recent forgotten", &[EXCHANGE]),
    (REPLY_SECRET, "reply secret", &[("secret", Bytes)]),
    (RETURNED_OR_RELEASED, "returned or released", &[QUEUE, SEQ, ("returns", Number), ("releases", Number)]),
    (QUEUE_AT, "queue at", &[QUEUE, ("next_seq", Number), ("delivered_through", Number)]),
    (MESSAGE_NAMED, "message named", &[("number", Number)]),
    (MESSAGE_AGAIN, "message again", &[("number", Number)]),
    (STREAM_SEGMENT, "stream segment", &[QUEUE, ("first", Number)]),
    (STREAM_KEPT, "stream kept", &[QUEUE, ("offset", Number), ("at_ms", Number)]),
    (
        MESSAGE_AWAY,
        "message that the log has",
        &[
            ("position", Number),
            ("ordinal", Number),
            ("bytes", Number),
            ("priority", Number),
            ("persistent", Number),
        ],
    ),
    (
        ENQUEUE_AWAY,
        "enqueue what the log has",
        &[
            QUEUE,
            SEQ,
            ("deadline_ms", Number),
            ("position", Number),
            ("ordinal", Number),
            ("bytes", Number),
            ("priority", Number),
            ("persistent", Number),
        ],
    ),
    (NEXT_NUMBERS, "next numbers", &[("vhost", Number), EXCHANGE, QUEUE]),
];
