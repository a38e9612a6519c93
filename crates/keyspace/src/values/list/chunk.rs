//! A part of a large list: elements one behind the other, as small collections have them. It is read from its start; who
//! wants to go backwards collects first where its elements begin.

use crate::values::element::Element;
use crate::values::limits;
use crate::values::packed::Item;

/// Elements one behind the other, from `start` on.
#[derive(Default, Clone)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    start: u32,
    len: u32,
}

/// Up to here a run has an allocation of just its size; a longer one doubles.
const EXACT_MAX: usize = 512;

impl Chunk {
    /// One element alone.
    pub(super) fn of(element: Item<'_>) -> Self {
        let mut chunk = Self::default();
        chunk.push(element);
        chunk
    }

    /// So many elements of a small list, which are these bytes.
    pub(super) fn from_run(run: &[u8], len: usize) -> Self {
        Self { bytes: run.to_vec(), start: 0, len: len as u32 }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all elements.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.start as usize
    }

    /// Elements one behind the other.
    pub(super) fn run(&self) -> &[u8] {
        self.bytes.get(self.start as usize..).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let mut run = self.run();
        std::iter::from_fn(move || {
            let (element, size) = Item::read(run)?;
            run = run.get(size..)?;
            Some(element.element())
        })
    }

    /// Hands over up to `left` elements from a place on, and counts them down.
    pub(super) fn range(&self, place: usize, left: &mut usize, each: &mut impl FnMut(&[u8])) {
        let mut run = self.bytes.get(self.offset(place)..).unwrap_or_default();
        while *left > 0
            && let Some((element, size)) = Item::read(run)
        {
            match element {
                Item::Bytes(bytes) => each(bytes),
                Item::Integer(integer) => each(&Element::integer(integer)),
            }
            run = run.get(size..).unwrap_or_default();
            *left -= 1;
        }
    }

    /// What each element takes, in order.
    pub(super) fn sizes(&self) -> Vec<u32> {
        let mut run = self.run();
        let mut sizes = Vec::with_capacity(self.len());
        while let Some((_, size)) = Item::read(run) {
            sizes.push(size as u32);
            run = run.get(size..).unwrap_or_default();
        }
        sizes
    }

    pub(super) fn iter_back(&self) -> impl Iterator<Item = Element<'_>> {
        let mut run = self.run();
        self.sizes().into_iter().rev().map_while(move |size| {
            let (before, element) = run.split_at_checked(run.len().checked_sub(size as usize)?)?;
            run = before;
            Some(Item::read(element)?.0.element())
        })
    }

    /// Makes the bytes longer by so many.
    fn grow(&mut self, more: usize) {
        let (before, after) = (self.bytes.len(), self.bytes.len() + more);
        if after > self.bytes.capacity() {
            // Not beyond what a chunk may have.
            let doubled = (self.bytes.capacity() * 2).min(limits::of_chunk().1);
            self.bytes.reserve_exact(if after > EXACT_MAX { doubled.max(after) - before } else { more });
        }
        self.bytes.resize(after, 0);
    }

    pub(super) fn push(&mut self, element: Item<'_>) {
        let end = self.bytes.len();
        self.grow(element.size());
        element.write(&mut self.bytes[end..]);
        self.len += 1;
    }

    /// Hands over the first element and removes it; gives whether there was one.
    pub(super) fn pop_left(&mut self, each: impl FnOnce(&[u8])) -> bool {
        let Some((element, size)) = Item::read(self.run()) else { return false };
        each(&element.element());
        self.len -= 1;
        self.start += size as u32;
        if self.start as usize > self.bytes.len() / 2 {
            self.bytes.drain(..self.start as usize);
            self.start = 0;
        }
        true
    }

    /// Hands over the last element, of which the caller knows the size, and removes it.
    pub(super) fn pop_right(&mut self, size: u32, each: impl FnOnce(&[u8])) {
        let place = self.bytes.len() - size as usize;
        if let Some((element, _)) = self.bytes.get(place..).and_then(Item::read) {
            each(&element.element());
        }
        self.len -= 1;
        self.bytes.truncate(place);
    }

    /// Where the element at a place begins.
    fn offset(&self, place: usize) -> usize {
        let mut offset = self.start as usize;
        for _ in 0..place {
            offset += Item::read(self.bytes.get(offset..).unwrap_or_default()).map_or(0, |(_, size)| size);
        }
        offset
    }

    pub(super) fn insert(&mut self, place: usize, element: Item<'_>) {
        let needs = element.size();
        let start = if place == 0 && self.start as usize >= needs {
            // What was taken from the front has left room.
            self.start -= needs as u32;
            self.start as usize
        } else {
            let (offset, end) = (self.offset(place), self.bytes.len());
            self.grow(needs);
            self.bytes.copy_within(offset..end, offset + needs);
            offset
        };
        element.write(&mut self.bytes[start..start + needs]);
        self.len += 1;
    }

    /// Removes the elements at these indexes, which ascend; the first one here has the index `before`.
    pub(super) fn remove(&mut self, indexes: &[usize], before: usize) {
        let (mut from, mut to) = (self.start as usize, self.start as usize);
        let mut next = indexes.iter().copied().peekable();
        for index in before..before + self.len() {
            let size = Item::read(self.bytes.get(from..).unwrap_or_default()).map_or(0, |(_, size)| size);
            if next.next_if_eq(&index).is_some() {
                self.len -= 1;
            } else {
                if from != to {
                    self.bytes.copy_within(from..from + size, to);
                }
                to += size;
            }
            from += size;
        }
        self.bytes.truncate(to);
        if self.bytes.capacity() > 2 * self.bytes.len() {
            // A list that has lost most of its elements has no large chunks for the others.
            self.bytes.shrink_to_fit();
        }
    }

    /// Takes everything from a place on.
    pub(super) fn split_off(&mut self, place: usize) -> Chunk {
        let bytes = self.bytes.split_off(self.offset(place));
        let behind = Chunk { bytes, start: 0, len: self.len - place as u32 };
        self.len = place as u32;
        behind
    }
}
