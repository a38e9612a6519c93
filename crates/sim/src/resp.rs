//! A Redis client with keys of its own: it says commands, some at once, and knows what each must be answered. After a crash its
//! keys must be what they were after one of its commands: not before the last one whose answer promised that.

mod choice;

use crate::ledger::{Certainty, Copy, Crash};
use crate::model::{self, Bytes, Expected, Model, Op};
use crate::stage::Stage;
use crate::wire::Wire;
use leveret_resp::{Value, encode_command, parse_reply};
use std::collections::VecDeque;

#[derive(Debug, PartialEq)]
enum Phase {
    Away,
    /// It has said its last word and waits for the server to close the connection.
    Fading,
    /// It does not know what was executed, and looks.
    Asking(u64, Vec<Value>),
    Working,
}

struct Sent {
    op: Op,
    /// The disk was full.
    refused: bool,
}

pub(crate) struct RespClient {
    id: usize,
    phase: Phase,
    wire: Option<Wire>,
    /// Its keys as the disk has them for certain.
    base: Model,
    /// Commands since, with the number of the first.
    sent: VecDeque<Sent>,
    first: u64,
    /// How many of them were answered, have been executed for certain, are on the disk for certain.
    answered: usize,
    executed: usize,
    synced: usize,
    /// Its keys after those that were answered.
    current: Model,
    /// Answers of the transaction that is being answered.
    parts: Vec<Value>,
    /// The number of its next message.
    published: u32,
}

/// Sources of messages that are Redis clients.
pub(crate) const SOURCE: u32 = 1_000_000;

impl RespClient {
    pub(crate) fn new(id: usize) -> Self {
        Self {
            id,
            phase: Phase::Away,
            wire: None,
            base: Model::default(),
            sent: VecDeque::new(),
            first: 0,
            answered: 0,
            executed: 0,
            synced: 0,
            current: Model::default(),
            parts: Vec::new(),
            published: 1,
        }
    }

    /// The network does something for it.
    pub(crate) fn carry(&mut self, stage: &mut Stage<'_>) {
        let Some(wire) = &mut self.wire else { return };
        wire.carry(stage.rng);
        self.hear(stage);
    }

    /// Likewise, all that there is to do.
    pub(crate) fn carry_all(&mut self, stage: &mut Stage<'_>) {
        if let Some(wire) = &mut self.wire {
            wire.carry_all();
            self.hear(stage);
        }
        if self.phase == Phase::Away && self.answered < self.sent.len() {
            self.connect(stage);
        }
    }

    /// It waits for nothing.
    pub(crate) fn is_content(&self) -> bool {
        self.answered == self.sent.len() && matches!(self.phase, Phase::Away | Phase::Working)
    }

    /// It does something.
    pub(crate) fn act(&mut self, stage: &mut Stage<'_>) {
        match self.phase {
            Phase::Away => self.connect(stage),
            Phase::Working if stage.rng.u16(..300) == 0 => self.leave(stage),
            Phase::Working if self.sent.len() - self.answered < stage.depth_max => self.say(stage),
            Phase::Working | Phase::Fading | Phase::Asking(..) => {}
        }
    }

    fn connect(&mut self, stage: &mut Stage<'_>) {
        let mut wire = Wire::new(stage.machine.connect(false).expect("there are sockets"));
        stage.note(|| format!("client {} connects", self.id));
        if self.answered == self.sent.len() {
            self.phase = Phase::Working;
        } else {
            ask(self.id, &mut wire);
            self.phase = Phase::Asking(stage.now_ms, Vec::new());
        }
        self.wire = Some(wire);
    }

    /// It goes without a word. Until the server knows, what it said may still be executed.
    fn leave(&mut self, stage: &mut Stage<'_>) {
        stage.note(|| format!("client {} goes", self.id));
        if let Some(wire) = &mut self.wire {
            wire.shut();
        }
        self.parts.clear();
        self.phase = Phase::Fading;
    }

    fn say(&mut self, stage: &mut Stage<'_>) {
        let number = self.first + self.sent.len() as u64;
        let op = self.choose(stage, number);
        stage.note(|| format!("client {} says {number}: {}", self.id, short(&op)));
        let Some(wire) = &mut self.wire else { return };
        encode(wire.out(), &op.words(self.id));
        if let Op::Multi(ops) = &op {
            ops.iter().for_each(|op| encode(wire.out(), &op.words(self.id)));
            encode(wire.out(), &[b"EXEC".to_vec()]);
        }
        for copy in published(&op) {
            stage.ledger.publish(copy, true, stage.now_ms);
            self.published = copy.number + 1;
        }
        given(&op).for_each(|job| stage.shared.jobs.push(job));
        stage.shared.said += counts(&op);
        self.sent.push_back(Sent { op, refused: false });
    }

    /// Looks at what has arrived.
    fn hear(&mut self, stage: &mut Stage<'_>) {
        let Some(wire) = &mut self.wire else { return };
        if self.phase == Phase::Fading {
            wire.input.clear();
            if wire.is_over {
                (self.phase, self.wire) = (Phase::Away, None);
            }
            return;
        }
        let (mut values, mut at) = (Vec::new(), 0);
        while let Some((value, len)) = parse_reply(&wire.input[at..]).expect("the server speaks RESP") {
            at += len;
            values.push(value);
        }
        wire.input.drain(..at);
        let is_over = wire.is_over;
        for value in values {
            match &mut self.phase {
                Phase::Asking(since_ms, answers) => {
                    answers.push(value);
                    let questions = model::questions(self.id).len();
                    if answers.len() == questions {
                        let seen = model::understood(self.id, answers);
                        let certainty = if stage.always { Certainty::Synced } else { Certainty::Done };
                        let seen = (&seen, [*since_ms, stage.now_ms]);
                        self.settle(
                            stage,
                            seen,
                            (self.executed, Certainty::Done),
                            certainty,
                            "a reconnection",
                        );
                        self.phase = Phase::Working;
                    }
                }
                Phase::Working => self.answer(stage, value),
                Phase::Away | Phase::Fading => unreachable!("it listens"),
            }
        }
        assert!(!is_over, "the server has closed the connection of client {}", self.id);
    }

    fn answer(&mut self, stage: &mut Stage<'_>, value: Value) {
        let number = self.first + self.answered as u64;
        let Some(sent) = self.sent.get_mut(self.answered) else {
            panic!("client {} is answered {value:?} and has asked nothing", self.id);
        };
        let mut is_refused = is_refusal(&value);
        let mut value = value;
        if let Op::Multi(ops) = &sent.op {
            self.parts.push(value);
            if self.parts.len() < ops.len() + 2 {
                return;
            }
            let parts = std::mem::take(&mut self.parts);
            let queued = Value::Simple("QUEUED".into());
            is_refused = parts.iter().any(is_refusal);
            let is_queued = parts[0] == Value::Simple("OK".into())
                && parts[1..=ops.len()].iter().all(|part| *part == queued);
            assert!(is_queued || is_refused, "client {} began {number} and heard {parts:?}", self.id);
            value = parts.into_iter().next_back().expect("it has two parts at least");
        }
        stage.note(|| format!("client {} is answered {number}: {}", self.id, shortened(&value)));
        self.answered += 1;
        self.executed = self.executed.max(self.answered);
        if is_refused {
            assert!(stage.may_be_full, "client {} was refused {number} and the disk has space", self.id);
            sent.refused = true;
            never(&sent.op, Certainty::Done, stage);
            return;
        }
        let expected = self.current.run(self.id, &sent.op);
        assert!(
            expected.fits(&value),
            "client {} said {number}: {}, expected {} and heard {}",
            self.id,
            short(&sent.op),
            format!("{expected:?}").chars().take(300).collect::<String>(),
            shortened(&value)
        );
        certain(&sent.op, Certainty::Done, stage);
        learn(&sent.op, &value, stage);
        if stage.always || matches!(expected, Expected::Confirmed) {
            self.synced = self.synced.max(self.answered);
        }
        self.trim(stage);
    }

    /// What is on the disk for certain needs no list.
    fn trim(&mut self, stage: &mut Stage<'_>) {
        // What was not answered may have been refused.
        for _ in 0..self.synced.min(self.answered) {
            let Some(Sent { op, refused }) = self.sent.pop_front() else { break };
            if !refused {
                self.base.run(self.id, &op);
                certain(&op, Certainty::Synced, stage);
            }
            self.first += 1;
            self.answered -= 1;
            self.executed -= 1;
            self.synced -= 1;
        }
    }

    /// Somebody has seen what its command has written.
    pub(crate) fn was_seen(&mut self, number: u64, certainty: Certainty) {
        let Some(count) = (number + 1).checked_sub(self.first) else { return };
        let count = count as usize;
        assert!(
            count <= self.sent.len(),
            "somebody saw command {number} of client {}, which has not said it",
            self.id
        );
        self.executed = self.executed.max(count);
        if certainty == Certainty::Synced {
            self.synced = self.synced.max(count);
        }
    }

    /// The server has crashed, and these are its keys.
    pub(crate) fn crashed(&mut self, stage: &mut Stage<'_>, answers: &[Value], crash: Crash) {
        let seen = model::understood(self.id, answers);
        let floor = match crash {
            Crash::Power => self.synced,
            Crash::Killed | Crash::Stopped => self.executed,
        };
        let seen = (&seen, [stage.now_ms; 2]);
        self.settle(stage, seen, (floor, crash.spares()), Certainty::Synced, &format!("{crash:?}"));
        (self.phase, self.wire) = (Phase::Away, None);
    }

    /// Finds the command after which its keys were as they are: the `floor`th at least.
    fn settle(
        &mut self,
        stage: &mut Stage<'_>,
        (seen, when): (&Model, [u64; 2]),
        (floor, spared): (usize, Certainty),
        certainty: Certainty,
        why: &str,
    ) {
        let (mut state, mut count) = (self.base.clone(), 0);
        let live = loop {
            if count >= floor && state.fits(seen, when) {
                break count;
            }
            let Some(Sent { op, refused }) = self.sent.get(count) else {
                self.complain(seen, floor, why);
            };
            if !refused {
                state.run(self.id, op);
            }
            count += 1;
        };
        stage.note(|| format!("client {} after {why}: {live} of {} are there", self.id, self.sent.len()));
        // Whoever waited for a job may have been handed one.
        let unheard = self.sent.iter().skip(self.answered).map(|sent| takes(&sent.op)).sum();
        stage.shared.jobs.not_heard(unheard);
        for Sent { op, refused } in self.sent.drain(live..) {
            if !refused {
                never(&op, spared, stage);
            }
        }
        for sent in self.sent.iter().filter(|sent| !sent.refused) {
            certain(&sent.op, certainty, stage);
        }
        self.parts.clear();
        (self.answered, self.executed, self.current) = (live, live, state);
        self.synced = if certainty == Certainty::Synced { live } else { self.synced.min(live) };
        self.trim(stage);
    }

    fn complain(&self, seen: &Model, floor: usize, why: &str) -> ! {
        let mut state = self.base.clone();
        let mut text = format!(
            "after {why} the keys of client {} are what they were after none of its commands from {} on ({} before, {} after):",
            self.id,
            self.first + floor as u64,
            floor,
            self.sent.len() - floor
        );
        for (i, sent) in self.sent.iter().enumerate() {
            if i >= floor {
                text += &difference(&state, seen);
            }
            text += &format!("\n  {}: {}", self.first + i as u64, short(&sent.op));
            if !sent.refused {
                state.run(self.id, &sent.op);
            }
        }
        panic!("{text}{}", difference(&state, seen));
    }
}

fn difference(model: &Model, seen: &Model) -> String {
    let mut text = String::new();
    for name in model.0.keys().chain(seen.0.keys()) {
        if model.0.get(name) != seen.0.get(name) {
            let [expected, actual] =
                [model, seen].map(|m| format!("{:?}", m.0.get(name)).chars().take(160).collect::<String>());
            text += &format!("\n      {name}: {expected} would be right, {actual} is there");
        }
    }
    text
}

fn ask(client: usize, wire: &mut Wire) {
    model::questions(client).iter().for_each(|words| encode(wire.out(), words));
}

fn encode(out: &mut Vec<u8>, words: &[Bytes]) {
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    encode_command(out, &words);
}

fn ops(op: &Op) -> &[Op] {
    match op {
        Op::Multi(ops) | Op::Script(ops) => ops,
        op => std::slice::from_ref(op),
    }
}

fn published(op: &Op) -> impl Iterator<Item = Copy> {
    ops(op).iter().filter_map(|op| match op {
        Op::Publish(copy, _) => Some(*copy),
        _ => None,
    })
}

fn given(op: &Op) -> impl Iterator<Item = u64> {
    ops(op).iter().filter_map(|op| match op {
        Op::Give(job) => Some(*job),
        _ => None,
    })
}

/// What others can see of a command is there.
fn certain(op: &Op, certainty: Certainty, stage: &mut Stage<'_>) {
    published(op).for_each(|copy| stage.ledger.published(copy, certainty));
    given(op).for_each(|job| stage.shared.jobs.pushed(job, certainty));
}

/// It is not; what is as certain as `spared` was.
fn never(op: &Op, spared: Certainty, stage: &mut Stage<'_>) {
    published(op).for_each(|copy| stage.ledger.never(copy, spared));
    given(op).for_each(|job| stage.shared.jobs.never(job, spared));
}

/// That the disk had no space: of a command by itself, or at `EXEC` of all of a transaction.
pub(crate) fn is_refusal(value: &Value) -> bool {
    let whole = "EXECABORT Transaction discarded because of: ";
    matches!(value, Value::Error(text) if text.strip_prefix(whole).unwrap_or(text).starts_with("MISCONF"))
}

fn takes(op: &Op) -> usize {
    ops(op).iter().filter(|op| matches!(op, Op::Take)).count()
}

fn counts(op: &Op) -> i64 {
    ops(op).iter().filter(|op| matches!(op, Op::Count)).count() as i64
}

/// What an answer says of others.
fn learn(op: &Op, value: &Value, stage: &mut Stage<'_>) {
    match (op, value) {
        (Op::Multi(ops) | Op::Script(ops), Value::Array(values)) => {
            ops.iter().zip(values).for_each(|(op, value)| learn(op, value, stage));
        }
        (Op::Take, Value::Array(parts)) => {
            let certainty = stage.certainty();
            stage.shared.jobs.took(model::number(&parts[1]), certainty);
        }
        (Op::Count, Value::Integer(count)) => stage.shared.counted(*count, stage.always),
        // Of a full disk readers see what is not written and may be lost.
        (Op::Look(other, _), Value::Bulk(text)) if !stage.may_be_full => {
            let text = String::from_utf8_lossy(text);
            let number = text.split('.').nth(1).and_then(|number| number.parse().ok());
            stage.seen.push((*other, number.expect("a text has its number")));
        }
        _ => {}
    }
}

fn short(op: &Op) -> String {
    format!("{op:?}").chars().take(300).collect()
}

fn shortened(value: &Value) -> String {
    format!("{value:?}").chars().take(300).collect()
}
