//! Consumers: who gets the next message, and what happens when they go.

use super::departures::Shed;
use super::{REPLY_TO, Txn};
use crate::arguments::{QueueType, check_consumer_arguments};
use crate::broker::{Broker, Channel, Event, WINDOW_BYTES};
use crate::exception::{Exception, shown};
use crate::queue::{Consumer, Unacked};
use crate::{QueueId, SessionId, VhostId};
use leveret_amqp::{ReplyCode, Table};
use std::sync::Arc;

/// `basic.consume`.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the method")]
pub struct Consume<'a> {
    pub session: SessionId,
    pub channel: u16,
    pub queue: &'a [u8],
    /// Empty: the broker makes one.
    pub tag: &'a [u8],
    pub no_ack: bool,
    pub exclusive: bool,
    /// RabbitMQ ignores it, and so do we.
    pub no_local: bool,
    /// Unacknowledged messages at a time; 0 is no limit.
    pub prefetch: u16,
    /// Its client can be told that it is over. (RabbitMQ: consumer_cancel_notify)
    pub hears_cancel: bool,
    pub arguments: Table<'a>,
}

impl Txn<'_> {
    /// Subscribes; gives the tag. (AMQP 0-9-1 1.8.3.3)
    pub fn consume(&mut self, vhost: VhostId, consume: &Consume<'_>) -> Result<Arc<[u8]>, Exception> {
        let Consume { session, channel, no_ack, exclusive, prefetch, hears_cancel, .. } = *consume;
        let state = self.broker.channels.get(&(session, channel));
        let is_taken = |state: &Channel| {
            let of_replies = state.replies.as_ref().is_some_and(|replies| *replies.tag == *consume.tag);
            of_replies || state.consumers.contains_key(consume.tag)
        };
        if state.is_some_and(is_taken) && !consume.tag.is_empty() {
            let text = format!("attempt to reuse consumer tag '{}'", shown(consume.tag));
            return Err(Exception::new(ReplyCode::NotAllowed, text));
        }
        if consume.queue == REPLY_TO {
            return self.consume_replies(consume);
        }
        let tag: Arc<[u8]> =
            if consume.tag.is_empty() { self.generated(b"amq.ctag-").into() } else { consume.tag.into() };
        let vhost_name = self.vhost_name(vhost);
        let cursor = self.check_stream_consumer(vhost, consume)?;
        let queue = self.queue_for(vhost, session, consume.queue)?;
        let (kind, arguments) = (queue.meaning.kind, consume.arguments);
        check_consumer_arguments(&vhost_name, consume.queue, kind, arguments)?;
        let integer = |name: &[u8]| arguments.find(name).and_then(|value| value.as_integer());
        let priority = integer(b"x-priority").unwrap_or(0);
        let timeout_ms = integer(b"x-consumer-timeout").map(i64::unsigned_abs);
        // Only classic queues know consumers that are alone. Who is the only one there cannot be one of several. (RabbitMQ: single
        // active consumer)
        let is_classic = kind == QueueType::Classic;
        let alone = exclusive && (queue.meaning.single_active || !queue.consumers.is_empty());
        if is_classic && (alone || queue.consumers.iter().any(|c| c.exclusive)) {
            let text = format!("queue '{}' in vhost '{vhost_name}' in exclusive use", shown(consume.queue));
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let queue_id = queue.id;
        self.broker.last_consumer += 1;
        let id = self.broker.last_consumer;
        let tag_kept = tag.clone();
        let consumer = Consumer {
            id,
            session,
            channel,
            tag: tag_kept,
            no_ack,
            exclusive,
            prefetch,
            priority,
            timeout_ms,
            hears_cancel,
            unacked_count: 0,
            cursor,
        };
        if let Some(queue) = self.broker.queues.get_mut(&queue_id) {
            queue.consumers.push(consumer);
            queue.choose_active();
        }
        self.channel(session, channel).consumers.insert(tag.clone(), queue_id);
        self.dispatch(queue_id);
        Ok(tag)
    }

    /// Unsubscribes; what the consumer holds stays with the channel. (AMQP 0-9-1 1.8.3.5)
    pub fn cancel(&mut self, session: SessionId, channel: u16, tag: &[u8]) {
        let Some(state) = self.broker.channels.get_mut(&(session, channel)) else { return };
        if state.replies.as_ref().is_some_and(|replies| *replies.tag == *tag) {
            state.replies = None;
        }
        if let Some(id) = state.consumers.remove(tag) {
            self.remove_consumer(id, |c| c.session == session && c.channel == channel && *c.tag == *tag);
            self.serve(vec![id]);
        }
    }

    /// Takes consumers off a queue, which may have been its last use.
    pub(super) fn remove_consumer(&mut self, id: QueueId, gone: impl Fn(&Consumer) -> bool) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        let before = queue.consumers.len();
        queue.consumers.retain(|consumer| !gone(consumer));
        if queue.consumers.len() == before {
            return;
        }
        queue.turn = 0;
        queue.choose_active();
        queue.expires_at = queue.meaning.expires_ms.map(|ms| self.now_ms + ms);
        if queue.auto_delete && queue.consumers.is_empty() {
            self.remove_queue(id);
        }
    }

    /// The channel, from its first use on.
    pub(super) fn channel(&mut self, session: SessionId, channel: u16) -> &mut Channel {
        let Broker { channels, owned, .. } = &mut *self.broker;
        channels.entry((session, channel)).or_insert_with(|| {
            owned.entry(session).or_default().channels.push(channel);
            Channel::default()
        })
    }

    /// The limit of a whole channel. (RabbitMQ: basic.qos global)
    pub fn set_channel_prefetch(&mut self, session: SessionId, channel: u16, prefetch: u16) {
        self.channel(session, channel).prefetch = prefetch;
        self.dispatch_channel(session, channel);
    }

    pub(crate) fn hold_in_channel(&mut self, session: SessionId, channel: u16, queue: QueueId, seq: u64) {
        let channel = self.channel(session, channel);
        channel.unacked_count += 1;
        match channel.holds.iter_mut().find(|(id, _)| *id == queue) {
            Some((_, seqs)) => {
                seqs.insert(seq);
            }
            None => channel.holds.push((queue, std::iter::once(seq).collect())),
        }
    }

    /// So many bytes of what was put out for a session have left.
    pub fn drained(&mut self, session: SessionId, bytes: usize) {
        let Some(owned) = self.broker.owned.get_mut(&session) else { return };
        let was_full = owned.window_bytes >= WINDOW_BYTES;
        owned.window_bytes = owned.window_bytes.saturating_sub(bytes);
        if was_full && owned.window_bytes < WINDOW_BYTES {
            // Another one is the first each time, so that all get their share.
            let count = owned.channels.len().max(1);
            owned.channels.rotate_left(1 % count);
            for channel in owned.channels.clone() {
                self.dispatch_channel(session, channel);
            }
        }
    }

    pub(crate) fn dispatch_channel(&mut self, session: SessionId, channel: u16) {
        let Some(state) = self.broker.channels.get(&(session, channel)) else { return };
        let mut ids: Vec<QueueId> = state.consumers.values().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().for_each(|id| self.dispatch(id));
    }

    /// Hands out ready messages while a consumer can take one.
    pub(crate) fn dispatch(&mut self, id: QueueId) {
        loop {
            let (channels, owned) = (&self.broker.channels, &self.broker.owned);
            let Some(queue) = self.broker.queues.get_mut(&id) else { return };
            if queue.consumers.is_empty() {
                return self.tell_awaiting(id);
            }
            if queue.stream.is_some() {
                return self.read_on(id);
            }
            if queue.ready.is_empty() {
                return;
            }
            if queue.is_first_expired(self.now_ms) {
                if self.expire_first(id) != Shed::All {
                    return;
                }
                continue;
            }
            let has_credit = |c: &Consumer| {
                owned.get(&c.session).is_none_or(|owned| owned.window_bytes < WINDOW_BYTES)
                    && (c.no_ack || channels.get(&(c.session, c.channel)).is_none_or(Channel::has_credit))
            };
            if self.broker.has_paged && !queue.ready.is_first_here() {
                if queue.consumers.iter().any(|c| c.is_free() && has_credit(c)) {
                    self.must_fetch(id);
                }
                return;
            }
            let Some(next) = queue.next_consumer(has_credit) else { return self.tell_awaiting(id) };
            let Some(entry) = queue.ready.pop() else { return };
            let (kept, through) = (queue.keeps(entry.body.is_persistent()), queue.delivered_through);
            let (seq, message) = (entry.seq, entry.delivered());
            let size = message.size();
            let consumer = &mut queue.consumers[next];
            let (session, channel, no_ack, consumer_id) =
                (consumer.session, consumer.channel, consumer.no_ack, consumer.id);
            let event = Event::Deliver {
                channel,
                consumer_tag: consumer.tag.clone(),
                queue: id,
                seq,
                redelivered: entry.redelivered,
                no_ack,
                stream_offset: None,
                message,
            };
            if no_ack {
                self.record_settle(id, kept, &entry);
            } else {
                consumer.unacked_count += 1;
                let timeout_ms = consumer.timeout_ms.or(queue.meaning.consumer_timeout_ms);
                let until = queue.held_until(timeout_ms, self.now_ms);
                if queue.hold(Unacked::new(entry, (session, channel), consumer_id, until)) {
                    self.broker.note_due(id);
                }
                self.let_go_of_held(id, seq);
                self.hold_in_channel(session, channel, id, seq);
                self.note_delivery(id, seq, through);
            }
            self.broker.owned.entry(session).or_default().window_bytes += size;
            self.broker.events.push((session, event));
            self.fetch_ahead(id);
        }
    }

    /// Whoever waits for messages without consuming gets what is left.
    #[inline]
    fn tell_awaiting(&mut self, id: QueueId) {
        if self.broker.queues.get(&id).is_some_and(|queue| queue.is_awaited && !queue.ready.is_empty()) {
            self.broker.note_filled(id);
        }
    }

    /// A channel is gone: its consumers too, and what it holds goes back in place.
    pub fn channel_closed(&mut self, session: SessionId, channel: u16) {
        let Broker { events, owned, .. } = &mut *self.broker;
        events.retain(|(id, event)| {
            let of = match event {
                Event::Deliver { channel, .. }
                | Event::Cancel { channel, .. }
                | Event::Released { channel, .. }
                | Event::TimedOut { channel, .. } => Some(*channel),
                Event::Fetched => None,
            };
            let stays = *id != session || of != Some(channel);
            if let (false, Event::Deliver { message, .. }, Some(owned)) = (stays, event, owned.get_mut(id)) {
                owned.window_bytes = owned.window_bytes.saturating_sub(message.size());
            }
            stays
        });
        let touched = self.take_channel(session, channel);
        self.serve(touched);
    }

    /// Removes the channel's consumers and puts back what it holds; gives the queues that got something.
    fn take_channel(&mut self, session: SessionId, channel: u16) -> Vec<QueueId> {
        if let Some(owned) = self.broker.owned.get_mut(&session) {
            owned.channels.retain(|number| *number != channel);
        }
        let Some(state) = self.broker.channels.remove(&(session, channel)) else { return Vec::new() };
        let mut touched = Vec::new();
        // Back in their places first, so that a queue that goes with its last consumer takes them along.
        for (id, seqs) in state.holds {
            self.give_back(id, seqs);
            touched.push(id);
        }
        for id in state.consumers.into_values() {
            self.remove_consumer(id, |c| c.session == session && c.channel == channel);
            touched.push(id);
        }
        touched
    }

    /// Hands out what has come back, once all who go are gone.
    fn serve(&mut self, mut queues: Vec<QueueId>) {
        queues.sort_unstable();
        queues.dedup();
        for id in queues {
            self.broker.note_due(id);
            self.dispatch(id);
        }
    }

    /// A session is gone with all its channels; its exclusive queues are deleted.
    pub fn session_closed(&mut self, session: SessionId) {
        self.broker.getting.retain(|(_, getting)| *getting != session);
        let Some(owned) = self.broker.owned.remove(&session) else { return };
        let touched =
            owned.channels.into_iter().flat_map(|channel| self.take_channel(session, channel)).collect();
        owned.queues.into_iter().for_each(|id| self.remove_queue(id));
        self.serve(touched);
    }
}
