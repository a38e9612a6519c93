//! A byte string of its own behind one pointer: its length, in one byte or five, stands in front of it. So a table of such
//! strings has twice the items in a cache line that fat pointers have, and no capacity is kept that nobody uses.

use crate::table::Addressed;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::Range;
use std::ptr::NonNull;

/// Longer strings have this first byte and four bytes of length.
const LONG: u8 = 0xff;

/// The string. Its pointer is even.
#[repr(transparent)]
pub struct Thin(NonNull<u8>);

// SAFETY: it owns plain bytes, which nobody changes through a shared reference.
unsafe impl Send for Thin {}

// SAFETY: as above.
unsafe impl Sync for Thin {}

/// The pointer of a [`Thin`] that somebody else owns.
#[derive(Clone, Copy)]
pub struct Alias(NonNull<u8>);

// SAFETY: it is a number until somebody promises that it is more.
unsafe impl Send for Alias {}

fn layout(head: usize, len: usize) -> Layout {
    Layout::from_size_align(head + len, 2).expect("a string is far smaller than the address space")
}

fn head_of(len: usize) -> usize {
    if len < usize::from(LONG) { 1 } else { 5 }
}

/// Head and length of what stands there.
///
/// # Safety
/// `start` comes from a living [`Thin`].
#[inline]
unsafe fn measure(start: NonNull<u8>) -> (usize, usize) {
    // SAFETY: the head was written before anything else; behind `LONG` there are four bytes more.
    unsafe {
        match start.read() {
            LONG => (5, start.add(1).cast::<u32>().read_unaligned() as usize),
            len => (1, usize::from(len)),
        }
    }
}

/// Writes a length in front of a string.
///
/// # Safety
/// There is room for it.
#[inline]
unsafe fn write_head(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if head_of(len) == 1 {
            start.write(len as u8);
        } else {
            start.write(LONG);
            let len = u32::try_from(len).expect("the codec limits a string to 512 MB");
            start.add(1).cast::<u32>().write_unaligned(len);
        }
    }
}

impl Thin {
    /// The parts, one behind the other.
    #[inline]
    pub fn new(parts: &[&[u8]]) -> Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let head = head_of(len);
        let layout = layout(head, len);
        // SAFETY: the size is not zero; head and parts fill it exactly.
        unsafe {
            let Some(start) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            write_head(start, len);
            let mut at = start.add(head);
            for part in parts {
                at.as_ptr().copy_from_nonoverlapping(part.as_ptr(), part.len());
                at = at.add(part.len());
            }
            Self(start)
        }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: it lives as long as the borrow.
        unsafe { self.alias().bytes() }
    }

    /// The bytes, to be changed; their number stays.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the borrow unique among those that nobody had to promise.
        unsafe {
            let (head, len) = measure(self.0);
            std::slice::from_raw_parts_mut(self.0.as_ptr().add(head), len)
        }
    }

    /// Puts `size` bytes in the place of some, and gives them to be written.
    pub fn splice(&mut self, place: Range<usize>, size: usize) -> &mut [u8] {
        let len = self.bytes().len();
        assert!(place.start <= place.end && place.end <= len, "the place lies inside");
        let after = len - (place.end - place.start) + size;
        let (old_head, head) = (head_of(len), head_of(after));
        let (old_layout, layout) = (layout(old_head, len), layout(head, after));
        let behind = len - place.end;
        // SAFETY: while bytes move the allocation has room for both the old and the new string; each move stays inside of what
        // `place` was checked against.
        unsafe {
            if layout.size() > old_layout.size() {
                self.reallocate(old_layout, layout);
            }
            let start = self.0.as_ptr();
            let tail = (start.add(old_head + place.end), start.add(head + place.start + size));
            if head >= old_head {
                tail.0.copy_to(tail.1, behind);
                start.add(old_head).copy_to(start.add(head), place.start);
            } else {
                start.add(old_head).copy_to(start.add(head), place.start);
                tail.0.copy_to(tail.1, behind);
            }
            write_head(self.0, after);
            if layout.size() < old_layout.size() {
                self.reallocate(old_layout, layout);
            }
            let room = std::slice::from_raw_parts_mut(self.0.as_ptr().add(head + place.start), size);
            room.fill(0);
            room
        }
    }

    /// # Safety
    /// `from` is the layout it has now.
    unsafe fn reallocate(&mut self, from: Layout, to: Layout) {
        // SAFETY: the caller's promise; the size is not zero.
        let start = unsafe { realloc(self.0.as_ptr(), from, to.size()) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(to) };
        self.0 = start;
    }

    /// Its pointer, which is worth something while it lives.
    #[inline]
    pub fn alias(&self) -> Alias {
        Alias(self.0)
    }
}

impl Alias {
    /// The bytes.
    ///
    /// # Safety
    /// The string lives, and nobody changes it, as long as the slice is used.
    #[inline]
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller's promise.
        unsafe {
            let (head, len) = measure(self.0);
            std::slice::from_raw_parts(self.0.as_ptr().add(head), len)
        }
    }

    /// Where it lies, for prefetching.
    #[inline]
    pub fn address(self) -> *const u8 {
        self.0.as_ptr()
    }

    /// True when both are the same string, not only equal ones.
    #[inline]
    pub fn is(self, other: Alias) -> bool {
        self.0 == other.0
    }
}

impl Addressed for Thin {
    #[inline]
    fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

impl Clone for Thin {
    fn clone(&self) -> Self {
        Thin::new(&[self.bytes()])
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        // SAFETY: the layout is the one it was made with.
        unsafe {
            let (head, len) = measure(self.0);
            dealloc(self.0.as_ptr(), layout(head, len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_what_it_was_made_of() {
        for len in [0, 1, 2, 253, 254, 255, 256, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (first, second) = bytes.split_at(len / 3);
            let mut thin = Thin::new(&[first, second]);
            assert_eq!(thin.bytes(), bytes);
            let copy = thin.clone();
            assert!(!copy.alias().is(thin.alias()) && thin.alias().is(thin.alias()));
            thin.bytes_mut().fill(7);
            assert!(thin.bytes().iter().all(|byte| *byte == 7) && copy.bytes() == bytes);
        }
        assert_eq!(size_of::<Option<Thin>>(), 8);
    }

    #[test]
    fn a_spliced_string_is_what_a_vec_would_be() {
        let mut rng = fastrand::Rng::with_seed(1);
        for len_max in [4, 300, 2000] {
            let (mut thin, mut plain) = (Thin::new(&[]), Vec::new());
            for _ in 0..300 {
                let start = rng.usize(..=plain.len());
                let place = start..rng.usize(start..=plain.len());
                let more = vec![rng.u8(..); rng.usize(..len_max)];
                thin.splice(place.clone(), more.len()).copy_from_slice(&more);
                plain.splice(place, more);
                assert_eq!(thin.bytes(), plain);
            }
        }
    }
}
