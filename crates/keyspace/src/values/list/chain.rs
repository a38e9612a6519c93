//! A list of many chunks. Work at the ends touches one chunk; work in the middle finds its chunk by the counts and moves at
//! most one chunk's bytes. A long element has a chunk of its own. A copy shares the chunks until they are written to, so a
//! checkpoint can hold what a list was.

use super::chunk::Chunk;
use super::{End, has_room};
use crate::values::element::Element;
use crate::values::packed::Item;
use std::collections::VecDeque;
use std::sync::Arc;

/// The elements, head first.
#[derive(Default, Clone)]
pub(crate) struct Chain {
    chunks: VecDeque<Arc<Chunk>>,
    len: usize,
    /// What the last elements of the last chunk take, once somebody has popped from the right: a chunk is read from its start
    /// only. Empty when that is not known.
    sizes: Vec<u32>,
}

impl Chain {
    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// True when it is no more than its one chunk.
    pub(super) fn is_one(&self) -> bool {
        self.chunks.len() <= 1
    }

    /// The one chunk.
    pub(super) fn one(&self) -> Option<&Chunk> {
        self.chunks.front().filter(|_| self.is_one()).map(|chunk| &**chunk)
    }

    /// Adds one element.
    pub(super) fn push(&mut self, end: End, element: &[u8]) {
        let element = Item::of(element);
        let fits = |chunk: &&mut Arc<Chunk>| has_room(chunk, element);
        let last = match end {
            End::Left => self.chunks.front_mut(),
            End::Right => self.chunks.back_mut(),
        };
        match (last.filter(fits), end) {
            (Some(chunk), End::Left) => Arc::make_mut(chunk).insert(0, element),
            (Some(chunk), End::Right) => {
                Arc::make_mut(chunk).push(element);
                if !self.sizes.is_empty() {
                    self.sizes.push(element.size() as u32);
                }
            }
            (None, End::Left) => self.chunks.push_front(Arc::new(Chunk::of(element))),
            (None, End::Right) => {
                self.chunks.push_back(Arc::new(Chunk::of(element)));
                self.sizes = Vec::new();
            }
        }
        self.len += 1;
    }

    /// Hands over one element and removes it; gives whether there was one.
    pub(super) fn pop(&mut self, end: End, each: impl FnOnce(&[u8])) -> bool {
        match end {
            End::Left => self.pop_left(each),
            End::Right => self.pop_right(each),
        }
    }

    fn pop_left(&mut self, each: impl FnOnce(&[u8])) -> bool {
        let Some(chunk) = self.chunks.front_mut() else { return false };
        let chunk = Arc::make_mut(chunk);
        let popped = chunk.pop_left(each);
        self.len -= usize::from(popped);
        let left = chunk.len();
        if left == 0 {
            self.chunks.pop_front();
        }
        if self.chunks.len() <= 1 && self.sizes.len() > left {
            // It was the last chunk's, too.
            self.sizes = Vec::new();
        }
        popped
    }

    fn pop_right(&mut self, each: impl FnOnce(&[u8])) -> bool {
        let Some(chunk) = self.chunks.back_mut() else { return false };
        let chunk = Arc::make_mut(chunk);
        if self.sizes.is_empty() {
            self.sizes = chunk.sizes();
        }
        let Some(size) = self.sizes.pop() else { return false };
        chunk.pop_right(size, each);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.pop_back();
        }
        true
    }

    /// Chunk and place in it of an element.
    fn find(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut left = index;
            for (i, chunk) in self.chunks.iter().enumerate() {
                match left.checked_sub(chunk.len()) {
                    Some(rest) => left = rest,
                    None => return Some((i, left)),
                }
            }
            return None;
        }
        let mut from_end = self.len - index;
        for (i, chunk) in self.chunks.iter().enumerate().rev() {
            match from_end.checked_sub(chunk.len()) {
                Some(rest) if rest > 0 => from_end = rest,
                Some(_) | None => return Some((i, chunk.len() - from_end)),
            }
        }
        None
    }

    /// One element.
    pub(super) fn get(&self, index: usize) -> Option<Element<'_>> {
        let (chunk, place) = self.find(index)?;
        self.chunks.get(chunk)?.iter().nth(place)
    }

    /// Puts an element in front of the one at `index`, or at the end.
    pub(super) fn insert(&mut self, index: usize, element: &[u8]) {
        let Some((at, place)) = self.find(index) else { return self.push(End::Right, element) };
        self.sizes = Vec::new();
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let (chunk, element) = (Arc::make_mut(chunk), Item::of(element));
        if has_room(chunk, element) {
            chunk.insert(place, element);
        } else {
            // The chunk is full: what stands behind the place gets a chunk of its own, and so does the element.
            let behind = chunk.split_off(place);
            let is_empty = chunk.is_empty();
            self.chunks.insert(at + 1, Arc::new(Chunk::of(element)));
            if !behind.is_empty() {
                self.chunks.insert(at + 2, Arc::new(behind));
            }
            if is_empty {
                self.chunks.remove(at);
            }
        }
        self.len += 1;
    }

    /// Removes the elements at these indexes, which ascend: each chunk is gone through once, however many it loses.
    pub(super) fn remove(&mut self, indexes: &[usize]) {
        let Some((mut at, place)) = indexes.first().and_then(|first| self.find(*first)) else { return };
        let (mut left, mut before, mut emptied) = (indexes, indexes[0] - place, false);
        self.sizes = Vec::new();
        while let Some(chunk) = self.chunks.get_mut(at).filter(|_| !left.is_empty()) {
            let len = chunk.len();
            let (here, behind) = left.split_at(left.partition_point(|index| *index < before + len));
            if !here.is_empty() {
                let chunk = Arc::make_mut(chunk);
                chunk.remove(here, before);
                emptied |= chunk.is_empty();
                self.len -= len - chunk.len();
            }
            (left, before, at) = (behind, before + len, at + 1);
        }
        if emptied {
            self.chunks.retain(|chunk| !chunk.is_empty());
        }
    }

    /// Keeps `len` elements from `start` on.
    pub(super) fn trim(&mut self, start: usize, len: usize) {
        for (end, count) in [
            (End::Left, start.min(self.len)),
            (End::Right, self.len.saturating_sub(start.saturating_add(len))),
        ] {
            let mut left = count;
            while left > 0 {
                let chunk = if end == End::Left { self.chunks.front() } else { self.chunks.back() };
                let Some(count) = chunk.map(|chunk| chunk.len()) else { break };
                if count <= left {
                    self.sizes = Vec::new();
                    drop(if end == End::Left { self.chunks.pop_front() } else { self.chunks.pop_back() });
                    (self.len, left) = (self.len - count, left - count);
                } else {
                    self.pop(end, |_| {});
                    left -= 1;
                }
            }
        }
    }

    /// Hands over `left` elements from `first` on, or as many as there are.
    pub(super) fn range(&self, first: usize, mut left: usize, mut each: impl FnMut(&[u8])) {
        let Some((at, mut place)) = self.find(first) else { return };
        for chunk in self.chunks.range(at..) {
            if left == 0 {
                break;
            }
            chunk.range(std::mem::take(&mut place), &mut left, &mut each);
        }
    }

    /// The elements of one chunk, by its place from the left.
    pub(super) fn part(&self, place: usize) -> Option<impl Iterator<Item = Element<'_>>> {
        self.chunks.get(place).map(|chunk| chunk.iter())
    }

    /// All elements from one end to the other.
    pub(super) fn iter(&self, from: End) -> Box<dyn Iterator<Item = Element<'_>> + '_> {
        match from {
            End::Left => Box::new(self.chunks.iter().flat_map(|chunk| chunk.iter())),
            End::Right => Box::new(self.chunks.iter().rev().flat_map(|chunk| chunk.iter_back())),
        }
    }
}

impl From<Chunk> for Chain {
    fn from(chunk: Chunk) -> Self {
        let len = chunk.len();
        Self {
            chunks: if chunk.is_empty() { VecDeque::new() } else { VecDeque::from([Arc::new(chunk)]) },
            len,
            sizes: Vec::new(),
        }
    }
}

#[cfg(test)]
impl Chain {
    /// No chunk is empty, and one that is too large has one element.
    pub(super) fn check(&self) {
        let bytes_max = crate::values::limits::of_chunk().1;
        let is_right = |chunk: &Chunk| !chunk.is_empty() && (chunk.len() == 1 || chunk.bytes() <= bytes_max);
        assert!(self.chunks.iter().all(|chunk| is_right(chunk)));
        assert_eq!(self.len, self.chunks.iter().map(|chunk| chunk.len()).sum::<usize>());
        let sizes = self.chunks.back().map(|chunk| chunk.sizes()).unwrap_or_default();
        assert!(sizes.ends_with(&self.sizes));
    }
}
