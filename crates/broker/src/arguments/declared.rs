//! What may be declared, and declared again, in RabbitMQ's words.

use super::{FILTER_BYTES, QueueType, SEGMENT_BYTES_MAX, age_ms};
use crate::exception::{Exception, shown};
use crate::exchange::{ALTERNATE_EXCHANGE, DELAYED_TYPE};
use crate::message::EXPIRY_MAX_MS;
use crate::seen::{DEDUPLICATION, Seen};
use crate::txn::QueueDeclare;
use leveret_amqp::{Table, Value};

/// The arguments of classic queues, in the order in which RabbitMQ compares them.
const CLASSIC: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator",
    "x-queue-leader-locator",
];

/// Likewise, of quorum queues.
const QUORUM: &[&str] = &[
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-queue-type",
    "x-quorum-initial-group-size",
    "x-delivery-limit",
    "x-message-ttl",
    "x-queue-leader-locator",
    "x-consumer-disconnected-timeout",
    "x-consumer-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
];

/// Likewise, of streams.
const STREAM: &[&str] = &[
    "x-max-length-bytes",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
];

/// The arguments that have a value to be checked, in the order in which RabbitMQ checks them.
const CHECKED: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-version",
    "x-single-active-consumer",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
    "x-quorum-initial-group-size",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
    "x-delivery-limit",
];

const ALL: [QueueType; 3] = [QueueType::Classic, QueueType::Quorum, QueueType::Stream];

impl QueueType {
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            QueueType::Classic => CLASSIC,
            QueueType::Quorum => QUORUM,
            QueueType::Stream => STREAM,
        }
    }

    fn consumer_arguments(self) -> &'static [&'static str] {
        match self {
            QueueType::Classic => &["x-priority"],
            QueueType::Quorum => &["x-priority", "x-consumer-timeout"],
            QueueType::Stream => &["x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered"],
        }
    }
}

/// What is declared or consumed, for refusals.
struct About<'a> {
    vhost: &'a str,
    queue: &'a [u8],
}

impl About<'_> {
    fn refuse(&self, name: &str, why: &str) -> Exception {
        let (queue, vhost) = (shown(self.queue), self.vhost);
        Exception::precondition(format!("invalid arg '{name}' for queue '{queue}' in vhost '{vhost}'{why}"))
    }

    fn integer(&self, name: &str, value: Value<'_>) -> Result<i64, Exception> {
        value
            .as_integer()
            .ok_or_else(|| self.refuse(name, &format!(": \"expected integer, got {}\"", value.type_name())))
    }

    fn not_negative(&self, name: &str, value: Value<'_>) -> Result<u64, Exception> {
        let number = self.integer(name, value)?;
        u64::try_from(number).map_err(|_| self.refuse(name, &format!(": {{value_negative,{number}}}")))
    }

    fn at_most(&self, name: &str, value: Value<'_>, max: i64, why: &str) -> Result<u64, Exception> {
        let number = self.not_negative(name, value)?;
        if number > max as u64 {
            return Err(self.refuse(name, &format!(": {{{why},{number}}}")));
        }
        Ok(number)
    }

    fn string<'v>(&self, name: &str, value: Value<'v>) -> Result<&'v [u8], Exception> {
        value
            .as_longstr()
            .ok_or_else(|| self.refuse(name, &format!(": {{unacceptable_type,{}}}", value.type_name())))
    }

    fn not_zero(&self, name: &str, number: u64) -> Result<(), Exception> {
        if number == 0 { Err(self.refuse(name, ": {value_zero,0}")) } else { Ok(()) }
    }

    /// Refuses an argument that has a meaning for queues of other types only.
    fn known(
        &self,
        kind: QueueType,
        arguments: Table<'_>,
        known: fn(QueueType) -> &'static [&'static str],
    ) -> Result<(), Exception> {
        for (name, _) in arguments.iter() {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if !known(kind).contains(&name) && ALL.iter().any(|other| known(*other).contains(&name)) {
                return Err(self.refuse(name, &format!(" of queue type {}", kind.module())));
            }
        }
        Ok(())
    }
}

/// Refuses what a queue cannot mean by its arguments.
pub(crate) fn check_queue_arguments(
    vhost: &str,
    queue: &[u8],
    arguments: Table<'_>,
) -> Result<(), Exception> {
    let about = About { vhost, queue };
    if let Some(value) = arguments.find(b"x-dead-letter-exchange")
        && value.as_longstr().is_none()
    {
        return Err(Exception::precondition(format!(
            "invalid type '{}' for arg 'x-dead-letter-exchange' in queue '{}' in vhost '{vhost}'",
            value.type_name(),
            shown(queue)
        )));
    }
    if let Some(value) = arguments.find(b"x-queue-type") {
        match about.string("x-queue-type", value)? {
            b"classic" | b"quorum" | b"stream" => {}
            // The same as none. (RabbitMQ: maybe_inject_default_queue_type_shortcut_into_args)
            b"" | b"undefined" => {}
            other => {
                let why = format!(": \"unsupported queue type '{}'\"", shown(other));
                return Err(about.refuse("x-queue-type", &why));
            }
        }
    }
    let kind = QueueType::of(arguments);
    for name in CHECKED.iter().filter(|name| kind.knows(name)) {
        if let Some(value) = arguments.find(name.as_bytes()) {
            check_queue_argument(&about, kind, arguments, name, value)?;
        }
    }
    about.known(kind, arguments, QueueType::arguments)?;
    Seen::from_arguments(arguments).map_err(|(name, why)| about.refuse(name, &format!(": {why}")))?;
    Ok(())
}

fn check_queue_argument(
    about: &About<'_>,
    kind: QueueType,
    arguments: Table<'_>,
    name: &str,
    value: Value<'_>,
) -> Result<(), Exception> {
    match name {
        "x-message-ttl" => about.at_most(name, value, EXPIRY_MAX_MS, "value_too_large").map(|_| ()),
        "x-expires" => {
            let expires = about.at_most(name, value, EXPIRY_MAX_MS, "value_too_large")?;
            about.not_zero(name, expires)
        }
        "x-quorum-initial-group-size" | "x-initial-cluster-size" => {
            let size = about.not_negative(name, value)?;
            about.not_zero(name, size)
        }
        "x-max-age" => match age_ms(about.string(name, value)?) {
            None => Err(about.refuse(name, ": invalid_max_age")),
            Some(_) => Ok(()),
        },
        "x-stream-max-segment-size-bytes" => {
            if about.not_negative(name, value)? > SEGMENT_BYTES_MAX as u64 {
                return Err(Exception::precondition(format!("Exceeded max value for {name}")));
            }
            Ok(())
        }
        // Nothing is skipped here that it would help to skip.
        "x-stream-filter-size-bytes" => {
            if !FILTER_BYTES.contains(&(about.not_negative(name, value)? as i64)) {
                return Err(Exception::precondition(format!("Invalid value for {name}")));
            }
            Ok(())
        }
        "x-queue-leader-locator" => match about.string(name, value)? {
            b"client-local" | b"balanced" | b"random" | b"least-leaders" => Ok(()),
            _ => Err(about.refuse(name, ": invalid_queue_locator_arg")),
        },
        "x-queue-version" => match about.not_negative(name, value)? {
            2 => Ok(()),
            other => Err(about.refuse(name, &format!(": \"unsupported queue version '{other}'\""))),
        },
        "x-max-priority" => about.at_most(name, value, 255, "max_value_exceeded").map(|_| ()),
        "x-overflow" => match (about.string(name, value)?, kind) {
            (b"drop-head" | b"reject-publish", _) | (b"reject-publish-dlx", QueueType::Classic) => Ok(()),
            (_, _) => Err(about.refuse(name, ": invalid_overflow")),
        },
        "x-dead-letter-exchange" | "x-dead-letter-routing-key" => {
            let text = about.string(name, value)?;
            if name == "x-dead-letter-routing-key" && arguments.find(b"x-dead-letter-exchange").is_none() {
                return Err(about.refuse(name, ": routing_key_but_no_dlx_defined"));
            }
            if text.len() > 255 {
                return Err(about.refuse(name, ": \"longer than 255 bytes\""));
            }
            Ok(())
        }
        // Both are the same here: a letter and its leaving are one commit.
        "x-dead-letter-strategy" => match about.string(name, value)? {
            b"at-most-once" | b"at-least-once" => Ok(()),
            _ => Err(about.refuse(name, ": invalid_dlx_strategy")),
        },
        // DEVIATION: what is no number is refused.
        "x-delivery-limit" => about.integer(name, value).map(|_| ()),
        "x-single-active-consumer" => match value.as_bool() {
            None => Err(about.refuse(name, &format!(": {{unacceptable_type,{}}}", value.type_name()))),
            Some(_) => Ok(()),
        },
        _ => about.not_negative(name, value).map(|_| ()),
    }
}

/// Refuses what a consumer cannot mean by its arguments. What a stream's say is looked at where it is read.
pub(crate) fn check_consumer_arguments(
    vhost: &str,
    queue: &[u8],
    kind: QueueType,
    arguments: Table<'_>,
) -> Result<(), Exception> {
    let about = About { vhost, queue };
    for name in kind.consumer_arguments() {
        let Some(value) = arguments.find(name.as_bytes()) else { continue };
        match *name {
            "x-priority" => about.integer(name, value).map(|_| ())?,
            "x-consumer-timeout" => about.not_negative(name, value).map(|_| ())?,
            _ => {}
        }
    }
    about.known(kind, arguments, QueueType::consumer_arguments)
}

/// Refuses a quorum queue or a stream that could go with a connection or have no name of its own.
pub(crate) fn queue_properties(vhost: &str, declare: &QueueDeclare<'_>) -> Result<(), Exception> {
    let kind = QueueType::of(declare.arguments);
    if kind == QueueType::Classic {
        return Ok(());
    }
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
    names: impl IntoIterator<Item = &'static str>,
) -> Result<(), Exception> {
    for name in names {
        // To say nothing is to ask for a classic queue.
        let find = |table: Table<'a>| match table.find(name.as_bytes()) {
            None if name == "x-queue-type" => Some(Value::LongStr(b"classic")),
            value => value,
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
        (None, None, None) => match value.as_float() {
            Some(float) => format!("{float:?}"),
            None => format!("{value:?}"),
        },
    }
}

/// The arguments of queues that must agree.
pub(crate) fn queue_equivalent(kind: QueueType) -> impl Iterator<Item = &'static str> {
    kind.arguments().iter().copied().chain([DEDUPLICATION])
}

/// The arguments of exchanges that must agree.
pub(crate) const EXCHANGE_EQUIVALENT: &[&str] = &[ALTERNATE_EXCHANGE, DELAYED_TYPE, DEDUPLICATION];
