//! Reading messages by their names while others are written: by whoever needs bodies again that are not in memory. The
//! blocks of a file are found by a sparse list of places, made when the file is first read and never written down.
//! The trap: a file may be removed or replaced at any time; what is named then lies in another one.

use crate::ahead::{Ahead, Segments, Spot};
use crate::block::{self, BLOCK_HEAD, Found, Part, Records, SEGMENT_HEAD};
use crate::bodies;
use crate::error::Error;
use crate::log::Shared;
use crate::storage::File;
use crate::tail::{Head, RECORD_HEAD};
use crate::units::{Unit, around};
use leveret_base::codec::Place;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

mod check;

/// Bytes of a file between two places that are kept.
const APART: u64 = 64 * 1024;
/// Files that are open at a time.
const OPEN_MAX: usize = 256;
/// How far ahead of whoever reads on the disk is asked, and how much at a time.
const AHEAD: u64 = 4 * 1024 * 1024;
const AHEAD_PIECE: u64 = 1024 * 1024;
/// Room that is kept from one reading to the next.
const KEPT: usize = 1024 * 1024;
/// A record that was put together is forgotten when so many blocks were read without it.
const FORGOTTEN_AFTER: u32 = 256;

struct OpenUnit {
    unit: Unit,
    name: String,
    file: Arc<dyn File>,
    /// Where some of its blocks begin, and the first message or record in each.
    places: Vec<(Place, u64)>,
    /// Every block has been looked at, and `places` lead around damage.
    is_checked: bool,
    /// The end of what was read last, and of what the disk was asked for.
    read: u64,
    asked: u64,
}

/// What a block's head says before the block is checked.
struct Glance {
    first: Place,
    /// Bytes with the head.
    len: u64,
    /// A record begins in it.
    begins: bool,
}

/// What was read last.
#[derive(Default)]
struct Cached {
    ordinal: u64,
    is_segment: bool,
    /// Of a segment the first record in it, and the one behind the last. Otherwise where it lies.
    positions: Range<u64>,
    /// Of a segment, where the next block begins.
    end: u64,
    /// Where its records are in memory.
    home: Home,
    range: Range<usize>,
    /// The record that was found last: its position, and where it begins in the block.
    last: (u64, usize),
}

/// A block that is in memory.
struct Loaded {
    unit: Unit,
    offset: u64,
    home: Home,
    range: Range<usize>,
}

/// Where bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Home {
    /// A block that was read by itself.
    #[default]
    Bytes,
    /// A piece that was read before it was needed.
    Ahead,
    /// A record that was put together.
    Record,
}

/// A hand of the log for reading. Each has what it knows for itself.
pub struct Reader {
    shared: Arc<Shared>,
    units: Arc<Vec<Unit>>,
    open: BTreeMap<u64, OpenUnit>,
    /// A block that was read by itself.
    bytes: Vec<u8>,
    /// A record that was put together, its position, and how many blocks were read since it was wanted.
    record: Vec<u8>,
    joined: Option<(u64, u32)>,
    ahead: Ahead,
    cached: Cached,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (bytes, record) = (Vec::new(), Vec::new());
        let (open, ahead, cached) = (BTreeMap::new(), Ahead::default(), Cached::default());
        Self { shared, units: Arc::default(), open, bytes, record, joined: None, ahead, cached }
    }

    /// The message that lies there: the bytes of its commit from its own on, which may be more than it has. What was written
    /// before is there; `None` is what is not any more, or not yet.
    pub fn read(&mut self, place: Place) -> Result<Option<&[u8]>, Error> {
        let found = match self.find(place) {
            // It has been replaced meanwhile.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.units = Arc::default();
                self.find(place)?
            }
            // It may stand behind damage.
            found @ (Ok(None) | Err(Error::Corrupt { .. })) if !self.check(place.position)? => found?,
            Ok(None) | Err(Error::Corrupt { .. }) => self.find(place)?,
            found => found?,
        };
        Ok(found.map(|(home, range)| self.home(home).get(range).unwrap_or_default()))
    }

    fn home(&self, home: Home) -> &[u8] {
        match home {
            Home::Bytes => &self.bytes,
            Home::Ahead => self.ahead.bytes(),
            Home::Record => &self.record,
        }
    }

    /// Where the bytes are.
    fn find(&mut self, place: Place) -> Result<Option<(Home, Range<usize>)>, Error> {
        let units = Arc::clone(&self.shared.segments.lock());
        if !Arc::ptr_eq(&units, &self.units) {
            self.open.retain(|_, open| units.contains(&open.unit));
            self.units = Arc::clone(&units);
            self.cached = Cached::default();
        }
        if let Some((position, unused)) = &mut self.joined
            && *position == place.position
        {
            *unused = 0;
            let found = in_records((place.position, 0), &self.record, place);
            return Ok(found.map(|(_, range)| (Home::Record, range)));
        }
        if self.cached.is_segment && self.cached.positions.contains(&place.position) {
            return Ok(self.in_block(place));
        }
        if self.cached.is_segment
            && self.cached.positions.end <= place.position
            && let Some(found) = self.in_next_block(place)?
        {
            return Ok(Some(found));
        }
        let range = around(&units, place.position);
        for unit in units.get(range.clone()).unwrap_or_default().iter().filter(|unit| !unit.is_segment()) {
            if let Some(found) = self.in_bodies(*unit, place)? {
                return Ok(Some((Home::Bytes, found)));
            }
        }
        for i in range.rev() {
            let Some(unit) = units.get(i).filter(|unit| unit.is_segment()) else { continue };
            if let Some(offset) = self.open(*unit)?.find(Place { offset: 0, ..place })? {
                return self.in_segment(&units, i, offset, place);
            }
        }
        Ok(None)
    }

    fn open(&mut self, unit: Unit) -> Result<&mut OpenUnit, Error> {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&unit.ordinal) {
            // A backlog is read from its old end on.
            self.open.pop_first();
        }
        match self.open.entry(unit.ordinal) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let name = unit.name();
                let file =
                    self.shared.storage.open(&name).map_err(|error| Error::io("open", &name, error))?;
                let (places, is_checked) = (Vec::new(), false);
                Ok(place.insert(OpenUnit { unit, name, file, places, is_checked, read: 0, asked: 0 }))
            }
        }
    }

    /// The bytes of a block.
    fn load(&mut self, unit: Unit, offset: u64, len: u64) -> Result<bool, Error> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.cached = Cached::default();
        self.forget_record();
        bytes.resize(len as usize, 0);
        bytes.shrink_to(KEPT);
        let open = self.open(unit)?;
        open.ask_ahead(offset, offset + len);
        let is_there = open.fill(&mut bytes, offset);
        self.bytes = bytes;
        is_there
    }

    /// A record that was put together is kept as long as it is wanted: of a commit that is longer than a segment each message
    /// would read all of it again.
    fn forget_record(&mut self) {
        let Some((_, unused)) = &mut self.joined else { return };
        *unused += 1;
        if *unused > FORGOTTEN_AFTER {
            self.joined = None;
            self.record.clear();
            self.record.shrink_to(KEPT);
        }
    }

    fn in_bodies(&mut self, unit: Unit, place: Place) -> Result<Option<Range<usize>>, Error> {
        let open = self.open(unit)?;
        let Some(offset) = open.find(place)? else { return Ok(None) };
        let Some(Glance { len, .. }) = open.glance(offset)? else { return Ok(None) };
        let is_known = !self.cached.is_segment
            && (self.cached.ordinal, self.cached.positions.start) == (unit.ordinal, offset);
        if !is_known {
            let is_whole = self.load(unit, offset, len)? && bodies::is_whole(&self.bytes, unit.ordinal);
            if !is_whole {
                return Err(Error::corrupt(&unit.name(), offset as usize, "a block's checksum is wrong"));
            }
            // Where it lies tells it from others.
            self.cached = Cached { ordinal: unit.ordinal, positions: offset..offset, ..Cached::default() };
        }
        Ok(bodies::find(&self.bytes, place))
    }

    /// The record is in the block that was read.
    fn in_block(&mut self, place: Place) -> Option<(Home, Range<usize>)> {
        let Cached { home, range, positions, last, .. } = &self.cached;
        let (home, start, last) = (*home, range.start, *last);
        let payload = self.home(home).get(range.clone())?;
        // As a rule what is wanted comes behind what was found last.
        let from = if last.0 <= place.position { last } else { (positions.start, 0) };
        let (begin, found) = in_records(from, payload, place)?;
        self.cached.last = (place.position, begin);
        Some((home, found.start + start..found.end + start))
    }

    /// Where a backlog is drained it is there as a rule, and nothing needs to be looked for. What is wrong with it is found by
    /// looking.
    fn in_next_block(&mut self, place: Place) -> Result<Option<(Home, Range<usize>)>, Error> {
        // Pieces come and go meanwhile, so what was read last is not there any more.
        let Cached { ordinal, end, .. } = std::mem::take(&mut self.cached);
        let loaded = self.next_block((ordinal, end), place)?;
        let Some(Loaded { unit, offset, home, range }) = loaded else { return Ok(None) };
        let bytes = self.home(home).get(range.clone()).unwrap_or_default();
        let Ok(Found::Block(head, payload)) = block::read(bytes, unit.ordinal) else { return Ok(None) };
        if head.part != Part::Whole || head.first.position > place.position {
            return Ok(None);
        }
        let (first, end) = (head.first.position, offset + bytes.len() as u64);
        let range = range.start + BLOCK_HEAD..range.end;
        self.cached = Cached::of_whole(unit, positions(head.first, payload), end, (home, range));
        self.forget_record();
        self.open(unit)?.keep(Place { position: first, offset: 0 }, offset);
        Ok(if self.cached.positions.contains(&place.position) { self.in_block(place) } else { None })
    }

    /// The block that begins there, behind the one that was read last.
    fn next_block(&mut self, mut spot: Spot, place: Place) -> Result<Option<Loaded>, Error> {
        let (ordinal, offset) = spot;
        let (shared, units) = (Arc::clone(&self.shared), Arc::clone(&self.units));
        let segment = |ordinal| {
            let from = units.partition_point(|unit| unit.ordinal < ordinal);
            units.iter().skip(from).find(|unit| unit.is_segment()).filter(|unit| unit.ordinal == ordinal)
        };
        let has = |ordinal| segment(ordinal).is_some();
        let segments = Segments { storage: &*shared.storage, has: &has };
        let mut found = self.ahead.block(&segments, spot);
        if found.is_none() && self.ahead.ends_at(spot) {
            spot = (ordinal + 1, SEGMENT_HEAD as u64);
            found = self.ahead.block(&segments, spot);
        }
        if let Some((range, unit)) = found.zip(segment(spot.0)) {
            return Ok(Some(Loaded { unit: *unit, offset: spot.1, home: Home::Ahead, range }));
        }
        let Some(open) = self.open.get_mut(&ordinal) else { return Ok(None) };
        let unit = open.unit;
        let Some(Glance { first, len, begins: true }) = open.glance(offset)? else { return Ok(None) };
        if first.position > place.position || len > KEPT as u64 {
            return Ok(None);
        }
        if !self.load(unit, offset, len)? {
            return Ok(None);
        }
        self.ahead.has_read_on(&segments, len, (ordinal, offset + len));
        Ok(Some(Loaded { unit, offset, home: Home::Bytes, range: 0..len as usize }))
    }

    /// The record begins in the block there.
    fn in_segment(
        &mut self,
        units: &[Unit],
        mut i: usize,
        mut offset: u64,
        place: Place,
    ) -> Result<Option<(Home, Range<usize>)>, Error> {
        self.ahead.has_jumped();
        let mut begun = None;
        while let Some(unit) = units.get(i).copied().filter(Unit::is_segment) {
            let damaged = |reason: &str| Error::corrupt(&unit.name(), offset as usize, reason);
            let Some(Glance { len, .. }) = self.open(unit)?.glance(offset)? else {
                // The rest of a record is in the next segment.
                let is_next = units.get(i + 1).is_some_and(|next| next.ordinal == unit.ordinal + 1);
                if begun.is_none() || !is_next {
                    break;
                }
                (i, offset) = (i + 1, SEGMENT_HEAD as u64);
                continue;
            };
            if !self.load(unit, offset, len)? {
                return Err(damaged("a block is cut"));
            }
            let (part, first, payload) = match block::read(&self.bytes, unit.ordinal) {
                Ok(Found::Block(head, payload)) => (head.part, head.first, payload),
                Ok(Found::End) => return Err(damaged("there is no block where one was")),
                Ok(Found::Damaged(reason)) => return Err(damaged(reason)),
                Err(reason) => return Err(damaged(&reason)),
            };
            if begun.is_some_and(|begun: Head| begun.position != first.position) {
                return Err(damaged("this is of another record than what stands before it"));
            }
            match (part, begun) {
                (Part::Whole, None) => {
                    let (positions, range) = (positions(first, payload), BLOCK_HEAD..len as usize);
                    self.cached = Cached::of_whole(unit, positions, offset + len, (Home::Bytes, range));
                    return Ok(self.in_block(place));
                }
                (Part::First, None) => {
                    self.joined = None;
                    self.record.clear();
                    self.record.extend_from_slice(payload);
                    begun = Some(first);
                }
                (Part::Middle, Some(_)) => self.record.extend_from_slice(payload),
                (Part::Last, Some(first)) => {
                    self.record.extend_from_slice(payload);
                    self.joined = Some((first.position, 0));
                    let found = in_records((first.position, 0), &self.record, place);
                    return Ok(found.map(|(_, range)| (Home::Record, range)));
                }
                (Part::Whole | Part::First, Some(_)) => return Err(damaged("a record has no end")),
                (Part::Middle | Part::Last, None) => return Err(damaged("a record has no beginning")),
            }
            offset += len;
        }
        Ok(None)
    }

    /// What was read last had been read before it was needed.
    #[cfg(test)]
    pub(crate) fn was_ahead(&self) -> bool {
        self.cached.home == Home::Ahead
    }

    /// Room for the largest block that was read last.
    #[cfg(test)]
    pub(crate) fn block_bytes_max(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Cached {
    /// A block of whole records.
    fn of_whole(unit: Unit, positions: Range<u64>, end: u64, (home, range): (Home, Range<usize>)) -> Self {
        let last = (positions.start, 0);
        Self { ordinal: unit.ordinal, is_segment: true, positions, end, home, range, last }
    }
}

/// The positions of the records of a block.
fn positions(first: Head, payload: &[u8]) -> Range<u64> {
    let count = Records::new(first, payload).take_while(Result::is_ok).count() as u64;
    first.position..first.position.saturating_add(count)
}

/// Where the record begins that is wanted, and the bytes of it from an offset on; looked for from a record on: its position and
/// where it begins.
fn in_records(from: (u64, usize), payload: &[u8], place: Place) -> Option<(usize, Range<usize>)> {
    let (mut position, mut begin) = from;
    loop {
        let len =
            payload.get(begin..).filter(|rest| rest.len() >= RECORD_HEAD).map(block::first_record_len)?;
        let end = begin + len;
        if end > payload.len() {
            return None;
        }
        if position == place.position {
            let start = begin + RECORD_HEAD + place.offset as usize;
            return (start <= end).then_some((begin, start..end));
        }
        (position, begin) = (position + 1, end);
    }
}

impl OpenUnit {
    /// Where the block begins that may have what is wanted; `None` if that came before all of them.
    fn find(&mut self, wanted: Place) -> Result<Option<u64>, Error> {
        let known = self.places.partition_point(|(place, _)| *place <= wanted);
        let mut offset = match known.checked_sub(1).and_then(|known| self.places.get(known)) {
            Some((_, offset)) => *offset,
            None if self.unit.is_segment() => SEGMENT_HEAD as u64,
            None => bodies::HEAD as u64,
        };
        let (mut found, mut before) = (None, Place { position: 0, offset: 0 });
        while let Some(Glance { first, len, begins }) = self.glance(offset)? {
            // One that is being written may say anything.
            if first > wanted || first < before {
                break;
            }
            before = first;
            if begins {
                found = Some(offset);
                self.keep(first, offset);
            }
            offset += len;
        }
        Ok(found)
    }

    /// Looks at a block's head without reading the block; `None` where there is none.
    fn glance(&self, offset: u64) -> Result<Option<Glance>, Error> {
        let mut head = [0; BLOCK_HEAD];
        let is_segment = self.unit.is_segment();
        let head = if is_segment { &mut head[..] } else { &mut head[..bodies::BLOCK_HEAD] };
        if !self.fill(head, offset)? {
            return Ok(None);
        }
        let glance = if is_segment {
            block::glance(head).map(|(position, len, begins)| Glance {
                first: Place { position, offset: 0 },
                len: len as u64,
                begins,
            })
        } else {
            bodies::glance(head).map(|(first, len)| Glance { first, len, begins: true })
        };
        // What no block can have is not made room for.
        if let Some(Glance { len, .. }) = glance
            && len > KEPT as u64
            && offset + len > self.file.size().map_err(|error| Error::io("read", &self.name, error))?
        {
            return Ok(None);
        }
        Ok(glance)
    }

    /// Whoever reads on finds what comes next in memory. Heads are looked at before what lies between them, which the kernel
    /// would not take for reading on.
    fn ask_ahead(&mut self, offset: u64, end: u64) {
        let reads_on = (self.read..self.read + AHEAD_PIECE).contains(&offset);
        self.read = end;
        self.asked = self.asked.max(end);
        while reads_on && self.asked < end + AHEAD {
            self.file.read_soon(self.asked, AHEAD_PIECE);
            self.asked += AHEAD_PIECE;
        }
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

    /// Keeps a place, if it is far behind the last one.
    fn keep(&mut self, first: Place, offset: u64) {
        if self.places.last().is_none_or(|(_, last)| offset >= last + APART) {
            self.places.push((first, offset));
        }
    }
}
