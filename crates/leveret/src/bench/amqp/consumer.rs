//! A consuming connection: finds the stamp of each delivery (or answer to `basic.get`) and acknowledges as clients do. The
//! fields of a delivery that do not matter here are stepped over.

use super::check::{Arrivals, Order};
use super::link::{CHANNEL, refusal};
use super::message::Stamp;
use crate::bench::report::{Clock, Latencies};
use crate::bench::socket::Socket;
use anyhow::{Context, Result, anyhow, bail};
use leveret_amqp::{BasicAck, BasicGet, ChannelClose, Frame, FrameKind, Method, parse};

/// Class and method of `basic.deliver` and `basic.get-ok`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
const GET_OK: [u8; 4] = [0, 60, 0, 71];
const CHANNEL_CLOSE_OK: [u8; 4] = [0, 20, 0, 41];

/// What the next frame has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Method,
    /// The channel is closed.
    Nothing,
    Header,
    /// So many bytes of the body are missing.
    Body(usize),
}

/// Deliveries whose bodies nobody looks at.
#[derive(Default)]
pub(crate) struct Deliveries {
    tag: u64,
    /// Bytes of the body that are missing.
    missing: u64,
}

impl Deliveries {
    /// Takes one frame: the tag of a message that is whole with it. What is no delivery goes to `other`.
    #[inline]
    pub(crate) fn frame(
        &mut self,
        frame: Frame<'_>,
        other: impl FnOnce(&Method<'_>) -> Result<()>,
    ) -> Result<Option<u64>> {
        match frame.kind {
            FrameKind::Method if frame.payload.starts_with(&DELIVER) => {
                self.tag = delivery_tag(frame.payload)?;
            }
            FrameKind::Method => other(&Method::decode(frame.payload).map_err(|error| anyhow!("{error}"))?)?,
            FrameKind::Header => {
                let size = frame.payload.get(4..12).and_then(|bytes| bytes.try_into().ok());
                self.missing = u64::from_be_bytes(size.context("a short content header")?);
            }
            FrameKind::Body => {
                let bytes = frame.payload.len() as u64;
                self.missing = self.missing.checked_sub(bytes).context("a body is too long")?;
                return Ok((self.missing == 0).then_some(self.tag));
            }
            FrameKind::Heartbeat => {}
        }
        Ok(None)
    }
}

/// One consumer.
pub(crate) struct Consumer {
    pub(crate) socket: Socket,
    reader: Reader,
    /// 0: the server takes a delivery for settled.
    ack_every: u64,
    unacked: u64,
    /// When the `basic.get` under way was sent; 0: none is.
    get_ns: u64,
}

/// What is known of the delivery that is arriving.
struct Reader {
    expected: Expected,
    size: usize,
    tag: u64,
    order: Order,
}

impl Reader {
    /// Takes one frame; the stamp when the body begins.
    #[inline]
    fn frame(&mut self, frame: Frame<'_>, arrivals: &mut Arrivals) -> Result<Option<Stamp>> {
        match (self.expected, frame.kind) {
            (Expected::Method, FrameKind::Method) if frame.payload == CHANNEL_CLOSE_OK => {
                self.expected = Expected::Nothing;
                Ok(None)
            }
            (Expected::Method, FrameKind::Method) => {
                self.tag = delivery_tag(frame.payload)?;
                self.expected = Expected::Header;
                Ok(None)
            }
            (Expected::Header, FrameKind::Header) => {
                let size = frame.payload.get(4..12).and_then(|bytes| bytes.try_into().ok());
                let size = u64::from_be_bytes(size.context("a short content header")?);
                if size != self.size as u64 {
                    bail!("a message of {size} bytes came, {} were published", self.size);
                }
                self.expected = Expected::Body(self.size);
                Ok(None)
            }
            (Expected::Body(missing), FrameKind::Body) => {
                let Some(rest) = missing.checked_sub(frame.payload.len()) else {
                    bail!("a body is too long")
                };
                let stamp = if missing == self.size {
                    let stamp =
                        Stamp::read(frame.payload).context("the first part of a body is too short")?;
                    arrivals.note(stamp, &mut self.order)?;
                    Some(stamp)
                } else {
                    None
                };
                self.expected = if rest == 0 { Expected::Method } else { Expected::Body(rest) };
                Ok(stamp)
            }
            (_, FrameKind::Heartbeat) => Ok(None),
            (expected, kind) => bail!("a {kind:?} frame came where {expected:?} was due"),
        }
    }
}

#[inline]
fn delivery_tag(payload: &[u8]) -> Result<u64> {
    let at = match payload.first_chunk() {
        Some(&DELIVER) => 5 + usize::from(payload.get(4).copied().unwrap_or_default()),
        Some(&GET_OK) => 4,
        _ => {
            return match Method::decode(payload).map_err(|error| anyhow!("{error}"))? {
                Method::BasicGetEmpty(_) => bail!("basic.get found nothing, and there should be a message"),
                other => Err(refusal(&other)),
            };
        }
    };
    let tag = payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    Ok(u64::from_be_bytes(tag.context("a delivery without a tag")?))
}

impl Consumer {
    pub(crate) fn new(socket: Socket, size: usize, ack_every: u64, producers: usize) -> Self {
        let reader = Reader { expected: Expected::Method, size, tag: 0, order: Order::new(producers) };
        Self { socket, reader, ack_every, unacked: 0, get_ns: 0 }
    }

    /// Reads what has arrived.
    pub(crate) fn receive(
        &mut self,
        clock: Clock,
        arrivals: &mut Arrivals,
        latencies: &mut Latencies,
    ) -> Result<()> {
        let mut more = true;
        while more {
            more = self.socket.read()?;
            self.examine(clock, arrivals, latencies)?;
        }
        self.socket.flush()
    }

    /// Looks at each whole frame that is there, as it may be before the first read.
    pub(crate) fn examine(
        &mut self,
        clock: Clock,
        arrivals: &mut Arrivals,
        latencies: &mut Latencies,
    ) -> Result<()> {
        let (now, mut used) = (clock.ns(), 0);
        let Self { socket, reader, ack_every, unacked, get_ns } = self;
        while let Some((frame, bytes)) = parse(socket.received().get(used..).unwrap_or_default(), 0)? {
            used += bytes;
            let stamp = reader.frame(frame, arrivals)?;
            if let Some(stamp) = stamp {
                let since = if *get_ns > 0 { std::mem::take(get_ns) } else { stamp.ns };
                latencies.add(now.saturating_sub(since), 1);
            }
            if *ack_every > 0 && frame.kind == FrameKind::Body && reader.expected == Expected::Method {
                *unacked += 1;
                if *unacked == *ack_every {
                    ack(reader.tag, *unacked, &mut socket.output);
                    *unacked = 0;
                }
            }
        }
        socket.consume(used);
        Ok(())
    }

    /// Acknowledges what is left and ends the channel.
    pub(crate) fn close(&mut self) -> Result<()> {
        if self.unacked > 0 {
            ack(self.reader.tag, self.unacked, &mut self.socket.output);
            self.unacked = 0;
        }
        let close = ChannelClose { reply_code: 200, reply_text: b"the end", ..Default::default() };
        Method::from(close).encode(CHANNEL, &mut self.socket.output);
        self.socket.flush()
    }

    /// True when the server has answered that.
    pub(crate) fn is_closed(&self) -> bool {
        self.reader.expected == Expected::Nothing
    }

    /// True when a `basic.get` may be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.get_ns == 0 && self.reader.expected == Expected::Method
    }

    /// Asks for one message.
    pub(crate) fn get(&mut self, queue: &str, now: u64) -> Result<()> {
        let get = BasicGet { queue: queue.as_bytes(), no_ack: self.ack_every == 0, ..Default::default() };
        Method::from(get).encode(CHANNEL, &mut self.socket.output);
        self.get_ns = now;
        self.socket.flush()
    }
}

#[inline]
fn ack(delivery_tag: u64, count: u64, out: &mut Vec<u8>) {
    Method::from(BasicAck { delivery_tag, multiple: count > 1 }).encode(CHANNEL, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{BasicDeliver, BasicGetOk};

    fn tag(method: Method<'_>) -> Result<u64> {
        let mut out = Vec::new();
        method.encode(1, &mut out);
        delivery_tag(parse(&out, 0)?.expect("one whole frame was written").0.payload)
    }

    #[test]
    fn tags_are_found() {
        let deliver =
            BasicDeliver { consumer_tag: b"amq.ctag-1", delivery_tag: 1 << 40, ..Default::default() };
        assert_eq!(tag(deliver.into()).unwrap(), 1 << 40);
        assert_eq!(tag(BasicGetOk { delivery_tag: 7, ..Default::default() }.into()).unwrap(), 7);
        let close =
            ChannelClose { reply_code: 406, reply_text: b"PRECONDITION_FAILED", ..Default::default() };
        assert!(tag(close.into()).unwrap_err().to_string().contains("406 PRECONDITION_FAILED"));
    }
}
