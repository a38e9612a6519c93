//! Policies: arguments for queues and exchanges by their names, which can change while they are used. What a declaration says
//! itself counts more; of two numbers the smaller one counts. (RabbitMQ: policies)

use crate::arguments::{QueueType, check_queue_arguments};
use crate::broker::Broker;
use crate::built_in::PUBSUB;
use crate::exchange::Exchange;
use crate::pattern::Pattern;
use crate::queue::Queue;
use crate::{ExchangeId, QueueId, VhostId};
use leveret_amqp::{Table, TableBuf, Value};

/// What a policy is for. (RabbitMQ: apply-to)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RabbitMQ's")]
pub enum ApplyTo {
    All,
    Exchanges,
    Queues,
    ClassicQueues,
    QuorumQueues,
    Streams,
}

impl ApplyTo {
    const ALL: [ApplyTo; 6] = [
        ApplyTo::All,
        ApplyTo::Exchanges,
        ApplyTo::Queues,
        ApplyTo::ClassicQueues,
        ApplyTo::QuorumQueues,
        ApplyTo::Streams,
    ];

    /// RabbitMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            ApplyTo::All => "all",
            ApplyTo::Exchanges => "exchanges",
            ApplyTo::Queues => "queues",
            ApplyTo::ClassicQueues => "classic_queues",
            ApplyTo::QuorumQueues => "quorum_queues",
            ApplyTo::Streams => "streams",
        }
    }

    /// From RabbitMQ's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|apply_to| apply_to.name() == name)
    }

    fn is_for_queues(self, queue_type: &str) -> bool {
        match self {
            ApplyTo::All | ApplyTo::Queues => true,
            ApplyTo::ClassicQueues => queue_type == "classic",
            ApplyTo::QuorumQueues => queue_type == "quorum",
            ApplyTo::Streams => queue_type == "stream",
            ApplyTo::Exchanges => false,
        }
    }
}

/// One policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Of the names that it is for.
    pub pattern: Pattern,
    /// What it is for.
    pub apply_to: ApplyTo,
    /// Of several that fit the highest counts.
    pub priority: i64,
    /// A table with RabbitMQ's names: `message-ttl`.
    pub definition: Box<[u8]>,
}

/// A policy's place: its vhost, whether it is an operator's, and its name.
pub type PolicyKey = (VhostId, bool, Box<str>);

/// What policies may say, and whether an operator's may.
pub const POLICY_SETTINGS: &[(&str, bool)] = &[
    ("alternate-exchange", false),
    ("consumer-timeout", false),
    ("dead-letter-exchange", false),
    ("dead-letter-routing-key", false),
    ("dead-letter-strategy", false),
    ("delayed-retry-max", true),
    ("delayed-retry-min", true),
    ("delayed-retry-type", true),
    ("delivery-limit", true),
    ("expires", true),
    ("max-age", false),
    ("max-length", true),
    ("max-length-bytes", true),
    ("message-ttl", true),
    ("overflow", true),
    ("queue-leader-locator", false),
    ("queue-master-locator", false),
    ("queue-mode", false),
    ("queue-version", false),
    ("stream-filter-size-bytes", false),
    ("stream-max-segment-size-bytes", false),
];

/// The policies that count for something.
#[derive(Default)]
pub struct Effective<'a> {
    /// The user's, with its name.
    pub policy: Option<(&'a str, &'a Policy)>,
    /// The operator's.
    pub operator: Option<(&'a str, &'a Policy)>,
}

impl Effective<'_> {
    /// What both say together.
    pub fn definition(&self) -> TableBuf {
        let table = |found: &Option<(&str, &Policy)>| match found {
            Some((_, policy)) => own(Table::from_validated(&policy.definition)),
            None => TableBuf::new(),
        };
        let (policy, operator) = (table(&self.policy), table(&self.operator));
        merged(operator.as_table(), policy.as_table(), str::to_owned)
    }
}

fn own(table: Table<'_>) -> TableBuf {
    let mut own = TableBuf::new();
    for (name, value) in table.iter() {
        own.push(name, value);
    }
    own
}

/// What `first` says, and what `second` says beside it, its names changed; the smaller one of two numbers.
fn merged(first: Table<'_>, second: Table<'_>, rename: impl Fn(&str) -> String) -> TableBuf {
    let mut all = TableBuf::new();
    let second: Vec<(String, Value<'_>)> =
        second.iter().map(|(name, value)| (rename(&String::from_utf8_lossy(name)), value)).collect();
    for (name, value) in first.iter() {
        let other =
            second.iter().find(|(other, _)| other.as_bytes() == name).and_then(|(_, v)| v.as_integer());
        let value = match (value.as_integer(), other) {
            (Some(a), Some(b)) => Value::Long(a.min(b)),
            _ => value,
        };
        all.push(name, value);
    }
    for (name, value) in &second {
        if first.find(name.as_bytes()).is_none() {
            all.push(name.as_bytes(), *value);
        }
    }
    all
}

/// Where a queue's own arguments send dead letters.
const LETTERS_TO: &[u8] = b"x-dead-letter-exchange";

/// With which routing key policies send them.
const LETTER_KEY: &[u8] = b"dead-letter-routing-key";

impl Broker {
    /// The policies of a queue.
    pub(crate) fn policies_of_queue(&self, queue: &Queue) -> Effective<'_> {
        self.effective(queue.vhost, &queue.name, |apply_to| apply_to.is_for_queues(queue.meaning.kind.name()))
    }

    /// The policies of an exchange.
    pub(crate) fn policies_of_exchange(&self, exchange: &Exchange) -> Effective<'_> {
        let is_for_it = |apply_to| matches!(apply_to, ApplyTo::All | ApplyTo::Exchanges);
        self.effective(exchange.vhost, &exchange.name, is_for_it)
    }

    fn effective(&self, vhost: VhostId, name: &[u8], is_for_it: impl Fn(ApplyTo) -> bool) -> Effective<'_> {
        let mut found = Effective::default();
        let from = (vhost, false, Box::default());
        let of_vhost = self.policies.range(from..).take_while(|((of, ..), _)| *of == vhost);
        for ((_, is_operator, policy_name), policy) in of_vhost {
            if !is_for_it(policy.apply_to) || !policy.pattern.is_match(name) {
                continue;
            }
            let place = if *is_operator { &mut found.operator } else { &mut found.policy };
            if place.is_none_or(|(_, before)| before.priority < policy.priority) {
                *place = Some((policy_name, policy));
            }
        }
        found
    }

    /// The arguments of a queue with what its policies say.
    pub(crate) fn arguments_with_policies(&self, queue: &Queue) -> Option<TableBuf> {
        let effective = self.policies_of_queue(queue);
        if effective.policy.is_none() && effective.operator.is_none() {
            return None;
        }
        let definition = effective.definition();
        let mut means = TableBuf::new();
        for (name, value) in definition.as_table().iter() {
            let argument = format!("x-{}", String::from_utf8_lossy(name));
            if queue.meaning.kind.knows(&argument) && self.can_mean(queue, argument.as_bytes(), value) {
                means.push(name, value);
            }
        }
        let mut own = TableBuf::from(Table::from_validated(&queue.arguments));
        if own.as_table().find(LETTERS_TO).and_then(|to| to.as_longstr()) == Some(PUBSUB) {
            // Who declared the queue may tell any channel; nobody knows that of the policy's maker.
            means.remove(LETTER_KEY);
        }
        if means.as_table().find(b"delayed-retry-type").is_some() {
            // Of this one the policy counts more, too. (RabbitMQ: rabbit_quorum_queue, get_delayed_retry_config)
            own.remove(b"x-delayed-retry-type");
        }
        if queue.meaning.kind == QueueType::Stream {
            // Of a stream the policy counts more. (RabbitMQ: rabbit_stream_queue, policy_precedence)
            for (name, _) in means.as_table().iter() {
                own.remove(format!("x-{}", String::from_utf8_lossy(name)).as_bytes());
            }
        }
        let mut all = merged(own.as_table(), means.as_table(), |name| format!("x-{name}"));
        if all.as_table().find(LETTERS_TO).is_none() {
            // A key for dead letters that go nowhere means nothing, and is no reason to refuse the rest.
            all.remove(format!("x-{}", String::from_utf8_lossy(LETTER_KEY)).as_bytes());
        }
        Some(all)
    }

    /// Whether a declaration could say that by itself: what it could not is left out, and the rest of a policy counts.
    fn can_mean(&self, queue: &Queue, argument: &[u8], value: Value<'_>) -> bool {
        let mut alone = TableBuf::new();
        alone.push(b"x-queue-type", Value::LongStr(queue.meaning.kind.name().as_bytes()));
        if argument.strip_prefix(b"x-") == Some(LETTER_KEY) {
            alone.push(LETTERS_TO, Value::LongStr(b""));
        }
        alone.push(argument, value);
        check_queue_arguments("", &queue.name, alone.as_table()).is_ok()
    }

    /// All policies: of operators or not.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyKey, &Policy)> {
        self.policies.iter()
    }

    pub(crate) fn queues_of(&self, vhost: VhostId) -> Vec<QueueId> {
        let mut ids: Vec<QueueId> =
            self.vhosts.get(&vhost).map(|vhost| vhost.queues.values().copied().collect()).unwrap_or_default();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn exchanges_of(&self, vhost: VhostId) -> Vec<ExchangeId> {
        let vhost = self.vhosts.get(&vhost);
        let mut ids: Vec<ExchangeId> =
            vhost.map(|vhost| vhost.exchanges.values().copied().collect()).unwrap_or_default();
        ids.sort_unstable();
        ids
    }
}
