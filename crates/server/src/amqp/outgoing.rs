//! What leaves a connection: replies in order on each channel, some of them once the disk has what they promise, and what the
//! engine has put out.

use crate::amqp::channel::Leaving;
use crate::amqp::handshake::Phase;
use crate::amqp::session::AmqpSession;
use crate::output::Output;
use leveret_amqp::{ConnectionBlocked, ConnectionUnblocked, Method};
use leveret_engine::broker::WINDOW_BYTES;
use leveret_engine::{Engine, Position};

impl AmqpSession {
    /// The last method on a connection: behind everything that waits.
    pub(crate) fn say_last(&mut self, method: &Method<'_>, out: &mut Output) {
        method.encode(0, if self.leaving.is_empty() { &mut out.bytes } else { &mut self.last_words });
    }

    /// True while replies of closed channels wait for the disk.
    pub(crate) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Bytes that wait for the disk.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Sends a reply on a channel: now, or once `position` is on disk, behind whatever waits there already.
    pub(crate) fn reply(&mut self, number: u16, position: Position, method: &Method<'_>, out: &mut Output) {
        self.send(number, position, out, |out| method.encode(number, out));
    }

    pub(crate) fn send(
        &mut self,
        number: u16,
        position: Position,
        out: &mut Output,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let synced = self.synced;
        match self.channels.get_mut(&number) {
            Some(channel) if position > synced || !channel.held.is_empty() => {
                let mut bytes = Vec::new();
                write(&mut bytes);
                self.held_bytes += bytes.len();
                channel.held.push_back((position, bytes));
            }
            Some(_) | None => write(&mut out.bytes),
        }
    }

    /// Encodes what the engine has put out since: deliveries and cancellations. Outside the lock.
    pub(crate) fn encode_events(&mut self, out: &mut Output) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.encode_event(event, out);
        }
        self.events = events;
    }

    /// True when the engine should hear how much of what was delivered has left; `unsent` is what has not.
    pub(crate) fn wants_report(&self, unsent: usize) -> bool {
        unsent <= WINDOW_BYTES / 2 && self.delivered_bytes >= WINDOW_BYTES / 4
    }

    /// Tells the engine what has left, so that consumers are served again. Under the lock.
    pub(crate) fn report(&mut self, engine: &mut Engine) {
        let bytes = std::mem::take(&mut self.delivered_bytes);
        engine.on_broker(|txn| txn.drained(self.id, bytes));
    }

    /// Lets out what waited for the disk. True while something still waits, or the disk should go on.
    pub(crate) fn release(&mut self, synced: Position, out: &mut Output) -> bool {
        self.synced = synced;
        self.credit.release(synced);
        let (mut waits, mut released) = (false, 0);
        for (&number, channel) in &mut self.channels {
            released += channel.release(number, synced, &mut out.bytes);
            waits |= channel.waits();
        }
        self.leaving.retain_mut(|Leaving { number, channel, farewell }| {
            released += channel.release(*number, synced, &mut out.bytes);
            let stays = channel.waits();
            if !stays {
                out.bytes.extend_from_slice(farewell);
            }
            stays
        });
        self.held_bytes -= released;
        if self.leaving.is_empty() {
            out.bytes.append(&mut self.last_words);
        }
        waits || self.is_leaving() || self.credit.wants_sync()
    }

    /// A publisher has to wait, and hears why if it wants to. (RabbitMQ: connection.blocked)
    pub(super) fn block(&mut self, reason: &'static str, out: &mut Output) {
        if !std::mem::replace(&mut self.blocked, true) && self.wants_blocked {
            Method::ConnectionBlocked(ConnectionBlocked { reason: reason.as_bytes() })
                .encode(0, &mut out.bytes);
        }
    }

    /// Nothing is short any more.
    pub(super) fn unblock(&mut self, out: &mut Output) {
        if self.blocked && self.alarm.is_none() {
            self.blocked = false;
            if self.wants_blocked && self.phase == Phase::Running {
                Method::ConnectionUnblocked(ConnectionUnblocked {}).encode(0, &mut out.bytes);
            }
        }
    }

    /// True when it waits for something that is not short any more.
    pub(crate) fn may_go_on(&self, alarm: Option<&'static str>) -> bool {
        self.blocked && alarm.is_none()
    }

    /// Sends a heartbeat when it is time. False when the peer has been silent for too long. (AMQP 0-9-1 4.2.7)
    pub(crate) fn heartbeat(&mut self, now_ms: u64, out: &mut Output) -> bool {
        let interval_ms = u64::from(self.heartbeat) * 1000;
        if interval_ms == 0 {
            // The handshake has its own limit. (RabbitMQ: handshake_timeout)
            return self.phase == Phase::Running || now_ms.saturating_sub(self.received_ms) < HANDSHAKE_MS;
        }
        if now_ms.saturating_sub(self.sent_ms) >= interval_ms / 2 {
            out.bytes.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0xce]);
            self.sent_ms = now_ms;
        }
        // What a blocked client has sent is not read.
        self.blocked
            || self.is_getting()
            || self.credit.is_used_up()
            || now_ms.saturating_sub(self.received_ms) < 2 * interval_ms + 1000
    }
}

const HANDSHAKE_MS: u64 = 10_000;
