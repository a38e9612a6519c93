//! The ready entries of one priority, in order of their numbers, in blocks: a long queue grows by a block and moves none, and
//! an entry is a place of 24 bytes. What comes back is kept beside, by number.
//! The trap: the first place of the first block is always taken, so that looking at the first entry searches nothing.

use crate::entries::{Entry, Ready};
use crate::{Message, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Places in a block.
const BLOCK_LEN: usize = 512;

/// Where an entry stands, as far as its block does not say it.
struct Place {
    /// `None` when it was taken out from between others.
    message: Option<Arc<Message>>,
    /// Its number, counted from the block's first.
    distance: u32,
    returns: u32,
    redelivered: bool,
}

const _: () = assert!(size_of::<Place>() == 24, "a place is 24 bytes");

/// Entries whose numbers are near each other.
struct Block {
    first: u64,
    places: Vec<Place>,
    /// When entries leave; empty while none of them does.
    deadlines: Vec<UnixMillis>,
    /// Places whose entries have left from the front.
    start: usize,
    /// Places behind those that are empty.
    gone_count: usize,
}

impl Block {
    fn new(first: u64) -> Self {
        Self { first, places: Vec::new(), deadlines: Vec::new(), start: 0, gone_count: 0 }
    }

    /// The distance of a number that has a place here or could get one.
    #[inline]
    fn distance(&self, seq: u64) -> Option<u32> {
        seq.checked_sub(self.first).and_then(|distance| u32::try_from(distance).ok())
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.start == self.places.len()
    }

    fn last(&self) -> Option<u64> {
        self.places.last().map(|place| self.first + u64::from(place.distance))
    }

    #[inline]
    fn push(&mut self, distance: u32, entry: Entry) {
        let Entry { seq: _, message, redelivered, returns, deadline } = entry;
        if deadline != 0 && self.deadlines.is_empty() {
            self.deadlines.resize(self.places.len(), 0);
        }
        if deadline != 0 || !self.deadlines.is_empty() {
            self.deadlines.push(deadline);
        }
        self.places.push(Place { message: Some(message), distance, returns, redelivered });
    }

    fn ready(&self, index: usize) -> Option<Ready<'_>> {
        let place = self.places.get(index)?;
        let message = place.message.as_ref()?;
        Some(Ready {
            seq: self.first + u64::from(place.distance),
            message,
            returns: place.returns,
            deadline: self.deadlines.get(index).copied().unwrap_or(0),
        })
    }

    /// Takes an entry and leaves its place.
    #[inline]
    fn take(&mut self, index: usize) -> Option<Entry> {
        let place = self.places.get_mut(index)?;
        Some(Entry {
            seq: self.first + u64::from(place.distance),
            message: place.message.take()?,
            redelivered: place.redelivered,
            returns: place.returns,
            deadline: self.deadlines.get(index).copied().unwrap_or(0),
        })
    }

    #[inline]
    fn pop(&mut self) -> Option<Entry> {
        let entry = self.take(self.start)?;
        self.start += 1;
        while self.gone_count > 0 && self.places.get(self.start).is_some_and(|next| next.message.is_none()) {
            self.start += 1;
            self.gone_count -= 1;
        }
        Some(entry)
    }

    fn find(&self, seq: u64) -> Option<usize> {
        let distance = self.distance(seq)?;
        let places = self.places.get(self.start..)?;
        let index = places.binary_search_by_key(&distance, |place| place.distance).ok()?;
        Some(self.start + index)
    }

    fn take_between(&mut self, seq: u64) -> Option<Entry> {
        let index = self.find(seq)?;
        if index == self.start {
            return self.pop();
        }
        let entry = self.take(index)?;
        self.gone_count += 1;
        if self.gone_count * 2 > self.places.len() - self.start {
            self.close_gaps();
        }
        Some(entry)
    }

    /// Gives back the room of what is gone.
    fn close_gaps(&mut self) {
        let is_kept: Vec<bool> = self.places.iter().map(|place| place.message.is_some()).collect();
        let mut kept = is_kept.iter().copied();
        self.deadlines.retain(|_| kept.next().unwrap_or(false));
        self.places.retain(|place| place.message.is_some());
        self.places.shrink_to_fit();
        self.deadlines.shrink_to_fit();
        (self.start, self.gone_count) = (0, 0);
    }

    fn iter(&self) -> impl Iterator<Item = Ready<'_>> {
        self.iter_from(0)
    }

    /// From a number on.
    fn iter_from(&self, seq: u64) -> impl Iterator<Item = Ready<'_>> {
        let distance = seq.saturating_sub(self.first);
        let before = self.places.partition_point(|place| u64::from(place.distance) < distance);
        (before.max(self.start)..self.places.len()).filter_map(|index| self.ready(index))
    }
}

/// Entries of one priority.
#[derive(Default)]
pub(crate) struct Lane {
    /// By number. None is empty but the only one, which is kept for what comes next.
    blocks: VecDeque<Block>,
    /// Entries that came back, by number.
    returned: BTreeMap<u64, Entry>,
}

impl Lane {
    fn first_ready(&self) -> Option<Ready<'_>> {
        let block = self.blocks.front()?;
        block.ready(block.start)
    }

    /// True when the first entry is one that came back.
    #[inline]
    fn is_first_returned(&self) -> bool {
        let Some((seq, _)) = self.returned.first_key_value() else { return false };
        self.first_ready().is_none_or(|ready| *seq < ready.seq)
    }

    pub(crate) fn first(&self) -> Option<Ready<'_>> {
        if self.is_first_returned() {
            self.returned.first_key_value().map(|(_, entry)| Ready::of(entry))
        } else {
            self.first_ready()
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.is_first_returned() {
            return self.returned.pop_first().map(|(_, entry)| entry);
        }
        let entry = self.blocks.front_mut()?.pop();
        self.leave(0);
        entry
    }

    /// A block may have become empty.
    #[inline]
    fn leave(&mut self, index: usize) {
        let is_only = self.blocks.len() == 1;
        let Some(block) = self.blocks.get_mut(index) else { return };
        if !block.is_empty() {
            return;
        }
        if is_only {
            block.places.clear();
            block.deadlines.clear();
            block.start = 0;
        } else {
            self.blocks.remove(index);
        }
    }

    /// An entry behind all others.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(block) = self.blocks.back_mut() {
            if block.places.is_empty() {
                block.first = entry.seq;
            }
            debug_assert!(block.last().is_none_or(|last| last < entry.seq), "what comes last is last");
            if block.places.len() < BLOCK_LEN
                && let Some(distance) = block.distance(entry.seq)
            {
                return block.push(distance, entry);
            }
        } else {
            // Most queues never need a second one.
            self.blocks.reserve_exact(1);
        }
        let mut block = Block::new(entry.seq);
        if !self.blocks.is_empty() {
            block.places.reserve_exact(BLOCK_LEN);
        }
        block.push(0, entry);
        self.blocks.push_back(block);
    }

    /// An entry among others.
    pub(crate) fn insert(&mut self, entry: Entry) {
        if self.blocks.back().and_then(Block::last).is_none_or(|last| last < entry.seq) {
            self.push(entry);
        } else {
            self.put_back(entry);
        }
    }

    /// Entries that did not come back, from a number on, in order.
    fn ready_from(&self, seq: u64) -> impl Iterator<Item = Ready<'_>> {
        let index = self.block_of(seq).unwrap_or(0);
        self.blocks.range(index.min(self.blocks.len())..).flat_map(move |block| block.iter_from(seq))
    }

    /// The first number from one on.
    pub(crate) fn first_from(&self, seq: u64) -> Option<u64> {
        let returned = self.returned.range(seq..).next().map(|(seq, _)| *seq);
        self.ready_from(seq).next().map(|ready| ready.seq).into_iter().chain(returned).min()
    }

    /// Entries with numbers from `start` up to `end`, in no order.
    pub(crate) fn between(&self, start: u64, end: u64) -> impl Iterator<Item = Ready<'_>> {
        let ready = self.ready_from(start).take_while(move |ready| ready.seq < end);
        ready.chain(self.returned.range(start..end).map(|(_, entry)| Ready::of(entry)))
    }

    /// An entry that comes back to its place.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.returned.insert(entry.seq, entry);
    }

    /// The block that has the place of a number, if it has one.
    fn block_of(&self, seq: u64) -> Option<usize> {
        self.blocks.partition_point(|block| block.first <= seq).checked_sub(1)
    }

    /// Takes an entry out, wherever it stands.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Entry> {
        if let Some(entry) = self.returned.remove(&seq) {
            return Some(entry);
        }
        let index = self.block_of(seq)?;
        let entry = self.blocks.get_mut(index)?.take_between(seq)?;
        self.leave(index);
        Some(entry)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready<'_>> {
        self.blocks.iter().flat_map(Block::iter).chain(self.returned.values().map(Ready::of))
    }

    /// Entries up to a number, and those that have come back before, may have been delivered.
    pub(crate) fn mark_redelivered(&mut self, through: u64) {
        for block in &mut self.blocks {
            let first = block.first;
            for place in &mut block.places {
                place.redelivered |= first + u64::from(place.distance) <= through || place.returns > 0;
            }
        }
        for entry in self.returned.values_mut() {
            entry.redelivered |= entry.seq <= through || entry.returns > 0;
        }
    }
}

#[cfg(test)]
mod tests {
    //! A lane beside a plain map: whatever is pushed, taken and put back, the same comes out in the same order.
    use super::{BLOCK_LEN, Lane};
    use crate::Message;
    use crate::entries::Entry;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const STEPS: usize = 24_000;

    fn entry(seq: u64, deadline: u64) -> Entry {
        let message = Message::new(b"", b"", &[0, 0], &seq.to_le_bytes()).expect("it is valid");
        Entry::new(seq, Arc::new(message), deadline)
    }

    fn check(entry: &Entry, deadline: u64) {
        assert_eq!(entry.message.body(), entry.seq.to_le_bytes());
        assert_eq!(entry.deadline, deadline);
    }

    #[test]
    fn a_lane_is_a_map_by_number() {
        for seed in 0..6 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut lane, mut map, mut next) = (Lane::default(), BTreeMap::new(), seed);
            let (mut blocks_max, mut away) = (0, Vec::new());
            for step in 0..STEPS {
                // For a while it grows, then it shrinks.
                let grows = step / 6000 % 2 == 0;
                match random.u8(..10) {
                    0..=6 if grows => {
                        next += if random.u8(..50) == 0 { random.u64(..1 << 33) + 1 } else { 1 };
                        let deadline = if seed > 2 && random.u8(..9) == 0 { random.u64(1..9) } else { 0 };
                        lane.push(entry(next, deadline));
                        map.insert(next, deadline);
                    }
                    0..=4 => {
                        let (popped, expected) = (lane.pop(), map.pop_first());
                        assert_eq!(popped.as_ref().map(|entry| entry.seq), expected.map(|(seq, _)| seq));
                        if let (Some(entry), Some((_, deadline))) = (popped, expected) {
                            check(&entry, deadline);
                            away.push(entry);
                        }
                    }
                    5..=7 => {
                        let from = random.u64(..next + 2);
                        let seq = map.range(from..).next().map_or(from, |(seq, _)| *seq);
                        let (taken, expected) = (lane.take(seq), map.remove(&seq));
                        assert_eq!(taken.is_some(), expected.is_some());
                        if let (Some(entry), Some(deadline)) = (taken, expected) {
                            check(&entry, deadline);
                        }
                    }
                    _ => {
                        if !away.is_empty() && random.bool() {
                            let entry = away.swap_remove(random.usize(..away.len()));
                            map.insert(entry.seq, entry.deadline);
                            lane.put_back(entry);
                        }
                    }
                }
                let first = lane.first().map(|first| (first.seq, first.deadline));
                assert_eq!(first, map.first_key_value().map(|(seq, deadline)| (*seq, *deadline)));
                assert!(lane.blocks.len() <= 1 || lane.blocks.iter().all(|block| !block.is_empty()));
                blocks_max = blocks_max.max(lane.blocks.len());
            }
            assert!(blocks_max > 3, "only {blocks_max} blocks were needed");
            let mut all: Vec<(u64, u64)> = lane.iter().map(|ready| (ready.seq, ready.deadline)).collect();
            all.sort_unstable();
            assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_entry_between_others_gives_its_room_back() {
        let count = 20 * BLOCK_LEN as u64;
        let mut lane = Lane::default();
        (0..count).for_each(|seq| lane.push(entry(seq, 0)));
        assert_eq!(lane.blocks.len(), 20);
        // One in a hundred stays.
        (0..count).filter(|seq| seq % 100 != 99).for_each(|seq| drop(lane.take(seq)));
        let places: usize = lane.blocks.iter().map(|block| block.places.capacity()).sum();
        assert!(places <= count as usize / 25, "{places} places for {} entries", count / 100);
        assert_eq!(lane.iter().count() as u64, count / 100);
    }

    #[test]
    fn what_may_have_been_delivered_says_so() {
        let mut lane = Lane::default();
        (1..=4).for_each(|seq| lane.push(entry(seq, 0)));
        lane.put_back(Entry { returns: 1, ..entry(9, 0) });
        lane.mark_redelivered(2);
        let all = std::iter::from_fn(|| lane.pop());
        let marked: Vec<u64> = all.filter(|entry| entry.redelivered).map(|entry| entry.seq).collect();
        assert_eq!(marked, [1, 2, 9]);
    }
}
