//! Single values in the format of Redis' snapshots, as DUMP gives and RESTORE takes them: the type, the value, two bytes of
//! version, a CRC-64. Written are the plain encodings, which every version reads; read are all of them, of Redis 2.6 to 7.4.
//! The trap: a payload comes from a client, so no length in it is believed before its bytes are there.

mod functions;
mod packed;
mod read;
mod stream;

use crate::UnixMillis;
use crate::entry::{Entry, Value};
use crate::number::IntegerText;
use crate::values::{End, Object};
use crate::view::text_of;
use crc::{CRC_64_REDIS, Crc};

pub use functions::{dump_libraries, load_libraries};
pub(crate) use read::load;
pub(crate) use stream::LoadedStream;

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const SORTED_SET: u8 = 3;
const HASH: u8 = 4;
const SORTED_SET_2: u8 = 5;
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
const HASH_METADATA: u8 = 24;
const HASH_LISTPACK_EX: u8 = 25;

/// What is read: Redis 7.4's.
const VERSION_MAX: u16 = 12;
/// What is written, so that Redis 7.0 reads it.
const VERSION: u16 = 10;
/// What a hash with deadlines needs.
const VERSION_DEADLINES: u16 = 12;
/// Version and checksum.
const FOOTER: usize = 10;

static CRC: Crc<u64> = Crc::<u64>::new(&CRC_64_REDIS);

/// Something that no Redis would have written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFormat;

/// A value as it was read.
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
    /// A stream.
    Stream(Box<LoadedStream>),
}

/// The payload of DUMP. (Redis: DUMP)
pub(crate) fn dump(entry: &Entry, now_ms: UnixMillis) -> Vec<u8> {
    let mut out = Vec::new();
    let mut version = VERSION;
    match entry.value() {
        Value::Object(Object::List(list)) => {
            out.push(LIST);
            put_len(&mut out, list.len() as u64);
            list.iter(End::Left).for_each(|element| put_string(&mut out, &element));
        }
        Value::Object(Object::Set(set)) => {
            out.push(SET);
            put_len(&mut out, set.len() as u64);
            set.iter().for_each(|member| put_string(&mut out, &member));
        }
        Value::Object(Object::SortedSet(set)) => {
            out.push(SORTED_SET_2);
            put_len(&mut out, set.len() as u64);
            for (score, member) in set.iter() {
                put_string(&mut out, &member);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        Value::Object(Object::Hash(hash)) => {
            let first = hash.next_deadline();
            out.push(if first.is_some() { HASH_METADATA } else { HASH });
            if let Some(first) = first {
                version = VERSION_DEADLINES;
                out.extend_from_slice(&first.to_le_bytes());
            }
            put_len(&mut out, hash.live_count(now_ms) as u64);
            for field in hash.iter().filter(|field| !field.is_overdue(now_ms)) {
                if let Some(first) = first {
                    put_len(&mut out, if field.deadline == 0 { 0 } else { field.deadline - first + 1 });
                }
                put_string(&mut out, &field.name);
                put_string(&mut out, &field.value);
            }
        }
        Value::Object(Object::Stream(stream)) => {
            out.push(STREAM_2);
            stream::put(&mut out, stream);
        }
        Value::Bytes(_) | Value::Integer(_) | Value::Object(Object::Blob(_)) => {
            out.push(STRING);
            if let Ok(text) = text_of(entry) {
                put_string(&mut out, &text.to_bytes());
            }
        }
    }
    finish(out, version)
}

/// What stands at the end of every payload.
fn finish(mut out: Vec<u8>, version: u16) -> Vec<u8> {
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = CRC.checksum(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// The type and the value of a payload whose version and checksum are right. (Redis: `verifyDumpPayload`)
pub(crate) fn verified(payload: &[u8]) -> Option<&[u8]> {
    let (body, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER)?)?;
    let version = u16::from_le_bytes(footer[..2].try_into().ok()?);
    let checksum = u64::from_le_bytes(footer[2..].try_into().ok()?);
    (version <= VERSION_MAX && checksum == CRC.checksum(&payload[..body.len() + 2])).then_some(body)
}

fn put_len(out: &mut Vec<u8>, len: u64) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Small integers take their own size.
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let integer =
        crate::parse_integer(bytes).filter(|integer| IntegerText::new(*integer).as_bytes() == bytes);
    if let Some(integer) = integer.and_then(|integer| i8::try_from(integer).ok()) {
        out.push(0xc0);
        out.extend_from_slice(&integer.to_le_bytes());
    } else if let Some(integer) = integer.and_then(|integer| i16::try_from(integer).ok()) {
        out.push(0xc1);
        out.extend_from_slice(&integer.to_le_bytes());
    } else if let Some(integer) = integer.and_then(|integer| i32::try_from(integer).ok()) {
        out.push(0xc2);
        out.extend_from_slice(&integer.to_le_bytes());
    } else {
        put_len(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}
