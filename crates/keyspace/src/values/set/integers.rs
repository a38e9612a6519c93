//! Integers in ascending order, each as wide as the widest of them: two, four or eight bytes. (Redis: intset)

use std::cmp::Ordering;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Width {
    #[default]
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

/// The integers, lowest byte first, in an allocation of just their size.
#[derive(Default, Clone)]
pub(crate) struct Integers {
    bytes: Box<[u8]>,
    width: Width,
}

impl Integers {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.width as usize
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<i64> {
        let at = index * self.width as usize;
        let bytes = self.bytes.get(at..at + self.width as usize)?;
        Some(match self.width {
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
        let width = Width::of(integer).max(self.width);
        if width > self.width {
            let mut bytes = Vec::with_capacity((self.len() + 1) * width as usize);
            for other in self.iter() {
                bytes.extend_from_slice(&other.to_le_bytes()[..width as usize]);
            }
            *self = Self { bytes: bytes.into_boxed_slice(), width };
        }
        let width = width as usize;
        let at = self.search(integer).unwrap_or_else(|place| place) * width;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        let end = bytes.len();
        bytes.reserve_exact(width);
        bytes.resize(end + width, 0);
        bytes.copy_within(at..end, at + width);
        bytes[at..at + width].copy_from_slice(&integer.to_le_bytes()[..width]);
        self.bytes = bytes.into_boxed_slice();
    }

    /// Removes an integer; gives whether it was there.
    pub(super) fn remove(&mut self, integer: i64) -> bool {
        let Ok(index) = self.search(integer) else { return false };
        let (at, width) = (index * self.width as usize, self.width as usize);
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.drain(at..at + width);
        self.bytes = bytes.into_boxed_slice();
        true
    }
}
