//! Redis as a plain map: what a client's own keys are after each of its commands, and what it must have been answered.

mod look;

pub(crate) use look::{array, number, questions, understood};

use crate::ledger::Copy;
use leveret_resp::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

pub(crate) type Bytes = Vec<u8>;

/// A value, as one would write it down.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Val {
    Text(Bytes),
    /// Until a moment.
    Fleeting(Bytes, u64),
    List(VecDeque<Bytes>),
    Set(BTreeSet<Bytes>),
    Hash(BTreeMap<Bytes, Bytes>),
    Scores(BTreeMap<Bytes, i64>),
    /// By the two numbers of an id.
    Stream(BTreeMap<(u64, u64), Bytes>),
}

impl fmt::Debug for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Bytes| {
            let start = String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes));
            format!("{start}({})", bytes.len())
        };
        let pair = |(member, value): (&Bytes, String)| format!("{} {value}", text(member));
        match self {
            Val::Text(value) => write!(f, "{}", text(value)),
            Val::Fleeting(value, until) => write!(f, "until {until} {}", text(value)),
            Val::List(list) => write!(f, "{:?}", list.iter().map(text).collect::<Vec<_>>()),
            Val::Set(set) => write!(f, "{:?}", set.iter().map(text).collect::<Vec<_>>()),
            Val::Hash(hash) => {
                write!(f, "{:?}", hash.iter().map(|(k, v)| pair((k, text(v)))).collect::<Vec<_>>())
            }
            Val::Stream(entries) => {
                write!(f, "{:?}", entries.iter().map(|(id, value)| (id, text(value))).collect::<Vec<_>>())
            }
            Val::Scores(scores) => {
                write!(f, "{:?}", scores.iter().map(|(k, v)| pair((k, v.to_string()))).collect::<Vec<_>>())
            }
        }
    }
}

/// A client's keys; their first letter says what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model(pub(crate) BTreeMap<String, Val>);

/// A command on keys that nobody else changes. The numbers are those of keys.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Set(u8, Bytes),
    SetUntil(u8, Bytes, u64),
    Forget(u8),
    Append(u8, Bytes),
    Increment(u8, i64),
    Push {
        key: u8,
        left: bool,
        values: Vec<Bytes>,
    },
    Pop {
        key: u8,
        left: bool,
    },
    Move(u8, u8),
    Add(u8, Vec<Bytes>),
    Remove(u8, Bytes),
    HashSet(u8, Bytes, Bytes),
    HashDelete(u8, Bytes),
    Score(u8, Bytes, i64),
    Delete(&'static str, u8),
    Rename(&'static str, u8, u8),
    Get(u8),
    /// Somebody else's text.
    Look(usize, u8),
    /// To the list of jobs that all clients share, and from it.
    Give(u64),
    Take,
    /// The counter that all clients share.
    Count,
    /// To a durable queue.
    Publish(Copy, Bytes),
    /// Everything before is on the disk when it is answered.
    Wait,
    /// An entry of a stream, with its id.
    Record(u8, (u64, u64), Bytes),
    Trim(u8, usize),
    Multi(Vec<Op>),
    /// Likewise, as a script.
    Script(Vec<Op>),
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Is(Value),
    /// Whatever it is, of this kind.
    Integer,
    TextOrNothing,
    JobOrNothing,
    Confirmed,
    All(Vec<Expected>),
}

/// Keys of each kind that a client has.
pub(crate) const KEYS: [(&str, u8); 9] = [
    ("text", 2),
    ("until", 2),
    ("long", 1),
    ("number", 2),
    ("list", 2),
    ("set", 1),
    ("hash", 1),
    ("scores", 1),
    ("stream", 1),
];

pub(crate) fn key(client: usize, kind: &str, number: u8) -> String {
    format!("{kind}:{client}:{number}")
}

fn bulk(bytes: &[u8]) -> Expected {
    Expected::Is(Value::Bulk(bytes.to_vec()))
}

fn integer(number: usize) -> Expected {
    Expected::Is(Value::Integer(number as i64))
}

fn ok() -> Expected {
    Expected::Is(Value::Simple("OK".into()))
}

impl Model {
    /// Is this what was seen between these moments? What is overdue is not there.
    pub(crate) fn fits(&self, seen: &Model, [from_ms, to_ms]: [u64; 2]) -> bool {
        let is_right = |(name, val): (&String, &Val)| match (val, seen.0.get(name)) {
            (Val::Fleeting(_, until), None) => *until <= to_ms,
            (Val::Fleeting(_, until), Some(other)) => val == other && *until > from_ms,
            (_, other) => Some(val) == other,
        };
        self.0.iter().all(is_right) && seen.0.keys().all(|name| self.0.contains_key(name))
    }

    fn text(&mut self, name: String) -> &mut Bytes {
        match self.0.entry(name).or_insert_with(|| Val::Text(Bytes::new())) {
            Val::Text(text) => text,
            other => panic!("this key is a text, not {other:?}"),
        }
    }

    fn list(&mut self, name: String) -> &mut VecDeque<Bytes> {
        match self.0.entry(name).or_insert_with(|| Val::List(VecDeque::new())) {
            Val::List(list) => list,
            other => panic!("this key is a list, not {other:?}"),
        }
    }

    fn set(&mut self, name: String) -> &mut BTreeSet<Bytes> {
        match self.0.entry(name).or_insert_with(|| Val::Set(BTreeSet::new())) {
            Val::Set(set) => set,
            other => panic!("this key is a set, not {other:?}"),
        }
    }

    fn hash(&mut self, name: String) -> &mut BTreeMap<Bytes, Bytes> {
        match self.0.entry(name).or_insert_with(|| Val::Hash(BTreeMap::new())) {
            Val::Hash(hash) => hash,
            other => panic!("this key is a hash, not {other:?}"),
        }
    }

    fn scores(&mut self, name: String) -> &mut BTreeMap<Bytes, i64> {
        match self.0.entry(name).or_insert_with(|| Val::Scores(BTreeMap::new())) {
            Val::Scores(scores) => scores,
            other => panic!("this key is a sorted set, not {other:?}"),
        }
    }

    fn stream(&mut self, name: String) -> &mut BTreeMap<(u64, u64), Bytes> {
        match self.0.entry(name).or_insert_with(|| Val::Stream(BTreeMap::new())) {
            Val::Stream(entries) => entries,
            other => panic!("this key is a stream, not {other:?}"),
        }
    }

    /// A collection without elements is not there.
    fn tidy(&mut self, name: &str) {
        let is_empty = match self.0.get(name) {
            Some(Val::List(list)) => list.is_empty(),
            Some(Val::Set(set)) => set.is_empty(),
            Some(Val::Hash(hash)) => hash.is_empty(),
            Some(Val::Scores(scores)) => scores.is_empty(),
            // A stream stays, but it looks as if it were not there.
            Some(Val::Stream(entries)) => entries.is_empty(),
            Some(Val::Text(_) | Val::Fleeting(..)) | None => false,
        };
        if is_empty {
            self.0.remove(name);
        }
    }

    /// Executes; gives what the client must be told.
    pub(crate) fn run(&mut self, client: usize, op: &Op) -> Expected {
        let name = |kind: &str, number: &u8| key(client, kind, *number);
        match op {
            Op::Set(number, value) => {
                self.0.insert(name("text", number), Val::Text(value.clone()));
                ok()
            }
            Op::SetUntil(number, value, until) => {
                self.0.insert(name("until", number), Val::Fleeting(value.clone(), *until));
                ok()
            }
            Op::Forget(number) => {
                self.0.remove(&name("until", number));
                // It depends on the time when it was executed.
                Expected::Integer
            }
            Op::Append(number, more) => {
                let text = self.text(name("long", number));
                text.extend_from_slice(more);
                integer(text.len())
            }
            Op::Increment(number, by) => {
                let text = self.text(name("number", number));
                let before: i64 = if text.is_empty() { 0 } else { parsed(text) };
                *text = (before + by).to_string().into_bytes();
                Expected::Is(Value::Integer(before + by))
            }
            Op::Push { key, left, values } => {
                let list = self.list(name("list", key));
                for value in values {
                    if *left { list.push_front(value.clone()) } else { list.push_back(value.clone()) }
                }
                integer(list.len())
            }
            Op::Pop { key, left } => {
                let name = name("list", key);
                let list = self.list(name.clone());
                let popped = if *left { list.pop_front() } else { list.pop_back() };
                self.tidy(&name);
                popped.map_or(Expected::Is(Value::Null), |value| bulk(&value))
            }
            Op::Move(from, to) => {
                let (from, to) = (name("list", from), name("list", to));
                let moved = self.list(from.clone()).pop_back();
                if let Some(value) = &moved {
                    self.list(to.clone()).push_front(value.clone());
                }
                self.tidy(&from);
                self.tidy(&to);
                moved.map_or(Expected::Is(Value::Null), |value| bulk(&value))
            }
            Op::Add(number, members) => {
                let set = self.set(name("set", number));
                integer(members.iter().filter(|member| set.insert((*member).clone())).count())
            }
            Op::Remove(number, member) => {
                let name = name("set", number);
                let removed = self.set(name.clone()).remove(member);
                self.tidy(&name);
                integer(usize::from(removed))
            }
            Op::HashSet(number, field, value) => {
                let before = self.hash(name("hash", number)).insert(field.clone(), value.clone());
                integer(usize::from(before.is_none()))
            }
            Op::HashDelete(number, field) => {
                let name = name("hash", number);
                let removed = self.hash(name.clone()).remove(field);
                self.tidy(&name);
                integer(usize::from(removed.is_some()))
            }
            Op::Score(number, member, by) => {
                let score = self.scores(name("scores", number)).entry(member.clone()).or_default();
                *score += by;
                bulk(score.to_string().as_bytes())
            }
            Op::Delete(kind, number) => integer(usize::from(self.0.remove(&name(kind, number)).is_some())),
            Op::Rename(kind, from, to) => match self.0.remove(&name(kind, from)) {
                Some(val) => {
                    self.0.insert(name(kind, to), val);
                    ok()
                }
                None => Expected::Is(Value::Error("ERR no such key".into())),
            },
            Op::Get(number) => match self.0.get(&name("text", number)) {
                Some(Val::Text(text)) => bulk(text),
                _ => Expected::Is(Value::Null),
            },
            Op::Look(..) => Expected::TextOrNothing,
            Op::Give(_) | Op::Count => Expected::Integer,
            Op::Take => Expected::JobOrNothing,
            Op::Publish(..) => integer(1),
            Op::Wait => Expected::Confirmed,
            Op::Record(number, id, value) => {
                self.stream(name("stream", number)).insert(*id, value.clone());
                bulk(format!("{}-{}", id.0, id.1).as_bytes())
            }
            Op::Trim(number, len) => {
                let name = name("stream", number);
                let entries = self.stream(name.clone());
                let before = entries.len();
                while entries.len() > *len {
                    entries.pop_first();
                }
                let trimmed = before - entries.len();
                self.tidy(&name);
                integer(trimmed)
            }
            Op::Multi(ops) | Op::Script(ops) => {
                Expected::All(ops.iter().map(|op| self.run(client, op)).collect())
            }
        }
    }
}

fn parsed(text: &[u8]) -> i64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("it was a number before")
}

impl Expected {
    /// Is this the answer?
    pub(crate) fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Expected::Is(expected), value) => expected == value,
            (Expected::Integer, value) => matches!(value, Value::Integer(_)),
            (Expected::TextOrNothing, value) => matches!(value, Value::Null | Value::Bulk(_)),
            (Expected::JobOrNothing, Value::Null) => true,
            (Expected::JobOrNothing, Value::Array(parts)) => parts.len() == 2,
            // The disk of this server and no replica.
            (Expected::Confirmed, Value::Array(counts)) => *counts == [Value::Integer(1), Value::Integer(0)],
            (Expected::All(expected), Value::Array(values)) => {
                expected.len() == values.len() && expected.iter().zip(values).all(|(e, v)| e.fits(v))
            }
            (Expected::JobOrNothing | Expected::Confirmed | Expected::All(_), _) => false,
        }
    }
}

impl Op {
    /// The command's words; those of a transaction are its commands'.
    pub(crate) fn words(&self, client: usize) -> Vec<Bytes> {
        let name = |kind: &str, number: &u8| key(client, kind, *number).into_bytes();
        let word = |text: &str| text.as_bytes().to_vec();
        match self {
            Op::Set(number, value) => vec![word("SET"), name("text", number), value.clone()],
            Op::SetUntil(number, value, until) => {
                vec![
                    word("SET"),
                    name("until", number),
                    value.clone(),
                    word("PXAT"),
                    word(&until.to_string()),
                ]
            }
            Op::Forget(number) => vec![word("DEL"), name("until", number)],
            Op::Append(number, more) => vec![word("APPEND"), name("long", number), more.clone()],
            Op::Increment(number, by) => vec![word("INCRBY"), name("number", number), word(&by.to_string())],
            Op::Push { key, left, values } => {
                let command = word(if *left { "LPUSH" } else { "RPUSH" });
                [command, name("list", key)].into_iter().chain(values.iter().cloned()).collect()
            }
            Op::Pop { key, left } => vec![word(if *left { "LPOP" } else { "RPOP" }), name("list", key)],
            Op::Move(from, to) => vec![word("RPOPLPUSH"), name("list", from), name("list", to)],
            Op::Add(number, members) => {
                [word("SADD"), name("set", number)].into_iter().chain(members.iter().cloned()).collect()
            }
            Op::Remove(number, member) => vec![word("SREM"), name("set", number), member.clone()],
            Op::HashSet(number, field, value) => {
                vec![word("HSET"), name("hash", number), field.clone(), value.clone()]
            }
            Op::HashDelete(number, field) => vec![word("HDEL"), name("hash", number), field.clone()],
            Op::Score(number, member, by) => {
                vec![word("ZINCRBY"), name("scores", number), word(&by.to_string()), member.clone()]
            }
            Op::Delete(kind, number) => vec![word("DEL"), name(kind, number)],
            Op::Rename(kind, from, to) => vec![word("RENAME"), name(kind, from), name(kind, to)],
            Op::Get(number) => vec![word("GET"), name("text", number)],
            Op::Look(other, number) => vec![word("GET"), key(*other, "text", *number).into_bytes()],
            Op::Give(job) => vec![word("LPUSH"), word("jobs"), word(&job.to_string())],
            Op::Take => vec![word("BRPOP"), word("jobs"), word("0.2")],
            Op::Count => vec![word("INCR"), word("shared")],
            Op::Publish(copy, body) => {
                vec![word("AMQP.PUBLISH"), word(""), word(copy.queue.name()), body.clone()]
            }
            Op::Wait => vec![word("WAITAOF"), word("1"), word("0"), word("0")],
            Op::Record(number, id, value) => {
                let id = word(&format!("{}-{}", id.0, id.1));
                vec![word("XADD"), name("stream", number), id, word("f"), value.clone()]
            }
            Op::Trim(number, len) => {
                vec![word("XTRIM"), name("stream", number), word("MAXLEN"), word(&len.to_string())]
            }
            Op::Multi(_) => vec![word("MULTI")],
            Op::Script(ops) => {
                let mut words = vec![word("EVAL"), word(SCRIPT), word("0")];
                for op in ops {
                    let command = op.words(client);
                    words.push(word(&command.len().to_string()));
                    words.extend(command);
                }
                words
            }
        }
    }
}

/// Runs commands, each with the number of its words before it.
const SCRIPT: &str = "local answers, at = {}, 1
while at <= #ARGV do
  local words = {}
  for i = 1, tonumber(ARGV[at]) do words[i] = ARGV[at + i] end
  answers[#answers + 1] = redis.call(unpack(words))
  at = at + #words + 1
end
return answers";
