//! Client-side caching: a client that keeps what it has read hears when it is not true any more. (Redis: CLIENT TRACKING)
//! Either the engine remembers who has read which key, and tells it once; or a client hears of all keys with a prefix.
//! While nobody tracks, nothing is remembered and no change is looked at.

use crate::engine::Engine;
use crate::session::{Session, SessionId};
use leveret_keyspace::event::class;
use leveret_keyspace::{Happening, event::Event};
use leveret_resp::{Reply, Version};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How a client wants to hear of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Another session that hears of them in its place.
    pub redirect: Option<SessionId>,
    /// It hears of all keys with its prefixes.
    pub broadcast: bool,
    /// Reads count only behind CLIENT CACHING yes.
    pub opt_in: bool,
    /// Reads count unless behind CLIENT CACHING no.
    pub opt_out: bool,
    /// It does not hear of its own changes.
    pub no_loop: bool,
    /// What CLIENT CACHING has said about the next command.
    pub caching: Option<bool>,
    /// The other session is gone.
    pub is_broken: bool,
    /// Without any, all keys count.
    pub prefixes: Vec<Box<[u8]>>,
}

/// Who has read what, and who listens to which prefix.
#[derive(Default)]
pub(crate) struct Trackers {
    readers: HashMap<Box<[u8]>, BTreeSet<SessionId>>,
    prefixes: BTreeMap<Box<[u8]>, BTreeSet<SessionId>>,
    sessions: BTreeSet<SessionId>,
}

impl Engine {
    /// Turns tracking on.
    pub fn track(&mut self, id: SessionId, tracking: Tracking) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let everything = [Box::default()];
        if tracking.broadcast {
            let prefixes = if tracking.prefixes.is_empty() { &everything[..] } else { &tracking.prefixes };
            for prefix in prefixes {
                self.trackers.prefixes.entry(prefix.clone()).or_default().insert(id);
            }
        }
        session.tracking = Some(Box::new(tracking));
        self.trackers.sessions.insert(id);
        self.keyspace.watches.want_all_changes(true);
    }

    /// Turns tracking off.
    pub fn stop_tracking(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(tracking) = session.tracking.take() else { return };
        if tracking.broadcast {
            self.trackers.prefixes.retain(|_, sessions| {
                sessions.remove(&id);
                !sessions.is_empty()
            });
        }
        self.trackers.sessions.remove(&id);
        if self.trackers.sessions.is_empty() {
            // What is left there names nobody who tracks.
            self.trackers.readers = HashMap::new();
            self.keyspace.watches.want_all_changes(false);
        }
    }

    /// How many sessions track, and how many keys, readers of keys, and prefixes are remembered.
    pub fn tracking_counts(&self) -> [usize; 4] {
        let Trackers { readers, prefixes, sessions } = &self.trackers;
        [sessions.len(), readers.len(), readers.values().map(BTreeSet::len).sum(), prefixes.len()]
    }

    /// The session has read these keys. Of more than `keys_max` any are forgotten, as if they had changed.
    pub fn remember<'k>(&mut self, id: SessionId, keys: impl Iterator<Item = &'k [u8]>, keys_max: usize) {
        let Some(tracking) = self.sessions.get(&id).and_then(|session| session.tracking.as_deref()) else {
            return;
        };
        let counts = match tracking.caching {
            Some(said) => said,
            None => !tracking.opt_in,
        };
        if tracking.broadcast || !counts {
            return;
        }
        if self.keyspace.watches.has_happened() {
            // What has changed before, in the same commit, does not concern what is read now.
            self.tell_happened();
        }
        for key in keys {
            self.trackers.readers.entry(key.into()).or_default().insert(id);
        }
        self.forget_beyond(keys_max);
    }

    /// Forgets who has read what until so many keys are left; 0 is no limit. (Redis: `tracking-table-max-keys`)
    pub fn forget_beyond(&mut self, keys_max: usize) {
        while keys_max > 0 && self.trackers.readers.len() > keys_max {
            let Some(any) = self.trackers.readers.keys().next().cloned() else { break };
            self.invalidate(&any, None);
        }
    }

    /// Tells everybody who wants to know what has happened.
    #[cold]
    pub(crate) fn tell_happened(&mut self) {
        let happened = self.keyspace.watches.take_happened();
        let classes = self.keyspace.watches.events();
        let is_tracking = !self.trackers.sessions.is_empty();
        // By prefix: what has changed below it.
        let mut below: BTreeMap<Box<[u8]>, BTreeSet<&[u8]>> = BTreeMap::new();
        for one in &happened {
            match one {
                Happening::Flush => self.invalidate_all(),
                Happening::Key(db, event, key) => {
                    if classes & event.class != 0 {
                        self.announce(*db, *event, key, classes);
                    }
                    if is_tracking && event.class != class::MISS {
                        self.invalidate(key, self.actor);
                        for prefix in self.trackers.prefixes.keys().filter(|prefix| key.starts_with(prefix)) {
                            below.entry(prefix.clone()).or_default().insert(key);
                        }
                    }
                }
            }
        }
        for (prefix, keys) in below {
            let keys: Vec<&[u8]> = keys.into_iter().collect();
            let ids = self.trackers.prefixes.get(&prefix).cloned().unwrap_or_default();
            for id in ids {
                self.send_invalid(id, Some(&keys), self.actor);
            }
        }
    }

    /// Redis: `notifyKeyspaceEvent`.
    fn announce(&mut self, db: u8, event: Event, key: &[u8], classes: u32) {
        if classes & class::BY_KEY != 0 {
            self.publish_topic(
                &[format!("__keyspace@{db}__:").as_bytes(), key].concat(),
                event.name.as_bytes(),
            );
        }
        if classes & class::BY_EVENT != 0 {
            self.publish_topic(format!("__keyevent@{db}__:{}", event.name).as_bytes(), key);
        }
    }

    fn invalidate(&mut self, key: &[u8], actor: Option<SessionId>) {
        let Some(ids) = self.trackers.readers.remove(key) else { return };
        for id in ids {
            // Who broadcasts now may have read it before.
            let session = self.sessions.get(&id);
            if session
                .and_then(|session| session.tracking.as_ref())
                .is_some_and(|tracking| !tracking.broadcast)
            {
                self.send_invalid(id, Some(&[key]), actor);
            }
        }
    }

    fn invalidate_all(&mut self) {
        self.trackers.readers = HashMap::new();
        for id in self.trackers.sessions.clone() {
            self.send_invalid(id, None, None);
        }
    }

    /// Tells a session that keys, or all of them, are not what it has read.
    fn send_invalid(&mut self, id: SessionId, keys: Option<&[&[u8]]>, actor: Option<SessionId>) {
        let other = self.sessions.get(&id).and_then(|session| session.tracking.as_ref()?.redirect);
        let is_other_there = other.is_some_and(|other| self.sessions.contains_key(&other));
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let version = session.version;
        let Some(tracking) = session.tracking.as_deref_mut() else { return };
        if tracking.no_loop && actor == Some(id) {
            return;
        }
        let to = match tracking.redirect {
            None if version == Version::Resp2 => return,
            None => id,
            Some(to) if is_other_there => to,
            Some(to) => {
                tracking.is_broken = true;
                if version == Version::Resp3 {
                    let mut reply = Reply::new(&mut session.pushed, version);
                    reply.push(2);
                    reply.bulk(b"tracking-redir-broken");
                    reply.integer(to as i64);
                    session.mark_dirty(id, &mut self.dirty);
                }
                return;
            }
        };
        let Some(session) = self.sessions.get_mut(&to) else { return };
        if session.push_invalid(keys) {
            session.mark_dirty(to, &mut self.dirty);
        }
    }
}

/// The topic on which a client of RESP2 hears of changes.
const TOPIC: &[u8] = b"__redis__:invalidate";

impl Session {
    /// False when the session cannot hear it.
    fn push_invalid(&mut self, keys: Option<&[&[u8]]>) -> bool {
        let listens = self.subscriptions[crate::pubsub::Kind::Topic as usize].contains(TOPIC);
        if self.version == Version::Resp2 && !listens {
            return false;
        }
        let mut reply = Reply::new(&mut self.pushed, self.version);
        if self.version == Version::Resp3 {
            reply.push(2);
            reply.bulk(b"invalidate");
        } else {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(TOPIC);
        }
        match keys {
            Some(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
            None => reply.null(),
        }
        true
    }
}
