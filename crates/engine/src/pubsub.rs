//! Redis' publish/subscribe: topics and patterns, delivered at most once to who listens now. Nothing is logged.

use crate::engine::Engine;
use crate::session::SessionId;
use leveret_keyspace::glob;
use leveret_resp::{Reply, Version};
use std::collections::{BTreeMap, HashMap};

/// What a subscription names. (Redis: SUBSCRIBE, PSUBSCRIBE)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One topic.
    Topic,
    /// All topics that match.
    Pattern,
}

/// Who listens to what.
#[derive(Default)]
pub(crate) struct PubSub {
    topics: HashMap<Box<[u8]>, Vec<SessionId>>,
    /// In an order of their own, which is that of the messages a client gets for several of them.
    patterns: BTreeMap<Box<[u8]>, Vec<SessionId>>,
}

impl PubSub {
    fn add(&mut self, kind: Kind, name: &[u8], id: SessionId) {
        match kind {
            Kind::Topic => self.topics.entry(name.into()).or_default().push(id),
            Kind::Pattern => self.patterns.entry(name.into()).or_default().push(id),
        }
    }

    fn remove(&mut self, kind: Kind, name: &[u8], id: SessionId) {
        let sessions = match kind {
            Kind::Topic => self.topics.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
        };
        let Some(sessions) = sessions else { return };
        sessions.retain(|&other| other != id);
        if sessions.is_empty() {
            match kind {
                Kind::Topic => self.topics.remove(name),
                Kind::Pattern => self.patterns.remove(name),
            };
        }
    }
}

impl Engine {
    /// Adds a subscription; gives how many the session has now.
    pub fn subscribe(&mut self, id: SessionId, kind: Kind, name: &[u8]) -> usize {
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        let names = if kind == Kind::Topic { &mut session.topics } else { &mut session.patterns };
        if names.insert(name.into()) {
            self.pubsub.add(kind, name, id);
        }
        session.subscriptions_count()
    }

    /// Ends a subscription; gives how many the session has left.
    pub fn unsubscribe(&mut self, id: SessionId, kind: Kind, name: &[u8]) -> usize {
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        let names = if kind == Kind::Topic { &mut session.topics } else { &mut session.patterns };
        if names.remove(name) {
            self.pubsub.remove(kind, name, id);
        }
        session.subscriptions_count()
    }

    /// What the session listens to.
    pub fn subscriptions(&self, id: SessionId, kind: Kind) -> Vec<Box<[u8]>> {
        let names = self.sessions.get(&id).map(|s| if kind == Kind::Topic { &s.topics } else { &s.patterns });
        names.into_iter().flatten().cloned().collect()
    }

    pub(crate) fn unsubscribe_all(&mut self, id: SessionId) {
        for kind in [Kind::Topic, Kind::Pattern] {
            for name in self.subscriptions(id, kind) {
                self.unsubscribe(id, kind, &name);
            }
        }
    }

    /// Sends to everybody who listens; gives how many got it. (Redis: PUBLISH)
    pub fn publish_topic(&mut self, topic: &[u8], payload: &[u8]) -> usize {
        let Self { pubsub, sessions, dirty, .. } = self;
        let mut count = 0;
        let mut send = |id: SessionId, pattern: Option<&[u8]>| {
            let Some(session) = sessions.get_mut(&id) else { return };
            let mut reply = Reply::new(&mut session.pushed, session.version);
            match pattern {
                None => {
                    reply.push(3);
                    reply.bulk(b"message");
                }
                Some(pattern) => {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(pattern);
                }
            }
            reply.bulk(topic);
            reply.bulk(payload);
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

    /// The topics that somebody listens to, those that match if a pattern is given. (Redis: PUBSUB CHANNELS)
    pub fn topics(&self, pattern: Option<&[u8]>) -> Vec<&[u8]> {
        let topics = self.pubsub.topics.keys().map(AsRef::as_ref);
        let mut topics: Vec<&[u8]> =
            topics.filter(|topic| pattern.is_none_or(|pattern| glob::matches(pattern, topic))).collect();
        topics.sort_unstable();
        topics
    }

    /// How many listen to a topic itself. (Redis: PUBSUB NUMSUB)
    pub fn listeners_count(&self, topic: &[u8]) -> usize {
        self.pubsub.topics.get(topic).map_or(0, Vec::len)
    }

    /// How many patterns somebody listens to. (Redis: PUBSUB NUMPAT)
    pub fn patterns_count(&self) -> usize {
        self.pubsub.patterns.len()
    }

    /// The version a session's pushes are written in.
    pub fn set_version(&mut self, id: SessionId, version: Version) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.version = version;
        }
    }
}
