//! Looking at queues without taking anything.

use super::{Wait, number, permit, queue_named, show};
use crate::accounts::Access;
use crate::engine::Engine;
use leveret_broker::QueueId;
use leveret_keyspace::{Args, Error, Reply};

/// Messages of one `AMQP.PEEK`, and how far it may look.
const COUNT_MAX: i64 = 10_000;
const START_MAX: i64 = 1_000_000;

/// The queue, which the user may read; options begin at `from`.
fn queue_of(engine: &Engine, args: Args<'_>, from: usize) -> Result<QueueId, Error> {
    let vhost = match args.get(from) {
        None => b"/",
        Some(option) if option.eq_ignore_ascii_case(b"VHOST") && args.len() == from + 2 => &args[from + 1],
        Some(_) => return Err(Error::Syntax),
    };
    permit(engine, vhost, Access::Read, ("queue", &args[1]))?;
    queue_named(engine, vhost, &args[1])
}

/// `AMQP.LEN queue [VHOST v]`: how many messages are ready.
pub(super) fn len(engine: &mut Engine, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Option<Wait>, Error> {
    let id = queue_of(engine, args, 2)?;
    reply.integer(engine.broker.ready_count(id) as i64);
    Ok(None)
}

/// Refuses what is known to be wrong with `AMQP.LEN` before anything is executed.
pub(super) fn check_len(engine: &Engine, args: Args<'_>) -> Result<(), Error> {
    queue_of(engine, args, 2).map(|_| ())
}

/// Likewise with `AMQP.PEEK`.
pub(super) fn check_peek(engine: &Engine, args: Args<'_>) -> Result<(), Error> {
    parse_peek(engine, args).map(|_| ())
}

/// `AMQP.PEEK queue start count [VHOST v]`: ready messages in the order in which they will be had, each `[bytes, body, exchange, routing-key,
/// returns, properties]`. Of a message that is only on disk there are the bytes of its body and nulls.
pub(super) fn peek(
    engine: &mut Engine,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>, Error> {
    let (id, start, count) = parse_peek(engine, args)?;
    let peeked = engine.broker.peek(id, start, count);
    reply.array(peeked.len());
    for entry in peeked {
        reply.array(6);
        reply.integer(entry.body_bytes as i64);
        match entry.message {
            Some(message) => {
                reply.bulk(message.body());
                reply.bulk(message.exchange());
                reply.bulk(message.routing_key());
                reply.integer(i64::from(entry.returns));
                show::properties(message, reply);
            }
            None => {
                (0..3).for_each(|_| reply.null());
                reply.integer(i64::from(entry.returns));
                reply.null();
            }
        }
    }
    Ok(None)
}

/// The queue, where to start, and how many.
fn parse_peek(engine: &Engine, args: Args<'_>) -> Result<(QueueId, usize, usize), Error> {
    let (start, count) = (number(args.get(2), 0)?, number(args.get(3), 0)?);
    if start > START_MAX || count > COUNT_MAX {
        return Err(Error::new("ERR AMQP.PEEK looks at 10000 messages at most, and not beyond 1000000"));
    }
    Ok((queue_of(engine, args, 4)?, start as usize, count as usize))
}
