//! The blocks of a sorted map: the first and the last one, and a tree of those between them.

use super::Keyed;
use std::collections::{BTreeMap, VecDeque, btree_map, vec_deque};
use std::iter::{Chain, Flatten};

/// Elements of a block; more are split.
pub(super) const BLOCK_LEN: usize = 64;
/// Room that a block gets at least, and so much it keeps.
pub(super) const SMALL_LEN: usize = 8;
/// What a larger one grows by.
const GROWTH: usize = 10;

pub(super) type Block<T> = VecDeque<T>;
type Middle<T> = BTreeMap<<T as Keyed>::Key, Block<T>>;

/// The elements of a map. What comes last and what leaves first is found without a search.
pub(super) struct Blocks<T: Keyed> {
    /// It has some if the middle has.
    pub(super) first: Block<T>,
    /// By keys that none of a block's elements is below, and all before it are. None is empty.
    pub(super) middle: Middle<T>,
    /// It has some if there are any.
    pub(super) last: Block<T>,
    len: usize,
}

/// Which block it is.
#[derive(Clone, Copy)]
enum Which<K> {
    First,
    Middle(K),
    Last,
}

impl<T: Keyed> Default for Blocks<T> {
    fn default() -> Self {
        Self { first: Block::new(), middle: BTreeMap::new(), last: Block::new(), len: 0 }
    }
}

impl<T: Keyed> Blocks<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn is_in_last(&self, key: T::Key) -> bool {
        self.first.is_empty() || self.last.front().is_some_and(|least| least.key() <= key)
    }

    #[inline]
    fn is_in_first(&self, key: T::Key) -> bool {
        self.middle.is_empty() || self.first.back().is_some_and(|most| most.key() >= key)
    }

    /// The block where the element of a key is, or would be.
    #[inline]
    fn block(&self, key: T::Key) -> &Block<T> {
        if self.is_in_last(key) {
            &self.last
        } else if self.is_in_first(key) {
            &self.first
        } else {
            self.middle.range(..=key).next_back().map_or(&self.first, |(_, block)| block)
        }
    }

    #[inline]
    fn block_mut(&mut self, key: T::Key) -> (Which<T::Key>, &mut Block<T>) {
        if self.is_in_last(key) {
            return (Which::Last, &mut self.last);
        }
        if self.is_in_first(key) {
            return (Which::First, &mut self.first);
        }
        match self.middle.range_mut(..=key).next_back() {
            Some((from, block)) => (Which::Middle(*from), block),
            None => (Which::First, &mut self.first),
        }
    }

    /// The element of that key.
    #[inline]
    pub(super) fn get(&self, key: T::Key) -> Option<&T> {
        let block = self.block(key);
        find(block, key).ok().and_then(|place| block.get(place))
    }

    /// Likewise, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let (_, block) = self.block_mut(key);
        find(block, key).ok().and_then(|place| block.get_mut(place))
    }

    /// Puts an element in its place; gives the one that had its key.
    #[inline]
    pub(super) fn insert(&mut self, element: T) -> Option<T> {
        let key = element.key();
        let (which, block) = self.block_mut(key);
        match (find(block, key), which) {
            (Ok(place), _) => return block.get_mut(place).map(|there| std::mem::replace(there, element)),
            (Err(place), _) if block.len() < BLOCK_LEN => {
                make_room(block);
                block.insert(place, element);
            }
            (Err(BLOCK_LEN), Which::Last) => self.begin_last(element),
            (Err(_), which) => {
                self.split(which);
                return self.insert(element);
            }
        }
        self.len += 1;
        None
    }

    /// A new last block: what comes in order leaves full ones behind.
    fn begin_last(&mut self, element: T) {
        // What was first and is empty has room already.
        let next = if self.first.is_empty() { std::mem::take(&mut self.first) } else { Block::new() };
        let full = std::mem::replace(&mut self.last, next);
        self.put_before_last(full);
        make_room(&mut self.last);
        self.last.push_back(element);
    }

    fn put_before_last(&mut self, block: Block<T>) {
        if self.first.is_empty() {
            self.first = block;
        } else {
            put(block, &mut self.middle);
        }
    }

    /// Makes two blocks of a full one.
    #[cold]
    fn split(&mut self, which: Which<T::Key>) {
        let half = BLOCK_LEN / 2;
        match which {
            Which::First => put(self.first.split_off(half), &mut self.middle),
            Which::Middle(from) => {
                let upper = self.middle.get_mut(&from).map(|block| {
                    let upper = block.split_off(half);
                    block.shrink_to_fit();
                    upper
                });
                put(upper.unwrap_or_default(), &mut self.middle);
            }
            Which::Last => {
                let upper = self.last.split_off(half);
                let mut lower = std::mem::replace(&mut self.last, upper);
                lower.shrink_to_fit();
                self.put_before_last(lower);
            }
        }
    }

    /// Takes out the element of that key.
    #[inline]
    pub(super) fn remove(&mut self, key: T::Key) -> Option<T> {
        let (which, block) = self.block_mut(key);
        let place = find(block, key).ok()?;
        let element = block.remove(place);
        match which {
            Which::Middle(from) if block.len() * 4 <= block.capacity() => self.thin_out(from),
            Which::Middle(_) => {}
            Which::First | Which::Last if block.is_empty() => self.fill_ends(),
            Which::First | Which::Last => {}
        }
        self.len -= 1;
        element
    }

    /// One block of the middle has much more room than it needs.
    #[cold]
    fn thin_out(&mut self, from: T::Key) {
        let Some(block) = self.middle.get_mut(&from) else { return };
        if block.is_empty() {
            self.middle.remove(&from);
        } else {
            block.shrink_to((block.len() * 2).max(SMALL_LEN));
        }
    }

    /// The first or the last block may be empty: others come there, if there are any.
    fn fill_ends(&mut self) {
        if self.first.is_empty()
            && let Some((_, next)) = self.middle.pop_first()
        {
            self.first = next;
        }
        if self.last.is_empty() {
            match self.middle.pop_last() {
                Some((_, before)) => self.last = before,
                None => std::mem::swap(&mut self.first, &mut self.last),
            }
        }
    }

    /// Takes out the first one.
    #[inline]
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let block = if self.first.is_empty() { &mut self.last } else { &mut self.first };
        let element = block.pop_front()?;
        if block.is_empty() {
            self.fill_ends();
        }
        self.len -= 1;
        Some(element)
    }

    /// Takes out everything up to a key.
    pub(super) fn take_through(&mut self, key: T::Key) -> Vec<T> {
        let mut taken = Vec::new();
        loop {
            let block = if self.first.is_empty() { &mut self.last } else { &mut self.first };
            let count = match find(block, key) {
                Ok(place) => place + 1,
                Err(place) => place,
            };
            taken.extend(block.drain(..count));
            if count == 0 || !block.is_empty() {
                break;
            }
            self.fill_ends();
        }
        self.len -= taken.len();
        taken
    }

    /// The first one.
    #[inline]
    pub(super) fn first(&self) -> Option<&T> {
        self.first.front().or_else(|| self.last.front())
    }

    /// All from a key on, in order.
    pub(super) fn range_from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        let of_block = move |block: &Block<T>| match find(block, key) {
            Ok(place) | Err(place) => place,
        };
        let from = self.middle.range(..=key).next_back().map_or(key, |(from, _)| *from);
        let middle = self.middle.range(from..).flat_map(move |(_, block)| block.range(of_block(block)..));
        self.first.range(of_block(&self.first)..).chain(middle).chain(self.last.range(of_block(&self.last)..))
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.middle.values().flatten()).chain(&self.last)
    }

    /// All, in order, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(self.middle.values_mut().flatten()).chain(&mut self.last)
    }

    /// All, in order, taken out.
    pub(super) fn into_all(self) -> All<T> {
        self.first.into_iter().chain(self.middle.into_values().flatten()).chain(self.last)
    }
}

/// All elements of one block, all of the middle, and all of another block.
pub(super) type All<T> = Chain<
    Chain<vec_deque::IntoIter<T>, Flatten<btree_map::IntoValues<<T as Keyed>::Key, Block<T>>>>,
    vec_deque::IntoIter<T>,
>;

/// A block gets its place in the middle.
fn put<T: Keyed>(block: Block<T>, middle: &mut Middle<T>) {
    if let Some(least) = block.front().map(Keyed::key) {
        middle.insert(least, block);
    }
}

/// Where the element of a key stands in a block, or would.
#[inline]
fn find<T: Keyed>(block: &Block<T>, key: T::Key) -> Result<usize, usize> {
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
fn make_room<T>(block: &mut Block<T>) {
    let capacity = block.capacity();
    if block.len() == capacity {
        let more = if capacity < 2 * GROWTH { capacity.max(SMALL_LEN) } else { GROWTH };
        block.reserve_exact(more.min(BLOCK_LEN - capacity));
    }
}
