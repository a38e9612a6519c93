//! A session of either protocol, as the event loop sees it.

use crate::amqp::AmqpSession;
use crate::around::Around;
use crate::output::Output;
use crate::resp::{RespSession, Turn};
use crate::settings::Settings;
use crate::shared::Shared;
use leveret_engine::{Engine, Position, SessionId};
use std::sync::atomic::Ordering::Relaxed;

/// One of the two.
pub(crate) enum Session {
    Resp(Box<RespSession>),
    Amqp(Box<AmqpSession>),
}

impl Session {
    pub(crate) fn id(&self) -> SessionId {
        match self {
            Session::Resp(session) => session.id(),
            Session::Amqp(session) => session.id(),
        }
    }

    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        match self {
            Session::Resp(session) => session.input(),
            Session::Amqp(session) => session.input(),
        }
    }

    /// Looks at what has arrived. Outside the lock.
    pub(crate) fn decode(&mut self, now_ms: u64) {
        match self {
            Session::Resp(session) => {
                session.seen_ms = now_ms;
                session.decode();
            }
            Session::Amqp(session) => session.decode(now_ms),
        }
    }

    /// True when more has arrived than was looked at.
    pub(crate) fn is_undecoded(&self) -> bool {
        match self {
            Session::Resp(session) => session.is_undecoded(),
            Session::Amqp(_) => false,
        }
    }

    /// True while nothing is read from it, because others have to catch up with what it has published.
    pub(crate) fn is_in_flow(&self) -> bool {
        match self {
            Session::Resp(_) => false,
            Session::Amqp(session) => session.credit.is_used_up(),
        }
    }

    /// Work that it did in the engine beside Redis commands, in its last turn.
    pub(crate) fn work(&self) -> usize {
        match self {
            Session::Resp(_) => 0,
            Session::Amqp(session) => session.credit.work(),
        }
    }

    /// True when something that has arrived must be answered even if the peer will send nothing more.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self {
            Session::Resp(session) => session.has_work() || session.is_undecoded(),
            Session::Amqp(_) => false,
        }
    }

    /// True when it keeps what it cannot execute yet.
    pub(crate) fn keeps_input(&self) -> bool {
        match self {
            Session::Resp(session) => session.keeps_input(),
            Session::Amqp(_) => false,
        }
    }

    /// True when more has arrived and could not be executed than one connection may have. (Redis: client-query-buffer-limit)
    pub(crate) fn input_is_beyond(&self, settings: &Settings) -> bool {
        match self {
            Session::Resp(session) => session.input_bytes() > settings.input_bytes_max.load(Relaxed),
            Session::Amqp(_) => false,
        }
    }

    /// The peer has shown that it is there.
    pub(crate) fn touch(&mut self, now_ms: u64) {
        match self {
            Session::Resp(session) => session.seen_ms = now_ms,
            Session::Amqp(session) => session.touch(now_ms),
        }
    }

    /// True when there is something to execute, now or after a wait.
    pub(crate) fn has_work(&self) -> bool {
        match self {
            Session::Resp(session) => session.has_work(),
            Session::Amqp(session) => session.has_work(),
        }
    }

    /// True when something can be executed now.
    pub(crate) fn may_execute(&self) -> bool {
        match self {
            Session::Resp(session) => session.may_execute(),
            Session::Amqp(session) => session.may_execute(),
        }
    }

    /// True while replies wait that must leave before the connection ends.
    pub(crate) fn is_leaving(&self) -> bool {
        match self {
            Session::Resp(_) => false,
            Session::Amqp(session) => session.is_leaving(),
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        match self {
            Session::Resp(session) => session.is_blocked(),
            Session::Amqp(_) => false,
        }
    }

    /// Executes what was decoded, under the lock; false when the connection ends.
    pub(crate) fn execute(&mut self, engine: &mut Engine, shared: &Around<'_>, out: &mut Output) -> bool {
        match self {
            Session::Resp(session) => session.execute(engine, shared, out) != Turn::Closing,
            Session::Amqp(session) => {
                session.alarm = shared.settings.alarms.reason();
                session.credit.bytes_max = shared.settings.publisher_bytes_max;
                session.execute(engine, shared, out)
            }
        }
    }

    /// Takes what the engine has put out for this session, under the lock.
    pub(crate) fn collect(&mut self, shared: &Shared, from: &mut leveret_engine::Session, out: &mut Output) {
        match self {
            Session::Resp(session) => {
                from.collect(&mut out.bytes, &mut Vec::new());
                session.set_blocked(from.is_blocked(), shared);
                session.set_subscribed(from.is_subscribed());
                session.set_monitors(from.monitors);
            }
            Session::Amqp(session) => {
                from.collect(&mut out.bytes, &mut session.events);
                session.notice_fetched();
                session.notice(from.forced.take(), from.finding.take());
            }
        }
    }

    /// Writes what was taken and what the disk allows. Outside the lock. True while something waits for the disk.
    pub(crate) fn encode(&mut self, synced: Position, out: &mut Output) -> bool {
        match self {
            Session::Resp(_) => false,
            Session::Amqp(session) => {
                session.encode_events(out);
                session.release(synced, out)
            }
        }
    }
}
