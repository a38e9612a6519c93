//! Queues that are full and refuse what is published. (RabbitMQ: x-overflow)

use super::Txn;
use crate::arguments::Overflow;
use crate::death::{Dead, Reason};
use crate::exchange::Destination;
use crate::{Message, QueueId, VhostId};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Txn<'_> {
    /// True when a full queue would not take one of these messages, if they came one after the other.
    pub fn would_reject(
        &mut self,
        vhost: VhostId,
        messages: &mut dyn Iterator<Item = &Arc<Message>>,
    ) -> bool {
        // How many messages and bytes each queue would have got.
        let mut more: BTreeMap<QueueId, (u64, u64)> = BTreeMap::new();
        let mut route = Vec::new();
        for message in messages {
            route.clear();
            if self.route(vhost, message, false, &mut route).is_err() {
                continue;
            }
            for destination in &route {
                let Destination::Queue(id) = destination else { continue };
                let Some(queue) = self.broker.queues.get(id) else { continue };
                if queue.meaning.overflow == Overflow::DropHead {
                    continue;
                }
                let (count, bytes) = more.entry(*id).or_default();
                // What goes to a consumer at once takes no room.
                if *count >= queue.credit()
                    && queue.would_overflow_after(*count - queue.credit(), *bytes, message.body().len())
                {
                    return true;
                }
                *count += 1;
                *bytes += if *count > queue.credit() { message.body().len() as u64 } else { 0 };
            }
        }
        false
    }

    /// True when a full queue does not take the message. (RabbitMQ: x-overflow)
    pub(super) fn rejects(&mut self, id: QueueId, message: &Arc<Message>) -> bool {
        let Some(queue) = self.broker.queues.get(&id) else { return false };
        if queue.meaning.overflow == Overflow::DropHead || !queue.would_overflow(message.body().len()) {
            return false;
        }
        if queue.meaning.overflow == Overflow::RejectDeadLetter && queue.meaning.dead_letters.is_some() {
            // Letters between full queues end somewhere: then it is taken in spite of all.
            if self.slice == 0 {
                return false;
            }
            self.slice -= 1;
            let (message, reason) = (message.clone(), Reason::MaxLen);
            self.broker.dead.push_back(Dead { queue: id, message, reason, redelivered: false });
        }
        true
    }
}
