//! The ready entries of one queue in order: by priority, then by number. What comes back goes to its place again.
//! It knows nothing of who consumes them. The trap: an entry's lane follows from its message alone, so that replay, which
//! knows only numbers, finds the same order.

use crate::lane::Lane;
use crate::{Message, UnixMillis};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A message in a queue.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) message: Arc<Message>,
    pub(crate) redelivered: bool,
    /// How often it came back, in a queue that counts it. (RabbitMQ: x-delivery-count)
    pub(crate) returns: u32,
    /// When it leaves unread; 0 is never.
    pub(crate) deadline: UnixMillis,
}

impl Entry {
    /// A new entry.
    #[inline]
    pub(crate) fn new(seq: u64, message: Arc<Message>, deadline: UnixMillis) -> Self {
        Self { seq, message, redelivered: false, returns: 0, deadline }
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

/// A ready entry, looked at in its place.
#[derive(Clone, Copy)]
pub(crate) struct Ready<'a> {
    pub(crate) seq: u64,
    pub(crate) message: &'a Arc<Message>,
    pub(crate) returns: u32,
    pub(crate) deadline: UnixMillis,
}

impl<'a> Ready<'a> {
    /// An entry that has no place.
    pub(crate) fn of(entry: &'a Entry) -> Self {
        let Entry { seq, ref message, redelivered: _, returns, deadline } = *entry;
        Self { seq, message, returns, deadline }
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
    pub(crate) fn first(&self) -> Option<Ready<'_>> {
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
        self.lane(&entry.message).push(entry);
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
    pub(crate) fn between(&self, start: u64, end: u64) -> impl Iterator<Item = Ready<'_>> {
        self.lanes().flat_map(move |lane| lane.between(start, end))
    }

    /// Puts an entry back in its place.
    pub(crate) fn put_back(&mut self, mut entry: Entry) {
        entry.redelivered = true;
        self.arrived(&entry);
        self.lane(&entry.message).put_back(entry);
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready<'_>> {
        self.lanes().flat_map(Lane::iter)
    }

    /// Entries up to a number, and those that have come back before, may have been delivered.
    pub(crate) fn mark_redelivered(&mut self, through: u64) {
        self.lanes_mut().for_each(|lane| lane.mark_redelivered(through));
    }
}
