//! Frames: type, channel, size, payload, end octet; and the eight bytes a connection begins with. A frame's payload is
//! not looked at here. (AMQP 0-9-1, 4.2.2 and 4.2.3)

use std::fmt;

/// The last octet of each frame.
pub const FRAME_END: u8 = 0xCE;
/// Bytes of a frame beside its payload.
pub const FRAME_OVERHEAD: usize = 8;
/// The smallest `frame_max` that may be agreed upon.
pub const FRAME_MIN_SIZE: u32 = 8192;
/// What a 0-9-1 client sends first, and what a server answers to anything else.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// A whole heartbeat frame.
pub const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A method with its fields.
    Method,
    /// Class, size and properties of a content.
    Header,
    /// A part of a content's body.
    Body,
    /// A sign of life, without payload.
    Heartbeat,
}

impl FrameKind {
    /// The type octet.
    #[inline]
    pub fn octet(self) -> u8 {
        match self {
            FrameKind::Method => 1,
            FrameKind::Header => 2,
            FrameKind::Body => 3,
            FrameKind::Heartbeat => 8,
        }
    }

    #[inline]
    fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(FrameKind::Method),
            2 => Some(FrameKind::Header),
            3 => Some(FrameKind::Body),
            8 => Some(FrameKind::Heartbeat),
            _ => None,
        }
    }
}

/// One whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// 0 is the connection itself.
    pub channel: u16,
    /// The bytes between size and end octet.
    pub payload: &'a [u8],
}

/// What ends the connection with 501 `FRAME_ERROR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A type octet that is none of 1, 2, 3, 8.
    UnknownType(u8),
    /// The frame would exceed the agreed `frame_max`.
    TooLarge {
        /// Payload bytes announced.
        size: u32,
        /// Bytes of a whole frame allowed.
        max: u32,
    },
    /// Another octet where the frame should end.
    BadEnd(u8),
    /// A heartbeat with a payload of so many bytes.
    HeartbeatPayload(u32),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::UnknownType(kind) => write!(f, "type {kind}: unknown_frame"),
            FrameError::TooLarge { size, max } => write!(f, "{{frame_too_large,{size},{max}}}"),
            FrameError::BadEnd(end) => write!(f, "{{invalid_frame_end_marker,{end}}}"),
            FrameError::HeartbeatPayload(size) => write!(f, "heartbeat frame with {size} octets"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Reads the frame at the start of `input`: the frame and the bytes it takes, or `None` until all of it has arrived.
/// `frame_max` counts a whole frame, 0 means no limit. A wrong type or size is refused before the payload is waited for.
#[inline]
pub fn parse(input: &[u8], frame_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((&[octet, c0, c1, s0, s1, s2, s3], rest)) = input.split_first_chunk::<7>() else {
        return match input.first() {
            Some(&octet) if FrameKind::from_octet(octet).is_none() => Err(FrameError::UnknownType(octet)),
            _ => Ok(None),
        };
    };
    let kind = FrameKind::from_octet(octet).ok_or(FrameError::UnknownType(octet))?;
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    if frame_max != 0 && u64::from(size) + FRAME_OVERHEAD as u64 > u64::from(frame_max) {
        return Err(FrameError::TooLarge { size, max: frame_max });
    }
    if kind == FrameKind::Heartbeat && size != 0 {
        return Err(FrameError::HeartbeatPayload(size));
    }
    let Some((payload, end)) = rest.split_at_checked(size as usize) else { return Ok(None) };
    match end.first() {
        None => Ok(None),
        Some(&FRAME_END) => {
            let frame = Frame { kind, channel: u16::from_be_bytes([c0, c1]), payload };
            Ok(Some((frame, payload.len() + FRAME_OVERHEAD)))
        }
        Some(&other) => Err(FrameError::BadEnd(other)),
    }
}

/// Writes what a frame begins with.
#[inline]
pub(crate) fn frame_head(kind: FrameKind, channel: u16, size: u32, out: &mut Vec<u8>) {
    let ([c0, c1], [s0, s1, s2, s3]) = (channel.to_be_bytes(), size.to_be_bytes());
    out.extend_from_slice(&[kind.octet(), c0, c1, s0, s1, s2, s3]);
}

/// Writes a frame around the payload that `write` appends.
#[inline]
pub(crate) fn frame(kind: FrameKind, channel: u16, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    frame_head(kind, channel, 0, out);
    let start = out.len();
    write(out);
    let size = u32::try_from(out.len() - start).expect("a frame is smaller than 4 GiB");
    if let Some(place) = out.get_mut(start - 4..start) {
        place.copy_from_slice(&size.to_be_bytes());
    }
    out.push(FRAME_END);
}

/// The first eight bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolHeader {
    /// AMQP 0-9-1: go on with `connection.start`.
    Amqp091,
    /// AMQP 1.0, by protocol id: 0 AMQP, 2 TLS, 3 SASL.
    Amqp10(u8),
    /// Anything else: answer with ours and close.
    Other([u8; 8]),
}

/// Reads the protocol header, eight bytes, or gives `None` until they have arrived.
pub fn parse_protocol_header(input: &[u8]) -> Option<ProtocolHeader> {
    let (header, _) = input.split_first_chunk::<8>()?;
    Some(match *header {
        PROTOCOL_HEADER => ProtocolHeader::Amqp091,
        [b'A', b'M', b'Q', b'P', id @ (0 | 2 | 3), 1, 0, 0] => ProtocolHeader::Amqp10(id),
        other => ProtocolHeader::Other(other),
    })
}
