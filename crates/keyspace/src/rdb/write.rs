//! Writing a value, in the plain encoding of its type. It goes into a buffer that somebody else may empty after each
//! element, so a large collection is nowhere a second time.

use super::{
    Family, HASH, HASH_2, HASH_METADATA, LIST, SET, SORTED_SET_2, STREAM_2, STREAM_3, STRING, stream,
};
use crate::UnixMillis;
use crate::entry::{Entry, Value};
use crate::number::IntegerText;
use crate::values::{End, Object};
use crate::view::text_of;

/// Whose types are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) family: Family,
    /// Types that Redis 7.0 does not know may be written where an older one does not say as much.
    pub(super) is_new: bool,
}

impl Form {
    /// As far as it goes, what Redis 7.0 reads.
    pub(super) const OLD: Self = Self { family: Family::Redis, is_new: false };
}

/// The type's number.
pub(super) fn kind(entry: &Entry, form: Form) -> u8 {
    match entry.value() {
        Value::Bytes(_) | Value::Integer(_) | Value::Object(Object::Blob(_)) => STRING,
        Value::Object(Object::List(_)) => LIST,
        Value::Object(Object::Set(_)) => SET,
        Value::Object(Object::SortedSet(_)) => SORTED_SET_2,
        Value::Object(Object::Hash(hash)) => match (hash.next_deadline(), form.family) {
            (None, _) => HASH,
            (Some(_), Family::Redis) => HASH_METADATA,
            (Some(_), Family::Valkey) => HASH_2,
        },
        Value::Object(Object::Stream(_)) => {
            if form.is_new {
                STREAM_3
            } else {
                STREAM_2
            }
        }
    }
}

/// Everything behind the type. Fields that are overdue are left out.
pub(super) fn value(
    out: &mut Vec<u8>,
    entry: &Entry,
    form: Form,
    now_ms: UnixMillis,
    full: &mut dyn FnMut(&mut Vec<u8>),
) {
    let family = form.family;
    match entry.value() {
        Value::Object(Object::List(list)) => {
            put_len(out, list.len() as u64);
            for element in list.iter(End::Left) {
                put_string(out, &element);
                full(out);
            }
        }
        Value::Object(Object::Set(set)) => {
            put_len(out, set.len() as u64);
            for member in set.iter() {
                put_string(out, &member);
                full(out);
            }
        }
        Value::Object(Object::SortedSet(set)) => {
            put_len(out, set.len() as u64);
            for (score, member) in set.iter() {
                put_string(out, &member);
                out.extend_from_slice(&score.to_le_bytes());
                full(out);
            }
        }
        Value::Object(Object::Hash(hash)) => {
            let first = hash.next_deadline();
            if let (Some(first), Family::Redis) = (first, family) {
                out.extend_from_slice(&first.to_le_bytes());
            }
            put_len(out, hash.live_count(now_ms) as u64);
            for field in hash.iter().filter(|field| !field.is_overdue(now_ms)) {
                if let (Some(first), Family::Redis) = (first, family) {
                    put_len(out, if field.deadline == 0 { 0 } else { field.deadline - first + 1 });
                }
                put_string(out, &field.name);
                put_string(out, &field.value);
                if let (Some(_), Family::Valkey) = (first, family) {
                    let at = if field.deadline == 0 { u64::MAX } else { field.deadline };
                    out.extend_from_slice(&at.to_le_bytes());
                }
                full(out);
            }
        }
        Value::Object(Object::Stream(stream)) => stream::put(out, stream, form.is_new, full),
        Value::Bytes(_) | Value::Integer(_) | Value::Object(Object::Blob(_)) => {
            if let Ok(text) = text_of(entry) {
                put_string(out, &text.to_bytes());
            }
        }
    }
}

pub(super) fn put_len(out: &mut Vec<u8>, len: u64) {
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
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
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
