//! What a broker is, as plainly as possible: queues are vectors, routing is a loop, nothing is compiled, indexed or
//! logged. It foretells which messages leave a queue, and in which order; which of several consumers gets one, it learns
//! from what is said. The trap: it must not know how the server does it, or it would be wrong in the same way.

use std::collections::{BTreeMap, BTreeSet};

/// A connection and a channel of it.
pub(super) type ChannelId = (u8, u16);

/// What is published, and known by its body from then on.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) body: String,
    pub(super) persistent: bool,
    pub(super) priority: u8,
}

/// Whether a message is told to have been delivered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redelivered {
    No,
    /// The queue recorded ahead what it delivers; after a crash the flag is on more than that.
    Perhaps,
    Yes,
}

/// Who has an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Nobody,
    /// A consumer whose name has not been heard yet.
    Leaving,
    Channel(ChannelId, Option<String>),
}

#[derive(Debug, Clone)]
struct Entry {
    place: u64,
    message: Message,
    redelivered: Redelivered,
    is_letter: bool,
    returns: u32,
    holder: Holder,
}

#[derive(Debug, Clone)]
struct Consumer {
    channel: ChannelId,
    no_ack: bool,
    prefetch: usize,
    unacked_count: usize,
    /// The last place it was given in this step.
    heard: Option<usize>,
}

impl Consumer {
    fn is_unlimited(&self) -> bool {
        self.no_ack || self.prefetch == 0
    }
}

/// What a queue is declared with, the same each time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) durable: bool,
    /// The connection whose own it is.
    pub(super) owner: Option<u8>,
    /// A quorum queue, from which a message may come back so often.
    pub(super) delivery_limit: Option<u32>,
    pub(super) priority_max: u8,
    /// More ready messages than this push the first ones out.
    pub(super) length_max: usize,
    /// The queue that gets its dead letters.
    pub(super) letters_to: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Queue {
    kind: Kind,
    entries: Vec<Entry>,
    has_delivered: bool,
    consumers: BTreeMap<String, Consumer>,
    /// Places that leave in this step, in order; those that have been heard of are `None`.
    leaving: Vec<Option<u64>>,
}

impl Queue {
    fn keeps(&self, message: &Message) -> bool {
        self.kind.durable && (message.persistent || self.kind.delivery_limit.is_some())
    }

    fn first(&self) -> Option<usize> {
        let ready = self.entries.iter().enumerate().filter(|(_, entry)| entry.holder == Holder::Nobody);
        let priority = |entry: &Entry| entry.message.priority.min(self.kind.priority_max);
        ready.min_by_key(|(_, entry)| (u8::MAX - priority(entry), entry.place)).map(|(i, _)| i)
    }

    fn ready_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.holder == Holder::Nobody).count()
    }

    fn has_credit(&self) -> bool {
        let leaving = self.leaving.iter().flatten().count();
        let limited: usize =
            self.consumers.values().map(|c| c.prefetch.saturating_sub(c.unacked_count)).sum();
        self.consumers.values().any(Consumer::is_unlimited) || limited > leaving
    }

    /// Everything that a consumer can take leaves.
    fn dispatch(&mut self) {
        while self.has_credit()
            && let Some(first) = self.first()
        {
            self.entries[first].holder = Holder::Leaving;
            self.leaving.push(Some(self.entries[first].place));
        }
    }
}

/// How a message is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Ack,
    /// It has failed.
    Requeue,
    /// It has not.
    Release,
    Drop,
}

/// All queues and bindings, and who holds what.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    queues: BTreeMap<&'static str, Queue>,
    bindings: BTreeSet<(&'static str, &'static str, &'static str)>,
    dead: Vec<(&'static str, Message)>,
    /// Never used twice, so that what was held of a deleted queue is nothing of the next one.
    last_place: u64,
}

/// A queue and a place in it.
pub(super) type Place = (&'static str, u64);

fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((&"#", rest)) => (0..=key.len()).any(|skipped| matches(rest, &key[skipped..])),
        Some((word, rest)) => key
            .split_first()
            .is_some_and(|(first, key)| (*word == "*" || word == first) && matches(rest, key)),
    }
}

impl Model {
    pub(super) fn has(&self, queue: &str) -> bool {
        self.queues.contains_key(queue)
    }

    /// Ready messages and consumers of a queue that is there.
    pub(super) fn counts(&self, queue: &str) -> Option<(usize, usize)> {
        self.queues.get(queue).map(|queue| (queue.ready_count(), queue.consumers.len()))
    }

    /// Bodies of all messages that a restart would leave.
    pub(super) fn kept(&self) -> BTreeSet<String> {
        let all =
            self.queues.values().flat_map(|queue| queue.entries.iter().map(move |entry| (queue, entry)));
        let kept = all.filter(|(queue, entry)| queue.keeps(&entry.message));
        kept.map(|(_, entry)| entry.message.body.clone()).collect()
    }

    pub(super) fn declare(&mut self, kind: Kind) {
        self.queues.entry(kind.name).or_insert(Queue {
            kind,
            entries: Vec::new(),
            has_delivered: false,
            consumers: BTreeMap::new(),
            leaving: Vec::new(),
        });
    }

    /// Gives the number of ready messages that went with it.
    pub(super) fn delete(&mut self, queue: &str) -> usize {
        self.bindings.retain(|(_, bound, _)| *bound != queue);
        self.queues.remove(queue).map_or(0, |queue| queue.ready_count())
    }

    pub(super) fn purge(&mut self, queue: &str) -> usize {
        let Some(queue) = self.queues.get_mut(queue) else { return 0 };
        let before = queue.entries.len();
        queue.entries.retain(|entry| entry.holder != Holder::Nobody);
        before - queue.entries.len()
    }

    pub(super) fn bind(&mut self, exchange: &'static str, queue: &'static str, key: &'static str) {
        self.bindings.insert((exchange, queue, key));
    }

    pub(super) fn unbind(&mut self, exchange: &'static str, queue: &'static str, key: &'static str) {
        self.bindings.remove(&(exchange, queue, key));
    }

    /// The queues that take a message, each once.
    fn route(&self, exchange: &str, key: &str) -> BTreeSet<&'static str> {
        if exchange.is_empty() {
            return self.queues.keys().copied().filter(|queue| *queue == key).collect();
        }
        let key_words: Vec<&str> = key.split('.').collect();
        let wanted = |bound: &str| match exchange {
            "amq.fanout" => true,
            "amq.topic" => matches(&bound.split('.').collect::<Vec<_>>(), &key_words),
            _ => bound == key,
        };
        let bound = self.bindings.iter().filter(|(from, _, bound)| *from == exchange && wanted(bound));
        bound.map(|(_, queue, _)| *queue).collect()
    }

    /// True when a durable queue has it from now on. Gives the number of queues, too.
    pub(super) fn publish(&mut self, exchange: &str, key: &str, message: &Message) -> (usize, bool) {
        self.deliver(exchange, key, message, false)
    }

    /// Likewise; a letter was had by somebody before it died.
    fn deliver(&mut self, exchange: &str, key: &str, message: &Message, is_letter: bool) -> (usize, bool) {
        let route = self.route(exchange, key);
        let mut is_kept = false;
        for name in &route {
            let Some(queue) = self.queues.get_mut(name) else { continue };
            is_kept |= queue.keeps(message);
            self.last_place += 1;
            queue.entries.push(Entry {
                place: self.last_place,
                message: message.clone(),
                redelivered: if is_letter { Redelivered::Yes } else { Redelivered::No },
                is_letter,
                returns: 0,
                holder: Holder::Nobody,
            });
            queue.dispatch();
        }
        (route.len(), is_kept)
    }

    pub(super) fn consume(
        &mut self,
        channel: ChannelId,
        queue: &str,
        tag: &str,
        no_ack: bool,
        prefetch: usize,
    ) {
        let Some(queue) = self.queues.get_mut(queue) else { return };
        let consumer = Consumer { channel, no_ack, prefetch, unacked_count: 0, heard: None };
        queue.consumers.insert(tag.to_owned(), consumer);
        queue.dispatch();
    }

    pub(super) fn cancel(&mut self, tag: &str) {
        for queue in self.queues.values_mut() {
            queue.consumers.remove(tag);
        }
    }

    /// Tags of a channel's consumers.
    pub(super) fn consumers_of(&self, channel: ChannelId) -> Vec<String> {
        let all = self.queues.values().flat_map(|queue| &queue.consumers);
        all.filter(|(_, consumer)| consumer.channel == channel).map(|(tag, _)| tag.clone()).collect()
    }

    /// A delivery is heard; gives the place it came from, unless that has gone with it.
    pub(super) fn delivered(
        &mut self,
        channel: ChannelId,
        tag: &str,
        body: &str,
        redelivered: bool,
    ) -> Result<Option<Place>, String> {
        let by_tag = self.queues.values_mut().find(|queue| queue.consumers.contains_key(tag));
        let queue = by_tag.ok_or_else(|| format!("there is no consumer {tag}"))?;
        let consumer = &queue.consumers[tag];
        if consumer.channel != channel {
            return Err(format!("{tag} is a consumer of another channel"));
        }
        if !consumer.is_unlimited() && consumer.unacked_count >= consumer.prefetch {
            return Err(format!("{tag} has all it may hold"));
        }
        let entries = &queue.entries;
        let after = consumer.heard.map_or(0, |heard| heard + 1);
        let is_it = |leaving: &Option<u64>| {
            leaving.is_some_and(|place| entries.iter().any(|e| e.place == place && e.message.body == body))
        };
        let found = queue.leaving.iter().skip(after).position(is_it).map(|i| i + after);
        let found = found.ok_or_else(|| {
            let turn: Vec<&str> = (queue.leaving.iter().skip(after).flatten())
                .filter_map(|place| entries.iter().find(|entry| entry.place == *place))
                .map(|entry| entry.message.body.as_str())
                .collect();
            format!("it is not the turn of {body:?} but of {turn:?}")
        })?;
        let place = queue.leaving[found].take().expect("it was found just now");
        let i = queue.entries.iter().position(|entry| entry.place == place).expect("it leaves its queue");
        check_flag(&queue.entries[i], redelivered)?;
        let consumer = queue.consumers.get_mut(tag).expect("it was found above");
        consumer.heard = Some(found);
        if consumer.no_ack {
            queue.entries.remove(i);
            return Ok(None);
        }
        consumer.unacked_count += 1;
        queue.entries[i].holder = Holder::Channel(channel, Some(tag.to_owned()));
        queue.has_delivered = true;
        Ok(Some((queue.kind.name, place)))
    }

    /// A `basic.get` is answered with a message, or with none.
    pub(super) fn got(
        &mut self,
        channel: ChannelId,
        queue: &str,
        no_ack: bool,
        got: Option<(&str, bool, usize)>,
    ) -> Result<Option<Place>, String> {
        let queue = self.queues.get_mut(queue).ok_or("the queue is not there")?;
        let (first, (body, redelivered, count)) = match (queue.first(), got) {
            (None, None) => return Ok(None),
            (None, Some((body, ..))) => return Err(format!("{body:?} is from an empty queue")),
            (Some(first), None) => {
                return Err(format!("the queue has {:?}", queue.entries[first].message.body));
            }
            (Some(first), Some(got)) => (first, got),
        };
        let entry = &mut queue.entries[first];
        if entry.message.body != body {
            return Err(format!("it is not the turn of {body:?} but of {:?}", entry.message.body));
        }
        check_flag(entry, redelivered)?;
        let place = entry.place;
        if no_ack {
            queue.entries.remove(first);
        } else {
            entry.holder = Holder::Channel(channel, None);
            queue.has_delivered = true;
        }
        if queue.ready_count() != count {
            return Err(format!("{} are left, not {count}", queue.ready_count()));
        }
        Ok((!no_ack).then_some((queue.kind.name, place)))
    }

    /// One message after the other; what a queue hands out in between depends on it.
    pub(super) fn settle(&mut self, held: &[Place], how: How) {
        self.settle_only(held, how);
        self.end_operation();
    }

    /// Likewise; the letters wait for the end of the transaction.
    pub(super) fn settle_only(&mut self, held: &[Place], how: How) {
        for (name, place) in held {
            let Some(queue) = self.queues.get_mut(name) else { continue };
            let Some(i) = queue.entries.iter().position(|entry| entry.place == *place) else { continue };
            if let Holder::Channel(_, Some(tag)) = &queue.entries[i].holder
                && let Some(consumer) = queue.consumers.get_mut(tag)
            {
                consumer.unacked_count -= 1;
            }
            match how {
                How::Ack => drop(queue.entries.remove(i)),
                How::Drop => self.dead.extend(dead_letter(queue, i)),
                How::Requeue => self.dead.extend(come_back(queue, i)),
                How::Release => be_released(queue, i),
            }
            if let Some(queue) = self.queues.get_mut(name) {
                queue.dispatch();
            }
        }
    }

    /// Channels are gone together: first everything goes back, then it is handed out again.
    pub(super) fn close(&mut self, channels: &[ChannelId]) {
        for queue in self.queues.values_mut() {
            queue.consumers.retain(|_, consumer| !channels.contains(&consumer.channel));
            let is_held = |e: &Entry| matches!(&e.holder, Holder::Channel(by, _) if channels.contains(by));
            while let Some(i) = queue.entries.iter().position(is_held) {
                self.dead.extend(come_back(queue, i));
            }
        }
        self.queues.values_mut().for_each(Queue::dispatch);
        self.end_operation();
    }

    /// A connection is gone, and its own queues with it.
    pub(super) fn disconnect(&mut self, connection: u8, channels: &[ChannelId]) {
        self.close(channels);
        let own = self.queues.values().filter(|queue| queue.kind.owner == Some(connection));
        for name in own.map(|queue| queue.kind.name).collect::<Vec<_>>() {
            self.delete(name);
        }
    }

    /// Dead letters go where their queues send them; then no queue is longer than it may be.
    pub(super) fn end_operation(&mut self) {
        let mut next = 0;
        while let Some((to, message)) = self.dead.get(next).cloned() {
            next += 1;
            self.deliver("", to, &message, true);
        }
        self.dead.clear();
        for queue in self.queues.values_mut() {
            while queue.ready_count() > queue.kind.length_max
                && let Some(first) = queue.first()
            {
                queue.entries.remove(first);
            }
        }
    }

    /// Everything that leaves must have been heard of.
    pub(super) fn end_step(&mut self) -> Result<(), String> {
        for (name, queue) in &mut self.queues {
            if let Some(place) = queue.leaving.iter().flatten().next() {
                let entry = queue.entries.iter().find(|entry| entry.place == *place);
                return Err(format!("nobody got {:?} of {name}", entry.map(|entry| &entry.message.body)));
            }
            queue.leaving.clear();
            queue.consumers.values_mut().for_each(|consumer| consumer.heard = None);
        }
        Ok(())
    }

    /// What is there after a crash: what is durable, in its place, and nobody has any of it.
    pub(super) fn crash(&mut self) {
        self.queues.retain(|_, queue| queue.kind.durable);
        let queues = &self.queues;
        self.bindings.retain(|(_, queue, _)| queues.contains_key(queue));
        for queue in self.queues.values_mut() {
            let has_delivered = queue.has_delivered;
            let mut entries = std::mem::take(&mut queue.entries);
            entries.retain(|entry| queue.keeps(&entry.message));
            for entry in &mut entries {
                if entry.holder != Holder::Nobody {
                    entry.redelivered = Redelivered::Yes;
                } else if has_delivered && entry.redelivered == Redelivered::No || entry.is_letter {
                    // The log does not say of a letter that somebody had it before.
                    entry.redelivered = Redelivered::Perhaps;
                }
                entry.holder = Holder::Nobody;
            }
            queue.entries = entries;
            queue.consumers.clear();
        }
    }
}

fn check_flag(entry: &Entry, redelivered: bool) -> Result<(), String> {
    let wrong = match entry.redelivered {
        Redelivered::Perhaps => false,
        Redelivered::No => redelivered,
        Redelivered::Yes => !redelivered,
    };
    if wrong {
        return Err(format!("redelivered is {redelivered} for {:?}", entry.message.body));
    }
    Ok(())
}

/// An entry leaves for good; its letter, if it leaves one.
fn dead_letter(queue: &mut Queue, i: usize) -> Option<(&'static str, Message)> {
    let entry = queue.entries.remove(i);
    queue.kind.letters_to.map(|to| (to, entry.message))
}

/// An entry goes back to its place, unless it came back too often.
fn come_back(queue: &mut Queue, i: usize) -> Option<(&'static str, Message)> {
    let entry = &mut queue.entries[i];
    entry.returns += 1;
    if queue.kind.delivery_limit.is_some_and(|limit| entry.returns > limit) {
        return dead_letter(queue, i);
    }
    be_released(queue, i);
    None
}

/// An entry goes back to its place.
fn be_released(queue: &mut Queue, i: usize) {
    let entry = &mut queue.entries[i];
    entry.holder = Holder::Nobody;
    entry.redelivered = Redelivered::Yes;
}
