//! A small sorted set as one run of bytes: for each item its score, then its member, in the order of the set.

use super::in_order;
use crate::values::compact::Small;
use crate::values::packed::{Item, Number, Run};
use std::cmp::Ordering;
use std::ops::Range;

/// The items.
#[derive(Default, Clone)]
#[repr(transparent)]
pub(crate) struct Packed(Run);

// SAFETY: it is a transparent wrapper of a run.
unsafe impl Small for Packed {}

/// An item and where it lies.
struct Place<'a> {
    at: Range<usize>,
    score: f64,
    member: Item<'a>,
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.size()
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let entries = self.0.entries(|run| {
            let (score, score_size) = Number::read(run)?;
            let (member, size) = Item::read(run.get(score_size..)?)?;
            Some(((score.value(), member), score_size + size))
        });
        entries.map(|(at, (score, member))| Place { at, score, member })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (f64, Item<'_>)> {
        self.places().map(|place| (place.score, place.member))
    }

    /// Rank and score of a member.
    pub(super) fn find(&self, member: &[u8]) -> Option<(usize, f64)> {
        let wanted = Item::of(member);
        self.iter().enumerate().find(|(_, (_, item))| *item == wanted).map(|(rank, (score, _))| (rank, score))
    }

    /// Adds a member that is known to be absent.
    pub(super) fn insert(&mut self, score: f64, member: &[u8]) {
        let comes_after = |place: &Place<'_>| {
            in_order(place.score, score, || (*place.member.element()).cmp(member)) == Ordering::Greater
        };
        let at = self.places().find(comes_after).map_or(self.0.run().len(), |place| place.at.start);
        let (number, item) = (Number::of(score), Item::of(member));
        let room = self.0.room(at..at, number.size() + item.size(), self.len() + 1);
        item.write(number.write(room));
    }

    /// Removes a member; gives whether it was one.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let wanted = Item::of(member);
        let Some(at) = self.places().find(|place| place.member == wanted).map(|place| place.at) else {
            return false;
        };
        self.0.room(at, 0, self.len() - 1);
        true
    }
}
