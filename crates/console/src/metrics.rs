//! `GET /metrics`: every figure once, in Prometheus' text format 0.0.4. A row of the table is one metric; what grows
//! with the data is read from counters, never counted here.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use leveret_cluster::{Level, Levels};
use leveret_server::{Shared, resident_bytes};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&shared))
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// One metric; a sample is its labels, empty or as they are printed, and its value.
struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<(String, f64)>,
}

fn one(value: u64) -> Vec<(String, f64)> {
    vec![(String::new(), value as f64)]
}

fn labelled<const N: usize>(label: &str, samples: [(&str, u64); N]) -> Vec<(String, f64)> {
    samples.map(|(name, value)| (format!("{{{label}=\"{name}\"}}"), value as f64)).into()
}

fn text(shared: &Shared) -> String {
    let mut text = String::new();
    for metric in collect(shared) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let name = metric.name;
        // Writing into a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
        for (labels, value) in metric.samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

fn collect(shared: &Shared) -> Vec<Metric> {
    let stats = &shared.stats;
    let metric = |name, kind, help, samples| Metric { name, kind, help, samples };
    let mut metrics = vec![
        metric(
            "leveret_build_info",
            Kind::Gauge,
            "Always 1; the label is the version.",
            labelled("version", [(env!("CARGO_PKG_VERSION"), 1)]),
        ),
        metric(
            "leveret_uptime_seconds",
            Kind::Gauge,
            "Time since the start.",
            one(shared.started.elapsed().as_secs()),
        ),
        metric("leveret_resident_memory_bytes", Kind::Gauge, "Memory of the process.", one(resident_bytes())),
        metric(
            "leveret_connections",
            Kind::Gauge,
            "Open connections.",
            labelled(
                "protocol",
                [
                    ("resp", stats.resp_connections.load(Relaxed)),
                    ("amqp", stats.amqp_connections.load(Relaxed)),
                ],
            ),
        ),
        metric(
            "leveret_connections_accepted_total",
            Kind::Counter,
            "Connections accepted.",
            one(stats.connections_accepted.load(Relaxed)),
        ),
        metric(
            "leveret_network_bytes_total",
            Kind::Counter,
            "Bytes read from and written to clients.",
            labelled(
                "direction",
                [("read", stats.bytes_read.load(Relaxed)), ("written", stats.bytes_written.load(Relaxed))],
            ),
        ),
        metric(
            "leveret_log_writes_total",
            Kind::Counter,
            "Writes of the log to the kernel.",
            one(stats.log_writes.load(Relaxed)),
        ),
        metric(
            "leveret_log_syncs_total",
            Kind::Counter,
            "Syncs of the log to the disk.",
            one(stats.syncs.load(Relaxed)),
        ),
    ];
    metrics.extend(of_engine(shared));
    metrics
}

fn of_engine(shared: &Shared) -> Vec<Metric> {
    let metric = |name, kind, help, samples| Metric { name, kind, help, samples };
    let engine = shared.engine.lock();
    let (hits, misses) = engine.keyspace.hits_and_misses();
    let [queues, exchanges, ready, unacked, consumers] = engine.broker.counts().map(|count| count as u64);
    let databases = 0..leveret_server::DATABASES;
    let keys = |count: &dyn Fn(u8) -> usize| -> Vec<(String, f64)> {
        let used = databases.clone().filter(|&db| db == 0 || count(db) > 0);
        used.map(|db| (format!("{{database=\"{db}\"}}"), count(db) as f64)).collect()
    };
    vec![
        metric(
            "leveret_commands_total",
            Kind::Counter,
            "Redis commands executed.",
            one(engine.commands_count),
        ),
        metric("leveret_keys", Kind::Gauge, "Keys of a database.", keys(&|db| engine.keyspace.len(db))),
        metric(
            "leveret_keys_with_expiry",
            Kind::Gauge,
            "Keys of a database that expire.",
            keys(&|db| engine.keyspace.with_deadline(db)),
        ),
        metric(
            "leveret_expired_keys_total",
            Kind::Counter,
            "Keys that have expired.",
            one(engine.keyspace.expired_count),
        ),
        metric(
            "leveret_keyspace_lookups_total",
            Kind::Counter,
            "Reads that found a key and reads that did not.",
            labelled("result", [("hit", hits), ("miss", misses)]),
        ),
        metric("leveret_queues", Kind::Gauge, "Queues.", one(queues)),
        metric("leveret_exchanges", Kind::Gauge, "Exchanges, the predeclared ones included.", one(exchanges)),
        metric("leveret_consumers", Kind::Gauge, "Consumers.", one(consumers)),
        metric(
            "leveret_messages",
            Kind::Gauge,
            "Messages in queues.",
            labelled("state", [("ready", ready), ("unacked", unacked)]),
        ),
        metric(
            "leveret_log_position",
            Kind::Gauge,
            "Number of the last commit that has reached a level.",
            labelled(
                "level",
                [
                    ("executed", engine.position()),
                    ("written", shared.levels.level(Level::Written)),
                    ("synced", shared.levels.level(Level::Synced)),
                ],
            ),
        ),
    ]
}
