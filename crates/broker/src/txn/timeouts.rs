//! Messages that were held for too long go back, and whoever held them hears of it (RabbitMQ: consumer timeout); and those that have
//! come back and wait before they come again (RabbitMQ: delayed retry).

use super::{How, LEASES, Txn};
use crate::broker::Event;
use crate::change::Change;
use crate::entries::Entry;
use crate::queue::Unacked;
use crate::{QueueId, SessionId, UnixMillis};
use std::collections::BTreeMap;

/// Who holds what waits to come again: no session has this number.
pub(crate) const RETRIES: SessionId = SessionId::MAX;

impl Txn<'_> {
    /// Primitive: an entry that has come back waits until it may be had again. (RabbitMQ: delayed retry)
    pub(crate) fn retry_at(&mut self, id: QueueId, entry: Entry, until: UnixMillis) {
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        let seq = entry.seq;
        if queue.keeps(entry.body.is_persistent()) {
            Change::RetryAt { queue: id, seq, until }.record(&mut self.changes);
        }
        queue.hold(Unacked::new(entry, (RETRIES, 0), 0, until));
        self.let_go_of_held(id, seq);
        self.broker.note_due(id);
    }

    /// Replay of that.
    pub(crate) fn retry_at_again(&mut self, id: QueueId, seq: u64, until: UnixMillis) {
        let entry = self.broker.queues.get_mut(&id).and_then(|queue| queue.take_unheld(seq));
        if let Some(entry) = entry {
            self.retry_at(id, entry, until);
        }
    }

    /// Leases and waits that are over end, and consumers whose time is up.
    pub(super) fn time_out_held(&mut self, id: QueueId) {
        while let Some(queue) = self.broker.queues.get_mut(&id)
            && let Some(&(at, seq)) = queue.leased_until.first()
            && at <= self.now_ms
        {
            queue.leased_until.pop_first();
            let Some(held) = queue.unacked.get_mut(seq) else { continue };
            if held.session == RETRIES {
                if let Some(entry) = queue.take_unheld(seq) {
                    queue.ready.put_back(entry);
                }
                self.broker.crowd(id);
                continue;
            }
            held.until = 0;
            self.settle(LEASES, 0, id, seq, How::Requeue);
        }
        self.time_out_consumers(id);
    }

    fn time_out_consumers(&mut self, id: QueueId) {
        let now_ms = self.now_ms;
        let Some(queue) = self.broker.queues.get_mut(&id) else { return };
        if queue.timeouts.first_key_value().is_none_or(|(at, _)| *at > now_ms) {
            return;
        }
        let is_late = |held: &&Unacked| {
            held.session != LEASES && held.session != RETRIES && held.until != 0 && held.until <= now_ms
        };
        let mut late: BTreeMap<(SessionId, u16, u64), Vec<u64>> = BTreeMap::new();
        for held in queue.unacked.iter().filter(is_late) {
            late.entry((held.session, held.channel, held.consumer)).or_default().push(held.seq);
        }
        queue.timeouts = queue.timeouts.split_off(&(now_ms + 1));
        for seq in late.values().flatten() {
            if let Some(held) = queue.unacked.get_mut(*seq) {
                held.until = 0;
            }
        }
        for ((session, channel, consumer), seqs) in late {
            // What is on its way back has no channel any more.
            if self.broker.channels.contains_key(&(session, channel)) {
                self.time_out(id, (session, channel), consumer, seqs);
            }
        }
    }

    // DEVIATION: the consumer is gone for good.
    fn time_out(&mut self, id: QueueId, (session, channel): (SessionId, u16), consumer: u64, seqs: Vec<u64>) {
        let Some(queue) = self.broker.queues.get(&id) else { return };
        let found = queue.consumers.iter().find(|c| c.id == consumer);
        let timeout_ms = found.and_then(|c| c.timeout_ms).or(queue.meaning.consumer_timeout_ms).unwrap_or(0);
        let cancelled = found.filter(|c| c.hears_cancel).map(|c| c.tag.clone());
        if let Some(tag) = &cancelled {
            if let Some(state) = self.broker.channels.get_mut(&(session, channel)) {
                state.consumers.remove(tag);
            }
            self.remove_consumer(id, |c| c.id == consumer);
        }
        let mut is_limited = false;
        for seq in &seqs {
            let held = self.broker.queues.get_mut(&id).and_then(|queue| queue.release(*seq));
            if let Some(held) = held {
                self.put_back(id, held.into_entry(), false);
                is_limited |= self.free_channel(session, channel, id, *seq);
            }
        }
        let Some(consumer_tag) = cancelled else {
            self.channel_closed(session, channel);
            return self.broker.events.push((session, Event::TimedOut { channel, timeout_ms }));
        };
        self.broker.events.push((session, Event::Released { channel, queue: id, seqs }));
        self.broker.events.push((session, Event::Cancel { channel, consumer_tag }));
        if is_limited {
            self.dispatch_channel(session, channel);
        }
    }
}
