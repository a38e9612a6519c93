//! A list as a deque of chunks, each a run of elements that can be read from both ends. Work at the ends touches one
//! chunk; work in the middle finds its chunk by the counts and moves at most one chunk's bytes. A long element has a chunk
//! of its own.

mod chunk;

use super::limits;
use chunk::Chunk;
use std::collections::VecDeque;

/// Which end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The head: LPUSH, LPOP.
    Left,
    /// The tail: RPUSH, RPOP.
    Right,
}

/// Whether a chunk may take the element as well; one that holds a single element may be larger than the limit.
fn has_room(chunk: &Chunk, element: &[u8]) -> bool {
    let (count, bytes) = limits::of_chunk();
    chunk.len() < count && chunk.bytes() + Chunk::needs(element) <= bytes
}

/// The elements, head first.
#[derive(Default, Clone)]
pub(crate) struct List {
    chunks: VecDeque<Chunk>,
    len: usize,
}

impl List {
    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// As OBJECT ENCODING prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        if self.chunks.len() <= 1 { "listpack" } else { "quicklist" }
    }

    /// Adds one element.
    pub(crate) fn push(&mut self, end: End, element: &[u8]) {
        let fits = |chunk: &&mut Chunk| has_room(chunk, element);
        let last = match end {
            End::Left => self.chunks.front_mut(),
            End::Right => self.chunks.back_mut(),
        };
        match (last.filter(fits), end) {
            (Some(chunk), End::Left) => chunk.insert(0, element),
            (Some(chunk), End::Right) => chunk.push(element),
            (None, End::Left) => self.chunks.push_front(Chunk::of(element)),
            (None, End::Right) => self.chunks.push_back(Chunk::of(element)),
        }
        self.len += 1;
    }

    /// Takes one element.
    pub(crate) fn pop(&mut self, end: End) -> Option<Box<[u8]>> {
        let chunk = match end {
            End::Left => self.chunks.front_mut()?,
            End::Right => self.chunks.back_mut()?,
        };
        let element = match end {
            End::Left => chunk.pop_front()?,
            End::Right => chunk.pop_back()?,
        };
        if chunk.is_empty() {
            match end {
                End::Left => self.chunks.pop_front(),
                End::Right => self.chunks.pop_back(),
            };
        }
        self.len -= 1;
        Some(element)
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
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let (chunk, place) = self.find(index)?;
        self.chunks.get(chunk)?.iter().nth(place)
    }

    /// Replaces one element.
    pub(crate) fn set(&mut self, index: usize, element: &[u8]) {
        if self.remove(index) {
            self.insert(index, element);
        }
    }

    /// Puts an element in front of the one at `index`, or at the end.
    pub(crate) fn insert(&mut self, index: usize, element: &[u8]) {
        let Some((at, place)) = self.find(index) else { return self.push(End::Right, element) };
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        if has_room(chunk, element) {
            chunk.insert(place, element);
        } else {
            // The chunk is full: what stands behind the place gets a chunk of its own, and so does the element.
            let behind = chunk.split_off(place);
            let is_empty = chunk.is_empty();
            self.chunks.insert(at + 1, Chunk::of(element));
            if !behind.is_empty() {
                self.chunks.insert(at + 2, behind);
            }
            if is_empty {
                self.chunks.remove(at);
            }
        }
        self.len += 1;
    }

    /// Removes one element; gives whether it was there.
    pub(crate) fn remove(&mut self, index: usize) -> bool {
        let Some((at, place)) = self.find(index) else { return false };
        let Some(chunk) = self.chunks.get_mut(at) else { return false };
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        true
    }

    /// Keeps `len` elements from `start` on.
    pub(crate) fn trim(&mut self, start: usize, len: usize) {
        for (end, count) in [
            (End::Left, start.min(self.len)),
            (End::Right, self.len.saturating_sub(start.saturating_add(len))),
        ] {
            let mut left = count;
            while left > 0 {
                let chunk = if end == End::Left { self.chunks.front() } else { self.chunks.back() };
                let Some(count) = chunk.map(Chunk::len) else { break };
                if count <= left {
                    drop(if end == End::Left { self.chunks.pop_front() } else { self.chunks.pop_back() });
                    (self.len, left) = (self.len - count, left - count);
                } else {
                    self.pop(end);
                    left -= 1;
                }
            }
        }
    }

    /// The elements from `first` to `last`, both included.
    pub(crate) fn range(&self, first: usize, last: usize) -> impl Iterator<Item = &[u8]> {
        let (chunk, place) = self.find(first).unwrap_or((self.chunks.len(), 0));
        let elements = self.chunks.range(chunk.min(self.chunks.len())..).flat_map(Chunk::iter);
        elements.skip(place).take((last + 1).saturating_sub(first))
    }

    /// All elements from one end to the other.
    pub(crate) fn iter(&self, from: End) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        match from {
            End::Left => Box::new(self.chunks.iter().flat_map(Chunk::iter)),
            End::Right => Box::new(self.chunks.iter().rev().flat_map(Chunk::iter_back)),
        }
    }

    /// Everything it contains, for a digest.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(b"list");
        self.iter(End::Left).for_each(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_does_what_a_deque_does() {
        for seed in 0..80 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut list, mut plain) = (List::default(), VecDeque::<Vec<u8>>::new());
            let len_max = [8, 300, 3000, 20_000][rng.usize(..4)];
            for _ in 0..400 {
                let len = rng.usize(..len_max);
                let element = vec![rng.u8(..); len];
                let end = if rng.bool() { End::Left } else { End::Right };
                let index = rng.usize(..=plain.len());
                match rng.u8(..12) {
                    0..=4 => {
                        list.push(end, &element);
                        if end == End::Left { plain.push_front(element) } else { plain.push_back(element) }
                    }
                    5 | 6 => {
                        let popped = if end == End::Left { plain.pop_front() } else { plain.pop_back() };
                        assert_eq!(list.pop(end).as_deref(), popped.as_deref(), "seed {seed}");
                    }
                    7 => {
                        list.insert(index, &element);
                        plain.insert(index, element);
                    }
                    8 if index < plain.len() => {
                        list.set(index, &element);
                        plain[index] = element;
                    }
                    9 => assert_eq!(list.remove(index), plain.remove(index).is_some()),
                    10 if rng.u8(..10) == 0 => {
                        let len = rng.usize(..=plain.len());
                        list.trim(index, len);
                        plain = plain.into_iter().skip(index).take(len).collect();
                    }
                    _ => {
                        assert_eq!(list.get(index), plain.get(index).map(Vec::as_slice), "seed {seed}");
                        let last = index + rng.usize(..20);
                        let expected = plain.iter().skip(index).take(last - index + 1);
                        assert!(list.range(index, last).eq(expected), "seed {seed}");
                    }
                }
                assert_eq!(list.len(), plain.len());
            }
            assert!(list.iter(End::Left).eq(plain.iter()), "seed {seed}");
            assert!(list.iter(End::Right).eq(plain.iter().rev()), "seed {seed}");
            assert!(list.chunks.iter().all(
                |chunk| !chunk.is_empty() && (chunk.len() == 1 || chunk.bytes() <= limits::of_chunk().1)
            ));
        }
    }
}
