//! `AMQP.PUBLISH`: a message from a Redis client.

use super::{Wait, actor, not_permitted, refused, vhost_named};
use crate::accounts::{Access, DEFAULT_USER};
use crate::engine::Engine;
use crate::forward::PROPERTIES_MAX;
use crate::replies::{REPLY_KEY, reply_key};
use crate::session::SessionId;
use leveret_amqp::{Properties, PropertyValues, TableBuf, Value};
use leveret_broker::{Exception, Message};
use leveret_keyspace::{Args, Error, Reply, parse_float, parse_integer};
use std::sync::Arc;

/// What `AMQP.PUBLISH` says.
struct Publish<'a> {
    vhost: &'a [u8],
    mandatory: bool,
    message: Message,
}

/// `AMQP.PUBLISH exchange routing-key body [VHOST v] [PROPS name value …] [HEADERS n name value …] [HEADER name type value …]
/// [MANDATORY]`: persistent unless `PROPS delivery-mode 1`. `MANDATORY` refuses a message that no queue takes.
pub(super) fn publish(
    engine: &mut Engine,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<Wait>, Error> {
    let Publish { vhost, mandatory, message } = parse(args)?;
    permit(engine, vhost, &message)?;
    let vhost = vhost_named(engine, vhost)?;
    let now_ms = engine.now_ms();
    let message = match message.wants_reply() {
        true => engine.on_broker(|txn| {
            let key = reply_key(&message, now_ms)?;
            txn.address_reply(NOBODY, 0, &message, key.as_ref())
        }),
        false => Ok(Arc::new(message)),
    };
    let message = message.map_err(refused)?;
    let (published, heard) = engine.publish(vhost, &message).map_err(refused)?;
    if published.rejected {
        return Err(Error::new("ERR REJECTED - a queue is full and does not take the message"));
    }
    let took = published.queues + heard;
    if mandatory && took == 0 {
        return Err(Error::new("ERR NO_ROUTE - no queue takes the message"));
    }
    reply.integer(took as i64);
    Ok(None)
}

/// Refuses what is known to be wrong before anything is executed.
pub(super) fn check(engine: &mut Engine, args: Args<'_>) -> Result<(), Error> {
    let Publish { vhost, message, .. } = parse(args)?;
    permit(engine, vhost, &message)?;
    let vhost = vhost_named(engine, vhost)?;
    engine.on_broker(|txn| txn.check_publish(vhost, &message)).map_err(refused)?;
    let now_ms = engine.now_ms();
    let nobody_gets_it = message.wants_reply() && reply_key(&message, now_ms).map_err(refused)?.is_none();
    if nobody_gets_it { Err(refused(Exception::no_reply_consumer())) } else { Ok(()) }
}

/// Where the key under which the reply is kept stands among the arguments of `AMQP.PUBLISH`, if they have one.
pub fn reply_key_at(args: Args<'_>) -> Option<usize> {
    if !args.iter().any(|arg| *arg == *REPLY_KEY) {
        return None;
    }
    let message = parse(args).ok()?.message;
    // Whether there is time for it is looked at when it is executed.
    let at = reply_key(&message, 0).ok().flatten().filter(|_| message.wants_reply())?;
    args.iter().position(|arg| *arg == *at.key)
}

fn parse(args: Args<'_>) -> Result<Publish<'_>, Error> {
    let mut vhost = &b"/"[..];
    let mut mandatory = false;
    let mut headers = TableBuf::new();
    let mut values = PropertyValues { delivery_mode: Some(2), ..PropertyValues::default() };
    let mut i = 4;
    while let Some(option) = args.get(i) {
        i += 1;
        match option.to_ascii_uppercase().as_slice() {
            b"MANDATORY" => mandatory = true,
            b"VHOST" => {
                vhost = args.get(i).ok_or(Error::Syntax)?;
                i += 1;
            }
            b"HEADERS" => {
                let count =
                    args.get(i).and_then(parse_integer).filter(|n| *n >= 0).ok_or(Error::NotInteger)?;
                i += 1;
                for _ in 0..count {
                    let (name, value) = args.get(i).zip(args.get(i + 1)).ok_or(Error::Syntax)?;
                    let kind = if INTEGERS.contains(&name) { &b"INTEGER"[..] } else { b"STRING" };
                    header(&mut headers, name, kind, value)?;
                    i += 2;
                }
            }
            b"HEADER" => {
                let (name, kind) = args.get(i).zip(args.get(i + 1)).ok_or(Error::Syntax)?;
                header(&mut headers, name, kind, args.get(i + 2).ok_or(Error::Syntax)?)?;
                i += 3;
            }
            b"PROPS" => {
                let start = i;
                while let (Some(name), Some(value)) = (args.get(i), args.get(i + 1))
                    && property(&mut values, name, value)?
                {
                    i += 2;
                }
                if i == start {
                    return Err(Error::Syntax);
                }
            }
            _ => return Err(Error::Syntax),
        }
    }
    if !headers.as_table().is_empty() {
        values.headers = Some(headers.as_table());
    }
    if args[1].len() > SHORT_MAX || args[2].len() > SHORT_MAX {
        return Err(Error::new("ERR exchange and routing key have at most 255 bytes"));
    }
    let mut properties = Vec::new();
    values.encode(&mut properties);
    if properties.len() > PROPERTIES_MAX {
        let text = format!("ERR properties and headers have more than {PROPERTIES_MAX} bytes");
        return Err(Error::Other(text.into()));
    }
    let message = Message::new(&args[1], &args[2], &properties, &args[3]).map_err(refused)?;
    Ok(Publish { vhost, mandatory, message })
}

/// Headers that mean something to the broker only as integers: they are integers whoever writes them.
const INTEGERS: [&[u8]; 2] = [b"x-delay", b"x-reply-ttl"];

/// Appends a header of a type.
fn header(headers: &mut TableBuf, name: &[u8], kind: &[u8], value: &[u8]) -> Result<(), Error> {
    if name.len() > SHORT_MAX {
        return Err(Error::new("ERR a header name is longer than 255 bytes"));
    }
    let is_not = |what: &str| {
        let name = String::from_utf8_lossy(name);
        Error::Other(format!("ERR the header '{name}' is not {what}").into())
    };
    let value = match kind.to_ascii_uppercase().as_slice() {
        b"STRING" => Value::LongStr(value),
        b"INTEGER" => Value::Long(parse_integer(value).ok_or_else(|| is_not("an integer"))?),
        b"DOUBLE" => Value::Double(parse_float(value).ok_or_else(|| is_not("a number"))?),
        b"BOOLEAN" => Value::Bool(match value.to_ascii_lowercase().as_slice() {
            b"true" => true,
            b"false" => false,
            _ => return Err(is_not("true or false")),
        }),
        _ => return Err(Error::new("ERR a header is a STRING, an INTEGER, a DOUBLE or a BOOLEAN")),
    };
    headers.push(name, value);
    Ok(())
}

/// Refuses what the client's user may not publish: the same as over AMQP.
fn permit(engine: &Engine, vhost: &[u8], message: &Message) -> Result<(), Error> {
    let Some(name) = actor(engine) else { return Ok(()) };
    let says = Properties::from_validated(message.properties()).user_id();
    let user = engine.accounts.user(name);
    let impersonates = user.is_some_and(|user| user.tags.iter().any(|tag| tag == "impersonator"));
    if let Some(says) = says.filter(|says| *says != name.as_bytes() && !impersonates) {
        let says = String::from_utf8_lossy(says);
        let text = format!(
            "ERR PRECONDITION_FAILED - user_id property set to '{says}' but authenticated user was '{name}'"
        );
        return Err(Error::Other(text.into()));
    }
    let (exchange, key) = (message.exchange(), message.routing_key());
    let named = if exchange.is_empty() { b"amq.default" } else { exchange };
    if !engine.may_tell(name, exchange, Some(key)) {
        return Err(Error::new(
            "NOPERM this user has no permissions to access one of the channels used as arguments",
        ));
    }
    super::permit(engine, vhost, Access::Write, ("exchange", named))?;
    if name == DEFAULT_USER
        || !engine.broker.vhost(vhost).is_some_and(|id| engine.broker.is_topic_exchange(id, exchange))
    {
        return Ok(());
    }
    let vhost = String::from_utf8_lossy(vhost);
    if user.is_some_and(|user| user.allows_topic(&vhost, Access::Write, exchange, key)) {
        return Ok(());
    }
    Err(not_permitted(Access::Write, ("exchange", named), &vhost, name))
}

/// No session: nobody hears a reply there.
const NOBODY: SessionId = 0;

/// A short string of AMQP.
const SHORT_MAX: usize = 255;

/// Sets the property; false when there is none of that name.
fn property<'a>(values: &mut PropertyValues<'a>, name: &[u8], value: &'a [u8]) -> Result<bool, Error> {
    let number = |max: i64| parse_integer(value).filter(|n| (0..=max).contains(n)).ok_or(Error::NotInteger);
    let place = match name.to_ascii_lowercase().as_slice() {
        b"delivery-mode" => {
            values.delivery_mode = Some(number(2)? as u8);
            return Ok(true);
        }
        b"priority" => {
            values.priority = Some(number(255)? as u8);
            return Ok(true);
        }
        b"timestamp" => {
            values.timestamp = Some(number(i64::MAX)? as u64);
            return Ok(true);
        }
        b"content-type" => &mut values.content_type,
        b"content-encoding" => &mut values.content_encoding,
        b"correlation-id" => &mut values.correlation_id,
        b"reply-to" => &mut values.reply_to,
        b"expiration" => &mut values.expiration,
        b"message-id" => &mut values.message_id,
        b"type" => &mut values.kind,
        b"user-id" => &mut values.user_id,
        b"app-id" => &mut values.app_id,
        _ => return Ok(false),
    };
    if value.len() > SHORT_MAX {
        return Err(Error::new("ERR a property is longer than 255 bytes"));
    }
    *place = Some(value);
    Ok(true)
}
