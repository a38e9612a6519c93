//! The state: vhosts, exchanges, queues, and what must reach sessions. Numbers of vhosts, exchanges and queues are
//! assigned by changes and never used twice.

use crate::body::Away;
use crate::built_in::Bound;
use crate::checkpoint::Checkpoint;
use crate::death::Dead;
use crate::entries::{Memory, NEVER_READ};
use crate::exchange::{Destination, Exchange, History};
use crate::policy::{Policy, PolicyKey};
use crate::queue::Queue;
use crate::reply_key::{KeptReply, Secret};
use crate::spill::Spill;
use crate::txn::{Delayed, Replies, Returning, Txn};
use crate::{Message, UnixMillis};
use leveret_base::codec::{Changes, Place};
use leveret_base::{Garbage, Sorted};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A session, as the engine numbers it.
pub type SessionId = u64;

/// The number of a vhost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VhostId(pub u32);

/// The number of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u32);

/// The number of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// What must reach a session's client, in order.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of basic.deliver and basic.cancel")]
pub enum Event {
    /// A message for a consumer.
    Deliver {
        channel: u16,
        consumer_tag: Arc<[u8]>,
        queue: QueueId,
        seq: u64,
        redelivered: bool,
        no_ack: bool,
        /// Where it is in a stream, which the message does not say itself.
        stream_offset: Option<u64>,
        message: Arc<Message>,
    },
    /// The consumer's queue is gone, or it held a message for too long. (RabbitMQ: consumer cancel notification)
    Cancel { channel: u16, consumer_tag: Arc<[u8]> },
    /// Messages that it held are not its own any more.
    Released { channel: u16, queue: QueueId, seqs: Vec<u64> },
    /// It held a message for too long and is closed. (RabbitMQ: consumer timeout)
    TimedOut { channel: u16, timeout_ms: u64 },
    /// What it wanted to get and was not in memory has been read.
    Fetched,
}

/// What is said of a vhost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VhostAbout {
    /// For people.
    pub description: String,
    /// For people and tools.
    pub tags: Vec<String>,
    /// The type of queues whose declaration names none; empty is classic. (RabbitMQ: default queue type)
    pub default_queue_type: String,
    /// It cannot be deleted. (RabbitMQ: deletion protection)
    pub protected: bool,
}

/// Messages of a queue that must be read, as they are wanted in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose they are.
    pub queue: QueueId,
    /// Numbers of entries, in order, and where their messages lie.
    pub messages: Vec<(u64, Place)>,
}

/// What is counted of all queues together, for whoever wants to know without the engine.
#[derive(Debug, Default)]
pub struct InMemory {
    pub(crate) bytes: AtomicU64,
    pub(crate) left: AtomicU64,
}

impl InMemory {
    /// Bytes of messages that are in memory, but for a little of each queue.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many messages that only the log had have left their queues or come into memory.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

pub(crate) struct Vhost {
    pub(crate) name: Box<[u8]>,
    pub(crate) about: VhostAbout,
    pub(crate) exchanges: Map<Box<[u8]>, ExchangeId>,
    pub(crate) queues: Map<Box<[u8]>, QueueId>,
}

/// A channel that consumes, holds or limits something.
#[derive(Default)]
pub(crate) struct Channel {
    /// The limit of the whole channel; 0 is none. (RabbitMQ: basic.qos global)
    pub(crate) prefetch: u16,
    pub(crate) unacked_count: usize,
    /// Its consumers.
    pub(crate) consumers: Map<Arc<[u8]>, QueueId>,
    /// Who gets what is sent to its address.
    pub(crate) replies: Option<Box<Replies>>,
    /// Which entries of which queue it holds.
    pub(crate) holds: Vec<(QueueId, Seqs)>,
}

impl Channel {
    pub(crate) fn has_credit(&self) -> bool {
        self.prefetch == 0 || self.unacked_count < self.prefetch as usize
    }
}

/// Numbers of entries.
pub(crate) type Seqs = Sorted<u64>;

/// So much may be under way to a session's consumers before they are served again: a client that does not read costs this
/// and one message.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// What a session has beside its channels, and what goes with it.
#[derive(Default)]
pub(crate) struct Owned {
    pub(crate) channels: Vec<u16>,
    pub(crate) queues: Vec<QueueId>,
    /// Bytes that were put out for its consumers and have not left, as far as is known.
    pub(crate) window_bytes: usize,
}

/// RabbitMQ's data.
pub struct Broker {
    pub(crate) vhosts: BTreeMap<VhostId, Vhost>,
    pub(crate) next_vhost: u32,
    pub(crate) policies: BTreeMap<PolicyKey, Policy>,
    pub(crate) exchanges: Map<ExchangeId, Exchange>,
    pub(crate) queues: Map<QueueId, Queue>,
    pub(crate) next_exchange: u32,
    pub(crate) next_queue: u32,
    /// For each session what must reach its client; the engine drains it after every commit.
    pub events: Vec<(SessionId, Event)>,
    /// Queues that have messages for somebody who waits for them, or are gone; the engine drains it after every commit.
    pub filled: Vec<QueueId>,
    pub(crate) channels: Map<(SessionId, u16), Channel>,
    pub(crate) owned: Map<SessionId, Owned>,
    pub(crate) last_consumer: u64,
    /// What was removed and takes long to free.
    pub garbage: Garbage,
    /// When each queue has something due.
    pub(crate) due: BTreeSet<(UnixMillis, QueueId)>,
    /// What channels that are gone held, on its way back.
    pub(crate) returning: VecDeque<Returning>,
    /// Queues that hold more than they may.
    pub(crate) crowded: Vec<QueueId>,
    /// Streams whose consumers have not seen everything yet, because they want little of it.
    pub(crate) searched: BTreeSet<QueueId>,
    /// What has left its queue for the dead letter exchange in this commit, and goes there before it ends.
    pub(crate) dead: VecDeque<Dead>,
    /// Somebody has had the letter that is being delivered.
    pub(crate) delivers_again: bool,
    /// What waits in exchanges.
    pub(crate) delayed: Sorted<Delayed>,
    pub(crate) next_delayed: u64,
    /// Bytes of those in memory.
    pub(crate) delayed_memory: Memory,
    /// Numbers of those that are being read, and when they are due.
    pub(crate) delayed_asked: BTreeMap<u64, UnixMillis>,
    /// Likewise of those that could not be read, which is tried again.
    pub(crate) delayed_unread: BTreeMap<u64, UnixMillis>,
    /// When to look again whether they are there.
    pub(crate) delayed_retry: UnixMillis,
    /// Some exchange remembers what comes by, or has been there that did.
    pub(crate) remembers: bool,
    /// The exchanges where the message being routed has to wait.
    pub(crate) delaying: Vec<ExchangeId>,
    /// The exchanges that keep the message being routed for what is bound to them later.
    pub(crate) keeping: Vec<ExchangeId>,
    /// The message that the changes being replayed speak of.
    pub(crate) replaying: Option<Arc<Message>>,
    /// Likewise, if only the log has it.
    pub(crate) replaying_away: Option<Away>,
    /// Messages with numbers, while a checkpoint is read.
    pub(crate) named: Map<u64, Arc<Message>>,
    pub(crate) checkpoint: Option<Box<Checkpoint>>,
    /// Bytes of messages in queues that may be in memory; what is more, is only on disk. `None` is as many as there are.
    pub memory_bytes_max: Option<u64>,
    pub(crate) in_memory: Arc<InMemory>,
    /// Where transient messages go of which there is too much.
    pub spill: Option<Arc<Spill>>,
    /// Some messages have been let go of.
    pub(crate) has_paged: bool,
    pub(crate) wanted: Vec<Wanted>,
    /// Sessions that want to get a message of these queues, once it is read.
    pub(crate) getting: Vec<(QueueId, SessionId)>,
    /// The log keeps what is behind this position, and before it only the messages that are not in memory.
    pub(crate) in_log_after: u64,
    /// Raised whenever a checkpoint begins or was read. Several may begin at one position, and what the first one names, the second may have as
    /// a whole.
    pub(crate) generation: u32,
    /// Where the change that is being replayed lies, if it is in the log.
    pub place: Option<Place>,
    pub(crate) rng: fastrand::Rng,
    /// What the addresses of replies are made of. Random, from whoever makes the broker.
    pub secret: [u8; 32],
    /// Replies that are to be kept under keys; the engine drains it before the end of the commit.
    pub kept: Vec<KeptReply>,
    /// What the addresses of those are sealed with, once there was one.
    pub(crate) reply_secret: Option<Secret>,
    pub(crate) bound: Bound,
    /// Messages that are to be heard in Redis; the engine drains it before the end of the commit.
    pub told: Vec<Arc<Message>>,
    pub(crate) route: Vec<Destination>,
    /// Publishes that were routed through exchanges.
    pub(crate) routed: u64,
}

/// The first number for what is declared; below are the predeclared exchanges.
const FIRST_DECLARED: u32 = 64;

impl Broker {
    /// The vhost `/` with its predeclared exchanges. `seed` is for generated names only.
    pub fn new(seed: u64) -> Self {
        let in_memory = Arc::<InMemory>::default();
        let mut broker = Self {
            vhosts: BTreeMap::new(),
            next_vhost: 0,
            policies: BTreeMap::new(),
            exchanges: Map::default(),
            queues: Map::default(),
            next_exchange: 0,
            next_queue: 1,
            events: Vec::new(),
            channels: Map::default(),
            owned: Map::default(),
            last_consumer: 0,
            garbage: Garbage::default(),
            filled: Vec::new(),
            due: BTreeSet::new(),
            returning: VecDeque::new(),
            crowded: Vec::new(),
            searched: BTreeSet::new(),
            dead: VecDeque::new(),
            delivers_again: false,
            delayed: Sorted::default(),
            next_delayed: 1,
            remembers: false,
            delaying: Vec::new(),
            keeping: Vec::new(),
            replaying: None,
            replaying_away: None,
            named: Map::default(),
            checkpoint: None,
            memory_bytes_max: None,
            delayed_memory: Memory::new(&in_memory),
            delayed_asked: BTreeMap::new(),
            delayed_unread: BTreeMap::new(),
            delayed_retry: 0,
            in_memory,
            spill: None,
            has_paged: false,
            wanted: Vec::new(),
            getting: Vec::new(),
            in_log_after: 0,
            generation: NEVER_READ + 1,
            place: None,
            rng: fastrand::Rng::with_seed(seed),
            secret: [0; 32],
            kept: Vec::new(),
            reply_secret: None,
            bound: Bound::default(),
            told: Vec::new(),
            route: Vec::new(),
            routed: 0,
        };
        let about = VhostAbout { description: "Default virtual host".into(), ..VhostAbout::default() };
        Txn::new(&mut broker, 0, Changes::off()).put_vhost(VhostId(0), b"/", ExchangeId(0), &about);
        broker.next_exchange = FIRST_DECLARED;
        broker
    }

    /// The vhost of that name.
    pub fn vhost(&self, name: &[u8]) -> Option<VhostId> {
        self.vhosts.iter().find(|(_, vhost)| &*vhost.name == name).map(|(id, _)| *id)
    }

    /// The name of a vhost; empty when it is gone.
    pub fn vhost_name(&self, vhost: VhostId) -> &[u8] {
        self.vhosts.get(&vhost).map_or(&[], |vhost| &vhost.name)
    }

    /// Whether there is a topic exchange of that name.
    pub fn is_topic_exchange(&self, vhost: VhostId, name: &[u8]) -> bool {
        let id = self.vhosts.get(&vhost).and_then(|vhost| vhost.exchanges.get(name));
        id.and_then(|id| self.exchanges.get(id)).is_some_and(|exchange| exchange.kind.name() == "topic")
    }

    /// True when something has come that belongs to the other side: what is heard there, or is kept under keys.
    #[inline]
    pub fn has_for_others(&self) -> bool {
        !self.told.is_empty() || !self.kept.is_empty()
    }

    /// Whether there is an exchange of that name.
    pub fn has_exchange(&self, vhost: VhostId, name: &[u8]) -> bool {
        self.vhosts.get(&vhost).is_some_and(|vhost| vhost.exchanges.contains_key(name))
    }

    /// Whether there is a queue of that name.
    pub fn has_queue(&self, vhost: VhostId, name: &[u8]) -> bool {
        self.vhosts.get(&vhost).is_some_and(|vhost| vhost.queues.contains_key(name))
    }

    /// How many queues a vhost has.
    pub fn queues_count(&self, vhost: VhostId) -> usize {
        self.vhosts.get(&vhost).map_or(0, |vhost| vhost.queues.len())
    }

    /// Whether a queue of that name is in the log, if there is one.
    pub fn is_queue_logged(&self, vhost: VhostId, name: &[u8]) -> Option<bool> {
        let id = self.vhosts.get(&vhost)?.queues.get(name)?;
        self.queues.get(id).map(Queue::is_logged)
    }

    /// Whether an exchange of that name is durable, if there is one.
    pub fn is_exchange_durable(&self, vhost: VhostId, name: &[u8]) -> Option<bool> {
        let id = self.vhosts.get(&vhost)?.exchanges.get(name)?;
        self.exchanges.get(id).map(|exchange| exchange.durable)
    }

    /// When a message or queue is due to leave.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        if !self.crowded.is_empty() || !self.returning.is_empty() || !self.searched.is_empty() {
            return Some(0);
        }
        let (due, delayed) = (self.due.first(), self.delayed.first());
        let are_read = self.delayed_asked.is_empty() && self.delayed_unread.is_empty();
        let retry = if are_read { 0 } else { self.delayed_retry };
        due.map(|(at, _)| *at).into_iter().chain(delayed.map(|first| first.due.max(retry))).min()
    }

    /// Notes when a queue has something due, after it has changed.
    pub(crate) fn note_due(&mut self, id: QueueId) {
        if let Some(at) = self.queues.get(&id).and_then(Queue::next_due) {
            self.due.insert((at, id));
        }
    }

    /// Queues, exchanges, ready messages, unacknowledged messages, consumers.
    pub fn counts(&self) -> [usize; 5] {
        let sum = |count: fn(&Queue) -> usize| self.queues.values().map(count).sum();
        [
            self.queues.len(),
            self.exchanges.len(),
            sum(|queue| queue.ready_counts().0),
            sum(Queue::unacked_count),
            sum(|queue| queue.consumers.len()),
        ]
    }

    /// After replay: what may have been delivered is marked so, and time goes on.
    pub fn after_replay(&mut self, now_ms: UnixMillis) {
        self.restored(0);
        self.place = None;
        let ids: Vec<QueueId> = self.queues.keys().copied().collect();
        for id in ids {
            if let Some(queue) = self.queues.get_mut(&id) {
                let through = queue.delivered_through;
                queue.ready.mark_redelivered(through);
                queue.expires_at = queue.meaning.expires_ms.map(|ms| now_ms + ms);
            }
            self.note_due(id);
            self.crowd(id);
        }
    }

    /// Notes a queue that holds more than it may.
    #[inline]
    pub(crate) fn crowd(&mut self, id: QueueId) {
        if self.queues.get(&id).is_some_and(Queue::is_overfull) {
            self.crowded.push(id);
        }
    }

    /// What is counted of all queues together.
    pub fn in_memory(&self) -> &Arc<InMemory> {
        &self.in_memory
    }

    #[inline]
    pub(crate) fn is_memory_full(&self) -> bool {
        self.memory_bytes_max.is_some_and(|max| self.in_memory.bytes() >= max)
    }

    /// What is to be read from the log, and then given to [`Txn::fetched`].
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// Everything that is not in memory is wanted there.
    pub fn want_everything(&mut self) {
        for (&queue, state) in &mut self.queues {
            let mut all = state.ready.wanted_at_all();
            all.extend(state.stream.iter_mut().flat_map(|stream| stream.wanted_at_all()));
            self.wanted.extend(all.into_iter().map(|messages| Wanted { queue, messages }));
        }
        self.want_delayed();
    }

    /// What an exchange keeps, if it does.
    pub(crate) fn history(&mut self, id: ExchangeId) -> Option<&mut History> {
        self.exchanges.get_mut(&id)?.history.as_deref_mut()
    }

    /// True when bindings to it belong into the log.
    pub(crate) fn is_logged(&self, destination: Destination) -> bool {
        match destination {
            Destination::Queue(id) => self.queues.get(&id).is_some_and(Queue::is_logged),
            Destination::Exchange(id) => self.exchanges.get(&id).is_some_and(|exchange| exchange.durable),
        }
    }
}
