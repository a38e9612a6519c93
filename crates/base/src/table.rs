//! A hash table that grows segment by segment, for pointer-sized items that carry their own key.
//!
//! Extendible hashing: a directory, indexed by the top bits of the hash, names segments of 64 buckets; a full
//! segment splits in two and nothing else moves, so the longest pause is one split (about 400 items). A bucket is
//! one cache line: seven tags, seven items. An item lives in its home bucket, in the next one, or in the segment's
//! stash. A scan walks the hash space in order: a split cuts a range of it in two halves, so a cursor (a place in
//! that space) stays valid whatever happens between two calls. It never hashes by itself: callers bring hashes.

use crate::prefetch::prefetch;

const BUCKET_BITS: u32 = 6;
const BUCKETS: usize = 1 << BUCKET_BITS;
const SLOTS: usize = 7;
/// A segment with this many items splits rather than fill its stash.
const SPLIT_AT: usize = BUCKETS * SLOTS * 3 / 4;
const STASH_MAX: usize = 24;

#[repr(align(64))]
#[derive(Clone)]
struct Bucket<T> {
    /// 0 is an empty slot.
    tags: [u8; SLOTS],
    /// An item whose home is here has been placed elsewhere.
    overflowed: bool,
    items: [Option<T>; SLOTS],
}

impl<T> Default for Bucket<T> {
    fn default() -> Self {
        Self { tags: [0; SLOTS], overflowed: false, items: [const { None }; SLOTS] }
    }
}

impl<T> Bucket<T> {
    #[inline]
    fn position(&self, tag: u8, mut eq: impl FnMut(&T) -> bool) -> Option<usize> {
        (0..SLOTS).find(|&i| self.tags[i] == tag && self.items[i].as_ref().is_some_and(&mut eq))
    }

    #[inline]
    fn place(&mut self, tag: u8, item: T) -> Result<(), T> {
        match self.tags.iter().position(|&t| t == 0) {
            Some(i) => {
                self.tags[i] = tag;
                self.items[i] = Some(item);
                Ok(())
            }
            None => Err(item),
        }
    }
}

/// What a table keeps.
pub trait Addressed {
    /// Where that lies which is hashed and compared.
    fn address(&self) -> *const u8;
}

#[derive(Clone)]
struct Segment<T> {
    depth: u32,
    len: usize,
    buckets: Box<[Bucket<T>; BUCKETS]>,
    /// Each with its tag, so that whoever looks for another one loads none of them.
    stash: Vec<(u8, T)>,
}

/// Where an item was found.
enum Place {
    Bucket(usize, usize),
    Stash(usize),
}

impl<T> Segment<T> {
    fn new(depth: u32) -> Self {
        let buckets: Box<[Bucket<T>]> = (0..BUCKETS).map(|_| Bucket::default()).collect();
        let buckets =
            buckets.try_into().unwrap_or_else(|_| unreachable!("exactly {BUCKETS} buckets were made"));
        Self { depth, len: 0, buckets, stash: Vec::new() }
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((hash << self.depth) >> (64 - BUCKET_BITS)) as usize
    }

    #[inline]
    fn find(&self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<Place> {
        let (home, tag) = (self.home(hash), tag(hash));
        let bucket = &self.buckets[home];
        if let Some(slot) = bucket.position(tag, &mut eq) {
            return Some(Place::Bucket(home, slot));
        }
        if !bucket.overflowed {
            return None;
        }
        let next = (home + 1) % BUCKETS;
        if let Some(slot) = self.buckets[next].position(tag, &mut eq) {
            return Some(Place::Bucket(next, slot));
        }
        self.stash.iter().position(|(t, item)| *t == tag && eq(item)).map(Place::Stash)
    }

    /// Gives the item back when it would crowd the segment and `may_refuse`.
    fn insert(&mut self, hash: u64, item: T, may_refuse: bool) -> Result<(), T> {
        let (home, tag) = (self.home(hash), tag(hash));
        let item = match self.buckets[home].place(tag, item) {
            Ok(()) => {
                self.len += 1;
                return Ok(());
            }
            Err(item) => item,
        };
        let crowded = self.len >= SPLIT_AT || self.stash.len() >= STASH_MAX;
        if crowded && may_refuse {
            return Err(item);
        }
        self.buckets[home].overflowed = true;
        if let Err(item) = self.buckets[(home + 1) % BUCKETS].place(tag, item) {
            self.stash.push((tag, item));
        }
        self.len += 1;
        Ok(())
    }

    fn items(&self) -> impl Iterator<Item = &T> {
        let stashed = self.stash.iter().map(|(_, item)| item);
        self.buckets.iter().flat_map(|b| b.items.iter().flatten()).chain(stashed)
    }

    /// Takes all items out.
    fn into_items(self) -> Vec<T> {
        let mut items = Vec::with_capacity(self.len);
        let buckets: Box<[Bucket<T>]> = self.buckets;
        buckets.into_iter().for_each(|bucket| items.extend(bucket.items.into_iter().flatten()));
        items.extend(self.stash.into_iter().map(|(_, item)| item));
        items
    }
}

#[inline]
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

/// The table. `T` should be pointer-sized with a niche, so that a bucket fills one cache line.
#[derive(Clone)]
pub struct Table<T> {
    /// Segment numbers, indexed by the top `depth` bits of a hash.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<T>>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { directory: vec![0], depth: 0, segments: vec![Segment::new(0)], len: 0 }
    }
}

impl<T: Addressed> Table<T> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn slot(&self, hash: u64) -> usize {
        // Two shifts, because shifting by 64 is not defined and the depth may be 0.
        (hash >> 1 >> (63 - self.depth)) as usize
    }

    #[inline]
    fn segment(&self, hash: u64) -> &Segment<T> {
        &self.segments[self.directory[self.slot(hash)] as usize]
    }

    #[inline]
    fn segment_mut(&mut self, hash: u64) -> &mut Segment<T> {
        let index = self.directory[self.slot(hash)];
        &mut self.segments[index as usize]
    }

    /// The item with this hash for which `eq` holds.
    #[inline]
    pub fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        let segment = self.segment(hash);
        match segment.find(hash, eq)? {
            Place::Bucket(bucket, slot) => segment.buckets[bucket].items[slot].as_ref(),
            Place::Stash(i) => segment.stash.get(i).map(|(_, item)| item),
        }
    }

    /// Like `find`; the item may be changed, but not its hash.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let segment = self.segment_mut(hash);
        match segment.find(hash, eq)? {
            Place::Bucket(bucket, slot) => segment.buckets[bucket].items[slot].as_mut(),
            Place::Stash(i) => segment.stash.get_mut(i).map(|(_, item)| item),
        }
    }

    /// Adds an item that is known to be absent. `hash_of` is asked for every item of a segment that splits.
    pub fn insert_unique(&mut self, hash: u64, item: T, hash_of: impl Fn(&T) -> u64) {
        let mut item = item;
        loop {
            // With more depth than items ask for, equal hashes are to blame, and splitting would not help.
            let (len, segment) = (self.len, self.segment_mut(hash));
            let may_split = len >> segment.depth > 0;
            match segment.insert(hash, item, may_split) {
                Ok(()) => break,
                Err(back) => item = back,
            }
            self.split(hash, &hash_of);
        }
        self.len += 1;
    }

    /// Takes the item out.
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<T> {
        let segment = self.segment_mut(hash);
        let item = match segment.find(hash, eq)? {
            Place::Bucket(bucket, slot) => {
                let bucket = &mut segment.buckets[bucket];
                bucket.tags[slot] = 0;
                bucket.items[slot].take()
            }
            Place::Stash(i) => Some(segment.stash.swap_remove(i).1),
        };
        segment.len -= 1;
        self.len -= 1;
        item
    }

    fn split(&mut self, hash: u64, hash_of: &impl Fn(&T) -> u64) {
        let slot = self.slot(hash);
        let index = self.directory[slot] as usize;
        let depth = self.segments[index].depth;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment, segment]).collect();
            self.depth += 1;
        }
        let old = std::mem::replace(&mut self.segments[index], Segment::new(depth + 1));
        let new = self.segments.len();
        self.segments.push(Segment::new(depth + 1));
        // The range of the directory that named the old segment; its upper half now names the new one.
        let span = 1usize << (self.depth - depth);
        let first = self.slot(hash) / span * span;
        self.directory[first + span / 2..first + span].fill(new as u32);
        // First all hashes, then all insertions: items lie anywhere, and so the processor loads many of them at once.
        let items = old.into_items();
        items.iter().for_each(|item| prefetch(item.address()));
        let hashes: Vec<u64> = items.iter().map(hash_of).collect();
        for (item, hash) in items.into_iter().zip(hashes) {
            let placed = self.segment_mut(hash).insert(hash, item, false);
            debug_assert!(placed.is_ok(), "an insertion that may not refuse has refused");
        }
    }

    /// Every item, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(Segment::items)
    }

    /// Visits whole buckets from `cursor` on until `count` items were seen; gives the cursor to go on from, 0 at the
    /// end. An item present during the whole scan is visited at least once. (Redis: SCAN)
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        hash_of: impl Fn(&T) -> u64,
        mut each: impl FnMut(&'a T),
    ) -> u64 {
        let mut place = cursor << CURSOR_SHIFT;
        let mut seen = 0;
        // A sparse table must not make one call walk all of it.
        for _ in 0..count.saturating_mul(10).max(64) {
            let segment = self.segment(place);
            let home = segment.home(place);
            let mut visit = |item: &'a T| {
                if segment.home(hash_of(item)) == home {
                    seen += 1;
                    each(item);
                }
            };
            let bucket = &segment.buckets[home];
            bucket.items.iter().flatten().for_each(&mut visit);
            if bucket.overflowed {
                segment.buckets[(home + 1) % BUCKETS].items.iter().flatten().for_each(&mut visit);
                segment.stash.iter().for_each(|(_, item)| visit(item));
            }
            let width = 1u64 << (64 - BUCKET_BITS - segment.depth);
            match (place & !(width - 1)).checked_add(width) {
                Some(next) => place = next,
                None => return 0,
            }
            if seen >= count {
                break;
            }
        }
        place >> CURSOR_SHIFT
    }

    /// One item, each equally likely; `random(n)` gives a number below n.
    pub fn random(&self, mut random: impl FnMut(usize) -> usize) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        loop {
            let segment = &self.segments[random(self.segments.len())];
            // Room for the longest stash, so that every item of every segment has the same share.
            let place = random(BUCKETS * SLOTS + 2 * STASH_MAX);
            let item = match place.checked_sub(BUCKETS * SLOTS) {
                None => segment.buckets[place / SLOTS].items[place % SLOTS].as_ref(),
                Some(i) => segment.stash.get(i).map(|(_, item)| item),
            };
            if item.is_some() {
                return item;
            }
        }
    }

    /// Starts loading the home bucket of `hash`.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let segment = self.segment(hash);
        prefetch(&raw const segment.buckets[segment.home(hash)]);
    }

    /// The item in the home bucket whose tag fits, unverified: what a prefetch of items wants. Without one the next bucket is
    /// loaded if it may have it.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<&T> {
        let segment = self.segment(hash);
        let home = segment.home(hash);
        let bucket = &segment.buckets[home];
        let found = bucket.position(tag(hash), |_| true).and_then(|i| bucket.items[i].as_ref());
        if found.is_none() && bucket.overflowed {
            prefetch(&raw const segment.buckets[(home + 1) % BUCKETS]);
        }
        found
    }

    /// Bytes the table itself takes, items aside.
    pub fn memory(&self) -> usize {
        self.directory.capacity() * 4
            + self.segments.capacity() * size_of::<Segment<T>>()
            + self.segments.len() * size_of::<[Bucket<T>; BUCKETS]>()
            + self.segments.iter().map(|s| s.stash.capacity() * size_of::<(u8, T)>()).sum::<usize>()
    }
}

/// A cursor is a hash without so many of its low bits, so that clients that read it into a double keep it whole; what a scan
/// has visited has a lower one.
pub const CURSOR_SHIFT: u32 = 16;

#[cfg(test)]
mod tests;
