//! A large sorted set: a table that owns its members, each with its score in front, and the order of them.

use super::order::{Order, SCORE, Walk};
use crate::db::hash;
use foldhash::fast::FixedState;
use leveret_base::{Table, Thin};

/// The members.
pub(crate) struct Ordered {
    /// Before the index: what it points to lives there.
    order: Order,
    /// By member.
    index: Table<Thin>,
    hasher: FixedState,
}

fn member_of(item: &Thin) -> &[u8] {
    item.bytes().get(SCORE..).unwrap_or_default()
}

fn score_of(item: &Thin) -> f64 {
    item.bytes().first_chunk::<SCORE>().map_or(0.0, |score| f64::from_le_bytes(*score))
}

impl Ordered {
    /// An empty one.
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { order: Order::default(), index: Table::default(), hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// A member's score.
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.index.find(hash(&self.hasher, member), |item| member_of(item) == member).map(score_of)
    }

    /// A member's rank, counted from the lowest score, and its score.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.order.rank(self.order.place_of(score, member)), score))
    }

    pub(super) fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        self.order.count_scores(before)
    }

    pub(super) fn count_members(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.order.count_members(before)
    }

    /// Gives a member a score; true when it is new.
    pub(super) fn put(&mut self, score: f64, member: &[u8]) -> bool {
        let (hasher, order) = (&self.hasher, &mut self.order);
        let hash_of_member = hash(hasher, member);
        if let Some(item) = self.index.find_mut(hash_of_member, |item| member_of(item) == member) {
            let before = score_of(item);
            if before.to_bits() != score.to_bits() {
                if let Some(place) = item.bytes_mut().first_chunk_mut::<SCORE>() {
                    *place = score.to_le_bytes();
                }
                order.rescore(before, score, item.alias(), member);
            }
            return false;
        }
        let item = Thin::new(&[&score.to_le_bytes(), member]);
        order.insert(score, item.alias(), member);
        self.index.insert_unique(hash_of_member, item, |item| hash(hasher, member_of(item)));
        true
    }

    /// Removes a member; gives whether it was one.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let item = self.index.remove(hash(&self.hasher, member), |item| member_of(item) == member);
        let Some(item) = item else { return false };
        self.order.remove(self.order.place_of(score_of(&item), member));
        true
    }

    /// The items with ranks from `start` up to `end`, which is at most the last one's.
    pub(super) fn range(&self, start: usize, end: usize) -> Walk<'_> {
        self.order.range(start, end)
    }

    /// The same, last one first.
    pub(super) fn range_back(&self, start: usize, end: usize) -> Walk<'_> {
        self.order.range_back(start, end)
    }

    /// Visits items from `cursor` on; gives the cursor to go on from.
    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, mut each: impl FnMut(f64, &'a [u8])) -> u64 {
        let hash_of = |item: &Thin| hash(&self.hasher, member_of(item));
        self.index.scan(cursor, count, hash_of, |item| each(score_of(item), member_of(item)))
    }
}

impl Clone for Ordered {
    fn clone(&self) -> Self {
        // The copy's order points to members of its own.
        let mut copy = Self::new(self.hasher.clone());
        for (score, member) in self.range(0, self.len()) {
            copy.put(score, member);
        }
        copy
    }
}
