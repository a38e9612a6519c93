//! Streams: what is read stays, and every consumer has a place of its own. Acknowledgements make room for more, nothing
//! else. (RabbitMQ: streams)

use super::{Consume, Txn};
use crate::arguments::QueueType;
use crate::body::{Away, Body, BodyRef};
use crate::broker::{Broker, Event, WINDOW_BYTES, Wanted};
use crate::change::Change;
use crate::cursor::{Cursor, Start, X_STREAM_OFFSET};
use crate::entries::Entry;
use crate::exception::{Exception, shown};
use crate::queue::Unacked;
use crate::stream::messages_count;
use crate::{Message, QueueId, UnixMillis, VhostId};
use leveret_amqp::ReplyCode;
use leveret_base::codec::Place;
use std::sync::Arc;

/// Messages that are passed over in one operation, because nobody who reads on wants them.
const SEARCH_SLICE: usize = 10_000;

impl Txn<'_> {
    /// What cannot be done with a stream.
    pub(super) fn not_of_streams(&self, what: &str, vhost: VhostId, name: &[u8]) -> Exception {
        let (queue, vhost) = (shown(name), self.vhost_name(vhost));
        let text = format!("{what} not supported by stream queues queue '{queue}' in vhost '{vhost}'");
        Exception::new(ReplyCode::NotImplemented, text)
    }

    /// Refuses a consumer that a stream cannot serve, or the arguments of one elsewhere; gives where it begins in a
    /// stream. (RabbitMQ: `rabbit_amqqueue:check_consume_arguments`, `rabbit_stream_queue:consume`)
    pub(super) fn check_stream_consumer(
        &mut self,
        vhost: VhostId,
        consume: &Consume<'_>,
    ) -> Result<Option<Box<Cursor>>, Exception> {
        let Consume { session, channel, queue: name, no_ack, prefetch, arguments, .. } = *consume;
        let vhost_name = self.vhost_name(vhost);
        let of_channel = self.broker.channels.get(&(session, channel)).map_or(0, |state| state.prefetch);
        let now_ms = self.now_ms;
        let queue = self.queue_for(vhost, session, name)?;
        let (id, kind) = (queue.id, queue.meaning.kind);
        let called = format!("queue '{}' in vhost '{vhost_name}'", shown(name));
        let foreign = if kind == QueueType::Stream { "x-priority" } else { X_STREAM_OFFSET };
        if arguments.find(foreign.as_bytes()).is_some() {
            let module = kind.module();
            let text = format!("invalid arg '{foreign}' for {called} of queue type {module}");
            return Err(Exception::precondition(text));
        }
        if kind != QueueType::Stream {
            return Ok(None);
        }
        let start = Start::from_arguments(arguments, now_ms).map_err(|value| {
            Exception::precondition(format!(
                "invalid arg '{X_STREAM_OFFSET}' for {called}: {{invalid_stream_offset_arg,{value}}}"
            ))
        })?;
        if prefetch == 0 {
            let text = format!("consumer prefetch count is not set for stream {called}");
            return Err(Exception::precondition(text));
        }
        if no_ack {
            let text = format!("automatic acknowledgement not supported by stream {called}");
            return Err(Exception::new(ReplyCode::NotImplemented, text));
        }
        if of_channel > 0 {
            let text = format!("{called} does not support global qos");
            return Err(Exception::new(ReplyCode::NotImplemented, text));
        }
        // What is too old is not there for those who come now.
        self.trim(id);
        let stream = self.broker.queues.get(&id).and_then(|queue| queue.stream.as_ref());
        Ok(stream.map(|stream| Box::new(Cursor::new(start, arguments, stream))))
    }

    /// A published message goes into a stream and from there to who waits for it.
    pub(super) fn append_published(&mut self, id: QueueId, message: &Arc<Message>, recorded: &mut bool) {
        let Some(stream) = self.broker.queues.get(&id).and_then(|queue| queue.stream.as_ref()) else {
            return;
        };
        let (offset, at) = (stream.next_offset(), self.now_ms.max(stream.last_at()));
        if !*recorded {
            Change::Message(message).record(&mut self.changes);
            *recorded = true;
        }
        self.append(id, offset, at, message);
        self.broker.crowd(id);
        self.dispatch(id);
        self.page_out(id);
    }

    /// Whether a message may come under this offset; to a stream that is gone it may.
    pub(crate) fn may_append(&self, id: QueueId, offset: u64) -> bool {
        let stream = self.broker.queues.get(&id).and_then(|queue| queue.stream.as_ref());
        stream.is_none_or(|stream| stream.may_append(offset))
    }

    /// Primitive: a message at the end of a stream. The caller has recorded the message itself.
    pub(crate) fn append(&mut self, id: QueueId, offset: u64, at: UnixMillis, message: &Arc<Message>) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        let segment_bytes_max = queue.meaning.retention.segment_bytes_max;
        let Some(stream) = queue.stream.as_mut() else { return };
        Change::StreamAppend { queue: id, offset, at }.record(&mut self.changes);
        let is_new = stream.append(offset, Body::Here(message.clone()), at, segment_bytes_max);
        if is_new {
            // The one before it may become too old now.
            self.broker.note_due(id);
        }
    }

    /// Primitive: the segments before an offset leave a stream, but for the newest one.
    pub(crate) fn truncate(&mut self, id: QueueId, first: u64) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        let Some(gone) = queue.stream.as_mut().map(|stream| stream.truncate(first)) else { return };
        if gone.is_empty() {
            return;
        }
        Change::StreamTruncate { queue: id, first }.record(&mut self.changes);
        let gone = match (&mut self.broker.checkpoint, &mut queue.walk) {
            (Some(checkpoint), Some(walk)) => checkpoint.truncated(id, walk, gone),
            _ => Some(gone),
        };
        if let Some(gone) = gone {
            let count = messages_count(&gone);
            self.broker.garbage.put(gone, count);
        }
    }

    // DEVIATION: RabbitMQ looks only when a segment is full.
    /// Removes the segments that a stream keeps no longer; false when that is too much for one slice.
    pub(super) fn retain(&mut self, id: QueueId) -> bool {
        let Some(queue) = self.broker.queues.get(&id) else { return true };
        let Some(stream) = queue.stream.as_ref() else { return true };
        // One more than fits tells that it is too much.
        let all = stream.retained_from(&queue.meaning.retention, self.now_ms, self.slice.saturating_add(1));
        let some = stream.retained_from(&queue.meaning.retention, self.now_ms, self.slice);
        if let Some(first) = some {
            let before = stream.segments_count();
            self.truncate(id, first);
            let stream = self.broker.queues.get(&id).and_then(|queue| queue.stream.as_ref());
            self.slice -= before - stream.map_or(0, |stream| stream.segments_count());
        }
        all == some
    }

    /// Hands out what the consumers of a stream have not seen while they can take it.
    pub(super) fn read_on(&mut self, id: QueueId) {
        let Some(queue) = self.broker.queues.get(&id) else { return };
        let count = queue.consumers.len();
        let mut left = SEARCH_SLICE;
        for place in 0..count {
            if !self.read_one(id, place, &mut left) {
                self.broker.searched.insert(id);
                return;
            }
        }
    }

    /// Hands out what one consumer has not seen; false when it has not come to the end of what it may see.
    fn read_one(&mut self, id: QueueId, place: usize, left: &mut usize) -> bool {
        loop {
            let Broker { owned, queues, wanted, .. } = &mut *self.broker;
            let Some(queue) = queues.get_mut(&id) else { return true };
            let (Some(stream), Some(consumer)) = (queue.stream.as_mut(), queue.consumers.get_mut(place))
            else {
                return true;
            };
            let (is_free, session, channel) = (consumer.is_free(), consumer.session, consumer.channel);
            let window_bytes = owned.get(&session).map_or(0, |owned| owned.window_bytes);
            let Some(cursor) = consumer.cursor.as_mut() else { return true };
            if !is_free || window_bytes >= WINDOW_BYTES {
                return true;
            }
            // What it had not seen may be gone.
            let offset = cursor.next.max(stream.first_offset());
            let message = match stream.entry(offset).map(|entry| entry.body) {
                Some(BodyRef::Here(message)) => message.clone(),
                Some(BodyRef::Away(_)) => {
                    let messages = stream.wanted(offset);
                    wanted.extend(messages.map(|messages| Wanted { queue: id, messages }));
                    return true;
                }
                None => return true,
            };
            let ahead = stream.wanted_ahead(offset);
            wanted.extend(ahead.map(|messages| Wanted { queue: id, messages }));
            if !cursor.wants(&message) {
                if *left == 0 {
                    return false;
                }
                *left -= 1;
                cursor.next = offset + 1;
                continue;
            }
            cursor.next = offset + 1;
            stream.deliveries_count += 1;
            consumer.unacked_count += 1;
            let seq = stream.deliveries_count;
            let event = Event::Deliver {
                channel,
                consumer_tag: consumer.tag.clone(),
                queue: id,
                seq,
                redelivered: false,
                no_ack: false,
                stream_offset: Some(offset),
                message: message.clone(),
            };
            owned.entry(session).or_default().window_bytes += message.size();
            // The stream has it; who holds it need not.
            let Message { persistent, priority, .. } = *message;
            let (place, body_len) = (Place { position: 0, offset: 0 }, message.body().len() as u32);
            let body = Body::away(Away { place, body_len, priority, persistent }, None);
            let (entry, consumer) = (Entry::new(seq, body, 0), consumer.id);
            queue.hold(Unacked::new(entry, (session, channel), consumer, 0));
            self.hold_in_channel(session, channel, id, seq);
            self.broker.events.push((session, event));
        }
    }

    /// The next slice for those who have to pass over much.
    pub(super) fn search_on(&mut self) {
        // Each once: who has not come to an end is there again.
        for id in std::mem::take(&mut self.broker.searched) {
            self.dispatch(id);
        }
    }
}
