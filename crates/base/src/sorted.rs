//! A map in the order of its keys that takes little more than what is in it: blocks of some dozens of elements, most of which
//! are full where keys come in order. For what comes in order and mostly leaves in order. An element tells its own key; the
//! trap: nobody may change that while it is here.

mod blocks;

use blocks::{All, Blocks};
use std::iter::Flatten;

/// What tells its own key.
pub trait Keyed {
    /// What it is found by.
    type Key: Copy + Ord;

    /// The same as long as it is in a map.
    fn key(&self) -> Self::Key;
}

impl Keyed for u64 {
    type Key = u64;

    #[inline]
    fn key(&self) -> u64 {
        *self
    }
}

/// Elements in the order of their keys, each key once. Where there never was one it is a pointer only.
pub struct Sorted<T: Keyed>(Option<Box<Blocks<T>>>);

impl<T: Keyed> Default for Sorted<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Keyed> Sorted<T> {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |blocks| blocks.len())
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element of that key.
    #[inline]
    pub fn get(&self, key: T::Key) -> Option<&T> {
        self.0.as_ref()?.get(key)
    }

    /// Likewise, to be changed.
    #[inline]
    pub fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        self.0.as_mut()?.get_mut(key)
    }

    /// Puts an element in its place; gives the one that had its key.
    #[inline]
    pub fn insert(&mut self, element: T) -> Option<T> {
        self.0.get_or_insert_default().insert(element)
    }

    /// Takes out the element of that key.
    #[inline]
    pub fn remove(&mut self, key: T::Key) -> Option<T> {
        self.0.as_mut()?.remove(key)
    }

    /// Takes out the first one.
    #[inline]
    pub fn pop_first(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_first()
    }

    /// Takes out everything up to a key.
    pub fn take_through(&mut self, key: T::Key) -> Vec<T> {
        self.0.as_mut().map(|blocks| blocks.take_through(key)).unwrap_or_default()
    }

    /// The first one.
    #[inline]
    pub fn first(&self) -> Option<&T> {
        self.0.as_ref()?.first()
    }

    /// The first one from a key on.
    #[inline]
    pub fn first_from(&self, key: T::Key) -> Option<&T> {
        self.0.as_ref()?.range_from(key).next()
    }

    /// All from a key on, in order.
    pub fn range_from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(move |blocks| blocks.range_from(key))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|blocks| blocks.iter())
    }

    /// All, in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flat_map(|blocks| blocks.iter_mut())
    }
}

impl<T: Keyed> IntoIterator for Sorted<T> {
    type Item = T;
    type IntoIter = Flatten<std::option::IntoIter<All<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(|blocks| blocks.into_all()).into_iter().flatten()
    }
}

impl<T: Keyed> Extend<T> for Sorted<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        for element in elements {
            self.insert(element);
        }
    }
}

impl<T: Keyed> FromIterator<T> for Sorted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut sorted = Self::default();
        sorted.extend(elements);
        sorted
    }
}

#[cfg(test)]
mod tests;
