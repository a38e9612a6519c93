//! The ready entries of one queue in order: by priority, then by number. What comes back goes to its place again.
//! It knows nothing of who consumes them. The trap: an entry's lane follows from its message alone, so that replay, which
//! knows only numbers, finds the same order.

use crate::body::{Body, BodyRef, Moved, PageOut};
use crate::broker::InMemory;
use crate::lane::Lane;
use crate::{Message, UnixMillis};
use leveret_base::Keyed;
use leveret_base::codec::Place;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The generation in which nothing was read.
pub(crate) const NEVER_READ: u32 = 0;

/// How often an entry came back, in a queue that counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Returns {
    /// Rejected, or because whoever held it has gone. (RabbitMQ: x-delivery-count)
    pub(crate) failed: u32,
    /// Only given back.
    pub(crate) released: u32,
}

impl Returns {
    /// Never.
    pub(crate) const NONE: Self = Self { failed: 0, released: 0 };

    /// In any way. (RabbitMQ: x-acquired-count)
    pub(crate) fn all(self) -> u32 {
        self.failed.saturating_add(self.released)
    }
}

/// A message in a queue.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) body: Body,
    pub(crate) redelivered: bool,
    pub(crate) returns: Returns,
    /// When it leaves unread; 0 is never.
    pub(crate) deadline: UnixMillis,
    /// If its message was read from the log: in which generation of checkpoints (`Broker::generation`), else `NEVER_READ`.
    pub(crate) read_in: u32,
}

impl Keyed for Entry {
    type Key = u64;

    #[inline]
    fn key(&self) -> u64 {
        self.seq
    }
}

impl Entry {
    /// A new entry.
    #[inline]
    pub(crate) fn new(seq: u64, body: Body, deadline: UnixMillis) -> Self {
        Self { seq, body, redelivered: false, returns: Returns::NONE, deadline, read_in: NEVER_READ }
    }

    /// The message as a client sees it.
    #[inline]
    pub(crate) fn delivered(&self) -> Arc<Message> {
        if self.returns == Returns::NONE {
            return self.body.message().clone();
        }
        Arc::new(self.body.message().with_returns(self.returns))
    }
}

/// A ready entry, looked at in its place.
#[derive(Clone, Copy)]
pub(crate) struct Ready<'a> {
    pub(crate) seq: u64,
    pub(crate) body: BodyRef<'a>,
    pub(crate) returns: Returns,
    pub(crate) deadline: UnixMillis,
    /// Until when it waits, having come back; 0 is not at all.
    pub(crate) retry_at: UnixMillis,
}

impl<'a> Ready<'a> {
    /// An entry that has no place.
    pub(crate) fn of(entry: &'a Entry) -> Self {
        let Entry { seq, ref body, redelivered: _, returns, deadline, read_in: _ } = *entry;
        Self { seq, body: body.as_ref(), returns, deadline, retry_at: 0 }
    }
}

/// Entries and the bytes of their bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) len: usize,
    pub(crate) bytes: u64,
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
    /// What of these is only on disk.
    away: Tally,
    /// How many of that the log does not have.
    spilled_len: usize,
    /// When entries leave, and which.
    deadlines: BTreeSet<(UnixMillis, u64)>,
    /// Numbers of the first entries of what was asked for and has not come.
    asked: BTreeSet<u64>,
    memory: Memory,
}

/// Bytes of messages in memory, of all queues together. Each tells when it has changed by much.
#[derive(Default)]
pub(crate) struct Memory {
    bytes: u64,
    told: u64,
    all: Arc<InMemory>,
}

/// So much may be untold.
const UNTOLD_MAX: u64 = 4 * 1024;

impl Memory {
    /// Nothing yet; `all` counts for all.
    pub(crate) fn new(all: &Arc<InMemory>) -> Self {
        Self { all: all.clone(), ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes - self.told.min(self.bytes) >= UNTOLD_MAX {
            self.tell();
        }
    }

    #[inline]
    pub(crate) fn subtract(&mut self, bytes: u64) {
        self.bytes -= bytes;
        if self.told - self.bytes.min(self.told) >= UNTOLD_MAX {
            self.tell();
        }
    }

    fn tell(&mut self) {
        // It wraps, so that less is more than all but a little.
        self.all.bytes.fetch_add(self.bytes.wrapping_sub(self.told), Ordering::Relaxed);
        self.told = self.bytes;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.told, Ordering::Relaxed);
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        let logged = self.away.len - self.spilled_len;
        self.memory.all.left.fetch_add(logged as u64, Ordering::Relaxed);
    }
}

/// Numbers of entries, and where their messages lie.
pub(crate) type Wanting = Vec<(u64, Place)>;

impl Entries {
    /// None yet; `all` counts the bytes of messages in memory.
    pub(crate) fn new(priority_max: u8, all: &Arc<InMemory>) -> Self {
        let memory = Memory::new(all);
        let mut entries = Self::default();
        (entries.priority_max, entries.memory) = (priority_max, memory);
        entries
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
    fn lane(&mut self, priority: u8) -> &mut Lane {
        let place = usize::from(priority.min(self.priority_max));
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

    fn count_away(&mut self, len: usize, bytes: u64, spilled: usize) {
        self.away.len += len;
        self.away.bytes += bytes;
        self.spilled_len += spilled;
    }

    fn count_back(&mut self, len: usize, bytes: u64, spilled: usize) {
        self.away.len -= len;
        self.away.bytes -= bytes;
        self.spilled_len -= spilled;
        self.memory.all.left.fetch_add((len - spilled) as u64, Ordering::Relaxed);
    }

    /// What of these is only on disk.
    pub(crate) fn away(&self) -> Tally {
        self.away
    }

    #[inline]
    fn arrived(&mut self, entry: &Entry) {
        self.len += 1;
        self.bytes += entry.body.len();
        match entry.body.as_ref() {
            BodyRef::Here(message) => self.memory.add(message.size() as u64),
            BodyRef::Away(away) => self.count_away(1, away.body_len.into(), usize::from(away.is_spilled())),
        }
        if entry.deadline != 0 {
            self.deadlines.insert((entry.deadline, entry.seq));
        }
    }

    #[inline]
    fn left(&mut self, entry: &Entry) {
        self.len -= 1;
        self.bytes -= entry.body.len();
        match entry.body.as_ref() {
            BodyRef::Here(message) => self.memory.subtract(message.size() as u64),
            BodyRef::Away(away) => self.count_back(1, away.body_len.into(), usize::from(away.is_spilled())),
        }
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

    /// A new entry, behind all others of its priority, unless its number says otherwise: a checkpoint has them in no order.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        self.arrived(&entry);
        self.lane(entry.body.priority()).push(entry);
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
        self.lane(entry.body.priority()).put_back(entry);
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
        let empty = Entries::new(self.priority_max, &self.memory.all);
        std::mem::replace(self, empty)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready<'_>> {
        self.lanes().flat_map(Lane::iter)
    }

    /// All entries, in the order in which they will be had.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Ready<'_>> {
        self.lanes().flat_map(Lane::in_order)
    }

    /// Entries up to a number, and those that have come back before, may have been delivered.
    pub(crate) fn mark_redelivered(&mut self, through: u64) {
        self.lanes_mut().for_each(|lane| lane.mark_redelivered(through));
    }

    /// True unless the first entry's message must be fetched.
    #[inline]
    pub(crate) fn is_first_here(&self) -> bool {
        self.first().is_none_or(|first| first.body.here().is_some())
    }

    /// Lets go of messages that came last, as far as they may go.
    pub(crate) fn page_out(&mut self, may: PageOut<'_>) {
        let mut lanes = std::iter::once(&mut self.lowest).chain(&mut self.higher);
        let gone = lanes.find_map(|lane| lane.page_out_last(may));
        if let Some(Moved { len, body_bytes, bytes, spilled }) = gone {
            self.memory.subtract(bytes);
            self.count_away(len, body_bytes, spilled);
        }
    }

    /// What has to be read so that the first entries, or those that come next, are in memory; each once.
    pub(crate) fn wanted(&mut self, ahead: bool) -> Option<Wanting> {
        let lane = self.lanes().find(|lane| lane.first().is_some())?;
        let first = lane.first_wanted(ahead).filter(|first| !self.asked.contains(first))?;
        let wanted = lane.around(first);
        self.ask(wanted)
    }

    /// What has to be read so that one entry's message is in memory; empty when it is.
    pub(crate) fn around(&self, seq: u64) -> Wanting {
        self.lanes().map(|lane| lane.around(seq)).find(|wanted| !wanted.is_empty()).unwrap_or_default()
    }

    /// Asks for something once.
    pub(crate) fn ask(&mut self, wanted: Wanting) -> Option<Wanting> {
        let (first, _) = *wanted.first()?;
        self.asked.insert(first).then_some(wanted)
    }

    /// Everything that is not in memory and was not asked for.
    pub(crate) fn wanted_at_all(&mut self) -> Vec<Wanting> {
        let all: Vec<Wanting> = self.lanes().flat_map(Lane::wanted_at_all).collect();
        all.into_iter().filter_map(|wanted| self.ask(wanted)).collect()
    }

    /// Messages have been read, in the order of their numbers; `first` is the first one that was asked for.
    pub(crate) fn page_in(&mut self, first: Option<u64>, messages: &[(u64, Arc<Message>)], generation: u32) {
        if let Some(first) = first {
            self.asked.remove(&first);
        }
        let mut all = Moved::default();
        for lane in self.lanes_mut() {
            lane.page_in(messages, generation, &mut all);
        }
        self.memory.add(all.bytes);
        self.count_back(all.len, all.body_bytes, all.spilled);
    }
}
