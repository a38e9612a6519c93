//! The primitive changes of hashes. Fields whose time is up are removed by changes of their own, before whatever is
//! built in their place and by the active expiry.

use super::Txn;
use crate::UnixMillis;
use crate::change::{self, record_many};
use crate::entry::Entry;
use crate::event;
use crate::values::{Hash, Object};
use leveret_base::codec::{Malformed, Reader};

impl Txn<'_> {
    /// Primitive: sets fields, given as names and values in turn; their deadlines go, unless they are kept. Gives how
    /// many fields are new.
    pub(crate) fn hash_set<'e>(
        &mut self,
        key: &[u8],
        keep_deadlines: bool,
        fields: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) -> usize {
        self.reap(key);
        let tag = if keep_deadlines { change::HASH_SET_KEEP } else { change::HASH_SET };
        record_many(self, tag, None, key, fields.clone());
        let hasher = self.keyspace.hasher.clone();
        let added = self.change(event::HASH_SET, key, |hash: &mut Hash| {
            let (mut added, mut fields) = (0, fields);
            while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                added += usize::from(hash.set(name, value, keep_deadlines, &hasher));
            }
            added
        });
        self.note_fields(key);
        added
    }

    /// Primitive: removes fields; an emptied hash goes with its key. Gives how many were there.
    pub(crate) fn hash_delete<'e>(
        &mut self,
        key: &[u8],
        names: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) -> usize {
        record_many(self, change::HASH_DELETE, None, key, names.clone());
        let gone = self.change(event::HASH_DELETE, key, |hash: &mut Hash| {
            names.filter(|name| hash.remove(name)).count()
        });
        self.note_fields(key);
        gone
    }

    /// Primitive: gives fields a deadline, or takes theirs away with 0.
    pub(crate) fn hash_deadline<'e>(
        &mut self,
        key: &[u8],
        deadline: UnixMillis,
        names: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) {
        record_many(self, change::HASH_DEADLINE, Some(deadline), key, names.clone());
        let event = if deadline == 0 { event::HASH_PERSIST } else { event::HASH_EXPIRE };
        let hasher = self.keyspace.hasher.clone();
        self.change(event, key, |hash: &mut Hash| {
            names.for_each(|name| hash.set_deadline(name, deadline, &hasher));
        });
        self.note_fields(key);
    }

    /// Records the removal of overdue fields before anything is decided about the hash; a reply that would be wrong
    /// with them never sees them.
    pub(crate) fn reap_fields(&mut self, key: &[u8]) {
        self.reap(key);
        let now_ms = self.now_ms;
        while let Ok(Some(hash)) = self.collection::<Hash>(key)
            && hash.next_deadline().is_some_and(|at| at <= now_ms)
        {
            let overdue = hash.overdue(now_ms, REAPED_AT_ONCE);
            self.expire_named(key, &overdue);
        }
    }

    /// Removes overdue fields of hashes that nobody asks for, in a slice; gives how many.
    pub(crate) fn expire_fields(&mut self, count: usize) -> usize {
        let mut removed = 0;
        while removed < count
            && let Some((at, key)) = self.db_mut().field_deadlines.first().cloned()
            && at <= self.now_ms
        {
            let overdue = match self.collection::<Hash>(&key) {
                Ok(Some(hash)) => hash.overdue(self.now_ms, count - removed),
                Ok(None) | Err(_) => Vec::new(),
            };
            if overdue.is_empty() {
                // The key itself is overdue, and its fields go with it.
                self.reap(&key);
                continue;
            }
            removed += self.expire_named(&key, &overdue);
        }
        removed
    }

    fn expire_named(&mut self, key: &[u8], overdue: &[Box<[u8]>]) -> usize {
        let said = self.event.replace(event::HASH_EXPIRED);
        let removed = self.hash_delete(key, overdue.iter().map(AsRef::as_ref));
        self.event = said;
        self.keyspace.expired_fields_count += removed as u64;
        removed
    }

    /// Notes under its key when the hash has something to remove next.
    pub(super) fn note_fields(&mut self, key: &[u8]) {
        let object = self.find_mut(key).and_then(Entry::object_mut);
        let Some(Object::Hash(hash)) = object else { return };
        let (before, next) = (hash.noted(), hash.next_deadline().unwrap_or(0));
        hash.set_noted(next);
        let notes = &mut self.db_mut().field_deadlines;
        if before != 0 && before != next {
            notes.remove(&(before, key.into()));
        }
        if next != 0 {
            notes.insert((next, key.into()));
        }
    }

    /// The value has left its key.
    pub(super) fn forget_fields(&mut self, key: &[u8], object: &Object) {
        if let Object::Hash(hash) = object
            && hash.noted() != 0
        {
            self.db_mut().field_deadlines.remove(&(hash.noted(), key.into()));
        }
    }

    /// Replay of the changes of hashes.
    pub(crate) fn apply_hash(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let deadline = if tag == change::HASH_DEADLINE { fields.varint()? } else { 0 };
        let (key, count) = (fields.bytes()?, fields.varint()?);
        self.collection::<Hash>(key).map_err(|_| Malformed)?;
        let strings = (0..count).map(|_| fields.bytes()).collect::<Result<Vec<_>, _>>()?;
        let strings = strings.iter().copied();
        match tag {
            change::HASH_SET if count % 2 == 0 => drop(self.hash_set(key, false, strings)),
            change::HASH_SET_KEEP if count % 2 == 0 => drop(self.hash_set(key, true, strings)),
            change::HASH_DELETE => drop(self.hash_delete(key, strings)),
            change::HASH_DEADLINE => self.hash_deadline(key, deadline, strings),
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// Fields removed by one change.
const REAPED_AT_ONCE: usize = 1000;
