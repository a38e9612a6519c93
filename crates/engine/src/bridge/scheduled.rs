//! Messages that wait to be routed: looking at them, and taking one back.

use super::{Wait, number, permit, show, vhost_named};
use crate::accounts::Access;
use crate::engine::Engine;
use leveret_broker::ExchangeId;
use leveret_keyspace::{Args, Error, Reply, UnixMillis};

/// How many are listed if nobody says so, and at most.
const COUNT: i64 = 100;
const COUNT_MAX: i64 = 10_000;

/// What `AMQP.SCHEDULED` says.
struct List<'a> {
    vhost: &'a [u8],
    exchange: Option<&'a [u8]>,
    after: (UnixMillis, u64),
    count: i64,
}

fn parse(args: Args<'_>) -> Result<List<'_>, Error> {
    let mut list = List { vhost: b"/", exchange: None, after: (0, 0), count: COUNT };
    let mut i = 1;
    while let Some(option) = args.get(i) {
        let value = args.get(i + 1);
        i += 2;
        match option.to_ascii_uppercase().as_slice() {
            b"VHOST" => list.vhost = value.ok_or(Error::Syntax)?,
            b"EXCHANGE" => list.exchange = Some(value.ok_or(Error::Syntax)?),
            b"AFTER" => {
                let (due, number) = place_of(value.ok_or(Error::Syntax)?)?;
                list.after = (due, number.saturating_add(1));
            }
            b"COUNT" => list.count = number(value, 1)?.min(COUNT_MAX),
            _ => return Err(Error::Syntax),
        }
    }
    Ok(list)
}

/// Refuses what is known to be wrong with `AMQP.SCHEDULED` before anything is executed.
pub(super) fn check_list(engine: &Engine, args: Args<'_>) -> Result<(), Error> {
    vhost_named(engine, parse(args)?.vhost).map(|_| ())
}

/// Likewise with `AMQP.CANCEL`.
pub(super) fn check_cancel(args: Args<'_>) -> Result<(), Error> {
    place_of(&args[1]).map(|_| ())
}

/// `AMQP.SCHEDULED [VHOST v] [EXCHANGE e] [AFTER id] [COUNT n]`: messages by the time when they are due, each `[id, due, exchange,
/// routing-key, body, properties]`; `due` is in milliseconds of Unix time. Of a message that is only
/// on disk there are nulls in place of the last four.
pub(super) fn list(
    engine: &mut Engine,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>, Error> {
    let List { vhost, exchange, after, count } = parse(args)?;
    let id = vhost_named(engine, vhost)?;
    let mut found = Vec::new();
    for scheduled in engine.broker.scheduled(after) {
        let Some(place) = engine.broker.exchange_report(scheduled.exchange) else { continue };
        let is_meant = place.vhost == id && exchange.is_none_or(|wanted| *wanted == *place.name);
        if is_meant && permit(engine, vhost, Access::Write, ("exchange", place.name)).is_ok() {
            found.push(scheduled);
            if found.len() as i64 == count {
                break;
            }
        }
    }
    reply.array(found.len());
    for scheduled in found {
        reply.array(6);
        reply.bulk(format!("{}-{}", scheduled.due, scheduled.number).as_bytes());
        reply.integer(scheduled.due as i64);
        match scheduled.message {
            Some(message) => {
                reply.bulk(message.exchange());
                reply.bulk(message.routing_key());
                reply.bulk(message.body());
                show::properties(message, reply);
            }
            None => (0..4).for_each(|_| reply.null()),
        }
    }
    Ok(None)
}

/// `AMQP.CANCEL id`: 1 if the message was still waiting. Whoever may publish to its exchange may take it back.
pub(super) fn cancel(
    engine: &mut Engine,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>, Error> {
    let (due, number) = place_of(&args[1])?;
    let exchange: Option<ExchangeId> = engine
        .broker
        .scheduled((due, number))
        .next()
        .filter(|scheduled| (scheduled.due, scheduled.number) == (due, number))
        .map(|scheduled| scheduled.exchange);
    if let Some(place) = exchange.and_then(|id| engine.broker.exchange_report(id)) {
        let vhost = engine.broker.vhost_name(place.vhost);
        permit(engine, vhost, Access::Write, ("exchange", place.name))?;
    }
    let canceled = exchange.is_some() && engine.on_broker(|txn| txn.cancel_scheduled(due, number));
    reply.integer(i64::from(canceled));
    Ok(None)
}

/// When it is due, and its number.
fn place_of(id: &[u8]) -> Result<(UnixMillis, u64), Error> {
    let parse = || {
        let (due, number) = std::str::from_utf8(id).ok()?.split_once('-')?;
        Some((due.parse().ok()?, number.parse().ok()?))
    };
    parse().ok_or(Error::new("ERR Invalid ID of a scheduled message"))
}
