//! Exchanges and their bindings: from a message's keys and headers to queues. A binding belongs to its source exchange.
//! What the types have in common is here, one file for each is beside it.
//! The trap: a map's order is not the same after a replay, so nothing that is seen may follow it.

mod direct;
mod fanout;
mod headers;
mod history;
mod spread;
mod topic;

pub(crate) use history::{History, Recent, is_unkept};

use crate::broker::Map;
use crate::change::Change;
use crate::exception::Exception;
use crate::seen::Seen;
use crate::{ExchangeId, QueueId, VhostId};
use leveret_amqp::{Properties, Table};
use std::collections::{BTreeSet, HashSet};

/// A type of exchange.
struct Row {
    name: &'static str,
    /// The routes of a new exchange.
    routes: fn(Table<'_>) -> Box<dyn Routes>,
    /// Refuses a binding with such a key and such arguments.
    check: fn(&[u8], Table<'_>) -> Result<(), Exception>,
}

/// Every type.
const TYPES: &[Row] = &[
    Row { name: "direct", routes: |_| Box::<direct::Direct>::default(), check: any_arguments },
    Row { name: "fanout", routes: |_| Box::<fanout::Fanout>::default(), check: any_arguments },
    Row { name: "topic", routes: |_| Box::<topic::Trie>::default(), check: any_arguments },
    // Where it leads is said by the type that it delays. (RabbitMQ: delayed message exchange)
    Row { name: DELAYED, routes: |_| Box::<direct::Direct>::default(), check: any_arguments },
    Row {
        name: CONSISTENT_HASH,
        routes: |table| Box::new(spread::Consistent::new(table)),
        check: spread::check_weight,
    },
    Row { name: "x-modulus-hash", routes: |_| Box::<spread::Modulus>::default(), check: any_arguments },
    Row { name: "x-random", routes: |_| Box::<spread::Random>::default(), check: any_arguments },
    Row { name: "x-local-random", routes: |_| Box::<spread::Random>::default(), check: spread::check_empty },
    Row { name: RECENT_HISTORY, routes: |_| Box::<fanout::Fanout>::default(), check: any_arguments },
    Row { name: "headers", routes: |_| Box::<headers::Headers>::default(), check: headers::check },
];

fn any_arguments(_: &[u8], _: Table<'_>) -> Result<(), Exception> {
    Ok(())
}

/// How an exchange routes: its type.
#[derive(Clone, Copy)]
pub(crate) struct Kind(&'static Row);

impl Kind {
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        TYPES.iter().find(|row| row.name.as_bytes() == name).map(Kind)
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.name
    }

    /// True for exchanges whose messages may wait.
    pub(crate) fn is_delayed(self) -> bool {
        self.0.name == DELAYED
    }

    /// Refuses what an exchange of this type cannot mean by its arguments.
    pub(crate) fn check_arguments(self, arguments: Table<'_>) -> Result<(), Exception> {
        let Some(routing) = self.of_routes(arguments) else {
            let text = format!("Invalid argument, '{DELAYED_TYPE}' must be an existing exchange type");
            return Err(Exception::precondition(text));
        };
        match routing.0.name {
            CONSISTENT_HASH => spread::check_arguments(arguments),
            RECENT_HISTORY => history::check_arguments(arguments),
            _ => Ok(()),
        }
    }

    /// The type that decides where a message goes: for a delayed exchange the one that its arguments name.
    pub(crate) fn of_routes(self, arguments: Table<'_>) -> Option<Kind> {
        if !self.is_delayed() {
            return Some(self);
        }
        Kind::parse(arguments.find(DELAYED_TYPE.as_bytes())?.as_longstr()?).filter(|kind| !kind.is_delayed())
    }
}

/// Where the bindings of one exchange lead. A binding is added once and removed only when it is there.
pub(crate) trait Routes: Send + Sync {
    fn add(&mut self, binding: &Binding);
    fn remove(&mut self, binding: &Binding);
    /// Appends where a message goes; a destination may appear several times. Changes nothing but scratch space.
    fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>);
}

/// What routing looks at.
pub(crate) struct Keys<'a> {
    /// The routing key.
    pub(crate) key: &'a [u8],
    /// The keys of `CC` and `BCC`.
    pub(crate) more: Vec<&'a [u8]>,
    /// The message's headers; empty without.
    pub(crate) headers: Table<'a>,
    pub(crate) properties: Properties<'a>,
}

impl<'a> Keys<'a> {
    /// The routing key and those of `CC` and `BCC`.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::once(self.key).chain(self.more.iter().copied())
    }
}

/// Where a binding leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Destination {
    Queue(QueueId),
    Exchange(ExchangeId),
}

/// Destinations with the number of bindings that lead there the same way, in order.
#[derive(Default)]
pub(crate) struct Counted {
    all: Vec<(Destination, usize)>,
}

impl Counted {
    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One of them, by any number.
    fn nth(&self, number: u64) -> Option<Destination> {
        let place = number.checked_rem(self.all.len() as u64)?;
        self.all.get(place as usize).map(|(destination, _)| *destination)
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

/// One binding, as it was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Binding {
    pub(crate) destination: Destination,
    pub(crate) key: Box<[u8]>,
    pub(crate) arguments: Box<[u8]>,
}

/// Routing key and arguments of a binding whose ends are known.
type How = (Box<[u8]>, Box<[u8]>);

/// One exchange.
pub(crate) struct Exchange {
    pub(crate) vhost: VhostId,
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: Box<[u8]>,
    /// What it routes by.
    routing: Kind,
    /// Its messages may wait.
    pub(crate) delays: bool,
    /// What it has seen, if it takes nothing twice.
    pub(crate) seen: Option<Box<Seen>>,
    /// The last messages, if it keeps them for what is bound to it later.
    pub(crate) history: Option<Box<History>>,
    /// Where a message goes that none of the bindings wants.
    pub(crate) alternate: Option<Box<[u8]>>,
    /// The exchanges that have bindings to this one.
    pub(crate) bound_from: BTreeSet<ExchangeId>,
    /// The publish that came by last.
    pub(crate) visited: u64,
    /// By destination, so that all to one of them go together.
    bindings: Map<Destination, HashSet<How, foldhash::fast::FixedState>>,
    routes: Box<dyn Routes>,
}

impl Exchange {
    pub(crate) fn new(vhost: VhostId, name: &[u8], kind: Kind, arguments: &[u8]) -> Self {
        let table = Table::from_validated(arguments);
        let routing = kind.of_routes(table).unwrap_or(kind);
        let alternate = table.find(ALTERNATE_EXCHANGE.as_bytes());
        Self {
            vhost,
            name: name.into(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: arguments.into(),
            routing,
            delays: kind.is_delayed(),
            seen: Seen::from_arguments(table).ok().flatten().map(Box::new),
            history: (routing.0.name == RECENT_HISTORY).then(|| Box::new(History::new(table))),
            alternate: alternate.and_then(|value| value.as_longstr()).map(Box::from),
            bound_from: BTreeSet::new(),
            visited: 0,
            bindings: Map::default(),
            routes: (routing.0.routes)(table),
        }
    }

    /// Refuses what a binding cannot mean here.
    pub(crate) fn check_binding(&self, key: &[u8], arguments: Table<'_>) -> Result<(), Exception> {
        (self.routing.0.check)(key, arguments)
    }

    /// True when nothing is bound to it.
    pub(crate) fn is_unused(&self) -> bool {
        self.bindings.is_empty()
    }

    /// True when one of its bindings leads there.
    pub(crate) fn leads_to(&self, destination: Destination) -> bool {
        self.bindings.contains_key(&destination)
    }

    /// Where its bindings lead, each once, in no order.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = Destination> {
        self.bindings.keys().copied()
    }

    /// The change that declares it.
    pub(crate) fn declaration(&self, id: ExchangeId) -> Change<'_> {
        let Self { vhost, kind, auto_delete, internal, .. } = *self;
        let (name, arguments) = (&self.name, &self.arguments);
        Change::ExchangeDeclare { vhost, id, name, kind, auto_delete, internal, arguments }
    }

    /// Routing keys and arguments of all bindings, in no order.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (Destination, &How)> {
        self.bindings.iter().flat_map(|(&destination, hows)| hows.iter().map(move |how| (destination, how)))
    }

    /// Adds a binding; false when it was there.
    pub(crate) fn bind(&mut self, binding: &Binding) -> bool {
        let how = (binding.key.clone(), binding.arguments.clone());
        let is_new = self.bindings.entry(binding.destination).or_default().insert(how);
        if is_new {
            self.routes.add(binding);
        }
        is_new
    }

    /// Removes a binding; false when it was not there.
    pub(crate) fn unbind(&mut self, binding: &Binding) -> bool {
        let Some(hows) = self.bindings.get_mut(&binding.destination) else { return false };
        if !hows.remove(&(binding.key.clone(), binding.arguments.clone())) {
            return false;
        }
        if hows.is_empty() {
            self.bindings.remove(&binding.destination);
        }
        self.routes.remove(binding);
        true
    }

    /// Removes all bindings to a destination.
    pub(crate) fn unbind_all(&mut self, destination: Destination) {
        for (key, arguments) in self.bindings.remove(&destination).into_iter().flatten() {
            self.routes.remove(&Binding { destination, key, arguments });
        }
    }

    /// Appends where a message goes; a destination may appear several times.
    pub(crate) fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>) {
        self.routes.route(keys, into);
    }
}

/// The type of exchanges that keep together what has the same key.
const CONSISTENT_HASH: &str = "x-consistent-hash";

/// The type of exchanges that keep the last messages for what is bound to them later.
const RECENT_HISTORY: &str = "x-recent-history";

/// The type of exchanges whose messages may wait.
const DELAYED: &str = "x-delayed-message";

/// The argument that names the type that such an exchange routes by.
pub(crate) const DELAYED_TYPE: &str = "x-delayed-type";

/// The argument that names the alternate exchange.
pub(crate) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";
