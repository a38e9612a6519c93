//! Random commands on one stream and its group against a model that anybody can read: a map of entries, a map of what is
//! pending. Every commit is replayed by the session.

use crate::session::{START_MS, Session};
use leveret_resp::{Value, parse_reply};
use std::collections::BTreeMap;

type Id = (u64, u64);

#[derive(Default)]
struct Model {
    entries: BTreeMap<Id, String>,
    last: Id,
    read: Id,
    /// To whom, when, and how often.
    pending: BTreeMap<Id, (String, u64, u64)>,
    now_ms: u64,
}

fn text((ms, seq): Id) -> String {
    format!("{ms}-{seq}")
}

/// What an answer is made of, without its arrays.
fn leaves(value: Value, into: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.into_iter().for_each(|item| leaves(item, into)),
        Value::Bulk(bytes) => into.push(String::from_utf8(bytes).unwrap()),
        Value::Simple(text) => into.push(text),
        Value::Integer(integer) => into.push(integer.to_string()),
        Value::Null => into.push("null".to_owned()),
        other => panic!("{other:?} is no answer of a stream"),
    }
}

impl Model {
    fn entry(&self, id: Id) -> Vec<String> {
        vec![text(id), "field".to_owned(), self.entries[&id].clone()]
    }

    fn deliver(&mut self, id: Id, consumer: &str) {
        let count = self.pending.get(&id).map_or(0, |(.., count)| *count);
        self.pending.insert(id, (consumer.to_owned(), self.now_ms, count + 1));
    }

    fn add(&mut self, id: Id, value: &str) -> Vec<String> {
        self.entries.insert(id, value.to_owned());
        self.last = id;
        vec![text(id)]
    }

    fn trim(&mut self, max: usize) -> Vec<String> {
        let count = self.entries.len().saturating_sub(max);
        (0..count).for_each(|_| drop(self.entries.pop_first()));
        vec![count.to_string()]
    }

    fn read(&mut self, consumer: &str, count: usize) -> Vec<String> {
        let new: Vec<Id> = self.entries.keys().filter(|id| **id > self.read).take(count).copied().collect();
        for id in &new {
            self.read = *id;
            // A second reading begins to count anew.
            self.pending.remove(id);
            self.deliver(*id, consumer);
        }
        let entries = new.iter().flat_map(|id| self.entry(*id));
        if new.is_empty() {
            return vec!["null".to_owned()];
        }
        std::iter::once("s".to_owned()).chain(entries).collect()
    }

    /// XAUTOCLAIM: the cursor, what was claimed, what is gone. Ten are looked at for each that is wanted.
    fn claim(&mut self, consumer: &str, idle_ms: u64, count: usize) -> Vec<String> {
        let (mut claimed, mut gone, mut cursor) = (Vec::new(), Vec::new(), None);
        for (looked, (id, (_, at_ms, _))) in self.pending.clone().into_iter().enumerate() {
            if claimed.len() + gone.len() == count || looked == count * 10 {
                cursor = Some(id);
                break;
            }
            if !self.entries.contains_key(&id) {
                self.pending.remove(&id);
                gone.push(id);
            } else if self.now_ms - at_ms >= idle_ms {
                self.deliver(id, consumer);
                claimed.push(id);
            }
        }
        let mut answer = vec![text(cursor.unwrap_or_default())];
        answer.extend(claimed.into_iter().flat_map(|id| self.entry(id)));
        answer.extend(gone.into_iter().map(text));
        answer
    }

    fn listed(&self, consumer: &str) -> Vec<String> {
        let own = self.pending.iter().filter(|(_, (owner, ..))| owner == consumer);
        own.flat_map(|(id, (owner, at_ms, count))| {
            [text(*id), owner.clone(), (self.now_ms - at_ms).to_string(), count.to_string()]
        })
        .collect()
    }
}

fn some_id(model: &Model, rng: &mut fastrand::Rng) -> Id {
    let known: Vec<Id> = model.entries.keys().chain(model.pending.keys()).copied().collect();
    match known.len() {
        0 => (1, 1),
        len => known[rng.usize(..len)],
    }
}

/// A random request and what the model answers.
fn step(model: &mut Model, rng: &mut fastrand::Rng) -> (String, Vec<String>) {
    let consumer = ["c", "d"][rng.usize(..2)];
    let (id, other) = (some_id(model, rng), some_id(model, rng));
    match rng.u8(..20) {
        0..=5 => {
            let id = (model.last.0 + rng.u64(..3), model.last.1 + 1);
            let value = "v".repeat(rng.usize(1..200));
            (format!("XADD s {} field {value}", text(id)), model.add(id, &value))
        }
        6 => {
            let count = [id, other].iter().filter(|id| model.entries.remove(id).is_some()).count();
            (format!("XDEL s {} {}", text(id), text(other)), vec![count.to_string()])
        }
        7 => {
            let max = rng.usize(..400);
            (format!("XTRIM s MAXLEN {max}"), model.trim(max))
        }
        8 => ("XLEN s".to_owned(), vec![model.entries.len().to_string()]),
        9 | 10 => {
            let (from, to) = (id.min(other), id.max(other));
            let entries = model.entries.range(from..=to).flat_map(|(id, _)| model.entry(*id)).collect();
            (format!("XRANGE s {} {}", text(from), text(to)), entries)
        }
        11 => {
            let last = model.entries.keys().rev().take(3).flat_map(|id| model.entry(*id)).collect();
            ("XREVRANGE s + - COUNT 3".to_owned(), last)
        }
        12..=14 => {
            let count = rng.usize(1..9);
            let request = format!("XREADGROUP GROUP g {consumer} COUNT {count} STREAMS s >");
            (request, model.read(consumer, count))
        }
        15 | 16 => {
            let count = [id, other].iter().filter(|id| model.pending.remove(id).is_some()).count();
            (format!("XACK s g {} {}", text(id), text(other)), vec![count.to_string()])
        }
        17 => {
            let (idle_ms, count) = (rng.u64(..60), rng.usize(1..9));
            let request = format!("XAUTOCLAIM s g {consumer} {idle_ms} - COUNT {count}");
            (request, model.claim(consumer, idle_ms, count))
        }
        18 => {
            model.read = id;
            (format!("XGROUP|SETID x s g {}", text(id)), vec!["OK".to_owned()])
        }
        _ => (format!("XPENDING s g - + 99999 {consumer}"), model.listed(consumer)),
    }
}

#[test]
fn random_commands_on_a_stream_answer_as_the_model() {
    for seed in 0..8 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut session, mut model) = (Session::new(), Model { now_ms: START_MS, ..Model::default() });
        session.request("XGROUP|CREATE x s g 0 MKSTREAM");
        for number in 0..1_500 {
            if rng.u8(..8) == 0 {
                session.now_ms += rng.u64(..40);
                model.now_ms = session.now_ms;
            }
            let (request, expected) = step(&mut model, &mut rng);
            let reply = session.request(&request).reply;
            let mut actual = Vec::new();
            leaves(parse_reply(&reply).unwrap().unwrap().0, &mut actual);
            assert_eq!(actual, expected, "seed {seed}, step {number}: {request}");
        }
        assert!(model.last.0 > 100, "seed {seed}: nothing was added");
    }
}
