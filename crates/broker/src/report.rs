//! What there is, for those who look after it. (RabbitMQ: management API)

use crate::broker::{Broker, VhostAbout};
use crate::exchange::Destination;
use crate::policy::Effective;
use crate::{ExchangeId, QueueId, SessionId, VhostId};
use leveret_amqp::Table;

/// A queue as it is now.
#[allow(missing_docs, reason = "the names are those of the management API")]
pub struct QueueReport<'a> {
    pub vhost: VhostId,
    pub name: &'a [u8],
    pub kind: &'static str,
    pub durable: bool,
    pub auto_delete: bool,
    /// Whose it is.
    pub owner: Option<SessionId>,
    pub arguments: Table<'a>,
    pub ready: usize,
    pub ready_bytes: u64,
    /// Of these, what is only on disk: in the log or spilled.
    pub paged_out: usize,
    pub paged_out_bytes: u64,
    /// Likewise of those that consumers hold.
    pub unacknowledged_paged_out: usize,
    pub unacknowledged_paged_out_bytes: u64,
    pub unacknowledged: usize,
    pub unacknowledged_bytes: u64,
    pub consumers: usize,
    /// The tag of the only consumer that is served, and of the only one there may be.
    pub single_active: Option<&'a [u8]>,
    pub exclusive_consumer: Option<&'a [u8]>,
    pub policies: Effective<'a>,
    pub delivery_limit: Option<u32>,
    /// What has come back and waits.
    pub delayed: usize,
    pub delayed_bytes: u64,
    pub delayed_retry: Option<String>,
}

/// An exchange as it is now.
#[allow(missing_docs, reason = "the names are those of the management API")]
pub struct ExchangeReport<'a> {
    pub vhost: VhostId,
    pub name: &'a [u8],
    pub kind: &'static str,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Table<'a>,
    pub policies: Effective<'a>,
}

/// One binding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the management API")]
pub struct BindingReport {
    pub vhost: VhostId,
    pub source: Vec<u8>,
    pub to_queue: bool,
    pub destination: Vec<u8>,
    pub routing_key: Vec<u8>,
    pub arguments: Vec<u8>,
    /// It is in the log.
    pub durable: bool,
}

/// One consumer.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names are those of the management API")]
pub struct ConsumerReport {
    pub vhost: VhostId,
    pub queue: Vec<u8>,
    pub tag: Vec<u8>,
    pub session: SessionId,
    pub channel: u16,
    pub ack_required: bool,
    pub exclusive: bool,
    pub active: bool,
    pub prefetch: u16,
    pub priority: i64,
    pub timeout_ms: Option<u64>,
    /// What it says of that itself.
    pub own_timeout_ms: Option<u64>,
}

impl Broker {
    /// All vhosts.
    pub fn vhosts(&self) -> impl Iterator<Item = (VhostId, &[u8], &VhostAbout)> {
        self.vhosts.iter().map(|(id, vhost)| (*id, &*vhost.name, &vhost.about))
    }

    /// The queues of a vhost, or all.
    pub fn queue_ids(&self, vhost: Option<VhostId>) -> Vec<QueueId> {
        match vhost {
            Some(vhost) => self.queues_of(vhost),
            None => self.vhosts.keys().flat_map(|vhost| self.queues_of(*vhost)).collect(),
        }
    }

    /// The exchanges of a vhost, or all.
    pub fn exchange_ids(&self, vhost: Option<VhostId>) -> Vec<ExchangeId> {
        match vhost {
            Some(vhost) => self.exchanges_of(vhost),
            None => self.vhosts.keys().flat_map(|vhost| self.exchanges_of(*vhost)).collect(),
        }
    }

    /// The queue of that name.
    pub fn queue_id(&self, vhost: VhostId, name: &[u8]) -> Option<QueueId> {
        self.vhosts.get(&vhost)?.queues.get(name).copied()
    }

    /// The exchange of that name.
    pub fn find_exchange(&self, vhost: VhostId, name: &[u8]) -> Option<ExchangeId> {
        self.vhosts.get(&vhost)?.exchanges.get(name).copied()
    }

    /// A queue, if it is still there.
    pub fn queue_report(&self, id: QueueId) -> Option<QueueReport<'_>> {
        let queue = self.queues.get(&id)?;
        let tag =
            |wanted: Option<u64>| queue.consumers.iter().find(|c| Some(c.id) == wanted).map(|c| &*c.tag);
        Some(QueueReport {
            vhost: queue.vhost,
            name: &queue.name,
            kind: queue.meaning.kind.name(),
            durable: queue.durable,
            auto_delete: queue.auto_delete,
            owner: queue.exclusive,
            arguments: Table::from_validated(&queue.arguments),
            ready: queue.ready_counts().0,
            ready_bytes: queue.ready_counts().1,
            paged_out: queue.ready.away().len,
            paged_out_bytes: queue.ready.away().bytes,
            unacknowledged_paged_out: queue.held_away.len,
            unacknowledged_paged_out_bytes: queue.held_away.bytes,
            unacknowledged: queue.unacked_count(),
            unacknowledged_bytes: if queue.stream.is_some() {
                0
            } else {
                queue.unacked_bytes - queue.retrying.bytes
            },
            consumers: queue.consumers.len(),
            single_active: tag(queue.active.filter(|_| queue.meaning.single_active)),
            exclusive_consumer: queue.consumers.iter().find(|c| c.exclusive).map(|c| &*c.tag),
            policies: self.policies_of_queue(queue),
            delivery_limit: queue.meaning.delivery_limit,
            delayed: queue.retrying.len,
            delayed_bytes: queue.retrying.bytes,
            delayed_retry: queue.meaning.delayed_retry.map(|retry| retry.to_string()),
        })
    }

    /// An exchange, if it is still there.
    pub fn exchange_report(&self, id: ExchangeId) -> Option<ExchangeReport<'_>> {
        let exchange = self.exchanges.get(&id)?;
        Some(ExchangeReport {
            vhost: exchange.vhost,
            name: &exchange.name,
            kind: exchange.kind.name(),
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
            arguments: Table::from_validated(&exchange.arguments),
            policies: self.policies_of_exchange(exchange),
        })
    }

    /// The bindings from an exchange, in order.
    pub fn bindings_from(&self, id: ExchangeId) -> Vec<BindingReport> {
        let Some(exchange) = self.exchanges.get(&id) else { return Vec::new() };
        let named = |destination| match destination {
            Destination::Queue(id) => self.queues.get(&id).map(|queue| (true, queue.name.to_vec())),
            Destination::Exchange(id) => {
                self.exchanges.get(&id).map(|exchange| (false, exchange.name.to_vec()))
            }
        };
        let mut bindings: Vec<BindingReport> = exchange
            .bindings()
            .filter_map(|(to, (key, arguments))| {
                let (to_queue, destination) = named(to)?;
                Some(BindingReport {
                    vhost: exchange.vhost,
                    source: exchange.name.to_vec(),
                    to_queue,
                    destination,
                    routing_key: key.to_vec(),
                    arguments: arguments.to_vec(),
                    durable: exchange.durable && self.is_logged(to),
                })
            })
            .collect();
        bindings.sort();
        bindings
    }

    /// The exchanges that have bindings to a queue or an exchange.
    pub fn bound_from(&self, queue: Option<QueueId>, exchange: Option<ExchangeId>) -> Vec<ExchangeId> {
        let of_queue = queue.and_then(|id| self.queues.get(&id)).map(|queue| &queue.bound_from);
        let of_exchange =
            exchange.and_then(|id| self.exchanges.get(&id)).map(|exchange| &exchange.bound_from);
        of_queue.into_iter().chain(of_exchange).flatten().copied().collect()
    }

    /// The consumers of a queue.
    pub fn consumers_of(&self, id: QueueId) -> Vec<ConsumerReport> {
        let Some(queue) = self.queues.get(&id) else { return Vec::new() };
        let is_active = |consumer: u64| !queue.meaning.single_active || queue.active == Some(consumer);
        let report = |consumer: &crate::queue::Consumer| ConsumerReport {
            vhost: queue.vhost,
            queue: queue.name.to_vec(),
            tag: consumer.tag.to_vec(),
            session: consumer.session,
            channel: consumer.channel,
            ack_required: !consumer.no_ack,
            exclusive: consumer.exclusive,
            active: is_active(consumer.id),
            prefetch: consumer.prefetch,
            priority: consumer.priority,
            own_timeout_ms: consumer.timeout_ms,
            timeout_ms: consumer.timeout_ms.or(queue.meaning.consumer_timeout_ms),
        };
        queue.consumers.iter().map(report).collect()
    }

    /// How many messages a channel holds, and how many consumers it has.
    pub fn channel_counts(&self, session: SessionId, channel: u16) -> (usize, usize) {
        let channel = self.channels.get(&(session, channel));
        let held = channel.map_or(0, |channel| channel.holds.iter().map(|(_, seqs)| seqs.len()).sum());
        (held, channel.map_or(0, |channel| channel.consumers.len()))
    }
}
