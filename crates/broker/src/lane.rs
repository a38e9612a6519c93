//! The ready entries of one priority, in order of their numbers, in blocks: a long queue grows by a block and moves none.
//! What comes back is kept beside, by number.
//! The trap: the first place of the first block is always taken, so that looking at the first entry searches nothing.

use crate::Message;
use crate::block::{BLOCK_BYTES, BLOCK_LEN, Block};
use crate::body::{Body, BodyRef, Moved, PageOut};
use crate::entries::{Entry, Ready, Returns};
use leveret_base::Sorted;
use leveret_base::codec::Place;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries of one priority.
#[derive(Default)]
pub(crate) struct Lane {
    /// By number. None is empty but the only one, which is kept for what comes next.
    blocks: VecDeque<Block>,
    /// Entries that came back, by number.
    returned: Sorted<Entry>,
}

impl Lane {
    fn first_ready(&self) -> Option<Ready<'_>> {
        self.blocks.front()?.first()
    }

    /// True when the first entry is one that came back.
    #[inline]
    fn is_first_returned(&self) -> bool {
        let Some(returned) = self.returned.first() else { return false };
        self.first_ready().is_none_or(|ready| returned.seq < ready.seq)
    }

    pub(crate) fn first(&self) -> Option<Ready<'_>> {
        if self.is_first_returned() { self.returned.first().map(Ready::of) } else { self.first_ready() }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.is_first_returned() {
            return self.returned.pop_first();
        }
        let entry = self.blocks.front_mut()?.pop();
        self.leave(0);
        entry
    }

    /// A block may have become empty.
    #[inline]
    fn leave(&mut self, index: usize) {
        let is_only = self.blocks.len() == 1;
        let Some(block) = self.blocks.get_mut(index).filter(|block| block.is_empty()) else { return };
        if is_only {
            block.reuse();
        } else {
            self.blocks.remove(index);
        }
    }

    /// An entry behind all others; one that is not goes where its number says.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.blocks.back().and_then(Block::last_number).is_some_and(|last| last >= entry.seq) {
            return self.put_back(entry);
        }
        let left = match self.blocks.back_mut() {
            Some(block) => block.push(entry),
            None => {
                // Most queues never need a second one.
                self.blocks.reserve_exact(1);
                Some(entry)
            }
        };
        let Some(entry) = left else { return };
        if self.blocks.back().is_some_and(Block::is_empty) {
            self.blocks.pop_back();
        }
        let mut block = Block::new(&entry);
        match block.push(entry) {
            None => self.blocks.push_back(block),
            // Only one that has come back: no place says how often.
            Some(entry) => self.put_back(entry),
        }
    }

    /// Entries that did not come back, from a number on, in order.
    fn ready_from(&self, seq: u64) -> impl Iterator<Item = Ready<'_>> {
        let index = self.block_of(seq).unwrap_or(0);
        self.blocks.range(index.min(self.blocks.len())..).flat_map(move |block| block.iter_from(seq))
    }

    /// The first number from one on.
    pub(crate) fn first_from(&self, seq: u64) -> Option<u64> {
        let returned = self.returned.first_from(seq).map(|entry| entry.seq);
        self.ready_from(seq).next().map(|ready| ready.seq).into_iter().chain(returned).min()
    }

    /// Entries with numbers from `start` up to `end`, in no order.
    pub(crate) fn between(&self, start: u64, end: u64) -> impl Iterator<Item = Ready<'_>> {
        let ready = self.ready_from(start).take_while(move |ready| ready.seq < end);
        let returned = self.returned.range_from(start).take_while(move |entry| entry.seq < end);
        ready.chain(returned.map(Ready::of))
    }

    /// An entry that comes back to its place.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.returned.insert(entry);
    }

    /// The block that has the place of a number, if it has one.
    fn block_of(&self, seq: u64) -> Option<usize> {
        self.blocks.partition_point(|block| block.first_number() <= seq).checked_sub(1)
    }

    /// Takes an entry out, wherever it stands.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Entry> {
        if let Some(entry) = self.returned.remove(seq) {
            return Some(entry);
        }
        let index = self.block_of(seq)?;
        let entry = self.blocks.get_mut(index)?.take(seq)?;
        self.leave(index);
        Some(entry)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready<'_>> {
        self.blocks.iter().flat_map(Block::iter).chain(self.returned.iter().map(Ready::of))
    }

    /// All entries in order.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Ready<'_>> {
        let mut ready = self.blocks.iter().flat_map(Block::iter).peekable();
        let mut returned = self.returned.iter().map(Ready::of).peekable();
        std::iter::from_fn(move || {
            let is_returned =
                returned.peek().is_some_and(|first| ready.peek().is_none_or(|other| first.seq < other.seq));
            if is_returned { returned.next() } else { ready.next() }
        })
    }

    /// Entries up to a number, and those that have come back before, may have been delivered.
    pub(crate) fn mark_redelivered(&mut self, through: u64) {
        self.blocks.iter_mut().for_each(|block| block.mark_redelivered(through));
        for entry in self.returned.iter_mut() {
            entry.redelivered |= entry.seq <= through || entry.returns != Returns::NONE;
        }
    }

    /// Lets go of the messages that came last, as far as they may go; gives what that is. What stands first may stay, so that
    /// a queue whose messages go soon after they have come reads nothing.
    pub(crate) fn page_out_last(&mut self, may: PageOut<'_>) -> Option<Moved> {
        let is_only = self.blocks.len() == 1;
        let last = self.blocks.back_mut().filter(|block| !block.is_empty())?;
        if is_only && last.is_here() && last.bytes() < may.head_bytes {
            return None;
        }
        let gone = last.page_out(may).filter(|gone| gone.len > 0)?;
        if let Some(mut last) = self.blocks.pop_back() {
            // Behind others that are only on disk, as long as there is room.
            while let Some(before) = self.blocks.back_mut().filter(|before| !before.is_here())
                && let Some(entry) = last.pop()
            {
                if let Some(entry) = before.push(entry) {
                    self.blocks.push_back(Block::new(&entry));
                    self.push(entry);
                }
            }
            if !last.is_empty() {
                self.blocks.push_back(last);
            }
        }
        Some(gone)
    }

    /// The number of the first entry that has to be read so that what stands first is in memory, or else the block behind it.
    pub(crate) fn first_wanted(&self, ahead: bool) -> Option<u64> {
        if !ahead {
            return self.first().filter(|first| first.body.here().is_none()).map(|first| first.seq);
        }
        let next = self.blocks.get(1).and_then(Block::first);
        next.filter(|next| next.body.here().is_none()).map(|next| next.seq)
    }

    /// What has to be read so that one entry's message is in memory; nothing if it is, or another lane's.
    pub(crate) fn around(&self, seq: u64) -> Vec<(u64, Place)> {
        if self.returned.get(seq).is_some() {
            return self.around_returned(seq);
        }
        let block = self.block_of(seq).and_then(|index| self.blocks.get(index));
        block.filter(|block| block.contains(seq)).map(Block::wanted).unwrap_or_default()
    }

    /// Likewise among those that came back: with others behind it, as many as a block would have.
    fn around_returned(&self, seq: u64) -> Vec<(u64, Place)> {
        let mut bytes = 0;
        let away =
            self.returned.range_from(seq).map_while(|entry| Some((entry.seq, entry.body.as_ref().away()?)));
        let fitting = away.take(BLOCK_LEN).take_while(|(_, away)| {
            let fits = bytes < BLOCK_BYTES;
            bytes += u64::from(away.body_len);
            fits
        });
        fitting.map(|(seq, away)| (seq, away.place)).collect()
    }

    /// Everything that is not in memory, block by block.
    pub(crate) fn wanted_at_all(&self) -> impl Iterator<Item = Vec<(u64, Place)>> {
        let returned = self
            .returned
            .iter()
            .filter_map(|entry| Some(vec![(entry.seq, entry.body.as_ref().away()?.place)]));
        self.blocks.iter().map(Block::wanted).filter(|wanted| !wanted.is_empty()).chain(returned)
    }

    /// Messages have been read; `all` counts those that are still wanted.
    pub(crate) fn page_in(&mut self, messages: &[(u64, Arc<Message>)], generation: u32, all: &mut Moved) {
        for (seq, message) in messages {
            if let Some(entry) = self.returned.get_mut(*seq)
                && let BodyRef::Away(away) = entry.body.as_ref()
            {
                all.add(message, away.place);
                (entry.body, entry.read_in) = (Body::Here(message.clone()), generation);
            }
        }
        // Some of them may have left, the first as well.
        let first = messages.iter().find_map(|(seq, _)| {
            let index = self.block_of(*seq)?;
            self.blocks.get(index).filter(|block| block.contains(*seq)).map(|_| index)
        });
        let Some(index) = first else { return };
        let rest = self.blocks.get_mut(index).and_then(|block| block.page_in(messages, generation, all));
        if let Some(rest) = rest {
            self.blocks.insert(index + 1, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    //! A lane beside a plain map: whatever is pushed, taken and put back, the same comes out in the same order.
    use super::Lane;
    use crate::Message;
    use crate::block::{BLOCK_LEN, Block};
    use crate::body::{Body, BodyRef, Moved, PageOut};
    use crate::entries::{Entry, Returns};
    use leveret_base::codec::Place;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const STEPS: usize = 24_000;
    const ALL: PageOut<'_> =
        PageOut { after: 0, generation: 1, is_logged: true, keeps_all: true, head_bytes: 0, spill: None };

    fn entry(seq: u64, deadline: u64) -> Entry {
        let message = Message::new(b"", b"", &[0, 0], &seq.to_le_bytes()).expect("it is valid");
        message.lies_at(Place { position: seq, offset: 7 });
        Entry::new(seq, Body::Here(Arc::new(message)), deadline)
    }

    fn read(wanted: &[(u64, Place)]) -> Vec<(u64, Arc<Message>)> {
        let read = wanted.iter().map(|(seq, _)| (*seq, entry(*seq, 0).body.message().clone()));
        read.collect()
    }

    fn check(entry: &Entry, deadline: u64) {
        match entry.body.as_ref() {
            BodyRef::Here(message) => assert_eq!(message.body(), entry.seq.to_le_bytes()),
            BodyRef::Away(away) => {
                assert_eq!((away.place, away.body_len), (Place { position: entry.seq, offset: 7 }, 8));
            }
        }
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
                    5 => {
                        if random.u8(..20) == 0 {
                            lane.page_out_last(ALL);
                        }
                        let all: Vec<_> = lane.wanted_at_all().collect();
                        if random.u8(..20) == 0 && !all.is_empty() {
                            let read = read(&all[random.usize(..all.len())]);
                            lane.page_in(&read, 1, &mut Moved::default());
                        }
                    }
                    6 | 7 => {
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
        let places: usize = lane.blocks.iter().map(Block::capacity).sum();
        assert!(places <= count as usize / 25, "{places} places for {} entries", count / 100);
        assert_eq!(lane.iter().count() as u64, count / 100);
    }

    #[test]
    fn what_was_read_does_not_vouch_for_what_comes_behind_it() {
        let mut lane = Lane::default();
        (1..4).for_each(|seq| lane.push(entry(seq, 0)));
        lane.page_out_last(ALL);
        let wanted = read(&lane.around(1));
        lane.page_in(&wanted, 1, &mut Moved::default());
        lane.push(entry(4, 0));
        // The log has none of them since, but keeps those that were read.
        let may = PageOut { after: 100, ..ALL };
        assert!(lane.page_out_last(may).is_none());
        assert!(lane.iter().all(|ready| ready.body.here().is_some()));
        assert!(lane.take(4).is_some());
        assert_eq!(lane.page_out_last(may).map(|gone| gone.len), Some(3));
    }

    #[test]
    fn numbers_in_no_order_come_out_in_order() {
        let mut lane = Lane::default();
        [5, 9, 7, 5, 3, 12].into_iter().for_each(|seq| lane.push(entry(seq, 0)));
        lane.page_out_last(ALL);
        assert!(lane.take(7).is_some() && lane.take(7).is_none());
        let all: Vec<u64> = std::iter::from_fn(|| lane.pop()).map(|entry| entry.seq).collect();
        assert_eq!(all, [3, 5, 5, 9, 12]);
    }

    #[test]
    fn what_may_have_been_delivered_says_so() {
        let mut lane = Lane::default();
        (1..=4).for_each(|seq| lane.push(entry(seq, 0)));
        lane.put_back(Entry { returns: Returns { failed: 0, released: 1 }, ..entry(9, 0) });
        lane.mark_redelivered(2);
        let all = std::iter::from_fn(|| lane.pop());
        let marked: Vec<u64> = all.filter(|entry| entry.redelivered).map(|entry| entry.seq).collect();
        assert_eq!(marked, [1, 2, 9]);
    }
}
