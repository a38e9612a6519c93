//! One queue: entries in order of their numbers, the ones handed out, and the consumers. An entry's number is its
//! place: what comes back goes back there.

use crate::arguments::QueueArguments;
use crate::{ExchangeId, Message, QueueId, SessionId, UnixMillis, VhostId};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A message in a queue.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) message: Arc<Message>,
    pub(crate) redelivered: bool,
    /// When it leaves unread; 0 is never.
    pub(crate) deadline: UnixMillis,
}

/// Who holds an entry.
pub(crate) struct Unacked {
    pub(crate) entry: Entry,
    pub(crate) session: SessionId,
    pub(crate) channel: u16,
    /// The consumer it was delivered to; `None` for `basic.get`.
    pub(crate) consumer: Option<u64>,
}

/// A subscription.
pub(crate) struct Consumer {
    /// Never used twice: what comes late finds nobody.
    pub(crate) id: u64,
    pub(crate) session: SessionId,
    pub(crate) channel: u16,
    pub(crate) tag: Arc<[u8]>,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    /// 0 is no limit.
    pub(crate) prefetch: u16,
    pub(crate) priority: i64,
    pub(crate) unacked_count: usize,
}

/// Ready entries, those that came back, and the deadlines of both.
pub(crate) type Ready = (VecDeque<Entry>, BTreeMap<u64, Entry>, BTreeSet<(UnixMillis, u64)>);

/// One queue.
pub(crate) struct Queue {
    pub(crate) id: QueueId,
    pub(crate) vhost: VhostId,
    pub(crate) name: Arc<[u8]>,
    pub(crate) durable: bool,
    /// The session it belongs to.
    pub(crate) exclusive: Option<SessionId>,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: Box<[u8]>,
    pub(crate) meaning: QueueArguments,
    pub(crate) ready: VecDeque<Entry>,
    /// Entries that came back, by number.
    pub(crate) returned: BTreeMap<u64, Entry>,
    pub(crate) unacked: HashMap<u64, Unacked, foldhash::fast::FixedState>,
    pub(crate) next_seq: u64,
    /// Entries up to this number may have been delivered before a restart; recorded ahead.
    pub(crate) delivered_through: u64,
    pub(crate) consumers: Vec<Consumer>,
    /// Whose turn it is.
    pub(crate) turn: usize,
    /// When entries leave, and which.
    pub(crate) deadlines: BTreeSet<(UnixMillis, u64)>,
    /// When the queue goes, while nobody uses it.
    pub(crate) expires_at: Option<UnixMillis>,
    /// The exchanges that have bindings to it.
    pub(crate) bound_from: BTreeSet<ExchangeId>,
}

impl Queue {
    pub(crate) fn is_logged(&self) -> bool {
        self.durable && self.exclusive.is_none()
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len() + self.returned.len()
    }

    /// The first entry, taken out.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let from_returned = match (self.returned.first_key_value(), self.ready.front()) {
            (Some((seq, _)), Some(entry)) => *seq < entry.seq,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let entry = if from_returned {
            self.returned.pop_first().map(|(_, entry)| entry)
        } else {
            self.ready.pop_front()
        }?;
        if entry.deadline != 0 {
            self.deadlines.remove(&(entry.deadline, entry.seq));
        }
        Some(entry)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if entry.deadline != 0 {
            self.deadlines.insert((entry.deadline, entry.seq));
        }
        self.ready.push_back(entry);
    }

    /// Takes all ready entries out, with their index of deadlines.
    pub(crate) fn take_ready(&mut self) -> Ready {
        let (ready, returned) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.returned));
        (ready, returned, std::mem::take(&mut self.deadlines))
    }

    /// Puts an entry back in its place.
    pub(crate) fn put_back(&mut self, mut entry: Entry) {
        entry.redelivered = true;
        if entry.deadline != 0 {
            self.deadlines.insert((entry.deadline, entry.seq));
        }
        self.returned.insert(entry.seq, entry);
    }

    /// Takes a ready entry out, wherever it stands.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Entry> {
        let entry = match self.returned.remove(&seq) {
            Some(entry) => Some(entry),
            None => {
                let i = self.ready.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
                self.ready.remove(i)
            }
        }?;
        if entry.deadline != 0 {
            self.deadlines.remove(&(entry.deadline, entry.seq));
        }
        Some(entry)
    }

    /// The consumer that gets the next entry: of those with credit the highest priority, in turn.
    pub(crate) fn next_consumer(&mut self, has_credit: impl Fn(&Consumer) -> bool) -> Option<usize> {
        let count = self.consumers.len();
        let mut best: Option<usize> = None;
        for i in 0..count {
            let i = (self.turn + i) % count;
            let consumer = &self.consumers[i];
            let free = consumer.no_ack
                || consumer.prefetch == 0
                || consumer.unacked_count < consumer.prefetch as usize;
            if free
                && best.is_none_or(|best| consumer.priority > self.consumers[best].priority)
                && has_credit(consumer)
            {
                best = Some(i);
            }
        }
        if let Some(best) = best {
            self.turn = (best + 1) % count;
        }
        best
    }
}
