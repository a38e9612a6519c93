//! The state, and what it means to commit: everything between `begin` and `end` is one record, one position, seen by
//! recovery as a whole or not at all. The trap: whoever begins must end, and nothing may answer in between.

use crate::accounts::{Accounts, DEFAULT_USER, Errand};
use crate::clients::Pause;
use crate::libraries::Libraries;
use crate::parameters::Parameters;
use crate::pubsub::PubSub;
use crate::session::{Card, Session, SessionId};
use crate::tracking::Trackers;
use crate::waiters::Waiters;
use hashbrown::HashMap;
use leveret_base::Garbage;
use leveret_base::codec::{Changes, Place};
use leveret_broker::{Broker, Message};
use leveret_keyspace::{Args, Block, DbIndex, Error, Evicted, Keyspace, Reply, Run, Txn, UnixMillis, View};
use leveret_wal::{CheckpointHead, Head, Tail};

/// A commit's number; 0 is before the first.
pub type Position = u64;

/// The record kind of a commit of changes.
pub(crate) const KIND_COMMIT: u8 = 1;

/// Everything a server knows.
pub struct Engine {
    /// Redis' data.
    pub keyspace: Keyspace,
    /// RabbitMQ's data.
    pub broker: Broker,
    /// Who may do what.
    pub accounts: Accounts,
    /// Settings that are data.
    pub parameters: Parameters,
    /// Functions that clients have loaded.
    pub libraries: Libraries,
    /// What is to be found out by somebody who does not hold the engine.
    pub(crate) errands: Vec<(SessionId, Errand)>,
    pub(crate) sessions: HashMap<SessionId, Session, foldhash::fast::FixedState>,
    pub(crate) pubsub: PubSub,
    pub(crate) waiters: Waiters,
    /// What is held back, and until when. (Redis: CLIENT PAUSE)
    pub(crate) pause: Option<(Pause, UnixMillis)>,
    pub(crate) trackers: Trackers,
    pub(crate) monitors: Vec<SessionId>,
    /// Overdue keys stay until somebody asks for them. (Redis: DEBUG SET-ACTIVE-EXPIRE)
    pub keeps_overdue: bool,
    /// Nothing can be recorded for now: overdue keys stay, too, for what is changed in between is held in memory.
    pub has_no_space: bool,
    /// When the next slice of overdue keys is due.
    expiry_due_ms: UnixMillis,
    /// The session whose commands are being executed.
    pub actor: Option<SessionId>,
    /// Records that nobody has handed to the log yet.
    pub(crate) tail: Tail,
    position: Position,
    now_ms: UnixMillis,
    depth: u32,
    /// Where the changes of the open commit begin.
    mark: usize,
    rng: fastrand::Rng,
    /// Which start of the server this is: tokens of another one are worth nothing.
    pub(crate) boot: u64,
    pub(crate) last_session: SessionId,
    /// Keys on their way to other servers, by the number that watches them: was it changed meanwhile?
    pub(crate) travelling: HashMap<SessionId, bool, foldhash::fast::FixedState>,
    /// Sessions that have got something, by I/O thread.
    pub(crate) dirty: Vec<Vec<SessionId>>,
    /// Commands executed since the start.
    pub commands_count: u64,
    /// How often a subscriber has heard a message of an exchange.
    pub(crate) heard_count: u64,
    /// The commit whose changes were published last, and how many of them.
    pub(crate) captured: (Position, i64),
    /// How many records replay has applied.
    pub replayed_count: u64,
    pub(crate) checkpointing: bool,
}

impl Engine {
    /// An empty engine serving sessions of `threads` I/O threads.
    pub fn new(seed: u64, threads: usize) -> Self {
        Self {
            keyspace: Keyspace::new(seed),
            broker: Broker::new(seed),
            accounts: Accounts::default(),
            parameters: Parameters::default(),
            libraries: Libraries::default(),
            errands: Vec::new(),
            sessions: HashMap::default(),
            pubsub: PubSub::default(),
            waiters: Waiters::default(),
            pause: None,
            trackers: Trackers::default(),
            monitors: Vec::new(),
            keeps_overdue: false,
            has_no_space: false,
            expiry_due_ms: 0,
            actor: None,
            tail: Tail::default(),
            position: 0,
            now_ms: 0,
            depth: 0,
            mark: 0,
            rng: fastrand::Rng::with_seed(seed),
            boot: fastrand::Rng::with_seed(seed ^ BOOT).u64(..),
            last_session: 0,
            travelling: HashMap::default(),
            dirty: vec![Vec::new(); threads],
            commands_count: 0,
            heard_count: 0,
            captured: (0, 0),
            replayed_count: 0,
            checkpointing: false,
        }
    }

    /// Time goes on, never back.
    pub fn enter(&mut self, now_ms: UnixMillis) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// The time of this turn.
    pub fn now_ms(&self) -> UnixMillis {
        self.now_ms
    }

    /// What was removed and takes long to free: to be dropped by somebody who does not hold the engine.
    pub fn take_garbage(&mut self) -> Option<Garbage> {
        let mut garbage = std::mem::take(&mut self.keyspace.garbage);
        garbage.append(&mut self.broker.garbage);
        (!garbage.is_empty()).then_some(garbage)
    }

    /// True when something was removed that is not freed yet.
    pub fn has_garbage(&self) -> bool {
        !self.keyspace.garbage.is_empty()
    }

    /// Memory is short: removes the key that the policy likes least, in a commit of its own.
    pub fn evict(&mut self) -> Evicted {
        // It is nobody's command.
        let actor = self.actor.take();
        self.begin();
        let changes = Changes::on(self.tail.changes());
        let evicted = Txn::new(&mut self.keyspace, 0, self.now_ms, changes).evict();
        self.end();
        self.actor = actor;
        evicted
    }

    /// The last commit.
    pub fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn set_replayed(&mut self, position: Position, time_ms: UnixMillis) {
        self.position = position;
        self.now_ms = self.now_ms.max(time_ms);
        self.replayed_count += 1;
    }

    pub(crate) fn set_restored(&mut self, head: CheckpointHead) {
        self.position = head.position;
        self.now_ms = self.now_ms.max(head.time_ms);
    }

    /// True unless a commit is open.
    pub(crate) fn is_between_commits(&self) -> bool {
        self.depth == 0
    }

    /// Swaps the pending records for an empty tail: what the log writes next.
    pub fn take_tail(&mut self, empty: &mut Tail) {
        std::mem::swap(&mut self.tail, empty);
    }

    /// Likewise while a commit is open, which stays.
    pub fn take_committed(&mut self, empty: &mut Tail) {
        let before = self.tail.changes().len();
        self.tail.take_committed(empty);
        self.mark -= before - self.tail.changes().len();
    }

    /// Bytes of records that nobody has handed to the log yet.
    pub fn pending_bytes(&self) -> usize {
        self.tail.len_bytes()
    }

    /// Bytes of the changes of the open commit.
    pub fn commit_bytes(&mut self) -> usize {
        self.tail.changes().len() - self.mark
    }

    /// Where changes of the open commit are recorded.
    pub(crate) fn changes(&mut self) -> &mut Vec<u8> {
        self.tail.changes()
    }

    /// Opens a commit. Commits nest: `MULTI` opens one around its commands'.
    pub fn begin(&mut self) {
        if self.depth == 0 {
            self.tail.begin();
            self.mark = self.tail.changes().len();
        }
        self.depth += 1;
    }

    /// Closes the commit: if anything was changed it gets the next position. Then whoever waited for it is served,
    /// each in a commit of its own.
    pub fn end(&mut self) {
        if self.keyspace.watches.has_captured() {
            self.publish_captured();
        }
        self.depth -= 1;
        if self.depth > 0 {
            return;
        }
        if self.tail.changes().len() > self.mark {
            self.position += 1;
            self.tail.commit(Head {
                kind: KIND_COMMIT,
                partition: 0,
                term: 0,
                position: self.position,
                time_ms: self.now_ms,
            });
        } else {
            self.tail.abort();
        }
        self.after_commit();
    }

    fn after_commit(&mut self) {
        self.follow_bindings();
        if !self.keyspace.watches.aborted.is_empty() {
            let Self { keyspace, sessions, travelling, .. } = self;
            for id in keyspace.watches.aborted.drain(..) {
                if let Some(session) = sessions.get_mut(&id) {
                    session.aborted = true;
                } else if let Some(changed) = travelling.get_mut(&id) {
                    *changed = true;
                }
            }
        }
        if !self.broker.events.is_empty() {
            self.route_events();
        }
        if self.keyspace.watches.has_happened() {
            self.tell_happened();
        }
        if !self.keyspace.watches.ready.is_empty() || !self.broker.filled.is_empty() {
            self.serve_waiters();
        }
    }

    fn route_events(&mut self) {
        let mut events = std::mem::take(&mut self.broker.events);
        for (id, event) in events.drain(..) {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.events.push(event);
                session.mark_dirty(id, &mut self.dirty);
            }
        }
        self.broker.events = events;
    }

    /// Runs one command of the keyspace. Outside `begin`/`end` a write is a commit of its own. What it wants to wait
    /// for comes back; its reply then is the answer after the timeout.
    #[inline]
    pub fn run(&mut self, run: Run, db: DbIndex, args: Args<'_>, reply: &mut Reply<'_>) -> Option<Block> {
        self.commands_count += 1;
        let mark = reply.mark();
        let (result, block) = match run {
            Run::Read(read) => (self.on_view(db, |view| read(view, args, reply)), None),
            Run::Wait(wait) => match self.on_view(db, |view| wait(view, args, reply)) {
                Ok(block) => (Ok(()), block),
                Err(error) => (Err(error), None),
            },
            Run::Write(write) => {
                self.begin();
                let mut txn = Txn::new(&mut self.keyspace, db, self.now_ms, Changes::on(self.tail.changes()));
                let result = write(&mut txn, args, reply);
                let block = txn.take_block();
                self.end();
                (result, block)
            }
        };
        if let Err(error) = result {
            refuse(reply, mark, &error);
        }
        block
    }

    #[inline]
    pub(crate) fn on_view<T>(&mut self, db: DbIndex, read: impl FnOnce(&View<'_>) -> T) -> T {
        let seed = self.commands_count ^ self.now_ms.rotate_left(32);
        let result = read(&View::new(&self.keyspace, db, self.now_ms, seed));
        if self.keyspace.has_overdue() {
            self.expire_read();
        }
        if self.depth == 0 && self.keyspace.watches.has_happened() {
            self.tell_happened();
        }
        result
    }

    /// One commit on the broker.
    pub fn on_broker<T>(&mut self, run: impl FnOnce(&mut leveret_broker::Txn<'_>) -> T) -> T {
        self.begin();
        let changes = Changes::of_commit(self.tail.changes(), self.position + 1, self.mark);
        let mut txn = leveret_broker::Txn::new(&mut self.broker, self.now_ms, changes);
        let result = run(&mut txn);
        txn.finish();
        if self.broker.has_for_others() {
            self.tell_subscribers();
            self.keep_replies();
        }
        self.end();
        result
    }

    /// What time brings: timeouts of waiters, expired keys and messages. Bounded; true when there is more to do now.
    pub fn tick(&mut self) -> bool {
        self.time_out_waiters();
        if self.pause_end().is_some_and(|end| end <= self.now_ms) {
            self.unpause();
        }
        // Keys do not go by themselves while writes are held back.
        let expired = if !self.may_expire() || self.keeps_overdue { 0 } else { self.expire_keys() };
        self.on_broker(|txn| txn.tick());
        expired > EXPIRE_VISITS / 10
    }

    /// Removes the overdue keys that were read.
    #[cold]
    fn expire_read(&mut self) {
        if !self.may_expire() {
            return self.keyspace.forget_overdue();
        }
        self.begin();
        Txn::new(&mut self.keyspace, 0, self.now_ms, Changes::on(self.tail.changes())).expire_read();
        self.end();
    }

    fn may_expire(&self) -> bool {
        !self.is_paused() && !self.has_no_space
    }

    fn expire_keys(&mut self) -> usize {
        self.begin();
        let mut txn = Txn::new(&mut self.keyspace, 0, self.now_ms, Changes::on(self.tail.changes()));
        let expired = txn.expire_slice(EXPIRE_VISITS);
        self.end();
        // Not counted from the last turn: a server that has no rest must not put it off.
        self.expiry_due_ms = self.now_ms + EXPIRE_PERIOD_MS;
        expired
    }

    /// When `tick` is due next.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        let with_deadlines = (0..leveret_keyspace::DATABASES).any(|db| self.keyspace.with_deadline(db) > 0);
        let expiry = with_deadlines.then_some(self.expiry_due_ms);
        let fields = self.keyspace.next_field_deadline();
        let keys =
            expiry.into_iter().chain(fields).min().filter(|_| self.may_expire() && !self.keeps_overdue);
        [keys, self.pause_end(), self.waiters.next_deadline(), self.broker.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A number equal for equal durable states.
    pub fn digest(&self) -> u64 {
        self.digest_with(&mut |_| None)
    }

    /// Likewise; `read` gives messages that only the log has.
    pub fn digest_with(&self, read: &mut dyn FnMut(Place) -> Option<Message>) -> u64 {
        self.keyspace.digest()
            ^ self.broker.digest_with(read).rotate_left(1)
            ^ self.accounts.digest().rotate_left(2)
            ^ self.parameters.digest().rotate_left(3)
            ^ self.libraries.digest().rotate_left(4)
    }

    /// A new session of an I/O thread. Its number is never used again.
    pub fn open_session(&mut self, thread: usize) -> SessionId {
        self.last_session += 1;
        self.sessions.insert(self.last_session, Session::new(thread));
        self.last_session
    }

    /// Likewise, of a Redis client.
    pub fn open_client(&mut self, thread: usize, card: Card) -> SessionId {
        let id = self.open_session(thread);
        let user = if card.user.is_empty() { DEFAULT_USER.into() } else { card.user };
        let card = Card { user, ..card };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.card = Some(Box::new(card));
        }
        id
    }

    /// Gives back everything the session holds: messages, consumers, waits, watches, subscriptions.
    pub fn close_session(&mut self, id: SessionId) {
        self.stop_waiting(id);
        self.unwatch(id);
        self.unsubscribe_all(id);
        self.stop_tracking(id);
        self.stop_monitoring(id);
        self.sessions.remove(&id);
        self.on_broker(|txn| txn.session_closed(id));
    }

    /// The session, while it is open.
    pub fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    /// Likewise, only to look at.
    pub fn session_seen(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// How many sessions there are.
    pub fn sessions_count(&self) -> usize {
        self.sessions.len()
    }

    /// The sessions of a thread that have got something since the last call.
    pub fn take_dirty(&mut self, thread: usize, into: &mut Vec<SessionId>) {
        if let Some(dirty) = self.dirty.get_mut(thread) {
            into.append(dirty);
        }
    }

    /// True when sessions of the thread may have got something since then.
    #[inline]
    pub fn is_dirty(&self, thread: usize) -> bool {
        self.dirty.get(thread).is_none_or(|dirty| !dirty.is_empty())
    }

    /// Threads, other than `me`, that have sessions to serve.
    pub fn threads_to_wake(&self, me: usize) -> impl Iterator<Item = usize> {
        self.dirty
            .iter()
            .enumerate()
            .filter(move |(thread, dirty)| *thread != me && !dirty.is_empty())
            .map(|(thread, _)| thread)
    }

    /// `WATCH`. (Redis: WATCH)
    pub fn watch(&mut self, id: SessionId, db: DbIndex, key: &[u8]) {
        let expired = !self.keyspace.is_live(db, key, self.now_ms);
        self.keyspace.watches.watch(db, key, id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.watched.push((db, key.into(), expired));
        }
    }

    /// `UNWATCH`; true when a watched key had been touched or has expired since.
    pub fn unwatch(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let mut aborted = std::mem::take(&mut session.aborted);
        for (db, key, was_absent) in session.watched.drain(..) {
            aborted |= !was_absent && !self.keyspace.is_live(db, &key, self.now_ms);
            self.keyspace.watches.unwatch(db, &key, id);
        }
        aborted
    }

    /// A random number for names and nonces, never for state.
    pub fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }
}

/// Keys visited by one slice of the active expiry.
const EXPIRE_VISITS: usize = 400;
const EXPIRE_PERIOD_MS: u64 = 1000 / EXPIRY_HZ;
/// How often in a second overdue keys are looked for. (Redis: `hz`)
pub const EXPIRY_HZ: u64 = 10;

/// So that the number of a start says nothing about the seeds of tables.
const BOOT: u64 = 0x6c65_7665_7265_7421;

/// Replaces what the command has written by its refusal.
#[cold]
pub(crate) fn refuse(reply: &mut Reply<'_>, mark: usize, error: &Error) {
    reply.truncate(mark);
    reply.error(&error.to_string());
}
