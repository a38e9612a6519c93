//! New connections: accepted here, and given to the thread that is to serve them.

use super::{Arrival, IoLoop};
use crate::amqp::AmqpSession;
use crate::connection::{Connection, Stream};
use crate::listeners::Protocol;
use crate::placement::{By as PlacementBy, emptiest};
use crate::resp::RespSession;
use crate::session::Session;
use crate::shared::{Shared, now_ms};
use leveret_engine::{Card, Engine, Link};
use mio::Token;
use std::io;
use std::sync::atomic::Ordering;

/// A connection that could not be accepted, for lack of file descriptors, is tried again after this.
const ACCEPT_RETRY_MS: u64 = 100;

impl IoLoop {
    pub(super) fn accept(&mut self, listener: usize) {
        loop {
            match self.shared.listeners.accept(listener) {
                Ok((stream, protocol)) => {
                    let thread = self.shared.place(stream, protocol);
                    if thread != self.index {
                        self.shared.mailboxes[thread].wake();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted; trying again");
                    // No event will come for those that wait already.
                    self.retry_at = now_ms() + ACCEPT_RETRY_MS;
                    return self.unaccepted.push(listener);
                }
            }
        }
    }

    /// Connections that are on their way to this thread.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.shared.mailboxes[self.index].new.lock())
    }

    pub(super) fn take_new(&mut self) {
        let new = self.arrivals();
        if new.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        let Some(mut engine) = shared.engine.try_lock_for(self.busy_after()) else {
            // They are still there when the engine can be entered again.
            shared.mailboxes[self.index].new.lock().extend(new);
            return shared.mailboxes[self.index].wake();
        };
        self.open(&mut engine, new);
    }

    /// Opens their sessions.
    pub(super) fn open(&mut self, engine: &mut Engine, new: Vec<Arrival>) {
        let shared = self.shared.clone();
        let needs_password = engine.accounts.needs_login();
        for arrival in new {
            let id = match arrival.card() {
                Some(card) => engine.open_client(self.index, card),
                None => engine.open_session(self.index),
            };
            let Arrival { mut stream, protocol, placed_by } = arrival;
            let now_ms = now_ms();
            let (count, session) = match protocol {
                Protocol::Resp => {
                    let session = RespSession::new(
                        id,
                        needs_password,
                        shared.settings.bulk_bytes_max.load(Ordering::Relaxed),
                    );
                    (&shared.stats.resp_connections, Session::Resp(Box::new(session)))
                }
                Protocol::Amqp => {
                    self.amqp_count += 1;
                    let session = AmqpSession::new(
                        id,
                        stream.origin().is_loopback(),
                        link(&stream, now_ms),
                        shared.settings.message_bytes_max,
                        now_ms,
                    );
                    (&shared.stats.amqp_connections, Session::Amqp(Box::new(session)))
                }
            };
            let before = count.fetch_add(1, Ordering::Relaxed);
            let too_many = protocol == Protocol::Resp
                && before >= shared.settings.clients_max.load(Ordering::Relaxed) as u64;
            let token = self.connections.next_token();
            if let Err(error) = stream.register(&self.registry, Token(token)) {
                tracing::warn!(%error, "a connection cannot be watched");
                self.gone(id, placed_by, protocol);
                continue;
            }
            let mut connection = Connection::new(stream, placed_by, session);
            if too_many {
                shared.stats.connections_rejected.fetch_add(1, Ordering::Relaxed);
                connection.out.bytes.extend_from_slice(b"-ERR max number of clients reached\r\n");
                connection.out.gate(0, true);
                connection.closing = true;
            }
            connection.listed = true;
            self.connections.insert(connection);
            self.by_session.insert(id, token);
            self.turn.push(token);
        }
    }

    /// Accepts what could not be accepted before, when it is time.
    pub(super) fn accept_again(&mut self) {
        if !self.unaccepted.is_empty() && now_ms() >= self.retry_at {
            for listener in std::mem::take(&mut self.unaccepted) {
                self.accept(listener);
            }
        }
    }
}

impl Shared {
    /// Gives a connection to a thread, and tells which.
    pub(crate) fn place(&self, stream: Stream, protocol: Protocol) -> usize {
        self.stats.connections_accepted.fetch_add(1, Ordering::Relaxed);
        let by_address = protocol == Protocol::Resp && self.settings.placement == PlacementBy::Address;
        let placed_by = by_address.then(|| stream.origin());
        let index = match placed_by {
            Some(origin) => self.placement.enter(origin, &self.mailboxes),
            None => emptiest(&self.mailboxes),
        };
        let mailbox = &self.mailboxes[index];
        mailbox.connections.fetch_add(1, Ordering::Relaxed);
        mailbox.new.lock().push(Arrival { stream, protocol, placed_by });
        index
    }
}

impl Arrival {
    /// What others may know of a Redis client.
    fn card(&self) -> Option<Card> {
        if self.protocol != Protocol::Resp {
            return None;
        }
        let (address, local_address) = self.stream.addresses();
        let over_unix_socket = matches!(self.stream, Stream::Unix(_));
        let now_ms = now_ms();
        let card = Card {
            address,
            local_address,
            over_unix_socket,
            since_ms: now_ms,
            seen_ms: now_ms,
            ..Card::default()
        };
        Some(card)
    }
}

/// What others may know of an AMQP connection.
fn link(stream: &Stream, since_ms: u64) -> Link {
    let (address, local_address) = stream.addresses();
    Link { address, local_address, since_ms, ..Link::default() }
}
