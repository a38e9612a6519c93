//! What a read command sees: one database at one moment. Overdue keys are absent here; nothing can be changed.

use crate::db::{Keyspace, is_overdue};
use crate::entry::{Entry, Value};
use crate::number::IntegerText;
use crate::values::{Collection, Object};
use crate::{DbIndex, Error, UnixMillis};
use leveret_base::blocks::Blocks;
use std::borrow::Cow;

/// Shared access for commands flagged READONLY.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) db: DbIndex,
    pub(crate) now_ms: UnixMillis,
    /// Different for every command; for random picks only.
    pub(crate) seed: u64,
}

impl<'a> View<'a> {
    /// A view of one database at `now_ms`.
    pub fn new(keyspace: &'a Keyspace, db: DbIndex, now_ms: UnixMillis, seed: u64) -> Self {
        Self { keyspace, db, now_ms, seed }
    }

    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<&'a Entry> {
        self.keyspace.find(self.db, key).filter(|entry| !is_overdue(entry, self.now_ms))
    }

    /// Like `find`, counts it as a hit or a miss and notes the use. (Redis: `lookupKeyRead`)
    #[inline]
    pub(crate) fn look_up(&self, key: &[u8]) -> Option<&'a Entry> {
        let found = self.look_up_unused(key)?;
        self.keyspace.eviction.used(found, self.now_ms);
        Some(found)
    }

    /// Likewise, but is no use of the key. (Redis: LOOKUP_NOTOUCH)
    #[inline]
    pub(crate) fn look_up_unused(&self, key: &[u8]) -> Option<&'a Entry> {
        let found = self.keyspace.find(self.db, key);
        let found = match found {
            Some(entry) if is_overdue(entry, self.now_ms) => {
                self.keyspace.overdue.borrow_mut().push((self.db, key.into()));
                None
            }
            found => found,
        };
        let counter = if found.is_some() { &self.keyspace.hits } else { &self.keyspace.misses };
        counter.set(counter.get() + 1);
        if found.is_none() {
            self.keyspace.watches.missed(self.db, key);
        }
        found
    }

    /// The string under a key.
    #[inline]
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<Text<'a>>, Error> {
        self.look_up(key).map(text_of).transpose()
    }

    /// The collection under a key; `WRONGTYPE` when it is of another kind.
    pub(crate) fn collection<C: Collection>(&self, key: &[u8]) -> Result<Option<&'a C>, Error> {
        self.look_up(key).map(collection_of).transpose()
    }
}

/// A string value, as bytes or as the integer it spells.
#[derive(Clone, Copy)]
pub(crate) enum Text<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A canonical integer.
    Integer(i64),
    /// A long string.
    Blocks(&'a Blocks),
}

impl<'a> Text<'a> {
    /// The bytes.
    pub(crate) fn to_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Text::Bytes(bytes) => Cow::Borrowed(bytes),
            Text::Integer(integer) => Cow::Owned(IntegerText::new(integer).as_bytes().to_vec()),
            Text::Blocks(blocks) => Cow::Owned(blocks.to_vec()),
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(self) -> usize {
        match self {
            Text::Bytes(bytes) => bytes.len(),
            Text::Integer(integer) => IntegerText::new(integer).as_bytes().len(),
            Text::Blocks(blocks) => blocks.len(),
        }
    }

    /// The bytes from `start` up to `end`, which is not behind the last one.
    pub(crate) fn range(self, start: usize, end: usize) -> Cow<'a, [u8]> {
        match self {
            Text::Bytes(bytes) => Cow::Borrowed(bytes.get(start..end).unwrap_or_default()),
            Text::Integer(_) => Cow::Owned(self.to_bytes().get(start..end).unwrap_or_default().to_vec()),
            Text::Blocks(blocks) => {
                let mut bytes = Vec::with_capacity(end.saturating_sub(start));
                blocks.copy_range(start, end, &mut bytes);
                Cow::Owned(bytes)
            }
        }
    }

    /// Answers with the value as a bulk string.
    #[inline]
    pub(crate) fn reply(self, reply: &mut crate::Reply<'_>) {
        match self {
            Text::Bytes(bytes) => reply.bulk(bytes),
            Text::Integer(integer) => reply.bulk_integer(integer),
            Text::Blocks(blocks) => reply.bulk_blocks(blocks.len(), blocks.iter().as_slice()),
        }
    }
}

#[inline]
pub(crate) fn text_of(entry: &Entry) -> Result<Text<'_>, Error> {
    match entry.value() {
        Value::Bytes(bytes) => Ok(Text::Bytes(bytes)),
        Value::Integer(integer) => Ok(Text::Integer(integer)),
        Value::Object(Object::Blob(blocks)) => Ok(Text::Blocks(blocks)),
        Value::Object(_) => Err(Error::WrongType),
    }
}

pub(crate) fn collection_of<C: Collection>(entry: &Entry) -> Result<&C, Error> {
    match entry.value() {
        Value::Object(object) => C::of(object).ok_or(Error::WrongType),
        Value::Bytes(_) | Value::Integer(_) => Err(Error::WrongType),
    }
}
