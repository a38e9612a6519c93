//! What the engine knows of a session: what must reach its client, and what it must give back when it closes.

use crate::accounts::Finding;
use crate::links::Link;
use crate::migration::Migrated;
use crate::pubsub::Kind;
use crate::tracking::Tracking;
use crate::waiters::Waiting;
use leveret_broker::Event;
use leveret_keyspace::DbIndex;
use leveret_resp::{Reply, Version};
use std::collections::BTreeSet;

/// A session's number; the generation is in it, since no number is used twice.
pub type SessionId = u64;

/// What a Redis client has said about itself and what else others may know of it. (Redis: CLIENT LIST)
#[derive(Default, Debug, Clone)]
#[allow(missing_docs, reason = "the names are those that CLIENT LIST prints")]
pub struct Card {
    /// Who has logged in.
    pub user: String,
    pub name: String,
    pub lib_name: String,
    pub lib_version: String,
    pub address: String,
    pub local_address: String,
    pub over_unix_socket: bool,
    pub since_ms: u64,
    /// When it last said something.
    pub seen_ms: u64,
    pub last_command: &'static str,
    pub db: DbIndex,
    /// Commands queued by MULTI.
    pub queued: Option<usize>,
    /// Bytes that have come and were not executed yet.
    pub input_bytes: usize,
    pub no_evict: bool,
    pub no_touch: bool,
}

/// One session.
#[derive(Default)]
pub struct Session {
    thread: usize,
    dirty: bool,
    /// A Redis client.
    pub card: Option<Box<Card>>,
    /// An open AMQP connection.
    pub link: Option<Box<Link>>,
    /// Its connection is to be closed.
    pub killed: bool,
    /// Likewise, and this is why.
    pub forced: Option<String>,
    /// It waits for an errand, or until its keys were carried to another server.
    pub(crate) asked: bool,
    /// What came out of it.
    pub finding: Option<Finding>,
    /// What became of its migration.
    pub migrated: Option<Migrated>,
    /// It has waited, and the log has nothing of what it was given for that.
    pub unlogged: bool,
    /// It hears of all commands.
    pub monitors: bool,
    /// What it has sent waits for the end of a pause. (Redis: CLIENT PAUSE)
    pub(crate) postponed: bool,
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
    /// How it hears of changes to what it has read.
    pub tracking: Option<Box<Tracking>>,
    /// What it listens to, by kind.
    pub(crate) subscriptions: [BTreeSet<Box<[u8]>>; Kind::COUNT],
}

impl Session {
    pub(crate) fn new(thread: usize) -> Self {
        Self { thread, ..Self::default() }
    }

    /// True while a blocking command, a pause, a check of a password or a migration waits: nothing else of this session may run.
    pub fn is_blocked(&self) -> bool {
        self.waiting.is_some() || self.postponed || self.asked
    }

    /// How many subscriptions of a kind it has.
    pub fn count(&self, kind: Kind) -> usize {
        self.subscriptions[kind as usize].len()
    }

    /// How many it has that share a count with those of a kind: topics and patterns count together.
    pub fn subscriptions_count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Topic | Kind::Pattern => self.count(Kind::Topic) + self.count(Kind::Pattern),
            Kind::Shard => self.count(Kind::Shard),
        }
    }

    /// True when others' messages reach it.
    pub fn is_subscribed(&self) -> bool {
        self.subscriptions.iter().any(|names| !names.is_empty())
    }

    /// What it listens to, of a kind.
    pub fn subscriptions(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.subscriptions[kind as usize].iter().map(|name| &**name)
    }

    /// How many keys it watches.
    pub fn watched_count(&self) -> usize {
        self.watched.len()
    }

    /// Puts out a message of publish/subscribe.
    pub(crate) fn push_message(&mut self, word: &[u8], parts: &[&[u8]]) {
        let mut reply = Reply::new(&mut self.pushed, self.version);
        reply.push(1 + parts.len());
        reply.bulk(word);
        parts.iter().for_each(|part| reply.bulk(part));
    }

    pub(crate) fn mark_dirty(&mut self, id: SessionId, dirty: &mut [Vec<SessionId>]) {
        if !self.dirty {
            self.dirty = true;
            dirty[self.thread].push(id);
        }
    }

    /// Appends what has come for a Redis client and takes nothing else from it: the rest is for the loop.
    pub fn take_pushed(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.pushed);
    }

    /// Whose I/O thread serves it.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// Hands over what has come: appends the bytes and events, which leaves the session clean.
    pub fn collect(&mut self, bytes: &mut Vec<u8>, events: &mut Vec<Event>) {
        self.dirty = false;
        bytes.append(&mut self.pushed);
        events.append(&mut self.events);
    }
}
