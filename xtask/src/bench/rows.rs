//! What is measured: one row of the document each. How many operations a row takes is chosen so that the server works for
//! a second or more, for the kernel counts its CPU in hundredths.

use super::peer::Kind;

/// How a row is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Milliseconds until the first answer.
    StartResp,
    StartAmqp,
    /// Megabytes resident before the first client.
    Idle,
    /// Bytes a key takes beyond the `bytes` of key and value.
    Keys {
        count: u64,
        bytes: u64,
    },
    /// Flags of the load generator.
    Resp {
        flags: &'static str,
    },
    Amqp {
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
        matches!(self.load, Load::Resp { .. } | Load::Amqp { .. })
    }
}

const fn scalar(name: &'static str, title: &'static str, peers: &'static [Kind], load: Load) -> Row {
    Row { name, title, ours: Kind::Leveret, peers, counts: (0, 0), load }
}

const fn resp(name: &'static str, title: &'static str, counts: (u64, u64), flags: &'static str) -> Row {
    Row { name, title, ours: Kind::Leveret, peers: &[Kind::Redis], counts, load: Load::Resp { flags } }
}

const fn amqp(name: &'static str, title: &'static str, counts: (u64, u64), flags: &'static str) -> Row {
    Row { name, title, ours: Kind::Leveret, peers: &[Kind::RabbitMq], counts, load: Load::Amqp { flags } }
}

/// All rows, in the order in which they are measured: what needs an idle server first, then what fills the keyspace.
pub(super) const ROWS: &[Row] = &[
    scalar("start-resp", "start until PING is answered, ms", &[Kind::Redis], Load::StartResp),
    scalar(
        "start-amqp",
        "start until the AMQP handshake is answered, ms",
        &[Kind::RabbitMq],
        Load::StartAmqp,
    ),
    scalar("idle", "resident memory when idle, MB", &[Kind::Redis, Kind::RabbitMq], Load::Idle),
    // "key:" and twelve digits, and the value.
    scalar(
        "memory",
        "memory per key beyond key and value, bytes",
        &[Kind::Redis],
        Load::Keys { count: 1_000_000, bytes: 16 + 64 },
    ),
    resp("set-1", "SET, pipeline 1", (130_000, 100_000), "--tests set --keyspace 1000000"),
    resp("get-1", "GET, pipeline 1", (130_000, 110_000), "--tests get --keyspace 1000000"),
    resp("set-16", "SET, pipeline 16", (1_000_000, 350_000), "--tests set --keyspace 1000000 --pipeline 16"),
    resp("get-16", "GET, pipeline 16", (1_300_000, 500_000), "--tests get --keyspace 1000000 --pipeline 16"),
    resp("set-64", "SET, pipeline 64", (1_500_000, 400_000), "--tests set --keyspace 1000000 --pipeline 64"),
    resp("get-64", "GET, pipeline 64", (2_000_000, 600_000), "--tests get --keyspace 1000000 --pipeline 64"),
    Row {
        name: "set-always",
        title: "SET, pipeline 1, `appendfsync always`",
        ours: Kind::LeveretAlways,
        peers: &[Kind::RedisAlways],
        counts: (80_000, 60_000),
        load: Load::Resp { flags: "--tests set --keyspace 1000000" },
    },
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
];
