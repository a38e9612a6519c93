//! Consumers: who gets the next message, and what happens when they go.

use super::Txn;
use crate::broker::{ChannelLimit, Event};
use crate::exception::{Exception, shown};
use crate::queue::{Consumer, Queue, Unacked};
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
    pub arguments: Table<'a>,
}

impl Txn<'_> {
    /// Subscribes; gives the tag. (AMQP 0-9-1 1.8.3.3)
    pub fn consume(&mut self, vhost: VhostId, consume: &Consume<'_>) -> Result<Arc<[u8]>, Exception> {
        let Consume { session, channel, no_ack, exclusive, prefetch, .. } = *consume;
        let taken = self
            .broker
            .queues
            .values()
            .flat_map(|queue| &queue.consumers)
            .any(|c| c.session == session && c.channel == channel && *c.tag == *consume.tag);
        if taken {
            let text = format!("attempt to reuse consumer tag '{}'", shown(consume.tag));
            return Err(Exception::new(ReplyCode::NotAllowed, text));
        }
        let tag: Arc<[u8]> =
            if consume.tag.is_empty() { self.generated(b"amq.ctag-").into() } else { consume.tag.into() };
        let priority =
            consume.arguments.find(b"x-priority").and_then(|value| value.as_integer()).unwrap_or(0);
        let vhost_name = self.vhost_name(vhost);
        let queue = self.queue_for(vhost, session, consume.queue)?;
        if queue.consumers.iter().any(|c| c.exclusive) || (exclusive && !queue.consumers.is_empty()) {
            let text = format!("queue '{}' in vhost '{vhost_name}' in exclusive use", shown(consume.queue));
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let id = queue.id;
        queue.consumers.push(Consumer {
            session,
            channel,
            tag: tag.clone(),
            no_ack,
            exclusive,
            prefetch,
            priority,
            unacked_count: 0,
        });
        self.dispatch(id);
        Ok(tag)
    }

    /// Unsubscribes; what the consumer holds stays with the channel. (AMQP 0-9-1 1.8.3.5)
    pub fn cancel(&mut self, session: SessionId, channel: u16, tag: &[u8]) {
        self.remove_consumers(|c| c.session == session && c.channel == channel && *c.tag == *tag);
    }

    fn remove_consumers(&mut self, gone: impl Fn(&Consumer) -> bool) {
        let now_ms = self.now_ms;
        let mut touched = Vec::new();
        for queue in self.broker.queues.values_mut() {
            let before = queue.consumers.len();
            queue.consumers.retain(|consumer| !gone(consumer));
            if queue.consumers.len() < before {
                queue.turn = 0;
                queue.expires_at = queue.meaning.expires_ms.map(|ms| now_ms + ms);
                touched.push((queue.id, queue.auto_delete && queue.consumers.is_empty()));
            }
        }
        for (id, unused) in touched {
            if unused {
                self.remove_queue(id);
            } else {
                self.broker.note_due(id);
                self.dispatch(id);
            }
        }
    }

    /// The limit of a whole channel. (RabbitMQ: basic.qos global)
    pub fn set_channel_prefetch(&mut self, session: SessionId, channel: u16, prefetch: u16) {
        let held = self.broker.queues.values().flat_map(|queue| queue.unacked.values());
        let unacked_count = held.filter(|held| held.session == session && held.channel == channel).count();
        self.broker.limits.insert((session, channel), ChannelLimit { prefetch, unacked_count });
        self.dispatch_channel(session, channel);
    }

    pub(crate) fn hold_in_channel(&mut self, session: SessionId, channel: u16) {
        if let Some(limit) = self.broker.limits.get_mut(&(session, channel)) {
            limit.unacked_count += 1;
        }
    }

    pub(crate) fn dispatch_channel(&mut self, session: SessionId, channel: u16) {
        let consumes =
            |queue: &&Queue| queue.consumers.iter().any(|c| c.session == session && c.channel == channel);
        let ids: Vec<QueueId> = self.broker.queues.values().filter(consumes).map(|queue| queue.id).collect();
        ids.into_iter().for_each(|id| self.dispatch(id));
    }

    /// Hands out ready messages while a consumer can take one.
    pub(crate) fn dispatch(&mut self, id: QueueId) {
        loop {
            let limits = &self.broker.limits;
            let Some(queue) = self.broker.queues.get_mut(&id) else { return };
            if queue.consumers.is_empty() || queue.ready_count() == 0 {
                return;
            }
            let has_credit = |c: &Consumer| {
                c.no_ack
                    || limits.get(&(c.session, c.channel)).is_none_or(|limit| {
                        limit.prefetch == 0 || limit.unacked_count < limit.prefetch as usize
                    })
            };
            let Some(next) = queue.next_consumer(has_credit) else { return };
            let Some(entry) = queue.pop() else { return };
            let (logged, through) = (queue.is_logged(), queue.delivered_through);
            let consumer = &mut queue.consumers[next];
            let (session, channel, no_ack, tag) =
                (consumer.session, consumer.channel, consumer.no_ack, consumer.tag.clone());
            let event = Event::Deliver {
                channel,
                consumer_tag: tag.clone(),
                queue: id,
                seq: entry.seq,
                redelivered: entry.redelivered,
                no_ack,
                message: entry.message.clone(),
            };
            let seq = entry.seq;
            if no_ack {
                self.record_settle(id, logged, &entry);
            } else {
                consumer.unacked_count += 1;
                queue.unacked.insert(seq, Unacked { entry, session, channel, tag: Some(tag) });
                self.hold_in_channel(session, channel);
                self.note_delivery(id, seq, through);
            }
            self.broker.events.push((session, event));
        }
    }

    /// A channel is gone: its consumers too, and what it holds goes back in place.
    pub fn channel_closed(&mut self, session: SessionId, channel: u16) {
        self.broker.events.retain(|(id, event)| {
            let of = match event {
                Event::Deliver { channel, .. } | Event::Cancel { channel, .. } => *channel,
            };
            *id != session || of != channel
        });
        self.give_back(|held| held.session == session && held.channel == channel);
        self.broker.limits.remove(&(session, channel));
        self.remove_consumers(|c| c.session == session && c.channel == channel);
    }

    fn give_back(&mut self, holds: impl Fn(&Unacked) -> bool) {
        for queue in self.broker.queues.values_mut() {
            let seqs: Vec<u64> =
                queue.unacked.iter().filter(|(_, held)| holds(held)).map(|(seq, _)| *seq).collect();
            for seq in seqs {
                if let Some(held) = queue.unacked.remove(&seq) {
                    queue.put_back(held.entry);
                }
            }
        }
    }

    /// A session is gone with all its channels; its exclusive queues are deleted.
    pub fn session_closed(&mut self, session: SessionId) {
        self.give_back(|held| held.session == session);
        self.broker.limits.retain(|(id, _), _| *id != session);
        self.remove_consumers(|c| c.session == session);
        let own: Vec<QueueId> = self
            .broker
            .queues
            .values()
            .filter(|queue| queue.exclusive == Some(session))
            .map(|queue| queue.id)
            .collect();
        own.into_iter().for_each(|id| self.remove_queue(id));
        let ids: Vec<QueueId> = self
            .broker
            .queues
            .values()
            .filter(|queue| !queue.returned.is_empty())
            .map(|queue| queue.id)
            .collect();
        for id in ids {
            self.broker.note_due(id);
            self.dispatch(id);
        }
    }
}
