//! Who must hear of a key: sessions that WATCH it, and sessions blocked until it has something to take. It knows keys
//! and session ids only; what becomes of the session is the engine's affair.

use crate::DbIndex;
use std::collections::HashMap;

/// A session, as the engine numbers it.
pub type SessionId = u64;

type Place = (DbIndex, Box<[u8]>);

/// The two indexes, and what has happened to their keys since somebody asked.
#[derive(Default)]
pub struct Watches {
    watched: HashMap<Place, Vec<SessionId>>,
    awaited: HashMap<Place, usize>,
    /// Sessions whose watched key was touched.
    pub aborted: Vec<SessionId>,
    /// Awaited keys that have got something to take, in order.
    pub ready: Vec<(DbIndex, Box<[u8]>)>,
}

impl Watches {
    /// `WATCH`: the session wants to hear of changes to the key.
    pub fn watch(&mut self, db: DbIndex, key: &[u8], session: SessionId) {
        let sessions = self.watched.entry((db, key.into())).or_default();
        if !sessions.contains(&session) {
            sessions.push(session);
        }
    }

    /// The session does not care any more.
    pub fn unwatch(&mut self, db: DbIndex, key: &[u8], session: SessionId) {
        let place = (db, key.into());
        if let Some(sessions) = self.watched.get_mut(&place) {
            sessions.retain(|&other| other != session);
            if sessions.is_empty() {
                self.watched.remove(&place);
            }
        }
    }

    /// One more session is blocked on the key.
    pub fn wait(&mut self, db: DbIndex, key: &[u8]) {
        *self.awaited.entry((db, key.into())).or_default() += 1;
    }

    /// One session less is blocked on the key.
    pub fn stop_waiting(&mut self, db: DbIndex, key: &[u8]) {
        let place = (db, key.into());
        if let Some(count) = self.awaited.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.awaited.remove(&place);
            }
        }
    }

    /// The key was changed in any way.
    #[inline]
    pub(crate) fn touched(&mut self, db: DbIndex, key: &[u8]) {
        if !self.watched.is_empty()
            && let Some(sessions) = self.watched.get(&(db, key.into()))
        {
            self.aborted.extend(sessions);
        }
    }

    /// A whole database was emptied; `existed` tells which of its keys were there.
    pub(crate) fn flushed(&mut self, db: DbIndex, existed: impl Fn(&[u8]) -> bool) {
        for ((_, key), sessions) in self.watched.iter().filter(|((of, _), _)| *of == db) {
            if existed(key) {
                self.aborted.extend(sessions);
            }
        }
    }

    /// Keys of a database that somebody waits for.
    pub(crate) fn awaited_keys(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        let keys = self.awaited.keys().filter(|(of, _)| *of == db);
        let mut keys: Vec<Box<[u8]>> = keys.map(|(_, key)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    /// The key may have got something to take.
    #[inline]
    pub(crate) fn filled(&mut self, db: DbIndex, key: &[u8]) {
        if !self.awaited.is_empty() && self.awaited.contains_key(&(db, key.into())) {
            self.ready.push((db, key.into()));
        }
    }
}
