//! All of a client's keys, as one asks for them and understands the answers.

use super::{Bytes, KEYS, Model, Val, key, parsed};
use leveret_resp::Value;

/// The commands that show all of a client's keys, in the order of `KEYS`.
pub(crate) fn questions(client: usize) -> Vec<Vec<Bytes>> {
    let mut questions = Vec::new();
    for (kind, count) in KEYS {
        for number in 0..count {
            let name = key(client, kind, number);
            let words: &[&str] = match kind {
                "list" => &["LRANGE", &name, "0", "-1"],
                "set" => &["SMEMBERS", &name],
                "hash" => &["HGETALL", &name],
                "stream" => &["XRANGE", &name, "-", "+"],
                "scores" => &["ZRANGE", &name, "0", "-1", "WITHSCORES"],
                _ => &["GET", &name],
            };
            questions.push(words.iter().map(|word| word.as_bytes().to_vec()).collect());
            if kind == "until" {
                questions.push(vec![b"PEXPIRETIME".to_vec(), name.into_bytes()]);
            }
        }
    }
    questions
}

fn bytes(value: &Value) -> Bytes {
    match value {
        Value::Bulk(bytes) => bytes.clone(),
        other => panic!("a string was expected, not {other:?}"),
    }
}

/// A number as a string.
pub(crate) fn number(value: &Value) -> u64 {
    parsed(&bytes(value)) as u64
}

pub(crate) fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        other => panic!("an array was expected, not {other:?}"),
    }
}

fn pairs(value: &Value) -> impl Iterator<Item = (Bytes, Bytes)> {
    array(value).chunks(2).map(|pair| (bytes(&pair[0]), bytes(&pair[1])))
}

/// An entry of a stream.
fn record(value: &Value) -> ((u64, u64), Bytes) {
    let [id, fields] = array(value) else { panic!("an entry has an id and fields: {value:?}") };
    let id = bytes(id);
    let (time, number) =
        id.split_at(id.iter().position(|byte| *byte == b'-').expect("an id has two numbers"));
    let id = (parsed(time) as u64, parsed(&number[1..]) as u64);
    (id, bytes(&array(fields)[1]))
}

/// What the answers to `questions` say.
pub(crate) fn understood(client: usize, answers: &[Value]) -> Model {
    let mut model = Model::default();
    let mut answers = answers.iter();
    for (kind, count) in KEYS {
        for number in 0..count {
            let answer = answers.next().expect("every question is answered");
            let val = match (kind, answer) {
                ("until", answer) => {
                    let until = answers.next().expect("every question is answered");
                    match (answer, until) {
                        // It may go between the two questions.
                        (Value::Null | Value::Bulk(_), Value::Integer(-2)) => continue,
                        (answer, Value::Integer(until)) => Val::Fleeting(bytes(answer), *until as u64),
                        (_, other) => panic!("a time was expected, not {other:?}"),
                    }
                }
                ("list", answer) => Val::List(array(answer).iter().map(bytes).collect()),
                ("set", answer) => Val::Set(array(answer).iter().map(bytes).collect()),
                ("stream", answer) => Val::Stream(array(answer).iter().map(record).collect()),
                ("hash", answer) => Val::Hash(pairs(answer).collect()),
                ("scores", answer) => {
                    Val::Scores(pairs(answer).map(|(member, score)| (member, parsed(&score))).collect())
                }
                (_, Value::Null) => continue,
                (_, answer) => Val::Text(bytes(answer)),
            };
            let name = key(client, kind, number);
            model.0.insert(name.clone(), val);
            model.tidy(&name);
        }
    }
    model
}
