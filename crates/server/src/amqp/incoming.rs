//! What has arrived, decoded outside the lock: whole messages, and where every other method lies in the input. It knows
//! nothing of open or closed channels: what a step means is decided when it is executed.

use crate::amqp::session::Failure;
use leveret_amqp::{ContentHeader, Frame, FrameKind, Method, Properties, ReplyCode};
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
            && frame.payload.starts_with(&BASIC_PUBLISH)
            && let Ok(Method::BasicPublish(publish)) = Method::decode(frame.payload)
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
            return self.unexpected(channel, "header");
        };
        let Content::Names(mut parts) = arriving.content else {
            return self.unexpected(channel, "header");
        };
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
            return self.unexpected(channel, "body");
        };
        let missing = match &mut self.arriving[place].content {
            Content::Names(_) => {
                self.arriving.swap_remove(place);
                return self.unexpected(channel, "body");
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
            Err(more) => {
                self.arriving.swap_remove(place);
                let text = format!("the body is {more} bytes longer than its header said");
                self.refuse(channel, Failure::connection(ReplyCode::FrameError, text));
            }
        }
    }

    fn unexpected(&mut self, channel: u16, kind: &str) {
        let text = format!("expected method frame, got content {kind} frame instead");
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

/// Class 60, method 40.
const BASIC_PUBLISH: [u8; 4] = [0, 60, 0, 40];
