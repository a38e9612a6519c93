//! What an exchange or queue has seen lately, so that the same does not come twice: a number of keys, each for a while.
//! (LavinMQ: message deduplication) The oldest go first, and replay keeps the same ones, as it looks at no clock.

use crate::UnixMillis;
use crate::broker::Map;
use leveret_amqp::{Table, Value};
use std::collections::VecDeque;

/// Keys that were seen.
pub(crate) struct Seen {
    size_max: usize,
    /// How long each is remembered; `None` is until others take its place.
    ttl_ms: Option<u64>,
    /// The header whose value is the key.
    header: Box<[u8]>,
    /// Until when each is remembered.
    keys: Map<Box<[u8]>, UnixMillis>,
    /// The same in the order in which they came, some of them twice.
    order: VecDeque<(Box<[u8]>, UnixMillis)>,
}

/// Keys that are remembered if nothing is said.
const SIZE: u64 = 128;

/// A queue or exchange asks for it by this argument.
pub(crate) const DEDUPLICATION: &str = "x-message-deduplication";

/// What is wrong with an argument: its name, and why.
pub(crate) type Wrong = (&'static str, String);

impl Seen {
    /// What these arguments ask for, if they ask for anything.
    pub(crate) fn from_arguments(arguments: Table<'_>) -> Result<Option<Self>, Wrong> {
        let number = |name: &'static str| match arguments.find(name.as_bytes()) {
            None => Ok(None),
            Some(value) => match value.as_integer() {
                Some(number) if number > 0 => Ok(Some(number as u64)),
                Some(0) => Err((name, "{value_zero,0}".to_owned())),
                Some(number) => Err((name, format!("{{value_negative,{number}}}"))),
                None => Err((name, format!("\"expected integer, got {}\"", value.type_name()))),
            },
        };
        match arguments.find(DEDUPLICATION.as_bytes()).map(|value| (value, value.as_bool())) {
            None | Some((_, Some(false))) => return Ok(None),
            Some((_, Some(true))) => {}
            Some((value, None)) => {
                return Err((DEDUPLICATION, format!("\"expected bool, got {}\"", value.type_name())));
            }
        }
        let header = match arguments.find(HEADER.as_bytes()).map(|value| (value, value.as_longstr())) {
            None => HEADER.as_bytes(),
            Some((_, Some(header))) => header,
            Some((value, None)) => {
                return Err((HEADER, format!("\"expected string, got {}\"", value.type_name())));
            }
        };
        let size_max = number("x-cache-size")?.unwrap_or(SIZE) as usize;
        let ttl_ms = number("x-cache-ttl")?;
        let (keys, order) = (Map::default(), VecDeque::new());
        Ok(Some(Self { size_max, ttl_ms, header: header.into(), keys, order }))
    }

    /// The key of a message with these headers, and until when it is to be remembered.
    pub(crate) fn key(&self, headers: Table<'_>, now_ms: UnixMillis) -> Option<(Vec<u8>, UnixMillis)> {
        let value = headers.find(&self.header)?;
        let mut key = Vec::new();
        match (value.as_integer(), value.as_longstr()) {
            // 5 is 5 in every width.
            (Some(number), _) => key.extend_from_slice(&number.to_be_bytes()),
            (None, Some(text)) => key.extend_from_slice(text),
            (None, None) => key.extend_from_slice(format!("{value:?}").as_bytes()),
        }
        // A string of eight bytes is no number.
        key.push(match value {
            Value::LongStr(_) => 0,
            _ => 1,
        });
        Some((key, self.ttl_ms.map_or(UnixMillis::MAX, |ttl| now_ms.saturating_add(ttl))))
    }

    pub(crate) fn contains(&self, key: &[u8], now_ms: UnixMillis) -> bool {
        self.keys.get(key).is_some_and(|until| *until > now_ms)
    }

    /// What is remembered, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], UnixMillis)> {
        let current = self.order.iter().filter(|(key, until)| self.keys.get(key) == Some(until));
        current.map(|(key, until)| (&**key, *until))
    }

    /// Remembers a key; the oldest ones make room.
    pub(crate) fn insert(&mut self, key: &[u8], until: UnixMillis) {
        self.keys.insert(key.into(), until);
        self.order.push_back((key.into(), until));
        while self.keys.len() > self.size_max || self.order.len() > 2 * self.size_max {
            let Some((oldest, until)) = self.order.pop_front() else { return };
            // One that was seen again since is younger than it looks here.
            if self.keys.get(&oldest) == Some(&until) {
                self.keys.remove(&oldest);
            }
        }
    }
}

/// The header of messages, or the argument that names another.
const HEADER: &str = "x-deduplication-header";
