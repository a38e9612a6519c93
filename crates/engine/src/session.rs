//! What the engine knows of a session: what must reach its client, and what it must give back when it closes.

use crate::waiters::Waiting;
use leveret_broker::Event;
use leveret_keyspace::DbIndex;
use leveret_resp::Version;
use std::collections::BTreeSet;

/// A session's number; the generation is in it, since no number is used twice.
pub type SessionId = u64;

/// One session.
#[derive(Default)]
pub struct Session {
    thread: usize,
    dirty: bool,
    /// The protocol version its pushes are written in.
    pub version: Version,
    /// RESP bytes that others caused: pub/sub messages, answers after a wait.
    pub pushed: Vec<u8>,
    /// AMQP events that others or it itself caused, in order.
    pub events: Vec<Event>,
    /// A watched key was touched.
    pub(crate) aborted: bool,
    /// With whether the key was absent when the watch began.
    pub(crate) watched: Vec<(DbIndex, Box<[u8]>, bool)>,
    pub(crate) waiting: Option<Waiting>,
    /// Topics and patterns it listens to.
    pub(crate) topics: BTreeSet<Box<[u8]>>,
    pub(crate) patterns: BTreeSet<Box<[u8]>>,
}

impl Session {
    pub(crate) fn new(thread: usize) -> Self {
        Self { thread, ..Self::default() }
    }

    /// True while a blocking command waits: nothing else of this session may run.
    pub fn is_blocked(&self) -> bool {
        self.waiting.is_some()
    }

    /// How many topics and patterns it listens to.
    pub fn subscriptions_count(&self) -> usize {
        self.topics.len() + self.patterns.len()
    }

    pub(crate) fn mark_dirty(&mut self, id: SessionId, dirty: &mut [Vec<SessionId>]) {
        if !self.dirty {
            self.dirty = true;
            dirty[self.thread].push(id);
        }
    }

    /// Hands over what has come: appends the bytes and events, which leaves the session clean.
    pub fn collect(&mut self, bytes: &mut Vec<u8>, events: &mut Vec<Event>) {
        self.dirty = false;
        bytes.append(&mut self.pushed);
        events.append(&mut self.events);
    }
}
