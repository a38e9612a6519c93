//! Pieces of segments that whoever reads on has before it needs them: read on threads of their own, and past the kernel's cache
//! where that has not got them. So a backlog that is drained costs no copy, and pushes nothing out of that cache.
//! The trap: a piece is of the moment when it was read. A block that was written later is not in it, or a part of it is. So what is not
//! whole here means nothing, and whoever looks for it reads the file.

use super::BLOCK_HEAD;
use crate::block;
use crate::log::segment_name;
use crate::piece::{PIECE, PIECE_STEP, Piece, ReadPiece};
use crate::storage::Storage;
use std::ops::Range;

/// So many bytes one behind the other are the beginning of more.
const BEGINNING: u64 = 1024 * 1024;

/// A segment and a place in it.
pub(super) type Spot = (u64, u64);

/// What is here and what is coming.
#[derive(Default)]
pub(super) struct Ahead {
    here: Option<(Spot, Piece)>,
    coming: Option<(Spot, ReadPiece)>,
    /// Bytes that were read one behind the other from the file.
    read_on: u64,
}

impl Ahead {
    /// What is here.
    pub(super) fn bytes(&self) -> &[u8] {
        self.here.as_ref().map_or(&[], |(_, piece)| piece.bytes())
    }

    /// Where the block lies that begins at the spot, if all of it is here or comes now. `has_segment` tells whether there is
    /// a segment of this number.
    pub(super) fn block(
        &mut self,
        storage: &dyn Storage,
        spot: Spot,
        has_segment: impl Fn(u64) -> bool,
    ) -> Option<Range<usize>> {
        if let Some(range) = self.find(spot) {
            return Some(range);
        }
        let (coming, reading) = self.coming.take_if(|(coming, _)| offset_in(*coming, spot).is_some())?;
        // What cannot be read is said when it is read from the file.
        let piece = reading.join().ok()?.ok()?;
        let spare = self.here.replace((coming, piece)).map(|(_, piece)| piece.into_spare());
        let range = self.find(spot)?;
        match self.behind(spot, range.end) {
            Some(next) if next != coming && has_segment(next.0) => {
                self.begin(storage, next, spare.unwrap_or_default());
            }
            Some(_) | None => {}
        }
        Some(range)
    }

    /// True when what is here shows that no block follows at the spot.
    pub(super) fn ends_at(&self, spot: Spot) -> bool {
        let at = self.here.as_ref().and_then(|(here, _)| offset_in(*here, spot));
        at.is_some_and(|at| {
            self.bytes().get(at..at + BLOCK_HEAD).is_some_and(|head| block::glance(head).is_none())
        })
    }

    /// So many bytes were read from the file, up to the spot, and behind what was read before.
    pub(super) fn has_read_on(&mut self, storage: &dyn Storage, len: u64, spot: Spot) {
        self.read_on += len;
        if self.read_on >= BEGINNING {
            self.read_on = 0;
            let spare = self.here.take().map(|(_, piece)| piece.into_spare());
            self.begin(storage, spot, spare.unwrap_or_default());
        }
    }

    /// What is read from the file stands somewhere else.
    pub(super) fn has_jumped(&mut self) {
        self.read_on = 0;
    }

    fn begin(&mut self, storage: &dyn Storage, (ordinal, offset): Spot, spare: Vec<u8>) {
        let offset = offset / PIECE_STEP * PIECE_STEP;
        self.coming = storage
            .read_piece(&segment_name(ordinal), offset, spare)
            .map(|reading| ((ordinal, offset), reading));
    }

    fn find(&self, spot: Spot) -> Option<Range<usize>> {
        let (here, piece) = self.here.as_ref()?;
        let at = offset_in(*here, spot)?;
        let (_, len, _) = block::glance(piece.bytes().get(at..)?)?;
        (at + len <= piece.bytes().len()).then_some(at..at + len)
    }

    /// What comes behind the blocks that are here as a whole: the next one, or the next segment.
    fn behind(&self, spot: Spot, mut at: usize) -> Option<Spot> {
        let ((ordinal, offset), piece) = self.here.as_ref()?;
        let bytes = piece.bytes();
        while let Some((_, len, _)) = bytes.get(at..).and_then(block::glance) {
            if at + len > bytes.len() {
                break;
            }
            at += len;
        }
        let is_cut =
            bytes.len() == PIECE && (at + BLOCK_HEAD > PIECE || block::glance(&bytes[at..]).is_some());
        Some(if is_cut {
            (*ordinal, (offset + at as u64) / PIECE_STEP * PIECE_STEP)
        } else {
            (spot.0 + 1, 0)
        })
    }
}

/// How far the spot lies behind the start of a piece, if it can be in it.
fn offset_in(piece: Spot, spot: Spot) -> Option<usize> {
    let offset = spot.1.checked_sub(piece.1).filter(|_| piece.0 == spot.0)?;
    usize::try_from(offset).ok().filter(|offset| *offset < PIECE)
}
