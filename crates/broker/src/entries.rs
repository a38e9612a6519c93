//! The ready entries of one queue in order: by priority, then by number. What comes back goes to its place again.
//! It knows nothing of who consumes them. The trap: an entry's lane follows from its message alone, so that replay, which
//! knows only numbers, finds the same order.

use crate::{Message, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};

/// A message in a queue.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) message: Arc<Message>,
    pub(crate) redelivered: bool,
    /// It was taken out from between others: only its place is still there.
    gone: bool,
    /// How often it came back, in a queue that counts it. (RabbitMQ: x-delivery-count)
    pub(crate) returns: u32,
    /// When it leaves unread; 0 is never.
    pub(crate) deadline: UnixMillis,
}

/// What is left in a place whose entry is gone.
static NOTHING: LazyLock<Arc<Message>> = LazyLock::new(|| {
    Arc::new(Message::new(b"", b"", &[0, 0], b"").expect("a message without anything is valid"))
});

impl Entry {
    /// A new entry.
    #[inline]
    pub(crate) fn new(seq: u64, message: Arc<Message>, deadline: UnixMillis) -> Self {
        Self { seq, message, redelivered: false, gone: false, returns: 0, deadline }
    }

    /// The message as a client sees it.
    #[inline]
    pub(crate) fn delivered(&self) -> Arc<Message> {
        if self.returns == 0 {
            return self.message.clone();
        }
        Arc::new(self.message.with_returns(self.returns))
    }
}

/// Entries of one priority.
#[derive(Default)]
struct Lane {
    /// By number. The first one is there; of the others some may be gone.
    ready: VecDeque<Entry>,
    gone_count: usize,
    /// Entries that came back, by number.
    returned: BTreeMap<u64, Entry>,
}

impl Lane {
    /// True when the first entry is one that came back.
    fn is_first_returned(&self) -> bool {
        match (self.returned.first_key_value(), self.ready.front()) {
            (Some((seq, _)), Some(entry)) => *seq < entry.seq,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn first(&self) -> Option<&Entry> {
        if self.is_first_returned() {
            self.returned.first_key_value().map(|(_, entry)| entry)
        } else {
            self.ready.front()
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        if self.is_first_returned() {
            self.returned.pop_first().map(|(_, entry)| entry)
        } else {
            self.pop_ready()
        }
    }

    fn pop_ready(&mut self) -> Option<Entry> {
        let entry = self.ready.pop_front();
        while self.gone_count > 0 && self.ready.front().is_some_and(|entry| entry.gone) {
            self.ready.pop_front();
            self.gone_count -= 1;
        }
        entry
    }

    fn take(&mut self, seq: u64) -> Option<Entry> {
        if let Some(entry) = self.returned.remove(&seq) {
            return Some(entry);
        }
        let i = self.ready.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
        if i == 0 {
            return self.pop_ready();
        }
        let entry = self.ready.get_mut(i).filter(|entry| !entry.gone)?;
        let taken = Entry { message: std::mem::replace(&mut entry.message, NOTHING.clone()), ..*entry };
        // Closing the gap would move half of a long queue for each message that expires in it.
        entry.gone = true;
        self.gone_count += 1;
        if self.gone_count * 2 > self.ready.len() {
            self.ready.retain(|entry| !entry.gone);
            self.gone_count = 0;
        }
        Some(taken)
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.ready.iter().filter(|entry| !entry.gone).chain(self.returned.values())
    }

    /// The first number from one on.
    fn first_from(&self, seq: u64) -> Option<u64> {
        let start = self.ready.partition_point(|entry| entry.seq < seq);
        let ready = self.ready.range(start..).find(|entry| !entry.gone).map(|entry| entry.seq);
        let returned = self.returned.range(seq..).next().map(|(seq, _)| *seq);
        ready.into_iter().chain(returned).min()
    }

    /// Entries with numbers from `start` up to `end`.
    fn between(&self, start: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let from = self.ready.partition_point(|entry| entry.seq < start);
        let ready = self.ready.range(from..).take_while(move |entry| entry.seq < end);
        ready.filter(|entry| !entry.gone).chain(self.returned.range(start..end).map(|(_, entry)| entry))
    }

    /// Puts an entry where its number says.
    fn insert(&mut self, entry: Entry) {
        if self.ready.back().is_none_or(|last| last.seq < entry.seq) {
            self.ready.push_back(entry);
        } else {
            self.returned.insert(entry.seq, entry);
        }
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.ready.iter_mut().filter(|entry| !entry.gone).chain(self.returned.values_mut())
    }
}

/// All ready entries.
#[derive(Default)]
pub(crate) struct Entries {
    lowest: Lane,
    /// Priorities from 1 on, as far as any was used; a queue without priorities has none.
    higher: Vec<Lane>,
    priority_max: u8,
    len: usize,
    /// Bytes of bodies.
    bytes: u64,
    /// When entries leave, and which.
    deadlines: BTreeSet<(UnixMillis, u64)>,
}

impl Entries {
    pub(crate) fn new(priority_max: u8) -> Self {
        Self { priority_max, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next entry to leave by time.
    pub(crate) fn next_deadline(&self) -> Option<(UnixMillis, u64)> {
        self.deadlines.first().copied()
    }

    #[inline]
    fn lane(&mut self, message: &Message) -> &mut Lane {
        let place = usize::from(message.priority.min(self.priority_max));
        if place == 0 {
            return &mut self.lowest;
        }
        if self.higher.len() < place {
            self.higher.resize_with(place, Lane::default);
        }
        &mut self.higher[place - 1]
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.higher.iter().rev().chain(std::iter::once(&self.lowest))
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.higher.iter_mut().rev().chain(std::iter::once(&mut self.lowest))
    }

    /// The first entry.
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.lanes().find_map(Lane::first)
    }

    #[inline]
    fn arrived(&mut self, entry: &Entry) {
        self.len += 1;
        self.bytes += entry.message.body().len() as u64;
        if entry.deadline != 0 {
            self.deadlines.insert((entry.deadline, entry.seq));
        }
    }

    #[inline]
    fn left(&mut self, entry: &Entry) {
        self.len -= 1;
        self.bytes -= entry.message.body().len() as u64;
        if entry.deadline != 0 {
            self.deadlines.remove(&(entry.deadline, entry.seq));
        }
    }

    /// The first entry, taken out.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry =
            if self.higher.is_empty() { self.lowest.pop() } else { self.lanes_mut().find_map(Lane::pop) }?;
        self.left(&entry);
        Some(entry)
    }

    /// A new entry, behind all others of its priority.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        self.arrived(&entry);
        self.lane(&entry.message).ready.push_back(entry);
    }

    /// A new entry among others: a checkpoint has them in no order.
    pub(crate) fn insert(&mut self, entry: Entry) {
        self.arrived(&entry);
        self.lane(&entry.message).insert(entry);
    }

    /// The first number from one on.
    pub(crate) fn first_from(&self, seq: u64) -> Option<u64> {
        self.lanes().filter_map(|lane| lane.first_from(seq)).min()
    }

    /// Entries with numbers from `start` up to `end`, in no order.
    pub(crate) fn between(&self, start: u64, end: u64) -> impl Iterator<Item = &Entry> {
        self.lanes().flat_map(move |lane| lane.between(start, end))
    }

    /// Puts an entry back in its place.
    pub(crate) fn put_back(&mut self, mut entry: Entry) {
        entry.redelivered = true;
        self.arrived(&entry);
        self.lane(&entry.message).returned.insert(entry.seq, entry);
    }

    /// Takes an entry out, wherever it stands.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Entry> {
        // The lowest one first: most queues have no other.
        let entry = match self.lowest.take(seq) {
            Some(entry) => Some(entry),
            None => self.higher.iter_mut().find_map(|lane| lane.take(seq)),
        }?;
        self.left(&entry);
        Some(entry)
    }

    /// Takes all entries out.
    pub(crate) fn take_all(&mut self) -> Entries {
        let empty = Entries::new(self.priority_max);
        std::mem::replace(self, empty)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.lanes().flat_map(Lane::iter)
    }

    /// All entries, to be marked.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lanes_mut().flat_map(Lane::iter_mut)
    }
}
