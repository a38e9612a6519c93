//! The arguments of queues and exchanges, and what they mean. They are kept as they came; an unknown argument means nothing, as
//! in RabbitMQ.

mod declared;

pub(crate) use declared::*;

use crate::death::DeadLetters;
use crate::exception::{Exception, shown};
use crate::exchange::{ALTERNATE_EXCHANGE, Kind};
use crate::seen::Seen;
use leveret_amqp::Table;
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

    /// The type that arguments name; a name that nobody has is refused where it is declared.
    pub(crate) fn of(arguments: Table<'_>) -> Self {
        match arguments.find(b"x-queue-type").and_then(|value| value.as_longstr()) {
            Some(b"quorum") => QueueType::Quorum,
            Some(b"stream") => QueueType::Stream,
            Some(_) | None => QueueType::Classic,
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
    /// How long a consumer may hold a message if it says nothing itself. (RabbitMQ: of quorum queues alone)
    pub(crate) consumer_timeout_ms: Option<u64>,
    /// How often a message may come back; `None` is ever again.
    pub(crate) delivery_limit: Option<u32>,
    /// What waits before it comes again. (RabbitMQ: delayed retry of quorum queues)
    pub(crate) delayed_retry: Option<DelayedRetry>,
    /// For streams alone.
    pub(crate) retention: Retention,
}

/// Which messages that come back wait, and for how long: longer each time they have failed, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DelayedRetry {
    failed: bool,
    released: bool,
    min_ms: u64,
    max_ms: u64,
}

impl DelayedRetry {
    /// RabbitMQ's name of which.
    fn name(self) -> &'static str {
        match (self.failed, self.released) {
            (true, true) => "all",
            (true, false) => "failed",
            (false, _) => "returned",
        }
    }

    /// How long one waits that comes back, and has failed so often.
    pub(crate) fn delay_ms(self, failed: bool, failures: u32) -> Option<u64> {
        let waits = if failed { self.failed } else { self.released };
        waits.then(|| self.min_ms.saturating_mul(failures.max(1).into()).min(self.max_ms))
    }
}

impl std::fmt::Display for DelayedRetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (min: {}ms, max: {}ms)", self.name(), self.min_ms, self.max_ms)
    }
}

impl QueueArguments {
    /// What a queue's arguments mean. What could not be declared means nothing: older versions took more than this one.
    pub(crate) fn of(arguments: Table<'_>) -> Self {
        let kind = QueueType::of(arguments);
        let mut meaning = QueueArguments { kind, ..QueueArguments::default() };
        if kind == QueueType::Quorum {
            meaning.delivery_limit = Some(DELIVERY_LIMIT);
            meaning.consumer_timeout_ms = Some(CONSUMER_TIMEOUT_MS);
        }
        if kind == QueueType::Quorum {
            meaning.delayed_retry = delayed_retry(arguments);
        }
        let (mut exchange, mut routing_key) = (None, None);
        for (name, value) in arguments.iter() {
            let Some(name) = std::str::from_utf8(name).ok().filter(|name| kind.knows(name)) else { continue };
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            let positive = number.filter(|number| *number > 0);
            let text = value.as_longstr();
            match name {
                "x-message-ttl" => meaning.ttl_ms = number,
                "x-expires" => meaning.expires_ms = positive,
                "x-consumer-timeout" => meaning.consumer_timeout_ms = number.or(meaning.consumer_timeout_ms),
                "x-max-length" => meaning.length_max = number,
                "x-max-length-bytes" if kind == QueueType::Stream => meaning.retention.bytes_max = number,
                "x-max-length-bytes" => meaning.bytes_max = number,
                "x-max-age" => meaning.retention.age_max_ms = text.and_then(age_ms),
                "x-stream-max-segment-size-bytes" => {
                    meaning.retention.segment_bytes_max = number.unwrap_or(SEGMENT_BYTES);
                }
                "x-max-priority" => meaning.priority_max = number.unwrap_or(0).min(255) as u8,
                "x-overflow" => {
                    meaning.overflow = match (text, kind) {
                        (Some(b"reject-publish"), _) => Overflow::Reject,
                        (Some(b"reject-publish-dlx"), QueueType::Classic) => Overflow::RejectDeadLetter,
                        (_, _) => Overflow::DropHead,
                    }
                }
                "x-dead-letter-exchange" => exchange = text,
                "x-dead-letter-routing-key" => routing_key = text,
                "x-delivery-limit" => {
                    // -1 is none. (RabbitMQ: delivery limits)
                    meaning.delivery_limit = u32::try_from(value.as_integer().unwrap_or(-1)).ok();
                }
                "x-single-active-consumer" => meaning.single_active = value.as_bool() == Some(true),
                _ => {}
            }
        }
        meaning.dead_letters = exchange.map(|exchange| {
            Arc::new(DeadLetters { exchange: exchange.into(), routing_key: routing_key.map(Box::from) })
        });
        meaning
    }

    /// True when a message may be one too many.
    pub(crate) fn is_limited(&self) -> bool {
        self.length_max.is_some() || self.bytes_max.is_some()
    }
}

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

/// How long a consumer of a quorum queue may hold a message if nothing is said. (RabbitMQ: consumer_timeout)
const CONSUMER_TIMEOUT_MS: u64 = 1_800_000;

/// What RabbitMQ makes of these arguments: nothing of what makes no sense.
fn delayed_retry(arguments: Table<'_>) -> Option<DelayedRetry> {
    let (failed, released) = match arguments.find(b"x-delayed-retry-type")?.as_longstr()? {
        b"all" => (true, true),
        b"failed" => (true, false),
        b"returned" => (false, true),
        _ => return None,
    };
    let positive = |name: &[u8]| {
        let number = arguments.find(name).and_then(|value| value.as_integer());
        number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
    };
    let min_ms = positive(b"x-delayed-retry-min")?;
    let max_ms = positive(b"x-delayed-retry-max").unwrap_or(min_ms);
    Some(DelayedRetry { failed, released, min_ms, max_ms })
}

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
