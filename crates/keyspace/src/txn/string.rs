//! The primitive changes of strings.

use super::Txn;
use crate::UnixMillis;
use crate::change::{self, record};
use crate::entry::{Entry, INLINE_MAX, Payload};
use crate::event;
use crate::number::{IntegerText, parse_integer};
use crate::values::Object;
use crate::view::{Text, text_of};
use leveret_base::blocks::Blocks;

impl Txn<'_> {
    /// Primitive: sets the key to a string, whatever it held.
    #[inline]
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], deadline: Option<UnixMillis>) {
        match deadline {
            None => record!(self, change::PUT, bytes key, bytes value),
            Some(at) => record!(self, change::PUT_WITH_DEADLINE, number at, bytes key, bytes value),
        }
        let payload = payload_of(value);
        let hash = self.keyspace.hash(key);
        let Some(entry) = self.find_hashed(hash, key) else {
            self.insert_hashed(hash, key, payload, deadline);
            return self.touched(event::PUT, key);
        };
        let before = entry.deadline();
        let had = before.is_some();
        let old = entry.take_object();
        if had || deadline.is_some() {
            entry.set_deadline(deadline);
            entry.set_value(payload);
            let db = self.db_mut();
            db.with_deadline = db.with_deadline - usize::from(had) + usize::from(deadline.is_some());
        } else {
            entry.set_value(payload);
        }
        if let Some(old) = old {
            self.forget_fields(key, &old);
            self.lose_stream(key, &old);
            self.free(key, old);
        }
        if before.is_some_and(|at| at <= self.now_ms) {
            // What stood there was not there any more.
            self.keyspace.expired_count += 1;
            self.announce(event::EXPIRED, key);
        }
        self.touched(event::PUT, key);
    }

    /// Sets the key as `SET` does it, for whoever is no command.
    pub fn store(&mut self, key: &[u8], value: &[u8], deadline: Option<UnixMillis>) {
        self.put(key, value, deadline);
        if deadline.is_some() {
            self.announce(event::EXPIRE, key);
        }
    }

    /// Primitive: sets the key to an integer and keeps its deadline.
    pub(crate) fn put_integer(&mut self, key: &[u8], value: i64) {
        let deadline = self.view().find(key).and_then(Entry::deadline);
        self.announced_as(event::ADD);
        self.put(key, IntegerText::new(value).as_bytes(), deadline);
    }

    /// Primitive: appends to a string, which is made if it is missing.
    pub(crate) fn append(&mut self, key: &[u8], tail: &[u8]) {
        self.reap(key);
        record!(self, change::APPEND, bytes key, bytes tail);
        match self.find_mut(key) {
            None => self.insert(key, payload_of(tail), None),
            Some(entry) => {
                if let Some(Object::Blob(blob)) = entry.object_mut() {
                    blob.append(tail);
                } else {
                    let mut bytes = text_of(entry)
                        .map(Text::to_bytes)
                        .expect("the command has checked the type")
                        .into_owned();
                    bytes.extend_from_slice(tail);
                    entry.set_value(if bytes.len() > INLINE_MAX {
                        Payload::Object(Object::Blob(Box::new(Blocks::from(&*bytes))))
                    } else {
                        // Never an integer: Redis calls an appended string "raw".
                        return self.finish_append(key, &bytes);
                    });
                }
            }
        }
        self.touched(event::APPEND, key);
    }

    /// Primitive: overwrites bytes of a string, which is made if it is missing; a gap is filled with zeroes.
    pub(crate) fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) {
        self.reap(key);
        record!(self, change::SET_RANGE, number offset as u64, bytes key, bytes bytes);
        if self.overwrite(key, offset, bytes) {
            return self.touched(event::SET_RANGE, key);
        }
        match self.find_mut(key).map(Entry::object_mut) {
            Some(Some(Object::Blob(blob))) => blob.write_at(offset, bytes),
            Some(_) | None => {
                let before = self.find_mut(key).map(|entry| text_of(entry).map(Text::to_bytes));
                let mut whole = match before {
                    Some(Ok(bytes)) => bytes.into_owned(),
                    Some(Err(_)) | None => Vec::new(),
                };
                let end = offset + bytes.len();
                if end > INLINE_MAX {
                    let mut blob = Blocks::from(&*whole);
                    blob.write_at(offset, bytes);
                    self.put_payload(key, Payload::Object(Object::Blob(Box::new(blob))));
                } else {
                    whole.resize(whole.len().max(end), 0);
                    whole[offset..end].copy_from_slice(bytes);
                    self.put_payload(key, Payload::Bytes(&whole));
                }
            }
        }
        self.touched(event::SET_RANGE, key);
    }

    /// Overwrites bytes where they are, if the string has them.
    fn overwrite(&mut self, key: &[u8], offset: usize, bytes: &[u8]) -> bool {
        let Some(entry) = self.find_mut(key) else { return false };
        let there = entry.bytes_mut().and_then(|there| there.get_mut(offset..offset + bytes.len()));
        let Some(there) = there else { return false };
        there.copy_from_slice(bytes);
        entry.set_raw();
        true
    }

    /// Primitive: replaces bytes of a string by others, perhaps by more or fewer. The string has those that are replaced.
    pub(crate) fn splice(&mut self, key: &[u8], start: usize, removed: usize, bytes: &[u8]) {
        self.reap(key);
        record!(self, change::SPLICE, number start as u64, number removed as u64, bytes key, bytes bytes);
        let before = self.find_mut(key).and_then(|entry| text_of(entry).ok()).map(Text::to_bytes);
        let mut whole = before.unwrap_or_default().into_owned();
        whole.splice(start..start + removed, bytes.iter().copied());
        if whole.len() > INLINE_MAX {
            self.put_payload(key, Payload::Object(Object::Blob(Box::new(Blocks::from(&*whole)))));
        } else {
            self.put_payload(key, Payload::Bytes(&whole));
        }
        self.touched(event::SET_RANGE, key);
    }

    /// The value alone, whatever it spells: a piece of work.
    fn put_payload(&mut self, key: &[u8], payload: Payload<'_>) {
        match self.find_mut(key) {
            Some(entry) => entry.set_value(payload),
            None => self.insert(key, payload, None),
        }
        if let Some(entry) = self.find_mut(key) {
            entry.set_raw();
        }
    }

    fn finish_append(&mut self, key: &[u8], bytes: &[u8]) {
        if let Some(entry) = self.find_mut(key) {
            entry.set_value(Payload::Bytes(bytes));
            entry.set_raw();
        }
        self.touched(event::APPEND, key);
    }
}

#[inline]
fn payload_of(value: &[u8]) -> Payload<'_> {
    if value.len() <= 20
        && let Some(integer) = parse_integer(value)
    {
        return Payload::Integer(integer);
    }
    if value.len() > INLINE_MAX {
        return Payload::Object(Object::Blob(Box::new(Blocks::from(value))));
    }
    Payload::Bytes(value)
}
