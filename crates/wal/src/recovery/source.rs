//! The blocks of segments, one behind the other: out of pieces that were read before they were needed, and where a block is not whole
//! in one, out of the file.

use super::{all_zero, fill};
use crate::ahead::{Ahead, Segments};
use crate::block::{self, BLOCK_HEAD, Found, SEGMENT_HEAD};
use crate::error::Error;
use crate::log::segment_name;
use crate::storage::{File, Storage};
use std::sync::Arc;

/// How much is looked at together where there should be nothing.
const ZEROS: usize = 256 * 1024;
/// Room that is kept from one reading to the next.
const KEPT: usize = 1024 * 1024;

/// What reads them.
pub(super) struct Source<'a> {
    storage: &'a dyn Storage,
    ordinals: &'a [u64],
    ahead: Ahead,
    /// What was read from the file.
    bytes: Vec<u8>,
}

/// A segment that is read.
pub(super) struct Segment {
    pub(super) ordinal: u64,
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) size: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(storage: &'a dyn Storage, ordinals: &'a [u64]) -> Self {
        let mut ahead = Ahead::default();
        if let Some(&first) = ordinals.first() {
            ahead.begin(&Segments { storage, has: &|ordinal| ordinals.contains(&ordinal) }, (first, 0));
        }
        Self { storage, ordinals, ahead, bytes: Vec::new() }
    }

    pub(super) fn open(&self, ordinal: u64) -> Result<Segment, Error> {
        let name = segment_name(ordinal);
        let file = self.storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
        let size = file.size().map_err(|e| Error::io("read", &name, e))?;
        Ok(Segment { ordinal, name, file, size })
    }

    /// The head of a segment; less of it if there is no more.
    pub(super) fn head(&mut self, segment: &Segment) -> Result<&[u8], Error> {
        let has = |ordinal| self.ordinals.binary_search(&ordinal).is_ok();
        let segments = Segments { storage: self.storage, has: &has };
        if self.ahead.segment_head(&segments, segment.ordinal).is_some() {
            return Ok(self.ahead.bytes().get(..SEGMENT_HEAD).unwrap_or_default());
        }
        self.read(segment, 0, SEGMENT_HEAD)
    }

    /// The block there, or what stands in its place. `Err` of the inner result is a format from the future.
    pub(super) fn block(&mut self, segment: &Segment, at: usize) -> Result<Result<Found<'_>, String>, Error> {
        let has = |ordinal| self.ordinals.binary_search(&ordinal).is_ok();
        let segments = Segments { storage: self.storage, has: &has };
        let found = self.ahead.block(&segments, (segment.ordinal, at as u64));
        if let Some(range) = found {
            let bytes = self.ahead.bytes().get(range.clone()).unwrap_or_default();
            if let Ok(Found::Block(head, _)) = block::read(bytes, segment.ordinal) {
                let payload = self.ahead.bytes().get(range.start + BLOCK_HEAD..range.end);
                return Ok(Ok(Found::Block(head, payload.unwrap_or_default())));
            }
        }
        let head = self.read(segment, at, BLOCK_HEAD)?;
        let len = block::glance(head).map_or(BLOCK_HEAD, |(_, len, _)| len);
        let is_there = segment.size.checked_sub(len as u64).is_some_and(|last| at as u64 <= last);
        let bytes = self.read(segment, at, if is_there { len } else { BLOCK_HEAD })?;
        Ok(block::read(bytes, segment.ordinal))
    }

    /// Whether there is nothing more.
    pub(super) fn is_zero_from(&mut self, segment: &Segment, mut at: usize) -> Result<bool, Error> {
        loop {
            let bytes = self.read(segment, at, ZEROS)?;
            if bytes.is_empty() || !all_zero(bytes) {
                return Ok(bytes.is_empty());
            }
            at += bytes.len();
        }
    }

    /// So many bytes of the file, or what there is of them.
    fn read(&mut self, segment: &Segment, at: usize, len: usize) -> Result<&[u8], Error> {
        self.bytes.resize(len, 0);
        self.bytes.shrink_to(KEPT);
        let read = fill(segment.file.as_ref(), &mut self.bytes, at as u64);
        let len = read.map_err(|e| Error::io("read", &segment.name, e))?;
        Ok(self.bytes.get(..len).unwrap_or_default())
    }
}
