//! Exchanges that give each message to one of those bound to them: by a hash, so that the same key goes the same way, or
//! by chance. (RabbitMQ: x-consistent-hash, x-modulus-hash, x-random, x-local-random)
//!
//! Consistent hashing is a weighted rendezvous here, not a ring: each destination draws a number from the key and its own
//! id, the highest wins. A message costs a look at each destination, but weights are exact without any table, and when one
//! comes or goes only what it wins or had won goes elsewhere.

use super::{Binding, Counted, Destination, Keys, Routes};
use crate::exception::Exception;
use leveret_amqp::{Table, Value};
use std::collections::BTreeMap;

/// Refuses a binding key that is no weight.
pub(super) fn check_weight(key: &[u8], _: Table<'_>) -> Result<(), Exception> {
    let shown = String::from_utf8_lossy(key);
    match shown.parse::<i64>() {
        Ok(1..) => Ok(()),
        Ok(_) => {
            Err(Exception::precondition(format!("The binding key must be greater than 0: <<\"{shown}\">>")))
        }
        Err(_) => {
            Err(Exception::precondition(format!("The binding key must be an integer: <<\"{shown}\">>")))
        }
    }
}

/// Refuses a binding key that is there: it would mean nothing.
pub(super) fn check_empty(key: &[u8], _: Table<'_>) -> Result<(), Exception> {
    if key.is_empty() {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(key);
    Err(Exception::precondition(format!("Non empty binding '{shown}' key not permitted")))
}

const HASH_HEADER: &[u8] = b"hash-header";
const HASH_PROPERTY: &[u8] = b"hash-property";

/// Refuses what a consistent hash exchange cannot hash.
pub(crate) fn check_arguments(arguments: Table<'_>) -> Result<(), Exception> {
    let (header, property) = (arguments.find(HASH_HEADER), arguments.find(HASH_PROPERTY));
    if header.is_some() && property.is_some() {
        let text = "hash-header and hash-property are mutually exclusive";
        return Err(Exception::precondition(text));
    }
    match property.map(|value| value.as_longstr()) {
        None | Some(Some(b"correlation_id" | b"message_id" | b"timestamp")) => Ok(()),
        Some(name) => Err(Exception::precondition(format!(
            "Unsupported property: {}",
            String::from_utf8_lossy(name.unwrap_or_default())
        ))),
    }
}

/// The same on every machine and in every version: what is in a queue stays together with what comes. (FNV-1a)
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Every bit depends on every bit. (SplitMix64)
fn mix(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// What is hashed.
enum Hashed {
    RoutingKey,
    Header(Box<[u8]>),
    Property(Box<[u8]>),
}

// DEVIATION: the hash is not RabbitMQ's, and weights of one destination add up.
/// `x-consistent-hash`.
pub(super) struct Consistent {
    hashed: Hashed,
    weights: BTreeMap<Destination, f64>,
}

fn weight(binding: &Binding) -> f64 {
    std::str::from_utf8(&binding.key)
        .ok()
        .and_then(|key| key.parse::<i64>().ok())
        .map_or(1.0, |weight| weight as f64)
}

impl Consistent {
    pub(super) fn new(arguments: Table<'_>) -> Self {
        let name = |argument| arguments.find(argument).and_then(|value| value.as_longstr()).map(Box::from);
        let hashed = match (name(HASH_HEADER), name(HASH_PROPERTY)) {
            (Some(header), _) => Hashed::Header(header),
            (None, Some(property)) => Hashed::Property(property),
            (None, None) => Hashed::RoutingKey,
        };
        Self { hashed, weights: BTreeMap::new() }
    }

    fn hash(&self, keys: &Keys<'_>) -> u64 {
        match &self.hashed {
            Hashed::RoutingKey => hash(keys.key),
            Hashed::Header(name) => match keys.headers.find(name) {
                Some(Value::LongStr(text)) => hash(text),
                Some(other) => hash(format!("{other:?}").as_bytes()),
                None => 0,
            },
            Hashed::Property(name) => match &**name {
                b"message_id" => hash(keys.properties.message_id().unwrap_or_default()),
                b"timestamp" => hash(&keys.properties.timestamp().unwrap_or(0).to_be_bytes()),
                _ => hash(keys.properties.correlation_id().unwrap_or_default()),
            },
        }
    }
}

impl Routes for Consistent {
    fn add(&mut self, binding: &Binding) {
        *self.weights.entry(binding.destination).or_insert(0.0) += weight(binding);
    }

    fn remove(&mut self, binding: &Binding) {
        if let Some(left) = self.weights.get_mut(&binding.destination) {
            *left -= weight(binding);
            if *left <= 0.0 {
                self.weights.remove(&binding.destination);
            }
        }
    }

    fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>) {
        let key = self.hash(keys);
        let draw = |destination: Destination, weight: f64| {
            let id = match destination {
                Destination::Queue(id) => u64::from(id.0),
                Destination::Exchange(id) => u64::from(id.0) | 1 << 32,
            };
            let drawn = mix(key ^ mix(id.wrapping_add(0x9e37_79b9_7f4a_7c15)));
            // Between 0 and 1, and neither of them.
            let drawn = ((drawn >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
            weight / -drawn.ln()
        };
        let scores =
            self.weights.iter().map(|(destination, weight)| (draw(*destination, *weight), *destination));
        into.extend(scores.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, destination)| destination));
    }
}

/// `x-modulus-hash`: by the remainder of the routing key's hash, whatever the binding's key.
#[derive(Default)]
pub(super) struct Modulus {
    bound: Counted,
}

/// `x-random` and `x-local-random`.
#[derive(Default)]
pub(super) struct Random {
    bound: Counted,
    rng: Option<fastrand::Rng>,
}

impl Routes for Modulus {
    fn add(&mut self, binding: &Binding) {
        self.bound.add(binding.destination);
    }

    fn remove(&mut self, binding: &Binding) {
        self.bound.remove(binding.destination);
    }

    fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>) {
        into.extend(self.bound.nth(mix(hash(keys.key))));
    }
}

impl Routes for Random {
    fn add(&mut self, binding: &Binding) {
        self.bound.add(binding.destination);
    }

    fn remove(&mut self, binding: &Binding) {
        self.bound.remove(binding.destination);
    }

    fn route(&mut self, _: &Keys<'_>, into: &mut Vec<Destination>) {
        // Any seed: it spreads load and keeps no secret.
        let drawn = self.rng.get_or_insert_with(|| fastrand::Rng::with_seed(1)).u64(..);
        into.extend(self.bound.nth(drawn));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueId;

    fn binding(queue: u32, weight: &str) -> Binding {
        let destination = Destination::Queue(QueueId(queue));
        Binding { destination, key: weight.as_bytes().into(), arguments: Box::default() }
    }

    fn winners(exchange: &mut Consistent) -> Vec<Destination> {
        let mut winners = Vec::new();
        for i in 0..4000 {
            let key = format!("key {i}");
            let (key, more) = (key.as_bytes(), Vec::new());
            let keys = Keys { key, more, headers: Table::default(), properties: Default::default() };
            exchange.route(&keys, &mut winners);
        }
        assert_eq!(winners.len(), 4000);
        winners
    }

    #[test]
    fn weights_are_kept_and_only_what_a_destination_had_moves_with_it() {
        let mut exchange = Consistent::new(Table::default());
        for (queue, weight) in [(1, "1"), (2, "1"), (3, "2")] {
            exchange.add(&binding(queue, weight));
        }
        let before = winners(&mut exchange);
        for (queue, expected) in [(1, 1000), (2, 1000), (3, 2000)] {
            let count = before.iter().filter(|won| **won == Destination::Queue(QueueId(queue))).count();
            assert!(count.abs_diff(expected) < 100, "queue {queue} got {count} instead of {expected}");
        }
        let gone = binding(2, "1");
        exchange.remove(&gone);
        for (before, after) in before.iter().zip(winners(&mut exchange)) {
            assert!(*before == after || *before == gone.destination);
        }
    }
}
