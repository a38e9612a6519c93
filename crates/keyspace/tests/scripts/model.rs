//! Random commands against a model that anybody can read: a map of strings and deques with deadlines. Time moves, the
//! active expiry runs in between, and every commit is replayed by the session.

use crate::answer;
use crate::session::{START_MS, Session};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, PartialEq)]
enum Value {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, (Value, Option<u64>)>,
    now_ms: u64,
}

const WRONG_TYPE: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value\n";
const NOT_INTEGER: &str = "(error) ERR value is not an integer or out of range\n";
const OVERFLOW: &str = "(error) ERR increment or decrement would overflow\n";
const NIL: &str = "(nil)\n";
const OK: &str = "OK\n";

fn integer(value: impl TryInto<i64>) -> String {
    format!("(integer) {}\n", value.try_into().unwrap_or(i64::MAX))
}

fn bulk(bytes: &[u8]) -> String {
    format!("{}\n", answer::quoted(bytes))
}

fn array<'a>(items: impl ExactSizeIterator<Item = &'a Vec<u8>>) -> String {
    let width = items.len().to_string().len();
    if items.len() == 0 {
        return "(empty array)\n".to_owned();
    }
    items.enumerate().map(|(i, item)| format!("{:>width$}) {}", i + 1, bulk(item))).collect()
}

fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

impl Model {
    fn expire(&mut self) {
        let now_ms = self.now_ms;
        self.keys.retain(|_, (_, deadline)| deadline.is_none_or(|at| at > now_ms));
    }

    fn text(&self, key: &[u8]) -> Result<Option<&Vec<u8>>, String> {
        match self.keys.get(key) {
            None => Ok(None),
            Some((Value::Text(text), _)) => Ok(Some(text)),
            Some((Value::List(_), _)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn list(&mut self, key: &[u8]) -> Result<Option<&mut VecDeque<Vec<u8>>>, String> {
        match self.keys.get_mut(key) {
            None => Ok(None),
            Some((Value::List(list), _)) => Ok(Some(list)),
            Some((Value::Text(_), _)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    /// A new string; the deadline stays.
    fn set_text(&mut self, key: &[u8], text: Vec<u8>) {
        let deadline = self.keys.get(key).and_then(|(_, deadline)| *deadline);
        self.keys.insert(key.to_vec(), (Value::Text(text), deadline));
    }

    fn push(&mut self, left: bool, key: &[u8], elements: &[&[u8]]) -> Result<String, String> {
        self.list(key)?;
        let (Value::List(list), _) =
            self.keys.entry(key.to_vec()).or_insert((Value::List(VecDeque::new()), None))
        else {
            unreachable!("it has just been looked at");
        };
        for element in elements {
            if left { list.push_front(element.to_vec()) } else { list.push_back(element.to_vec()) }
        }
        Ok(integer(list.len()))
    }

    fn pop(&mut self, left: bool, key: &[u8], count: Option<usize>) -> Result<String, String> {
        let Some(list) = self.list(key)? else {
            return Ok(if count.is_some() { "(nil array)\n" } else { NIL }.to_owned());
        };
        let taken: Vec<Vec<u8>> = (0..count.unwrap_or(1))
            .map_while(|_| if left { list.pop_front() } else { list.pop_back() })
            .collect();
        if list.is_empty() {
            self.keys.remove(key);
        }
        Ok(match count {
            None => bulk(&taken[0]),
            Some(_) => array(taken.iter()),
        })
    }

    fn range(&mut self, key: &[u8], start: i64, stop: i64) -> Result<String, String> {
        let Some(list) = self.list(key)? else { return Ok(array([].iter())) };
        let at = |index: i64| if index < 0 { index + list.len() as i64 } else { index };
        let range: Vec<Vec<u8>> = list
            .iter()
            .enumerate()
            .filter(|(i, _)| (at(start)..=at(stop)).contains(&(*i as i64)))
            .map(|(_, element)| element.clone())
            .collect();
        Ok(array(range.iter()))
    }

    fn add(&mut self, key: &[u8], by: i64) -> Result<String, String> {
        let before = self.text(key)?.map_or(Some(0), |text| number(text)).ok_or(NOT_INTEGER)?;
        let after = before.checked_add(by).ok_or(OVERFLOW)?;
        self.set_text(key, after.to_string().into_bytes());
        Ok(integer(after))
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> String {
        let Some(value) = self.keys.remove(from) else { return "(error) ERR no such key\n".to_owned() };
        self.keys.insert(to.to_vec(), value);
        OK.to_owned()
    }

    /// EXPIRE and PEXPIRE; the deadline in milliseconds.
    fn set_deadline(&mut self, key: &[u8], at: i64) -> String {
        let Some((_, deadline)) = self.keys.get_mut(key) else { return integer(0) };
        *deadline = Some(u64::try_from(at).unwrap_or(0));
        self.expire();
        integer(1)
    }

    fn answer(&mut self, args: &[&[u8]]) -> Result<String, String> {
        let key = args.get(1).copied().unwrap_or_default();
        let amount = args.get(2).copied().and_then(number).unwrap_or_default();
        let deadline = self.keys.get(key).map(|(_, deadline)| *deadline);
        match args[0] {
            b"SET" => {
                let at = args.get(4).copied().and_then(number).map(|ms| self.now_ms + ms as u64);
                self.keys.insert(key.to_vec(), (Value::Text(args[2].to_vec()), at));
                Ok(OK.to_owned())
            }
            b"GET" => Ok(self.text(key)?.map_or(NIL.to_owned(), |text| bulk(text))),
            b"GETDEL" => {
                let answer = self.text(key)?.map_or(NIL.to_owned(), |text| bulk(text));
                self.keys.remove(key);
                Ok(answer)
            }
            b"STRLEN" => Ok(integer(self.text(key)?.map_or(0, Vec::len))),
            b"APPEND" => {
                let mut text = self.text(key)?.cloned().unwrap_or_default();
                text.extend_from_slice(args[2]);
                let len = text.len();
                self.set_text(key, text);
                Ok(integer(len))
            }
            b"INCRBY" => self.add(key, amount),
            b"DECRBY" => self.add(key, -amount),
            b"LPUSH" | b"RPUSH" => self.push(args[0][0] == b'L', key, &args[2..]),
            b"LPOP" | b"RPOP" => self.pop(args[0][0] == b'L', key, args.get(2).map(|_| amount as usize)),
            b"LLEN" => Ok(integer(self.list(key)?.map_or(0, |list| list.len()))),
            b"LRANGE" => self.range(key, amount, number(args[3]).unwrap_or_default()),
            b"DEL" => Ok(integer(args[1..].iter().filter(|key| self.keys.remove(**key).is_some()).count())),
            b"EXISTS" => Ok(integer(args[1..].iter().filter(|key| self.keys.contains_key(**key)).count())),
            b"RENAME" => Ok(self.rename(key, args[2])),
            b"PEXPIRE" => Ok(self.set_deadline(key, self.now_ms as i64 + amount)),
            b"PERSIST" => {
                if let Some((_, deadline)) = self.keys.get_mut(key) {
                    *deadline = None;
                }
                Ok(integer(i64::from(deadline.flatten().is_some())))
            }
            b"PTTL" => Ok(integer(match deadline {
                None => -2,
                Some(None) => -1,
                Some(Some(at)) => (at - self.now_ms) as i64,
            })),
            b"KEYS" => Ok(array(self.keys.keys())),
            b"FLUSHDB" => {
                self.keys.clear();
                Ok(OK.to_owned())
            }
            other => panic!("the model does not know {}", String::from_utf8_lossy(other)),
        }
    }
}

const KEYS: &[&[u8]] =
    &[b"", b"a", b"b", b"c", b"key:4", b"key:5", b"\x00\xff", b"a longer key than the others"];
const TEXTS: &[&[u8]] = &[b"", b"v", b"0", b"-1", b"10", b"9223372036854775800", b" 1", b"01", b"\xff\r\n"];

/// A random request; texts are long now and then, to leave the entry they began in.
fn random_request(rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let key = |rng: &mut fastrand::Rng| KEYS[rng.usize(..KEYS.len())].to_vec();
    let text = |rng: &mut fastrand::Rng| match rng.u8(..60) {
        0 => vec![b'x'; rng.usize(..20_000)],
        _ => TEXTS[rng.usize(..TEXTS.len())].to_vec(),
    };
    let (first, second) = (key(rng), key(rng));
    let request =
        |name: &str, rest: Vec<Vec<u8>>| [vec![name.as_bytes().to_vec(), first.clone()], rest].concat();
    let digits = |number: i64| number.to_string().into_bytes();
    match rng.u8(..100) {
        0..12 => request("SET", vec![text(rng)]),
        12..16 => request("SET", vec![text(rng), b"PX".to_vec(), digits(rng.i64(1..100))]),
        16..22 => request("GET", vec![]),
        22..25 => request("GETDEL", vec![]),
        25..28 => request("STRLEN", vec![]),
        28..35 => request("APPEND", vec![text(rng)]),
        35..40 => request("INCRBY", vec![digits(rng.i64(-10..10))]),
        40..44 => request("DECRBY", vec![digits(rng.i64(-10..10))]),
        44..51 => request("LPUSH", (0..rng.usize(1..5)).map(|_| text(rng)).collect()),
        51..58 => request("RPUSH", (0..rng.usize(1..5)).map(|_| text(rng)).collect()),
        58..62 => request("LPOP", vec![]),
        62..66 => request("RPOP", vec![digits(rng.i64(0..4))]),
        66..69 => request("LLEN", vec![]),
        69..74 => request("LRANGE", vec![digits(rng.i64(-8..8)), digits(rng.i64(-8..8))]),
        74..78 => request("DEL", vec![second]),
        78..81 => request("EXISTS", vec![second]),
        81..86 => request("RENAME", vec![second]),
        86..91 => request("PEXPIRE", vec![digits(rng.i64(-2..100))]),
        91..94 => request("PERSIST", vec![]),
        94..97 => request("PTTL", vec![]),
        97..99 => vec![b"KEYS".to_vec(), b"*".to_vec()],
        _ if rng.u8(..4) == 0 => vec![b"FLUSHDB".to_vec()],
        _ => request("GET", vec![]),
    }
}

#[test]
fn random_commands_answer_as_the_model() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut session, mut model) = (Session::new(), Model { now_ms: START_MS, ..Model::default() });
        for step in 0..1_000 {
            if rng.u8(..8) == 0 {
                session.now_ms += rng.u64(..40);
                model.now_ms = session.now_ms;
            }
            if rng.u8(..16) == 0 {
                session.expire(rng.usize(1..20));
            }
            model.expire();
            let request = random_request(&mut rng);
            let args: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
            let expected = model.answer(&args).unwrap_or_else(|refusal| refusal);
            let actual = answer::print(&session.call(&args).reply, None, args[0] == b"KEYS");
            let names: Vec<_> = args.iter().map(|arg| answer::quoted(arg)).collect();
            assert_eq!(sorted(&args, actual), sorted(&args, expected), "seed {seed}, step {step}: {names:?}");
        }
        assert!(session.keyspace.expired_count > 0, "seed {seed}: nothing has expired");
    }
}

/// The lines of an answer to KEYS without their numbers, in order: the model sorts keys, the harness sorts lines.
fn sorted(args: &[&[u8]], answer: String) -> Vec<String> {
    if args[0] != b"KEYS" {
        return vec![answer];
    }
    let mut lines: Vec<String> =
        answer.lines().map(|line| line.split_once(") ").map_or(line, |(_, key)| key).to_owned()).collect();
    lines.sort();
    lines
}
