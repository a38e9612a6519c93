//! Bytes that belong into an output but are not copied into it: they are sent from where they lie.

use std::ops::Range;
use std::sync::Arc;

/// Whoever has bytes that are lent.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A part of what somebody has.
pub struct Piece {
    at: usize,
    owner: Owner,
    range: Range<usize>,
}

impl Piece {
    /// It stands before this byte of the output.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

/// What is lent to an output, in order of the places.
#[derive(Default)]
pub struct Lent {
    pieces: Vec<Piece>,
    len: usize,
}

impl Lent {
    /// A part of what somebody has belongs before this byte of the output, behind what was lent before.
    #[inline]
    pub fn push(&mut self, at: usize, owner: Owner, range: Range<usize>) {
        debug_assert!((*owner).as_ref().get(range.clone()).is_some(), "the owner has what is lent");
        self.len += range.len();
        self.pieces.push(Piece { at, owner, range });
    }

    /// How many bytes it is.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is lent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces, in order.
    #[inline]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Takes back all but so many pieces.
    pub fn truncate(&mut self, count: usize) {
        while self.pieces.len() > count {
            self.take_back();
        }
    }

    /// Takes back what was lent to an output since it had so many bytes; what was lent last has bytes before and behind it.
    pub fn truncate_at(&mut self, end: usize) {
        while self.pieces.last().is_some_and(|last| last.at > end) {
            self.take_back();
        }
    }

    fn take_back(&mut self) {
        self.len -= self.pieces.pop().map_or(0, |last| last.range.len());
    }

    /// Gives the first ones back.
    pub fn drop_first(&mut self, count: usize) {
        self.len -= self.pieces.drain(..count).map(|piece| piece.range.len()).sum::<usize>();
    }

    /// The output has lost so many bytes in front of all of them.
    pub fn move_back(&mut self, bytes: usize) {
        self.pieces.iter_mut().for_each(|piece| piece.at -= bytes);
    }
}
