//! Redis' publish/subscribe: topics and patterns, delivered at most once to who listens now. Nothing is logged.

use crate::engine::Engine;
use crate::session::SessionId;
use leveret_keyspace::glob;
use leveret_resp::Version;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a subscription names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One topic. (Redis: SUBSCRIBE)
    Topic,
    /// All topics that match. (Redis: PSUBSCRIBE)
    Pattern,
    /// One topic of its own kind; in a cluster it belongs to a slot. (Redis: SSUBSCRIBE)
    Shard,
}

impl Kind {
    pub(crate) const COUNT: usize = 3;
    const ALL: [Kind; Self::COUNT] = [Kind::Topic, Kind::Pattern, Kind::Shard];
}

type Listeners = BTreeSet<SessionId>;

/// Who listens to what, by kind. Patterns have an order of their own, which is that of the messages a client gets for several
/// of them.
#[derive(Default)]
pub(crate) struct PubSub {
    topics: HashMap<Box<[u8]>, Listeners>,
    patterns: BTreeMap<Box<[u8]>, Listeners>,
    shards: HashMap<Box<[u8]>, Listeners>,
}

impl PubSub {
    fn add(&mut self, kind: Kind, name: &[u8], id: SessionId) {
        let listeners = match kind {
            Kind::Topic => self.topics.entry(name.into()).or_default(),
            Kind::Pattern => self.patterns.entry(name.into()).or_default(),
            Kind::Shard => self.shards.entry(name.into()).or_default(),
        };
        listeners.insert(id);
    }

    fn remove(&mut self, kind: Kind, name: &[u8], id: SessionId) {
        let listeners = match kind {
            Kind::Topic => self.topics.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
            Kind::Shard => self.shards.get_mut(name),
        };
        let Some(listeners) = listeners else { return };
        listeners.remove(&id);
        if listeners.is_empty() {
            match kind {
                Kind::Topic => self.topics.remove(name),
                Kind::Pattern => self.patterns.remove(name),
                Kind::Shard => self.shards.remove(name),
            };
        }
    }

    fn named(&self, kind: Kind) -> &HashMap<Box<[u8]>, Listeners> {
        if kind == Kind::Shard { &self.shards } else { &self.topics }
    }
}

impl Engine {
    /// Adds a subscription; gives how many of its kind the session has now.
    pub fn subscribe(&mut self, id: SessionId, kind: Kind, name: &[u8]) -> usize {
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        if session.subscriptions[kind as usize].insert(name.into()) {
            self.pubsub.add(kind, name, id);
        }
        session.subscriptions_count(kind)
    }

    /// Ends a subscription; gives how many of its kind the session has left.
    pub fn unsubscribe(&mut self, id: SessionId, kind: Kind, name: &[u8]) -> usize {
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        if session.subscriptions[kind as usize].remove(name) {
            self.pubsub.remove(kind, name, id);
        }
        session.subscriptions_count(kind)
    }

    /// What the session listens to.
    pub fn subscriptions(&self, id: SessionId, kind: Kind) -> Vec<Box<[u8]>> {
        let names = self.sessions.get(&id).map(|session| &session.subscriptions[kind as usize]);
        names.into_iter().flatten().cloned().collect()
    }

    /// Ends all subscriptions of the session.
    pub fn unsubscribe_all(&mut self, id: SessionId) {
        for kind in Kind::ALL {
            for name in self.subscriptions(id, kind) {
                self.unsubscribe(id, kind, &name);
            }
        }
    }

    /// Sends to everybody who listens; gives how many got it.
    pub fn publish_topic(&mut self, topic: &[u8], payload: &[u8]) -> usize {
        let Self { pubsub, sessions, dirty, .. } = self;
        let mut count = 0;
        let mut send = |id: SessionId, pattern: Option<&[u8]>| {
            let Some(session) = sessions.get_mut(&id) else { return };
            match pattern {
                None => session.push_message(b"message", &[topic, payload]),
                Some(pattern) => session.push_message(b"pmessage", &[pattern, topic, payload]),
            }
            session.mark_dirty(id, dirty);
            count += 1;
        };
        for &id in pubsub.topics.get(topic).into_iter().flatten() {
            send(id, None);
        }
        for (pattern, ids) in &pubsub.patterns {
            if glob::matches(pattern, topic) {
                ids.iter().for_each(|&id| send(id, Some(pattern)));
            }
        }
        count
    }

    /// Likewise for a topic of a shard. (Redis: SPUBLISH)
    pub fn publish_shard(&mut self, topic: &[u8], payload: &[u8]) -> usize {
        let Self { pubsub, sessions, dirty, .. } = self;
        let listeners = pubsub.shards.get(topic);
        for &id in listeners.into_iter().flatten() {
            if let Some(session) = sessions.get_mut(&id) {
                session.push_message(b"smessage", &[topic, payload]);
                session.mark_dirty(id, dirty);
            }
        }
        listeners.map_or(0, BTreeSet::len)
    }

    /// True when somebody hears what is sent to a topic.
    pub fn is_listened_to(&self, topic: &[u8]) -> bool {
        let mut patterns = self.pubsub.patterns.keys();
        self.pubsub.topics.contains_key(topic) || patterns.any(|pattern| glob::matches(pattern, topic))
    }

    /// The topics that somebody listens to, those that match if a pattern is given. (Redis: PUBSUB CHANNELS, SHARDCHANNELS)
    pub fn topics(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<&[u8]> {
        let topics = self.pubsub.named(kind).keys().map(AsRef::as_ref);
        let mut topics: Vec<&[u8]> =
            topics.filter(|topic| pattern.is_none_or(|pattern| glob::matches(pattern, topic))).collect();
        topics.sort_unstable();
        topics
    }

    /// How many listen to a topic itself. (Redis: PUBSUB NUMSUB, SHARDNUMSUB)
    pub fn listeners_count(&self, kind: Kind, topic: &[u8]) -> usize {
        self.pubsub.named(kind).get(topic).map_or(0, BTreeSet::len)
    }

    /// How many topics and patterns somebody listens to. (Redis: PUBSUB NUMPAT)
    pub fn names_count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Topic | Kind::Shard => self.pubsub.named(kind).len(),
            Kind::Pattern => self.pubsub.patterns.len(),
        }
    }

    /// The version a session's pushes are written in.
    pub fn set_version(&mut self, id: SessionId, version: Version) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.version = version;
        }
    }
}
