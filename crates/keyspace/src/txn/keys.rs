//! The primitive changes that take a value from one database to another.

use super::Txn;
use crate::change::{self, begin, record};
use crate::entry::{Entry, Payload, Value};
use crate::event::{self, Event};
use crate::{DbIndex, Keyspace};
use leveret_base::codec::{Malformed, Reader, put_bytes};

impl Txn<'_> {
    /// Primitive: sets a key, perhaps of another database, to the value of this one with its deadline.
    pub(crate) fn copy(&mut self, from: &[u8], to_db: DbIndex, to: &[u8]) {
        let Some(entry) = self.find_mut(from) else { return };
        let (deadline, is_raw, payload) = (
            entry.deadline(),
            entry.is_raw(),
            match entry.value() {
                Value::Bytes(bytes) => Payload::Bytes(bytes),
                Value::Integer(integer) => Payload::Integer(integer),
                Value::Object(object) => Payload::Object(object.clone()),
            },
        );
        let mut copied = Entry::new(to, payload, deadline);
        if is_raw {
            copied.set_raw();
        }
        copied.set_clock(self.keyspace.eviction.at_first(self.now_ms));
        record!(self, change::COPY, number to_db.into(), bytes from, bytes to);
        self.arrive(to_db, to, copied, event::COPY_TO);
    }

    /// Primitive: moves a key to another database.
    pub(crate) fn move_to(&mut self, key: &[u8], to_db: DbIndex) {
        let Some(entry) = self.remove(key) else { return };
        record!(self, change::MOVE, number to_db.into(), bytes key);
        self.touched(event::MOVE_FROM, key);
        let home = self.db;
        self.arrive(to_db, key, entry, event::MOVE_TO);
        self.carry((home, key), (to_db, key));
    }

    fn arrive(&mut self, db: DbIndex, key: &[u8], mut entry: Entry, event: Event) {
        if let Some(crate::values::Object::Hash(hash)) = entry.object_mut() {
            hash.set_noted(0);
        }
        let home = std::mem::replace(&mut self.db, db);
        self.discard(key);
        self.insert_entry(self.keyspace.hash(key), entry);
        self.note_fields(key);
        self.touched(event, key);
        self.keyspace.watches.filled(db, key);
        self.db = home;
    }

    /// Primitive: each of two databases has the contents of the other. Whoever watches a key of either hears of it, and
    /// whoever waits for one that is there now.
    pub(crate) fn swap(&mut self, first: DbIndex, second: DbIndex) {
        let home = self.db;
        if let Some(out) = self.changes.buffer() {
            begin(out, change::SWAP, first);
            put_bytes(out, &[second]);
        }
        self.keyspace.dbs.swap(first.into(), second.into());
        if let Some(checkpoint) = &mut self.keyspace.checkpoint {
            checkpoint.swapped(first, second);
        }
        for db in [first, second] {
            let Keyspace { watches, hasher, dbs, .. } = &mut *self.keyspace;
            let is_live = |db: DbIndex, key: &[u8]| dbs[db as usize].has_live(hasher, key, self.now_ms);
            watches.changed_all(db, event::SWAPPED);
            watches.flushed(db, |key| is_live(first, key) || is_live(second, key));
            for key in self.keyspace.watches.awaited_keys(db) {
                self.keyspace.watches.filled(db, &key);
            }
        }
        self.db = home;
    }

    /// Replay of these changes.
    pub(crate) fn apply_keys(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let known = |db: u64| DbIndex::try_from(db).ok().filter(|db| *db < crate::DATABASES).ok_or(Malformed);
        match tag {
            change::COPY => {
                let (to_db, from, to) = (known(fields.varint()?)?, fields.bytes()?, fields.bytes()?);
                self.copy(from, to_db, to);
            }
            change::MOVE => {
                let (to_db, key) = (known(fields.varint()?)?, fields.bytes()?);
                self.move_to(key, to_db);
            }
            change::SWAP => {
                let second = fields.bytes()?.first().copied().ok_or(Malformed)?;
                self.swap(self.db, known(second.into())?);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}
