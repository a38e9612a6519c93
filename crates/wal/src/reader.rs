//! Reading records by their numbers while others are written: by whoever needs bodies again that are not in memory. A
//! segment's blocks are found by a sparse list of places, made when the segment is first read and never written down.
//! The trap: behind what was written before the reading began, a block may stand there by half.

use crate::block::{self, BLOCK_HEAD, Found, Part, Records, SEGMENT_HEAD};
use crate::error::Error;
use crate::log::{Shared, segment_name};
use crate::storage::File;
use crate::tail::{Head, Record};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of a segment between two places that are kept.
const APART: u64 = 64 * 1024;

/// Where a block begins, and the position of the first record in it.
#[derive(Clone, Copy)]
struct Place {
    position: u64,
    offset: u64,
}

struct Segment {
    name: String,
    file: Arc<dyn File>,
    /// By offset; some of its blocks.
    places: Vec<Place>,
}

/// What a block's head says before the block is checked.
struct Glance {
    position: u64,
    /// Bytes with the head.
    len: u64,
    begins: bool,
}

/// A hand of the log for reading. Each has what it knows for itself.
pub struct Reader {
    shared: Arc<Shared>,
    segments: HashMap<u64, Segment>,
    bytes: Vec<u8>,
    parts: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, segments: HashMap::new(), bytes: Vec::new(), parts: Vec::new() }
    }

    /// Gives the records from a position on, in order, until `each` has enough or there is no more. What was written before
    /// is there; a record that is not any more is not given, and neither is what comes before the log's beginning.
    pub fn read(
        &mut self,
        from: u64,
        each: &mut dyn FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let segments = self.shared.segments.lock().clone();
        self.segments.retain(|ordinal, _| segments.iter().any(|(known, _)| known == ordinal));
        // A record may go on in the segment that has its position.
        let after = segments.partition_point(|(_, first)| *first <= from);
        let Some(mut at) = after.checked_sub(1) else { return Ok(()) };
        let mut offset = loop {
            match self.find(segments[at].0, from)? {
                Some(offset) => break offset,
                None if at == 0 => return Ok(()),
                None => at -= 1,
            }
        };
        let mut partial: Option<Head> = None;
        for &(ordinal, _) in segments.get(at..).unwrap_or_default() {
            if self.read_segment(ordinal, offset, from, &mut partial, each)?.is_break() {
                return Ok(());
            }
            offset = SEGMENT_HEAD as u64;
        }
        Ok(())
    }

    /// The largest block that was read last.
    #[cfg(test)]
    pub(crate) fn block_bytes_max(&self) -> usize {
        self.bytes.capacity()
    }

    fn segment(&mut self, ordinal: u64) -> Result<&mut Segment, Error> {
        let name = segment_name(ordinal);
        match self.segments.entry(ordinal) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                let file =
                    self.shared.storage.open(&name).map_err(|error| Error::io("open", &name, error))?;
                Ok(place.insert(Segment { name, file, places: Vec::new() }))
            }
        }
    }

    /// Where the block begins that has the record, or its first part; `None` if the record began in a segment before.
    fn find(&mut self, ordinal: u64, position: u64) -> Result<Option<u64>, Error> {
        let segment = self.segment(ordinal)?;
        let known = segment.places.partition_point(|place| place.position <= position);
        let mut offset = match known.checked_sub(1).and_then(|known| segment.places.get(known)) {
            Some(place) => place.offset,
            None => SEGMENT_HEAD as u64,
        };
        let mut found = None;
        while let Some(Glance { position: first, len, begins }) = segment.glance(offset)? {
            if first > position {
                break;
            }
            if begins {
                found = Some(offset);
                segment.keep(Place { position: first, offset });
            }
            offset += len;
        }
        Ok(found)
    }

    fn read_segment(
        &mut self,
        ordinal: u64,
        mut offset: u64,
        from: u64,
        partial: &mut Option<Head>,
        each: &mut dyn FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut parts = std::mem::take(&mut self.parts);
        let segment = self.segment(ordinal)?;
        let mut flow = ControlFlow::Continue(());
        while let Some(Glance { len, .. }) = segment.glance(offset)? {
            bytes.resize(len as usize, 0);
            if !segment.fill(&mut bytes, offset)? {
                break;
            }
            let damaged = |reason: &str| Error::corrupt(&segment.name, offset as usize, reason);
            let (head, payload) = match block::read(&bytes, ordinal).map_err(|reason| damaged(&reason))? {
                Found::Block(head, payload) => (head, payload),
                // It is being written: what was before is given.
                Found::End | Found::Damaged(_) if head_position(&bytes) > from => break,
                Found::End => return Err(damaged("there is no block where one was")),
                Found::Damaged(reason) => return Err(damaged(reason)),
            };
            let (first, payload) = match (head.part, *partial) {
                (Part::Whole, None) => (head.first, payload),
                (Part::First, None) => {
                    parts.clear();
                    parts.extend_from_slice(payload);
                    *partial = Some(head.first);
                    offset += len;
                    continue;
                }
                (Part::Middle | Part::Last, Some(begun)) => {
                    parts.extend_from_slice(payload);
                    if head.part == Part::Middle {
                        offset += len;
                        continue;
                    }
                    *partial = None;
                    (begun, parts.as_slice())
                }
                (Part::Whole | Part::First, Some(_)) => return Err(damaged("a record has no end")),
                (Part::Middle | Part::Last, None) => return Err(damaged("a record has no beginning")),
            };
            for record in Records::new(first, payload) {
                let record = record.map_err(damaged)?;
                if record.head.position >= from && each(record).is_break() {
                    flow = ControlFlow::Break(());
                    break;
                }
            }
            if flow.is_break() {
                break;
            }
            offset += len;
        }
        bytes.shrink_to(KEPT);
        parts.shrink_to(KEPT);
        (self.bytes, self.parts) = (bytes, parts);
        Ok(flow)
    }
}

/// Room that is kept from one reading to the next.
const KEPT: usize = 1024 * 1024;

fn head_position(block: &[u8]) -> u64 {
    block::glance(block).map_or(0, |(position, ..)| position)
}

impl Segment {
    /// Looks at a block's head without reading the block; `None` where there is none.
    fn glance(&self, offset: u64) -> Result<Option<Glance>, Error> {
        let mut head = [0; BLOCK_HEAD];
        if !self.fill(&mut head, offset)? {
            return Ok(None);
        }
        let Some((position, len, begins)) = block::glance(&head) else { return Ok(None) };
        let len = len as u64;
        // What no block can have is not made room for.
        if len > KEPT as u64 {
            let size = self.file.size().map_err(|error| Error::io("read", &self.name, error))?;
            if offset + len > size {
                return Ok(None);
            }
        }
        Ok(Some(Glance { position, len, begins }))
    }

    /// Reads so many bytes; false if there are fewer.
    fn fill(&self, into: &mut [u8], offset: u64) -> Result<bool, Error> {
        let mut at = 0;
        while let Some(rest) = into.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + at as u64) {
                Ok(0) => return Ok(false),
                Ok(count) => at += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.name, error)),
            }
        }
        Ok(true)
    }

    /// Keeps a place, if it is far from the last one.
    fn keep(&mut self, place: Place) {
        if self.places.last().is_none_or(|last| place.offset >= last.offset + APART) {
            self.places.push(place);
        }
    }
}
