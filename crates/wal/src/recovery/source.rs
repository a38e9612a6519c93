//! The blocks of segments, one behind the other: out of pieces that were read before they were needed, and where a block is not whole
//! in one, out of the file.

use crate::ahead::{Ahead, Segments, Spot};
use crate::block::{self, BLOCK_HEAD, Found, SEGMENT_HEAD};
use crate::error::Error;
use crate::opened::Opened;
use crate::storage::Storage;

/// What reads them.
pub(super) struct Source<'a> {
    storage: &'a dyn Storage,
    ordinals: &'a [u64],
    ahead: Ahead,
}

impl<'a> Source<'a> {
    pub(super) fn new(storage: &'a dyn Storage, ordinals: &'a [u64]) -> Self {
        let mut source = Self { storage, ordinals, ahead: Ahead::default() };
        if let Some(&first) = ordinals.first() {
            source.with_ahead(|ahead, segments| ahead.begin(segments, (first, 0)));
        }
        source
    }

    /// Where it reads, and the segment that comes behind this one, if there is one.
    pub(super) fn behind(&self, segment: usize) -> (&'a dyn Storage, Option<u64>) {
        (self.storage, self.ordinals.get(segment + 1).copied())
    }

    fn with_ahead<T>(&mut self, act: impl FnOnce(&mut Ahead, &Segments<'_>) -> T) -> T {
        let has = |ordinal| self.ordinals.binary_search(&ordinal).is_ok();
        act(&mut self.ahead, &Segments { storage: self.storage, has: &has })
    }

    /// The head of a segment; less of it if there is no more.
    pub(super) fn head<'b>(&'b mut self, segment: &'b mut Opened, ordinal: u64) -> Result<&'b [u8], Error> {
        match self.with_ahead(|ahead, segments| ahead.segment_head(segments, ordinal)) {
            Some(range) => Ok(self.ahead.bytes().get(range).unwrap_or_default()),
            None => segment.read(0, SEGMENT_HEAD as u64),
        }
    }

    /// The block there, or what stands in its place. `Err` of the inner result is a format from the future.
    pub(super) fn block<'b>(
        &'b mut self,
        segment: &'b mut Opened,
        (ordinal, at): Spot,
    ) -> Result<Result<Found<'b>, String>, Error> {
        if let Some(range) = self.with_ahead(|ahead, segments| ahead.block(segments, (ordinal, at))) {
            let bytes = self.ahead.bytes().get(range).unwrap_or_default();
            if let Ok(Found::Block(head, payload)) = block::read(bytes, ordinal) {
                return Ok(Ok(Found::Block(head, payload)));
            }
        }
        let head = segment.read(at, BLOCK_HEAD as u64)?;
        let len = block::glance(head).map_or(BLOCK_HEAD, |(_, len, _)| len) as u64;
        // Of one that is cut its head says it.
        let is_there = segment.size.checked_sub(len).is_some_and(|last| at <= last);
        let bytes = segment.read(at, if is_there { len } else { BLOCK_HEAD as u64 })?;
        Ok(block::read(bytes, ordinal))
    }
}
