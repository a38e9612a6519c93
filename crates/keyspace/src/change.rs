//! The changes of the keyspace as bytes: what a primitive records and what replay reads. A tag, the database, then
//! the fields; the tags are part of the log's format and are never reused. Applying a change calls the primitive
//! that recorded it, so there is no second path.

mod names;

pub use names::CHANGE_NAMES;

use crate::STRING_MAX;
use crate::db::Keyspace;
use crate::txn::Txn;
use crate::values::{End, List};
use crate::view::Text;
use leveret_base::codec::{Changes, Malformed, Reader, put_bytes, put_varint};

/// The tags that belong to the keyspace.
pub const CHANGE_TAGS: std::ops::RangeInclusive<u8> = 0x01..=0x3f;

pub(crate) const PUT: u8 = 0x01;
pub(crate) const PUT_WITH_DEADLINE: u8 = 0x02;
pub(crate) const DELETE: u8 = 0x03;
pub(crate) const DEADLINE: u8 = 0x04;
pub(crate) const PERSIST: u8 = 0x05;
pub(crate) const RENAME: u8 = 0x06;
pub(crate) const FLUSH: u8 = 0x07;
pub(crate) const APPEND: u8 = 0x08;
pub(crate) const LIST_PUSH_LEFT: u8 = 0x09;
pub(crate) const LIST_PUSH_RIGHT: u8 = 0x0a;
pub(crate) const LIST_POP_LEFT: u8 = 0x0b;
pub(crate) const LIST_POP_RIGHT: u8 = 0x0c;
pub(crate) const SPLICE: u8 = 0x0d;

pub(crate) const LIST_SET: u8 = 0x10;
pub(crate) const LIST_INSERT: u8 = 0x11;
pub(crate) const LIST_REMOVE: u8 = 0x12;
pub(crate) const LIST_TRIM: u8 = 0x13;
pub(crate) const SET_RANGE: u8 = 0x14;
pub(crate) const COPY: u8 = 0x15;
pub(crate) const MOVE: u8 = 0x16;
pub(crate) const SWAP: u8 = 0x17;
pub(crate) const HASH_SET: u8 = 0x18;
pub(crate) const HASH_SET_KEEP: u8 = 0x19;
pub(crate) const HASH_DELETE: u8 = 0x1a;
pub(crate) const HASH_DEADLINE: u8 = 0x1b;
pub(crate) const SET_ADD: u8 = 0x20;
pub(crate) const SET_REMOVE: u8 = 0x21;
pub(crate) const SORTED_SET_PUT: u8 = 0x28;
pub(crate) const SORTED_SET_REMOVE: u8 = 0x29;
pub(crate) const STREAM_ADD: u8 = 0x30;
pub(crate) const STREAM_DELETE: u8 = 0x31;
pub(crate) const STREAM_TRIM: u8 = 0x32;
pub(crate) const STREAM_SET_IDS: u8 = 0x33;
pub(crate) const STREAM_GROUP: u8 = 0x34;
pub(crate) const STREAM_FORGET: u8 = 0x35;
pub(crate) const STREAM_DELIVER: u8 = 0x36;
pub(crate) const STREAM_ACKNOWLEDGE: u8 = 0x37;
/// In checkpoints alone: the seed of the tables. Keys come in their order; in the same order they lie side by side again.
pub(crate) const SEED: u8 = 0x3f;

/// Writes one change: tag, database, then numbers and strings in the order given.
macro_rules! record {
    ($txn:expr, $tag:expr $(, number $number:expr)* $(, bytes $bytes:expr)* $(,)?) => {
        if let Some(out) = $txn.changes.buffer() {
            $crate::change::begin(out, $tag, $txn.db);
            $(leveret_base::codec::put_varint(out, $number);)*
            $(leveret_base::codec::put_bytes(out, $bytes);)*
        }
    };
}
pub(crate) use record;

#[inline]
pub(crate) fn begin(out: &mut Vec<u8>, tag: u8, db: u8) {
    out.extend_from_slice(&[tag, db]);
}

/// A push carries many elements: their count, then each.
pub(crate) fn record_push<'e>(
    out: &mut Vec<u8>,
    end: End,
    db: u8,
    key: &[u8],
    elements: impl ExactSizeIterator<Item = &'e [u8]>,
) {
    begin(out, if end == End::Left { LIST_PUSH_LEFT } else { LIST_PUSH_RIGHT }, db);
    put_bytes(out, key);
    put_varint(out, elements.len() as u64);
    elements.for_each(|element| put_bytes(out, element));
}

/// Records a change of many strings under a key: a number if there is one, the key, the count, the strings.
pub(crate) fn record_many<'e>(
    txn: &mut Txn<'_>,
    tag: u8,
    number: Option<u64>,
    key: &[u8],
    strings: impl ExactSizeIterator<Item = &'e [u8]>,
) {
    let db = txn.db;
    if let Some(out) = txn.changes.buffer() {
        put_many(out, tag, db, number, key, strings);
    }
}

/// Likewise, wherever it goes.
pub(crate) fn put_many<'e>(
    out: &mut Vec<u8>,
    tag: u8,
    db: u8,
    number: Option<u64>,
    key: &[u8],
    strings: impl ExactSizeIterator<Item = &'e [u8]>,
) {
    begin(out, tag, db);
    if let Some(number) = number {
        put_varint(out, number);
    }
    put_bytes(out, key);
    put_varint(out, strings.len() as u64);
    strings.for_each(|string| put_bytes(out, string));
}

/// Members of a sorted set. A score's bits are reversed: the low ones are mostly zero, and short so.
pub(crate) fn put_scores<'e>(
    out: &mut Vec<u8>,
    db: u8,
    key: &[u8],
    items: impl ExactSizeIterator<Item = (f64, &'e [u8])>,
) {
    begin(out, SORTED_SET_PUT, db);
    put_bytes(out, key);
    put_varint(out, items.len() as u64);
    for (score, member) in items {
        put_varint(out, score.to_bits().reverse_bits());
        put_bytes(out, member);
    }
}

/// The database and the key of a change that has its key first, as most have.
fn place_of(change: &[u8]) -> Option<(u8, &[u8])> {
    let mut fields = Reader::new(change);
    let (tag, db) = (fields.byte().ok()?, fields.byte().ok()?);
    match tag {
        PUT | DELETE | PERSIST | APPEND | LIST_PUSH_LEFT | LIST_PUSH_RIGHT => {}
        HASH_SET..=HASH_DELETE | SET_ADD | SET_REMOVE | SORTED_SET_PUT | SORTED_SET_REMOVE => {}
        PUT_WITH_DEADLINE | DEADLINE | LIST_POP_LEFT | LIST_POP_RIGHT => drop(fields.varint().ok()?),
        _ => return None,
    }
    Some((db, fields.bytes().ok()?))
}

impl Keyspace {
    /// Has loaded meanwhile what records touch that come next: the key of each one's first change.
    pub fn load_ahead<'a>(&self, records: impl Iterator<Item = &'a [u8]>) {
        let places = records.filter_map(place_of).filter(|(db, _)| usize::from(*db) < self.dbs.len());
        let hashes: Vec<(u8, u64)> = places.map(|(db, key)| (db, self.hash(key))).collect();
        hashes.iter().for_each(|(db, hash)| self.prefetch_bucket(*db, *hash));
        hashes.iter().for_each(|(db, hash)| self.prefetch_entry(*db, *hash));
    }

    /// Applies one recorded change whose tag has been read: replay.
    pub fn apply(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let db = fields.byte()?;
        if db as usize >= self.dbs.len() {
            return Err(Malformed);
        }
        // Time 0: nothing is overdue while replaying, because whatever expired has its own change.
        let mut txn = Txn::new(self, db, 0, Changes::off());
        match tag {
            PUT => {
                let (key, value) = (fields.bytes()?, fields.bytes()?);
                txn.put(key, value, None);
            }
            PUT_WITH_DEADLINE => {
                let deadline = fields.varint()?;
                let (key, value) = (fields.bytes()?, fields.bytes()?);
                txn.put(key, value, Some(deadline));
            }
            DELETE => {
                txn.delete(fields.bytes()?);
            }
            DEADLINE => {
                let deadline = fields.varint()?;
                txn.set_deadline(fields.bytes()?, Some(deadline));
            }
            PERSIST => txn.set_deadline(fields.bytes()?, None),
            RENAME => {
                let (from, to) = (fields.bytes()?, fields.bytes()?);
                txn.rename(from, to);
            }
            FLUSH => txn.flush(),
            APPEND => {
                let (key, tail) = (fields.bytes()?, fields.bytes()?);
                txn.string(key).map_err(|_| Malformed)?;
                txn.append(key, tail);
            }
            LIST_PUSH_LEFT | LIST_PUSH_RIGHT => {
                let end = if tag == LIST_PUSH_LEFT { End::Left } else { End::Right };
                let (key, count) = (fields.bytes()?, fields.varint()?);
                txn.collection::<List>(key).map_err(|_| Malformed)?;
                for _ in 0..count {
                    txn.list_push(end, key, std::iter::once(fields.bytes()?));
                }
            }
            LIST_POP_LEFT | LIST_POP_RIGHT => {
                let end = if tag == LIST_POP_LEFT { End::Left } else { End::Right };
                let count = fields.varint()?;
                txn.list_pop(end, fields.bytes()?, count as usize, |_| ());
            }
            SET_RANGE => {
                let offset = fields.varint()?;
                let (key, bytes) = (fields.bytes()?, fields.bytes()?);
                txn.string(key).map_err(|_| Malformed)?;
                let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(bytes.len()));
                if end.is_none_or(|end| end > STRING_MAX) {
                    return Err(Malformed);
                }
                txn.set_range(key, offset as usize, bytes);
            }
            SPLICE => {
                let (start, removed) = (fields.varint()?, fields.varint()?);
                let (key, bytes) = (fields.bytes()?, fields.bytes()?);
                let len = txn.string(key).map_err(|_| Malformed)?.map_or(0, Text::len) as u64;
                if start.checked_add(removed).is_none_or(|end| end > len) {
                    return Err(Malformed);
                }
                txn.splice(key, start as usize, removed as usize, bytes);
            }
            LIST_SET..=LIST_TRIM => return txn.apply_list(tag, fields),
            COPY..=SWAP => return txn.apply_keys(tag, fields),
            0x18..=0x1f => return txn.apply_hash(tag, fields),
            0x20..=0x27 => return txn.apply_set(tag, fields),
            0x28..=0x2f => return txn.apply_sorted_set(tag, fields),
            0x30..=0x37 => return txn.apply_stream(tag, fields),
            SEED => {
                let seed = fields.varint()?;
                if self.is_empty() {
                    self.set_seed(seed);
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}
