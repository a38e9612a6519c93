//! The whole at a glance, and the one node. (RabbitMQ: management API, overview, nodes)

use super::parameters::cluster_name;
use super::{Asked, NOBODY, NODE, RABBITMQ_VERSION, Refusal, Told};
use leveret_amqp::Table;
use leveret_engine::broker::{Message, QueueDeclare};
use leveret_server::{free_disk_bytes, resident_bytes};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Flags of RabbitMQ 4.3 whose behaviour is there.
const FEATURE_FLAGS: &[&str] = &[
    "detailed_queues_endpoint",
    "message_containers",
    "quorum_queue",
    "rabbitmq_4.0.0",
    "rabbitmq_4.1.0",
    "rabbitmq_4.2.0",
    "rabbitmq_4.3.0",
];

/// What RabbitMQ wants to be rid of, and is here.
const DEPRECATED_FEATURES: &[(&str, &str)] = &[
    ("global_qos", "basic.qos with global: the limit of a whole channel"),
    ("transient_nonexcl_queues", "Queues that are neither durable nor exclusive"),
];

/// What we are: clients look for the version of Erlang here, which there is none of.
fn full_version() -> String {
    format!("Leveret {}", env!("CARGO_PKG_VERSION"))
}

fn threads_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

impl Asked {
    pub(super) fn overview(&self) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let [_, _, ready, unacknowledged, consumers] = engine.broker.counts();
        let links: Vec<_> = engine.sessions().filter_map(|(_, session)| session.link.as_ref()).collect();
        let channels: usize = links.iter().map(|link| link.channels.len()).sum();
        let rate = json!({"rate": 0.0});
        let exchanges = engine.broker.exchange_ids(None).len();
        let queues = engine.broker.queue_ids(None).len();
        Ok(Told::json(json!({
            "management_version": RABBITMQ_VERSION,
            "rates_mode": "none",
            "product_version": RABBITMQ_VERSION,
            "product_name": "RabbitMQ",
            "rabbitmq_version": RABBITMQ_VERSION,
            "cluster_name": cluster_name(&engine),
            "cluster_tags": {},
            "node_tags": {},
            "default_queue_type": "classic",
            "disable_stats": true,
            "enable_queue_totals": true,
            "crypto_lib_version": "",
            "erlang_version": "27",
            "erlang_full_version": full_version(),
            "message_stats": {},
            "churn_rates": {},
            "queue_totals": {
                "messages": ready + unacknowledged,
                "messages_details": rate,
                "messages_ready": ready,
                "messages_ready_details": rate,
                "messages_unacknowledged": unacknowledged,
                "messages_unacknowledged_details": rate,
            },
            "object_totals": {
                "channels": channels,
                "connections": links.len(),
                "consumers": consumers,
                "exchanges": exchanges,
                "queues": queues,
            },
            "statistics_db_event_queue": 0,
            "node": NODE,
            "listeners": self.listeners(),
            "contexts": [],
            "exchange_types": [],
        })))
    }

    /// Where clients are listened for.
    pub(super) fn listeners(&self) -> Vec<Value> {
        let settings = &self.shared.settings;
        let host = settings.bind.first().map(String::as_str).unwrap_or_default();
        let ports = self.shared.ports();
        [("amqp", ports.amqp), ("http", ports.http), ("resp", ports.resp)]
            .into_iter()
            .filter(|(_, port)| *port != 0)
            .map(|(protocol, port)| json!({"node": NODE, "protocol": protocol, "ip_address": host, "port": port, "socket_opts": {}}))
            .collect()
    }

    fn node_to_json(&self) -> Value {
        let shared = &self.shared;
        let (used, alarms) = (resident_bytes(), &shared.settings.alarms);
        json!({
            "name": NODE,
            "type": "disc",
            "running": true,
            "being_drained": false,
            "os_pid": std::process::id().to_string(),
            "uptime": shared.started.elapsed().as_millis() as u64,
            "processors": std::thread::available_parallelism().map_or(1, usize::from),
            "run_queue": 0,
            "rates_mode": "none",
            "enabled_plugins": ["rabbitmq_management"],
            "applications": [{"name": "leveret", "description": "Leveret", "version": env!("CARGO_PKG_VERSION")}],
            "auth_mechanisms": [],
            "exchange_types": [],
            "log_files": [],
            "config_files": [],
            "contexts": [],
            "db_dir": shared.settings.data_dir.display().to_string(),
            "fd_total": 0,
            "proc_total": threads_count(),
            "sockets_used": shared.stats.amqp_connections.load(Relaxed) + shared.stats.resp_connections.load(Relaxed),
            "mem_used": used,
            "mem_limit": alarms.memory_max(),
            "mem_alarm": alarms.has_memory(),
            "disk_free": free_disk_bytes(&shared.settings.data_dir).unwrap_or(0),
            "disk_free_limit": alarms.disk_min(),
            "disk_free_alarm": alarms.has_disk(),
            "partitions": [],
            "net_ticktime": 60,
            "rabbitmq_version": RABBITMQ_VERSION,
            "erlang_version": "27",
            "erlang_full_version": full_version(),
            "crypto_lib_version": "",
        })
    }

    pub(super) fn deprecated_features(&self, only_used: bool) -> Result<Told, Refusal> {
        let is_used = |name: &str| {
            let engine = self.shared.engine.lock();
            match name {
                "transient_nonexcl_queues" => {
                    let mut reports = engine.broker.queue_ids(None).into_iter();
                    reports.any(|id| {
                        engine
                            .broker
                            .queue_report(id)
                            .is_some_and(|queue| !queue.durable && queue.owner.is_none())
                    })
                }
                _ => {
                    let mut links = engine.sessions().filter_map(|(_, session)| session.link.as_ref());
                    links.any(|link| link.channels.values().any(|channel| channel.global_prefetch_count > 0))
                }
            }
        };
        let features = DEPRECATED_FEATURES.iter().filter(|(name, _)| !only_used || is_used(name));
        let row = |(name, desc): &(&str, &str)| {
            json!({
                "name": name,
                "state": "permitted",
                "desc": desc,
                "deprecation_phase": "permitted_by_default",
                "doc_url": "",
                "provided_by": "rabbit",
            })
        };
        self.list(features.map(row).collect())
    }

    pub(super) fn nodes(&self) -> Result<Told, Refusal> {
        self.monitor()?;
        self.list(vec![self.node_to_json()])
    }

    fn check_node(&self, name: &str) -> Result<(), Refusal> {
        self.monitor()?;
        if name == NODE { Ok(()) } else { Err(Refusal::not_found()) }
    }

    pub(super) fn node(&self, name: &str) -> Result<Told, Refusal> {
        self.check_node(name)?;
        Ok(self.one(self.node_to_json()))
    }

    /// There are no parts that could be told apart.
    pub(super) fn node_memory(&self, name: &str) -> Result<Told, Refusal> {
        self.check_node(name)?;
        Ok(Told::json(json!({"memory": "not_available"})))
    }

    pub(super) fn auth_attempts(&self, name: &str) -> Result<Told, Refusal> {
        self.check_node(name)?;
        Ok(Told::json(json!([])))
    }

    pub(super) fn feature_flags(&self) -> Result<Told, Refusal> {
        let flag = |name: &&str| {
            json!({
                "name": name,
                "state": "enabled",
                "desc": "What is in this version is there",
                "doc_url": "",
                "stability": "stable",
                "provided_by": "rabbit",
            })
        };
        self.list(FEATURE_FLAGS.iter().map(flag).collect())
    }

    pub(super) fn enable_feature_flag(&self, name: &str) -> Result<Told, Refusal> {
        self.administer()?;
        if FEATURE_FLAGS.contains(&name) {
            Ok(Told::nothing())
        } else {
            Err(Refusal::bad(format!("unsupported feature flag: {name}")))
        }
    }

    /// A message there and back. (RabbitMQ: aliveness-test)
    pub(super) fn aliveness(&self, vhost: &str) -> Result<Told, Refusal> {
        const QUEUE: &[u8] = b"aliveness-test";
        let message = Arc::new(Message::new(b"", QUEUE, &[0, 0], b"test_message")?);
        let declare = QueueDeclare {
            name: QUEUE,
            passive: false,
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: Table::default(),
        };
        self.change(|engine| {
            let id = self.used_vhost(engine, vhost)?;
            engine.on_broker(|txn| {
                txn.queue_declare(id, NOBODY, &declare)?;
                txn.publish(id, &message)?;
                match txn.get(id, NOBODY, 0, QUEUE, true)? {
                    Some(_) => Ok(Told::json(json!({"status": "ok"}))),
                    None => Err(Refusal::bad("the test message has not come back")),
                }
            })
        })
    }
}
