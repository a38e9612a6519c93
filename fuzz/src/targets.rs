//! The targets, one row each: what runs the input, where its seeds lie, which words its format has. Most entries belong
//! to the crate whose decoder they test; those here need more than one crate or nothing but what is public.

mod changes;

/// One decoder or file format.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// A folder of seeds, relative to the repository.
    pub(crate) corpus: &'static str,
    pub(crate) dictionary: &'static [&'static [u8]],
    /// Panics when something is wrong.
    pub(crate) run: fn(&[u8]),
}

const RESP: &[&[u8]] =
    &[b"\r\n", b"*1\r\n$", b"*-1\r\n", b"$-1\r\n", b"\"\\x", b"\\", b"'", b"|1\r\n", b"%1\r\n", b">", b"*"];
const TABLE: &[&[u8]] =
    &[b"\x01kF\0\0\0\0", b"\x01kA\0\0\0\0", b"\x01kS\0\0\0\x01v", b"\x01kV", b"\x01kt\x01", b"\xce"];
const FRAME: &[&[u8]] =
    &[b"\x08\0\0\0\0\0\0\xce", b"\x01\0\x01", b"\x02\0\x01", b"\x03\0\x01", b"\xce", b"AMQP\0\0\x09\x01"];
const LOG: &[&[u8]] = &[b"LEVERET\n", b"LVBK", b"LEVCKPT\n", &[0; 48], &[0; 11]];
const CHANGES: &[&[u8]] = &[
    b"\x01\0\x01k\x01v",
    b"\x08\0\x01k\x01v",
    b"\x0a\0\x01k\x01\x01v",
    b"\x49\x01",
    b"\x80\x80",
    U32_MAX,
    U64_MAX,
];
const ACCOUNTS: &[&[u8]] =
    &[b"\x80\x03ann", b"\x81\x03ann", b"\x02.*", b"^(", b"$argon2id$", b"\x90", U32_MAX, U64_MAX];
const PAYLOAD: &[&[u8]] = &[
    b"\xc3",
    b"\x80\xff\xff\xff\xff",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff",
    b"\xf0\xff\xff\xff\xff",
];
const SNAPSHOT: &[&[u8]] = &[
    b"REDIS0012",
    b"VALKEY080",
    b"\xfe\x00",
    b"\xfb\x01\x00",
    b"\xfc\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xf7\x81",
    b"\xf3",
    b"\xc3",
    b"\x80\xff\xff\xff\xff",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\0\0\0\0\0\0\0\0",
];
/// Numbers as varints.
const U32_MAX: &[u8] = b"\xff\xff\xff\xff\x0f";
const U64_MAX: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    row("resp-requests", "crates/resp/corpus/requests", RESP, leveret_resp::fuzz::requests),
    row("resp-replies", "crates/resp/corpus/replies", RESP, leveret_resp::fuzz::replies),
    row("amqp-frames", "crates/amqp/corpus/frames", FRAME, leveret_amqp::fuzz::frames),
    row("amqp-methods", "crates/amqp/corpus/methods", TABLE, leveret_amqp::fuzz::methods),
    row("amqp-tables", "crates/amqp/corpus/tables", TABLE, leveret_amqp::fuzz::tables),
    row("amqp-properties", "crates/amqp/corpus/properties", TABLE, leveret_amqp::fuzz::properties),
    row("wal-segments", "crates/wal/corpus/segments", LOG, leveret_wal::fuzz::segments),
    row("wal-blocks", "crates/wal/corpus/blocks", LOG, leveret_wal::fuzz::blocks),
    row("wal-records", "crates/wal/corpus/records", LOG, leveret_wal::fuzz::records),
    row("wal-lists", "crates/wal/corpus/lists", LOG, leveret_wal::fuzz::lists),
    row("wal-checkpoints", "crates/wal/corpus/checkpoints", LOG, leveret_wal::fuzz::checkpoints),
    row("wal-bodies", "crates/wal/corpus/bodies", LOG, leveret_wal::fuzz::bodies),
    row("keyspace-changes", "crates/keyspace/corpus/changes", CHANGES, changes::keyspace),
    row("keyspace-payloads", "crates/keyspace/corpus/payloads", PAYLOAD, leveret_keyspace::fuzz::payloads),
    row(
        "keyspace-snapshots",
        "crates/keyspace/corpus/snapshots",
        SNAPSHOT,
        leveret_keyspace::fuzz::snapshots,
    ),
    row("broker-changes", "crates/broker/corpus/changes", CHANGES, changes::broker),
    row("engine-changes", "crates/engine/corpus/changes", ACCOUNTS, changes::engine),
];

const fn row(
    name: &'static str,
    corpus: &'static str,
    dictionary: &'static [&'static [u8]],
    run: fn(&[u8]),
) -> Target {
    Target { name, corpus, dictionary, run }
}
