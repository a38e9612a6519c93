//! What has arrived, decoded outside the lock: whole messages, and where every other method lies in the input. It knows
//! nothing of open or closed channels: what a step means is decided when it is executed.

use crate::amqp::session::Failure;
use leveret_amqp::{BasicPublish, ContentHeader, Frame, FrameKind, Properties, ReplyCode};
use leveret_engine::broker::{Exception, Message, MessageParts};
use std::ops::Range;
use std::sync::Arc;

/// Something to execute.
pub(crate) enum Step {
    /// A method at this place of the input; `interrupts` when content should have come.
    Method { channel: u16, payload: Range<usize>, interrupts: bool },
    /// A whole message.
    Publish { channel: u16, mandatory: bool, message: Arc<Message> },
    /// Content that cannot be taken.
    Refused { channel: u16, failure: Failure },
}

/// A `basic.publish` whose content has not all come.
struct Arriving {
    channel: u16,
    mandatory: bool,
    content: Content,
}

enum Content {
    /// The header must come.
    Names(MessageParts),
    /// The body is coming.
    Body(MessageParts),
    /// The message is refused; so many bytes of its body are still to come.
    Skipped(u64),
}

/// What decoding must know of its connection.
pub(crate) struct Limits<'a> {
    pub(crate) frame_max: u32,
    pub(crate) message_bytes_max: u64,
    pub(crate) user: &'a [u8],
    pub(crate) impersonates: bool,
}

/// The decoder of one connection.
#[derive(Default)]
pub(crate) struct Incoming {
    /// What is to be executed, in order.
    pub(crate) steps: Vec<Step>,
    arriving: Vec<Arriving>,
}

impl Incoming {
    /// Decodes whole frames from `at` on, until `steps_max` steps are there; moves `at` behind them.
    pub(crate) fn decode(&mut self, input: &[u8], at: &mut usize, limits: &Limits<'_>, steps_max: usize) {
        while self.steps.len() < steps_max {
            let rest = input.get(*at..).unwrap_or_default();
            match leveret_amqp::parse(rest, limits.frame_max) {
                Ok(None) => return,
                Ok(Some((frame, len))) => {
                    *at += len;
                    // A payload ends one byte before its frame.
                    let payload = *at - 1 - frame.payload.len()..*at - 1;
                    self.frame(frame, payload, limits);
                }
                Err(error) => {
                    *at = input.len();
                    self.refuse(0, Failure::connection(ReplyCode::FrameError, error.to_string()));
                    return;
                }
            }
        }
    }

    fn refuse(&mut self, channel: u16, failure: Failure) {
        self.steps.push(Step::Refused { channel, failure });
    }

    fn frame(&mut self, frame: Frame<'_>, payload: Range<usize>, limits: &Limits<'_>) {
        match frame.kind {
            FrameKind::Heartbeat if frame.channel != 0 => {
                let text = "type 8, all octets = <<>>";
                self.refuse(0, Failure::connection(ReplyCode::UnexpectedFrame, text));
            }
            FrameKind::Heartbeat => {}
            FrameKind::Method => self.method(frame, payload),
            FrameKind::Header => self.header(frame, limits),
            FrameKind::Body => self.body(frame, limits),
        }
    }

    fn method(&mut self, frame: Frame<'_>, payload: Range<usize>) {
        let channel = frame.channel;
        let before = self.arriving.len();
        if before > 0 {
            self.arriving.retain(|arriving| arriving.channel != channel);
        }
        let interrupts = self.arriving.len() < before;
        if !interrupts
            && channel != 0
            && frame.payload.starts_with(&BASIC_PUBLISH)
            && let Ok(publish) = BasicPublish::decode(frame.payload)
        {
            if publish.immediate {
                let failure = Failure::connection(ReplyCode::NotImplemented, "immediate=true");
                return self.refuse(channel, failure);
            }
            let content = Content::Names(MessageParts::new(publish.exchange, publish.routing_key));
            self.arriving.push(Arriving { channel, mandatory: publish.mandatory, content });
            return;
        }
        self.steps.push(Step::Method { channel, payload, interrupts });
    }

    fn header(&mut self, frame: Frame<'_>, limits: &Limits<'_>) {
        let channel = frame.channel;
        let place = self.arriving.iter().position(|arriving| arriving.channel == channel);
        let Some(mut arriving) = place.map(|place| self.arriving.swap_remove(place)) else {
            return self.unexpected(channel);
        };
        let Content::Names(mut parts) = arriving.content else {
            return self.unexpected(channel);
        };
        if let Some(class) = frame.payload.first_chunk::<2>().map(|class| u16::from_be_bytes(*class))
            && class != BASIC
        {
            let text = format!("expected content header for class 60, got one for class {class} instead");
            return self.refuse(channel, Failure::connection(ReplyCode::UnexpectedFrame, text));
        }
        let header = match ContentHeader::parse(frame.payload) {
            Ok(header) => header,
            Err(error) => {
                let failure = Failure::connection(error.reply_code(), error.to_string());
                return self.refuse(channel, failure);
            }
        };
        let (size, max) = (header.body_size, limits.message_bytes_max);
        if size > max {
            let text =
                format!("PRECONDITION_FAILED - message size {size} is larger than configured max size {max}");
            self.refuse(channel, Exception { code: 406, text, hard: false }.into());
            arriving.content = Content::Skipped(size);
            return self.arriving.push(arriving);
        }
        parts.header(header.properties.raw(), size as usize);
        if size == 0 {
            return self.complete(channel, arriving.mandatory, parts, limits);
        }
        arriving.content = Content::Body(parts);
        self.arriving.push(arriving);
    }

    fn body(&mut self, frame: Frame<'_>, limits: &Limits<'_>) {
        let channel = frame.channel;
        let Some(place) = self.arriving.iter().position(|arriving| arriving.channel == channel) else {
            return self.unexpected(channel);
        };
        let missing = match &mut self.arriving[place].content {
            Content::Names(_) => {
                self.arriving.swap_remove(place);
                return self.refuse(channel, Failure::connection(ReplyCode::UnexpectedFrame, NO_HEADER));
            }
            Content::Body(parts) => parts.body(frame.payload).map(|left| left as u64),
            Content::Skipped(left) => {
                *left = left.saturating_sub(frame.payload.len() as u64);
                Ok(*left)
            }
        };
        match missing {
            Ok(0) => {
                let Arriving { mandatory, content, .. } = self.arriving.swap_remove(place);
                if let Content::Body(parts) = content {
                    self.complete(channel, mandatory, parts, limits);
                }
            }
            Ok(_) => {}
            Err(_) => {
                self.arriving.swap_remove(place);
                let text = "content body frame exceeds remaining content size";
                self.refuse(channel, Failure::connection(ReplyCode::FrameError, text));
            }
        }
    }

    fn unexpected(&mut self, channel: u16) {
        let text = "expected method frame, got non method frame instead";
        self.refuse(channel, Failure::connection(ReplyCode::UnexpectedFrame, text));
    }

    fn complete(&mut self, channel: u16, mandatory: bool, parts: MessageParts, limits: &Limits<'_>) {
        let message = match parts.complete() {
            Ok(message) => message,
            Err(exception) => return self.refuse(channel, exception.into()),
        };
        match Properties::from_validated(message.properties()).user_id() {
            Some(user) if user != limits.user && !limits.impersonates => {
                let text = format!(
                    "PRECONDITION_FAILED - user_id property set to '{}' but authenticated user was '{}'",
                    String::from_utf8_lossy(user),
                    String::from_utf8_lossy(limits.user)
                );
                self.refuse(channel, Exception { code: 406, text, hard: false }.into());
            }
            Some(_) | None => {
                self.steps.push(Step::Publish { channel, mandatory, message: Arc::new(message) });
            }
        }
    }
}

/// What is wrong when something else comes behind `basic.publish`.
pub(super) const NO_HEADER: &str =
    "expected content header for class 60, got non content header frame instead";

/// The class of all content.
const BASIC: u16 = 60;

/// Class 60, method 40.
const BASIC_PUBLISH: [u8; 4] = [0, 60, 0, 40];

#[cfg(test)]
mod tests {
    use super::{Incoming, Limits, Step};
    use crate::amqp::session::Failure;

    fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, channel, 0, 0, 0, payload.len() as u8];
        frame.extend_from_slice(payload);
        frame.push(0xce);
        frame
    }

    const PUBLISH: &[u8] = &[0, 60, 0, 40, 0, 0, 0, 2, 0xff, 0xfe, 0];

    fn steps(frames: &[Vec<u8>]) -> Vec<Step> {
        let mut incoming = Incoming::default();
        let limits = Limits { frame_max: 8192, message_bytes_max: 100, user: b"guest", impersonates: false };
        incoming.decode(&frames.concat(), &mut 0, &limits, usize::MAX);
        incoming.steps
    }

    fn refusal(steps: &[Step]) -> String {
        match steps {
            [Step::Refused { failure: Failure::Connection(code, text), .. }] => {
                format!("{} {text}", code.code())
            }
            _ => "it is not refused".to_owned(),
        }
    }

    #[test]
    fn a_header_must_be_one_of_content() {
        let header = |class| frame(2, 1, &[0, class, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            refusal(&steps(&[frame(1, 1, PUBLISH), header(50)])),
            "505 expected content header for class 60, got one for class 50 instead"
        );
        // Any bytes are a routing key.
        match &steps(&[frame(1, 1, PUBLISH), header(60)])[..] {
            [Step::Publish { message, .. }] => assert_eq!(message.routing_key(), [0xff, 0xfe]),
            _ => panic!("it is no publish"),
        }
    }

    #[test]
    fn a_heartbeat_belongs_to_no_channel() {
        assert!(steps(&[frame(8, 0, &[])]).is_empty());
        assert_eq!(refusal(&steps(&[frame(8, 1, &[])])), "505 type 8, all octets = <<>>");
    }
}
