//! A map in the order of its keys that takes little more than what is in it: blocks of some dozens of elements, most of which
//! are full where keys come in order. For what comes in order and mostly leaves in order. An element tells its own key; the
//! trap: nobody may change that while it is here.

use std::collections::{BTreeMap, VecDeque};

/// What tells its own key.
pub trait Keyed {
    /// What it is found by.
    type Key: Copy + Ord;

    /// The same as long as it is in a map.
    fn key(&self) -> Self::Key;
}

impl Keyed for u64 {
    type Key = u64;

    #[inline]
    fn key(&self) -> u64 {
        *self
    }
}

/// Elements of a block; more are split.
const BLOCK_LEN: usize = 64;
/// Room that a block gets at least, and so much it keeps.
const SMALL_LEN: usize = 8;
/// What a larger one grows by.
const GROWTH: usize = 16;

/// Elements in the order of their keys, each key once.
pub struct Sorted<T: Keyed> {
    /// By keys that none of a block's elements is below, and all before it are. Only the last one may be empty.
    blocks: BTreeMap<T::Key, VecDeque<T>>,
    len: usize,
}

impl<T: Keyed> Default for Sorted<T> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new(), len: 0 }
    }
}

impl<T: Keyed> Sorted<T> {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element of that key.
    #[inline]
    pub fn get(&self, key: T::Key) -> Option<&T> {
        let (_, block) = self.blocks.range(..=key).next_back()?;
        find(block, key).ok().and_then(|place| block.get(place))
    }

    /// Likewise, to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let (_, block) = self.blocks.range_mut(..=key).next_back()?;
        find(block, key).ok().and_then(|place| block.get_mut(place))
    }

    /// Puts an element in its place; gives the one that had its key.
    #[inline]
    pub fn insert(&mut self, element: T) -> Option<T> {
        let key = element.key();
        let Some((&from, block)) = self.blocks.range_mut(..=key).next_back() else {
            self.insert_first(element);
            return None;
        };
        let place = match find(block, key) {
            Ok(place) => return block.get_mut(place).map(|there| std::mem::replace(there, element)),
            Err(place) => place,
        };
        self.len += 1;
        if block.len() < BLOCK_LEN {
            make_room(block);
            block.insert(place, element);
        } else {
            self.insert_beside(from, place, element);
        }
        None
    }

    /// Below all that are there.
    #[cold]
    fn insert_first(&mut self, element: T) {
        let first = self.blocks.pop_first().map(|(_, block)| block).unwrap_or_default();
        let key = element.key();
        self.blocks.insert(key, first);
        self.insert(element);
    }

    /// In a block that is full.
    #[cold]
    fn insert_beside(&mut self, from: T::Key, place: usize, element: T) {
        let is_last = self.blocks.last_key_value().is_some_and(|(last, _)| *last == from);
        let Some(block) = self.blocks.get_mut(&from) else { return };
        if place == BLOCK_LEN && is_last {
            // What comes in order leaves full blocks behind.
            let mut next = VecDeque::new();
            make_room(&mut next);
            let key = element.key();
            next.push_back(element);
            self.blocks.insert(key, next);
            return;
        }
        let mut upper = block.split_off(BLOCK_LEN / 2);
        block.shrink_to_fit();
        let (half, place) = match place.checked_sub(BLOCK_LEN / 2) {
            Some(place) if place > 0 => (&mut upper, place),
            Some(_) | None => (block, place),
        };
        make_room(half);
        half.insert(place, element);
        if let Some(first) = upper.front().map(Keyed::key) {
            self.blocks.insert(first, upper);
        }
    }

    /// Takes out the element of that key.
    #[inline]
    pub fn remove(&mut self, key: T::Key) -> Option<T> {
        let (&from, block) = self.blocks.range_mut(..=key).next_back()?;
        let place = find(block, key).ok()?;
        let element = block.remove(place);
        if block.len() * 4 <= block.capacity() && self.blocks.len() > 1 {
            self.thin_out(from);
        }
        self.len -= 1;
        element
    }

    /// A block has much more room than it needs. The last one may: what comes next comes there.
    fn thin_out(&mut self, from: T::Key) {
        let is_last = self.blocks.last_key_value().is_some_and(|(last, _)| *last == from);
        let Some(block) = self.blocks.get_mut(&from).filter(|_| !is_last) else { return };
        if block.is_empty() {
            self.blocks.remove(&from);
        } else {
            block.shrink_to((block.len() * 2).max(SMALL_LEN));
        }
    }

    /// Takes out everything up to a key.
    pub fn take_through(&mut self, key: T::Key) -> impl Iterator<Item = T> + use<T> {
        let mut taken = Vec::new();
        while let Some(mut first) = self.blocks.first_entry()
            && *first.key() <= key
        {
            let block = first.get_mut();
            let count = match find(block, key) {
                Ok(place) => place + 1,
                Err(place) => place,
            };
            if count < block.len() {
                taken.extend(block.drain(..count));
                break;
            }
            taken.extend(first.remove());
        }
        self.len -= taken.len();
        if let Some(from) = self.blocks.first_key_value().map(|(from, _)| *from) {
            self.thin_out(from);
        }
        taken.into_iter()
    }

    /// The first one.
    #[inline]
    pub fn first(&self) -> Option<&T> {
        self.blocks.values().next().and_then(VecDeque::front)
    }

    /// The first one from a key on.
    #[inline]
    pub fn first_from(&self, key: T::Key) -> Option<&T> {
        self.range_from(key).next()
    }

    /// All from a key on, in order.
    pub fn range_from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        let from = self.blocks.range(..=key).next_back().map_or(key, |(from, _)| *from);
        self.blocks.range(from..).flat_map(move |(from, block)| {
            let start = if *from >= key { 0 } else { block.partition_point(|element| element.key() < key) };
            block.range(start..)
        })
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.values().flatten()
    }
}

impl<T: Keyed> IntoIterator for Sorted<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::collections::btree_map::IntoValues<T::Key, VecDeque<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.into_values().flatten()
    }
}

impl<T: Keyed> Extend<T> for Sorted<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        for element in elements {
            self.insert(element);
        }
    }
}

impl<T: Keyed> FromIterator<T> for Sorted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut sorted = Self::default();
        sorted.extend(elements);
        sorted
    }
}

/// Where the element of a key stands in a block, or would.
#[inline]
fn find<T: Keyed>(block: &VecDeque<T>, key: T::Key) -> Result<usize, usize> {
    // Most often it is the first or behind the last.
    match block.front() {
        None => return Err(0),
        Some(first) if first.key() == key => return Ok(0),
        Some(_) => {}
    }
    if block.back().is_some_and(|last| last.key() < key) {
        return Err(block.len());
    }
    block.binary_search_by_key(&key, Keyed::key)
}

/// Room for one more.
#[inline]
fn make_room<T>(block: &mut VecDeque<T>) {
    let capacity = block.capacity();
    if block.len() == capacity {
        let more = if capacity < 2 * GROWTH { capacity.max(SMALL_LEN) } else { GROWTH };
        block.reserve_exact(more.min(BLOCK_LEN - capacity));
    }
}

#[cfg(test)]
mod tests;
