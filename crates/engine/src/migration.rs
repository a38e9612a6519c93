//! Keys on their way to another server, carried by somebody who does not hold the engine. Others go on writing meanwhile: each
//! key is taken as it is at one moment and watched from then on, so that nothing is removed but what has arrived. (Redis: MIGRATE)

use crate::engine::Engine;
use crate::session::SessionId;
use leveret_keyspace::{DbIndex, Parcel};

/// What became of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrated {
    /// Everything has arrived.
    Done,
    /// There was nothing to be carried.
    Nothing,
    /// Not everything, and this is why: an error as the client is told.
    Failed(String),
}

/// A key that is watched until it is known whether it has arrived.
#[derive(Debug)]
pub struct Travelling {
    db: DbIndex,
    key: Box<[u8]>,
    /// Under this number it is watched, as if by a session.
    watcher: SessionId,
}

impl Engine {
    /// The session waits until its keys were carried.
    pub fn await_migration(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.asked = true;
            session.migrated = None;
        }
    }

    /// The session goes on.
    pub fn end_migration(&mut self, id: SessionId, migrated: Migrated) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.asked = false;
            session.migrated = Some(migrated);
            session.mark_dirty(id, &mut self.dirty);
        }
    }

    /// The key as it is now, and watched from now on.
    pub fn pack(&mut self, db: DbIndex, key: &[u8]) -> Option<(Parcel, Travelling)> {
        let parcel = self.on_view(db, |view| view.pack(key))?;
        self.last_session += 1;
        let watcher = self.last_session;
        self.keyspace.watches.watch(db, key, watcher);
        self.travelling.insert(watcher, false);
        Some((parcel, Travelling { db, key: key.into(), watcher }))
    }

    /// These keys are not watched any more; those that have arrived are removed, in one commit. Gives those that others have
    /// changed meanwhile, which stay as they are.
    pub fn unpack(&mut self, keys: Vec<Travelling>, has_arrived: impl Fn(usize) -> bool) -> Vec<Box<[u8]>> {
        let mut changed = Vec::new();
        self.begin();
        for (i, Travelling { db, key, watcher }) in keys.into_iter().enumerate() {
            self.keyspace.watches.unwatch(db, &key, watcher);
            let was_changed = self.travelling.remove(&watcher).unwrap_or(false);
            match has_arrived(i) {
                true if was_changed => changed.push(key),
                true => self.on_keyspace(db, |txn| txn.depart(&key)),
                false => {}
            }
        }
        self.end();
        changed
    }
}
