//! Pieces of segments that whoever reads on has before it needs them: past the kernel's cache where that has not got them. So
//! what is read once costs no copy, and pushes nothing out of that cache.
//! The trap: a piece is of the moment when it was read. A block that was written later is not in it, or a part of it is. So what is not
//! whole here means nothing, and whoever looks for it reads the file.

use crate::block::{self, BLOCK_HEAD, SEGMENT_HEAD};
use crate::log::segment_name;
use crate::piece::{PIECE, PIECE_STEP, Piece, ReadPiece};
use crate::storage::Storage;
use std::ops::Range;

/// So many bytes one behind the other are the beginning of more.
const BEGINNING: u64 = 1024 * 1024;

/// A segment and a place in it.
pub(crate) type Spot = (u64, u64);

/// Where pieces come from.
pub(crate) struct Segments<'a> {
    pub(crate) storage: &'a dyn Storage,
    /// Whether there is a segment of this number.
    pub(crate) has: &'a dyn Fn(u64) -> bool,
}

/// What is here and what is coming.
#[derive(Default)]
pub(crate) struct Ahead {
    here: Option<(Spot, Piece)>,
    coming: Option<(Spot, ReadPiece)>,
    /// Bytes that were read one behind the other from the file.
    read_on: u64,
}

impl Ahead {
    /// What is here.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.here.as_ref().map_or(&[], |(_, piece)| piece.bytes())
    }

    /// Begins to read what is needed first, or next though it is not what was expected.
    pub(crate) fn begin(&mut self, segments: &Segments<'_>, spot: Spot) {
        let spare = self.here.take().map(|(_, piece)| piece.into_spare()).unwrap_or_default();
        self.ask(segments, spot, spare);
    }

    /// Where the block lies that begins at the spot, if all of it is here or comes now.
    pub(crate) fn block(&mut self, segments: &Segments<'_>, spot: Spot) -> Option<Range<usize>> {
        let found = self.find(spot);
        if found.is_none() && self.has_come(segments, spot) { self.find(spot) } else { found }
    }

    /// Likewise the head of a segment.
    pub(crate) fn segment_head(&mut self, segments: &Segments<'_>, ordinal: u64) -> Option<&[u8]> {
        let is_here = self.here.as_ref().is_some_and(|(here, _)| *here == (ordinal, 0))
            || self.has_come(segments, (ordinal, 0));
        if is_here { self.bytes().get(..SEGMENT_HEAD) } else { None }
    }

    /// True when what is here shows that no block follows at the spot.
    pub(crate) fn ends_at(&self, spot: Spot) -> bool {
        let at = self.here.as_ref().and_then(|(here, _)| offset_in(*here, spot));
        at.is_some_and(|at| {
            self.bytes().get(at..at + BLOCK_HEAD).is_some_and(|head| block::glance(head).is_none())
        })
    }

    /// So many bytes were read from the file, up to the spot, and behind what was read before.
    pub(crate) fn has_read_on(&mut self, segments: &Segments<'_>, len: u64, spot: Spot) {
        self.read_on += len;
        if self.read_on >= BEGINNING {
            self.read_on = 0;
            self.begin(segments, spot);
        }
    }

    /// What is read from the file stands somewhere else.
    pub(crate) fn has_jumped(&mut self) {
        self.read_on = 0;
    }

    /// Takes the piece that is coming if the spot is in it, and asks for the next one.
    fn has_come(&mut self, segments: &Segments<'_>, spot: Spot) -> bool {
        let coming = self.coming.take_if(|(coming, _)| offset_in(*coming, spot).is_some());
        // What cannot be read is said when it is read from the file.
        let Some((start, Ok(piece))) = coming.map(|(start, reading)| (start, reading.wait())) else {
            return false;
        };
        let spare = self.here.replace((start, piece)).map(|(_, piece)| piece.into_spare());
        if let Some(next) = self.behind(spot)
            && next != start
            && (segments.has)(next.0)
        {
            self.ask(segments, next, spare.unwrap_or_default());
        }
        true
    }

    fn ask(&mut self, segments: &Segments<'_>, (ordinal, offset): Spot, spare: Vec<u8>) {
        let start = (ordinal, offset / PIECE_STEP * PIECE_STEP);
        let is_written_to = !(segments.has)(ordinal + 1);
        let reading = segments.storage.read_piece(&segment_name(ordinal), start.1, is_written_to, spare);
        self.coming = Some((start, reading));
    }

    fn find(&self, spot: Spot) -> Option<Range<usize>> {
        let (here, piece) = self.here.as_ref()?;
        let at = offset_in(*here, spot)?;
        let (_, len, _) = block::glance(piece.bytes().get(at..)?)?;
        (at + len <= piece.bytes().len()).then_some(at..at + len)
    }

    /// Where the next piece begins: with the first block that is not here as a whole, or with the next segment.
    fn behind(&self, spot: Spot) -> Option<Spot> {
        let (here, piece) = self.here.as_ref()?;
        let (bytes, mut at) = (piece.bytes(), offset_in(*here, (spot.0, spot.1.max(SEGMENT_HEAD as u64)))?);
        let mut next = bytes.get(at..).and_then(block::glance);
        while let Some((_, len, _)) = next.filter(|(_, len, _)| at + len <= bytes.len()) {
            at += len;
            next = bytes.get(at..).and_then(block::glance);
        }
        let is_cut = bytes.len() == PIECE && (next.is_some() || at + BLOCK_HEAD > PIECE);
        let cut_at = (here.1 + at as u64) / PIECE_STEP * PIECE_STEP;
        Some(if is_cut { (spot.0, cut_at) } else { (spot.0 + 1, 0) })
    }
}

/// How far the spot lies behind the start of a piece, if it can be in it.
fn offset_in(piece: Spot, spot: Spot) -> Option<usize> {
    let offset = spot.1.checked_sub(piece.1).filter(|_| piece.0 == spot.0)?;
    usize::try_from(offset).ok().filter(|offset| *offset < PIECE)
}
