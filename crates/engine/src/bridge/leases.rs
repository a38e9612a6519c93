//! Taking messages and settling them: each under a lease, named by a token that survives the connection. A lease is lost when its time is
//! over, when it was settled, when its queue is gone, or with the server's restart; then its token is refused, and with it everything
//! else the command or the transaction wants.

use super::{Wait, number, permit, queue_named, refused, show, vhost_named};
use crate::accounts::Access;
use crate::engine::Engine;
use hashbrown::HashSet;
use leveret_broker::{Got, How, Lease, QueueId};
use leveret_keyspace::{Args, Error, Reply};

/// How long a message is held if nobody says so, in milliseconds.
const LEASE_MS: u64 = 30_000;
/// Messages of one command.
const COUNT_MAX: i64 = 10_000;

/// What `AMQP.GET` says.
struct Get<'a> {
    vhost: &'a [u8],
    count: i64,
    /// Without, messages are settled at once.
    lease_ms: Option<u64>,
    block: Option<u64>,
}

fn parse(args: Args<'_>) -> Result<Get<'_>, Error> {
    let mut get = Get { vhost: b"/", count: 1, lease_ms: Some(LEASE_MS), block: None };
    let mut i = 2;
    while let Some(option) = args.get(i) {
        let value = args.get(i + 1);
        i += 2;
        match option.to_ascii_uppercase().as_slice() {
            b"VHOST" => get.vhost = value.ok_or(Error::Syntax)?,
            b"COUNT" => get.count = number(value, 1)?.min(COUNT_MAX),
            b"LEASE" => get.lease_ms = Some(number(value, 1)? as u64),
            b"BLOCK" => get.block = Some(number(value, 0)? as u64),
            b"NOACK" => {
                get.lease_ms = None;
                i -= 1;
            }
            _ => return Err(Error::Syntax),
        }
    }
    Ok(get)
}

/// Refuses what is known to be wrong with `AMQP.GET` before anything is executed.
pub(super) fn check_get(engine: &mut Engine, args: Args<'_>) -> Result<(), Error> {
    let vhost = parse(args)?.vhost;
    permit(engine, vhost, Access::Read, ("queue", &args[1]))?;
    let vhost = vhost_named(engine, vhost)?;
    engine.on_broker(|txn| txn.check_leased(vhost, &args[1])).map_err(refused)
}

/// Likewise with what settles or extends.
pub(super) fn check_held(engine: &Engine, args: Args<'_>) -> Result<(), Error> {
    if args[0].eq_ignore_ascii_case(b"amqp.extend") {
        number(args.get(2), 1)?;
    }
    held(engine, tokens(args)?).map(|_| ())
}

/// `AMQP.GET queue [VHOST v] [COUNT n] [LEASE ms] [BLOCK ms] [NOACK]`: an array of messages, each `[token, body, exchange,
/// routing-key, redelivered, properties]`; empty if there are none. `BLOCK 0` waits for ever; with `NOACK` the token is null.
pub(super) fn get(engine: &mut Engine, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Option<Wait>, Error> {
    let queue = &args[1];
    let Get { vhost, count, lease_ms, block } = parse(args)?;
    permit(engine, vhost, Access::Read, ("queue", queue))?;
    let id = queue_named(engine, vhost, queue)?;
    let vhost = vhost_named(engine, vhost)?;
    let (now_ms, boot) = (engine.now_ms(), engine.boot);
    let until = lease_ms.map(|ms| now_ms.saturating_add(ms));
    let (mut taken, mut last) = (Vec::new(), Got::Empty);
    while (taken.len() as i64) < count {
        let (got, lease) = engine.on_broker(|txn| txn.take_leased(vhost, queue, until)).map_err(refused)?;
        match got {
            Got::Message(delivery) => taken.push((delivery, lease)),
            Got::Empty | Got::OnDisk => {
                last = got;
                break;
            }
        }
    }
    if taken.is_empty() {
        let on_disk = matches!(last, Got::OnDisk);
        if on_disk {
            reply.error("TRYAGAIN the first message is being read from the disk");
        } else {
            reply.array(0);
        }
        let deadline = block.filter(|ms| *ms > 0).map(|ms| now_ms.saturating_add(ms));
        let for_disk = block.is_none();
        return Ok((on_disk || !for_disk).then_some(Wait { queue: id, deadline, for_disk }));
    }
    reply.array(taken.len());
    for (delivery, lease) in taken {
        reply.array(6);
        match lease {
            Some(lease) => reply.bulk(token(boot, lease).as_bytes()),
            None => reply.null(),
        }
        reply.bulk(delivery.message.body());
        reply.bulk(delivery.message.exchange());
        reply.bulk(delivery.message.routing_key());
        reply.boolean(delivery.redelivered);
        show::properties(&delivery.message, reply);
    }
    Ok(None)
}

/// `AMQP.ACK token …`: how many messages are done with.
pub(super) fn ack(engine: &mut Engine, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Option<Wait>, Error> {
    let leases = held(engine, tokens(args)?)?;
    settle(engine, &leases, How::Ack, reply);
    Ok(None)
}

/// `AMQP.NACK token … [REQUEUE|DROP]`: back to their places, or rejected for good; how many.
pub(super) fn nack(
    engine: &mut Engine,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>, Error> {
    let how = how_of_nack(args).unwrap_or(How::Requeue);
    let leases = held(engine, tokens(args)?)?;
    settle(engine, &leases, how, reply);
    Ok(None)
}

/// What the last word of `AMQP.NACK` says, if it is no token.
fn how_of_nack(args: Args<'_>) -> Option<How> {
    match args.get(args.len() - 1)?.to_ascii_uppercase().as_slice() {
        b"REQUEUE" => Some(How::Requeue),
        b"DROP" => Some(How::Drop),
        _ => None,
    }
}

/// The tokens of a command that settles or extends.
fn tokens(args: Args<'_>) -> Result<impl Iterator<Item = &[u8]>, Error> {
    let count = match args[0].to_ascii_lowercase().as_slice() {
        b"amqp.extend" => 1,
        b"amqp.nack" if how_of_nack(args).is_some() => args.len() - 2,
        _ => args.len() - 1,
    };
    if count == 0 {
        return Err(Error::WrongArity("amqp.nack".into()));
    }
    Ok(args.iter().skip(1).take(count))
}

/// `AMQP.EXTEND token ms`.
pub(super) fn extend(
    engine: &mut Engine,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>, Error> {
    let until = engine.now_ms().saturating_add(number(args.get(2), 1)? as u64);
    let leases = held(engine, tokens(args)?)?;
    for lease in leases {
        engine.on_broker(|txn| txn.extend_lease(lease, until));
    }
    reply.integer(1);
    Ok(None)
}

fn settle(engine: &mut Engine, leases: &[Lease], how: How, reply: &mut Reply<'_>) {
    engine.on_broker(|txn| leases.iter().for_each(|lease| txn.settle_leased(*lease, how)));
    reply.integer(leases.len() as i64);
}

/// The leases of tokens, each once; refuses all if one of them is lost, or the user may not read its queue.
fn held<'a>(engine: &Engine, tokens: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Lease>, Error> {
    let (mut leases, mut seen) = (Vec::new(), HashSet::<Lease, foldhash::fast::FixedState>::default());
    for token in tokens {
        let lease = lease_of(engine, token).ok_or_else(|| lost(token))?;
        let named = engine.broker.queue_name(lease.queue);
        if let Some((vhost, queue)) = named {
            permit(engine, engine.broker.vhost_name(vhost), Access::Read, ("queue", queue))?;
        }
        if seen.insert(lease) {
            leases.push(lease);
        }
    }
    Ok(leases)
}

fn lost(token: &[u8]) -> Error {
    let token = String::from_utf8_lossy(token);
    Error::Other(format!("LEASELOST the lease '{token}' is over or was never given").into())
}

/// True for a command that settles messages or extends their leases.
pub fn settles(args: Args<'_>) -> bool {
    let name = args.get(0).unwrap_or_default().to_ascii_lowercase();
    matches!(name.as_slice(), b"amqp.ack" | b"amqp.nack" | b"amqp.extend")
}

/// What the commands of a transaction settle, as it is looked at from the first to the last.
#[derive(Default)]
pub struct Settling<'a>(HashSet<&'a [u8], foldhash::fast::FixedState>);

impl<'a> Settling<'a> {
    /// The first token of a command that settles or extends whose lease is lost, or will be by what comes before: a transaction with
    /// such a one is refused as a whole.
    pub fn lost_lease(&mut self, engine: &Engine, args: Args<'a>) -> Option<&'a [u8]> {
        if !settles(args) {
            return None;
        }
        let is_lost = |token: &&[u8]| self.0.contains(token) || lease_of(engine, token).is_none();
        let lost = tokens(args).ok()?.find(is_lost);
        if !args[0].eq_ignore_ascii_case(b"amqp.extend") {
            self.0.extend(tokens(args).ok()?);
        }
        lost
    }
}

/// How a lease is written: the start of the server that gave it, the queue, the number there, and which delivery it is.
fn token(boot: u64, lease: Lease) -> String {
    let Lease { queue, seq, number } = lease;
    format!("{boot:016x}-{:x}-{seq:x}-{number:x}", queue.0)
}

/// The lease that a token names, if it holds.
fn lease_of(engine: &Engine, token: &[u8]) -> Option<Lease> {
    let mut parts = std::str::from_utf8(token).ok()?.split('-');
    let mut next = || u64::from_str_radix(parts.next()?, 16).ok();
    let (boot, queue, seq, number) = (next()?, next()?, next()?, next()?);
    let lease = Lease { queue: QueueId(u32::try_from(queue).ok()?), seq, number };
    // There is one way to write it.
    let is_ours = boot == engine.boot && self::token(boot, lease).as_bytes() == token;
    (is_ours && engine.broker.is_leased(lease, engine.now_ms())).then_some(lease)
}
