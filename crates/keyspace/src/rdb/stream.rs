//! Streams in Redis' snapshots: each block as a listpack behind the name of its first entry, then what the stream knows, then
//! its groups. The listpack begins with how many entries it has, how many are deleted, and the names of fields which most
//! of them share. Written is the form of Redis 7.0, which has everything but when a consumer was last active.

use super::packed::listpack;
use super::read::Input;
use super::{BadFormat, STREAM, STREAM_3, put_len, put_string};
use crate::number::IntegerText;
use crate::values::{EntryId, Stream, StreamEntry};
use crate::{UnixMillis, parse_integer};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

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

/// A stream as it was read.
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
    /// How many entries it is said to have.
    len: u64,
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

/// Writes everything behind the type.
pub(super) fn put(out: &mut Vec<u8>, stream: &Stream) {
    put_len(out, stream.blocks_count() as u64);
    for block in stream.by_block() {
        put_block(out, &block.collect::<Vec<_>>());
    }
    put_len(out, stream.len());
    put_id(out, stream.last);
    put_id(out, stream.first_id());
    put_id(out, stream.deleted_max);
    put_len(out, stream.added_count);
    put_len(out, stream.groups.len() as u64);
    for (name, group) in &stream.groups {
        put_string(out, name);
        put_id(out, group.last);
        put_len(out, group.read_count.unwrap_or(UNKNOWN));
        put_len(out, group.pending().len() as u64);
        for (id, pending) in group.pending() {
            put_raw_id(out, *id);
            out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
            put_len(out, pending.count);
        }
        put_len(out, group.consumers().len() as u64);
        for (name, consumer) in group.consumers() {
            put_string(out, name);
            out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            put_len(out, consumer.pending().len() as u64);
            consumer.pending().iter().for_each(|id| put_raw_id(out, *id));
        }
    }
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_len(out, id.ms);
    put_len(out, id.seq);
}

fn put_raw_id(out: &mut Vec<u8>, id: EntryId) {
    out.extend_from_slice(&id.ms.to_be_bytes());
    out.extend_from_slice(&id.seq.to_be_bytes());
}

fn put_block(out: &mut Vec<u8>, entries: &[StreamEntry<'_>]) {
    let Some(first) = entries.first() else { return };
    put_len(out, 16);
    put_raw_id(out, first.id);
    let names = |entry: &StreamEntry<'_>| entry.fields().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
    let shared = names(first);
    let mut pack = Listpack::default();
    pack.number(entries.len() as i64);
    pack.number(0);
    pack.number(shared.len() as i64);
    shared.iter().for_each(|name| pack.element(name));
    pack.number(0);
    for entry in entries {
        let has_shared = names(entry) == shared;
        let before = pack.count;
        pack.number(if has_shared { HAS_SHARED_NAMES } else { 0 });
        pack.number((entry.id.ms - first.id.ms) as i64);
        // A difference, too, though it may be negative.
        pack.number(entry.id.seq.wrapping_sub(first.id.seq) as i64);
        if !has_shared {
            pack.number(entry.len as i64);
        }
        for (name, value) in entry.fields() {
            if !has_shared {
                pack.element(&name);
            }
            pack.element(&value);
        }
        pack.number(i64::from(pack.count - before));
    }
    let bytes = pack.finish();
    put_len(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

/// A listpack that is being written.
#[derive(Default)]
struct Listpack {
    elements: Vec<u8>,
    count: u32,
}

impl Listpack {
    fn number(&mut self, number: i64) {
        let start = self.elements.len();
        let bytes = number.to_le_bytes();
        match number {
            0..=0x7f => self.elements.push(number as u8),
            -0x1000..=0xfff => {
                let bits = number as u16 & 0x1fff;
                self.elements.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            _ => {
                let (kind, width) = match number {
                    -0x8000..=0x7fff => (0xf1, 2),
                    -0x80_0000..=0x7f_ffff => (0xf2, 3),
                    -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                    _ => (0xf4, 8),
                };
                self.elements.push(kind);
                self.elements.extend_from_slice(&bytes[..width]);
            }
        }
        self.end(start);
    }

    fn element(&mut self, bytes: &[u8]) {
        let integer = parse_integer(bytes).filter(|integer| IntegerText::new(*integer).as_bytes() == bytes);
        if let Some(integer) = integer {
            return self.number(integer);
        }
        let start = self.elements.len();
        match bytes.len() {
            len @ ..=0x3f => self.elements.push(0x80 | len as u8),
            len @ ..=0xfff => self.elements.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
            len => {
                self.elements.push(0xf0);
                self.elements.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.elements.extend_from_slice(bytes);
        self.end(start);
    }

    /// Behind each element stands its own length, to be read backwards.
    fn end(&mut self, start: usize) {
        let len = self.elements.len() - start;
        let groups = (usize::BITS - len.leading_zeros()).div_ceil(7);
        for group in (0..groups).rev() {
            // All but the first say that there are more before.
            let more = if group + 1 < groups { 0x80 } else { 0 };
            self.elements.push((len >> (7 * group)) as u8 & 0x7f | more);
        }
        self.count += 1;
    }

    fn finish(self) -> Vec<u8> {
        const HEAD: usize = 6;
        let mut out = ((HEAD + self.elements.len() + 1) as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&u16::try_from(self.count).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.elements);
        out.push(0xff);
        out
    }
}

fn read_id(input: &mut Input<'_>) -> Result<EntryId, BadFormat> {
    Ok(EntryId { ms: input.len()?, seq: input.len()? })
}

fn read_raw_id(input: &mut Input<'_>) -> Result<EntryId, BadFormat> {
    Ok(EntryId { ms: u64::from_be_bytes(input.array()?), seq: u64::from_be_bytes(input.array()?) })
}

fn read_ms(input: &mut Input<'_>) -> Result<UnixMillis, BadFormat> {
    Ok(u64::from_le_bytes(input.array()?))
}

impl LoadedStream {
    /// Reads everything behind the type.
    pub(super) fn read(kind: u8, input: &mut Input<'_>) -> Result<Self, BadFormat> {
        let mut entries = Vec::new();
        for _ in 0..input.len()? {
            let name = input.string()?;
            let base = read_raw_id(&mut Input(&name))?;
            read_block(&listpack(&input.string()?)?, base, &mut entries)?;
        }
        let (len, last) = (input.len()?, read_id(input)?);
        let (mut deleted_max, mut added_count) = (EntryId::ZERO, len);
        if kind != STREAM {
            let _first = read_id(input)?;
            deleted_max = read_id(input)?;
            added_count = input.len()?;
        }
        let mut stream = Self { entries, last, deleted_max, added_count, groups: Vec::new(), len };
        for _ in 0..input.len()? {
            let group = LoadedGroup::read(kind, input, &stream)?;
            stream.groups.push(group);
        }
        Ok(stream)
    }

    /// Names ascend, and the counts are right.
    pub(super) fn is_sound(&self) -> bool {
        let names: BTreeSet<&Vec<u8>> = self.groups.iter().map(|group| &group.name).collect();
        self.len == self.entries.len() as u64
            && self.entries.is_sorted_by(|(before, _), (after, _)| before < after)
            && self.entries.first().is_none_or(|(first, _)| *first > EntryId::ZERO)
            && self.entries.last().is_none_or(|(last, _)| *last <= self.last)
            && names.len() == self.groups.len()
            && self.field_bytes() <= FIELD_BYTES_MAX
            && self.groups.iter().all(LoadedGroup::is_sound)
    }

    fn field_bytes(&self) -> usize {
        let fields = self.entries.iter().flat_map(|(_, fields)| fields);
        fields.fold(0, |sum, field| sum.saturating_add(field.len()))
    }

    /// How many entries a group has read whose snapshot does not tell. (Redis:
    /// `streamEstimateDistanceFromFirstEverEntry`)
    fn count_through(&self, id: EntryId) -> Option<u64> {
        let first = self.entries.first().map_or(EntryId::ZERO, |(first, _)| *first);
        if self.added_count == 0 || self.entries.is_empty() && id <= self.last || id == self.last {
            return Some(self.added_count);
        }
        let before = self.added_count.checked_sub(self.entries.len() as u64)?;
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
    fn read(kind: u8, input: &mut Input<'_>, stream: &LoadedStream) -> Result<Self, BadFormat> {
        let (name, last) = (input.string()?, read_id(input)?);
        let read_count = if kind == STREAM {
            stream.count_through(last)
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
            let active_ms = if kind == STREAM_3 { read_ms(input)? } else { seen_ms };
            let active_ms = Some(active_ms).filter(|at| *at != UNKNOWN);
            let mut pending = Vec::new();
            for _ in 0..input.len()? {
                pending.push(read_raw_id(input)?);
            }
            consumers.push(LoadedConsumer { name, seen_ms, active_ms, pending });
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
