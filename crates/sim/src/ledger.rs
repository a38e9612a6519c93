//! Messages as plain entries of a book: what became of each copy in a queue, as far as clients were told. After a crash the
//! queues are read and the book is closed: what is there is there for certain, what is not is gone for good.

use std::collections::{BTreeMap, BTreeSet};

/// The queues, all of them there from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Queue {
    Classic,
    Quorum,
    /// What is rejected goes to `Dead`.
    Letters,
    /// What is too old goes to `Dead`.
    Aging,
    /// With priorities.
    Ranked,
    Dead,
    /// Not durable.
    Passing,
    /// Takes only a few messages, and refuses the rest.
    Narrow,
}

impl Queue {
    pub(crate) const ALL: [Queue; 8] = [
        Queue::Classic,
        Queue::Quorum,
        Queue::Letters,
        Queue::Aging,
        Queue::Ranked,
        Queue::Dead,
        Queue::Passing,
        Queue::Narrow,
    ];
    /// Clients publish to these.
    pub(crate) const HOMES: [Queue; 6] =
        [Queue::Classic, Queue::Quorum, Queue::Letters, Queue::Aging, Queue::Ranked, Queue::Passing];
    /// Bound to the fanout exchange.
    pub(crate) const FANNED: [Queue; 3] = [Queue::Classic, Queue::Quorum, Queue::Letters];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Queue::Classic => "classic",
            Queue::Quorum => "quorum",
            Queue::Letters => "letters",
            Queue::Aging => "aging",
            Queue::Ranked => "ranked",
            Queue::Dead => "dead",
            Queue::Passing => "passing",
            Queue::Narrow => "narrow",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Queue> {
        Queue::ALL.into_iter().find(|queue| queue.name() == name)
    }

    /// Keeps a message over a crash?
    pub(crate) fn keeps(self, persistent: bool) -> bool {
        match self {
            Queue::Classic | Queue::Letters | Queue::Aging | Queue::Ranked | Queue::Dead | Queue::Narrow => {
                persistent
            }
            Queue::Quorum => true,
            Queue::Passing => false,
        }
    }
}

/// How old a message of `Aging` gets.
pub(crate) const AGE_MS: u64 = 400;
/// Messages that `Narrow` takes.
pub(crate) const WIDTH: i32 = 3;
/// Priorities of `Ranked`.
pub(crate) const RANKS: u32 = 4;

/// One message in one queue: the `number`th of a source, which publishes in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Copy {
    pub(crate) queue: Queue,
    pub(crate) source: u32,
    pub(crate) number: u32,
}

impl Copy {
    /// A body that says which copy it is; in a fanout its queue is not in it.
    pub(crate) fn body(self, fanned: bool, padding: usize) -> Vec<u8> {
        let queue = if fanned { "fan" } else { self.queue.name() };
        let mut body = format!("{}.{}.{queue}.", self.source, self.number).into_bytes();
        body.resize(body.len() + padding, b'x');
        body
    }

    /// The copy whose body was found in a queue.
    pub(crate) fn found(body: &[u8], queue: Queue) -> Copy {
        let text = String::from_utf8_lossy(body);
        let mut parts = text.split('.');
        let mut number =
            || parts.next().and_then(|part| part.parse().ok()).expect("a body begins with its numbers");
        let (source, number) = (number(), number());
        let home = parts.next().and_then(Queue::named);
        let queue = if queue == Queue::Dead { home.unwrap_or(Queue::Letters) } else { queue };
        Copy { queue, source, number }
    }

    /// It comes when its time has come.
    pub(crate) fn is_delayed(self) -> bool {
        self.source % 4 == 3 && self.source < crate::resp::SOURCE
    }

    pub(crate) fn rank(self) -> u8 {
        (self.number * 7 % RANKS) as u8
    }
}

/// How certain something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    /// It was said.
    Said,
    /// The server has done it, and the kernel has it.
    Done,
    /// The disk has it.
    Synced,
}

/// A step of a connection: its number, and how many steps were before.
pub(crate) type Step = (u32, u64);

#[derive(Debug, Clone, Copy)]
struct Settled {
    by: Step,
    certainty: Certainty,
    /// To `Dead`.
    is_letter: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    /// It survives a crash.
    is_kept: bool,
    certainty: Certainty,
    holder: Option<u32>,
    settled: Option<Settled>,
    /// It has gone to `Dead`.
    dead: Option<Settled>,
    since_ms: u64,
    /// It is on its way to its queue.
    delay: Option<Delay>,
}

#[derive(Debug, Clone, Copy)]
struct Delay {
    ms: u64,
    /// By then it must have arrived.
    until_ms: Option<u64>,
}

/// What one commit does to queues: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) published: Vec<Copy>,
    pub(crate) settled: Vec<Copy>,
    pub(crate) by: Step,
}

/// How the server went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The disk forgets what was not synced.
    Power,
    /// The kernel has everything that was written.
    Killed,
    /// Everything was synced.
    Stopped,
}

impl Crash {
    /// What is as certain as this is still there.
    pub(crate) fn spares(self) -> Certainty {
        match self {
            Crash::Power => Certainty::Synced,
            Crash::Killed | Crash::Stopped => Certainty::Done,
        }
    }
}

/// The book.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<Copy, Entry>,
    gone: BTreeSet<Copy>,
    groups: Vec<Group>,
    /// Connections that may still say something to the server.
    pub(crate) alive: BTreeSet<u32>,
    last_connection: u32,
}

impl Ledger {
    /// How many copies may be somewhere.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A new connection's number.
    pub(crate) fn connect(&mut self) -> u32 {
        self.last_connection += 1;
        self.alive.insert(self.last_connection);
        self.last_connection
    }

    pub(crate) fn publish(&mut self, copy: Copy, persistent: bool, now_ms: u64) {
        let entry = Entry {
            is_kept: copy.queue.keeps(persistent),
            certainty: Certainty::Said,
            holder: None,
            settled: None,
            dead: None,
            since_ms: now_ms,
            delay: None,
        };
        assert!(self.entries.insert(copy, entry).is_none(), "{copy:?} is published once");
    }

    /// It will be in its queue after a while.
    pub(crate) fn delay(&mut self, copy: Copy, ms: u64) {
        if let Some(entry) = self.entries.get_mut(&copy) {
            entry.delay = Some(Delay { ms, until_ms: None });
        }
    }

    pub(crate) fn group(&mut self, group: Group) {
        if group.published.len() + group.settled.len() > 1 {
            self.groups.push(group);
        }
    }

    /// The server has it.
    pub(crate) fn published(&mut self, copy: Copy, certainty: Certainty) {
        if let Some(entry) = self.entries.get_mut(&copy) {
            entry.certainty = entry.certainty.max(certainty);
        }
    }

    /// It does not have it and never will; what is as certain as `spared` was there.
    pub(crate) fn never(&mut self, copy: Copy, spared: Certainty) {
        if let Some(entry) = self.entries.remove(&copy) {
            assert!(entry.certainty < spared, "{copy:?} was there and was never published: {entry:?}");
        }
        self.gone.insert(copy);
    }

    /// A client gets it from a queue.
    pub(crate) fn delivered(
        &mut self,
        copy: Copy,
        from: Queue,
        holder: u32,
        now_ms: u64,
        certainty: Certainty,
    ) {
        assert!(!self.gone.contains(&copy), "{copy:?} was settled for good and is delivered from {from:?}");
        let Some(entry) = self.entries.get_mut(&copy) else {
            panic!("{copy:?} was never published and is delivered from {from:?}");
        };
        if let Some(delay) = entry.delay.take() {
            let is_early = now_ms < entry.since_ms + delay.ms;
            assert!(!is_early, "{copy:?} is delivered from {from:?} before its time: {entry:?}");
        }
        if let Some(other) = entry.holder
            && self.alive.contains(&other)
        {
            panic!("{copy:?} is delivered to {holder} and held by {other}: {entry:?}");
        }
        if from == Queue::Dead && copy.queue != Queue::Dead && entry.dead.is_none() {
            let is_old = copy.queue == Queue::Aging && now_ms >= entry.since_ms + AGE_MS;
            entry.dead = entry.settled.take_if(|settled| settled.is_letter);
            let by = entry.dead.map_or((0, 0), |dead| dead.by);
            assert!(
                entry.dead.is_some() || is_old,
                "{copy:?} is delivered from {from:?}, and why? {entry:?}"
            );
            entry.dead = Some(Settled { by, certainty, is_letter: true });
        } else if from != Queue::Dead {
            assert!(entry.dead.is_none(), "{copy:?} is delivered from {from:?} and was dead: {entry:?}");
        }
        if let Some(settled) = entry.settled {
            let may_be_late = settled.certainty == Certainty::Said && !self.alive.contains(&settled.by.0);
            assert!(may_be_late, "{copy:?} was settled and is delivered from {from:?}: {entry:?}");
        }
        entry.settled = None;
        entry.certainty = entry.certainty.max(certainty);
        entry.holder = Some(holder);
    }

    /// It goes back to its queue.
    pub(crate) fn released(&mut self, copy: Copy) {
        if let Some(entry) = self.entries.get_mut(&copy) {
            entry.holder = None;
        }
    }

    /// A client says that it may go, or may go to `Dead`.
    pub(crate) fn settle(&mut self, copy: Copy, by: Step, is_letter: bool) {
        if let Some(entry) = self.entries.get_mut(&copy) {
            entry.holder = None;
            entry.settled = Some(Settled { by, certainty: Certainty::Said, is_letter });
        }
    }

    /// Does it survive a crash?
    pub(crate) fn is_kept(&self, copy: Copy) -> bool {
        self.entries.get(&copy).is_some_and(|entry| entry.is_kept)
    }

    /// A connection was told something from which it follows that its step was done.
    pub(crate) fn settled(&mut self, copy: Copy, by: Step, certainty: Certainty) {
        let Some(entry) = self.entries.get_mut(&copy) else { return };
        if let Some(dead) = &mut entry.dead
            && dead.by == by
        {
            dead.certainty = dead.certainty.max(certainty);
        }
        let Some(settled) = &mut entry.settled else { return };
        if settled.by != by {
            return;
        }
        settled.certainty = settled.certainty.max(certainty);
        if settled.is_letter {
            return;
        }
        // A message that no crash survives is gone as soon as it is done with.
        if certainty == Certainty::Synced || !entry.is_kept {
            self.entries.remove(&copy);
            self.gone.insert(copy);
        }
    }

    /// A group whose commit was answered is whole.
    pub(crate) fn forget_groups(&mut self, by: Step) {
        self.groups.retain(|group| group.by.0 != by.0 || group.by.1 > by.1);
    }

    /// Compares the book with what is in the queues after a crash, and closes it.
    pub(crate) fn verify(&mut self, found: &BTreeMap<Queue, Vec<Copy>>, crash: Crash, now_ms: u64) {
        let mut places: BTreeMap<Copy, Queue> = BTreeMap::new();
        for (&queue, copies) in found {
            for &copy in copies {
                if let Some(other) = places.insert(copy, queue) {
                    panic!("{copy:?} is twice there after {crash:?}: in {other:?} and in {queue:?}");
                }
            }
            in_order(queue, copies);
        }
        for group in &self.groups {
            self.whole(group, &places, crash);
        }
        self.groups.clear();
        let spared = crash.spares();
        for (&copy, &place) in &places {
            assert!(!self.gone.contains(&copy), "{copy:?} is back in {place:?} after {crash:?}");
            let Some(entry) = self.entries.get_mut(&copy) else {
                panic!("{copy:?} was never published and is in {place:?} after {crash:?}");
            };
            assert!(
                entry.is_kept,
                "{copy:?} is not to be kept and is in {place:?} after {crash:?}: {entry:?}"
            );
            let is_letter = place == Queue::Dead && copy.queue != Queue::Dead;
            if let Some(settled) = entry.settled
                && settled.certainty >= spared
                && !(settled.is_letter && is_letter)
            {
                panic!("{copy:?} was settled and is in {place:?} after {crash:?}: {entry:?}");
            }
            if let Some(dead) = entry.dead
                && dead.certainty >= spared
                && !is_letter
            {
                panic!("{copy:?} was dead and is in {place:?} after {crash:?}: {entry:?}");
            }
            if is_letter {
                let is_old = copy.queue == Queue::Aging && now_ms >= entry.since_ms + AGE_MS;
                let was_rejected = entry.settled.is_some_and(|settled| settled.is_letter);
                assert!(
                    is_old || was_rejected || entry.dead.is_some(),
                    "{copy:?} is dead after {crash:?}, and why? {entry:?}"
                );
            }
            if let Some(delay) = entry.delay.take() {
                let is_early = now_ms < entry.since_ms + delay.ms;
                assert!(!is_early, "{copy:?} is in {place:?} before its time after {crash:?}: {entry:?}");
            }
            entry.certainty = Certainty::Synced;
            (entry.settled, entry.holder) = (None, None);
            let dead = Settled { by: (0, 0), certainty: Certainty::Synced, is_letter: true };
            entry.dead = is_letter.then_some(dead);
        }
        let Self { entries, gone, .. } = self;
        entries.retain(|copy, entry| {
            if places.contains_key(copy) {
                return true;
            }
            if let Some(Delay { ms, until_ms }) = &mut entry.delay
                && now_ms <= *until_ms.get_or_insert(now_ms + *ms)
                && entry.is_kept
            {
                // It may be on its way; if it was not certain to be there before, it is not now.
                let is_there = entry.certainty >= spared;
                entry.certainty = if is_there { Certainty::Synced } else { Certainty::Said };
                return true;
            }
            let may_be_settled = entry.settled.is_some_and(|settled| !settled.is_letter);
            assert!(
                !entry.is_kept || entry.certainty < spared || may_be_settled,
                "{copy:?} is lost after {crash:?}: {entry:?}"
            );
            gone.insert(*copy);
            false
        });
        self.alive.clear();
    }

    /// Is it there by half?
    fn whole(&self, group: &Group, places: &BTreeMap<Copy, Queue>, crash: Crash) {
        let mut seen: Vec<(Copy, bool)> = Vec::new();
        for copy in &group.published {
            let Some(entry) = self.entries.get(copy) else { continue };
            if places.contains_key(copy) {
                seen.push((*copy, true));
            } else if entry.is_kept && entry.settled.is_none() {
                seen.push((*copy, false));
            }
        }
        for copy in &group.settled {
            let Some(entry) = self.entries.get(copy) else { continue };
            let was_there = entry.is_kept && entry.certainty >= crash.spares();
            let is_its = entry.settled.is_some_and(|settled| settled.by == group.by && !settled.is_letter);
            if was_there && is_its {
                seen.push((*copy, !places.contains_key(copy)));
            }
        }
        if let Some((copy, done)) = seen.first()
            && let Some((other, _)) = seen.iter().find(|(_, other)| other != done)
        {
            panic!("after {crash:?} a commit is there by half: {copy:?} and {other:?} of {group:?}");
        }
    }
}

/// Messages of one source stand in a queue as they were published.
fn in_order(queue: Queue, copies: &[Copy]) {
    let mut last: BTreeMap<(u32, u8), u32> = BTreeMap::new();
    let mut last_rank = u8::MAX;
    for copy in copies.iter().filter(|copy| !copy.is_delayed()) {
        let rank = match queue {
            Queue::Dead => return,
            Queue::Ranked => copy.rank(),
            Queue::Classic
            | Queue::Quorum
            | Queue::Letters
            | Queue::Aging
            | Queue::Passing
            | Queue::Narrow => 0,
        };
        assert!(rank <= last_rank, "{copy:?} stands behind less important ones in {copies:?}");
        last_rank = rank;
        if let Some(before) = last.insert((copy.source, rank), copy.number) {
            assert!(before < copy.number, "{copy:?} stands behind number {before} in {queue:?}: {copies:?}");
        }
    }
}
