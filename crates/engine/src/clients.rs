//! What clients may do to each other: hold everybody back for a while, end a wait, close a connection. (Redis: CLIENT PAUSE,
//! UNBLOCK, KILL)

use crate::engine::Engine;
use crate::session::{Session, SessionId};
use leveret_keyspace::UnixMillis;

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pause {
    /// Commands that may write.
    Writes,
    /// All commands.
    All,
}

impl Engine {
    /// Holds commands back. Of two pauses the stricter one and the later end count.
    pub fn pause(&mut self, what: Pause, until: UnixMillis) {
        let (before, end) = self.pause.unwrap_or((what, until));
        self.pause = Some((what.max(before), until.max(end)));
    }

    /// Ends a pause; whoever waited goes on.
    pub fn unpause(&mut self) {
        self.pause = None;
        self.serve_postponed();
        for (&id, session) in &mut self.sessions {
            if std::mem::take(&mut session.postponed) {
                session.mark_dirty(id, &mut self.dirty);
            }
        }
    }

    /// True during a pause.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// True when a command has to wait; `writes` if it may write.
    pub fn holds_back(&self, writes: bool) -> bool {
        self.pause.is_some_and(|(what, _)| what == Pause::All || writes)
    }

    /// When the pause ends.
    pub(crate) fn pause_end(&self) -> Option<UnixMillis> {
        self.pause.map(|(_, until)| until)
    }

    /// The session waits for the end of the pause.
    pub fn postpone(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.postponed = true;
        }
    }

    /// Ends the wait of a blocked session: with its answer after the timeout, or with an error. False when it does not wait.
    pub fn unblock(&mut self, id: SessionId, error: Option<&[u8]>) -> bool {
        let Some(waiting) = self.stop_waiting(id) else { return false };
        self.answer(id, error.unwrap_or(waiting.timeout_reply()));
        true
    }

    /// Has the session's connection closed.
    pub fn kill(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.killed = true;
            session.mark_dirty(id, &mut self.dirty);
        }
    }

    /// The session hears of all commands. (Redis: MONITOR)
    pub fn monitor(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !std::mem::replace(&mut session.monitors, true)
        {
            self.monitors.push(id);
        }
    }

    /// The session hears of them no more.
    pub fn stop_monitoring(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && std::mem::take(&mut session.monitors)
        {
            self.monitors.retain(|other| *other != id);
        }
    }

    /// True when somebody hears of all commands.
    #[inline]
    pub fn has_monitors(&self) -> bool {
        !self.monitors.is_empty()
    }

    /// Tells them of one.
    pub fn tell_monitors(&mut self, line: &[u8]) {
        for i in 0..self.monitors.len() {
            let id = self.monitors[i];
            self.answer(id, line);
        }
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }
}
