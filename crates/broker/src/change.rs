//! The changes of the broker as bytes; the tags are part of the log's format and are never reused. Applying a change
//! calls the primitive that recorded it.

mod away;
mod names;
mod parts;
pub(crate) mod tags;

pub use away::message_len;
pub use names::CHANGE_NAMES;
use parts::*;
pub(crate) use parts::{id, seq};

use crate::body::Away;
use crate::built_in::{is_built_in, is_vhost};
use crate::entries::Returns;
use crate::exchange::{Binding, Destination, Kind};
use crate::pattern::Pattern;
use crate::policy::{ApplyTo, Policy, PolicyKey};
use crate::reply_key::Secret;
use crate::txn::Txn;
use crate::{Broker, ExchangeId, Message, QueueId, UnixMillis, VhostAbout, VhostId};
use leveret_base::codec::{Changes, Malformed, Reader, put_bytes, put_varint};
use std::sync::Arc;
use tags::*;

/// The tags that belong to the broker.
pub const CHANGE_TAGS: std::ops::RangeInclusive<u8> = 0x40..=0x7f;

/// One change, borrowed.
pub(crate) enum Change<'a> {
    VhostPut {
        id: VhostId,
        name: &'a [u8],
        /// The first of its predeclared exchanges.
        first: ExchangeId,
        about: &'a VhostAbout,
    },
    VhostDelete {
        id: VhostId,
    },
    PolicyPut {
        key: &'a PolicyKey,
        policy: &'a Policy,
    },
    PolicyDelete {
        key: &'a PolicyKey,
    },
    ExchangeDeclare {
        vhost: VhostId,
        id: ExchangeId,
        name: &'a [u8],
        kind: Kind,
        auto_delete: bool,
        internal: bool,
        arguments: &'a [u8],
    },
    ExchangeDelete {
        id: ExchangeId,
    },
    QueueDeclare {
        vhost: VhostId,
        id: QueueId,
        name: &'a [u8],
        auto_delete: bool,
        arguments: &'a [u8],
    },
    QueueDelete {
        id: QueueId,
    },
    Bind {
        source: ExchangeId,
        binding: &'a Binding,
    },
    Unbind {
        source: ExchangeId,
        binding: &'a Binding,
    },
    Message(&'a Message),
    Enqueue {
        queue: QueueId,
        seq: u64,
        deadline: u64,
    },
    Settle {
        queue: QueueId,
        seq: u64,
    },
    DeliveredThrough {
        queue: QueueId,
        seq: u64,
    },
    /// An entry of a queue that counts has come back so often.
    Returned {
        queue: QueueId,
        seq: u64,
        returns: Returns,
    },
    /// An entry that has come back waits so long.
    RetryAt {
        queue: QueueId,
        seq: u64,
        until: UnixMillis,
    },
    /// A message waits in an exchange.
    Delay {
        exchange: ExchangeId,
        number: u64,
        due: UnixMillis,
    },
    DelayOver {
        number: u64,
        due: UnixMillis,
    },
    /// A key is remembered, so that the same does not come twice.
    Seen {
        by: Destination,
        key: &'a [u8],
        until: UnixMillis,
    },
    /// The message is in a stream.
    StreamAppend {
        queue: QueueId,
        offset: u64,
        at: UnixMillis,
    },
    /// The segments before an offset leave a stream.
    StreamTruncate {
        queue: QueueId,
        first: u64,
    },
    /// An exchange keeps the message for what is bound to it later.
    RecentKept {
        exchange: ExchangeId,
    },
    /// An exchange forgets the oldest message that it keeps.
    RecentForgotten {
        exchange: ExchangeId,
    },
    /// What the addresses of replies that stay are sealed with.
    ReplySecret(&'a Secret),
    /// How far a queue has come.
    QueueAt {
        queue: QueueId,
        next_seq: u64,
        delivered_through: u64,
    },
    /// The message has a number from here on.
    MessageNamed {
        number: u64,
    },
    /// It is the message with that number.
    MessageAgain {
        number: u64,
    },
    /// A segment of a stream begins.
    StreamSegment {
        queue: QueueId,
        first: u64,
    },
    /// The message is in the segment of a stream that has begun.
    StreamKept {
        queue: QueueId,
        offset: u64,
        at: UnixMillis,
    },
    /// The next numbers of vhosts, exchanges and queues.
    NextNumbers([u32; 3]),
    /// The changes that follow speak of a message that only the log has.
    MessageAway(Away),
    /// An entry whose message only the log has.
    EnqueueAway {
        queue: QueueId,
        seq: u64,
        deadline: u64,
        away: Away,
    },
    /// Every entry up to `through` leaves but those kept, which are in order.
    Purge {
        queue: QueueId,
        through: u64,
        kept: &'a [u64],
    },
}

impl Change<'_> {
    #[inline]
    pub(crate) fn record(&self, changes: &mut Changes<'_>) {
        let place = changes.next_place();
        let Some(out) = changes.buffer() else { return };
        match self {
            Change::VhostPut { id, name, first, about } => {
                numbers(out, VHOST_PUT, &[id.0.into(), first.0.into(), about.protected.into()]);
                let VhostAbout { description, default_queue_type, tags, .. } = about;
                strings(out, &[name, description.as_bytes(), default_queue_type.as_bytes()]);
                put_varint(out, tags.len() as u64);
                tags.iter().for_each(|tag| put_bytes(out, tag.as_bytes()));
            }
            Change::VhostDelete { id } => numbers(out, VHOST_DELETE, &[id.0.into()]),
            Change::PolicyPut { key: (vhost, is_operator, name), policy } => {
                numbers(out, POLICY_PUT, &[vhost.0.into(), u64::from(*is_operator)]);
                let texts =
                    [name, policy.pattern.as_str(), policy.apply_to.name(), &policy.priority.to_string()];
                strings(out, &texts.map(str::as_bytes));
                put_bytes(out, &policy.definition);
            }
            Change::PolicyDelete { key: (vhost, is_operator, name) } => {
                numbers(out, POLICY_DELETE, &[vhost.0.into(), u64::from(*is_operator)]);
                put_bytes(out, name.as_bytes());
            }
            Change::ExchangeDeclare { vhost, id, name, kind, auto_delete, internal, arguments } => {
                numbers(
                    out,
                    EXCHANGE_DECLARE,
                    &[vhost.0.into(), id.0.into(), u64::from(*auto_delete) | u64::from(*internal) << 1],
                );
                strings(out, &[name, kind.name().as_bytes(), arguments]);
            }
            Change::ExchangeDelete { id } => numbers(out, EXCHANGE_DELETE, &[id.0.into()]),
            Change::QueueDeclare { vhost, id, name, auto_delete, arguments } => {
                numbers(out, QUEUE_DECLARE, &[vhost.0.into(), id.0.into(), u64::from(*auto_delete)]);
                strings(out, &[name, arguments]);
            }
            Change::QueueDelete { id } => numbers(out, QUEUE_DELETE, &[id.0.into()]),
            Change::Bind { source, binding } => record_binding(out, BIND, *source, binding),
            Change::Unbind { source, binding } => record_binding(out, UNBIND, *source, binding),
            Change::Message(message) => {
                if let Some(place) = place {
                    let is_of_commit = |known: leveret_base::codec::Place| known.position == place.position;
                    debug_assert!(
                        message.place().is_none_or(is_of_commit),
                        "recorded anew, it is a message of its own"
                    );
                    message.lies_at(place);
                }
                out.push(match (message.died, message.is_rekeyed) {
                    (false, _) => MESSAGE,
                    (true, false) => LETTER,
                    (true, true) => REKEYED_LETTER,
                });
                strings(
                    out,
                    &[message.exchange(), message.routing_key(), message.properties(), message.body()],
                );
            }
            Change::Enqueue { queue, seq, deadline } => {
                numbers(out, ENQUEUE, &[queue.0.into(), *seq, *deadline]);
            }
            Change::Settle { queue, seq } => numbers(out, SETTLE, &[queue.0.into(), *seq]),
            Change::DeliveredThrough { queue, seq } => {
                numbers(out, DELIVERED_THROUGH, &[queue.0.into(), *seq]);
            }
            Change::Returned { queue, seq, returns: Returns { failed, released: 0 } } => {
                numbers(out, RETURNED, &[queue.0.into(), *seq, (*failed).into()]);
            }
            Change::Returned { queue, seq, returns: Returns { failed, released } } => {
                let counts = [queue.0.into(), *seq, (*failed).into(), (*released).into()];
                numbers(out, RETURNED_OR_RELEASED, &counts);
            }
            Change::RetryAt { queue, seq, until } => {
                numbers(out, RETRY_AT, &[queue.0.into(), *seq, *until]);
            }
            Change::Delay { exchange, number, due } => {
                numbers(out, DELAY, &[exchange.0.into(), *number, *due]);
            }
            Change::DelayOver { number, due } => numbers(out, DELAY_OVER, &[*number, *due]),
            Change::Seen { by, key, until } => {
                let (tag, id) = match by {
                    Destination::Exchange(id) => (SEEN_BY_EXCHANGE, id.0),
                    Destination::Queue(id) => (SEEN_BY_QUEUE, id.0),
                };
                numbers(out, tag, &[id.into(), *until]);
                put_bytes(out, key);
            }
            Change::StreamAppend { queue, offset, at } => {
                numbers(out, STREAM_APPEND, &[queue.0.into(), *offset, *at]);
            }
            Change::StreamTruncate { queue, first } => {
                numbers(out, STREAM_TRUNCATE, &[queue.0.into(), *first]);
            }
            Change::RecentKept { exchange } => numbers(out, RECENT_KEPT, &[exchange.0.into()]),
            Change::RecentForgotten { exchange } => numbers(out, RECENT_FORGOTTEN, &[exchange.0.into()]),
            Change::ReplySecret(secret) => {
                out.push(REPLY_SECRET);
                put_bytes(out, *secret);
            }
            Change::QueueAt { queue, next_seq, delivered_through } => {
                numbers(out, QUEUE_AT, &[queue.0.into(), *next_seq, *delivered_through]);
            }
            Change::MessageNamed { number } => numbers(out, MESSAGE_NAMED, &[*number]),
            Change::MessageAgain { number } => numbers(out, MESSAGE_AGAIN, &[*number]),
            Change::StreamSegment { queue, first } => {
                numbers(out, STREAM_SEGMENT, &[queue.0.into(), *first]);
            }
            Change::StreamKept { queue, offset, at } => {
                numbers(out, STREAM_KEPT, &[queue.0.into(), *offset, *at]);
            }
            Change::NextNumbers(next) => numbers(out, NEXT_NUMBERS, &next.map(u64::from)),
            Change::MessageAway(away) => {
                out.push(MESSAGE_AWAY);
                away.record(out);
            }
            Change::EnqueueAway { queue, seq, deadline, away } => {
                numbers(out, ENQUEUE_AWAY, &[queue.0.into(), *seq, *deadline]);
                away.record(out);
            }
            Change::Purge { queue, through, kept } => {
                numbers(out, PURGE, &[queue.0.into(), *through, kept.len() as u64]);
                kept.iter().for_each(|seq| put_varint(out, *seq));
            }
        }
    }
}

impl Broker {
    /// Applies one recorded change whose tag has been read: replay.
    pub fn apply(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let replaying = self.replaying.take();
        let mut txn = Txn::new(self, 0, Changes::off());
        match tag {
            EXCHANGE_DECLARE => {
                let (vhost, id, flags) =
                    (VhostId(fields.varint32()?), ExchangeId(id(fields)?), fields.varint()?);
                let (name, kind, arguments) = (fields.bytes()?, fields.bytes()?, fields.bytes()?);
                let kind = Kind::parse(kind).ok_or(Malformed)?;
                if is_built_in(id) {
                    return Err(Malformed);
                }
                txn.add_exchange(vhost, id, name, kind, true, flags & 1 != 0, flags & 2 != 0, arguments);
            }
            EXCHANGE_DELETE => txn.remove_exchange(ExchangeId(id(fields)?)),
            QUEUE_DECLARE => {
                let (vhost, id, flags) =
                    (VhostId(fields.varint32()?), QueueId(id(fields)?), fields.varint()?);
                let (name, arguments) = (fields.bytes()?, fields.bytes()?);
                txn.add_queue(vhost, id, name, true, None, flags & 1 != 0, arguments);
            }
            QUEUE_DELETE => txn.remove_queue(QueueId(id(fields)?)),
            BIND => {
                let (source, binding) = read_binding(fields)?;
                txn.add_binding(source, &binding);
            }
            UNBIND => {
                let (source, binding) = read_binding(fields)?;
                txn.remove_binding(source, &binding);
            }
            MESSAGE | LETTER | REKEYED_LETTER => {
                let message = away::message(tag, fields)?;
                if let Some(place) = self.place {
                    message.lies_at(place);
                }
                self.replaying = Some(Arc::new(message));
                return Ok(());
            }
            ENQUEUE => {
                let (queue, seq, deadline) = (QueueId(id(fields)?), seq(fields)?, fields.varint()?);
                let message = replaying.clone().ok_or(Malformed)?;
                txn.enqueue(queue, seq, deadline, &message);
                txn.page_out(queue);
            }
            VHOST_PUT => {
                let (id, first) = (VhostId(id(fields)?), ExchangeId(id(fields)?));
                if is_built_in(ExchangeId(first.0.saturating_add(64))) || !is_vhost(id) {
                    return Err(Malformed);
                }
                let protected = fields.varint()? != 0;
                let (name, description, default_queue_type) = (short(fields)?, text(fields)?, text(fields)?);
                let tags = (0..fields.varint()?).map(|_| text(fields)).collect::<Result<_, _>>()?;
                txn.put_vhost(
                    id,
                    name,
                    first,
                    &VhostAbout { description, tags, default_queue_type, protected },
                );
            }
            POLICY_PUT => {
                let key = policy_key(fields)?;
                let pattern = Pattern::new(&text(fields)?).map_err(|_| Malformed)?;
                let apply_to = ApplyTo::parse(&text(fields)?).ok_or(Malformed)?;
                let priority = text(fields)?.parse().map_err(|_| Malformed)?;
                let definition = fields.bytes()?;
                txn.put_policy(key, Policy { pattern, apply_to, priority, definition: definition.into() });
            }
            POLICY_DELETE => {
                txn.delete_policy(&policy_key(fields)?);
            }
            VHOST_DELETE => txn.drop_vhost(VhostId(id(fields)?)),
            SETTLE => {
                let (queue, seq) = (QueueId(id(fields)?), seq(fields)?);
                txn.settle_ready(queue, seq);
            }
            DELIVERED_THROUGH => {
                let (queue, seq) = (QueueId(id(fields)?), seq(fields)?);
                txn.deliver_through(queue, seq);
            }
            RETURNED => {
                let (queue, seq, failed) = (QueueId(id(fields)?), seq(fields)?, fields.varint32()?);
                txn.count_returns(queue, seq, Returns { failed, released: 0 });
            }
            RETURNED_OR_RELEASED => {
                let (queue, seq) = (QueueId(id(fields)?), seq(fields)?);
                let (failed, released) = (fields.varint32()?, fields.varint32()?);
                txn.count_returns(queue, seq, Returns { failed, released });
            }
            RETRY_AT => {
                let (queue, seq, until) = (QueueId(id(fields)?), seq(fields)?, fields.varint()?);
                txn.retry_at_again(queue, seq, until);
            }
            DELAY => {
                let (exchange, number, due) = (ExchangeId(id(fields)?), seq(fields)?, fields.varint()?);
                let body = txn.broker.replaying_body(replaying.as_ref())?;
                txn.delay_again(due, number, exchange, body);
            }
            DELAY_OVER => {
                let (number, due) = (seq(fields)?, fields.varint()?);
                txn.take_delayed(due, number);
            }
            SEEN_BY_EXCHANGE => {
                let (id, until) = (ExchangeId(id(fields)?), fields.varint()?);
                txn.remember(Destination::Exchange(id), fields.bytes()?, until, true);
            }
            SEEN_BY_QUEUE => {
                let (id, until) = (QueueId(id(fields)?), fields.varint()?);
                txn.remember(Destination::Queue(id), fields.bytes()?, until, true);
            }
            STREAM_APPEND => {
                let (queue, offset, at) = (QueueId(id(fields)?), seq(fields)?, fields.varint()?);
                let message = replaying.clone().ok_or(Malformed)?;
                if !txn.may_append(queue, offset) {
                    return Err(Malformed);
                }
                txn.append(queue, offset, at, &message);
                txn.page_out(queue);
            }
            STREAM_TRUNCATE => {
                let (queue, first) = (QueueId(id(fields)?), seq(fields)?);
                txn.truncate(queue, first);
            }
            RECENT_KEPT => {
                let message = replaying.clone().ok_or(Malformed)?;
                txn.keep_recent(ExchangeId(id(fields)?), &message, true);
            }
            RECENT_FORGOTTEN => txn.forget_oldest(ExchangeId(id(fields)?)),
            REPLY_SECRET => txn.set_reply_secret(fields.bytes()?.try_into().map_err(|_| Malformed)?),
            QUEUE_AT..=MESSAGE_AWAY => return self.apply_of_checkpoint(tag, fields, replaying),
            PURGE => {
                let (queue, through) = (QueueId(id(fields)?), seq(fields)?);
                let kept = (0..fields.varint()?).map(|_| seq(fields)).collect::<Result<_, _>>()?;
                txn.purge_but(queue, through, &kept);
            }
            _ => return Err(Malformed),
        }
        self.replaying = replaying;
        Ok(())
    }
}
