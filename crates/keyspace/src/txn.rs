//! The primitive changes: the only code that mutates the keyspace. Each mutates and records in one call; replay calls
//! the same ones with recording off. Commands decide first and call these afterwards; a primitive never refuses.

mod hash;
mod keys;
mod list;
mod set;
mod sorted_set;
mod stream;
mod string;

use crate::change::{self, record};
use crate::db::{Db, Keyspace, hash, is_overdue};
use crate::entry::{Entry, Payload, Value};
use crate::event::{self, Event};
use crate::values::{Collection, Object};
use crate::view::{Text, collection_of, text_of};
use crate::{ArgsBuf, DbIndex, Error, Eviction, UnixMillis, View};
use leveret_base::codec::Changes;

pub(crate) use stream::{Delivery, put_entry, put_rest};

/// A command that found nothing to take wants to wait. (Redis: BLPOP)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The keys to wait for, in the order they are tried.
    pub keys: Vec<Box<[u8]>>,
    /// What it takes from: a key of another type is none of its business.
    pub of_type: &'static str,
    /// When to give up; `None` is never.
    pub deadline: Option<UnixMillis>,
    /// It wants to be refused when what it waits at is gone. (Redis: XREADGROUP)
    pub or_lost: bool,
    /// It wants to be run again at this time, whatever happens. (Redis: XREADGROUP with CLAIM)
    pub again_at: Option<UnixMillis>,
    /// With which arguments it is run again, if not with its own. (Redis: XREAD with `$`)
    pub again: Option<ArgsBuf>,
}

impl Block {
    /// A wait for something of a type under one of these keys.
    pub fn new(keys: Vec<Box<[u8]>>, of_type: &'static str, deadline: Option<UnixMillis>) -> Self {
        Self { keys, of_type, deadline, or_lost: false, again_at: None, again: None }
    }
}

/// Exclusive access for commands flagged WRITE: one database at one moment, inside one commit.
pub struct Txn<'a> {
    pub(crate) keyspace: &'a mut Keyspace,
    pub(crate) db: DbIndex,
    pub(crate) now_ms: UnixMillis,
    pub(crate) changes: Changes<'a>,
    pub(crate) block: Option<Block>,
    /// What the command's changes are announced as, if not as what they are.
    event: Option<Event>,
}

impl<'a> Txn<'a> {
    /// A transaction on one database; its changes go to `changes`.
    pub fn new(keyspace: &'a mut Keyspace, db: DbIndex, now_ms: UnixMillis, changes: Changes<'a>) -> Self {
        Self { keyspace, db, now_ms, changes, block: None, event: None }
    }

    /// The same moment, read only.
    #[inline]
    pub fn view(&self) -> View<'_> {
        View { keyspace: self.keyspace, db: self.db, now_ms: self.now_ms, seed: 0 }
    }

    /// Asks to be run again when one of the keys has something. A transaction (`MULTI`) does not wait: then the reply
    /// that the command has already given, its answer after the timeout, stands.
    pub fn block_on(&mut self, block: Block) {
        self.block = Some(block);
    }

    /// What the command asked to wait for.
    pub fn take_block(&mut self) -> Option<Block> {
        self.block.take()
    }

    /// Turns to another database (Redis: SELECT inside a script, MOVE).
    pub fn select(&mut self, db: DbIndex) {
        self.db = db;
    }

    /// What the command's changes are announced as from here on.
    pub(crate) fn announced_as(&mut self, event: Event) {
        self.event = Some(event);
    }

    /// Announces something beside the change itself. (Redis: SET with EX is "set" and "expire")
    pub(crate) fn announce(&mut self, event: Event, key: &[u8]) {
        self.keyspace.watches.announce(self.db, event, key);
    }

    /// The key was changed.
    #[inline]
    fn touched(&mut self, event: Event, key: &[u8]) {
        self.keyspace.watches.touched(self.db, self.event.unwrap_or(event), key);
    }

    fn db_mut(&mut self) -> &mut Db {
        &mut self.keyspace.dbs[self.db as usize]
    }

    #[inline]
    fn find_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.find_hashed(self.keyspace.hash(key), key)
    }

    #[inline]
    fn find_hashed(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        let Keyspace { dbs, eviction, epoch, checkpoint, .. } = &mut *self.keyspace;
        let Db { table, unwalked, .. } = &mut dbs[self.db as usize];
        let entry = table.find_mut(hash, |entry| entry.key() == key)?;
        if entry.epoch() != *epoch
            && let (Some(checkpoint), Some((origin, _))) = (checkpoint, unwalked)
        {
            checkpoint.preserve((*origin, self.db), entry, *epoch);
        }
        eviction.used(entry, self.now_ms);
        Some(entry)
    }

    /// Sets when or how often the key was used, which is no part of the data.
    pub(crate) fn set_clock(&mut self, key: &[u8], clock: impl FnOnce(&Eviction) -> Option<u32>) {
        if let (Some(entry), Some(clock)) = (self.keyspace.find(self.db, key), clock(&self.keyspace.eviction))
        {
            entry.set_clock(clock);
        }
    }

    fn insert(&mut self, key: &[u8], payload: Payload<'_>, deadline: Option<UnixMillis>) {
        self.insert_hashed(self.keyspace.hash(key), key, payload, deadline);
    }

    fn insert_hashed(&mut self, hash: u64, key: &[u8], payload: Payload<'_>, deadline: Option<UnixMillis>) {
        let entry = Entry::new(key, payload, deadline);
        entry.set_clock(self.keyspace.eviction.at_first(self.now_ms));
        self.insert_entry(hash, entry);
    }

    fn insert_entry(&mut self, hash_of_key: u64, entry: Entry) {
        let hasher = self.keyspace.hasher.clone();
        let has_deadline = entry.deadline().is_some();
        entry.set_epoch(self.keyspace.epoch);
        self.keyspace.watches.announce(self.db, event::NEW, entry.key());
        let db = self.db_mut();
        db.with_deadline += usize::from(has_deadline);
        db.table.insert_unique(hash_of_key, entry, |entry| hash(&hasher, entry.key()));
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        if self.keyspace.checkpoint.is_some() {
            // What it was is handed over.
            self.find_mut(key);
        }
        let hash = self.keyspace.hash(key);
        let db = self.db_mut();
        let entry = db.table.remove(hash, |entry| entry.key() == key)?;
        db.with_deadline -= usize::from(entry.deadline().is_some());
        if let Value::Object(object) = entry.value() {
            self.forget_fields(key, object);
            self.lose_stream(key, object);
        }
        Some(entry)
    }

    /// Removes the entry and frees it, at once or later.
    fn discard(&mut self, key: &[u8]) -> bool {
        let Some(mut entry) = self.remove(key) else { return false };
        if let Some(object) = entry.take_object() {
            self.free(key, object);
        }
        true
    }

    /// A value has left its key for good: it is freed, at once or later.
    fn free(&mut self, key: &[u8], object: Object) {
        let object = match &mut self.keyspace.checkpoint {
            Some(checkpoint) => checkpoint.keep(self.db, key, object),
            None => Some(object),
        };
        if let Some(object) = object {
            let allocations = object.allocations();
            self.keyspace.garbage.put(object, allocations);
        }
    }

    /// A value has another key, perhaps of another database.
    fn carry(&mut self, from: (DbIndex, &[u8]), to: (DbIndex, &[u8])) {
        if let Some(checkpoint) = &mut self.keyspace.checkpoint {
            checkpoint.moved(from, to);
        }
    }

    /// Records the removal of an overdue key before anything is built in its place.
    pub(crate) fn reap(&mut self, key: &[u8]) {
        let now_ms = self.now_ms;
        if self.keyspace.find(self.db, key).is_some_and(|entry| is_overdue(entry, now_ms)) {
            self.keyspace.expired_count += 1;
            self.delete_as(key, event::EXPIRED);
        }
    }

    /// The string under a live key.
    #[inline]
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<Text<'_>>, Error> {
        self.view().find(key).map(text_of).transpose()
    }

    /// The collection under a live key; `WRONGTYPE` when it is of another kind.
    pub(crate) fn collection<C: Collection>(&self, key: &[u8]) -> Result<Option<&C>, Error> {
        self.view().find(key).map(collection_of).transpose()
    }

    /// For primitives: changes the collection under the key, which is made if it is missing and goes with its key when
    /// it is emptied. The caller has checked the type and reaped the key, and records.
    pub(crate) fn change<C: Collection, T>(
        &mut self,
        event: Event,
        key: &[u8],
        change: impl FnOnce(&mut C) -> T,
    ) -> T {
        let there = self.find_mut(key).and_then(Entry::object_mut).and_then(C::of_mut);
        let (result, emptied) = match there {
            Some(collection) => {
                let result = change(collection);
                (result, collection.is_empty())
            }
            None => {
                let mut collection = C::default();
                let result = change(&mut collection);
                if !collection.is_empty() {
                    self.insert(key, Payload::Object(collection.into_object()), None);
                }
                (result, false)
            }
        };
        self.touched(event, key);
        if emptied {
            self.discard(key);
            self.announce(event::DELETED, key);
        }
        result
    }

    /// Primitive: removes the key. Gives whether it was there, overdue or not.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        self.delete_as(key, event::DELETED)
    }

    /// Primitive: likewise, because something takes its place.
    pub(crate) fn clear(&mut self, key: &[u8]) {
        self.delete_as(key, event::NOTHING);
    }

    /// Primitive: likewise, announced as what it is.
    pub(crate) fn delete_as(&mut self, key: &[u8], event: Event) -> bool {
        let removed = self.discard(key);
        if removed {
            record!(self, change::DELETE, bytes key);
            self.keyspace.watches.touched(self.db, event, key);
        }
        removed
    }

    /// Primitive: gives the key a deadline or takes it away. A missing key stays missing.
    pub(crate) fn set_deadline(&mut self, key: &[u8], deadline: Option<UnixMillis>) {
        let Some(entry) = self.find_mut(key) else { return };
        let had = entry.deadline().is_some();
        entry.set_deadline(deadline);
        let db = self.db_mut();
        db.with_deadline = db.with_deadline - usize::from(had) + usize::from(deadline.is_some());
        match deadline {
            Some(at) => record!(self, change::DEADLINE, number at, bytes key),
            None => record!(self, change::PERSIST, bytes key),
        }
        self.touched(if deadline.is_some() { event::EXPIRE } else { event::PERSIST }, key);
    }

    /// Primitive: gives the value another key, deadline included, and removes what stood there.
    pub(crate) fn rename(&mut self, from: &[u8], to: &[u8]) {
        let Some(entry) = self.remove(from) else { return };
        record!(self, change::RENAME, bytes from, bytes to);
        self.discard(to);
        self.carry((self.db, from), (self.db, to));
        self.insert_entry(self.keyspace.hash(to), entry.renamed(to));
        self.note_fields(to);
        self.touched(event::RENAME_FROM, from);
        self.touched(event::RENAME_TO, to);
        self.keyspace.watches.filled(self.db, to);
    }

    /// Primitive: empties the database.
    pub(crate) fn flush(&mut self) {
        record!(self, change::FLUSH);
        let old = std::mem::take(self.db_mut());
        let Keyspace { watches, hasher, .. } = &mut *self.keyspace;
        let now_ms = self.now_ms;
        watches.changed_all(self.db, event::FLUSHED);
        watches.flushed(self.db, |key| old.has_live(hasher, key, now_ms));
        let old = match &mut self.keyspace.checkpoint {
            Some(checkpoint) => checkpoint.flushed(self.db, old, |key| hash(&self.keyspace.hasher, key)),
            None => Some(old),
        };
        if let Some(old) = old {
            let allocations = old.table.len();
            self.keyspace.garbage.put(old, allocations);
        }
    }
}

/// The type's name as `TYPE` prints it.
pub(crate) fn type_name(entry: &Entry) -> &'static str {
    match entry.value() {
        Value::Bytes(_) | Value::Integer(_) => "string",
        Value::Object(object) => object.type_name(),
    }
}
