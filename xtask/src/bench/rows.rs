//! What is measured: one row of the document each. How many operations a row takes is chosen so that the server works for
//! a second or more, for the kernel counts its CPU in hundredths.

use super::disk::Left;
use super::pause::Event;
use super::peer::Kind;

/// How a row is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    /// Milliseconds until the first answer.
    StartResp,
    StartAmqp,
    /// Megabytes resident before the first client.
    Idle,
    /// Bytes that each of `count` commands adds to the resident memory, without the `bytes` of key and value.
    Memory {
        count: u64,
        bytes: u64,
        flags: &'static str,
    },
    /// Milliseconds that a question takes at most while something happens.
    Pause(Event),
    /// Seconds until a server answers again that has this.
    StartAgain(Left),
    /// Syncs while messages are confirmed, in percent of what the disk can do.
    GroupCommits {
        messages: u64,
        flags: &'static str,
        writes: Option<u32>,
    },
    /// Bytes a second of messages that only the disk has, in percent of what it reads in sequence.
    Drain {
        count: u64,
        size: u64,
    },
    /// Flags of the load generator.
    Resp {
        flags: &'static str,
    },
    Amqp {
        flags: &'static str,
    },
    /// Both worlds at once: how Leveret does it.
    Both {
        way: &'static str,
        flags: &'static str,
    },
    /// Units of resident memory for each of `count` things that are made and kept.
    AmqpHeld {
        count: u64,
        unit: f64,
        flags: &'static str,
    },
    /// Milliseconds that a figure of a load says.
    AmqpLatency {
        figure: &'static str,
        flags: &'static str,
    },
}

/// One row.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) ours: Kind,
    peers: &'static [Kind],
    /// Operations for us, and for a peer.
    counts: (u64, u64),
    pub(super) load: Load,
}

impl Row {
    /// Leveret first.
    pub(super) fn sides(&self) -> impl Iterator<Item = Kind> {
        std::iter::once(self.ours).chain(self.peers.iter().copied())
    }

    pub(super) fn peers(&self) -> &[Kind] {
        self.peers
    }

    pub(super) fn count(&self, side: Kind) -> u64 {
        if side == self.ours { self.counts.0 } else { self.counts.1 }
    }

    /// True when it has a rate and a cost, false when it is one number.
    pub(super) fn is_load(&self) -> bool {
        matches!(self.load, Load::Resp { .. } | Load::Amqp { .. } | Load::Both { .. })
    }
}

const RESP_PEERS: &[Kind] = &[Kind::Redis, Kind::Valkey];

const fn scalar(name: &'static str, title: &'static str, peers: &'static [Kind], load: Load) -> Row {
    Row { name, title, ours: Kind::Leveret, peers, counts: (0, 0), load }
}

const fn resp(name: &'static str, title: &'static str, counts: (u64, u64), flags: &'static str) -> Row {
    Row { name, title, ours: Kind::Leveret, peers: RESP_PEERS, counts, load: Load::Resp { flags } }
}

/// The disk has everything before it is answered.
const fn always(name: &'static str, title: &'static str, counts: (u64, u64), flags: &'static str) -> Row {
    let peers = &[Kind::RedisAlways];
    Row { name, title, ours: Kind::LeveretAlways, peers, counts, load: Load::Resp { flags } }
}

/// Sequential, so that every element is made once.
const fn memory(name: &'static str, title: &'static str, count: u64, bytes: u64, flags: &'static str) -> Row {
    scalar(name, title, RESP_PEERS, Load::Memory { count, bytes, flags })
}

const fn pause(name: &'static str, title: &'static str, event: Event) -> Row {
    scalar(name, title, RESP_PEERS, Load::Pause(event))
}

const fn group_commits(
    name: &'static str,
    title: &'static str,
    messages: u64,
    flags: &'static str,
    writes: Option<u32>,
) -> Row {
    scalar(name, title, &[], Load::GroupCommits { messages, flags, writes })
}

const fn drain(name: &'static str, title: &'static str, size: u64) -> Row {
    scalar(name, title, &[], Load::Drain { count: (4 << 30) / size, size })
}

const fn amqp(name: &'static str, title: &'static str, counts: (u64, u64), flags: &'static str) -> Row {
    Row { name, title, ours: Kind::Leveret, peers: &[Kind::RabbitMq], counts, load: Load::Amqp { flags } }
}

const fn both(
    name: &'static str,
    title: &'static str,
    counts: (u64, u64),
    way: &'static str,
    flags: &'static str,
) -> Row {
    let peers = &[Kind::RedisAndRabbitMq];
    Row { name, title, ours: Kind::Leveret, peers, counts, load: Load::Both { way, flags } }
}

const fn held(name: &'static str, title: &'static str, count: u64, unit: f64, flags: &'static str) -> Row {
    scalar(name, title, &[Kind::RabbitMq], Load::AmqpHeld { count, unit, flags })
}

const fn latency(name: &'static str, title: &'static str, figure: &'static str, flags: &'static str) -> Row {
    scalar(name, title, &[Kind::RabbitMq], Load::AmqpLatency { figure, flags })
}

/// All rows, in the order in which they are measured: what needs an idle server first, then what fills the keyspace.
pub(super) const ROWS: &[Row] = &[
    scalar("start-resp", "start until PING is answered, ms", RESP_PEERS, Load::StartResp),
    scalar(
        "start-amqp",
        "start until the AMQP handshake is answered, ms",
        &[Kind::RabbitMq],
        Load::StartAmqp,
    ),
    scalar("idle", "resident memory when idle, MB", &[Kind::Redis, Kind::Valkey, Kind::RabbitMq], Load::Idle),
    scalar(
        "start-keys",
        "start again from a cold log of 10,000,000 SETs, s",
        RESP_PEERS,
        Load::StartAgain(Left::Keys(10_000_000)),
    ),
    scalar(
        "start-checkpoint",
        "start again from a cold checkpoint of 10,000,000 keys, s",
        RESP_PEERS,
        Load::StartAgain(Left::Checkpoint(10_000_000)),
    ),
    scalar(
        "start-messages",
        "start again from a cold log of 900,000 persistent messages of 1 KiB, s",
        &[Kind::RabbitMq],
        Load::StartAgain(Left::Messages(900_000)),
    ),
    group_commits(
        "group-commits-1",
        "syncs a second, % of what the disk can do: one publisher that waits for each confirm",
        20_000,
        "--in-flight 1",
        None,
    ),
    group_commits(
        "group-commits-50",
        "… 50 publishers that wait for each confirm",
        500_000,
        "--producers 50 --in-flight 1",
        None,
    ),
    group_commits("group-commits", "… one publisher, 4,096 in flight", 1_500_000, "--in-flight 4096", None),
    group_commits(
        "group-commits-1-slow",
        "… a disk of 1,000 writes a second, one publisher that waits for each confirm",
        3000,
        "--in-flight 1",
        Some(1000),
    ),
    group_commits(
        "group-commits-50-slow",
        "… 50 publishers that wait for each confirm",
        50_000,
        "--producers 50 --in-flight 1",
        Some(1000),
    ),
    group_commits(
        "group-commits-slow",
        "… one publisher, 4,096 in flight",
        1_500_000,
        "--in-flight 4096",
        Some(1000),
    ),
    drain(
        "drain-cold-1k",
        "4 GiB drained from a cold disk, % of its sequential rate: messages of 1 KiB",
        1024,
    ),
    drain("drain-cold-64k", "… messages of 64 KiB", 64 * 1024),
    held(
        "amqp-connections",
        "memory per idle AMQP connection of 10,000, KiB",
        10_000,
        1024.0,
        "--workload connections",
    ),
    held(
        "amqp-queues",
        "memory per empty durable queue of 10,000, KiB",
        10_000,
        1024.0,
        "--workload queues --durable",
    ),
    held(
        "amqp-stored-once",
        "memory per message of 1 MiB in 1,000 durable queues, MiB",
        100,
        1048576.0,
        "--workload backlog --queues 1000 --size 1048576 --persistent --durable --in-flight 2",
    ),
    // "key:" and twelve digits, and the value.
    memory("memory", "memory per key beyond key and value, bytes", 1_000_000, 16 + 64, "--tests set"),
    memory(
        "memory-small-hash",
        "memory per hash of 10 short fields, bytes",
        200_000,
        0,
        "--tests small_hash --data-size 10",
    ),
    memory(
        "memory-small-list",
        "memory per list of 10 short elements, bytes",
        200_000,
        0,
        "--tests small_list --data-size 10",
    ),
    memory(
        "memory-small-set",
        "memory per set of 10 short members, bytes",
        200_000,
        0,
        "--tests small_set --data-size 10",
    ),
    memory(
        "memory-small-zset",
        "memory per sorted set of 10 short members, bytes",
        200_000,
        0,
        "--tests small_zset --data-size 10",
    ),
    // "element:" and twelve digits.
    memory(
        "memory-hash",
        "memory per field of a large hash beyond name and value, bytes",
        1_000_000,
        20 + 10,
        "--tests hset --data-size 10",
    ),
    memory(
        "memory-list",
        "memory per element of a large list beyond its bytes",
        5_000_000,
        10,
        "--tests rpush --data-size 10",
    ),
    memory("memory-set", "memory per member of a large set beyond its bytes", 1_000_000, 20, "--tests sadd"),
    memory(
        "memory-zset",
        "memory per member of a large sorted set beyond its bytes",
        1_000_000,
        20,
        "--tests zadd",
    ),
    resp("set-1", "SET, pipeline 1", (130_000, 100_000), "--tests set --keyspace 1000000"),
    resp("get-1", "GET, pipeline 1", (130_000, 110_000), "--tests get --keyspace 1000000"),
    resp("set-16", "SET, pipeline 16", (1_000_000, 350_000), "--tests set --keyspace 1000000 --pipeline 16"),
    resp("get-16", "GET, pipeline 16", (1_300_000, 500_000), "--tests get --keyspace 1000000 --pipeline 16"),
    resp("set-64", "SET, pipeline 64", (1_500_000, 400_000), "--tests set --keyspace 1000000 --pipeline 64"),
    resp("get-64", "GET, pipeline 64", (2_000_000, 600_000), "--tests get --keyspace 1000000 --pipeline 64"),
    // Each collection has 1,000,000 elements by now.
    resp("hset", "HSET, pipeline 16", (1_000_000, 500_000), "--tests hset --keyspace 1000000 --pipeline 16"),
    resp("hget", "HGET, pipeline 16", (1_000_000, 500_000), "--tests hget --keyspace 1000000 --pipeline 16"),
    resp("sadd", "SADD, pipeline 16", (1_000_000, 500_000), "--tests sadd --keyspace 2000000 --pipeline 16"),
    resp("lpush", "LPUSH, pipeline 16", (1_500_000, 700_000), "--tests lpush --pipeline 16"),
    resp("lpop", "LPOP, pipeline 16", (1_000_000, 500_000), "--tests lpop --pipeline 16"),
    resp(
        "lrange-100",
        "LRANGE of 100 elements, pipeline 16",
        (300_000, 100_000),
        "--tests lrange_100 --pipeline 16",
    ),
    resp(
        "lrange-600",
        "LRANGE of 600 elements, pipeline 16",
        (60_000, 30_000),
        "--tests lrange_600 --pipeline 16",
    ),
    resp(
        "zadd",
        "ZADD of a member with another score, pipeline 16",
        (500_000, 200_000),
        "--tests zadd --keyspace 1000000 --pipeline 16",
    ),
    resp(
        "zscore",
        "ZSCORE, pipeline 16",
        (1_000_000, 400_000),
        "--tests zscore --keyspace 1000000 --pipeline 16",
    ),
    resp("zrank", "ZRANK, pipeline 16", (500_000, 200_000), "--tests zrank --keyspace 1000000 --pipeline 16"),
    resp(
        "zrange",
        "ZRANGE BYSCORE of 10 members, pipeline 16",
        (500_000, 200_000),
        "--tests zrange --keyspace 1000000 --pipeline 16",
    ),
    resp(
        "zrange-rank",
        "ZRANGE of 10 members in the middle, pipeline 16",
        (500_000, 300_000),
        "--tests zrange_rank --pipeline 16",
    ),
    resp(
        "mset",
        "MSET of 10 keys, pipeline 16",
        (200_000, 80_000),
        "--tests mset --keyspace 1000000 --pipeline 16",
    ),
    pause("pause-misuse", "worst PING while clients send noise and one never reads, ms", Event::Misuse),
    pause(
        "pause-deletion",
        "worst PING while a set of 1,000,000 members is deleted, ms",
        Event::Deletion(1_000_000),
    ),
    pause(
        "pause-expiry",
        "worst PING while 1,000,000 keys expire in one second, ms",
        Event::Expiry(1_000_000),
    ),
    pause(
        "pause-growth",
        "PING at p99.99 while the keyspace grows to 10,000,000 keys, ms",
        Event::Growth(10_000_000),
    ),
    pause(
        "pause-checkpoint",
        "PING at p99.99 while 10,000,000 keys are written down by BGSAVE, ms",
        Event::Checkpoint,
    ),
    resp(
        "many-set-1",
        "SET of 10,000,000 keys, pipeline 1",
        (130_000, 100_000),
        "--tests set --keyspace 10000000",
    ),
    resp(
        "many-get-1",
        "GET of 10,000,000 keys, pipeline 1",
        (130_000, 110_000),
        "--tests get --keyspace 10000000",
    ),
    resp(
        "many-set-16",
        "SET of 10,000,000 keys, pipeline 16",
        (1_000_000, 350_000),
        "--tests set --keyspace 10000000 --pipeline 16",
    ),
    resp(
        "many-get-16",
        "GET of 10,000,000 keys, pipeline 16",
        (1_300_000, 500_000),
        "--tests get --keyspace 10000000 --pipeline 16",
    ),
    resp(
        "many-set-64",
        "SET of 10,000,000 keys, pipeline 64",
        (1_500_000, 400_000),
        "--tests set --keyspace 10000000 --pipeline 64",
    ),
    resp(
        "many-get-64",
        "GET of 10,000,000 keys, pipeline 64",
        (2_000_000, 600_000),
        "--tests get --keyspace 10000000 --pipeline 64",
    ),
    always(
        "set-always",
        "SET, pipeline 1, `appendfsync always`",
        (80_000, 60_000),
        "--tests set --keyspace 1000000",
    ),
    always(
        "set-always-16",
        "SET, pipeline 16, `appendfsync always`",
        (1_000_000, 300_000),
        "--tests set --keyspace 1000000 --pipeline 16",
    ),
    always(
        "set-always-64",
        "SET, pipeline 64, `appendfsync always`",
        (3_000_000, 600_000),
        "--tests set --keyspace 1000000 --pipeline 64",
    ),
    amqp("auto", "publish → consume, auto-ack", (1_500_000, 60_000), ""),
    amqp("manual", "publish → consume, manual ack", (1_200_000, 50_000), "--ack manual --prefetch 1000"),
    amqp("confirm", "publish with confirms, transient", (1_500_000, 60_000), "--workload confirm"),
    amqp(
        "confirm-persistent",
        "publish with confirms, persistent",
        (1_000_000, 50_000),
        "--workload confirm --persistent --durable",
    ),
    amqp(
        "all",
        "publish with confirms → consume, manual ack, persistent",
        (800_000, 40_000),
        "--confirm --ack manual --prefetch 1000 --persistent --durable",
    ),
    amqp("fan-out", "publish → 10 queues, a consumer each, auto-ack", (200_000, 10_000), "--queues 10"),
    amqp(
        "topic",
        "publish → topic exchange with 1,000 bindings → consume, auto-ack",
        (1_000_000, 40_000),
        "--bindings 1000",
    ),
    both(
        "both-worlds",
        "take a message, SET, publish, ack: one `EXEC`; 50 workers",
        (200_000, 20_000),
        "exec",
        "",
    ),
    both(
        "both-worlds-16",
        "take a message, SET, publish, ack: one `EXEC` each; 50 workers with 16 messages at once",
        (300_000, 30_000),
        "exec",
        "--pipeline 16",
    ),
    both(
        "both-worlds-tx",
        "take a message, SET, publish, ack: one `tx.commit`; 50 workers",
        (200_000, 20_000),
        "tx",
        "",
    ),
    both(
        "both-worlds-tx-16",
        "take a message, SET, publish, ack: one `tx.commit` each; 50 workers with 16 messages at once",
        (300_000, 30_000),
        "tx",
        "--pipeline 16",
    ),
    amqp("huge", "publish → consume, bodies of 128 MiB", (16, 8), "--size 134217728 --in-flight 1 --confirm"),
    latency(
        "latency",
        "publish → consume at 20,000 messages a second, p99, ms",
        "deliver_p99_us",
        "--messages 100000 --rate 20000",
    ),
    latency(
        "noise",
        "publish → consume at 1,000 messages a second beside noise, p99, ms",
        "deliver_p99_us",
        "--messages 5000 --rate 1000 --noise",
    ),
    latency(
        "noise-worst",
        "publish → consume at 1,000 messages a second beside noise, the worst, ms",
        "deliver_max_us",
        "--messages 5000 --rate 1000 --noise",
    ),
];
