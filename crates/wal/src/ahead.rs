//! Pieces of segments that whoever reads on has before it needs them.
//! The trap: a piece is of the moment when it was read. A block that was written later is not in it, or a part of it is. So what is not
//! whole here means nothing, and whoever looks for it reads the file.

use crate::block::{self, BLOCK_HEAD, SEGMENT_HEAD};
use crate::log::segment_name;
use crate::piece::{PIECE, Piece, ReadPiece};
use crate::storage::Storage;
use memmap2::MmapMut;
use std::collections::VecDeque;
use std::ops::Range;

/// So many bytes one behind the other are the beginning of more.
const BEGINNING: u64 = 1024 * 1024;
/// So many pieces are on their way: what a disk takes to answer must not be waited for each time.
const COMING: usize = 3;

/// A segment and a place in it.
pub(crate) type Spot = (u64, u64);

/// Where pieces come from.
pub(crate) struct Segments<'a> {
    pub(crate) storage: &'a dyn Storage,
    /// Whether there is a segment of this number.
    pub(crate) has: &'a dyn Fn(u64) -> bool,
}

/// What is here and what is coming, one behind the other.
#[derive(Default)]
pub(crate) struct Ahead {
    here: Option<(Spot, Piece)>,
    coming: VecDeque<(Spot, ReadPiece)>,
    spare: Vec<MmapMut>,
    /// A block of which one part came with one piece and the rest with the next; whether it was asked for last.
    joint: Vec<u8>,
    is_joint: bool,
    /// How long the segment is that came last.
    size: Option<Spot>,
    /// Bytes that were read one behind the other from the file.
    read_on: u64,
}

impl Ahead {
    /// The bytes in which the block lies that was found last.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.is_joint { &self.joint } else { self.here() }
    }

    fn here(&self) -> &[u8] {
        self.here.as_ref().map_or(&[], |(_, piece)| piece.bytes())
    }

    /// Begins to read what is needed first, or next though it is not what was expected.
    pub(crate) fn begin(&mut self, segments: &Segments<'_>, spot: Spot) {
        self.spare.extend(self.here.take().map(|(_, piece)| piece.into_spare()));
        self.coming.clear();
        self.ask(segments, spot);
        self.ask_on(segments);
    }

    /// Where the block lies that begins at the spot, if all of it is here or comes now.
    pub(crate) fn block(&mut self, segments: &Segments<'_>, spot: Spot) -> Option<Range<usize>> {
        self.is_joint = false;
        if self.at(spot).is_none() && !self.go_to(segments, spot) {
            return None;
        }
        let at = self.at(spot)?;
        let rest = self.here().get(at..)?;
        match block::glance(rest) {
            Some((_, len, _)) if len <= rest.len() => Some(at..at + len),
            None if rest.len() >= BLOCK_HEAD => None,
            Some(_) | None => self.join(segments, spot, at),
        }
    }

    /// Likewise the head of a segment.
    pub(crate) fn segment_head(&mut self, segments: &Segments<'_>, ordinal: u64) -> Option<Range<usize>> {
        self.is_joint = false;
        let spot = (ordinal, 0);
        if self.at(spot).is_none() && !self.go_to(segments, spot) {
            return None;
        }
        let at = self.at(spot)?;
        (at + SEGMENT_HEAD <= self.here().len()).then_some(at..at + SEGMENT_HEAD)
    }

    /// True when what is here shows that no block follows at the spot.
    pub(crate) fn ends_at(&self, spot: Spot) -> bool {
        let head = self.at(spot).and_then(|at| self.here().get(at..at + BLOCK_HEAD));
        head.is_some_and(|head| block::glance(head).is_none())
            || self.size.is_some_and(|(ordinal, size)| ordinal == spot.0 && spot.1 + BLOCK_HEAD as u64 > size)
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

    /// Where the spot is in what is here.
    fn at(&self, spot: Spot) -> Option<usize> {
        let (here, piece) = self.here.as_ref()?;
        offset_in(*here, spot).filter(|at| *at < piece.bytes().len())
    }

    /// Puts together a block of which the rest comes with the next piece.
    fn join(&mut self, segments: &Segments<'_>, spot: Spot, at: usize) -> Option<Range<usize>> {
        let (begun, is_whole) =
            self.here.as_ref().map(|(_, piece)| (piece.bytes(), piece.bytes().len() == PIECE))?;
        self.joint.clear();
        self.joint.extend_from_slice(begun.get(at..)?);
        let behind = (spot.0, spot.1 + self.joint.len() as u64);
        if !is_whole
            || self.coming.front().is_none_or(|(start, _)| *start != behind)
            || !self.has_come(segments)
        {
            return None;
        }
        let here = self.here.as_ref().map_or(&[][..], |(_, piece)| piece.bytes());
        let missing = BLOCK_HEAD.saturating_sub(self.joint.len());
        self.joint.extend_from_slice(here.get(..missing)?);
        let (_, len, _) = block::glance(&self.joint)?;
        let rest = missing..len.checked_sub(self.joint.len())?.checked_add(missing)?;
        self.joint.extend_from_slice(here.get(rest)?);
        self.is_joint = true;
        Some(0..len)
    }

    /// Takes the piece with the spot, if it is coming.
    fn go_to(&mut self, segments: &Segments<'_>, spot: Spot) -> bool {
        let is_coming = |(start, _): &(Spot, ReadPiece)| offset_in(*start, spot).is_some();
        let Some(before) = self.coming.iter().position(is_coming) else { return false };
        // What is between has nothing that is wanted.
        self.coming.drain(..before);
        self.has_come(segments)
    }

    /// Takes the next piece, and asks for others.
    fn has_come(&mut self, segments: &Segments<'_>) -> bool {
        let Some((start, reading)) = self.coming.pop_front() else { return false };
        // What cannot be read is said when it is read from the file.
        let Ok(piece) = reading.wait() else { return false };
        self.size = Some((start.0, piece.file_size()));
        let before = self.here.replace((start, piece));
        self.spare.extend(before.map(|(_, piece)| piece.into_spare()));
        self.ask_on(segments);
        true
    }

    /// Asks for what comes next.
    fn ask_on(&mut self, segments: &Segments<'_>) {
        while self.coming.len() < COMING {
            let last = self.coming.back().map(|(start, _)| *start);
            let Some((ordinal, offset)) = last.or_else(|| self.here.as_ref().map(|(start, _)| *start)) else {
                return;
            };
            let next = offset + PIECE as u64;
            let is_behind = self.size.is_some_and(|(known, size)| known == ordinal && next >= size);
            let next = if is_behind { (ordinal + 1, 0) } else { (ordinal, next) };
            if !(segments.has)(next.0) {
                return;
            }
            self.ask(segments, next);
        }
    }

    fn ask(&mut self, segments: &Segments<'_>, start: Spot) {
        let spare = self.spare.pop();
        let reading = segments.storage.read_piece(&segment_name(start.0), start.1, spare);
        self.coming.push_back((start, reading));
    }
}

/// How far the spot lies behind the start of a piece, if it can be in it.
fn offset_in(piece: Spot, spot: Spot) -> Option<usize> {
    let offset = spot.1.checked_sub(piece.1).filter(|_| piece.0 == spot.0)?;
    usize::try_from(offset).ok().filter(|offset| *offset < PIECE)
}
