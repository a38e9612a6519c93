//! Connections, channels and consumers. (RabbitMQ: management API, connections)

use super::tables::to_json;
use super::{Asked, NODE, Refusal, Told, text};
use leveret_amqp::Table;
use leveret_engine::broker::ConsumerReport;
use leveret_engine::{Engine, Link, LinkChannel, SessionId};
use leveret_server::now_ms;
use serde_json::{Value, json};

/// `127.0.0.1:40000 -> 127.0.0.1:5672`
fn name_of(link: &Link) -> String {
    format!("{} -> {}", link.address, link.local_address)
}

fn host_and_port(address: &str) -> (String, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(0))
}

fn vhost_of(engine: &Engine, link: &Link) -> String {
    link.vhost.map(|vhost| text(engine.broker.vhost_name(vhost))).unwrap_or_default()
}

/// For so long a connection counts as slowed after it was. (RabbitMQ: credit_flow)
const FLOW_MS: u64 = 5_000;

fn is_slowed(link: &Link, now_ms: u64) -> bool {
    link.flows || (link.flowed_ms > 0 && now_ms.saturating_sub(link.flowed_ms) < FLOW_MS)
}

/// How a connection stands; `short` while memory or disk space is.
fn state_of(link: &Link, short: bool, now_ms: u64) -> &'static str {
    match (link.blocked, short) {
        (true, true) => "blocked",
        // It would be if it published.
        (false, true) => "blocking",
        (_, false) if is_slowed(link, now_ms) => "flow",
        (_, false) => "running",
    }
}

fn connection_to_json(engine: &Engine, link: &Link, state: &str) -> Value {
    let ((host, port), (peer_host, peer_port)) =
        (host_and_port(&link.local_address), host_and_port(&link.address));
    let client_properties = to_json(Table::from_validated(&link.client_properties));
    json!({
        "auth_mechanism": link.auth_mechanism,
        "channel_max": link.channel_max,
        "channels": link.channels.len(),
        "user_provided_name": client_properties.get("connection_name"),
        "client_properties": client_properties,
        "connected_at": link.since_ms,
        "frame_max": link.frame_max,
        "host": host,
        "name": name_of(link),
        "node": NODE,
        "peer_host": peer_host,
        "peer_port": peer_port,
        "port": port,
        "protocol": "AMQP 0-9-1",
        "ssl": false,
        "state": state,
        "timeout": link.heartbeat,
        "type": "network",
        "user": link.user,
        "user_who_performed_action": link.user,
        "vhost": vhost_of(engine, link),
    })
}

fn channel_to_json(engine: &Engine, id: SessionId, link: &Link, number: u16, channel: LinkChannel) -> Value {
    let (peer_host, peer_port) = host_and_port(&link.address);
    let (unacknowledged, consumers) = engine.broker.channel_counts(id, number);
    json!({
        "acks_uncommitted": 0,
        "confirm": channel.confirm,
        "connection_details": {"name": name_of(link), "peer_host": peer_host, "peer_port": peer_port},
        "consumer_count": consumers,
        "global_prefetch_count": channel.global_prefetch_count,
        "messages_unacknowledged": unacknowledged,
        "messages_uncommitted": 0,
        "messages_unconfirmed": 0,
        "name": format!("{} ({number})", name_of(link)),
        "node": NODE,
        "number": number,
        "prefetch_count": channel.prefetch_count,
        "state": if is_slowed(link, now_ms()) { "flow" } else { "running" },
        "transactional": channel.transactional,
        "user": link.user,
        "user_who_performed_action": link.user,
        "vhost": vhost_of(engine, link),
    })
}

pub(super) fn consumer_to_json(engine: &Engine, consumer: &ConsumerReport) -> Value {
    let link = engine.session_seen(consumer.session).and_then(|session| session.link.as_deref());
    let channel_details = link.map(|link| {
        let (peer_host, peer_port) = host_and_port(&link.address);
        json!({
            "connection_name": name_of(link),
            "name": format!("{} ({})", name_of(link), consumer.channel),
            "node": NODE,
            "number": consumer.channel,
            "peer_host": peer_host,
            "peer_port": peer_port,
            "user": link.user,
        })
    });
    let mut arguments = json!({});
    if consumer.priority != 0 {
        arguments["x-priority"] = consumer.priority.into();
    }
    if let Some(timeout_ms) = consumer.own_timeout_ms {
        arguments["x-consumer-timeout"] = timeout_ms.into();
    }
    json!({
        "ack_required": consumer.ack_required,
        "active": consumer.active,
        "activity_status": if consumer.active { "up" } else { "waiting" },
        "arguments": arguments,
        "channel_details": channel_details.unwrap_or(json!({})),
        "consumer_tag": text(&consumer.tag),
        "consumer_timeout": consumer.timeout_ms.unwrap_or(0),
        "exclusive": consumer.exclusive,
        "prefetch_count": consumer.prefetch,
        "queue": {"name": text(&consumer.queue), "vhost": text(engine.broker.vhost_name(consumer.vhost))},
    })
}

impl Asked {
    /// Links that may be seen, oldest first.
    fn links<'a>(&self, engine: &'a Engine) -> Vec<(SessionId, &'a Link)> {
        let all = engine.sessions().filter_map(|(id, session)| Some((id, session.link.as_deref()?)));
        let is_seen = |link: &Link| self.sees_all() || link.user == self.user.name;
        let mut links: Vec<_> = all.filter(|(_, link)| is_seen(link)).collect();
        links.sort_unstable_by_key(|(id, _)| *id);
        links
    }

    fn state(&self, link: &Link) -> &'static str {
        let alarms = &self.shared.settings.alarms;
        state_of(link, alarms.has_memory() || alarms.has_disk(), now_ms())
    }

    pub(super) fn connections(&self, vhost: Option<&str>, user: Option<&str>) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let vhost = vhost.map(|vhost| self.seen_vhost(&engine, vhost)).transpose()?;
        let mut links = self.links(&engine);
        links.retain(|(_, link)| vhost.is_none() || link.vhost == vhost);
        links.retain(|(_, link)| user.is_none_or(|user| link.user == user));
        let rows =
            links.iter().map(|(_, link)| connection_to_json(&engine, link, self.state(link))).collect();
        drop(engine);
        self.list(rows)
    }

    pub(super) fn connection(&self, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let links = self.links(&engine);
        let (_, link) =
            links.iter().find(|(_, link)| name_of(link) == name).ok_or_else(Refusal::not_found)?;
        Ok(self.one(connection_to_json(&engine, link, self.state(link))))
    }

    fn reason(&self) -> String {
        let reason = self.headers.get("x-reason").and_then(|value| value.to_str().ok());
        reason.unwrap_or("Closed via management plugin").to_owned()
    }

    pub(super) fn close_connection(&self, name: &str) -> Result<Told, Refusal> {
        self.change(|engine| {
            let links = self.links(engine);
            let found = links.iter().find(|(_, link)| name_of(link) == name).map(|(id, _)| *id);
            engine.force_close(found.ok_or_else(Refusal::not_found)?, &self.reason());
            Ok(Told::nothing())
        })
    }

    pub(super) fn close_connections_of(&self, user: &str) -> Result<Told, Refusal> {
        self.change(|engine| {
            let ids: Vec<SessionId> =
                self.links(engine).iter().filter(|(_, link)| link.user == user).map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| engine.force_close(id, &self.reason()));
            Ok(Told::nothing())
        })
    }

    pub(super) fn channels(&self, vhost: Option<&str>, connection: Option<&str>) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        let vhost = vhost.map(|vhost| self.seen_vhost(&engine, vhost)).transpose()?;
        let mut links = self.links(&engine);
        links.retain(|(_, link)| vhost.is_none() || link.vhost == vhost);
        links.retain(|(_, link)| connection.is_none_or(|name| name_of(link) == name));
        if connection.is_some() && links.is_empty() {
            return Err(Refusal::not_found());
        }
        let mut rows = Vec::new();
        for (id, link) in links {
            let channels = link.channels.iter();
            rows.extend(
                channels.map(|(number, channel)| channel_to_json(&engine, id, link, *number, *channel)),
            );
        }
        drop(engine);
        self.list(rows)
    }

    pub(super) fn channel(&self, name: &str) -> Result<Told, Refusal> {
        let engine = self.shared.engine.lock();
        for (id, link) in self.links(&engine) {
            for (number, channel) in &link.channels {
                if format!("{} ({number})", name_of(link)) == name {
                    let mut row = channel_to_json(&engine, id, link, *number, *channel);
                    for list in ["consumer_details", "deliveries", "publishes"] {
                        row[list] = json!([]);
                    }
                    return Ok(self.one(row));
                }
            }
        }
        Err(Refusal::not_found())
    }

    pub(super) fn consumers(&self, vhost: Option<&str>) -> Result<Told, Refusal> {
        let ids = {
            let engine = self.shared.engine.lock();
            let vhosts = self.seen_vhosts(&engine, vhost)?;
            vhosts.iter().flat_map(|(id, _)| engine.broker.queue_ids(Some(*id))).collect::<Vec<_>>()
        };
        let of_queues = self.rows(&ids, |engine, id| {
            let consumers = engine.broker.consumers_of(id);
            Some(consumers.iter().map(|consumer| consumer_to_json(engine, consumer)).collect())
        });
        let mut rows = Vec::new();
        for of_queue in of_queues {
            if let Value::Array(consumers) = of_queue {
                rows.extend(consumers);
            }
        }
        self.list(rows)
    }
}

#[cfg(test)]
mod tests {
    //! What holds a publisher up is what its connection's state says.
    use super::state_of;
    use leveret_engine::Link;

    #[test]
    fn a_state_says_what_a_publisher_waits_for() {
        let at = |flows, flowed_ms, blocked| Link { flows, flowed_ms, blocked, ..Link::default() };
        assert_eq!(state_of(&at(false, 0, false), false, 9_000), "running");
        assert_eq!(state_of(&at(true, 1_000, false), false, 99_000), "flow");
        assert_eq!(state_of(&at(false, 1_000, false), false, 5_999), "flow");
        assert_eq!(state_of(&at(false, 1_000, false), false, 6_000), "running");
        assert_eq!(state_of(&at(true, 1_000, false), true, 1_000), "blocking");
        assert_eq!(state_of(&at(true, 1_000, true), true, 1_000), "blocked");
        assert_eq!(state_of(&at(false, 0, true), false, 1_000), "running");
    }
}
