//! The second half of a turn: who may be answered, and writing it; and the heartbeats between turns.

use super::IoLoop;
use crate::connection::Connection;
use crate::session::Session;
use crate::settings::Fsync;
use crate::shared::now_ms;
use leveret_cluster::{Level, Levels};
use leveret_engine::Position;
use std::sync::atomic::Ordering;

const HEARTBEAT_PERIOD_MS: u64 = 1000;

/// What answers wait for.
pub(super) struct Gate {
    position: Position,
    level: Position,
    synced: Position,
    is_full: bool,
}

impl Gate {
    /// Holds back what a connection has to say and may not say yet; true if it may not.
    pub(super) fn hold(&self, connection: &mut Connection) -> bool {
        match &connection.session {
            Session::Resp(_) => {
                let told_of = if self.is_full { connection.last_commit } else { self.position };
                if connection.out.unsent() > 0 {
                    connection.out.gate(told_of, self.level >= told_of);
                }
                self.level < told_of
            }
            Session::Amqp(_) => {
                let waits = connection.session.encode(self.synced, &mut connection.out);
                connection.out.gate(0, true);
                waits
            }
        }
    }

    /// Lets out what has waited and may leave now; true while something still waits.
    pub(super) fn release(&self, connection: &mut Connection) -> bool {
        match &connection.session {
            Session::Resp(_) => connection.out.release(self.level),
            Session::Amqp(_) => self.hold(connection),
        }
    }
}

impl IoLoop {
    /// The position up to which Redis clients may be told of commits.
    fn level(&self) -> u64 {
        self.shared.levels.level(match self.shared.settings.fsync() {
            Fsync::Always => Level::Synced,
            Fsync::Everysec | Fsync::No => Level::Written,
        })
    }

    /// Who may be answered? Everything is written by now; `always` waits for the disk, and so do confirms. Only a full disk
    /// keeps something from being written: then those wait who have changed something, and readers go on.
    pub(super) fn gate(&mut self, position: u64) {
        let gate = self.gate_at(position);
        for &token in &self.turn {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if gate.hold(connection) && !connection.holding {
                connection.holding = true;
                self.holding.push(token);
            }
        }
        if !self.holding.is_empty() {
            self.shared.mailboxes[self.index].holds.store(true, Ordering::Release);
        }
    }

    /// The gate for what tells of commits up to this one.
    pub(super) fn gate_at(&self, position: Position) -> Gate {
        let (synced, level) = (self.shared.levels.level(Level::Synced), self.level());
        Gate { position, level, synced, is_full: self.shared.settings.alarms.is_full() }
    }

    /// The second half of a turn, which is also made when the disk has what was waited for: writes every socket once.
    pub(crate) fn answer_all(&mut self) {
        if !self.holding.is_empty() {
            self.release();
        }
        let (limits, now_ms) = (*self.shared.settings.output_limits.read(), now_ms());
        let client_bytes_max = self.shared.settings.client_bytes_max();
        for token in std::mem::take(&mut self.turn) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.listed = false;
            let paused = connection.readable && !connection.may_read();
            let (alive, bytes) = connection.flush();
            if bytes > 0 && (paused || matches!(connection.session, Session::Resp(_))) {
                // It cannot show otherwise that it is there, for nothing is read from it.
                connection.session.touch(now_ms);
            }
            self.shared.stats.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
            let more = (connection.readable && connection.may_read()) || connection.may_decode();
            // Nobody is there to take what it waits for.
            let gone = (connection.ending || connection.ended) && connection.session.is_blocked();
            let hopeless = connection.out.unsent() > 0 && connection.is_hopeless(&limits, now_ms);
            if hopeless {
                tracing::warn!("a Redis client has not read for too long; it is cut off");
            }
            if !alive || hopeless || gone {
                self.close(token);
            } else if more || connection.may_execute() || connection.wants_report() {
                self.unread.push(token);
            }
            if client_bytes_max > 0 {
                self.weigh(token);
            }
        }
        if client_bytes_max > 0 {
            self.evict_clients(client_bytes_max);
        }
    }

    /// Lets out what waited for the disk, as far as it has come.
    fn release(&mut self) {
        let gate = self.gate_at(0);
        for token in std::mem::take(&mut self.holding) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            connection.holding = gate.release(connection);
            if connection.holding {
                self.holding.push(token);
            }
            self.list(token);
        }
        self.shared.mailboxes[self.index].holds.store(!self.holding.is_empty(), Ordering::Release);
        if !self.holding.is_empty() {
            self.shared.want_sync();
        }
    }

    /// Publishers that waited for memory or disk space go on.
    pub(super) fn unblock_publishers(&mut self) {
        let alarm = self.shared.settings.alarms.reason();
        if alarm.is_some() == self.alarmed {
            return;
        }
        self.alarmed = alarm.is_some();
        let mut waiting = Vec::new();
        for (token, connection) in self.connections.iter_mut() {
            if let Session::Amqp(session) = &mut connection.session
                && session.may_go_on(alarm)
            {
                session.alarm = None;
                waiting.push(token);
            }
        }
        waiting.into_iter().for_each(|token| self.list(token));
    }

    /// Heartbeats of AMQP, and Redis clients that must go: once a second.
    pub(super) fn heartbeats(&mut self) {
        let now = now_ms();
        let watches = self.watches_clients();
        if (self.amqp_count == 0 && !watches) || now < self.heartbeat_ms {
            return;
        }
        self.heartbeat_ms = now + HEARTBEAT_PERIOD_MS;
        if watches {
            self.close_idle(now);
            if self.shared.settings.client_bytes_max() > 0 {
                self.weigh_all();
            }
        }
        let mut silent = Vec::new();
        let mut due = Vec::new();
        for (token, connection) in self.connections.iter_mut() {
            if let Session::Amqp(session) = &mut connection.session {
                if !session.heartbeat(now, &mut connection.out) {
                    silent.push(token);
                } else if connection.out.unsent() > 0 {
                    connection.out.gate(0, true);
                    due.push(token);
                }
            }
        }
        for token in due {
            self.list(token);
        }
        for token in silent {
            tracing::warn!("an AMQP client missed its heartbeats; the connection is closed");
            self.close(token);
        }
    }
}
