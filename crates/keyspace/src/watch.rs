//! Who must hear of a key: sessions that WATCH it, sessions blocked until it has something to take, and whoever wants to
//! know what happens to keys at all. It knows keys and session ids only; what becomes of them is the engine's affair.
//! While nobody wants to know anything a primitive pays one look at a flag.

use crate::DbIndex;
use crate::event::{self, Event, class};
use std::cell::RefCell;
use std::collections::HashMap;

/// A session, as the engine numbers it.
pub type SessionId = u64;

type Place = (DbIndex, Box<[u8]>);

/// What has happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A key was changed, or else what the event says.
    Key(DbIndex, Event, Box<[u8]>),
    /// A database was emptied, or has other contents; of several in a row once.
    Flush,
}

/// A change that somebody keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Where.
    pub db: DbIndex,
    /// What it is announced as.
    pub event: Event,
    /// The key; without one it is the whole database.
    pub key: Option<Box<[u8]>>,
}

/// The indexes, and what has happened to their keys since somebody asked.
#[derive(Default)]
pub struct Watches {
    watched: HashMap<Place, Vec<SessionId>>,
    /// How many wait for a key to have something, and how many of those to be lost as well.
    awaited: HashMap<Place, (usize, usize)>,
    /// Sessions whose watched key was touched.
    pub aborted: Vec<SessionId>,
    /// Awaited keys that have got something to take, in order.
    pub ready: Vec<(DbIndex, Box<[u8]>)>,
    /// What has happened to keys, as far as it is wanted.
    pub happened: Vec<Happening>,
    /// Likewise, for whoever keeps it in the commit in which it happened.
    pub captured: Vec<Captured>,
    /// Reads of keys that are not there, if they are wanted.
    pub(crate) missed: RefCell<Vec<(DbIndex, Box<[u8]>)>>,
    /// Classes of events that are wanted.
    events: u32,
    /// Changes are captured.
    captures: bool,
    /// Classes of events that anybody wants.
    wanted: u32,
    /// Every change is wanted.
    all_changes: bool,
    /// Somebody wants something.
    listening: bool,
}

impl Watches {
    /// `WATCH`: the session wants to hear of changes to the key.
    pub fn watch(&mut self, db: DbIndex, key: &[u8], session: SessionId) {
        let sessions = self.watched.entry((db, key.into())).or_default();
        if !sessions.contains(&session) {
            sessions.push(session);
        }
        self.listening = true;
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
        self.note_listening();
    }

    /// Which classes of events are wanted. (Redis: `notify-keyspace-events`)
    pub fn want_events(&mut self, classes: u32) {
        self.events = classes;
        self.note_listening();
    }

    /// Whether changes are captured, from here on.
    #[inline]
    pub fn capture(&mut self, wanted: bool) {
        if self.captures != wanted {
            self.captures = wanted;
            self.note_listening();
        }
    }

    /// The classes that are wanted.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// Whether every change is wanted. (Redis: CLIENT TRACKING)
    pub fn want_all_changes(&mut self, wanted: bool) {
        self.all_changes = wanted;
        self.note_listening();
    }

    fn note_listening(&mut self) {
        self.wanted = self.events | if self.captures { class::CHANGES } else { 0 };
        self.listening = !self.watched.is_empty() || self.wanted != 0 || self.all_changes;
    }

    /// One more session is blocked on the key, and perhaps wants to hear when it is gone.
    pub fn wait(&mut self, db: DbIndex, key: &[u8], or_lost: bool) {
        let (count, lost_count) = self.awaited.entry((db, key.into())).or_default();
        *count += 1;
        *lost_count += usize::from(or_lost);
    }

    /// One session less is blocked on the key.
    pub fn stop_waiting(&mut self, db: DbIndex, key: &[u8], or_lost: bool) {
        let place = (db, key.into());
        if let Some((count, lost_count)) = self.awaited.get_mut(&place) {
            *count -= 1;
            *lost_count -= usize::from(or_lost);
            if *count == 0 {
                self.awaited.remove(&place);
            }
        }
    }

    /// The key was changed.
    #[inline]
    pub(crate) fn touched(&mut self, db: DbIndex, event: Event, key: &[u8]) {
        if self.listening {
            self.tell(db, event, key);
        }
    }

    #[cold]
    fn tell(&mut self, db: DbIndex, event: Event, key: &[u8]) {
        // A key whose time is up is not there before it is removed either; EXEC looks at those that were there.
        if !self.watched.is_empty()
            && event != event::EXPIRED
            && let Some(sessions) = self.watched.get(&(db, key.into()))
        {
            self.aborted.extend(sessions);
        }
        if self.all_changes || self.events & event.class != 0 {
            self.happened.push(Happening::Key(db, event, key.into()));
        }
        self.keep(db, event, Some(key));
    }

    /// Announces what is no change, or not another one.
    #[inline]
    pub(crate) fn announce(&mut self, db: DbIndex, event: Event, key: &[u8]) {
        if self.wanted & event.class != 0 {
            self.tell_announced(db, event, key);
        }
    }

    #[cold]
    fn tell_announced(&mut self, db: DbIndex, event: Event, key: &[u8]) {
        if self.events & event.class != 0 {
            self.happened.push(Happening::Key(db, event, key.into()));
        }
        self.keep(db, event, Some(key));
    }

    fn keep(&mut self, db: DbIndex, event: Event, key: Option<&[u8]>) {
        if self.captures && class::CHANGES & event.class != 0 {
            self.captured.push(Captured { db, event, key: key.map(Into::into) });
        }
    }

    /// A whole database was changed, which Redis does not announce.
    pub(crate) fn changed_all(&mut self, db: DbIndex, event: Event) {
        self.keep(db, event, None);
    }

    /// True when something was captured that nobody has kept yet.
    #[inline]
    pub fn has_captured(&self) -> bool {
        !self.captured.is_empty()
    }

    /// A key that is not there was read.
    #[inline]
    pub(crate) fn missed(&self, db: DbIndex, key: &[u8]) {
        if self.events & class::MISS != 0 {
            self.missed.borrow_mut().push((db, key.into()));
        }
    }

    /// True when something has happened that somebody must hear of.
    #[inline]
    pub fn has_happened(&mut self) -> bool {
        !self.happened.is_empty() || !self.missed.get_mut().is_empty()
    }

    /// What has happened, reads of missing keys last.
    pub fn take_happened(&mut self) -> Vec<Happening> {
        let missed = std::mem::take(self.missed.get_mut());
        let missed = missed.into_iter().map(|(db, key)| Happening::Key(db, event::MISS, key));
        let mut happened = std::mem::take(&mut self.happened);
        happened.extend(missed);
        happened
    }

    /// A whole database was emptied; `existed` tells which of its keys were there.
    pub(crate) fn flushed(&mut self, db: DbIndex, existed: impl Fn(&[u8]) -> bool) {
        if self.all_changes && self.happened.last() != Some(&Happening::Flush) {
            self.happened.push(Happening::Flush);
        }
        for ((_, key), _) in self.awaited.iter().filter(|((of, _), (_, lost))| *of == db && *lost > 0) {
            if existed(key) {
                self.ready.push((db, key.clone()));
            }
        }
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

    /// What was waited at under the key is gone.
    #[inline]
    pub(crate) fn lost(&mut self, db: DbIndex, key: &[u8]) {
        if !self.awaited.is_empty() && self.is_loss_awaited(db, key) {
            self.ready.push((db, key.into()));
        }
    }

    /// Keys of which somebody wants to hear when they are gone.
    pub fn loss_awaited_count(&self) -> usize {
        self.awaited.values().filter(|(_, lost_count)| *lost_count > 0).count()
    }

    /// True when somebody wants to hear that a key is gone.
    pub fn is_loss_awaited(&self, db: DbIndex, key: &[u8]) -> bool {
        self.awaited.get(&(db, key.into())).is_some_and(|(_, lost_count)| *lost_count > 0)
    }
}
