//! Messages of the load: publish, header and body frames encoded once; only the stamp in the body changes.

use leveret_amqp::{BasicPublish, Method, PropertyValues, encode_body, encode_content};

/// Time, publisher and number at the start of each body.
pub(crate) const STAMP_BYTES: usize = 16;
/// The number has 48 bits, the publisher the 16 above them.
const NUMBER_BITS: u32 = 48;

/// What a body begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) ns: u64,
    pub(crate) producer: usize,
    pub(crate) number: u64,
}

impl Stamp {
    #[inline]
    fn bytes(self) -> [u8; STAMP_BYTES] {
        let identity = (self.producer as u64) << NUMBER_BITS | self.number;
        (u128::from(self.ns) << 64 | u128::from(identity)).to_be_bytes()
    }

    /// Reads it back from a body.
    #[inline]
    pub(crate) fn read(body: &[u8]) -> Option<Stamp> {
        let word = u128::from_be_bytes(*body.first_chunk()?);
        let identity = word as u64;
        Some(Stamp {
            ns: (word >> 64) as u64,
            producer: (identity >> NUMBER_BITS) as usize,
            number: identity & ((1 << NUMBER_BITS) - 1),
        })
    }
}

/// A message to an exchange with another body, on the wire.
pub(crate) fn command(exchange: &str, body: &[u8], frame_max: u32) -> Vec<u8> {
    let publish = BasicPublish { exchange: exchange.as_bytes(), ..Default::default() };
    let (mut properties, mut bytes) = (Vec::new(), Vec::new());
    PropertyValues::default().encode(&mut properties);
    encode_content(1, &Method::BasicPublish(publish), &properties, body, frame_max, &mut bytes);
    bytes
}

/// One message on the wire.
pub(crate) struct Template {
    bytes: Vec<u8>,
    stamp_at: usize,
}

impl Template {
    /// A message to an exchange.
    pub(crate) fn new(exchange: &str, key: &str, size: usize, persistent: bool, frame_max: u32) -> Self {
        let (exchange, routing_key) = (exchange.as_bytes(), key.as_bytes());
        let publish = BasicPublish { exchange, routing_key, ..Default::default() };
        let mut properties = Vec::new();
        let delivery_mode = Some(if persistent { 2 } else { 1 });
        PropertyValues { delivery_mode, ..Default::default() }.encode(&mut properties);
        let (mut bytes, mut body_frames) = (Vec::new(), Vec::new());
        let body = vec![b'x'; size];
        encode_content(1, &Method::BasicPublish(publish), &properties, &body, frame_max, &mut bytes);
        encode_body(1, &body, frame_max, &mut body_frames);
        // Type, channel and size of the first body frame precede the body.
        let stamp_at = bytes.len() - body_frames.len() + 7;
        Self { bytes, stamp_at }
    }

    /// Appends one that was published at no time, by nobody.
    #[inline]
    pub(crate) fn append_numbered(&self, number: u64, out: &mut Vec<u8>) {
        self.append(Stamp { ns: 0, producer: 0, number }, out);
    }

    /// Bytes of one message.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends one message.
    #[inline]
    pub(crate) fn append(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let at = out.len() + self.stamp_at;
        out.extend_from_slice(&self.bytes);
        if let Some(place) = out.get_mut(at..at + STAMP_BYTES) {
            place.copy_from_slice(&stamp.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{ContentHeader, FrameKind, parse};

    #[test]
    fn a_message_is_three_frames_with_its_stamp() {
        let stamp = Stamp { ns: 77, producer: 3, number: 123_456_789_012 };
        for (size, body_frames) in [(16, 1), (64, 1), (20_000, 3)] {
            let template = Template::new("", "hare", size, true, 8192);
            let mut out = b"before".to_vec();
            template.append(stamp, &mut out);
            let (mut rest, mut kinds, mut body) = (&out[6..], Vec::new(), Vec::new());
            while let Some((frame, used)) = parse(rest, 8192).unwrap() {
                kinds.push(frame.kind);
                match frame.kind {
                    FrameKind::Method => {
                        let method = Method::decode(frame.payload).unwrap();
                        assert!(matches!(method, Method::BasicPublish(p) if p.routing_key == b"hare"));
                    }
                    FrameKind::Header => {
                        let header = ContentHeader::parse(frame.payload).unwrap();
                        assert_eq!(header.body_size, size as u64);
                        assert_eq!(header.properties.delivery_mode(), Some(2));
                    }
                    FrameKind::Body => body.extend_from_slice(frame.payload),
                    FrameKind::Heartbeat => unreachable!("none was written"),
                }
                rest = &rest[used..];
            }
            assert!(rest.is_empty());
            assert_eq!(kinds.len(), 2 + body_frames);
            assert_eq!((body.len(), Stamp::read(&body)), (size, Some(stamp)));
        }
    }
}
