//! A large sorted set: a table of its members beside their order.
//!
//! The order is kept in two levels: a row of chunks of at most 256 items. A place is found by two binary searches, a rank is
//! the sum of the lengths of the chunks before. That sum grows with the set, but slowly: a million members are about six
//! thousand chunks, whose lengths lie side by side, which takes less time than the cache misses of a balanced tree of that
//! size; and an insertion moves at most one chunk. A skip list costs a random height and several pointers for each
//! member; a counted B-tree would make the sum logarithmic, at the price of three times the code.

use super::in_order;
use foldhash::fast::FixedState;
use leveret_base::Table;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

const CHUNK_MAX: usize = 256;

/// The member's bytes are shared by the order and the index; the index has the score in front of them.
#[derive(Clone)]
struct Item {
    score: f64,
    bytes: Arc<[u8]>,
}

const SCORE: usize = 8;

impl Item {
    fn new(score: f64, member: &[u8]) -> Self {
        let bytes: Vec<u8> = score.to_le_bytes().iter().chain(member).copied().collect();
        Self { score, bytes: bytes.into() }
    }

    fn member(&self) -> &[u8] {
        member_of(&self.bytes)
    }
}

fn member_of(bytes: &[u8]) -> &[u8] {
    bytes.get(SCORE..).unwrap_or_default()
}

fn score_of(bytes: &[u8]) -> f64 {
    bytes.first_chunk::<SCORE>().map_or(0.0, |score| f64::from_le_bytes(*score))
}

/// The members.
#[derive(Clone)]
pub(crate) struct Ordered {
    /// None is empty.
    chunks: Vec<Vec<Item>>,
    /// By member.
    index: Table<Arc<[u8]>>,
    hasher: FixedState,
}

fn hash(hasher: &FixedState, member: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(member);
    hasher.finish()
}

impl Ordered {
    /// An empty one.
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { chunks: Vec::new(), index: Table::default(), hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// A member's score.
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        let hash = hash(&self.hasher, member);
        self.index.find(hash, |bytes| member_of(bytes) == member).map(|bytes| score_of(bytes))
    }

    /// How many items stand before the first one for which `before` is false; it must be true up to there.
    pub(crate) fn count_before(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        let (chunk, place) = self.place(&before);
        self.chunks.iter().take(chunk).map(Vec::len).sum::<usize>() + place
    }

    fn place(&self, before: &impl Fn(f64, &[u8]) -> bool) -> (usize, usize) {
        let is_before = |item: &Item| before(item.score, item.member());
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(is_before));
        (chunk, self.chunks.get(chunk).map_or(0, |items| items.partition_point(is_before)))
    }

    fn place_of(&self, score: f64, member: &[u8]) -> (usize, usize) {
        self.place(&|other, name| in_order(other, score, || name.cmp(member)) == Ordering::Less)
    }

    /// A member's rank, counted from the lowest score, and its score.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        let (chunk, place) = self.place_of(score, member);
        Some((self.chunks.iter().take(chunk).map(Vec::len).sum::<usize>() + place, score))
    }

    /// Adds a member that is known to be absent.
    pub(super) fn insert(&mut self, score: f64, member: &[u8]) {
        let item = Item::new(score, member);
        let hasher = self.hasher.clone();
        self.index.insert_unique(hash(&hasher, member), item.bytes.clone(), |bytes| {
            hash(&hasher, member_of(bytes))
        });
        let (chunk, place) = self.place_of(score, member);
        // What comes after everything belongs to the last chunk.
        let (chunk, place) = match self.chunks.len() {
            0 => {
                self.chunks.push(Vec::new());
                (0, 0)
            }
            count if chunk == count => (count - 1, self.chunks[count - 1].len()),
            _ => (chunk, place),
        };
        let items = &mut self.chunks[chunk];
        items.insert(place, item);
        if items.len() > CHUNK_MAX {
            // Ascending insertions leave full chunks behind.
            let at = if place + 1 == items.len() { CHUNK_MAX } else { CHUNK_MAX / 2 };
            let behind = items.split_off(at);
            self.chunks.insert(chunk + 1, behind);
        }
    }

    /// Removes a member; gives whether it was one.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.score(member) else { return false };
        let (chunk, place) = self.place_of(score, member);
        self.index.remove(hash(&self.hasher, member), |bytes| member_of(bytes) == member);
        let items = &mut self.chunks[chunk];
        items.remove(place);
        if items.is_empty() {
            self.chunks.remove(chunk);
        }
        true
    }

    /// The items with ranks from `start` up to `end`, which is at most the last one's.
    pub(super) fn range(&self, start: usize, end: usize) -> impl Iterator<Item = (f64, &[u8])> {
        let (mut chunk, mut skipped) = (0, 0);
        while chunk < self.chunks.len() && skipped + self.chunks[chunk].len() <= start {
            skipped += self.chunks[chunk].len();
            chunk += 1;
        }
        let items = self.chunks[chunk..].iter().flatten().skip(start.saturating_sub(skipped));
        items.take(end.saturating_sub(start)).map(|item| (item.score, item.member()))
    }

    /// The same, last one first.
    pub(super) fn range_back(&self, start: usize, end: usize) -> impl Iterator<Item = (f64, &[u8])> {
        let (from_end, mut chunk, mut skipped) = (self.len() - end, self.chunks.len(), 0);
        while chunk > 0 && skipped + self.chunks[chunk - 1].len() <= from_end {
            skipped += self.chunks[chunk - 1].len();
            chunk -= 1;
        }
        let items = self.chunks[..chunk].iter().rev().flat_map(|items| items.iter().rev());
        let items = items.skip(from_end - skipped).take(end.saturating_sub(start));
        items.map(|item| (item.score, item.member()))
    }

    /// Visits items from `cursor` on; gives the cursor to go on from.
    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(f64, &'a [u8])) -> u64 {
        let hash_of = |bytes: &Arc<[u8]>| hash(&self.hasher, member_of(bytes));
        self.index.scan(cursor, count, hash_of, |bytes| each(score_of(bytes), member_of(bytes)))
    }
}
