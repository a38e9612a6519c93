//! Integers in ascending order, each as wide as the widest of them: two, four or eight bytes. (Redis: intset)

use crate::values::packed::Run;
use std::cmp::Ordering;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two = 2,
    Four = 4,
    Eight = 8,
}

impl Width {
    fn of(integer: i64) -> Self {
        if i16::try_from(integer).is_ok() {
            Width::Two
        } else if i32::try_from(integer).is_ok() {
            Width::Four
        } else {
            Width::Eight
        }
    }
}

/// The integers, lowest byte first.
#[derive(Default, Clone)]
pub(crate) struct Integers(Run);

impl Integers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn size(&self) -> usize {
        self.0.size()
    }

    fn width(&self) -> Width {
        match self.0.run().len() / self.len().max(1) {
            8 => Width::Eight,
            4 => Width::Four,
            _ => Width::Two,
        }
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<i64> {
        let width = self.width();
        let at = index * width as usize;
        let bytes = self.0.run().get(at..at + width as usize)?;
        Some(match width {
            Width::Two => i64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
            Width::Four => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
            Width::Eight => i64::from_le_bytes(bytes.try_into().ok()?),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Where an integer is, or would be.
    fn search(&self, integer: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle).map_or(Ordering::Greater, |other| other.cmp(&integer)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn contains(&self, integer: i64) -> bool {
        self.search(integer).is_ok()
    }

    /// Adds an integer that is not there.
    pub(super) fn insert(&mut self, integer: i64) {
        let (len, before) = (self.len(), self.width());
        let width = Width::of(integer).max(before);
        if width > before && len > 0 {
            let others: Vec<u8> =
                self.iter().flat_map(|other| other.to_le_bytes().into_iter().take(width as usize)).collect();
            let end = self.0.run().len();
            self.0.room(0..end, others.len(), len).copy_from_slice(&others);
        }
        let at = self.search(integer).unwrap_or_else(|place| place) * width as usize;
        let room = self.0.room(at..at, width as usize, len + 1);
        room.copy_from_slice(&integer.to_le_bytes()[..width as usize]);
    }

    /// Removes an integer; gives whether it was there.
    pub(super) fn remove(&mut self, integer: i64) -> bool {
        let Ok(index) = self.search(integer) else { return false };
        let width = self.width() as usize;
        self.0.room(index * width..(index + 1) * width, 0, self.len() - 1);
        true
    }
}
