//! Exchanges and their bindings: from a routing key to queues. A binding belongs to its source exchange.

mod topic;

use crate::{ExchangeId, QueueId, VhostId};
use std::collections::{BTreeSet, HashMap};
use topic::Trie;

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

/// Destinations with the number of bindings that lead there by the same key.
#[derive(Default)]
pub(crate) struct Counted {
    all: Vec<(Destination, usize)>,
}

impl Counted {
    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn list(&self, into: &mut Vec<Destination>) {
        into.extend(self.all.iter().map(|(destination, _)| *destination));
    }

    fn add(&mut self, destination: Destination) {
        match self.all.binary_search_by_key(&destination, |(other, _)| *other) {
            Ok(place) => self.all[place].1 += 1,
            Err(place) => self.all.insert(place, (destination, 1)),
        }
    }

    fn remove(&mut self, destination: Destination) {
        if let Ok(place) = self.all.binary_search_by_key(&destination, |(other, _)| *other) {
            self.all[place].1 -= 1;
            if self.all[place].1 == 0 {
                self.all.remove(place);
            }
        }
    }
}

/// One binding, as it was made. Ordered by where it leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    pub(crate) bindings: BTreeSet<Binding>,
    /// What a key leads to: one lookup.
    exact: HashMap<Box<[u8]>, Counted, foldhash::fast::FixedState>,
    /// Topic patterns.
    patterns: Trie,
    /// Where a fanout leads.
    all: Counted,
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
            bindings: BTreeSet::new(),
            exact: HashMap::default(),
            patterns: Trie::default(),
            all: Counted::default(),
        }
    }

    /// Adds a binding; false when it was there.
    pub(crate) fn bind(&mut self, binding: Binding) -> bool {
        if self.bindings.contains(&binding) {
            return false;
        }
        let Binding { destination, key, .. } = &binding;
        match self.kind {
            Kind::Fanout => self.all.add(*destination),
            Kind::Topic => self.patterns.add(key, *destination),
            Kind::Direct | Kind::Headers => {
                self.exact.entry(key.clone()).or_default().add(*destination);
            }
        }
        self.bindings.insert(binding)
    }

    /// Removes a binding; false when it was not there.
    pub(crate) fn unbind(&mut self, binding: &Binding) -> bool {
        if !self.bindings.remove(binding) {
            return false;
        }
        let Binding { destination, key, .. } = binding;
        match self.kind {
            Kind::Fanout => self.all.remove(*destination),
            Kind::Topic => self.patterns.remove(key, *destination),
            Kind::Direct | Kind::Headers => {
                if let Some(counted) = self.exact.get_mut(key) {
                    counted.remove(*destination);
                    if counted.is_empty() {
                        self.exact.remove(key);
                    }
                }
            }
        }
        true
    }

    /// Removes all bindings to a destination; gives how many there were.
    pub(crate) fn unbind_all(&mut self, destination: Destination) -> usize {
        let first = Binding { destination, key: Box::default(), arguments: Box::default() };
        let of = self.bindings.range(first..).take_while(|binding| binding.destination == destination);
        let gone: Vec<Binding> = of.cloned().collect();
        gone.iter().filter(|binding| self.unbind(binding)).count()
    }

    /// Appends where a message with this key goes; a destination may appear several times.
    pub(crate) fn route(&self, key: &[u8], into: &mut Vec<Destination>) {
        match self.kind {
            Kind::Fanout => self.all.list(into),
            Kind::Topic => self.patterns.route(key, into),
            Kind::Direct | Kind::Headers => {
                if let Some(counted) = self.exact.get(key) {
                    counted.list(into);
                }
            }
        }
    }
}
