//! What goes on while one command holds everybody up: Redis clients are told so, a script can be stopped, heartbeats go on, and
//! what AMQP clients have sent waits.

use super::{IoLoop, WAKER};
use crate::connection::Reading;
use crate::listeners::Listeners;
use crate::session::Session;
use crate::shared::now_ms;
use leveret_engine::Engine;
use mio::{Events, Poll, Token};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long to wait for the engine while it is known that a script holds it.
const WAIT_AGAIN: Duration = Duration::from_millis(10);

impl IoLoop {
    /// How long to wait for the engine.
    pub(super) fn busy_after(&self) -> Duration {
        let limit = Duration::from_millis(self.shared.settings.busy_after_ms.load(Ordering::Relaxed) as u64);
        if self.shared.scripts.running.is_longer_than(limit) { limit.min(WAIT_AGAIN) } else { limit }
    }

    /// Somebody has held the engine for too long. What AMQP clients have sent waits; nothing of it is lost.
    #[cold]
    pub(super) fn be_busy(&mut self) {
        tracing::warn!("a command holds everybody up");
        for &token in &self.turn {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            match &mut connection.session {
                Session::Resp(session) if session.may_execute() => {
                    session.refuse_busy(&self.shared, &mut connection.out);
                    connection.out.gate(0, true);
                }
                Session::Resp(_) | Session::Amqp(_) => self.unread.push(token),
            }
        }
    }

    /// A script of a client of this thread runs for long: the other clients are served as far as they can be, and new ones are
    /// let in, of whichever thread, since only who holds the engine can do that.
    #[cold]
    pub(super) fn meanwhile(&mut self, poll: &mut Poll, engine: &mut Engine) {
        let mut events = Events::with_capacity(256);
        if poll.poll(&mut events, Some(Duration::ZERO)).is_err() {
            return;
        }
        for event in &events {
            match event.token() {
                WAKER => {}
                Token(token) => match Listeners::index(token) {
                    Some(listener) => self.accept(listener),
                    None => self.notice(token, event),
                },
            }
        }
        for index in 0..self.shared.mailboxes.len() {
            self.adopt(index);
        }
        let new = self.arrivals();
        self.open(engine, new);
        self.heartbeats();
        // What was executed in this turn before the script is answered now.
        self.shared.write_meanwhile(engine);
        let gate = self.gate_at(engine.position());
        for token in self.connections.tokens() {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            gate.hold(connection);
            if gate.release(connection) {
                self.shared.want_sync();
            }
            if matches!(connection.session, Session::Amqp(_)) {
                connection.flush();
                continue;
            }
            if connection.readable && connection.may_read() {
                let (reading, bytes) = connection.read();
                self.shared.stats.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
                match reading {
                    Reading::Drained if !connection.ending => connection.readable = false,
                    Reading::Drained | Reading::More => {}
                    Reading::Closed => (connection.readable, connection.ended) = (false, true),
                }
                connection.session.decode(now_ms());
            }
            if let Session::Resp(session) = &mut connection.session
                && session.may_execute()
            {
                session.refuse_busy(&self.shared, &mut connection.out);
                gate.hold(connection);
            }
            connection.flush();
            // Whatever is left to do is done when the script has ended.
            self.list(token);
        }
    }

    /// Takes over what is on its way to another thread, which cannot enter the engine.
    fn adopt(&mut self, index: usize) {
        if index == self.index {
            return;
        }
        let mailboxes = &self.shared.mailboxes;
        let new = std::mem::take(&mut *mailboxes[index].new.lock());
        mailboxes[index].connections.fetch_sub(new.len(), Ordering::Relaxed);
        mailboxes[self.index].connections.fetch_add(new.len(), Ordering::Relaxed);
        mailboxes[self.index].new.lock().extend(new);
    }
}
