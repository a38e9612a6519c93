//! An event loop, which one thread serves at a time (`crew.rs`). A turn: poll, read every ready socket and decode, enter the engine once for all
//! of it, hand the log's bytes to the kernel once, then write every socket once.

mod answers;
mod arrivals;
mod busy;
mod clients;
mod connections;

use crate::around::Around;
use crate::connection::{Connection, Reading, Stream};
use crate::listeners::{Listeners, Protocol};
use crate::prefetch::Window;
use crate::session::Session;
use crate::shared::{Shared, now_ms};
use connections::Connections;
use leveret_engine::{Engine, SessionId};
use mio::{Events, Poll, Registry, Token, Waker};
use parking_lot::{Mutex, MutexGuard};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const WAKER: Token = Token(usize::MAX);
/// Commands of one connection between two looks at who else wants the engine.
const BUMP_EVERY: u64 = 128;

/// How other threads reach an I/O thread.
pub(crate) struct Mailbox {
    waker: Waker,
    new: Mutex<Vec<Arrival>>,
    /// The thread has answers that wait for a sync.
    holds: AtomicBool,
    pub(crate) connections: AtomicUsize,
    /// Bytes that its largest Redis client holds, when that is watched.
    largest: AtomicUsize,
}

/// A connection on its way to its thread.
struct Arrival {
    stream: Stream,
    protocol: Protocol,
    /// Its address has decided where it goes.
    placed_by: Option<IpAddr>,
}

impl Mailbox {
    pub(crate) fn new(poll: &Poll) -> io::Result<Self> {
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok(Self {
            waker,
            new: Mutex::default(),
            holds: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
        })
    }

    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "an I/O thread cannot be woken");
        }
    }

    /// A sync has ended.
    pub(crate) fn synced(&self) {
        if self.holds.load(Ordering::Acquire) {
            self.wake();
        }
    }
}

/// Waits so long for something to do; false when that cannot be.
pub(crate) fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> bool {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => {
            tracing::error!(%error, "polling failed");
            false
        }
        Ok(()) | Err(_) => true,
    }
}

pub(crate) struct IoLoop {
    shared: Arc<Shared>,
    index: usize,
    registry: Registry,
    connections: Connections,
    by_session: HashMap<SessionId, usize>,
    /// Connections to be visited this turn.
    turn: Vec<usize>,
    /// Connections with bytes left in the socket.
    unread: Vec<usize>,
    /// Connections whose answers wait for a sync.
    holding: Vec<usize>,
    /// Listeners with connections that could not be accepted, and when to try again.
    unaccepted: Vec<usize>,
    retry_at: u64,
    closed_sessions: Vec<SessionId>,
    dirty: Vec<SessionId>,
    next_deadline: Option<u64>,
    amqp_count: usize,
    heartbeat_ms: u64,
    /// Something was short when it was looked at last.
    alarmed: bool,
}

impl IoLoop {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, poll: &Poll) -> io::Result<Self> {
        Ok(Self {
            shared,
            index,
            registry: poll.registry().try_clone()?,
            connections: Connections::default(),
            by_session: HashMap::new(),
            turn: Vec::new(),
            unread: Vec::new(),
            holding: Vec::new(),
            unaccepted: Vec::new(),
            retry_at: 0,
            closed_sessions: Vec::new(),
            dirty: Vec::new(),
            // A start may have found something that is due.
            next_deadline: Some(0),
            amqp_count: 0,
            heartbeat_ms: 0,
            alarmed: false,
        })
    }

    /// One turn of a loop that no other thread has to do with. False after the last one.
    #[cfg(feature = "sim")]
    pub(crate) fn turn(&mut self, poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> bool {
        let goes_on = wait(poll, events, timeout) && self.take_in(poll, events);
        if self.wants_sync() {
            self.shared.want_sync();
        }
        self.answer_all();
        if !goes_on {
            self.take_leave(poll);
        }
        goes_on
    }

    /// The first half of a turn: what has come is executed, and the kernel has what was logged. False when the server stops:
    /// then this was the last one.
    pub(crate) fn take_in(&mut self, poll: &mut Poll, events: &Events) -> bool {
        let stopping = self.shared.stopping.load(Ordering::Acquire);
        for event in events {
            match event.token() {
                WAKER => {}
                Token(token) => match Listeners::index(token) {
                    Some(_) if stopping => {}
                    Some(listener) => self.accept(listener),
                    None => self.notice(token, event),
                },
            }
        }
        if !stopping {
            self.accept_again();
        }
        self.take_new();
        self.unblock_publishers();
        self.heartbeats();
        self.read_all();
        self.enter(poll);
        !stopping
    }

    /// True if something waits for the disk.
    pub(crate) fn wants_sync(&self) -> bool {
        self.holds() || self.shared.sync_waiters.load(Ordering::Relaxed) > 0
    }

    /// True if answers do.
    pub(crate) fn holds(&self) -> bool {
        !self.holding.is_empty()
    }

    /// Tells AMQP clients why they are left, so that they can connect again at once. (RabbitMQ: `rabbitmqctl stop_app`)
    pub(crate) fn take_leave(&mut self, poll: &mut Poll) {
        for token in self.connections.tokens() {
            if let Some(Connection { session: Session::Amqp(session), .. }) = self.connections.get_mut(token)
            {
                session.notice(Some("broker forced connection closure with reason 'shutdown'".into()), None);
                self.list(token);
            }
        }
        self.enter(poll);
        self.answer_all();
    }

    /// How long the next turn may wait for something to do.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.turn.is_empty() || !self.closed_sessions.is_empty() {
            return Some(Duration::ZERO);
        }
        let heartbeat = (self.amqp_count > 0 || self.watches_clients()).then_some(self.heartbeat_ms);
        let retry = (!self.unaccepted.is_empty()).then_some(self.retry_at);
        let due = self.next_deadline.into_iter().chain(heartbeat).chain(retry).min()?;
        Some(Duration::from_millis(due.saturating_sub(now_ms()).max(1)))
    }

    fn notice(&mut self, token: usize, event: &mio::event::Event) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        connection.readable |= event.is_readable() || event.is_read_closed();
        connection.ending |= event.is_read_closed();
        if event.is_writable() {
            connection.set_writable();
        }
        if event.is_read_closed() && connection.session.is_blocked() {
            // Nobody is there to take what it waits for.
            return self.close(token);
        }
        self.list(token);
    }

    fn list(&mut self, token: usize) {
        if let Some(connection) = self.connections.get_mut(token)
            && !connection.listed
        {
            connection.listed = true;
            self.turn.push(token);
        }
    }

    /// Reads every listed socket once and decodes, outside the lock.
    fn read_all(&mut self) {
        for token in std::mem::take(&mut self.unread) {
            self.list(token);
        }
        let mut i = 0;
        while i < self.turn.len() {
            let token = self.turn[i];
            i += 1;
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if connection.readable && connection.may_read() {
                let (reading, bytes) = connection.read();
                self.shared.stats.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
                connection.session.decode(now_ms());
                if connection.session.input_is_beyond(&self.shared.settings) {
                    tracing::warn!("a Redis client has sent too much that cannot be executed; it is cut off");
                    self.close(token);
                    continue;
                }
                match reading {
                    Reading::Drained if !connection.ending => connection.readable = false,
                    Reading::Drained | Reading::More => self.unread.push(token),
                    Reading::Closed => {
                        (connection.readable, connection.ended) = (false, true);
                        if connection.out.unsent() == 0 && connection.is_done() {
                            self.close(token);
                        }
                    }
                }
            } else if connection.may_decode() {
                connection.session.decode(now_ms());
            }
        }
    }

    /// The one visit to the engine.
    fn enter(&mut self, poll: &mut Poll) {
        let now = now_ms();
        let due = self.next_deadline.is_some_and(|deadline| deadline <= now);
        let shared = self.shared.clone();
        let Some(mut engine) = shared.engine.try_lock_for(self.busy_after()) else {
            return self.be_busy();
        };
        engine.enter(now);
        engine.has_no_space = shared.settings.alarms.is_full();
        for id in self.closed_sessions.drain(..) {
            engine.close_session(id);
        }
        let more = due && engine.tick();
        self.collect(&mut engine);
        let mut next = 0;
        while next < self.turn.len() {
            let group = next..self.prefetch(&engine, next);
            next = group.end;
            for i in group {
                let token = self.turn[i];
                let Some(connection) = self.connections.get_mut(token) else { continue };
                connection.report(&mut engine);
                // The rest is listed again at the end of the turn.
                if connection.may_execute()
                    && engine.pending_bytes() + engine.checkpoint_bytes() <= PENDING_MAX
                    && let Some(mut connection) = self.connections.take(token)
                {
                    let others = RefCell::new((&mut *self, &mut *poll));
                    execute(&mut connection, &mut engine, &shared, &|engine| {
                        let (others, poll) = &mut *others.borrow_mut();
                        others.meanwhile(poll, engine);
                    });
                    self.connections.put_back(token, connection);
                }
            }
        }
        let evicting = shared.go_on_evicting(&mut engine);
        self.collect(&mut engine);
        let (position, garbage, errands) = (engine.position(), engine.take_garbage(), engine.take_errands());
        let wanted = engine.broker.take_wanted();
        self.next_deadline = if more || evicting { Some(now) } else { engine.next_deadline() };
        shared.slept_until.store(self.next_deadline.unwrap_or(u64::MAX), Ordering::Relaxed);
        for thread in engine.threads_to_wake(self.index) {
            shared.mailboxes[thread].wake();
        }
        drop(engine);
        if let Some(garbage) = garbage {
            shared.reaper.take(garbage);
        }
        shared.doorkeeper.extend(errands);
        shared.fetcher.extend(wanted);
        shared.write_up_to(position);
        self.gate(position);
    }

    /// Takes what others have put into this thread's sessions.
    fn collect(&mut self, engine: &mut MutexGuard<'_, Engine>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        engine.take_dirty(self.index, &mut dirty);
        for id in dirty.drain(..) {
            let Some(&token) = self.by_session.get(&id) else { continue };
            if let (Some(connection), Some(session)) = (self.connections.get_mut(token), engine.session(id)) {
                let was_blocked = connection.session.is_blocked();
                connection.session.collect(&self.shared, session, &mut connection.out);
                let is_killed = session.killed;
                if was_blocked && !connection.session.is_blocked() && !std::mem::take(&mut session.unlogged) {
                    // What it was given was taken from somewhere.
                    connection.last_commit = engine.position();
                }
                if is_killed {
                    self.close(token);
                    continue;
                }
            }
            self.list(token);
        }
        self.dirty = dirty;
    }

    /// Starts loading what the next connections' commands will touch; gives the place of the first one that has no part in it.
    fn prefetch(&mut self, engine: &Engine, from: usize) -> usize {
        let (mut window, mut next) = (Window::default(), from);
        while let Some(&token) = self.turn.get(next)
            && !window.is_full()
        {
            if let Some(Connection { session: Session::Resp(session), .. }) = self.connections.get_mut(token)
            {
                session.prefetch(engine, &mut window);
            }
            next += 1;
        }
        window.load(engine);
        next
    }

    fn close(&mut self, token: usize) {
        let Some(connection) = self.connections.remove(token) else { return };
        let protocol = match connection.session {
            Session::Resp(_) => Protocol::Resp,
            Session::Amqp(_) => Protocol::Amqp,
        };
        let id = connection.session.id();
        self.by_session.remove(&id);
        self.shared.client_bytes.fetch_sub(connection.weighed as i64, Ordering::Relaxed);
        self.gone(id, connection.placed_by, protocol);
    }

    /// One connection less.
    fn gone(&mut self, id: SessionId, placed_by: Option<IpAddr>, protocol: Protocol) {
        self.closed_sessions.push(id);
        let shared = &self.shared;
        let count = match protocol {
            Protocol::Resp => &shared.stats.resp_connections,
            Protocol::Amqp => {
                self.amqp_count -= 1;
                &shared.stats.amqp_connections
            }
        };
        count.fetch_sub(1, Ordering::Relaxed);
        shared.mailboxes[self.index].connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(origin) = placed_by {
            shared.placement.leave(origin);
        }
    }
}

/// With more than this not handed to the log or to a checkpoint, what else has come waits for the next turn.
pub(crate) const PENDING_MAX: usize = 64 * 1024 * 1024;

fn execute(
    connection: &mut Connection,
    engine: &mut MutexGuard<'_, Engine>,
    shared: &Shared,
    meanwhile: &dyn Fn(&mut Engine),
) {
    let (before, position) = (engine.commands_count, engine.position());
    if !connection.session.execute(engine, &Around::new(shared, meanwhile), &mut connection.out) {
        connection.closing = true;
    }
    if engine.position() != position {
        connection.last_commit = engine.position();
    }
    // The count may have begun anew. (Redis: CONFIG RESETSTAT)
    let count = engine.commands_count.saturating_sub(before);
    if count + connection.session.work() as u64 >= BUMP_EVERY {
        MutexGuard::bump(engine);
    }
}
