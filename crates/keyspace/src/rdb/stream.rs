//! Streams in Redis' snapshots: each block as a listpack behind the name of its first entry, then what the stream knows, then
//! its groups. The listpack begins with how many entries it has, how many are deleted, and the names of fields which most
//! of them share. The form of Redis 7.0 has everything but when a consumer was last active.

mod write;

use super::input::{Input, Slice};
use super::packed::listpack;
use super::{BadFormat, STREAM, STREAM_3, STREAM_4, STREAM_5};
use crate::values::EntryId;
use crate::{UnixMillis, parse_integer};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(super) use write::put;

/// The entry is deleted, and its fields stand there all the same.
const IS_DELETED: i64 = 1;
/// The entry has the names of the block.
const HAS_SHARED_NAMES: i64 = 2;
/// A count that is not known, as a length.
const UNKNOWN: u64 = u64::MAX;

/// An entry as it was read: its name, then names and values of fields in turn.
pub(crate) type LoadedEntry = (EntryId, Vec<Rc<Vec<u8>>>);

/// Fields of more bytes are refused: names stand in a block once, and would stand in memory with every entry.
const FIELD_BYTES_MAX: usize = 1 << 30;

/// A stream as it was read. Of one that is read in pieces the entries came before.
#[derive(Debug, PartialEq)]
pub(crate) struct LoadedStream {
    /// Its entries, first one first.
    pub(crate) entries: Vec<LoadedEntry>,
    /// The name that was given last.
    pub(crate) last: EntryId,
    /// The last one deleted by name.
    pub(crate) deleted_max: EntryId,
    /// Entries that ever were.
    pub(crate) added_count: u64,
    /// Its groups, each with another name.
    pub(crate) groups: Vec<LoadedGroup>,
}

/// A group as it was read.
#[derive(Debug, PartialEq)]
pub(crate) struct LoadedGroup {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// Up to where it has read.
    pub(crate) last: EntryId,
    /// How many entries it has read, if that is known.
    pub(crate) read_count: Option<u64>,
    /// What is pending, with the time and the count of deliveries.
    pub(crate) pending: BTreeMap<EntryId, (UnixMillis, u64)>,
    /// Its consumers.
    pub(crate) consumers: Vec<LoadedConsumer>,
}

/// A consumer as it was read.
#[derive(Debug, PartialEq)]
pub(crate) struct LoadedConsumer {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// When it last asked for anything.
    pub(crate) seen_ms: UnixMillis,
    /// When it last got something.
    pub(crate) active_ms: Option<UnixMillis>,
    /// What it has not acknowledged.
    pub(crate) pending: Vec<EntryId>,
}

fn read_id(input: &mut impl Input) -> Result<EntryId, BadFormat> {
    Ok(EntryId { ms: input.len()?, seq: input.len()? })
}

fn read_raw_id(input: &mut impl Input) -> Result<EntryId, BadFormat> {
    Ok(EntryId { ms: u64::from_be_bytes(input.array()?), seq: u64::from_be_bytes(input.array()?) })
}

fn read_ms(input: &mut impl Input) -> Result<UnixMillis, BadFormat> {
    Ok(u64::from_le_bytes(input.array()?))
}

/// The entries of a stream that is being read, block by block.
pub(super) struct Blocks {
    kind: u8,
    left: u64,
    first: Option<EntryId>,
    last: EntryId,
    count: u64,
}

impl Blocks {
    /// Reads how many blocks there are.
    pub(super) fn begin(kind: u8, input: &mut impl Input) -> Result<Self, BadFormat> {
        Ok(Self { kind, left: input.len()?, first: None, last: EntryId::ZERO, count: 0 })
    }

    /// The entries of the next blocks, of about so many bytes; `None` when there is no other block.
    pub(super) fn entries(
        &mut self,
        input: &mut impl Input,
        budget: usize,
    ) -> Result<Option<Vec<LoadedEntry>>, BadFormat> {
        if self.left == 0 {
            return Ok(None);
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while self.left > 0 && bytes < budget {
            self.left -= 1;
            let name = input.string()?;
            let base = read_raw_id(&mut Slice(&name))?;
            let before = entries.len();
            read_block(&listpack(&input.string()?)?, base, &mut entries)?;
            for (id, fields) in entries.get(before..).unwrap_or_default() {
                if *id <= self.last {
                    return Err(BadFormat);
                }
                self.first = self.first.or(Some(*id));
                (self.last, self.count) = (*id, self.count + 1);
                bytes = fields.iter().fold(bytes, |sum: usize, field| sum.saturating_add(field.len()));
            }
            if bytes > FIELD_BYTES_MAX {
                return Err(BadFormat);
            }
        }
        Ok(Some(entries))
    }

    /// Everything behind the blocks.
    pub(super) fn rest(&self, input: &mut impl Input) -> Result<LoadedStream, BadFormat> {
        let (len, last) = (input.len()?, read_id(input)?);
        let (mut deleted_max, mut added_count) = (EntryId::ZERO, len);
        if self.kind != STREAM {
            let _first = read_id(input)?;
            deleted_max = read_id(input)?;
            added_count = input.len()?;
        }
        let mut stream =
            LoadedStream { entries: Vec::new(), last, deleted_max, added_count, groups: Vec::new() };
        for _ in 0..input.len()? {
            let group = LoadedGroup::read(self, input, &stream)?;
            stream.groups.push(group);
        }
        if self.kind >= STREAM_4 {
            let (_duration, _most) = (input.len()?, input.len()?);
            // What they have said is not known here, so that the same could be said twice.
            if input.len()? != 0 {
                return Err(BadFormat);
            }
            let (_added, _duplicates) = (input.len()?, input.len()?);
        }
        let names: BTreeSet<&Vec<u8>> = stream.groups.iter().map(|group| &group.name).collect();
        let is_sound = len == self.count
            && self.last <= last
            && names.len() == stream.groups.len()
            && stream.groups.iter().all(LoadedGroup::is_sound);
        if is_sound { Ok(stream) } else { Err(BadFormat) }
    }

    /// How many entries a group has read whose snapshot does not tell. (Redis:
    /// `streamEstimateDistanceFromFirstEverEntry`)
    fn count_through(&self, stream: &LoadedStream, id: EntryId) -> Option<u64> {
        let (added_count, first) = (stream.added_count, self.first.unwrap_or(EntryId::ZERO));
        if added_count == 0 || self.count == 0 && id <= stream.last || id == stream.last {
            return Some(added_count);
        }
        let before = added_count.checked_sub(self.count)?;
        if id < first { Some(before) } else { before.checked_add(1).filter(|_| id == first) }
    }
}

fn read_block(items: &[Vec<u8>], base: EntryId, entries: &mut Vec<LoadedEntry>) -> Result<(), BadFormat> {
    let mut items = items.iter();
    let mut next = || items.next().ok_or(BadFormat);
    let number = |item: &Vec<u8>| parse_integer(item).ok_or(BadFormat);
    let size = |item: &Vec<u8>| usize::try_from(number(item)?).map_err(|_| BadFormat);
    let (count, deleted) = (size(next()?)?, size(next()?)?);
    let names_count = size(next()?)?;
    let mut names = Vec::new();
    for _ in 0..names_count {
        names.push(Rc::new(next()?.clone()));
    }
    if number(next()?)? != 0 {
        return Err(BadFormat);
    }
    let mut found = 0;
    for _ in 0..count.checked_add(deleted).ok_or(BadFormat)? {
        let flags = number(next()?)?;
        let ms = base.ms.checked_add_signed(number(next()?)?).ok_or(BadFormat)?;
        let seq = base.seq.wrapping_add_signed(number(next()?)?);
        let has_shared = flags & HAS_SHARED_NAMES != 0;
        let fields_count = if has_shared { names_count } else { size(next()?)? };
        let mut fields = Vec::new();
        for index in 0..fields_count {
            fields.push(match names.get(index) {
                Some(name) if has_shared => name.clone(),
                Some(_) | None => Rc::new(next()?.clone()),
            });
            fields.push(Rc::new(next()?.clone()));
        }
        let parts = if has_shared { fields_count + 3 } else { fields_count * 2 + 4 };
        if size(next()?)? != parts {
            return Err(BadFormat);
        }
        if flags & IS_DELETED == 0 {
            entries.push((EntryId { ms, seq }, fields));
            found += 1;
        }
    }
    if found == count && names_count > 0 && items.next().is_none() { Ok(()) } else { Err(BadFormat) }
}

impl LoadedGroup {
    fn read(blocks: &Blocks, input: &mut impl Input, stream: &LoadedStream) -> Result<Self, BadFormat> {
        let (name, last) = (input.string()?, read_id(input)?);
        let read_count = if blocks.kind == STREAM {
            blocks.count_through(stream, last)
        } else {
            Some(input.len()?).filter(|count| *count != UNKNOWN)
        };
        let mut pending = BTreeMap::new();
        for _ in 0..input.len()? {
            let (id, delivered_ms) = (read_raw_id(input)?, read_ms(input)?);
            if pending.insert(id, (delivered_ms, input.len()?)).is_some() {
                return Err(BadFormat);
            }
        }
        let mut consumers = Vec::new();
        for _ in 0..input.len()? {
            let (name, seen_ms) = (input.string()?, read_ms(input)?);
            // Before Redis 7.2 being seen and being active were the same.
            let active_ms = if blocks.kind >= STREAM_3 { read_ms(input)? } else { seen_ms };
            let active_ms = Some(active_ms).filter(|at| *at != UNKNOWN);
            let mut pending = Vec::new();
            for _ in 0..input.len()? {
                pending.push(read_raw_id(input)?);
            }
            consumers.push(LoadedConsumer { name, seen_ms, active_ms, pending });
        }
        // Pending entries of nobody are not known here.
        if blocks.kind >= STREAM_5 && input.len()? != 0 {
            return Err(BadFormat);
        }
        Ok(Self { name, last, read_count, pending, consumers })
    }

    /// Every pending entry is one consumer's.
    fn is_sound(&self) -> bool {
        let names: BTreeSet<&Vec<u8>> = self.consumers.iter().map(|consumer| &consumer.name).collect();
        let owned: BTreeSet<&EntryId> =
            self.consumers.iter().flat_map(|consumer| &consumer.pending).collect();
        let count: usize = self.consumers.iter().map(|consumer| consumer.pending.len()).sum();
        names.len() == self.consumers.len() && owned.len() == count && self.pending.keys().eq(owned)
    }
}
