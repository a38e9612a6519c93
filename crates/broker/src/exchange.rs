//! Exchanges and their bindings: from a routing key to queues. A binding belongs to its source exchange.

use crate::{ExchangeId, QueueId, VhostId};
use std::collections::HashMap;

/// How an exchange routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Fanout,
    Topic,
    /// Declared by every vhost; bindings to it are not built yet.
    Headers,
}

impl Kind {
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        match name {
            b"direct" => Some(Kind::Direct),
            b"fanout" => Some(Kind::Fanout),
            b"topic" => Some(Kind::Topic),
            b"headers" => Some(Kind::Headers),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Fanout => "fanout",
            Kind::Topic => "topic",
            Kind::Headers => "headers",
        }
    }
}

/// Where a binding leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Destination {
    Queue(QueueId),
    Exchange(ExchangeId),
}

/// One binding, as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) destination: Destination,
    pub(crate) key: Box<[u8]>,
    pub(crate) arguments: Box<[u8]>,
}

/// One exchange.
pub(crate) struct Exchange {
    pub(crate) vhost: VhostId,
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: Box<[u8]>,
    pub(crate) bindings: Vec<Binding>,
    /// What a key that holds no wildcard leads to: one lookup.
    exact: HashMap<Box<[u8]>, Vec<Destination>, foldhash::fast::FixedState>,
    /// Topic patterns with wildcards.
    patterns: Vec<(Box<[u8]>, Destination)>,
    /// Where a fanout leads.
    all: Vec<Destination>,
}

impl Exchange {
    pub(crate) fn new(vhost: VhostId, name: &[u8], kind: Kind, arguments: &[u8]) -> Self {
        Self {
            vhost,
            name: name.into(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: arguments.into(),
            bindings: Vec::new(),
            exact: HashMap::default(),
            patterns: Vec::new(),
            all: Vec::new(),
        }
    }

    /// Adds a binding; false when it was there.
    pub(crate) fn bind(&mut self, binding: Binding) -> bool {
        if self.bindings.contains(&binding) {
            return false;
        }
        self.bindings.push(binding);
        self.compile();
        true
    }

    /// Removes the bindings that `gone` names; gives them.
    pub(crate) fn unbind(&mut self, gone: impl Fn(&Binding) -> bool) -> Vec<Binding> {
        let (removed, kept) =
            std::mem::take(&mut self.bindings).into_iter().partition(|binding| gone(binding));
        self.bindings = kept;
        self.compile();
        removed
    }

    /// Turns the bindings into what a publish looks up.
    fn compile(&mut self) {
        self.exact.clear();
        self.patterns.clear();
        self.all.clear();
        for Binding { destination, key, .. } in &self.bindings {
            let list = match self.kind {
                Kind::Fanout => &mut self.all,
                Kind::Topic if key.split(|&b| b == b'.').any(|word| matches!(word, b"*" | b"#")) => {
                    self.patterns.push((key.clone(), *destination));
                    continue;
                }
                Kind::Topic | Kind::Direct | Kind::Headers => self.exact.entry(key.clone()).or_default(),
            };
            if !list.contains(destination) {
                list.push(*destination);
            }
        }
    }

    /// Appends where a message with this key goes; a destination may appear twice.
    pub(crate) fn route(&self, key: &[u8], into: &mut Vec<Destination>) {
        into.extend_from_slice(&self.all);
        if let Some(exact) = self.exact.get(key) {
            into.extend_from_slice(exact);
        }
        into.extend(
            self.patterns
                .iter()
                .filter(|(pattern, _)| topic_matches(pattern, key))
                .map(|(_, destination)| *destination),
        );
    }
}

/// `*` is one word, `#` is any number of words. (AMQP 0-9-1 3.1.3.3)
pub(crate) fn topic_matches(pattern: &[u8], key: &[u8]) -> bool {
    let pattern: Vec<&[u8]> = pattern.split(|&b| b == b'.').collect();
    let words: Vec<&[u8]> = if key.is_empty() { vec![key] } else { key.split(|&b| b == b'.').collect() };
    let (mut p, mut w) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), words.get(w)) {
            (Some(&b"#"), _) => {
                p += 1;
                retry = Some((p, w));
            }
            (None, None) => return true,
            (Some(part), Some(word)) if *part == b"*" || part == word => (p, w) = (p + 1, w + 1),
            (_, None) => return false,
            (_, Some(_)) => match retry {
                Some((behind, from)) => {
                    (p, w) = (behind, from + 1);
                    retry = Some((behind, from + 1));
                }
                None => return false,
            },
        }
    }
}
