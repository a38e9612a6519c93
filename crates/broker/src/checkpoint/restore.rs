//! Reading what checkpoints alone have; everything else in them is read as the log is.

use crate::body::{Away, Body};
use crate::built_in::{is_built_in, is_vhost};
use crate::change::tags::{
    ENQUEUE_AWAY, MESSAGE_AGAIN, MESSAGE_AWAY, MESSAGE_NAMED, NEXT_NUMBERS, QUEUE_AT, STREAM_KEPT,
    STREAM_SEGMENT,
};
use crate::change::{id, seq};
use crate::txn::Txn;
use crate::{Broker, ExchangeId, Message, QueueId, VhostId};
use leveret_base::codec::{Changes, Malformed, Reader};
use std::sync::Arc;

impl Broker {
    /// Applies a change whose tag has been read; `replaying` is the message that was spoken of.
    pub(crate) fn apply_of_checkpoint(
        &mut self,
        tag: u8,
        fields: &mut Reader<'_>,
        replaying: Option<Arc<Message>>,
    ) -> Result<(), Malformed> {
        match tag {
            QUEUE_AT => {
                let (queue, next_seq, through) = (QueueId(id(fields)?), seq(fields)?, seq(fields)?);
                if let Some(queue) = self.queues.get_mut(&queue) {
                    (queue.next_seq, queue.delivered_through) = (next_seq, through);
                }
            }
            MESSAGE_NAMED => {
                let message = replaying.clone().ok_or(Malformed)?;
                self.named.insert(fields.varint()?, message);
            }
            MESSAGE_AGAIN => {
                self.replaying = Some(self.named.get(&fields.varint()?).cloned().ok_or(Malformed)?);
                return Ok(());
            }
            STREAM_SEGMENT => {
                let (queue, first) = (QueueId(id(fields)?), seq(fields)?);
                let queue = self.queues.get_mut(&queue);
                if let Some(stream) = queue.and_then(|queue| queue.stream.as_mut())
                    && !stream.begin_segment(first)
                {
                    return Err(Malformed);
                }
            }
            STREAM_KEPT => {
                let (queue, offset, at) = (QueueId(id(fields)?), seq(fields)?, fields.varint()?);
                let body = self.replaying_body(replaying.as_ref())?;
                if !Txn::new(self, 0, Changes::off()).may_append(queue, offset) {
                    return Err(Malformed);
                }
                let queue = self.queues.get_mut(&queue);
                if let Some(stream) = queue.and_then(|queue| queue.stream.as_mut()) {
                    // Its segment ends where the next one begins.
                    stream.append(offset, body, at, u64::MAX);
                }
            }
            NEXT_NUMBERS => {
                let next = [id(fields)?, id(fields)?, id(fields)?];
                if is_built_in(ExchangeId(next[1])) || !is_vhost(VhostId(next[0])) {
                    return Err(Malformed);
                }
                let numbers = [&mut self.next_vhost, &mut self.next_exchange, &mut self.next_queue];
                for (number, next) in numbers.into_iter().zip(next) {
                    *number = (*number).max(next);
                }
            }
            MESSAGE_AWAY => self.replaying_away = Some(Away::read(fields)?),
            ENQUEUE_AWAY => {
                let (queue, seq, deadline) = (QueueId(id(fields)?), seq(fields)?, fields.varint()?);
                let body = Body::away(Away::read(fields)?, None);
                self.has_paged = true;
                Txn::new(self, 0, Changes::off()).enqueue_as(queue, seq, deadline, body);
            }
            _ => return Err(Malformed),
        }
        self.replaying = replaying;
        Ok(())
    }

    /// The message that was spoken of last, wherever it is.
    pub(crate) fn replaying_body(&mut self, replaying: Option<&Arc<Message>>) -> Result<Body, Malformed> {
        match self.replaying_away.take() {
            Some(away) => {
                self.has_paged = true;
                Ok(Body::away(away, None))
            }
            None => replaying.cloned().map(Body::Here).ok_or(Malformed),
        }
    }

    /// After a checkpoint was read, or nothing but the log.
    pub fn restored(&mut self, position: u64) {
        self.in_log_after = self.in_log_after.max(position);
        self.generation += 1;
        self.replaying = None;
        self.named.clear();
    }
}
