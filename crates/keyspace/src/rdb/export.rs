//! Writing a whole snapshot: every key of every database, and the libraries of functions.

use super::file::{AUX, DEADLINE_MS, END, LIBRARY, RESIZE, SELECT};
use super::write::{self, Form, put_len, put_string};
use super::{CRC, Family, VERSION, VERSION_DEADLINES, VERSION_VALKEY};
use crate::db::is_overdue;
use crate::entry::Value;
use crate::values::Object;
use crate::{DATABASES, Keyspace, UnixMillis};
use std::io;

/// The buffer is given away beyond so many bytes.
const CHUNK: usize = 256 * 1024;

/// For whom a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The oldest version that has everything: what Redis 7.0 reads, or, when fields of hashes have deadlines, Redis 7.4.
    Oldest,
    /// Valkey 9.0, fields with deadlines included.
    Valkey,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Which version of the format.
    pub version: u16,
    /// Keys.
    pub keys: u64,
    /// Keys left out because their time is up.
    pub overdue: u64,
    /// Libraries of functions.
    pub libraries: u64,
    /// Bytes.
    pub bytes: u64,
}

struct Out<'a> {
    buffer: Vec<u8>,
    digest: crc::Digest<'static, u64, crc::Table<16>>,
    bytes: u64,
    give: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    failed: io::Result<()>,
}

impl Out<'_> {
    fn flush(&mut self, buffer: &mut Vec<u8>) {
        if self.failed.is_ok() {
            self.digest.update(buffer);
            self.bytes += buffer.len() as u64;
            self.failed = (self.give)(buffer);
        }
        buffer.clear();
        buffer.shrink_to(4 * CHUNK);
    }
}

/// Gives a snapshot's bytes in order.
pub fn export<'t>(
    keyspace: &Keyspace,
    libraries: impl Iterator<Item = &'t [u8]>,
    dialect: Dialect,
    now_ms: UnixMillis,
    give: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Exported> {
    let version = match dialect {
        Dialect::Valkey => VERSION_VALKEY,
        Dialect::Oldest if keyspace.next_field_deadline().is_some() => VERSION_DEADLINES,
        Dialect::Oldest => VERSION,
    };
    let (magic, family) = match dialect {
        Dialect::Valkey => (format!("VALKEY{version:03}"), Family::Valkey),
        Dialect::Oldest => (format!("REDIS{version:04}"), Family::Redis),
    };
    let form = Form { family, is_new: version > VERSION };
    let mut exported = Exported { version, ..Exported::default() };
    let mut out = Out { buffer: Vec::new(), digest: CRC.digest(), bytes: 0, give, failed: Ok(()) };
    let mut buffer = std::mem::take(&mut out.buffer);
    buffer.extend_from_slice(magic.as_bytes());
    let aux = [("leveret-ver", env!("CARGO_PKG_VERSION").to_owned()), ("ctime", (now_ms / 1000).to_string())];
    for (name, value) in aux {
        buffer.push(AUX);
        put_string(&mut buffer, name.as_bytes());
        put_string(&mut buffer, value.as_bytes());
    }
    for text in libraries {
        buffer.push(LIBRARY);
        put_string(&mut buffer, text);
        exported.libraries += 1;
    }
    for db in 0..DATABASES {
        if keyspace.len(db) == 0 {
            continue;
        }
        buffer.push(SELECT);
        put_len(&mut buffer, db.into());
        buffer.push(RESIZE);
        put_len(&mut buffer, keyspace.len(db) as u64);
        put_len(&mut buffer, keyspace.with_deadline(db) as u64);
        for entry in keyspace.dbs[usize::from(db)].table.iter() {
            if is_overdue(entry, now_ms) || is_hash_of_nothing(entry.value(), now_ms) {
                exported.overdue += 1;
                continue;
            }
            if let Some(deadline) = entry.deadline() {
                buffer.push(DEADLINE_MS);
                buffer.extend_from_slice(&deadline.to_le_bytes());
            }
            buffer.push(write::kind(entry, form));
            put_string(&mut buffer, entry.key());
            let mut full = |buffer: &mut Vec<u8>| {
                if buffer.len() > CHUNK {
                    out.flush(buffer);
                }
            };
            write::value(&mut buffer, entry, form, now_ms, &mut full);
            full(&mut buffer);
            exported.keys += 1;
            if out.failed.is_err() {
                break;
            }
        }
    }
    buffer.push(END);
    out.flush(&mut buffer);
    std::mem::replace(&mut out.failed, Ok(()))?;
    let checksum = out.digest.clone().finalize();
    (out.give)(&checksum.to_le_bytes())?;
    exported.bytes = out.bytes + 8;
    Ok(exported)
}

/// All of its fields are overdue.
fn is_hash_of_nothing(value: Value<'_>, now_ms: UnixMillis) -> bool {
    match value {
        Value::Object(Object::Hash(hash)) => hash.live_count(now_ms) == 0,
        Value::Object(_) | Value::Bytes(_) | Value::Integer(_) => false,
    }
}
