//! Redis' snapshots: whole files, and single values as DUMP gives and RESTORE takes them: the type, the value, two bytes of
//! version, a CRC-64. Written are the plain encodings, which every version reads; read are all of them, of Redis 2.6 to 8.0
//! and of Valkey 9. The trap: bytes come from outside, so no length in them is believed before its bytes are there.

mod export;
mod file;
mod functions;
mod input;
mod packed;
mod read;
mod source;
mod stream;
mod write;

use crate::UnixMillis;
use crate::entry::Entry;
use crc::{CRC_64_REDIS, Crc, Table};

pub use export::{Dialect, Exported, export};
pub use file::{Failure, Item, Piece, Reader};
pub use functions::{dump_libraries, load_libraries};
pub(crate) use read::{Family, load};
pub(crate) use stream::{LoadedEntry, LoadedStream};
use write::Form;

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const SORTED_SET: u8 = 3;
const HASH: u8 = 4;
const SORTED_SET_2: u8 = 5;
const MODULE_EARLY: u8 = 6;
const MODULE: u8 = 7;
const HASH_ZIPMAP: u8 = 9;
const LIST_ZIPLIST: u8 = 10;
const SET_INTSET: u8 = 11;
const SORTED_SET_ZIPLIST: u8 = 12;
const HASH_ZIPLIST: u8 = 13;
const LIST_QUICKLIST: u8 = 14;
const STREAM: u8 = 15;
const HASH_LISTPACK: u8 = 16;
const SORTED_SET_LISTPACK: u8 = 17;
const LIST_QUICKLIST_2: u8 = 18;
const STREAM_2: u8 = 19;
const SET_LISTPACK: u8 = 20;
const STREAM_3: u8 = 21;
/// Valkey's, from 9.0.
const HASH_2: u8 = 22;
/// Of release candidates of Redis 7.4, as the next one.
const HASH_METADATA_EARLY: u8 = 22;
const HASH_LISTPACK_EX_EARLY: u8 = 23;
const HASH_METADATA: u8 = 24;
const HASH_LISTPACK_EX: u8 = 25;
/// Redis', from 8.6, with producers that may say a thing twice.
const STREAM_4: u8 = 26;
/// Redis', from 8.8, with pending entries that are nobody's.
const STREAM_5: u8 = 27;

/// What is read: Redis 8.0's.
const VERSION_MAX: u16 = 12;
/// What is written, so that Redis 7.0 reads it.
const VERSION: u16 = 10;
/// What a hash with deadlines needs.
const VERSION_DEADLINES: u16 = 12;
/// Valkey's numbers go on from here.
const VERSION_VALKEY: u16 = 80;
/// Version and checksum.
const FOOTER: usize = 10;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Something that no Redis would have written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFormat;

/// A value as it was read, or a part of one.
#[derive(Debug, PartialEq)]
pub(crate) enum Loaded {
    /// A string.
    String(Vec<u8>),
    /// Elements, head first.
    List(Vec<Vec<u8>>),
    /// Members, each once.
    Set(Vec<Vec<u8>>),
    /// Members with scores, each once.
    SortedSet(Vec<(f64, Vec<u8>)>),
    /// Fields, each once, with values and deadlines; 0 is none.
    Hash(Vec<(Vec<u8>, Vec<u8>, UnixMillis)>),
    /// Entries of a stream, of which the rest is still to come.
    Entries(Vec<LoadedEntry>),
    /// A stream.
    Stream(Box<LoadedStream>),
}

impl Loaded {
    /// A collection without elements, which is no value. A stream may have no entries.
    fn is_empty(&self) -> bool {
        match self {
            Loaded::List(elements) | Loaded::Set(elements) => elements.is_empty(),
            Loaded::SortedSet(items) => items.is_empty(),
            Loaded::Hash(fields) => fields.is_empty(),
            Loaded::Entries(entries) => entries.is_empty(),
            Loaded::String(_) | Loaded::Stream(_) => false,
        }
    }
}

/// The payload of DUMP. (Redis: DUMP)
pub(crate) fn dump(entry: &Entry, now_ms: UnixMillis) -> Vec<u8> {
    let mut out = vec![write::kind(entry, Form::OLD)];
    let version = if out == [HASH_METADATA] { VERSION_DEADLINES } else { VERSION };
    write::value(&mut out, entry, Form::OLD, now_ms, &mut |_| ());
    finish(out, version)
}

/// What stands at the end of every payload.
fn finish(mut out: Vec<u8>, version: u16) -> Vec<u8> {
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = CRC.checksum(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The type and the value of a payload whose version and checksum are right, and whose it is. (Redis: `verifyDumpPayload`)
pub(crate) fn verified(payload: &[u8]) -> Option<(Family, &[u8])> {
    let (body, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER)?)?;
    let version = u16::from_le_bytes(footer[..2].try_into().ok()?);
    let checksum = u64::from_le_bytes(footer[2..].try_into().ok()?);
    let family = match version {
        0..=VERSION_MAX => Family::Redis,
        VERSION_VALKEY => Family::Valkey,
        _ => return None,
    };
    (checksum == CRC.checksum(&payload[..body.len() + 2])).then_some((family, body))
}

#[cfg(test)]
mod tests;
