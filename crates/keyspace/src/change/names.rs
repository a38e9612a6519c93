//! What the changes of the keyspace are called, and what stands in them.

use super::*;
use leveret_base::describe::Field;
use leveret_base::describe::Kind::{Byte, Bytes, Entry, Many, Number, Score};
use leveret_base::describe::Row;

const DB: Field = ("db", Byte);
const KEY: Field = ("key", Bytes);
const ELEMENTS: Field = ("elements", Many(&[("element", Bytes)]));
const FIELDS: Field = ("fields", Many(&[("field", Bytes)]));
const MEMBERS: Field = ("members", Many(&[("member", Bytes)]));
const ENTRIES: Field = ("entries", Many(&[("entry", Entry)]));
/// Two in turn, which a record counts singly.
const IN_TURN: Field = ("fields_and_values", Many(&[("", Bytes)]));

/// Every change of the keyspace.
pub const CHANGE_NAMES: &[Row] = &[
    (PUT, "put", &[DB, KEY, ("value", Bytes)]),
    (PUT_WITH_DEADLINE, "put with deadline", &[DB, ("deadline_ms", Number), KEY, ("value", Bytes)]),
    (DELETE, "delete", &[DB, KEY]),
    (DEADLINE, "deadline", &[DB, ("deadline_ms", Number), KEY]),
    (PERSIST, "persist", &[DB, KEY]),
    (RENAME, "rename", &[DB, ("from", Bytes), ("to", Bytes)]),
    (FLUSH, "flush", &[DB]),
    (APPEND, "append", &[DB, KEY, ("tail", Bytes)]),
    (LIST_PUSH_LEFT, "list push left", &[DB, KEY, ELEMENTS]),
    (LIST_PUSH_RIGHT, "list push right", &[DB, KEY, ELEMENTS]),
    (LIST_POP_LEFT, "list pop left", &[DB, ("count", Number), KEY]),
    (LIST_POP_RIGHT, "list pop right", &[DB, ("count", Number), KEY]),
    (SPLICE, "splice", &[DB, ("start", Number), ("removed", Number), KEY, ("bytes", Bytes)]),
    (LIST_SET, "list set", &[DB, ("index", Number), KEY, ("element", Bytes)]),
    (LIST_INSERT, "list insert", &[DB, ("index", Number), KEY, ("element", Bytes)]),
    (LIST_REMOVE, "list remove", &[DB, KEY, ("indexes", Many(&[("index", Number)]))]),
    (LIST_TRIM, "list trim", &[DB, ("start", Number), ("count", Number), KEY]),
    (SET_RANGE, "set range", &[DB, ("offset", Number), KEY, ("bytes", Bytes)]),
    (COPY, "copy", &[DB, ("to_db", Number), ("from", Bytes), ("to", Bytes)]),
    (MOVE, "move", &[DB, ("to_db", Number), KEY]),
    (SWAP, "swap", &[DB, ("with_db", Bytes)]),
    (HASH_SET, "hash set", &[DB, KEY, IN_TURN]),
    (HASH_SET_KEEP, "hash set keeping deadlines", &[DB, KEY, IN_TURN]),
    (HASH_DELETE, "hash delete", &[DB, KEY, FIELDS]),
    (HASH_DEADLINE, "hash deadline", &[DB, ("deadline_ms", Number), KEY, FIELDS]),
    (SET_ADD, "set add", &[DB, KEY, MEMBERS]),
    (SET_REMOVE, "set remove", &[DB, KEY, MEMBERS]),
    (SORTED_SET_PUT, "sorted set put", &[DB, KEY, ("items", Many(&[("score", Score), ("member", Bytes)]))]),
    (SORTED_SET_REMOVE, "sorted set remove", &[DB, KEY, MEMBERS]),
    (STREAM_ADD, "stream add", &[DB, ("entry", Entry), KEY, IN_TURN]),
    (STREAM_DELETE, "stream delete", &[DB, ("named", Number), KEY, ENTRIES]),
    (STREAM_TRIM, "stream trim", &[DB, ("through", Entry), KEY]),
    (
        STREAM_SET_IDS,
        "stream set ids",
        &[DB, ("last", Entry), ("added", Number), ("deleted_max", Entry), KEY],
    ),
    (STREAM_GROUP, "stream group", &[DB, ("last", Entry), ("read_plus_one", Number), KEY, ("group", Bytes)]),
    (STREAM_FORGET, "stream forget", &[DB, KEY, ("group_and_consumer", Many(&[("", Bytes)]))]),
    (
        STREAM_DELIVER,
        "stream deliver",
        &[
            DB,
            ("at_ms", Number),
            ("active", Number),
            KEY,
            ("group", Bytes),
            ("consumer", Bytes),
            ("deliveries", Many(&[("entry", Entry), ("at_ms", Number), ("count", Number)])),
        ],
    ),
    (STREAM_ACKNOWLEDGE, "stream acknowledge", &[DB, KEY, ("group", Bytes), ENTRIES]),
    (SEED, "seed", &[DB, ("seed", Number)]),
];
