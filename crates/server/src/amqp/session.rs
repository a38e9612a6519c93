//! One AMQP connection as a state machine: bytes in, bytes out, no socket. Replies leave in order on each channel;
//! what is durable leaves when the disk has it, confirms in a stream of their own.

use crate::amqp::channel::{Channel, Leaving};
use crate::amqp::credit::Credit;
use crate::amqp::handshake::Phase;
use crate::amqp::incoming::{Incoming, Limits, NO_HEADER, Step};
use crate::amqp::permissions::Rights;
use crate::around::Around;
use crate::connection::OUT_MAX;
use crate::output::Output;
use crate::resp::RespSession;
use leveret_amqp::{ChannelClose, ConnectionClose, Method, ReplyCode};
use leveret_engine::accounts::Finding;
use leveret_engine::broker::{Event, Exception, VhostId};
use leveret_engine::{Engine, Link, Position, SessionId};
use std::collections::BTreeMap;

/// What a method has led to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Closes the channel or the connection, as the code says.
    Exception(Exception),
    /// Closes the connection, whatever the code says.
    Connection(ReplyCode, String),
}

/// What a method comes to.
pub(crate) type Outcome = Result<(), Failure>;

impl From<Exception> for Failure {
    fn from(exception: Exception) -> Self {
        Failure::Exception(exception)
    }
}

impl Failure {
    pub(crate) fn connection(code: ReplyCode, text: impl Into<String>) -> Self {
        Failure::Connection(code, text.into())
    }
}

/// One connection.
pub(crate) struct AmqpSession {
    pub(crate) id: SessionId,
    pub(crate) phase: Phase,
    pub(crate) vhost: Option<VhostId>,
    pub(crate) user: String,
    pub(crate) rights: Rights,
    /// The user may say that messages are from somebody else.
    pub(crate) impersonates: bool,
    /// What others may know of the connection, once it is open.
    pub(crate) link: Link,
    /// The client understands connection.blocked.
    pub(super) wants_blocked: bool,
    /// Likewise basic.cancel, when it comes from us. (RabbitMQ: consumer_cancel_notify)
    pub(super) hears_cancel: bool,
    /// Why publishers are blocked, as far as this session knows.
    pub(crate) alarm: Option<&'static str>,
    /// It has something to publish, which has to wait.
    pub(super) blocked: bool,
    /// It wants to get a message that is being read from the log.
    getting: bool,
    /// What it may publish before others have caught up.
    pub(crate) credit: Credit,
    /// What came out of a check of its password.
    pub(crate) finding: Option<Finding>,
    /// Why somebody wants the connection closed.
    forced: Option<String>,
    pub(crate) frame_max: u32,
    pub(crate) channel_max: u16,
    /// Seconds; 0 is none.
    pub(crate) heartbeat: u16,
    pub(crate) channels: BTreeMap<u16, Channel>,
    pub(crate) loopback: bool,
    /// What the disk has, as far as this session knows.
    pub(crate) synced: Position,
    /// The last commit before the method that is being executed.
    pub(crate) before: Position,
    pub(crate) message_bytes_max: u64,
    /// Bytes of replies that wait for the disk.
    pub(super) held_bytes: usize,
    /// Bytes that open transactions have gathered.
    pub(crate) tx_bytes: u64,
    /// Bytes put out for consumers that the engine has not been told of having left.
    pub(crate) delivered_bytes: usize,
    /// Who executes commands of Redis' protocol for it, from the first one on.
    pub(super) hands: Option<Box<RespSession>>,
    /// Channels that the broker has closed; what the client did there before it heard of it must go, too.
    timed_out: Vec<u16>,
    /// Closed channels whose replies wait, and what is said when all of them are gone.
    pub(super) leaving: Vec<Leaving>,
    pub(super) last_words: Vec<u8>,
    input: Vec<u8>,
    /// Up to where the input is decoded.
    at: usize,
    /// What is left of it is no whole frame.
    starved: bool,
    incoming: Incoming,
    /// What the engine has put out for this session.
    pub(crate) events: Vec<Event>,
    pub(super) received_ms: u64,
    pub(super) sent_ms: u64,
}

impl AmqpSession {
    /// A new session; `loopback` tells whether the peer is on this machine.
    pub(crate) fn new(
        id: SessionId,
        loopback: bool,
        link: Link,
        message_bytes_max: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            phase: Phase::Header,
            vhost: None,
            user: String::new(),
            rights: Rights::default(),
            impersonates: false,
            link,
            wants_blocked: false,
            hears_cancel: false,
            alarm: None,
            blocked: false,
            getting: false,
            credit: Credit::new(usize::MAX),
            hands: None,
            finding: None,
            forced: None,
            frame_max: 131_072,
            channel_max: 2047,
            heartbeat: 0,
            channels: BTreeMap::new(),
            loopback,
            synced: 0,
            before: 0,
            message_bytes_max,
            held_bytes: 0,
            tx_bytes: 0,
            delivered_bytes: 0,
            timed_out: Vec::new(),
            leaving: Vec::new(),
            last_words: Vec::new(),
            input: Vec::new(),
            at: 0,
            starved: false,
            incoming: Incoming::default(),
            events: Vec::new(),
            received_ms: now_ms,
            sent_ms: now_ms,
        }
    }

    /// The session's number in the engine.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Where the socket's bytes are read into.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// Decodes what has arrived. Outside the lock.
    pub(crate) fn decode(&mut self, now_ms: u64) {
        self.touch(now_ms);
        self.starved = false;
        if self.phase == Phase::Running {
            self.decode_steps(usize::MAX);
        }
    }

    /// What others have said of the connection.
    pub(crate) fn notice(&mut self, forced: Option<String>, finding: Option<Finding>) {
        self.forced = forced.filter(|_| self.phase == Phase::Running).or(self.forced.take());
        self.finding = finding.or(self.finding.take());
    }

    /// The peer is alive.
    pub(crate) fn touch(&mut self, now_ms: u64) {
        self.received_ms = now_ms;
    }

    fn decode_steps(&mut self, steps_max: usize) {
        if self.at > 0 && self.incoming.steps.is_empty() {
            self.input.drain(..self.at);
            self.at = 0;
        }
        let limits = Limits {
            frame_max: self.frame_max,
            message_bytes_max: self.message_bytes_max,
            user: self.user.as_bytes(),
            impersonates: self.impersonates,
        };
        self.incoming.decode(&self.input, &mut self.at, &limits, steps_max);
    }

    /// A message that it wants to get is being read from the log.
    pub(crate) fn get_later(&mut self) {
        self.getting = true;
    }

    /// Looks for the news that it has been.
    pub(crate) fn notice_fetched(&mut self) {
        if self.getting {
            let before = self.events.len();
            self.events.retain(|event| !matches!(event, Event::Fetched));
            self.getting = self.events.len() == before;
        }
    }

    /// True while it waits for that.
    pub(crate) fn is_getting(&self) -> bool {
        self.getting
    }

    /// True when there is something for `execute`.
    pub(crate) fn has_work(&self) -> bool {
        if self.forced.is_some() {
            return true;
        }
        if self.phase == Phase::Checking {
            return self.finding.is_some();
        }
        let undecoded = self.phase != Phase::Running && self.at < self.input.len() && !self.starved;
        !self.incoming.steps.is_empty() || undecoded
    }

    /// True when something can be executed now.
    pub(crate) fn may_execute(&self) -> bool {
        let waits = self.blocked && self.alarm.is_some() || self.credit.is_used_up() || self.getting;
        self.has_work() && (!waits || self.forced.is_some())
    }

    /// Executes what has arrived, under the lock. False when the connection is over.
    pub(crate) fn execute(&mut self, engine: &mut Engine, around: &Around<'_>, out: &mut Output) -> bool {
        if let Some(why) = self.forced.take() {
            self.getting = false;
            self.fail(engine, 0, Failure::connection(ReplyCode::ConnectionForced, why), 0, 0, out);
        }
        self.unblock(out);
        self.credit.begin_turn();
        if self.phase == Phase::Checking && !self.go_on(engine, out) {
            return true;
        }
        for number in std::mem::take(&mut self.timed_out) {
            engine.on_broker(|txn| txn.channel_closed(self.id, number));
        }
        loop {
            self.execute_steps(engine, around, out);
            if !self.incoming.steps.is_empty() {
                return self.phase != Phase::Over;
            }
            // Until the connection is open each step decides how the next one is read.
            let len = match self.phase {
                Phase::Over => return false,
                Phase::Header => {
                    let input = std::mem::take(&mut self.input);
                    let len = self.protocol_header(input.get(self.at..).unwrap_or_default(), out);
                    self.input = input;
                    self.at += len;
                    len
                }
                Phase::Running => {
                    self.decode_steps(usize::MAX);
                    self.incoming.steps.len()
                }
                Phase::Checking => 0,
                Phase::Start | Phase::Tune | Phase::Open | Phase::Closing => {
                    self.decode_steps(1);
                    self.incoming.steps.len()
                }
            };
            if len == 0 {
                self.starved = true;
                break;
            }
        }
        if self.at == self.input.len() {
            self.at = 0;
            self.input.clear();
            if self.input.capacity() > INPUT_KEPT {
                self.input = Vec::new();
            }
        }
        true
    }

    fn execute_steps(&mut self, engine: &mut Engine, around: &Around<'_>, out: &mut Output) {
        let input = std::mem::take(&mut self.input);
        let mut steps = std::mem::take(&mut self.incoming.steps);
        let (mut left, start) = (steps.drain(..), out.unsent());
        let mut waits: Vec<Step> = Vec::new();
        for step in left.by_ref() {
            self.credit.worked();
            match step {
                Step::Method { channel, payload, interrupts } => {
                    let bytes = input.get(payload.clone()).unwrap_or_default();
                    self.method_step((engine, around), channel, bytes, interrupts, out);
                    if self.getting {
                        // It is executed again when the message is there, and what follows it waits, too.
                        waits.push(Step::Method { channel, payload, interrupts });
                        break;
                    }
                }
                Step::Publish { channel, mandatory, message } => {
                    if let Some(reason) = self.alarm {
                        // It and all that follows it waits.
                        self.block(reason, out);
                        waits.push(Step::Publish { channel, mandatory, message });
                        break;
                    }
                    if let Err(failure) = self.publish((engine, around), channel, mandatory, &message, out) {
                        self.fail(engine, channel, failure, 60, 40, out);
                    }
                }
                Step::Refused { channel, failure } => {
                    if channel == 0 || self.is_open(channel) {
                        self.fail(engine, channel, failure, 60, 40, out);
                    }
                }
            }
            // The rest waits until the client has read, or others have caught up.
            let has_room = out.unsent() - start + self.held_bytes <= OUT_MAX;
            if self.phase == Phase::Over || !has_room || self.credit.ends_turn() {
                break;
            }
        }
        waits.extend(left);
        self.credit.end_turn(engine.position());
        self.show_waits(engine);
        self.incoming.steps = if waits.is_empty() { steps } else { waits };
        self.input = input;
    }

    fn method_step(
        &mut self,
        (engine, around): (&mut Engine, &Around<'_>),
        number: u16,
        payload: &[u8],
        interrupts: bool,
        out: &mut Output,
    ) {
        self.before = engine.position();
        let mut ids = (0, 0);
        let result = Method::decode(payload)
            .map_err(|error| Failure::connection(error.reply_code(), error.to_string()))
            .and_then(|method| {
                ids = (method.class_id(), method.method_id());
                match self.phase {
                    Phase::Running if interrupts && self.is_open(number) => {
                        Err(Failure::connection(ReplyCode::UnexpectedFrame, NO_HEADER))
                    }
                    Phase::Running => self.method((engine, around), number, method, out),
                    Phase::Closing | Phase::Over => {
                        self.while_closing(&method, out);
                        Ok(())
                    }
                    Phase::Checking => Ok(()),
                    Phase::Header | Phase::Start | Phase::Tune | Phase::Open => {
                        self.shake_hands(engine, &method, out)
                    }
                }
            });
        if let Err(failure) = result {
            self.fail(engine, number, failure, ids.0, ids.1, out);
        }
    }

    /// True for a channel that is open and not about to close.
    pub(crate) fn is_open(&self, number: u16) -> bool {
        self.phase == Phase::Running && self.channels.get(&number).is_some_and(|channel| !channel.closing)
    }

    fn while_closing(&mut self, method: &Method<'_>, out: &mut Output) {
        match method {
            Method::ConnectionCloseOk(_) => self.phase = Phase::Over,
            Method::ConnectionClose(_) => {
                self.say_last(&Method::ConnectionCloseOk(leveret_amqp::ConnectionCloseOk {}), out);
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// Closes the channel or the connection with the code and text. (AMQP 0-9-1 1.1.2)
    pub(crate) fn fail(
        &mut self,
        engine: &mut Engine,
        number: u16,
        failure: Failure,
        class_id: u16,
        method_id: u16,
        out: &mut Output,
    ) {
        if self.phase == Phase::Closing {
            // Another mistake while it was told of the first one.
            self.phase = Phase::Over;
            return;
        }
        let (code, text, hard) = match failure {
            Failure::Exception(exception) => (exception.code, exception.text, exception.hard),
            Failure::Connection(code, text) => (code.code(), code.text(&text), true),
        };
        // A short string holds 255 bytes.
        let reply_text = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
        if hard || number == 0 || self.phase != Phase::Running {
            let close = ConnectionClose { reply_code: code, reply_text, class_id, method_id };
            self.give_back(engine);
            self.say_last(&Method::ConnectionClose(close), out);
            self.phase = Phase::Closing;
            return;
        }
        let close = ChannelClose { reply_code: code, reply_text, class_id, method_id };
        self.close_channel(engine, number, &Method::ChannelClose(close), out);
        self.channels.insert(number, Channel::closing());
    }

    /// Returns what a channel holds, deliveries that have not left included: a channel of the same number that is
    /// opened next must not get them. `farewell` leaves behind the replies that wait for the disk.
    pub(crate) fn close_channel(
        &mut self,
        engine: &mut Engine,
        number: u16,
        farewell: &Method<'_>,
        out: &mut Output,
    ) {
        engine.on_broker(|txn| txn.channel_closed(self.id, number));
        if let Some(link) = engine.link(self.id) {
            link.channels.remove(&number);
        }
        let mut dropped_bytes = 0;
        let mut of_another = |event: &Event| match event {
            Event::Deliver { channel, message, .. } if *channel == number => {
                dropped_bytes += message.size();
                false
            }
            Event::Deliver { .. } | Event::Fetched => true,
            Event::Cancel { channel, .. }
            | Event::Released { channel, .. }
            | Event::TimedOut { channel, .. } => *channel != number,
        };
        self.events.retain(&mut of_another);
        if let Some(session) = engine.session(self.id) {
            session.events.retain(&mut of_another);
        }
        // They have left as far as the window is concerned.
        self.delivered_bytes += dropped_bytes;
        self.leave(number, farewell, out);
    }

    /// The broker has closed a channel that held a message for too long.
    pub(crate) fn timed_out(&mut self, number: u16, timeout_ms: u64, out: &mut Output) {
        if !self.is_open(number) {
            return;
        }
        let text = format!(
            "PRECONDITION_FAILED - delivery acknowledgement on channel {number} timed out. Timeout value used: \
             {timeout_ms} ms. This timeout value can be configured, see consumers doc guide to learn more"
        );
        let reply_code = ReplyCode::PreconditionFailed.code();
        let close = ChannelClose { reply_code, reply_text: text.as_bytes(), class_id: 0, method_id: 0 };
        self.leave(number, &Method::ChannelClose(close), out);
        self.channels.insert(number, Channel::closing());
        self.timed_out.push(number);
    }

    /// A channel is closed for the engine; `farewell` leaves behind its replies that wait for the disk.
    fn leave(&mut self, number: u16, farewell: &Method<'_>, out: &mut Output) {
        let mut bytes = Vec::new();
        farewell.encode(number, &mut bytes);
        let removed = self.channels.remove(&number);
        self.tx_bytes -= removed.as_ref().and_then(|channel| channel.tx.as_ref()).map_or(0, |tx| tx.bytes);
        match removed {
            Some(channel) if channel.waits() => {
                self.leaving.push(Leaving { number, channel, farewell: bytes });
            }
            Some(_) | None => out.bytes.extend_from_slice(&bytes),
        }
    }

    /// Returns what the channels hold. Their replies that wait for the disk still leave.
    pub(crate) fn give_back(&mut self, engine: &mut Engine) {
        // All at once, or what one of them held would go to the next.
        engine.on_broker(|txn| txn.session_closed(self.id));
        for (number, channel) in std::mem::take(&mut self.channels) {
            if channel.waits() {
                self.leaving.push(Leaving { number, channel, farewell: Vec::new() });
            }
        }
    }
}

/// An empty input buffer is given back when it is larger than this.
const INPUT_KEPT: usize = 256 * 1024;
