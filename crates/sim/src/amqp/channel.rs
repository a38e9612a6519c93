//! What a client does on one channel, and what it hears there.

mod publish;

use super::estate::Estate;
use super::{Awaited, Said};
use crate::ledger::{Certainty, Copy, Group, Queue, Step};
use crate::stage::Stage;
use leveret_amqp as amqp;
use leveret_amqp::{Frame, FrameKind, Method};
use std::collections::{BTreeMap, VecDeque};

/// A message that is arriving.
struct Arriving {
    /// Without one it was got, and the queue is that of the answer.
    from: Option<Queue>,
    tag: u64,
    is_new: bool,
    size: Option<usize>,
    body: Vec<u8>,
}

/// An answer that is waited for, and the queue of a get.
type Answer = (Awaited, Option<Queue>);

/// The last step, the client's own queue, and where it speaks.
type Around<'a> = (&'a mut u64, &'a Estate, &'a mut Vec<u8>);

pub(super) struct Channel {
    number: u16,
    is_tx: bool,
    source: u32,
    /// What it has published, of all channels of this number.
    count: u32,
    closing: bool,
    awaited: VecDeque<Answer>,
    /// What it holds, by tag, with the queue it came from.
    held: BTreeMap<u64, (Copy, Queue)>,
    consumers: BTreeMap<u32, Queue>,
    last_consumer: u32,
    /// Confirms: how many messages were published, and those that were not confirmed.
    published: u64,
    unconfirmed: BTreeMap<u64, Unconfirmed>,
    /// What the transaction has gathered.
    tx: Transaction,
    arriving: Option<Arriving>,
    /// The last message of a source that a consumer got for the first time.
    last_new: BTreeMap<(Queue, u32), u32>,
}

/// A publish that waits for its confirm: its step, what that promises, and where it may be refused.
type Unconfirmed = (u64, Certainty, Option<Copy>);

#[derive(Default)]
struct Transaction {
    published: Vec<(Copy, bool)>,
    /// With their tags, and whether they go to `Dead`.
    settled: Vec<(u64, Copy, Queue, bool)>,
}

/// What is agreed upon at the start.
const FRAME_MAX: u32 = 8192;
/// Messages that a channel holds at most.
const PREFETCH: u16 = 8;
/// Consumers of a channel.
const CONSUMERS_MAX: usize = 2;

impl Channel {
    pub(super) fn new(number: u16, is_tx: bool, serial: u32) -> Self {
        Self {
            number,
            is_tx,
            source: serial * 4 + u32::from(number),
            count: 0,
            closing: false,
            awaited: VecDeque::new(),
            held: BTreeMap::new(),
            consumers: BTreeMap::new(),
            last_consumer: 0,
            published: 0,
            unconfirmed: BTreeMap::new(),
            tx: Transaction::default(),
            arriving: None,
            last_new: BTreeMap::new(),
        }
    }

    pub(super) fn is_content(&self) -> bool {
        self.awaited.is_empty() && self.unconfirmed.is_empty()
    }

    /// Opens it.
    pub(super) fn open(&mut self, step: &mut u64, out: &mut Vec<u8>) {
        let mode = if self.is_tx {
            (Method::from(amqp::TxSelect {}), "tx.select-ok")
        } else {
            (Method::from(amqp::ConfirmSelect::default()), "confirm.select-ok")
        };
        let qos = amqp::BasicQos { prefetch_count: PREFETCH, ..Default::default() };
        for (method, answer) in [
            (Method::from(amqp::ChannelOpen::default()), "channel.open-ok"),
            mode,
            (qos.into(), "basic.qos-ok"),
        ] {
            *step += 1;
            method.encode(self.number, out);
            self.wait(answer, *step, Certainty::Done, None);
        }
    }

    fn wait(&mut self, name: &'static str, step: u64, certainty: Certainty, queue: Option<Queue>) {
        self.awaited.push_back((Awaited { name, step, certainty }, queue));
    }

    /// Does something as the step that is given, or nothing; what it says may be certain later.
    pub(super) fn act(
        &mut self,
        stage: &mut Stage<'_>,
        estate: &mut Estate,
        by: Step,
        out: &mut Vec<u8>,
    ) -> Option<Vec<Said>> {
        if self.closing {
            return None;
        }
        let any = |rng: &mut fastrand::Rng| Queue::ALL[rng.usize(..Queue::ALL.len())];
        match stage.rng.u8(..44) {
            0..=11 if stage.ledger.len() < stage.messages_max => self.publish(stage, by, out),
            12..=13 => {
                let queue = any(stage.rng);
                let get = amqp::BasicGet { queue: queue.name().as_bytes(), ..Default::default() };
                self.say(&Method::from(get), "basic.get-ok", by, Some(queue), out)
            }
            14..=15 if self.consumers.len() < CONSUMERS_MAX => {
                self.last_consumer += 1;
                let queue = any(stage.rng);
                self.consumers.insert(self.last_consumer, queue);
                let (tag, queue) = (self.last_consumer.to_string(), queue.name().as_bytes());
                let consume =
                    amqp::BasicConsume { queue, consumer_tag: tag.as_bytes(), ..Default::default() };
                stage.note(|| format!("{by:?} consumes {tag}: {}", String::from_utf8_lossy(queue)));
                self.say(&Method::from(consume), "basic.consume-ok", by, None, out)
            }
            16 => {
                let tag = *self.consumers.keys().next()?;
                let text = tag.to_string();
                stage.note(|| format!("{by:?} cancels {text}"));
                let cancel = amqp::BasicCancel { consumer_tag: text.as_bytes(), ..Default::default() };
                self.say(&Method::from(cancel), "basic.cancel-ok", by, None, out)
            }
            17..=32 => self.settle(stage, by, out),
            33..=37 if self.is_tx => self.commit(stage, by, out),
            38 if self.is_tx => {
                stage.note(|| format!("{by:?} rolls back"));
                let Transaction { settled, .. } = std::mem::take(&mut self.tx);
                self.held.extend(settled.into_iter().map(|(tag, copy, queue, _)| (tag, (copy, queue))));
                self.say(&Method::from(amqp::TxRollback {}), "tx.rollback-ok", by, None, out)
            }
            40..=43 if !self.is_tx => {
                let deed = estate.choose(stage.rng)?;
                estate.say(deed, by.1);
                self.keep_house(stage, deed, estate.name.as_bytes(), by, out)
            }
            39 if stage.rng.u8(..6) == 0 => {
                stage.note(|| format!("{by:?} closes channel {}", self.number));
                let Transaction { settled, .. } = std::mem::take(&mut self.tx);
                let settled = settled.into_iter().map(|(_, copy, ..)| copy);
                let held = std::mem::take(&mut self.held).into_values().map(|(copy, _)| copy);
                settled.chain(held).for_each(|copy| stage.ledger.released(copy));
                self.closing = true;
                let close = amqp::ChannelClose { reply_code: 200, ..Default::default() };
                self.say(&Method::from(close), "channel.close-ok", by, None, out)
            }
            _ => None,
        }
    }

    /// A method that has an answer.
    fn say(
        &mut self,
        method: &Method<'_>,
        answer: &'static str,
        (_, step): Step,
        queue: Option<Queue>,
        out: &mut Vec<u8>,
    ) -> Option<Vec<Said>> {
        method.encode(self.number, out);
        self.wait(answer, step, Certainty::Done, queue);
        Some(Vec::new())
    }

    /// Settles something that it holds.
    fn settle(&mut self, stage: &mut Stage<'_>, by: Step, out: &mut Vec<u8>) -> Option<Vec<Said>> {
        let count = self.held.len();
        let which = stage.rng.usize(..count.max(1));
        let tag = *self.held.keys().nth(which)?;
        let kind = stage.rng.u8(..10);
        // A transaction does not take back what goes back.
        let requeue = !self.is_tx && kind < 2;
        let rejects = requeue || kind == 2;
        let multiple = stage.rng.u8(..4) == 0;
        let later = if multiple { self.held.split_off(&(tag + 1)) } else { BTreeMap::new() };
        let settled: Vec<(u64, (Copy, Queue))> = if multiple {
            std::mem::replace(&mut self.held, later).into_iter().collect()
        } else {
            self.held.remove_entry(&tag).into_iter().collect()
        };
        let method: Method<'_> = if rejects {
            amqp::BasicNack { delivery_tag: tag, multiple, requeue }.into()
        } else {
            amqp::BasicAck { delivery_tag: tag, multiple }.into()
        };
        stage.note(|| format!("{by:?} says {method:?} of {settled:?}"));
        method.encode(self.number, out);
        let mut said = Vec::new();
        for (tag, (copy, queue)) in settled {
            let is_letter = rejects && matches!(queue, Queue::Letters | Queue::Aging);
            if requeue {
                stage.ledger.released(copy);
            } else if self.is_tx {
                self.tx.settled.push((tag, copy, queue, is_letter));
            } else {
                stage.ledger.settle(copy, by, is_letter);
                said.push(Said::Settled(copy));
            }
        }
        Some(said)
    }

    fn commit(&mut self, stage: &mut Stage<'_>, by: Step, out: &mut Vec<u8>) -> Option<Vec<Said>> {
        let Transaction { published, settled } = std::mem::take(&mut self.tx);
        stage.note(|| format!("{by:?} commits {published:?} and {settled:?}"));
        let mut is_kept = false;
        let mut said = Vec::new();
        let mut group = Group { by, ..Group::default() };
        for (copy, persistent) in published {
            is_kept |= copy.queue.keeps(persistent);
            stage.ledger.publish(copy, persistent, stage.now_ms);
            group.published.push(copy);
            said.push(Said::Published(copy));
        }
        for (_, copy, _, is_letter) in settled {
            is_kept |= stage.ledger.is_kept(copy);
            stage.ledger.settle(copy, by, is_letter);
            group.settled.push(copy);
            said.push(Said::Settled(copy));
        }
        stage.ledger.group(group);
        Method::from(amqp::TxCommit {}).encode(self.number, out);
        self.wait("tx.commit-ok", by.1, if is_kept { Certainty::Synced } else { Certainty::Done }, None);
        Some(said)
    }

    /// Something has arrived. Gives up to which step everything was done.
    pub(super) fn frame(
        &mut self,
        stage: &mut Stage<'_>,
        serial: u32,
        frame: &Frame<'_>,
        around: &mut Around<'_>,
    ) -> Option<(u64, Certainty)> {
        match frame.kind {
            FrameKind::Method => {
                let method = Method::decode(frame.payload).expect("the server sends methods that exist");
                self.method(stage, serial, &method, around)
            }
            FrameKind::Header => {
                let header =
                    amqp::ContentHeader::parse(frame.payload).expect("the server sends whole headers");
                let arriving = self.arriving.as_mut().expect("a header follows a method");
                arriving.size = Some(header.body_size as usize);
                None
            }
            FrameKind::Body => {
                let arriving = self.arriving.as_mut().expect("a body follows a method");
                arriving.body.extend_from_slice(frame.payload);
                if arriving.size == Some(arriving.body.len()) {
                    return self.message(stage, serial);
                }
                None
            }
            FrameKind::Heartbeat => panic!("a heartbeat has no channel"),
        }
    }

    fn method(
        &mut self,
        stage: &mut Stage<'_>,
        serial: u32,
        method: &Method<'_>,
        (step, estate, out): &mut Around<'_>,
    ) -> Option<(u64, Certainty)> {
        assert!(self.arriving.is_none(), "{method:?} comes into a message");
        match method {
            Method::BasicDeliver(m) => {
                let tag: u32 = String::from_utf8_lossy(m.consumer_tag).parse().expect("a tag is a number");
                let from = self.consumers.get(&tag).copied();
                assert!(
                    from.is_some() || self.closing,
                    "{tag} is no consumer of channel {} of {serial}",
                    self.number
                );
                let (tag, is_new) = (m.delivery_tag, !m.redelivered);
                let from = from.or(Some(Queue::Classic));
                self.arriving = Some(Arriving { from, tag, is_new, size: None, body: Vec::new() });
                None
            }
            Method::BasicGetOk(m) => {
                let (tag, is_new) = (m.delivery_tag, !m.redelivered);
                self.arriving = Some(Arriving { from: None, tag, is_new, size: None, body: Vec::new() });
                None
            }
            Method::BasicGetEmpty(_) => self.answer(serial, "basic.get-ok").map(|(awaited, _)| awaited),
            Method::BasicAck(m) => {
                let confirmed = self.confirmed(serial, m.delivery_tag, m.multiple);
                stage.note(|| format!("{serial} is confirmed {m:?}"));
                for (_, certainty, copy) in &confirmed {
                    copy.iter()
                        .for_each(|copy| stage.ledger.published(*copy, stage.spared_by_full(*certainty)));
                }
                // The last that promises the disk, and whatever it is the last.
                let best = confirmed.iter().rev().find(|(_, certainty, _)| *certainty == Certainty::Synced);
                best.or(confirmed.last()).map(|(step, certainty, _)| (*step, *certainty))
            }
            Method::BasicNack(m) => {
                let refused = self.confirmed(serial, m.delivery_tag, m.multiple);
                stage.note(|| format!("{serial} is refused {m:?}"));
                for (_, _, copy) in &refused {
                    let copy = copy.expect("only a narrow queue refuses");
                    stage.ledger.never(copy, Certainty::Done);
                }
                refused.last().map(|(step, ..)| (*step, Certainty::Done))
            }
            Method::BasicCancelOk(m) => {
                let tag: u32 = String::from_utf8_lossy(m.consumer_tag).parse().expect("a tag is a number");
                self.consumers.remove(&tag);
                self.answer(serial, "basic.cancel-ok").map(|(awaited, _)| awaited)
            }
            Method::ChannelCloseOk(_) => {
                let learned = self.answer(serial, "channel.close-ok").map(|(awaited, _)| awaited);
                assert!(self.is_content(), "{serial} is told that a channel is closed before it is answered");
                let fresh = Channel::new(self.number, self.is_tx, serial);
                *self = Channel { count: self.count, last_consumer: self.last_consumer, ..fresh };
                self.open(step, out);
                learned
            }
            Method::QueueDeclareOk(amqp::QueueDeclareOk { message_count: count, .. })
            | Method::QueuePurgeOk(amqp::QueuePurgeOk { message_count: count })
            | Method::QueueDeleteOk(amqp::QueueDeleteOk { message_count: count }) => {
                let (learned, _) = self.answer(serial, method.name())?;
                estate.counted(learned.0, *count);
                Some(learned)
            }
            other => self.answer(serial, other.name()).map(|(awaited, _)| awaited),
        }
    }

    /// What a confirm is of.
    fn confirmed(&mut self, serial: u32, tag: u64, multiple: bool) -> Vec<Unconfirmed> {
        let later = self.unconfirmed.split_off(&(tag + 1));
        let confirmed = std::mem::replace(&mut self.unconfirmed, later);
        let is_right = confirmed.contains_key(&tag) && (multiple || confirmed.len() == 1);
        assert!(is_right, "{tag} of {serial} is confirmed, and it waits for {:?}", confirmed.keys());
        confirmed.into_values().collect()
    }

    /// The next answer is this one.
    fn answer(&mut self, serial: u32, name: &str) -> Option<((u64, Certainty), Option<Queue>)> {
        let Some((Awaited { name: awaited, step, certainty }, queue)) = self.awaited.pop_front() else {
            panic!("{name} comes on channel {} of {serial} and nothing is waited for", self.number);
        };
        assert_eq!(awaited, name, "on channel {} of {serial}", self.number);
        Some(((step, certainty), queue))
    }

    fn message(&mut self, stage: &mut Stage<'_>, serial: u32) -> Option<(u64, Certainty)> {
        let Arriving { from, tag, is_new, body, .. } = self.arriving.take()?;
        let (learned, from) = match from {
            Some(from) => (None, from),
            None => {
                let (learned, queue) = self.answer(serial, "basic.get-ok")?;
                (Some(learned), queue.expect("a get is of a queue"))
            }
        };
        if self.closing {
            return learned;
        }
        let copy = Copy::found(&body, from);
        stage.note(|| {
            format!("{serial} gets {tag} from {from:?}: {copy:?}{}", if is_new { "" } else { " again" })
        });
        let is_consumed = learned.is_none();
        if is_consumed && is_new && !copy.is_delayed() && !matches!(from, Queue::Dead | Queue::Ranked) {
            let last = self.last_new.insert((from, copy.source), copy.number).unwrap_or_default();
            assert!(last < copy.number, "{serial} gets {copy:?} from {from:?} after number {last}");
        }
        stage.deliver(copy, from, serial);
        assert!(self.held.insert(tag, (copy, from)).is_none(), "tag {tag} of {serial} is there twice");
        learned
    }
}
