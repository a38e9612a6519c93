//! A run of elements: each as small collections have it, and behind it the length of that once more, written backwards, so
//! that the run can be read from its end too.

use super::End;
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

/// Lengths below this take one byte; others a mark and four.
const SHORT: usize = 0xff;
/// Up to here a run has an allocation of just its size; a longer one doubles.
const EXACT_MAX: usize = 512;

fn size_of_len(len: usize) -> usize {
    if len < SHORT { 1 } else { 5 }
}

/// Writes an element to `out`, which has just its size.
fn write(element: Item<'_>, out: &mut [u8]) {
    let back = element.write(out);
    let (width, len) = (back.len(), element.size());
    if width == 1 {
        back[0] = len as u8;
    } else {
        back[..4].copy_from_slice(&(len as u32).to_le_bytes());
        back[4] = SHORT as u8;
    }
}

/// The first element of a run, and the bytes it takes with its length behind it.
#[inline]
fn first(run: &[u8]) -> Option<(Item<'_>, usize)> {
    let (element, len) = Item::read(run)?;
    Some((element, len + size_of_len(len)))
}

/// The last element of a run, likewise.
fn last(run: &[u8]) -> Option<(Item<'_>, usize)> {
    let len = match usize::from(*run.last()?) {
        SHORT => u32::from_le_bytes(*run.get(run.len().checked_sub(5)?..)?.first_chunk()?) as usize,
        len => len,
    };
    let size = len + size_of_len(len);
    Some((Item::read(run.get(run.len().checked_sub(size)?..)?)?.0, size))
}

impl Chunk {
    /// One element alone.
    pub(super) fn of(element: Item<'_>) -> Self {
        let mut chunk = Self::default();
        chunk.push(element);
        chunk
    }

    /// The bytes an element takes.
    pub(super) fn needs(element: Item<'_>) -> usize {
        let len = element.size();
        len + size_of_len(len)
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

    fn run(&self) -> &[u8] {
        self.bytes.get(self.start as usize..).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let mut run = self.run();
        std::iter::from_fn(move || {
            let (element, size) = first(run)?;
            run = run.get(size..)?;
            Some(element.element())
        })
    }

    /// Hands over up to `left` elements from a place on, and counts them down.
    pub(super) fn range(&self, place: usize, left: &mut usize, each: &mut impl FnMut(&[u8])) {
        let mut run = self.bytes.get(self.offset(place)..).unwrap_or_default();
        while *left > 0
            && let Some((element, size)) = first(run)
        {
            match element {
                Item::Bytes(bytes) => each(bytes),
                Item::Integer(integer) => each(&Element::integer(integer)),
            }
            run = run.get(size..).unwrap_or_default();
            *left -= 1;
        }
    }

    pub(super) fn iter_back(&self) -> impl Iterator<Item = Element<'_>> {
        let mut run = self.run();
        std::iter::from_fn(move || {
            let (element, size) = last(run)?;
            run = run.get(..run.len() - size)?;
            Some(element.element())
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
        self.grow(Self::needs(element));
        write(element, &mut self.bytes[end..]);
        self.len += 1;
    }

    /// Hands over the element at an end and removes it; gives whether there was one.
    pub(super) fn pop(&mut self, end: End, each: impl FnOnce(&[u8])) -> bool {
        let found = if end == End::Left { first(self.run()) } else { last(self.run()) };
        let Some((element, size)) = found else { return false };
        each(&element.element());
        self.len -= 1;
        if end == End::Right {
            self.bytes.truncate(self.bytes.len() - size);
        } else {
            self.start += size as u32;
            if self.start as usize > self.bytes.len() / 2 {
                self.bytes.drain(..self.start as usize);
                self.start = 0;
            }
        }
        true
    }

    /// Where the element at a place begins.
    fn offset(&self, place: usize) -> usize {
        let mut offset = self.start as usize;
        for _ in 0..place {
            offset += first(self.bytes.get(offset..).unwrap_or_default()).map_or(0, |(_, size)| size);
        }
        offset
    }

    pub(super) fn insert(&mut self, place: usize, element: Item<'_>) {
        let needs = Self::needs(element);
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
        write(element, &mut self.bytes[start..start + needs]);
        self.len += 1;
    }

    /// Removes the elements at these indexes, which ascend; the first one here has the index `before`.
    pub(super) fn remove(&mut self, indexes: &[usize], before: usize) {
        let (mut from, mut to) = (self.start as usize, self.start as usize);
        let mut next = indexes.iter().copied().peekable();
        for index in before..before + self.len() {
            let size = first(self.bytes.get(from..).unwrap_or_default()).map_or(0, |(_, size)| size);
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
