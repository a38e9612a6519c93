//! A publishing connection: messages are written many at a time, as far as the bounds allow, and confirms counted one by
//! one: each must come exactly once.

use super::link::refusal;
use super::message::{Stamp, Template};
use crate::bench::report::{Clock, Latencies};
use crate::bench::socket::Socket;
use anyhow::{Result, anyhow, bail};
use leveret_amqp::{FrameKind, Method, parse};

/// Bytes that are encoded before they are written.
const WRITE_BYTES: usize = 64 * 1024;

/// One publisher.
pub(crate) struct Producer {
    pub(crate) socket: Socket,
    template: Template,
    index: usize,
    /// Messages it has to send, and has sent.
    share: u64,
    pub(crate) sent: u64,
    confirms: Option<Confirms>,
    /// The server has asked for a pause.
    pub(crate) blocked: Option<String>,
}

/// When each unconfirmed message was sent, in a ring by its number.
struct Confirms {
    sent_ns: Vec<u64>,
    /// All before this one are confirmed.
    lowest: u64,
    count: u64,
}

impl Confirms {
    /// Takes the confirms of `first..=last`; 0 in the ring means that it is confirmed.
    #[inline]
    fn take(
        &mut self,
        tag: u64,
        multiple: bool,
        sent: u64,
        now: u64,
        latencies: &mut Latencies,
    ) -> Result<()> {
        if tag > sent || tag == 0 && !multiple {
            bail!("the server has confirmed number {tag} of {sent}");
        }
        // A tag of 0 with `multiple` means all so far.
        let end = if tag == 0 { sent } else { tag };
        let first = if multiple { self.lowest } else { end - 1 };
        let ring = self.sent_ns.len() as u64;
        for number in first..end {
            let place = self.sent_ns.get_mut((number % ring) as usize).filter(|_| number >= self.lowest);
            match place.map(std::mem::take) {
                Some(ns) if ns > 0 => {
                    latencies.add(now - ns, 1);
                    self.count += 1;
                }
                _ if multiple => {}
                _ => bail!("the server has confirmed number {tag} twice"),
            }
        }
        while self.lowest < sent && self.sent_ns.get((self.lowest % ring) as usize) == Some(&0) {
            self.lowest += 1;
        }
        Ok(())
    }
}

impl Producer {
    /// With `unconfirmed_max` it is in confirm mode.
    pub(crate) fn new(
        socket: Socket,
        template: Template,
        index: usize,
        share: u64,
        unconfirmed_max: Option<u64>,
    ) -> Self {
        let confirms =
            unconfirmed_max.map(|max| Confirms { sent_ns: vec![0; max as usize], lowest: 0, count: 0 });
        Self { socket, template, index, share, sent: 0, confirms, blocked: None }
    }

    /// Messages confirmed; all that were sent when there are no confirms.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirms.as_ref().map_or(self.sent, |confirms| confirms.count)
    }

    /// How many it may send now, given room for so many in the queue. It waits until there is room for a good many of
    /// all that may be in flight, for many small writes would measure the client's system calls.
    pub(crate) fn room(&self, queue_room: u64, in_flight: u64) -> u64 {
        let left = self.share - self.sent;
        let unconfirmed_room = self
            .confirms
            .as_ref()
            .map_or(u64::MAX, |confirms| confirms.sent_ns.len() as u64 - (self.sent - confirms.lowest));
        let room = queue_room.min(unconfirmed_room).min(left);
        let enough = (in_flight / 8).clamp(1, 64).min(left);
        if room < enough || !self.socket.is_flushed() || self.blocked.is_some() { 0 } else { room }
    }

    /// Sends up to `count` messages; stops early when the kernel takes no more.
    pub(crate) fn publish(&mut self, count: u64, clock: Clock) -> Result<()> {
        let end = self.sent + count;
        while self.sent < end && self.socket.is_flushed() {
            let now = clock.ns();
            let batch = (WRITE_BYTES / self.template.len()).max(1) as u64;
            for _ in 0..batch.min(end - self.sent) {
                let stamp = Stamp { ns: now, producer: self.index, number: self.sent };
                self.template.append(stamp, &mut self.socket.output);
                if let Some(confirms) = &mut self.confirms {
                    let ring = confirms.sent_ns.len() as u64;
                    if let Some(place) = confirms.sent_ns.get_mut((self.sent % ring) as usize) {
                        *place = now;
                    }
                }
                self.sent += 1;
            }
            self.socket.flush()?;
        }
        Ok(())
    }

    /// Reads what the server says.
    pub(crate) fn receive(&mut self, clock: Clock, latencies: &mut Latencies) -> Result<()> {
        let mut more = true;
        while more {
            more = self.socket.read()?;
            let (now, mut used) = (clock.ns(), 0);
            while let Some((frame, bytes)) = parse(self.socket.received().get(used..).unwrap_or_default(), 0)?
            {
                used += bytes;
                match frame.kind {
                    FrameKind::Method => {
                        let method = Method::decode(frame.payload).map_err(|error| anyhow!("{error}"))?;
                        match (method, &mut self.confirms) {
                            (Method::BasicAck(ack), Some(confirms)) => {
                                confirms.take(ack.delivery_tag, ack.multiple, self.sent, now, latencies)?;
                            }
                            (Method::ConnectionBlocked(blocked), _) => {
                                self.blocked = Some(String::from_utf8_lossy(blocked.reason).into_owned());
                            }
                            (Method::ConnectionUnblocked(_), _) => self.blocked = None,
                            (other, _) => return Err(refusal(&other)),
                        }
                    }
                    FrameKind::Heartbeat => {}
                    FrameKind::Header | FrameKind::Body => bail!("content came to a publisher"),
                }
            }
            self.socket.consume(used);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_confirmed_once() {
        let mut latencies = Latencies::new().unwrap();
        let mut confirms = Confirms { sent_ns: vec![1; 4], lowest: 0, count: 0 };
        let mut take = |tag, multiple| confirms.take(tag, multiple, 4, 9, &mut latencies).is_ok();
        assert!(take(2, false));
        assert!(!take(2, false), "twice");
        assert!(!take(5, false), "never sent");
        assert!(!take(0, false), "there is no number 0");
        assert!(take(3, true), "1 and 3, over the 2 that is confirmed");
        assert!(!take(1, false), "it went with the 3");
        assert!(take(4, false));
        assert_eq!((confirms.count, confirms.lowest), (4, 4));
    }
}
