//! A list of strings, cheap at both ends.

use std::collections::VecDeque;

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The head: LPUSH, LPOP.
    Left,
    /// The tail: RPUSH, RPOP.
    Right,
}

/// The elements, head first.
#[derive(Default)]
pub(crate) struct List {
    elements: VecDeque<Box<[u8]>>,
}

impl List {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Adds one element.
    pub(crate) fn push(&mut self, end: End, element: &[u8]) {
        match end {
            End::Left => self.elements.push_front(element.into()),
            End::Right => self.elements.push_back(element.into()),
        }
    }

    /// Takes one element.
    pub(crate) fn pop(&mut self, end: End) -> Option<Box<[u8]>> {
        match end {
            End::Left => self.elements.pop_front(),
            End::Right => self.elements.pop_back(),
        }
    }

    /// The elements from `first` to `last`, both included.
    pub(crate) fn range(&self, first: usize, last: usize) -> impl Iterator<Item = &[u8]> {
        self.elements.range(first..=last).map(AsRef::as_ref)
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"list");
        self.elements.iter().for_each(|element| part(element));
    }
}
