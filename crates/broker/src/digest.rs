//! One number for the whole durable state, by which tests tell whether two are equal; and what else they ask.

use crate::body::BodyRef;
use crate::exchange::Recent;
use crate::queue::Unacked;
use crate::{Broker, Message};
use leveret_base::codec::Place;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

impl Broker {
    /// Where the messages lie that only the log has, of whatever queues.
    pub fn places_away(&self) -> impl Iterator<Item = Place> {
        let ready = self.queues.values().flat_map(|queue| queue.ready.iter());
        // A stream has what is held of it.
        let queues = self.queues.values().filter(|queue| queue.stream.is_none());
        let held = queues.flat_map(|queue| queue.unacked.iter()).map(|held| held.body.as_ref());
        let streams = self.queues.values().filter_map(|queue| queue.stream.as_ref());
        let kept = streams.flat_map(|stream| stream.iter()).map(|kept| kept.body);
        let delayed = self.delayed.iter().map(|delayed| delayed.body.as_ref());
        let all = ready.map(|entry| entry.body).chain(held).chain(kept).chain(delayed);
        all.filter_map(BodyRef::away).filter(|away| !away.is_spilled()).map(|away| away.place)
    }

    /// A number that is equal for equal durable states. All messages must be in memory.
    pub fn digest(&self) -> u64 {
        self.digest_with(&mut |_| None)
    }

    /// Likewise; `read` gives messages that only the log has.
    pub fn digest_with(&self, read: &mut dyn FnMut(Place) -> Option<Message>) -> u64 {
        let mut hasher = new_hasher();
        hasher.write(self.reply_secret.as_ref().map_or(&[], |secret| secret.as_slice()));
        let secret = hasher.finish();
        let exchanges =
            self.exchanges.iter().filter(|(_, exchange)| exchange.durable).map(|(id, exchange)| {
                let mut hasher = new_hasher();
                hasher.write_u32(id.0);
                hasher.write(&exchange.name);
                hasher.write(exchange.kind.name().as_bytes());
                hasher.write(&exchange.arguments);
                let logged = exchange.bindings().filter(|(destination, _)| self.is_logged(*destination));
                let bindings = logged.map(|(destination, (key, arguments))| {
                    let mut hasher = new_hasher();
                    hasher.write(format!("{destination:?}").as_bytes());
                    hasher.write_usize(key.len());
                    hasher.write(key);
                    hasher.write(arguments);
                    hasher.finish()
                });
                let recent = exchange.history.iter().flat_map(|history| history.iter());
                for Recent { message, .. } in recent.filter(|recent| recent.kept) {
                    for part in
                        [message.exchange(), message.routing_key(), message.properties(), message.body()]
                    {
                        hasher.write_usize(part.len());
                        hasher.write(part);
                    }
                }
                // A sum is the same in every order.
                hasher.write_u64(bindings.fold(0, u64::wrapping_add));
                hasher.finish()
            });
        let queues = self.queues.values().filter(|queue| queue.is_logged()).map(|queue| {
            let mut hasher = new_hasher();
            hasher.write_u32(queue.id.0);
            hasher.write(&queue.name);
            if let Some(stream) = &queue.stream {
                hasher.write_u64(stream.next_offset());
                stream.segment_firsts().for_each(|first| hasher.write_u64(first));
                for kept in stream.iter() {
                    let message = read_if_away(kept.body, read);
                    hasher.write_u64(kept.at);
                    hasher.write(message.routing_key());
                    hasher.write(message.properties());
                    hasher.write(message.body());
                }
                return hasher.finish();
            }
            let unacked = queue.unacked.iter().map(Unacked::entry);
            let mut entries: Vec<_> = queue.ready.iter().chain(unacked).collect();
            entries.sort_by_key(|entry| entry.seq);
            for entry in entries {
                if !queue.keeps(entry.body.is_persistent()) {
                    continue;
                }
                let away;
                let message: &Message = match entry.body {
                    BodyRef::Here(message) => message,
                    BodyRef::Away(known) => {
                        away = read(known.place).expect("the log has what is not in memory");
                        assert_eq!(away.body().len(), known.body_len as usize, "it is another message");
                        assert_eq!((away.priority, away.persistent), (known.priority, known.persistent));
                        &away
                    }
                };
                hasher.write_u64(entry.seq);
                hasher.write_u32(entry.returns.failed);
                if entry.returns.released > 0 {
                    hasher.write_u32(entry.returns.released);
                }
                hasher.write_u64(entry.deadline);
                hasher.write(message.routing_key());
                hasher.write(message.properties());
                hasher.write(message.body());
            }
            hasher.finish()
        });
        let queues = queues.fold(0, u64::wrapping_add);
        let kept = self.delayed.iter().filter(|delayed| delayed.kept);
        let delayed = kept.map(|delayed| {
            let mut hasher = new_hasher();
            hasher.write_u64(delayed.due);
            hasher.write_u64(delayed.number);
            hasher.write_u32(delayed.exchange.0);
            let message = read_if_away(delayed.body.as_ref(), read);
            hasher.write(message.properties());
            hasher.write(message.body());
            hasher.finish()
        });
        let vhosts = self.vhosts.iter().map(|(id, vhost)| {
            let mut hasher = new_hasher();
            hasher.write_u32(id.0);
            hasher.write(&vhost.name);
            hasher.write(format!("{:?}", vhost.about).as_bytes());
            hasher.finish()
        });
        let policies = self.policies.iter().map(|(key, policy)| {
            let mut hasher = new_hasher();
            hasher.write(format!("{key:?} {policy:?}").as_bytes());
            hasher.finish()
        });
        exchanges
            .chain(std::iter::once(queues))
            .chain(delayed)
            .chain(vhosts)
            .chain(policies)
            .fold(secret, u64::wrapping_add)
    }
}

fn read_if_away(body: BodyRef<'_>, read: &mut dyn FnMut(Place) -> Option<Message>) -> Arc<Message> {
    match body {
        BodyRef::Here(message) => message.clone(),
        BodyRef::Away(away) => Arc::new(read(away.place).expect("the log has what is not in memory")),
    }
}

fn new_hasher() -> impl Hasher {
    foldhash::fast::FixedState::with_seed(0).build_hasher()
}
