//! What channels have sent behind a `basic.get` whose message is being read from disk: each goes on by itself, in order, when it is
//! there. Other channels go on meanwhile.

use crate::amqp::handshake::Phase;
use crate::amqp::incoming::Step;
use crate::amqp::session::{AmqpSession, Failure};
use crate::around::Around;
use crate::connection::OUT_MAX;
use leveret_engine::Engine;
use leveret_engine::broker::{Event, Message};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// With so many bytes kept the connection waits as a whole.
const BYTES_MAX: usize = 1024 * 1024;
/// About what a step takes beside its bytes.
const STEP_BYTES: usize = 64;

/// Something to execute that does not need the connection's input any more.
pub(super) enum LaterStep {
    Method { payload: Box<[u8]>, interrupts: bool },
    Publish { mandatory: bool, message: Arc<Message> },
    Refused { failure: Failure },
}

impl LaterStep {
    /// A method of the input.
    pub(super) fn method(input: &[u8], payload: Range<usize>, interrupts: bool) -> Self {
        LaterStep::Method { payload: input.get(payload).unwrap_or_default().into(), interrupts }
    }

    fn bytes(&self) -> usize {
        STEP_BYTES
            + match self {
                LaterStep::Method { payload, .. } => payload.len(),
                LaterStep::Publish { message, .. } => message.size(),
                LaterStep::Refused { .. } => 0,
            }
    }
}

/// What waits, by channel.
#[derive(Default)]
pub(super) struct Later {
    channels: BTreeMap<u16, VecDeque<LaterStep>>,
    bytes: usize,
    /// Something has been read: they may go on.
    pub(super) may_go_on: bool,
}

impl Later {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// True when nothing more can be kept.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps a step behind others of its channel, which waits from now on if it did not.
    pub(super) fn push(&mut self, channel: u16, step: LaterStep) {
        self.bytes += step.bytes();
        self.channels.entry(channel).or_default().push_back(step);
    }

    /// Keeps a step if its channel waits; otherwise it comes back.
    pub(super) fn keep(&mut self, step: Step, input: &[u8]) -> Option<Step> {
        if !self.channels.contains_key(&step.channel()) {
            return Some(step);
        }
        match step {
            Step::Method { channel, payload, interrupts } => {
                self.push(channel, LaterStep::method(input, payload, interrupts));
            }
            Step::Publish { channel, mandatory, message } => {
                self.push(channel, LaterStep::Publish { mandatory, message });
            }
            Step::Refused { channel, failure } => self.push(channel, LaterStep::Refused { failure }),
        }
        None
    }

    /// The channels that wait.
    pub(super) fn waiting(&self) -> Vec<u16> {
        self.channels.keys().copied().collect()
    }

    /// The next step of a channel.
    pub(super) fn next(&mut self, channel: u16) -> Option<LaterStep> {
        let step = self.channels.get_mut(&channel)?.pop_front();
        match &step {
            Some(step) => self.bytes -= step.bytes(),
            None => drop(self.channels.remove(&channel)),
        }
        step
    }

    /// It could not be executed yet.
    pub(super) fn put_back(&mut self, channel: u16, step: LaterStep) {
        self.bytes += step.bytes();
        self.channels.entry(channel).or_default().push_front(step);
    }
}

impl AmqpSession {
    /// A message that it wants to get is being read from disk.
    pub(crate) fn get_later(&mut self) {
        self.getting = true;
    }

    /// Looks for the news that one has been.
    pub(crate) fn notice_fetched(&mut self) {
        if !self.later.is_empty() {
            let before = self.events.len();
            self.events.retain(|event| !matches!(event, Event::Fetched));
            self.later.may_go_on |= self.events.len() < before;
        }
    }

    /// Executes what had to wait, if something has been read; false when the turn ends with it.
    pub(super) fn execute_later(
        &mut self,
        engine: &mut Engine,
        around: &Around<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        if !std::mem::take(&mut self.later.may_go_on) {
            return true;
        }
        let start = out.len();
        for channel in self.later.waiting() {
            while let Some(step) = self.later.next(channel) {
                self.credit.worked();
                match step {
                    LaterStep::Method { payload, interrupts } => {
                        self.method_step((engine, around), channel, &payload, interrupts, out);
                        if std::mem::take(&mut self.getting) {
                            self.later.put_back(channel, LaterStep::Method { payload, interrupts });
                            break;
                        }
                    }
                    LaterStep::Publish { mandatory, message } => {
                        if let Some(reason) = self.alarm {
                            self.block(reason, out);
                            self.later.put_back(channel, LaterStep::Publish { mandatory, message });
                            self.later.may_go_on = true;
                            return false;
                        }
                        if let Err(failure) =
                            self.publish((engine, around), channel, mandatory, &message, out)
                        {
                            self.fail(engine, channel, failure, 60, 40, out);
                        }
                    }
                    LaterStep::Refused { failure } => {
                        if channel == 0 || self.is_open(channel) {
                            self.fail(engine, channel, failure, 60, 40, out);
                        }
                    }
                }
                let has_room = out.len() - start + self.held_bytes <= OUT_MAX;
                if self.phase == Phase::Over || !has_room || self.credit.ends_turn() {
                    self.later.may_go_on = true;
                    return false;
                }
            }
        }
        true
    }
}
