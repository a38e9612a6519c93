//! A large sorted set: a table that owns its members, each with its score in front, and the order of them.

use super::order::{Order, SCORE, Walk};
use crate::change::put_scores;
use crate::db::hash;
use crate::values::walk::{Slot, Step};
use foldhash::fast::FixedState;
use leveret_base::{Table, Thin};

/// The members.
pub(crate) struct Ordered {
    /// Before the index: what it points to lives there.
    order: Order,
    /// By member.
    index: Table<Thin>,
    hasher: FixedState,
    walk: Slot,
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
        Self { order: Order::default(), index: Table::default(), hasher, walk: Slot::default() }
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
                if let Some(walk) = self.walk.changes(hash_of_member, member) {
                    let Step { db, key, out } = walk.step();
                    put_scores(out, db, key, [(before, member)].into_iter());
                }
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
        self.walk.comes(hash_of_member, member);
        true
    }

    /// Removes a member; gives whether it was one.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let hash = hash(&self.hasher, member);
        let item = self.index.remove(hash, |item| member_of(item) == member);
        let Some(item) = item else { return false };
        if let Some(walk) = self.walk.goes(hash, member) {
            let Step { db, key, out } = walk.step();
            put_scores(out, db, key, [(score_of(&item), member)].into_iter());
        }
        self.order.remove(self.order.place_of(score_of(&item), member));
        true
    }

    /// Where a checkpoint's walk through it is kept.
    pub(crate) fn walk(&mut self) -> &mut Slot {
        &mut self.walk
    }

    /// Hands over some members; true after the last ones.
    pub(crate) fn walk_on(&mut self, count: usize) -> bool {
        let Self { index, hasher, walk, .. } = self;
        walk.step(|cursor, is_settled, Step { db, key, out }| {
            let mut items = Vec::new();
            let hash_of = |item: &Thin| hash(hasher, member_of(item));
            let next =
                index.scan(cursor, count, hash_of, |item| items.push((score_of(item), member_of(item))));
            items.retain(|(_, member)| !is_settled(member));
            put_scores(out, *db, key, items.into_iter());
            next
        })
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
