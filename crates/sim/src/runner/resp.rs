//! A runner that speaks Redis' protocol. What it holds it holds by a token, which outlives its connection: it tries again on another
//! one when it does not know what was executed, and goes on with a token after a crash of the server, which must be refused.

use super::{BATONS_MAX, number};
use crate::ledger::Certainty;
use crate::model::array;
use crate::relay::{STAGES, counter, mark, mark_of, queue};
use crate::stage::Stage;
use crate::wire::Wire;
use leveret_resp::{Value, encode_command, parse_reply};

/// What a token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Whole,
    /// It may have been used.
    Uncertain,
    /// It is of a server that has crashed.
    Stale,
}

/// A message that it holds.
#[derive(Debug, Clone)]
struct Held {
    token: Vec<u8>,
    number: u32,
    stage: usize,
    worth: Worth,
    /// The lease ends between these.
    ends_ms: [u64; 2],
}

/// What an answer is waited for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Feed(u32),
    Take {
        stage: usize,
        lease_ms: u64,
        since_ms: u64,
    },
    Count {
        stage: usize,
    },
    /// So many messages at once, which it holds first; it has said so then.
    Pass {
        count: usize,
        reads: bool,
        since_ms: u64,
    },
    /// What it holds last.
    GiveBack {
        since_ms: u64,
    },
    Extend {
        ms: u64,
        since_ms: u64,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Away,
    Fading,
    Working,
}

pub(crate) struct RespRunner {
    id: usize,
    phase: Phase,
    pub(super) wire: Option<Wire>,
    held: Vec<Held>,
    /// What is waited for, with so many answers.
    asked: Option<(Asked, usize)>,
    answers: Vec<Value>,
    /// The counter that it watches, by its stage, and what it was.
    watched: Option<(usize, u64)>,
}

/// Messages that it takes at once.
const COUNT_MAX: usize = 3;

impl RespRunner {
    pub(super) fn new(id: usize) -> Self {
        Self {
            id,
            phase: Phase::Away,
            wire: None,
            held: Vec::new(),
            asked: None,
            answers: Vec::new(),
            watched: None,
        }
    }

    pub(super) fn is_content(&self) -> bool {
        self.asked.is_none() && self.phase != Phase::Fading
    }

    pub(super) fn act(&mut self, stage: &mut Stage<'_>) {
        match self.phase {
            Phase::Away => {
                stage.note(|| format!("runner {} connects", self.id));
                self.wire = Some(Wire::new(stage.machine.connect(false).expect("there are sockets")));
                self.phase = Phase::Working;
            }
            Phase::Working if stage.rng.u8(..100) == 0 => self.leave(stage),
            Phase::Working if self.asked.is_none() && self.held.is_empty() => self.begin(stage),
            Phase::Working if self.asked.is_none() => match (stage.rng.u8(..16), self.watched) {
                (0, _) => self.give_back(stage),
                (1, _) => self.extend(stage),
                (2..=8, None) => self.count(stage),
                (_, watched) => self.pass(stage, watched),
            },
            Phase::Working | Phase::Fading => {}
        }
    }

    fn say(&mut self, commands: &[Vec<Vec<u8>>], asked: Asked) {
        let Some(wire) = &mut self.wire else { return };
        for words in commands {
            let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
            encode_command(wire.out(), &words);
        }
        self.asked = Some((asked, commands.len()));
    }

    /// It goes without a word, and keeps its tokens.
    fn leave(&mut self, stage: &mut Stage<'_>) {
        stage.note(|| format!("runner {} goes from {:?}", self.id, self.asked));
        if let Some(wire) = &mut self.wire {
            wire.shut();
        }
        match self.asked.take().map(|(asked, _)| asked) {
            Some(Asked::Pass { count, .. }) => {
                let said = self.held.iter_mut().take(count);
                said.filter(|held| held.worth == Worth::Whole).for_each(|held| held.worth = Worth::Uncertain);
            }
            Some(Asked::GiveBack { .. }) => drop(self.held.pop()),
            Some(Asked::Extend { .. }) => {
                if let Some(held) = self.held.last_mut() {
                    held.ends_ms = [0, u64::MAX];
                    stage.shared.relay.released(held.number, self.id);
                }
            }
            Some(Asked::Feed(_) | Asked::Take { .. } | Asked::Count { .. }) | None => {}
        }
        (self.phase, self.watched) = (Phase::Fading, None);
        self.answers.clear();
    }

    /// Publishes something, or takes something.
    fn begin(&mut self, stage: &mut Stage<'_>) {
        if stage.shared.relay.len() < BATONS_MAX && stage.rng.u8(..4) == 0 {
            let number = stage.shared.relay.next();
            stage.note(|| format!("runner {} publishes {number}", self.id));
            let words = words(&["AMQP.PUBLISH", "", &queue(0), &number.to_string()]);
            self.say(&[words], Asked::Feed(number));
            return;
        }
        let from = stage.rng.usize(..STAGES);
        let lease_ms = [5, 300, 5000, 5000][stage.rng.usize(..4)];
        let count = stage.rng.usize(1..=COUNT_MAX);
        let mut words =
            words(&["AMQP.GET", &queue(from), "COUNT", &count.to_string(), "LEASE", &lease_ms.to_string()]);
        if stage.rng.bool() {
            words.extend([b"BLOCK".to_vec(), stage.rng.u16(1..2000).to_string().into_bytes()]);
        }
        stage.note(|| format!("runner {} takes from {from} for {lease_ms}", self.id));
        self.say(&[words], Asked::Take { stage: from, lease_ms, since_ms: stage.now_ms });
    }

    /// Looks at the counter, which it then watches.
    fn count(&mut self, stage: &mut Stage<'_>) {
        let from = self.held[0].stage;
        let key = counter(from);
        stage.note(|| format!("runner {} watches {key}", self.id));
        self.say(&[words(&["WATCH", &key]), words(&["GET", &key])], Asked::Count { stage: from });
    }

    fn pass(&mut self, stage: &mut Stage<'_>, watched: Option<(usize, u64)>) {
        let count = stage.rng.usize(1..=self.held.len());
        let from = self.held[0].stage;
        let mut all = vec![words(&["MULTI"])];
        let (mut tokens, mut publishes) = (vec![b"AMQP.ACK".to_vec()], Vec::new());
        for held in &self.held[..count] {
            let key = mark_of(held.number);
            all.push(words(&["GET", &key]));
            all.push(words(&["APPEND", &key, &from.to_string()]));
            if from + 1 < STAGES {
                publishes.push(words(&["AMQP.PUBLISH", "", &queue(from + 1), &held.number.to_string()]));
            }
            tokens.push(held.token.clone());
            // Of a server that is gone nothing comes of it.
            if held.worth != Worth::Stale {
                stage.shared.relay.said(held.number, from + 2);
            }
        }
        all.push(match watched {
            Some((at, before)) if at == from => {
                words(&["SET", &counter(from), &(before + count as u64).to_string()])
            }
            // It may watch the counter of what it has lost since.
            Some(_) | None => words(&["INCRBY", &counter(from), &count.to_string()]),
        });
        // In any order.
        if stage.rng.bool() {
            all.push(tokens);
            all.extend(publishes);
        } else {
            all.extend(publishes);
            all.push(tokens);
        }
        all.push(words(&["EXEC"]));
        stage.note(|| format!("runner {} passes {:?}, watching {watched:?}", self.id, &self.held[..count]));
        self.say(&all, Asked::Pass { count, reads: watched.is_some(), since_ms: stage.now_ms });
    }

    fn give_back(&mut self, stage: &mut Stage<'_>) {
        let Some(held) = self.held.last() else { return };
        stage.note(|| format!("runner {} gives {held:?} back", self.id));
        stage.shared.relay.released(held.number, self.id);
        let words = vec![b"AMQP.NACK".to_vec(), held.token.clone()];
        self.say(&[words], Asked::GiveBack { since_ms: stage.now_ms });
    }

    fn extend(&mut self, stage: &mut Stage<'_>) {
        let Some(held) = self.held.last() else { return };
        let ms = stage.rng.u64(1..3000);
        stage.note(|| format!("runner {} extends {held:?} by {ms}", self.id));
        // It may be shorter than before.
        stage.shared.relay.extended(held.number, self.id, held.ends_ms[0].min(stage.now_ms + ms));
        let words = vec![b"AMQP.EXTEND".to_vec(), held.token.clone(), ms.to_string().into_bytes()];
        self.say(&[words], Asked::Extend { ms, since_ms: stage.now_ms });
    }

    pub(super) fn hear(&mut self, stage: &mut Stage<'_>) {
        let Some(wire) = &mut self.wire else { return };
        if self.phase == Phase::Fading {
            wire.input.clear();
            if wire.is_over {
                (self.phase, self.wire) = (Phase::Away, None);
            }
            return;
        }
        let mut at = 0;
        while let Some((value, len)) = parse_reply(&wire.input[at..]).expect("the server speaks RESP") {
            at += len;
            self.answers.push(value);
        }
        wire.input.drain(..at);
        assert!(!wire.is_over, "the server has closed the connection of runner {}", self.id);
        let Some((asked, _)) = self.asked.take_if(|(_, count)| self.answers.len() >= *count) else { return };
        let answers = std::mem::take(&mut self.answers);
        stage.note(|| format!("runner {} is answered {answers:?}", self.id));
        self.answered(stage, asked, &answers);
    }

    fn answered(&mut self, stage: &mut Stage<'_>, asked: Asked, answers: &[Value]) {
        let last = answers.last().expect("there is an answer to everything");
        let is_refused = answers.iter().any(crate::resp::is_refusal);
        assert!(
            !is_refused || stage.may_be_full,
            "runner {} hears {answers:?} and the disk has space",
            self.id
        );
        match asked {
            Asked::Feed(number) if is_refused => stage.shared.relay.never(number),
            Asked::Feed(number) => {
                assert_eq!(last, &Value::Integer(1), "a queue takes message {number}");
                stage.shared.relay.learn(number, 1, stage.certainty());
            }
            Asked::Take { .. } if is_refused => {}
            Asked::Take { stage: from, lease_ms, since_ms } => {
                for message in array(last) {
                    self.take(stage, message, from, [since_ms + lease_ms, stage.now_ms + lease_ms]);
                }
            }
            Asked::Count { stage } => {
                let count = match last {
                    Value::Null => 0,
                    Value::Bulk(text) => u64::from(number(text)),
                    other => panic!("a counter is not {other:?}"),
                };
                self.watched = Some((stage, count));
            }
            Asked::Pass { count, reads, since_ms } => {
                self.watched = None;
                if !is_refused {
                    self.passed(stage, last, (count, reads, since_ms));
                }
            }
            Asked::GiveBack { since_ms } => {
                let held = self.held.pop().expect("it gives back what it holds");
                if is_refused {
                    self.held.push(held);
                } else {
                    settled(stage, last, &held, since_ms);
                }
            }
            Asked::Extend { .. } if is_refused => {}
            Asked::Extend { ms, since_ms } => {
                let mut held = self.held.pop().expect("it extends what it holds");
                if settled(stage, last, &held, since_ms) {
                    held.ends_ms = [since_ms + ms, stage.now_ms + ms];
                    stage.shared.relay.extended(held.number, self.id, since_ms + ms);
                    self.held.push(held);
                }
            }
        }
    }

    fn take(&mut self, stage: &mut Stage<'_>, message: &Value, from: usize, ends_ms: [u64; 2]) {
        let [Value::Bulk(token), Value::Bulk(body), ..] = array(message) else {
            panic!("a message has a token and a body: {message:?}");
        };
        let number = number(body);
        let (certainty, now_ms) = (stage.spared_by_full(Certainty::Done), stage.now_ms);
        // A lease that is over when it is heard of says nothing of where the message is.
        if now_ms < ends_ms[0] {
            stage.shared.relay.taken(number, from, (self.id, ends_ms[0]), now_ms, certainty);
        }
        self.held.push(Held { token: token.clone(), number, stage: from, worth: Worth::Whole, ends_ms });
    }

    /// `EXEC` was answered.
    fn passed(
        &mut self,
        stage: &mut Stage<'_>,
        answer: &Value,
        (count, reads, since_ms): (usize, bool, u64),
    ) {
        let values = match answer {
            // Somebody else has counted.
            Value::Null if reads => return,
            Value::Error(text) => {
                let token = text.strip_prefix("EXECABORT Transaction discarded because the lease '");
                let token = token.and_then(|text| text.strip_suffix("' is over."));
                let is_its = |held: &Held| token.is_some_and(|token| token.as_bytes() == held.token);
                let at = self.held[..count].iter().position(is_its);
                let at = at.unwrap_or_else(|| panic!("runner {} hears {text}", self.id));
                may_be_over(stage, &self.held.remove(at));
                return;
            }
            other => array(other),
        };
        let certainty = stage.certainty();
        for (held, marks) in self.held.drain(..count).zip(values.chunks(2)) {
            may_be_held(&held, since_ms);
            let before = mark(held.stage);
            let text = if before.is_empty() { Value::Null } else { Value::Bulk(before) };
            let after = Value::Integer(held.stage as i64 + 1);
            assert!(marks == [text, after], "{held:?} was passed on, and its marks are {marks:?}");
            stage.shared.relay.learn(held.number, held.stage + 2, certainty);
            stage.shared.relay.released(held.number, self.id);
        }
        let refused = values.iter().find(|value| matches!(value, Value::Error(_)));
        assert_eq!(refused, None, "a part of a transaction has failed");
    }

    /// The server is gone: its tokens are worth nothing, which it may not know.
    pub(super) fn crashed(&mut self, rng: &mut fastrand::Rng) {
        let knows = rng.bool();
        self.held.retain_mut(|held| {
            held.worth = Worth::Stale;
            !knows
        });
        (self.phase, self.wire, self.asked, self.watched) = (Phase::Away, None, None, None);
        self.answers.clear();
    }
}

/// The answer to a token by itself: true when it was good.
fn settled(stage: &Stage<'_>, answer: &Value, held: &Held, since_ms: u64) -> bool {
    match answer {
        Value::Integer(1) => {
            may_be_held(held, since_ms);
            true
        }
        Value::Error(text) if text.starts_with("LEASELOST") => {
            may_be_over(stage, held);
            false
        }
        other => panic!("{held:?} is answered {other:?}"),
    }
}

/// A token was refused; may that be?
fn may_be_over(stage: &Stage<'_>, held: &Held) {
    let is_whole = held.worth == Worth::Whole && stage.now_ms < held.ends_ms[0];
    assert!(!is_whole, "the lease is refused before its time: {held:?} at {}", stage.now_ms);
}

/// A token was good for something that was said then; may that be?
fn may_be_held(held: &Held, since_ms: u64) {
    let is_over = held.worth == Worth::Stale || since_ms >= held.ends_ms[1];
    assert!(!is_over, "the lease is over and was good for something that was said at {since_ms}: {held:?}");
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
