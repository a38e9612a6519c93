//! The arguments of queues and exchanges: checked in RabbitMQ's words, kept as they came. What is not built yet is
//! refused by name; an unknown argument is kept and means nothing, as in RabbitMQ.

use crate::exception::{Exception, shown};
use crate::exchange::ALTERNATE_EXCHANGE;
use leveret_amqp::{Table, Value};

/// What a queue's arguments mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueueArguments {
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
}

/// Arguments with a meaning in RabbitMQ that has no code here yet.
const NOT_BUILT: &[&str] = &[
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-delivery-limit",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-single-active-consumer",
];

/// Refuses what an exchange cannot mean by its arguments.
pub(crate) fn exchange_arguments(
    vhost: &str,
    exchange: &[u8],
    arguments: Table<'_>,
) -> Result<(), Exception> {
    match arguments.find(ALTERNATE_EXCHANGE.as_bytes()) {
        Some(value) if value.as_longstr().is_none() => Err(Exception::precondition(format!(
            "invalid type '{}' for arg '{ALTERNATE_EXCHANGE}' in exchange '{}' in vhost '{vhost}'",
            value.type_name(),
            shown(exchange)
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn queue_arguments(
    vhost: &[u8],
    queue: &[u8],
    arguments: Table<'_>,
) -> Result<QueueArguments, Exception> {
    let mut meaning = QueueArguments::default();
    let refuse = |name: &[u8], why: &str| {
        let (name, queue, vhost) = (shown(name), shown(queue), shown(vhost));
        Exception::precondition(format!("invalid arg '{name}' for queue '{queue}' in vhost '{vhost}': {why}"))
    };
    for (name, value) in arguments.iter() {
        let integer = |value: Value<'_>| {
            value
                .as_integer()
                .ok_or_else(|| refuse(name, &format!("\"expected integer, got {}\"", value.type_name())))
        };
        match name {
            b"x-message-ttl" => match integer(value)? {
                ttl if ttl < 0 => return Err(refuse(name, &format!("{{value_negative,{ttl}}}"))),
                ttl => meaning.ttl_ms = Some(ttl as u64),
            },
            b"x-expires" => match integer(value)? {
                expires if expires < 0 => return Err(refuse(name, &format!("{{value_negative,{expires}}}"))),
                0 => return Err(refuse(name, "{value_zero,0}")),
                expires => meaning.expires_ms = Some(expires as u64),
            },
            b"x-queue-type" => match value.as_longstr() {
                Some(b"classic") => {}
                Some(kind @ (b"quorum" | b"stream")) => {
                    return Err(Exception::not_built(&format!("queue type '{}'", shown(kind))));
                }
                Some(kind) => {
                    return Err(refuse(name, &format!("\"unsupported queue type '{}'\"", shown(kind))));
                }
                None => return Err(refuse(name, &format!("\"expected string, got {}\"", value.type_name()))),
            },
            name if NOT_BUILT.iter().any(|not_built| not_built.as_bytes() == name) => {
                return Err(Exception::not_built(&format!("queue argument '{}'", shown(name))));
            }
            _ => {}
        }
    }
    Ok(meaning)
}

/// Refuses a second declaration whose arguments differ. (RabbitMQ: `rabbit_misc:assert_args_equivalence`)
pub(crate) fn check_equivalence(
    what: &str,
    old: Table<'_>,
    new: Table<'_>,
    names: &[&str],
) -> Result<(), Exception> {
    for name in names {
        let text = match (old.find(name.as_bytes()), new.find(name.as_bytes())) {
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
pub(crate) const QUEUE_EQUIVALENT: &[&str] = &["x-message-ttl", "x-expires", "x-queue-type"];

/// The arguments of exchanges that must agree.
pub(crate) const EXCHANGE_EQUIVALENT: &[&str] = &[ALTERNATE_EXCHANGE];
