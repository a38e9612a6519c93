//! A runner that speaks AMQP: gets or consumes, and in `tx` says commands, publishes and acknowledges. What it holds goes back to its
//! queue with its connection; what it had committed without hearing so is done, or is not.

use super::{BATONS_MAX, number};
use crate::amqp::{SHAKEN, shake_hands};
use crate::ledger::Certainty;
use crate::relay::{STAGES, counter, mark_of, queue};
use crate::stage::Stage;
use crate::wire::Wire;
use leveret_amqp as amqp;
use leveret_amqp::{Frame, FrameKind, Method};
use leveret_resp::encode_command;
use std::collections::{BTreeMap, VecDeque};

/// A message, and the stage that it is at.
type Place = (u32, usize);

/// A message that is arriving.
struct Arriving {
    tag: u64,
    stage: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Away,
    Fading,
    Working,
}

pub(crate) struct AmqpRunner {
    id: usize,
    phase: Phase,
    pub(super) wire: Option<Wire>,
    /// It waits for messages, or asks for them.
    consumes: bool,
    /// Answers that are waited for, on either channel.
    awaited: VecDeque<&'static str>,
    /// The stage that it has asked.
    asked: usize,
    held: BTreeMap<u64, Place>,
    /// What the transaction has gathered: messages that it held, and new ones.
    gathered: Vec<(u64, Place)>,
    fed: Vec<u32>,
    arriving: Option<Arriving>,
}

const CHANNEL: u16 = 1;
const FRAME_MAX: u32 = 8192;
/// Messages that it holds at most.
const PREFETCH: u16 = 3;

impl AmqpRunner {
    pub(super) fn new(id: usize) -> Self {
        Self {
            id,
            phase: Phase::Away,
            wire: None,
            consumes: false,
            awaited: VecDeque::new(),
            asked: 0,
            held: BTreeMap::new(),
            gathered: Vec::new(),
            fed: Vec::new(),
            arriving: None,
        }
    }

    pub(super) fn is_content(&self) -> bool {
        self.awaited.is_empty() && self.phase != Phase::Fading
    }

    pub(super) fn act(&mut self, stage: &mut Stage<'_>) {
        match self.phase {
            Phase::Away => self.connect(stage),
            Phase::Working if stage.rng.u8(..100) == 0 => self.leave(stage),
            Phase::Working if self.awaited.is_empty() => self.work(stage),
            Phase::Working | Phase::Fading => {}
        }
    }

    fn connect(&mut self, stage: &mut Stage<'_>) {
        let mut wire = Wire::new(stage.machine.connect(true).expect("there are sockets"));
        self.consumes = stage.rng.bool();
        stage.note(|| format!("runner {} connects, consumes {}", self.id, self.consumes));
        let out = wire.out();
        shake_hands(out);
        let qos = amqp::BasicQos { prefetch_count: PREFETCH, ..Default::default() };
        for method in [Method::from(amqp::ChannelOpen::default()), amqp::TxSelect {}.into(), qos.into()] {
            method.encode(CHANNEL, out);
        }
        self.awaited.extend(SHAKEN.iter().chain(&["channel.open-ok", "tx.select-ok", "basic.qos-ok"]));
        for stage in (0..STAGES).filter(|_| self.consumes) {
            let (queue, tag) = (queue(stage), stage.to_string());
            let consume = amqp::BasicConsume {
                queue: queue.as_bytes(),
                consumer_tag: tag.as_bytes(),
                ..Default::default()
            };
            Method::from(consume).encode(CHANNEL, out);
            self.awaited.push_back("basic.consume-ok");
        }
        (self.phase, self.wire) = (Phase::Working, Some(wire));
    }

    fn forget(&mut self) {
        self.awaited.clear();
        self.held.clear();
        self.gathered.clear();
        self.fed.clear();
        self.arriving = None;
    }

    /// It goes without a word.
    fn leave(&mut self, stage: &mut Stage<'_>) {
        stage.note(|| format!("runner {} goes, waiting for {:?}", self.id, self.awaited));
        if let Some(wire) = &mut self.wire {
            wire.shut();
        }
        for (number, _) in self.held.values().chain(self.gathered.iter().map(|(_, place)| place)) {
            stage.shared.relay.released(*number, self.id);
        }
        self.forget();
        self.phase = Phase::Fading;
    }

    fn say(&mut self, method: &Method<'_>, answer: Option<&'static str>) {
        if let Some(wire) = &mut self.wire {
            method.encode(CHANNEL, wire.out());
            self.awaited.extend(answer);
        }
    }

    fn publish(&mut self, exchange: &str, routing_key: &str, body: &[u8]) {
        let publish = amqp::BasicPublish {
            exchange: exchange.as_bytes(),
            routing_key: routing_key.as_bytes(),
            ..Default::default()
        };
        let mut properties = Vec::new();
        amqp::PropertyValues { delivery_mode: Some(2), ..Default::default() }.encode(&mut properties);
        if let Some(wire) = &mut self.wire {
            amqp::encode_content(CHANNEL, &publish.into(), &properties, body, FRAME_MAX, wire.out());
        }
    }

    fn work(&mut self, stage: &mut Stage<'_>) {
        let has_gathered = !self.gathered.is_empty() || !self.fed.is_empty();
        match stage.rng.u8(..8) {
            0 if stage.shared.relay.len() < BATONS_MAX => {
                let number = stage.shared.relay.next();
                stage.note(|| format!("runner {} publishes {number}", self.id));
                self.fed.push(number);
                self.publish("", &queue(0), number.to_string().as_bytes());
            }
            1 if has_gathered && stage.rng.bool() => {
                stage.note(|| format!("runner {} rolls back", self.id));
                self.held.extend(self.gathered.drain(..));
                self.fed.drain(..).for_each(|number| stage.shared.relay.never(number));
                self.say(&amqp::TxRollback {}.into(), Some("tx.rollback-ok"));
            }
            2..=4 if has_gathered => {
                stage.note(|| format!("runner {} commits {:?} and {:?}", self.id, self.gathered, self.fed));
                for (_, (number, at)) in &self.gathered {
                    stage.shared.relay.said(*number, at + 2);
                }
                self.say(&amqp::TxCommit {}.into(), Some("tx.commit-ok"));
            }
            _ => match self.held.pop_first() {
                Some((tag, place)) => self.gather(stage, tag, place),
                None if !self.consumes => {
                    self.asked = stage.rng.usize(..STAGES);
                    let queue = queue(self.asked);
                    let get = amqp::BasicGet { queue: queue.as_bytes(), ..Default::default() };
                    self.say(&get.into(), Some("basic.get-ok"));
                }
                None => {}
            },
        }
    }

    /// Says all that belongs to passing a message on.
    fn gather(&mut self, stage: &mut Stage<'_>, tag: u64, (number, at): Place) {
        stage.note(|| format!("runner {} gathers {number} at {at}", self.id));
        let acks_first = stage.rng.bool();
        let ack = amqp::BasicAck { delivery_tag: tag, multiple: false };
        if acks_first {
            self.say(&ack.into(), None);
        }
        let (key, passes) = (mark_of(number), at.to_string());
        for words in [&["APPEND", &key, &passes][..], &["INCR", &counter(at)]] {
            self.publish("leveret.commands", "", &command(words, stage.rng.bool()));
        }
        if at + 1 < STAGES {
            self.publish("", &queue(at + 1), number.to_string().as_bytes());
        }
        if !acks_first {
            self.say(&ack.into(), None);
        }
        self.gathered.push((tag, (number, at)));
    }

    pub(super) fn hear(&mut self, stage: &mut Stage<'_>) {
        let Some(wire) = &mut self.wire else { return };
        let input = std::mem::take(&mut wire.input);
        let mut at = 0;
        while self.phase == Phase::Working
            && let Some((frame, len)) = amqp::parse(&input[at..], 0).expect("the server speaks AMQP")
        {
            at += len;
            self.frame(stage, &frame);
        }
        let Some(wire) = &mut self.wire else { return };
        if self.phase == Phase::Working {
            wire.input = input;
            wire.input.drain(..at);
            assert!(!wire.is_over, "the server has closed the connection of runner {}", self.id);
        } else if wire.is_over {
            (self.phase, self.wire) = (Phase::Away, None);
        }
    }

    fn frame(&mut self, stage: &mut Stage<'_>, frame: &Frame<'_>) {
        match frame.kind {
            FrameKind::Method => {
                let method = Method::decode(frame.payload).expect("the server sends methods that exist");
                self.method(stage, &method);
            }
            FrameKind::Body => {
                let arriving = self.arriving.take().expect("a body follows a method");
                // So short that it comes at once.
                self.message(stage, &arriving, number(frame.payload));
            }
            FrameKind::Header | FrameKind::Heartbeat => {}
        }
    }

    fn method(&mut self, stage: &mut Stage<'_>, method: &Method<'_>) {
        match method {
            Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_) => {}
            Method::BasicDeliver(m) => {
                let at = number(m.consumer_tag) as usize;
                self.arriving = Some(Arriving { tag: m.delivery_tag, stage: at });
            }
            Method::BasicGetOk(m) => {
                self.answer("basic.get-ok");
                self.arriving = Some(Arriving { tag: m.delivery_tag, stage: self.asked });
            }
            Method::BasicGetEmpty(_) => self.answer("basic.get-ok"),
            Method::TxCommitOk(_) => {
                self.answer("tx.commit-ok");
                stage.note(|| format!("runner {} hears that it was committed", self.id));
                for (_, (number, at)) in self.gathered.drain(..) {
                    stage.shared.relay.learn(number, at + 2, Certainty::Synced);
                    stage.shared.relay.released(number, self.id);
                }
                for number in self.fed.drain(..) {
                    stage.shared.relay.learn(number, 1, Certainty::Synced);
                }
            }
            Method::ChannelClose(m) if stage.may_be_full => {
                stage.note(|| format!("runner {} is refused {m:?}", self.id));
                self.leave(stage);
            }
            other => self.answer(other.name()),
        }
    }

    fn answer(&mut self, name: &str) {
        let awaited = self.awaited.pop_front();
        assert_eq!(awaited, Some(name), "runner {} hears what it did not ask", self.id);
    }

    fn message(&mut self, stage: &mut Stage<'_>, arriving: &Arriving, number: u32) {
        let Arriving { tag, stage: from } = *arriving;
        stage.note(|| format!("runner {} gets {number} from {from} as {tag}", self.id));
        let (certainty, now_ms) = (stage.spared_by_full(Certainty::Done), stage.now_ms);
        stage.shared.relay.taken(number, from, (self.id, u64::MAX), now_ms, certainty);
        assert!(self.held.insert(tag, (number, from)).is_none(), "tag {tag} is there twice");
    }

    /// The server is gone.
    pub(super) fn crashed(&mut self) {
        self.forget();
        (self.phase, self.wire) = (Phase::Away, None);
    }
}

/// A command as clients of Redis send it, or as a line.
fn command(words: &[&str], as_line: bool) -> Vec<u8> {
    if as_line {
        return words.join(" ").into_bytes();
    }
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let mut body = Vec::new();
    encode_command(&mut body, &words);
    body
}
