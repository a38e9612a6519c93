//! The arguments of queues and exchanges: checked in RabbitMQ's words, kept as they came. What is not built yet is
//! refused by name; an unknown argument is kept and means nothing, as in RabbitMQ.

use crate::death::DeadLetters;
use crate::exception::{Exception, shown};
use crate::exchange::{ALTERNATE_EXCHANGE, DELAYED_TYPE, Kind};
use crate::message::EXPIRY_MAX_MS;
use crate::seen::{DEDUPLICATION, Seen};
use crate::txn::QueueDeclare;
use leveret_amqp::{Table, Value};
use std::sync::Arc;

/// What keeps a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum QueueType {
    #[default]
    Classic,
    Quorum,
    Stream,
}

impl QueueType {
    /// RabbitMQ's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
            QueueType::Stream => "stream",
        }
    }

    /// RabbitMQ's name in refusals.
    pub(crate) fn module(self) -> &'static str {
        match self {
            QueueType::Classic => "rabbit_classic_queue",
            QueueType::Quorum => "rabbit_quorum_queue",
            QueueType::Stream => "rabbit_stream_queue",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            QueueType::Classic => CLASSIC,
            QueueType::Quorum => QUORUM,
            QueueType::Stream => STREAM,
        }
    }

    /// True when queues of this type give the argument a meaning.
    pub(crate) fn knows(self, argument: &str) -> bool {
        self.arguments().contains(&argument)
    }
}

/// What happens to a message that is one too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The first of the queue goes.
    #[default]
    DropHead,
    /// It is not taken, and its publisher hears of it.
    Reject,
    /// Likewise, and it goes to the dead letter exchange.
    RejectDeadLetter,
}

/// What a stream keeps; there is no end to it without limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Bytes of messages.
    pub(crate) bytes_max: Option<u64>,
    pub(crate) age_max_ms: Option<u64>,
    /// A segment with so many bytes is followed by another.
    pub(crate) segment_bytes_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { bytes_max: None, age_max_ms: None, segment_bytes_max: SEGMENT_BYTES }
    }
}

/// What a queue's arguments mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueueArguments {
    pub(crate) kind: QueueType,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) length_max: Option<u64>,
    /// Bytes of bodies.
    pub(crate) bytes_max: Option<u64>,
    pub(crate) overflow: Overflow,
    pub(crate) dead_letters: Option<Arc<DeadLetters>>,
    pub(crate) priority_max: u8,
    pub(crate) single_active: bool,
    /// How long a message may be held.
    pub(crate) consumer_timeout_ms: Option<u64>,
    /// How often a message may come back; `None` is ever again.
    pub(crate) delivery_limit: Option<u32>,
    /// For streams alone.
    pub(crate) retention: Retention,
}

impl QueueArguments {
    /// True when a message may be one too many.
    pub(crate) fn is_limited(&self) -> bool {
        self.length_max.is_some() || self.bytes_max.is_some()
    }
}

/// Of the arguments that have a meaning for some type of queue, those that have one for classic queues.
const CLASSIC: &[&str] = &[
    "x-consumer-timeout",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-message-ttl",
    "x-overflow",
    "x-queue-leader-locator",
    "x-queue-master-locator",
    "x-queue-mode",
    "x-queue-type",
    "x-queue-version",
    "x-single-active-consumer",
];

/// Likewise, for quorum queues.
const QUORUM: &[&str] = &[
    "x-consumer-timeout",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-message-ttl",
    "x-overflow",
    "x-queue-leader-locator",
    "x-queue-type",
    "x-quorum-initial-group-size",
    "x-quorum-target-group-size",
    "x-single-active-consumer",
];

/// Likewise, for streams.
const STREAM: &[&str] = &[
    "x-initial-cluster-size",
    "x-max-age",
    "x-max-length-bytes",
    "x-queue-leader-locator",
    "x-queue-type",
    "x-stream-filter-size-bytes",
    "x-stream-max-segment-size-bytes",
];

/// Bytes of a segment if nothing is said. (RabbitMQ: osiris, DEFAULT_MAX_SEGMENT_SIZE_B)
const SEGMENT_BYTES: u64 = 500_000_000;

/// Bytes that a segment may have. (RabbitMQ: MAX_STREAM_MAX_SEGMENT_SIZE)
pub const SEGMENT_BYTES_MAX: i64 = 3_000_000_000;

/// Bytes that the filter of a chunk may have. (RabbitMQ: x-stream-filter-size-bytes)
pub const FILTER_BYTES: std::ops::RangeInclusive<i64> = 16..=255;

/// Milliseconds of an age like `7D`. (RabbitMQ: x-max-age)
pub fn age_ms(text: &[u8]) -> Option<u64> {
    let digits_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = text.split_at_checked(digits_len)?;
    let seconds: u64 = match unit {
        b"Y" => 365 * 24 * 3600,
        b"M" => 30 * 24 * 3600,
        b"D" => 24 * 3600,
        b"h" => 3600,
        b"m" => 60,
        b"s" => 1,
        _ => return None,
    };
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok().filter(|count| *count > 0)?;
    Some(count.saturating_mul(seconds).saturating_mul(1000))
}

/// How often a message of a quorum queue may come back if nothing is said. (RabbitMQ: DEFAULT_DELIVERY_LIMIT)
const DELIVERY_LIMIT: u32 = 20;

/// Refuses what an exchange cannot mean by its arguments.
pub(crate) fn exchange_arguments(
    vhost: &str,
    exchange: &[u8],
    kind: Kind,
    arguments: Table<'_>,
) -> Result<(), Exception> {
    let exchange = shown(exchange);
    if let Some(value) = arguments.find(ALTERNATE_EXCHANGE.as_bytes())
        && value.as_longstr().is_none()
    {
        return Err(Exception::precondition(format!(
            "invalid type '{}' for arg '{ALTERNATE_EXCHANGE}' in exchange '{exchange}' in vhost '{vhost}'",
            value.type_name(),
        )));
    }
    kind.check_arguments(arguments)?;
    Seen::from_arguments(arguments).map(|_| ()).map_err(|(name, why)| {
        Exception::precondition(format!(
            "invalid arg '{name}' for exchange '{exchange}' in vhost '{vhost}': {why}"
        ))
    })
}

/// Refuses what a queue cannot mean by its arguments.
pub(crate) fn queue_arguments(
    vhost: &[u8],
    queue: &[u8],
    arguments: Table<'_>,
) -> Result<QueueArguments, Exception> {
    let refuse = |name: &str, why: &str| {
        let (queue, vhost) = (shown(queue), shown(vhost));
        Exception::precondition(format!("invalid arg '{name}' for queue '{queue}' in vhost '{vhost}'{why}"))
    };
    let kind = match arguments.find(b"x-queue-type").map(|value| (value, value.as_longstr())) {
        None | Some((_, Some(b"classic"))) => QueueType::Classic,
        Some((_, Some(b"quorum"))) => QueueType::Quorum,
        Some((_, Some(b"stream"))) => QueueType::Stream,
        Some((_, Some(other))) => {
            let why = format!(": \"unsupported queue type '{}'\"", shown(other));
            return Err(refuse("x-queue-type", &why));
        }
        Some((value, None)) => {
            let why = format!(": \"expected string, got {}\"", value.type_name());
            return Err(refuse("x-queue-type", &why));
        }
    };
    let mut meaning = QueueArguments { kind, ..QueueArguments::default() };
    meaning.delivery_limit = (kind == QueueType::Quorum).then_some(DELIVERY_LIMIT);
    let (mut exchange, mut routing_key) = (None, None);
    for (name, value) in arguments.iter() {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let wrong_type = |wanted: &str| -> Result<(), Exception> {
            Err(refuse(name, &format!(": \"expected {wanted}, got {}\"", value.type_name())))
        };
        let string = || match value.as_longstr() {
            None => wrong_type("string").map(|()| &b""[..]),
            Some(text) if text.len() > 255 => Err(refuse(name, ": \"longer than 255 bytes\"")),
            Some(text) => Ok(text),
        };
        let number = |max: i64, too_large: &str| match value.as_integer() {
            None => wrong_type("integer").map(|()| 0),
            Some(number) if number < 0 => Err(refuse(name, &format!(": {{value_negative,{number}}}"))),
            Some(number) if number > max => Err(refuse(name, &format!(": {{{too_large},{number}}}"))),
            Some(number) => Ok(number as u64),
        };
        let meant_by = |types: &[&str]| types.contains(&name);
        if !meant_by(kind.arguments()) && (meant_by(CLASSIC) || meant_by(QUORUM) || meant_by(STREAM)) {
            return Err(refuse(name, &format!(" of queue type {}", kind.module())));
        }
        match name {
            "x-message-ttl" => meaning.ttl_ms = Some(number(EXPIRY_MAX_MS, "value_too_large")?),
            "x-expires" => match number(EXPIRY_MAX_MS, "value_too_large")? {
                0 => return Err(refuse(name, ": {value_zero,0}")),
                expires => meaning.expires_ms = Some(expires),
            },
            "x-consumer-timeout" => match number(i64::MAX, "")? {
                0 => return Err(refuse(name, ": {value_zero,0}")),
                timeout => meaning.consumer_timeout_ms = Some(timeout),
            },
            "x-max-length" => meaning.length_max = Some(number(i64::MAX, "")?),
            "x-max-length-bytes" if kind == QueueType::Stream => {
                meaning.retention.bytes_max = Some(number(i64::MAX, "")?);
            }
            "x-max-length-bytes" => meaning.bytes_max = Some(number(i64::MAX, "")?),
            "x-max-age" => match age_ms(string()?) {
                None => return Err(refuse(name, ": invalid_max_age")),
                age => meaning.retention.age_max_ms = age,
            },
            "x-stream-max-segment-size-bytes" => {
                let bytes = number(i64::MAX, "")?;
                if bytes > SEGMENT_BYTES_MAX as u64 {
                    return Err(Exception::precondition(format!("Exceeded max value for {name}")));
                }
                meaning.retention.segment_bytes_max = bytes;
            }
            // Nothing is skipped here that it would help to skip.
            "x-stream-filter-size-bytes" if !FILTER_BYTES.contains(&(number(i64::MAX, "")? as i64)) => {
                return Err(Exception::precondition(format!("Invalid value for  {name}")));
            }
            "x-initial-cluster-size" if number(i64::MAX, "")? == 0 => {
                return Err(refuse(name, ": {value_zero,0}"));
            }
            "x-queue-leader-locator" if kind == QueueType::Stream => match string()? {
                b"client-local" | b"balanced" | b"random" | b"least-leaders" => {}
                _ => return Err(refuse(name, ": invalid_queue_locator_arg")),
            },
            "x-max-priority" => meaning.priority_max = number(255, "max_value_exceeded")? as u8,
            "x-overflow" => {
                meaning.overflow = match (string()?, kind) {
                    (b"drop-head", _) => Overflow::DropHead,
                    (b"reject-publish", _) => Overflow::Reject,
                    (b"reject-publish-dlx", QueueType::Classic) => Overflow::RejectDeadLetter,
                    (_, _) => return Err(refuse(name, ": invalid_overflow")),
                }
            }
            "x-dead-letter-exchange" => exchange = Some(string()?),
            "x-dead-letter-routing-key" => routing_key = Some(string()?),
            // Both are the same here: a letter and its leaving are one commit.
            "x-dead-letter-strategy" => match string()? {
                b"at-most-once" | b"at-least-once" => {}
                _ => return Err(refuse(name, ": invalid_dlx_strategy")),
            },
            "x-delivery-limit" => match value.as_integer() {
                None => wrong_type("integer")?,
                // -1 is none. (RabbitMQ: delivery limits)
                Some(limit) => meaning.delivery_limit = u32::try_from(limit).ok(),
            },
            "x-single-active-consumer" => match value.as_bool() {
                None => wrong_type("bool")?,
                Some(single_active) => meaning.single_active = single_active,
            },
            _ => {}
        }
    }
    meaning.dead_letters = match (exchange, routing_key) {
        (None, Some(_)) => {
            return Err(refuse("x-dead-letter-routing-key", ": routing_key_but_no_dlx_defined"));
        }
        (None, None) => None,
        (Some(exchange), key) => {
            Some(Arc::new(DeadLetters { exchange: exchange.into(), routing_key: key.map(Box::from) }))
        }
    };
    Seen::from_arguments(arguments).map_err(|(name, why)| refuse(name, &format!(": {why}")))?;
    Ok(meaning)
}

/// Refuses a quorum queue or a stream that could go with a connection or have no name of its own.
pub(crate) fn queue_properties(vhost: &str, declare: &QueueDeclare<'_>) -> Result<(), Exception> {
    let kind = match declare.arguments.find(b"x-queue-type").and_then(|value| value.as_longstr()) {
        Some(b"quorum") => QueueType::Quorum,
        Some(b"stream") => QueueType::Stream,
        Some(_) | None => return Ok(()),
    };
    let QueueDeclare { name, durable, exclusive, auto_delete, .. } = *declare;
    if name.is_empty() {
        let text = format!("Cannot declare a server-named queue for type {}", kind.module());
        return Err(Exception::precondition(text));
    }
    for (wrong, property) in
        [(!durable, "non-durable"), (auto_delete, "auto-delete"), (exclusive, "exclusive-owner")]
    {
        if wrong {
            let queue = shown(name);
            return Err(Exception::precondition(format!(
                "invalid property '{property}' for queue '{queue}' in vhost '{vhost}'"
            )));
        }
    }
    Ok(())
}

/// Refuses a second declaration whose arguments differ. (RabbitMQ: `rabbit_misc:assert_args_equivalence`)
pub(crate) fn check_equivalence<'a>(
    what: &str,
    old: Table<'a>,
    new: Table<'a>,
    names: &[&str],
) -> Result<(), Exception> {
    for name in names {
        // To say nothing is to ask for a classic queue.
        let find = |table: Table<'a>| {
            let value = table.find(name.as_bytes());
            value.filter(|value| *name != "x-queue-type" || value.as_longstr() != Some(b"classic"))
        };
        let text = match (find(old), find(new)) {
            (None, None) => continue,
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => format!("received '{}' but current is '{}'", plain(new), plain(old)),
            (None, Some(new)) => format!(
                "received the value '{}' of type '{}' but current is none",
                plain(new),
                new.type_name()
            ),
            (Some(old), None) => format!(
                "received none but current is the value '{}' of type '{}'",
                plain(old),
                old.type_name()
            ),
        };
        return Err(Exception::precondition(format!("inequivalent arg '{name}' for {what}: {text}")));
    }
    Ok(())
}

fn plain(value: Value<'_>) -> String {
    match (value.as_integer(), value.as_longstr(), value.as_bool()) {
        (Some(integer), _, _) => integer.to_string(),
        (_, Some(text), _) => shown(text).into_owned(),
        (_, _, Some(truth)) => truth.to_string(),
        (None, None, None) => format!("{value:?}"),
    }
}

/// The arguments of queues that must agree.
pub(crate) const QUEUE_EQUIVALENT: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-max-priority",
    "x-delivery-limit",
    "x-single-active-consumer",
    "x-consumer-timeout",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
    DEDUPLICATION,
];

/// The arguments of exchanges that must agree.
pub(crate) const EXCHANGE_EQUIVALENT: &[&str] = &[ALTERNATE_EXCHANGE, DELAYED_TYPE, DEDUPLICATION];
