//! Messages that leave unread, because their time is up, there are too many, or they were rejected, and where they go
//! then. A letter and the leaving it comes from are in one commit. The trap: letters may make others, up to any depth;
//! so nothing here calls itself, and what is more than a slice waits in its queue for the next tick.

use super::Txn;
use crate::QueueId;
use crate::arguments::QueueType;
use crate::death::{self, Dead, Reason};
use crate::entries::Entry;
use crate::exchange::Destination;
use crate::queue::Queue;
use std::sync::Arc;

/// How much of what has to go from a queue has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    All,
    /// A slice of it.
    Some,
    /// All before a message that must be read to become a letter; the rest goes when it has been.
    UpToDisk,
}

/// Messages that leave unread in one commit, those left aside that a client rejects.
pub(super) const SLICE: usize = 1000;

impl Txn<'_> {
    /// An entry that was taken out leaves the queue for good.
    pub(crate) fn depart(&mut self, id: QueueId, entry: Entry, reason: Reason) {
        let Some(queue) = self.broker.queues.get(&id) else { return };
        let (kept, has_address) =
            (queue.keeps(entry.body.is_persistent()), queue.meaning.dead_letters.is_some());
        // Only given back counts for nothing there. (RabbitMQ: quorum queues)
        let is_quorum = queue.meaning.kind == QueueType::Quorum;
        let came_back = if is_quorum { entry.returns.failed > 0 } else { entry.redelivered };
        self.record_settle(id, kept, &entry);
        if has_address {
            let redelivered = came_back || matches!(reason, Reason::Rejected | Reason::DeliveryLimit);
            let message = entry.body.into_message();
            self.broker.dead.push_back(Dead { queue: id, message, reason, redelivered });
        }
    }

    /// Removes what stands first and is too old.
    #[inline]
    pub(crate) fn expire_first(&mut self, id: QueueId) -> Shed {
        let now_ms = self.now_ms;
        self.shed(id, Reason::Expired, |queue| queue.is_first_expired(now_ms))
    }

    /// Ends an operation: its letters are sent, and no queue holds more than it may, as far as a slice goes.
    #[inline]
    pub fn finish(&mut self) {
        if !self.broker.dead.is_empty() || !self.broker.crowded.is_empty() {
            self.relieve();
        }
    }

    fn relieve(&mut self) {
        loop {
            if let Some(dead) = self.broker.dead.pop_front() {
                self.send_letter(&dead);
            } else if let Some(id) = self.broker.crowded.pop() {
                if self.trim(id) == Shed::Some {
                    // The rest is next, at once, but others come in between.
                    self.broker.crowded.push(id);
                    return;
                }
            } else {
                return;
            }
        }
    }

    /// Removes the first entries of a queue that holds more than it may.
    pub(super) fn trim(&mut self, id: QueueId) -> Shed {
        if self.broker.queues.get(&id).is_some_and(|queue| queue.stream.is_some()) {
            return if self.retain(id) { Shed::All } else { Shed::Some };
        }
        self.shed(id, Reason::MaxLen, Queue::is_overfull)
    }

    /// Removes the first entries while one has to go.
    #[inline]
    fn shed(&mut self, id: QueueId, reason: Reason, must_go: impl Fn(&Queue) -> bool) -> Shed {
        loop {
            let Some(queue) = self.broker.queues.get_mut(&id) else { return Shed::All };
            if !must_go(queue) {
                return Shed::All;
            }
            if self.slice == 0 {
                return Shed::Some;
            }
            // What nobody will see need not be read.
            if queue.meaning.dead_letters.is_some() && self.must_fetch(id) {
                return Shed::UpToDisk;
            }
            let Some(queue) = self.broker.queues.get_mut(&id) else { return Shed::All };
            self.slice -= 1;
            if let Some(entry) = queue.ready.pop() {
                self.depart(id, entry, reason);
            }
        }
    }

    /// Routes a dead letter; without an exchange of that name it is gone. (RabbitMQ: dead letter exchanges)
    fn send_letter(&mut self, dead: &Dead) {
        let Some(queue) = self.broker.queues.get(&dead.queue) else { return };
        let Some(to) = queue.meaning.dead_letters.clone() else { return };
        let (vhost, name) = (queue.vhost, queue.name.clone());
        if self.exchange_id(vhost, &to.exchange).is_err() {
            return;
        }
        let letter = Arc::new(death::letter(&dead.message, &name, dead.reason, &to, self.now_ms));
        let mut route = std::mem::take(&mut self.broker.route);
        route.clear();
        // An exchange that takes letters may be one that takes nothing from clients.
        if self.route(vhost, &letter, true, &mut route).is_ok() {
            if dead.reason != Reason::Rejected {
                let queues = &self.broker.queues;
                route.retain(|destination| match destination {
                    Destination::Queue(id) => {
                        queues.get(id).is_some_and(|queue| !death::is_cycle(&letter, &queue.name))
                    }
                    Destination::Exchange(_) => true,
                });
            }
            let recorded = self.stop_over(&letter);
            // DEVIATION: that, but not how often it has failed.
            self.broker.delivers_again = dead.redelivered;
            self.deliver(&route, &letter, recorded);
            self.broker.delivers_again = false;
        }
        self.broker.route = route;
    }

    // DEVIATION: also those that stand behind others.
    /// Removes messages and queues whose time is up, in a slice.
    pub fn tick(&mut self) {
        self.give_back_slice();
        self.release_delayed();
        self.search_on();
        while self.slice > 0
            && let Some(&(at, id)) = self.broker.due.first()
            && at <= self.now_ms
        {
            self.broker.due.pop_first();
            let mut waits_for_disk = false;
            while self.slice > 0 {
                let Some(queue) = self.broker.queues.get_mut(&id) else { break };
                let Some((deadline, seq)) = queue.ready.next_deadline() else { break };
                if deadline > self.now_ms {
                    break;
                }
                if queue.meaning.dead_letters.is_some() && self.must_fetch_one(id, seq) {
                    waits_for_disk = true;
                    break;
                }
                let Some(queue) = self.broker.queues.get_mut(&id) else { break };
                self.slice -= 1;
                if let Some(entry) = queue.ready.take(seq) {
                    self.depart(id, entry, Reason::Expired);
                }
            }
            self.time_out_held(id);
            if self.broker.queues.get(&id).is_some_and(|queue| queue.stream.is_some()) {
                self.trim(id);
            }
            let Some(queue) = self.broker.queues.get_mut(&id) else { continue };
            if !queue.consumers.is_empty() {
                // A consumer is a use.
                queue.expires_at = queue.meaning.expires_ms.map(|ms| self.now_ms + ms);
            }
            if queue.expires_at.is_some_and(|at| at <= self.now_ms) {
                // Its last letters are sent while it still says where to.
                self.finish();
                self.remove_queue(id);
            } else {
                // What has been read is due at once.
                if !waits_for_disk {
                    self.broker.note_due(id);
                }
                self.dispatch(id);
            }
        }
    }
}
