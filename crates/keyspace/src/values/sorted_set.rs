//! A sorted set: members in the order of their scores, equal scores in the order of the members; found by member, by
//! score and by rank. A small one is a run of bytes that is read from its start; a large one has an index.

mod lens;
mod order;
mod ordered;
mod packed;

use super::compact::{Compact, Form};
use super::element::Element;
use super::limits;
use super::packed::Item;
use crate::number::compare_scores;
use foldhash::fast::FixedState;
use ordered::Ordered;
use packed::Packed;
use std::cmp::Ordering;

/// The order of two items; `then` compares their members.
#[inline]
fn in_order(left: f64, right: f64, then: impl FnOnce() -> Ordering) -> Ordering {
    compare_scores(left, right).then_with(then)
}

/// The members.
#[derive(Clone, Default)]
pub(crate) struct SortedSet(Compact<Packed, Ordered>);

/// Items on their way out.
type Items<'a> = Box<dyn Iterator<Item = (f64, Element<'a>)> + 'a>;

impl SortedSet {
    /// The index of a large one.
    pub(crate) fn ordered_mut(&mut self) -> Option<&mut Ordered> {
        match self.0.get_mut() {
            Form::Small(_) => None,
            Form::Large(ordered) => Some(ordered),
        }
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        match self.0.get() {
            Form::Small(packed) => packed.len(),
            Form::Large(ordered) => ordered.len(),
        }
    }

    /// The bytes of a small one.
    pub(crate) fn packed_bytes(&self) -> Option<usize> {
        match self.0.get() {
            Form::Small(packed) => Some(packed.bytes()),
            Form::Large(_) => None,
        }
    }

    /// As OBJECT ENCODING prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        match self.0.get() {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    /// A member's score.
    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        match self.0.get() {
            Form::Small(packed) => packed.find(member).map(|(_, score)| score),
            Form::Large(ordered) => ordered.score(member),
        }
    }

    /// A member's rank, counted from the lowest score, and its score.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self.0.get() {
            Form::Small(packed) => packed.find(member),
            Form::Large(ordered) => ordered.rank(member),
        }
    }

    /// How many items have a score for which `before` is true; it must be so for all or none above one.
    pub(crate) fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        match self.0.get() {
            Form::Small(packed) => packed.iter().take_while(|(score, _)| before(*score)).count(),
            Form::Large(ordered) => ordered.count_scores(before),
        }
    }

    /// The same by member, where all scores are equal.
    pub(crate) fn count_members(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        match self.0.get() {
            Form::Small(packed) => packed.iter().take_while(|(_, item)| before(&item.element())).count(),
            Form::Large(ordered) => ordered.count_members(before),
        }
    }

    /// Gives a member a score; true when it is new. `hasher` is for a large one that is made now.
    pub(crate) fn put(&mut self, score: f64, member: &[u8], hasher: &FixedState) -> bool {
        let packed = match self.0.get_mut() {
            Form::Small(packed) => packed,
            Form::Large(ordered) => return ordered.put(score, member),
        };
        let before = packed.find(member).map(|(_, score)| score);
        match before {
            Some(before) if before.to_bits() == score.to_bits() => return false,
            Some(_) => drop(packed.remove(member)),
            None => {}
        }
        if packed.len() < limits::SORTED_SET_ENTRIES.size() && member.len() <= limits::SORTED_SET_VALUE.size()
        {
            packed.insert(score, member);
        } else {
            let mut ordered = Ordered::new(hasher.clone());
            for (score, item) in packed.iter() {
                ordered.put(score, &item.element());
            }
            ordered.put(score, member);
            *self = SortedSet(Compact::large(ordered));
        }
        before.is_none()
    }

    /// Removes a member; gives whether it was one.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        match self.0.get_mut() {
            Form::Small(packed) => packed.remove(member),
            Form::Large(ordered) => ordered.remove(member),
        }
    }

    /// The items with ranks from `start` up to `end`, in order or against it.
    pub(crate) fn range(&self, start: usize, end: usize, reverse: bool) -> Items<'_> {
        let end = end.min(self.len());
        match self.0.get() {
            Form::Small(packed) => {
                let items = packed.iter().take(end).skip(start);
                if reverse {
                    // It can only be read forwards.
                    let items: Vec<(f64, Item<'_>)> = items.collect();
                    Box::new(items.into_iter().rev().map(|(score, item)| (score, item.element())))
                } else {
                    Box::new(items.map(|(score, item)| (score, item.element())))
                }
            }
            Form::Large(ordered) => {
                let element = |(score, member)| (score, Element::Borrowed(member));
                if reverse {
                    Box::new(ordered.range_back(start, end).map(element))
                } else {
                    Box::new(ordered.range(start, end).map(element))
                }
            }
        }
    }

    /// All items, in order.
    pub(crate) fn iter(&self) -> Items<'_> {
        self.range(0, self.len(), false)
    }

    /// Any item, each equally likely.
    pub(crate) fn random(&self, rng: &mut fastrand::Rng) -> Option<(f64, Element<'_>)> {
        let rank = rng.usize(..self.len().max(1));
        self.range(rank, rank + 1, false).next()
    }

    /// Visits items from `cursor` on; gives the cursor to go on from. A small set is visited as a whole.
    pub(crate) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut each: impl FnMut(f64, Element<'a>),
    ) -> u64 {
        match self.0.get() {
            Form::Small(packed) => {
                packed.iter().for_each(|(score, item)| each(score, item.element()));
                0
            }
            Form::Large(ordered) => {
                ordered.scan(cursor, count, |score, member| each(score, Element::Borrowed(member)))
            }
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"zset");
        for (score, member) in self.iter() {
            part(&member);
            part(&score.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
