//! Redis clients that must go: who has said nothing for too long, and who holds the most memory when all together hold
//! too much. (Redis: timeout, maxmemory-clients, client-query-buffer-limit)

use super::IoLoop;
use crate::session::Session;
use std::sync::atomic::Ordering::Relaxed;

impl IoLoop {
    /// True when somebody has to be looked at even if nothing happens.
    pub(super) fn watches_clients(&self) -> bool {
        let settings = &self.shared.settings;
        settings.idle_seconds_max.load(Relaxed) > 0 || settings.client_bytes_max() > 0
    }

    /// Closes clients that have been idle for too long; those who wait or listen are not.
    pub(super) fn close_idle(&mut self, now_ms: u64) {
        let seconds_max = self.shared.settings.idle_seconds_max.load(Relaxed) as u64;
        if seconds_max == 0 {
            return;
        }
        let is_idle = |session: &Session| match session {
            Session::Resp(session) => {
                !session.is_blocked()
                    && !session.is_subscribed()
                    && !session.monitors()
                    && now_ms.saturating_sub(session.seen_ms) / 1000 > seconds_max
            }
            Session::Amqp(_) => false,
        };
        let idle: Vec<usize> =
            self.connections.iter().filter(|(_, c)| is_idle(&c.session)).map(|(token, _)| token).collect();
        idle.into_iter().for_each(|token| self.close(token));
    }

    /// Notes what a client holds that may be closed for it.
    pub(super) fn weigh(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        let bytes = match &connection.session {
            Session::Resp(session) if !session.stays && !session.monitors() => {
                session.held_bytes() + connection.out.held_bytes()
            }
            Session::Resp(_) | Session::Amqp(_) => 0,
        };
        let before = std::mem::replace(&mut connection.weighed, bytes);
        self.shared.client_bytes.fetch_add(bytes as i64 - before as i64, Relaxed);
    }

    /// Notes what all clients hold, and lets the other threads know of the largest.
    pub(super) fn weigh_all(&mut self) {
        let tokens = self.connections.tokens();
        tokens.into_iter().for_each(|token| self.weigh(token));
        self.tell_largest();
    }

    /// The largest clients of all threads go until the others are within the limit.
    pub(super) fn evict_clients(&mut self, limit: usize) {
        if self.shared.client_bytes.load(Relaxed) <= limit as i64 {
            return;
        }
        let mut largest = self.largest();
        while let Some((token, bytes)) = largest
            && self.shared.client_bytes.load(Relaxed) > limit as i64
        {
            let mailboxes = &self.shared.mailboxes;
            let another = mailboxes.iter().enumerate().filter(|(i, _)| *i != self.index);
            if let Some((_, other)) = another.max_by_key(|(_, mailbox)| mailbox.largest.load(Relaxed))
                && other.largest.load(Relaxed) > bytes
            {
                other.wake();
                break;
            }
            tracing::warn!(
                "Redis clients hold more memory than maxmemory-clients; the one with {bytes} bytes is closed"
            );
            self.shared.stats.clients_evicted.fetch_add(1, Relaxed);
            self.close(token);
            largest = self.largest();
        }
        self.tell_largest();
    }

    fn tell_largest(&self) {
        let bytes = self.largest().map_or(0, |(_, bytes)| bytes);
        self.shared.mailboxes[self.index].largest.store(bytes, Relaxed);
    }

    fn largest(&self) -> Option<(usize, usize)> {
        let weighed = self.connections.iter().map(|(token, connection)| (token, connection.weighed));
        weighed.filter(|(_, bytes)| *bytes > 0).max_by_key(|(_, bytes)| *bytes)
    }
}
