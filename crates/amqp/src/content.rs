//! A method with its content: one method frame, one header frame, and the body in frames no larger than agreed. All is
//! appended to the same output without an intermediate copy, or the body is left out where it is to be sent from where it lies.

use crate::frame::{FRAME_END, FRAME_OVERHEAD, FrameKind, frame, frame_head};
use crate::{FRAME_MIN_SIZE, Method};
use std::ops::Range;

/// Appends the frames of a method and its content. `properties_raw` is `Properties::raw` or what
/// `PropertyValues::encode` wrote; `frame_max` counts a whole frame, 0 means no limit.
#[inline]
pub fn encode_content(
    channel: u16,
    method: &Method<'_>,
    properties_raw: &[u8],
    body: &[u8],
    frame_max: u32,
    out: &mut Vec<u8>,
) {
    debug_assert!(method.has_content(), "{} carries no content", method.name());
    // With its frames, of which each has less than the 256th part of the smallest; else a large body would be moved once more.
    out.reserve(body.len() + body.len() / 256 + properties_raw.len() + 256);
    method.encode(channel, out);
    encode_header(channel, method.class_id(), body.len() as u64, properties_raw, out);
    encode_body(channel, body, frame_max, out);
}

/// Appends the frames of a method and its content without the bytes of the body: `leave_out` gets each part of it, and
/// before which byte of `out` that belongs. A body has less than 4 GiB.
#[inline]
pub fn encode_content_around(
    channel: u16,
    method: &Method<'_>,
    properties_raw: &[u8],
    body_len: usize,
    frame_max: u32,
    out: &mut Vec<u8>,
    mut leave_out: impl FnMut(usize, Range<usize>),
) {
    debug_assert!(method.has_content(), "{} carries no content", method.name());
    method.encode(channel, out);
    encode_header(channel, method.class_id(), body_len as u64, properties_raw, out);
    let (payload_max, mut start) = (payload_max(frame_max), 0);
    while start < body_len {
        let end = body_len.min(start + payload_max);
        frame_head(FrameKind::Body, channel, (end - start) as u32, out);
        leave_out(out.len(), start..end);
        out.push(FRAME_END);
        start = end;
    }
}

/// Appends a header frame alone; the body may follow in parts. A header is never split: properties that came in under
/// a larger `frame_max` leave in one frame, as RabbitMQ does it.
#[inline]
pub fn encode_header(channel: u16, class_id: u16, body_size: u64, properties_raw: &[u8], out: &mut Vec<u8>) {
    frame(FrameKind::Header, channel, out, |out| {
        out.extend_from_slice(&class_id.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&body_size.to_be_bytes());
        out.extend_from_slice(properties_raw);
    });
}

/// Appends a body, or a part of it, as body frames; an empty one takes none.
#[inline]
pub fn encode_body(channel: u16, body: &[u8], frame_max: u32, out: &mut Vec<u8>) {
    for part in body.chunks(payload_max(frame_max)) {
        frame(FrameKind::Body, channel, out, |out| out.extend_from_slice(part));
    }
}

/// Bytes of a body that one frame carries at most.
fn payload_max(frame_max: u32) -> usize {
    // Less than the smallest size is never agreed upon; it must not make frames without payload either.
    match frame_max {
        0 => u32::MAX as usize,
        max => max.max(FRAME_MIN_SIZE) as usize - FRAME_OVERHEAD,
    }
}
