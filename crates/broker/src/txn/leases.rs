//! Leases: messages that are held for a time by whoever has the token, not by a channel. A token survives its connection, not
//! a restart: then what was held is ready again, as with every other holder.

use super::{Got, How, Txn};
use crate::exception::Exception;
use crate::{Broker, Message, QueueId, SessionId, UnixMillis, VhostId};
use std::sync::Arc;

/// Whose entries are held by leases: no session has this number.
pub(crate) const LEASES: SessionId = 0;

/// A message that is held by nobody but who knows this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Where it is from.
    pub queue: QueueId,
    /// Its number there.
    pub seq: u64,
    /// Which delivery it was: what comes back and is taken again has another lease.
    pub number: u64,
}

/// A ready message, looked at.
pub struct Peeked<'a> {
    /// Its number in the queue.
    pub seq: u64,
    /// How often it came back.
    pub returns: u32,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// The message, if it is in memory.
    pub message: Option<&'a Arc<Message>>,
}

impl Broker {
    /// True while the lease holds.
    pub fn is_leased(&self, lease: Lease, now_ms: UnixMillis) -> bool {
        let held = self.queues.get(&lease.queue).and_then(|queue| queue.unacked.get(lease.seq));
        held.is_some_and(|held| {
            held.session == LEASES && held.consumer == lease.number && held.until > now_ms
        })
    }

    /// Vhost and name of a queue.
    pub fn queue_name(&self, id: QueueId) -> Option<(VhostId, &[u8])> {
        self.queues.get(&id).map(|queue| (queue.vhost, &*queue.name))
    }

    /// Ready messages of a queue, from a place on in the order in which they will be had.
    pub fn peek(&self, id: QueueId, start: usize, count: usize) -> Vec<Peeked<'_>> {
        let Some(queue) = self.queues.get(&id) else { return Vec::new() };
        let ready = queue.ready.in_order().skip(start).take(count);
        ready
            .map(|entry| Peeked {
                seq: entry.seq,
                returns: entry.returns.all(),
                body_bytes: entry.body.len(),
                message: entry.body.here(),
            })
            .collect()
    }

    /// How many messages of a queue are ready.
    pub fn ready_count(&self, id: QueueId) -> usize {
        self.queues.get(&id).map_or(0, |queue| queue.ready_counts().0)
    }

    /// Whether somebody waits for messages of a queue who does not consume: it is then among [`Broker::filled`] when it has some.
    pub fn await_messages(&mut self, id: QueueId, is_awaited: bool) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.is_awaited = is_awaited;
        }
    }

    /// Says that a queue has messages that somebody waits for.
    #[inline]
    pub(crate) fn note_filled(&mut self, id: QueueId) {
        if self.filled.last() != Some(&id) {
            self.filled.push(id);
        }
    }
}

impl Txn<'_> {
    /// Takes the first message and holds it up to a time; settled at once if there is none.
    pub fn take_leased(
        &mut self,
        vhost: VhostId,
        queue: &[u8],
        until: Option<UnixMillis>,
    ) -> Result<(Got, Option<Lease>), Exception> {
        let got = self.get_or_fetch(vhost, LEASES, 0, queue, until.is_none())?;
        let (Got::Message(delivery), Some(until)) = (&got, until) else { return Ok((got, None)) };
        self.broker.last_consumer += 1;
        let lease = Lease { queue: delivery.queue, seq: delivery.seq, number: self.broker.last_consumer };
        if let Some(queue) = self.broker.queues.get_mut(&lease.queue)
            && let Some(held) = queue.unacked.get_mut(lease.seq)
        {
            held.consumer = lease.number;
        }
        self.hold_until(lease, until);
        Ok((got, Some(lease)))
    }

    /// Refuses a queue whose messages cannot be taken under leases.
    pub fn check_leased(&mut self, vhost: VhostId, queue: &[u8]) -> Result<(), Exception> {
        self.gettable(vhost, LEASES, queue).map(|_| ())
    }

    /// The lease ends at another time. It holds now.
    pub fn extend_lease(&mut self, lease: Lease, until: UnixMillis) {
        self.hold_until(lease, until);
    }

    /// The lease is over: it holds now.
    pub fn settle_leased(&mut self, lease: Lease, how: How) {
        self.settle(LEASES, 0, lease.queue, lease.seq, how);
    }

    fn hold_until(&mut self, lease: Lease, until: UnixMillis) {
        let Some(queue) = self.broker.queues.get_mut(&lease.queue) else { return };
        let Some(held) = queue.unacked.get_mut(lease.seq) else { return };
        if held.until != 0 {
            queue.leased_until.remove(&(held.until, lease.seq));
        }
        held.until = until;
        queue.leased_until.insert((until, lease.seq));
        self.broker.note_due(lease.queue);
    }
}
