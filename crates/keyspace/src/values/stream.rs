//! Streams: entries in the order of their names, and the groups that read them.
//!
//! # How it is kept
//!
//! Entries come in at the end, leave at the beginning, are read in ranges, and are taken out of the middle now and then.
//! So a stream is a deque of blocks of at most some kilobytes or a hundred entries, in each of which the entries are
//! packed one behind the other ([`block`]): names of entries are distances to the first one's, names of fields are kept once as
//! long as they repeat. An entry is found by a binary search among the blocks and a walk through one. What is taken out of the
//! middle leaves no gap: a block is short enough to be closed up. It remembers how many have gone, because
//! Redis counts those until a block is full, and where one block ends is seen by whoever trims with `~`.
//!
//! Where blocks end is no part of the data. It follows from settings and is different after a replay; a trim is
//! recorded by the last entry that it takes. Blocks are shared: a copy of a stream takes a block of its own when it
//! changes one.
//!
//! A tree of entries would be simpler, but costs a node and its pointers for each; Redis' radix tree of listpacks is what is
//! here with a search in a tree instead of one in an array, which is shorter for all streams below millions of blocks.
//!
//! Unlike other collections a stream without entries stays where it is: groups, and the name that comes next, are data.

mod block;
mod group;
mod id;
#[cfg(test)]
mod tests;

use super::Collection;
use super::limits::{STREAM_BYTES, STREAM_ENTRIES};
use crate::values::Object;
use block::Block;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) use block::Entry;
pub(crate) use group::{Consumer, Group, Pending};
pub(crate) use id::EntryId;

/// A stream.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    blocks: VecDeque<Arc<Block>>,
    len: u64,
    /// The name that was given last, perhaps to an entry that is gone.
    pub(crate) last: EntryId,
    /// The last one that was taken out by its name.
    pub(crate) deleted_max: EntryId,
    /// Entries that ever were.
    pub(crate) added_count: u64,
    /// The groups that read it.
    pub(crate) groups: BTreeMap<Box<[u8]>, Group>,
}

/// What a trim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// So many at the end. (Redis: MAXLEN)
    Last(u64),
    /// This and what follows. (Redis: MINID)
    From(EntryId),
}

impl Collection for Stream {
    fn of(object: &Object) -> Option<&Self> {
        if let Object::Stream(stream) = object { Some(stream) } else { None }
    }

    fn of_mut(object: &mut Object) -> Option<&mut Self> {
        if let Object::Stream(stream) = object { Some(stream) } else { None }
    }

    fn into_object(self) -> Object {
        Object::Stream(Box::new(self))
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl Stream {
    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Of how many blocks it consists.
    pub(crate) fn blocks_count(&self) -> usize {
        self.blocks.len()
    }

    /// What its blocks and groups take.
    pub(crate) fn bytes(&self) -> usize {
        /// An entry that is pending stands in three trees.
        const PENDING: usize = size_of::<(EntryId, Pending)>() + size_of::<EntryId>() * 2 + 32;
        let groups = self.groups.iter().map(|(name, group)| {
            let consumers = group.consumers().keys().map(|name| name.len() + size_of::<Consumer>() + 32);
            name.len() + size_of::<Group>() + group.pending().len() * PENDING + consumers.sum::<usize>()
        });
        size_of::<Self>()
            + self.blocks.iter().map(|block| block.bytes()).sum::<usize>()
            + groups.sum::<usize>()
    }

    /// Of about how many allocations it consists.
    pub(crate) fn allocations(&self) -> usize {
        self.blocks.len() * 2 + self.groups.values().map(|group| 1 + group.pending().len() / 4).sum::<usize>()
    }

    /// The first entry's name; zero when there is none.
    pub(crate) fn first_id(&self) -> EntryId {
        self.range(EntryId::ZERO, EntryId::MAX).next().map_or(EntryId::ZERO, |entry| entry.id)
    }

    /// The last entry's name, if there is one.
    pub(crate) fn last_entry_id(&self) -> Option<EntryId> {
        self.blocks.back().map(|block| block.last())
    }

    /// Adds an entry, whose name comes behind all others.
    pub(crate) fn add<'e>(&mut self, id: EntryId, fields: impl Iterator<Item = &'e [u8]> + Clone) {
        let size = fields.clone().map(<[u8]>::len).sum();
        match self.blocks.back_mut() {
            Some(block) if !block.is_full(size, entries_max(), bytes_max()) => {
                Arc::make_mut(block).push(id, fields);
            }
            full => {
                if let Some(full) = full.and_then(Arc::get_mut) {
                    full.close();
                }
                self.blocks.push_back(Arc::new(Block::new(id, fields)));
            }
        }
        self.len += 1;
        self.added_count = self.added_count.wrapping_add(1);
        self.last = id;
    }

    /// The entries from one name to another, both included.
    pub(crate) fn range(&self, from: EntryId, to: EntryId) -> impl Iterator<Item = Entry<'_>> {
        let first = self.blocks.partition_point(|block| block.last() < from);
        let entries = self.blocks.range(first..).flat_map(|block| block.iter());
        entries.skip_while(move |entry| entry.id < from).take_while(move |entry| entry.id <= to)
    }

    /// Likewise, from the last one to the first one.
    pub(crate) fn range_back(&self, from: EntryId, to: EntryId) -> impl Iterator<Item = Entry<'_>> {
        let end = self.blocks.partition_point(|block| block.base() <= to);
        let entries = self.blocks.range(..end).rev().flat_map(|block| block.iter_back());
        entries.skip_while(move |entry| entry.id > to).take_while(move |entry| entry.id >= from)
    }

    /// One entry.
    pub(crate) fn get(&self, id: EntryId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// Every entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.range(EntryId::ZERO, EntryId::MAX)
    }

    /// The entries, block by block.
    pub(crate) fn by_block(&self) -> impl ExactSizeIterator<Item = impl Iterator<Item = Entry<'_>>> {
        self.blocks.iter().map(|block| block.iter())
    }

    /// Takes an entry out; gives whether it was there.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        let at = self.blocks.partition_point(|block| block.last() < id);
        if self.get(id).is_none() {
            return false;
        }
        let block = Arc::make_mut(&mut self.blocks[at]);
        block.remove(id);
        if block.len() == 0 {
            self.blocks.remove(at);
        }
        self.len -= 1;
        true
    }

    /// Takes out everything up to an entry.
    pub(crate) fn remove_through(&mut self, id: EntryId) {
        while self.blocks.front().is_some_and(|block| block.last() <= id) {
            self.len -= self.blocks.pop_front().map_or(0, |block| block.len());
        }
        if let Some(block) = self.blocks.front_mut()
            && block.base() <= id
        {
            self.len -= Arc::make_mut(block).remove_through(id);
        }
    }

    /// How many entries at the beginning go so that only what is to be kept is left, and the last one of them. Whole blocks
    /// only, unless it is to be exact; not more than `limit`, if that is not 0.
    pub(crate) fn trim_end(&self, keep: Keep, exact: bool, limit: u64) -> Option<(u64, EntryId)> {
        let (mut count, mut last) = (0, None);
        let is_kept = |count: u64, id: EntryId| match keep {
            Keep::Last(max) => self.len - count <= max,
            Keep::From(first) => id >= first,
        };
        for block in &self.blocks {
            let is_enough = matches!(keep, Keep::Last(max) if self.len - count <= max);
            if is_enough || limit > 0 && count + block.len() > limit {
                break;
            }
            // Its last entry is the one before which all others go.
            if !is_kept(count + block.len() - 1, block.last()) {
                (count, last) = (count + block.len(), Some(block.last()));
                continue;
            }
            for entry in block.iter().filter(|_| exact) {
                if is_kept(count, entry.id) {
                    break;
                }
                (count, last) = (count + 1, Some(entry.id));
            }
            break;
        }
        last.map(|last| (count, last))
    }

    /// True when no entry behind this one is missing: neither taken out of the middle nor trimmed away before it was read.
    pub(crate) fn counts_on_from(&self, id: EntryId) -> bool {
        let may_have_gap = self.len > 0 && self.deleted_max != EntryId::ZERO && id <= self.deleted_max;
        !may_have_gap && id >= self.first_id()
    }

    /// How many of all entries that ever were came up to this one, if that can be told.
    pub(crate) fn count_through(&self, id: EntryId) -> Option<u64> {
        if self.added_count == 0 || self.len == 0 && id <= self.last {
            return Some(self.added_count);
        }
        if id != EntryId::ZERO && id < self.deleted_max || id > self.last {
            return None;
        }
        if id == self.last {
            return Some(self.added_count);
        }
        let (first, before) = (self.first_id(), self.added_count.wrapping_sub(self.len));
        let is_whole = self.deleted_max == EntryId::ZERO || self.deleted_max < first;
        match id.cmp(&first) {
            std::cmp::Ordering::Less if is_whole => Some(before),
            std::cmp::Ordering::Equal if is_whole => Some(before.wrapping_add(1)),
            std::cmp::Ordering::Less | std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => None,
        }
    }

    /// How many entries a group has before it, if that can be told. (Redis: `lag`)
    pub(crate) fn lag(&self, group: &Group) -> Option<i64> {
        let first = self.first_id();
        if self.added_count == 0 || self.len == 0 {
            return Some(0);
        }
        if group.last < first && self.deleted_max < first {
            return Some(self.len as i64);
        }
        let read = group.read_count.filter(|_| self.counts_on_from(group.last));
        let read = read.or_else(|| self.count_through(group.last))?;
        Some((self.added_count as i64).wrapping_sub(read as i64))
    }

    /// True while a group has not acknowledged an entry, or not read as far. (Redis: ACKED)
    pub(crate) fn is_referenced(&self, id: EntryId) -> bool {
        self.groups.values().any(|group| group.last < id || group.pending().contains_key(&id))
    }

    /// Hands over everything it contains.
    pub(super) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        let mut numbers = |numbers: &[u64]| numbers.iter().for_each(|number| part(&number.to_le_bytes()));
        numbers(&[self.last.ms, self.last.seq, self.deleted_max.ms, self.deleted_max.seq, self.added_count]);
        for entry in self.iter() {
            part(&entry.id.text());
            for (name, value) in entry.fields() {
                part(&name);
                part(&value);
            }
        }
        for (name, group) in &self.groups {
            part(name);
            part(format!("{} {:?}", group.last, group.read_count).as_bytes());
            for (id, Pending { consumer, delivered_ms, count }) in group.pending() {
                part(consumer);
                part(format!("{id} {delivered_ms} {count}").as_bytes());
            }
            for (name, consumer) in group.consumers() {
                part(name);
                part(format!("{:?} {:?}", consumer.active_ms, consumer.pending()).as_bytes());
            }
        }
    }
}

/// Entries of a block.
fn entries_max() -> u64 {
    match STREAM_ENTRIES.get() {
        max @ 1.. => max as u64,
        _ => u64::MAX,
    }
}

/// Bytes of a block: large ones would be no blocks any more.
fn bytes_max() -> usize {
    const BYTES: usize = 16 * 1024;
    match STREAM_BYTES.size() {
        0 => BYTES,
        max => max.min(BYTES),
    }
}
