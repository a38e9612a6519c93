//! A sorted set: members in the order of their scores, equal scores in the order of the members; found by member, by
//! score and by rank.
//!
//! The order is kept in two levels: a row of chunks of at most 256 items. A place is found by two binary searches, a rank is
//! the sum of the lengths of the chunks before. That sum grows with the set, but slowly: a million members are about six
//! thousand chunks, whose lengths lie side by side, which takes less time than the cache misses of a balanced tree of that
//! size; and an insertion moves at most one chunk. A skip list costs a random height and several pointers for each
//! member; a counted B-tree would make the sum logarithmic, at the price of three times the code.

use super::limits;
use crate::number::compare_scores;
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

/// Any number: it decides the order in a table, which nothing depends on.
const SEED: u64 = 0x6c65_7665_7265_7423;

fn hash(member: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    hasher.write(member);
    hasher.finish()
}

/// The members.
#[derive(Default, Clone)]
pub(crate) struct SortedSet {
    /// None is empty.
    chunks: Vec<Vec<Item>>,
    len: usize,
    /// By member; small sets have none.
    index: Option<Table<Arc<[u8]>>>,
}

impl SortedSet {
    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// As OBJECT ENCODING prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        if self.index.is_some() { "skiplist" } else { "listpack" }
    }

    /// A member's score.
    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.index {
            Some(index) => {
                index.find(hash(member), |bytes| member_of(bytes) == member).map(|bytes| score_of(bytes))
            }
            None => {
                let mut items = self.chunks.iter().flatten();
                items.find(|item| item.member() == member).map(|item| item.score)
            }
        }
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
        self.place(&|other, name| {
            compare_scores(other, score).then_with(|| name.cmp(member)) == Ordering::Less
        })
    }

    /// A member's rank, counted from the lowest score.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        let (chunk, place) = self.place_of(score, member);
        Some(self.chunks.iter().take(chunk).map(Vec::len).sum::<usize>() + place)
    }

    /// Gives a member a score; true when it is new.
    pub(crate) fn put(&mut self, score: f64, member: &[u8]) -> bool {
        let before = self.score(member);
        if let Some(before) = before {
            if before.to_bits() == score.to_bits() {
                return false;
            }
            self.remove(member);
        }
        let item = Item::new(score, member);
        if self.index.is_none()
            && (self.len >= limits::SORTED_SET_ENTRIES.size()
                || member.len() > limits::SORTED_SET_VALUE.size())
        {
            let mut index = Table::default();
            for item in self.chunks.iter().flatten() {
                index.insert_unique(hash(item.member()), item.bytes.clone(), |bytes| hash(member_of(bytes)));
            }
            self.index = Some(index);
        }
        if let Some(index) = &mut self.index {
            index.insert_unique(hash(member), item.bytes.clone(), |bytes| hash(member_of(bytes)));
        }
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
        self.len += 1;
        before.is_none()
    }

    /// Removes a member; gives whether it was one.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.score(member) else { return false };
        let (chunk, place) = self.place_of(score, member);
        if let Some(index) = &mut self.index {
            index.remove(hash(member), |bytes| member_of(bytes) == member);
        }
        let items = &mut self.chunks[chunk];
        items.remove(place);
        if items.is_empty() {
            self.chunks.remove(chunk);
        }
        self.len -= 1;
        true
    }

    /// The items with ranks from `start` up to `end`, in order or against it.
    pub(crate) fn range(
        &self,
        start: usize,
        end: usize,
        reverse: bool,
    ) -> Box<dyn Iterator<Item = (f64, &[u8])> + '_> {
        let (end, mut chunk, mut skipped) = (end.min(self.len), 0, 0);
        let count = end.saturating_sub(start);
        if reverse {
            let from_end = self.len - end;
            chunk = self.chunks.len();
            while chunk > 0 && skipped + self.chunks[chunk - 1].len() <= from_end {
                skipped += self.chunks[chunk - 1].len();
                chunk -= 1;
            }
            let items = self.chunks[..chunk].iter().rev().flat_map(|items| items.iter().rev());
            let items = items.skip(from_end - skipped).take(count);
            return Box::new(items.map(|item| (item.score, item.member())));
        }
        while chunk < self.chunks.len() && skipped + self.chunks[chunk].len() <= start {
            skipped += self.chunks[chunk].len();
            chunk += 1;
        }
        let items = self.chunks[chunk..].iter().flatten().skip(start.saturating_sub(skipped)).take(count);
        Box::new(items.map(|item| (item.score, item.member())))
    }

    /// All items, in order.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (f64, &[u8])> + '_> {
        self.range(0, self.len, false)
    }

    /// Any item, each equally likely.
    pub(crate) fn random(&self, rng: &mut fastrand::Rng) -> Option<(f64, &[u8])> {
        let rank = rng.usize(..self.len.max(1));
        self.range(rank, rank + 1, false).next()
    }

    /// Visits items from `cursor` on; gives the cursor to go on from. A small set is visited as a whole.
    pub(crate) fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(f64, &'a [u8])) -> u64 {
        match &self.index {
            Some(index) => index.scan(
                cursor,
                count,
                |bytes| hash(member_of(bytes)),
                |bytes| each(score_of(bytes), member_of(bytes)),
            ),
            None => {
                self.iter().for_each(|(score, member)| each(score, member));
                0
            }
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"zset");
        for (score, member) in self.iter() {
            part(member);
            part(&score.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A model of integers as scores, so that they order as they are.
    #[test]
    fn a_sorted_set_does_what_a_sorted_vector_does() {
        for seed in 0..40 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut set, mut plain) = (SortedSet::default(), BTreeMap::<Vec<u8>, i64>::new());
            let (names, scores) = (rng.usize(2..3000), rng.i64(1..5000));
            for step in 0..2500 {
                let member = format!("m{}", rng.usize(..names)).into_bytes();
                match rng.u8(..6) {
                    0..=2 => {
                        let score = rng.i64(-scores..scores);
                        assert_eq!(set.put(score as f64, &member), plain.insert(member, score).is_none());
                    }
                    3 => assert_eq!(set.remove(&member), plain.remove(&member).is_some()),
                    _ if step % 50 == 0 => {
                        let mut order: Vec<(i64, &Vec<u8>)> =
                            plain.iter().map(|(name, score)| (*score, name)).collect();
                        order.sort();
                        let rank = order.iter().position(|(_, name)| **name == member);
                        assert_eq!(set.rank(&member), rank, "seed {seed}");
                        let (start, end) = (rng.usize(..=order.len()), rng.usize(..=order.len() + 3));
                        let names = |items: Vec<(f64, &[u8])>| {
                            items.into_iter().map(|(_, name)| name.to_vec()).collect::<Vec<_>>()
                        };
                        let mut expected: Vec<Vec<u8>> =
                            order.iter().take(end).skip(start).map(|(_, name)| (*name).clone()).collect();
                        assert_eq!(names(set.range(start, end, false).collect()), expected, "seed {seed}");
                        expected.reverse();
                        assert_eq!(names(set.range(start, end, true).collect()), expected, "seed {seed}");
                        let bound = rng.i64(-scores..scores);
                        let below = order.iter().filter(|(score, _)| *score < bound).count();
                        assert_eq!(set.count_before(|score, _| score < bound as f64), below);
                    }
                    _ => assert_eq!(set.score(&member), plain.get(&member).map(|score| *score as f64)),
                }
                assert_eq!(set.len(), plain.len());
            }
            let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = set.scan(cursor, 7, |_, member| {
                    scanned.insert(member.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert!(scanned.iter().eq(plain.keys()), "seed {seed}");
            assert!(set.random(&mut rng).is_none_or(|(_, member)| plain.contains_key(member)));
        }
    }
}
