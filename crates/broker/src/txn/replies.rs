//! Replies without a queue: they go from a publisher straight to the channel that asked. At most once: nothing of it is
//! kept, but under a key, if whoever asks wants that. (RabbitMQ: direct reply-to)

use super::consumers::Consume;
use super::definitions::Declared;
use super::{Published, Txn};
use crate::broker::Event;
use crate::exception::{Exception, shown};
use crate::reply_key::{KeptReply, ReplyKey};
use crate::{Message, QueueId, SessionId};
use leveret_amqp::{PropertyValues, ReplyCode};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The queue of whoever asks. (RabbitMQ: direct reply-to)
pub const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";

/// So many characters that nobody can guess make the address of a channel; all of it is as long as RabbitMQ's.
const SECRET_LEN: usize = 47;

/// Bytes of replies that wait for a client who does not read them; more are lost.
const WAITING_MAX: usize = 16 * 1024 * 1024;

/// Who gets the replies of a channel.
pub(crate) struct Replies {
    pub(crate) tag: Arc<[u8]>,
    secret: String,
}

/// What an address says.
struct Address<'a> {
    session: SessionId,
    channel: u16,
    secret: &'a str,
    /// The reply is kept under a key.
    kept: Option<&'a str>,
}

impl<'a> Address<'a> {
    fn parse(key: &'a [u8]) -> Option<Self> {
        let address = std::str::from_utf8(key.strip_prefix(REPLY_TO)?.strip_prefix(b".")?).ok()?;
        let mut parts = address.splitn(4, '.');
        let session = SessionId::from_str_radix(parts.next()?, 16).ok()?;
        let channel = u16::from_str_radix(parts.next()?, 16).ok()?;
        Some(Self { session, channel, secret: parts.next()?, kept: parts.next() })
    }
}

impl Txn<'_> {
    /// Subscribes to the replies of this channel.
    pub(super) fn consume_replies(&mut self, consume: &Consume<'_>) -> Result<Arc<[u8]>, Exception> {
        if !consume.no_ack {
            return Err(Exception::precondition("reply consumer cannot acknowledge"));
        }
        let tag: Arc<[u8]> =
            if consume.tag.is_empty() { self.generated(b"amq.ctag-").into() } else { consume.tag.into() };
        self.broker.last_consumer += 1;
        let hash =
            Sha256::new_with_prefix(self.broker.secret).chain_update(self.broker.last_consumer.to_le_bytes());
        let mut secret: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        secret.truncate(SECRET_LEN);
        let channel = self.channel(consume.session, consume.channel);
        if channel.replies.is_some() {
            return Err(Exception::precondition("reply consumer already set"));
        }
        channel.replies = Some(Box::new(Replies { tag: tag.clone(), secret }));
        Ok(tag)
    }

    /// The message with the address of this channel, where its publisher has written that it wants replies. One that is kept under a key
    /// need not go to anybody.
    pub fn address_reply(
        &mut self,
        session: SessionId,
        channel: u16,
        message: &Message,
        key: Option<&ReplyKey>,
    ) -> Result<Arc<Message>, Exception> {
        let state = self.broker.channels.get(&(session, channel));
        let replies = state.and_then(|state| state.replies.as_ref());
        let mut address = match replies {
            Some(replies) => format!("{}.{session:016x}.{channel:04x}.{}", shown(REPLY_TO), replies.secret),
            None if key.is_some() => format!("{}.0.0.", shown(REPLY_TO)),
            None => return Err(Exception::no_reply_consumer()),
        };
        if let Some(key) = key {
            address = format!("{address}.{}", self.seal_reply_key(key));
        }
        let values = PropertyValues { reply_to: Some(address.as_bytes()), ..message.values() };
        Ok(Arc::new(message.rewritten(message.exchange(), message.routing_key(), &values)))
    }

    /// The channel that an address means, if it still wants replies.
    fn replies_of(&self, key: &[u8]) -> Option<(SessionId, u16, &Replies)> {
        let Address { session, channel, secret, .. } = Address::parse(key)?;
        let replies = self.broker.channels.get(&(session, channel))?.replies.as_ref()?;
        (replies.secret == secret).then_some((session, channel, replies))
    }

    /// Where a reply to an address is kept.
    fn kept_at(&self, key: &[u8]) -> Option<ReplyKey> {
        self.unseal_reply_key(Address::parse(key)?.kept?)
    }

    /// Keeps a reply, if that is wanted, and delivers it. Nobody has it when the key is no address, or nobody is there.
    #[cold]
    pub(super) fn reply(&mut self, message: &Arc<Message>) -> Published {
        let at = self.kept_at(message.routing_key());
        let is_kept = at.is_some();
        self.broker.kept.extend(at.map(|at| KeptReply { at, message: message.clone() }));
        let is_there = self.deliver_reply(message);
        Published { queues: usize::from(is_kept || is_there), durable: is_kept, ..Published::default() }
    }

    fn deliver_reply(&mut self, message: &Arc<Message>) -> bool {
        let Some((session, channel, replies)) = self.replies_of(message.routing_key()) else { return false };
        let event = Event::Deliver {
            channel,
            consumer_tag: replies.tag.clone(),
            queue: QueueId(0),
            seq: 0,
            redelivered: false,
            no_ack: true,
            stream_offset: None,
            message: message.clone(),
        };
        let owned = self.broker.owned.entry(session).or_default();
        if owned.window_bytes < WAITING_MAX {
            owned.window_bytes += message.size();
            self.broker.events.push((session, event));
        }
        true
    }

    /// A declaration of the queue of replies, or of an address: whether it is there.
    pub(super) fn declare_replies(&self, name: &[u8], vhost: &str) -> Option<Result<Declared, Exception>> {
        if !name.starts_with(REPLY_TO) {
            return None;
        }
        if name == REPLY_TO || self.replies_of(name).is_some() || self.kept_at(name).is_some() {
            return Some(Ok(Declared { name: name.into(), message_count: 0, consumer_count: 1 }));
        }
        let text = format!("no queue '{}' in vhost '{vhost}'", shown(name));
        Some(Err(Exception::new(ReplyCode::NotFound, text)))
    }
}
