//! Messages that an exchange or a queue has seen lately are not taken a second time; their publishers do not notice. What
//! was refused has not been seen: its publisher may try again. (LavinMQ: message deduplication)

use super::Txn;
use super::messages::Published;
use crate::exchange::Destination;
use crate::{Message, QueueId, UnixMillis, VhostId};

/// What is to be remembered once the message is taken.
pub(super) struct New {
    by: Destination,
    key: Vec<u8>,
    until: UnixMillis,
    kept: bool,
}

/// What is known of a message.
pub(super) enum Known {
    /// Nobody asks.
    Unasked,
    New(New),
    Duplicate,
}

/// What a publisher hears of a duplicate: it was taken, when it came for the first time; the disk may not have that yet.
pub(super) fn taken(message: &Message) -> Published {
    Published { queues: 1, durable: message.persistent, ..Published::default() }
}

impl Txn<'_> {
    /// What the message's exchange knows of it.
    pub(super) fn known_by_exchange(&self, vhost: VhostId, message: &Message) -> Known {
        if message.headers().is_empty() {
            return Known::Unasked;
        }
        let Ok(id) = self.exchange_id(vhost, message.exchange()) else { return Known::Unasked };
        let Some(exchange) = self.broker.exchanges.get(&id) else { return Known::Unasked };
        let Some(seen) = &exchange.seen else { return Known::Unasked };
        let Some((key, until)) = seen.key(message.headers(), self.now_ms) else { return Known::Unasked };
        if seen.contains(&key, self.now_ms) {
            return Known::Duplicate;
        }
        let kept = exchange.durable && message.persistent;
        Known::New(New { by: Destination::Exchange(id), key, until, kept })
    }

    /// True when a queue has not seen the message lately; from now on it has.
    pub(super) fn is_new(&mut self, id: QueueId, message: &Message) -> bool {
        let known = self.known_by_queue(id, message);
        self.remember_new(&known);
        !matches!(known, Known::Duplicate)
    }

    fn known_by_queue(&self, id: QueueId, message: &Message) -> Known {
        let Some(queue) = self.broker.queues.get(&id) else { return Known::Unasked };
        let Some(seen) = &queue.seen else { return Known::Unasked };
        let Some((key, until)) = seen.key(message.headers(), self.now_ms) else { return Known::Unasked };
        if seen.contains(&key, self.now_ms) {
            return Known::Duplicate;
        }
        Known::New(New { by: Destination::Queue(id), key, until, kept: queue.keeps(message.persistent) })
    }

    /// Remembers a message that was taken.
    pub(super) fn remember_new(&mut self, known: &Known) {
        if let Known::New(New { by, key, until, kept }) = known {
            self.remember(*by, key, *until, *kept);
        }
    }
}
