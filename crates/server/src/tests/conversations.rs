//! Random conversations of several AMQP connections with a whole server, in the order that a seed says, while the
//! process is killed and the power goes at any moment. A plain model says what must come of it: whatever was confirmed
//! is there, whatever was settled for good is not, each queue keeps its order, and what comes again says so. After a
//! power cut the model goes back to the very commit that the disk still had, which is none before the last promise.

mod client;
mod model;

use super::world::{Pieces, World};
use client::{Channel, Mode, Told};
use model::{ChannelId, How, Kind, Message, Model};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SEEDS: u64 = 120;
const STEPS: usize = 400;

const fn queue(name: &'static str) -> Kind {
    Kind {
        name,
        durable: true,
        owner: None,
        delivery_limit: None,
        priority_max: 0,
        length_max: usize::MAX,
        letters_to: None,
    }
}

const QUEUES: [Kind; 8] = [
    queue("plain"),
    Kind { letters_to: Some("plain"), ..queue("letters") },
    Kind { priority_max: 2, ..queue("priorities") },
    Kind { durable: false, ..queue("transient") },
    Kind { length_max: 3, ..queue("limited") },
    Kind { delivery_limit: Some(2), letters_to: Some("letters"), ..queue("quorum") },
    Kind { durable: false, owner: Some(1), ..queue("own1") },
    Kind { durable: false, owner: Some(2), ..queue("own2") },
];
const EXCHANGES: [&str; 4] = ["", "amq.direct", "amq.fanout", "amq.topic"];
const KEYS: [&str; 3] = ["a.b", "a.c", "b"];
const PATTERNS: [&str; 5] = ["a.*", "#", "#.b", "a.b", "b"];

/// What was seen in all conversations, so that a test of nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    confirmed: usize,
    delivered: usize,
    redelivered: usize,
    returned: usize,
    refused: usize,
    transactions: usize,
    letters: usize,
    kills: usize,
    power_cuts: usize,
    commits_lost: u64,
}

/// A server, what its clients know, and what the model says.
struct Conversation {
    seed: u64,
    world: World,
    random: fastrand::Rng,
    model: Model,
    channels: BTreeMap<ChannelId, Channel>,
    /// The model after each commit that the disk may have lost or not, and the last one that it has.
    past: VecDeque<(u64, Model)>,
    /// Bodies of confirmed messages.
    confirmed: BTreeSet<String>,
    syncing: bool,
    /// The last commit before the step.
    before: u64,
    last_name: u64,
    /// What was told and is not heard yet.
    unheard: String,
    /// What came with the last sync.
    answers: Vec<Told>,
    transcript: Vec<String>,
    seen: Seen,
}

#[test]
fn whatever_is_said_and_whenever_it_ends_queues_keep_their_word() {
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let mut conversation = Conversation::new(seed, seen);
        for _ in 0..STEPS {
            conversation.step();
        }
        conversation.empty_all();
        seen = conversation.seen;
    }
    let Seen { confirmed, delivered, redelivered, returned, refused, transactions, .. } = seen;
    let counts = [confirmed, delivered, redelivered, returned, refused, transactions, seen.letters];
    assert!(counts.iter().all(|count| *count > 100), "{seen:?}");
    assert!(seen.kills > 100 && seen.power_cuts > 100 && seen.commits_lost > 50, "{seen:?}");
}

impl Conversation {
    fn new(seed: u64, seen: Seen) -> Self {
        Self {
            seed,
            world: World::new(Pieces::Whole),
            random: fastrand::Rng::with_seed(seed),
            model: Model::default(),
            channels: BTreeMap::new(),
            past: VecDeque::from([(0, Model::default())]),
            confirmed: BTreeSet::new(),
            syncing: true,
            before: 0,
            last_name: 0,
            unheard: String::new(),
            answers: Vec::new(),
            transcript: Vec::new(),
            seen,
        }
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn name(&mut self, kind: &str) -> String {
        self.last_name += 1;
        format!("{kind}{}", self.last_name)
    }

    #[track_caller]
    fn fail(&self, why: &str) -> ! {
        let from = self.transcript.len().saturating_sub(80);
        panic!("seed {}: {why}\n{}", self.seed, self.transcript[from..].join("\n"));
    }

    fn step(&mut self) {
        let id = (self.random.u8(1..=3), self.random.u16(1..=2));
        if !self.channels.contains_key(&id) {
            return self.open(id);
        }
        match self.random.u8(..100) {
            0..32 => self.publish(id),
            32..34 => {
                let kind = self.queue(id.0);
                self.declare(id, kind);
            }
            34..38 => self.bind(id),
            38..46 => self.get(id),
            46..52 => self.consume(id),
            52..54 => self.cancel(id),
            54..80 => self.settle(id),
            80..88 => self.end_transaction(id),
            88..89 => self.delete(id),
            89..90 => self.purge(id),
            90..91 => self.mistake(id),
            91..93 => self.close_channel(id),
            93..94 => self.close_connection(id.0),
            94..95 => self.recover(id),
            95..99 => self.sync(!self.syncing),
            _ => self.crash(),
        }
    }

    /// Any queue that the connection may use.
    fn queue(&mut self, connection: u8) -> Kind {
        loop {
            let kind = self.one_of(&QUEUES);
            if kind.owner.is_none_or(|owner| owner == connection) {
                return kind;
            }
        }
    }

    fn open(&mut self, id: ChannelId) {
        if self.world.has_channel(&id.0.to_string(), id.1) {
            self.ask(id, "channel.open", |_| {}, "channel.open-ok");
        }
        let mode = match self.random.u8(..5) {
            0 | 1 => Mode::Plain,
            2 | 3 => Mode::Confirms(client::Confirms::default()),
            _ => Mode::Transactions(client::Transaction::default()),
        };
        let (ask, answer) = match mode {
            Mode::Plain => ("basic.qos", "basic.qos-ok"),
            Mode::Confirms(_) => ("confirm.select", "confirm.select-ok"),
            Mode::Transactions(_) => ("tx.select", "tx.select-ok"),
        };
        self.ask(id, ask, |_| {}, answer);
        self.channels.insert(id, Channel::new(mode));
    }

    /// Any queue that the connection may use and, mostly, one that is there. None if the server crashed over it.
    fn used(&mut self, id: ChannelId) -> Option<&'static str> {
        let kind = self.queue(id.0);
        if !self.model.has(kind.name) && self.random.u8(..10) > 0 {
            self.declare(id, kind);
        }
        self.channels.contains_key(&id).then_some(kind.name)
    }

    fn declare(&mut self, id: ChannelId, kind: Kind) {
        let (exclusive, durable) = (kind.owner.is_some(), kind.durable);
        let mut arguments = Vec::new();
        if let Some(limit) = kind.delivery_limit {
            arguments.push(format!("x-queue-type: quorum, x-delivery-limit: {limit}"));
        }
        if kind.priority_max > 0 {
            arguments.push(format!("x-max-priority: {}", kind.priority_max));
        }
        if kind.length_max < usize::MAX {
            arguments.push(format!("x-max-length: {}", kind.length_max));
        }
        if let Some(to) = kind.letters_to {
            arguments.push(format!("x-dead-letter-exchange: \"\", x-dead-letter-routing-key: {to}"));
        }
        let line = format!(
            "queue.declare queue={}{}{} arguments={{{}}}",
            kind.name,
            if durable { " durable" } else { "" },
            if exclusive { " exclusive" } else { "" },
            arguments.join(", ")
        );
        let answer = self.ask(id, &line, |model| model.declare(kind), "queue.declare-ok");
        self.check_counts(answer, kind.name);
    }

    fn check_counts(&self, answer: Option<Told>, queue: &str) {
        let Some(told) = answer else { return };
        let counts = (told.number("message_count"), told.number("consumer_count"));
        let known = self.model.counts(queue).map(|(ready, consumers)| (ready as u64, consumers as u64));
        if known != Some(counts) {
            self.fail(&format!("{queue} has {known:?} ready messages and consumers"));
        }
    }

    fn bind(&mut self, id: ChannelId) {
        let Some(queue) = self.used(id) else { return };
        let (exchange, key) = (self.one_of(&EXCHANGES[1..]), self.one_of(&PATTERNS));
        let unbinds = self.random.u8(..4) == 0;
        let what = if unbinds { "unbind" } else { "bind" };
        let line = format!("queue.{what} queue={queue} exchange={exchange} routing_key={key}");
        if !unbinds && !self.model.has(queue) {
            return self.be_refused(id, &line, 404);
        }
        let change = |model: &mut Model| match unbinds {
            true => model.unbind(exchange, queue, key),
            false => model.bind(exchange, queue, key),
        };
        self.ask(id, &line, change, &format!("queue.{what}-ok"));
    }

    fn delete(&mut self, id: ChannelId) {
        let queue = self.queue(id.0).name;
        let mut count = 0;
        let change = |model: &mut Model| count = model.delete(queue);
        let told = self.ask(id, &format!("queue.delete queue={queue}"), change, "queue.delete-ok");
        self.check_count(told, count);
    }

    fn purge(&mut self, id: ChannelId) {
        let Some(queue) = self.used(id) else { return };
        let mut count = 0;
        let line = format!("queue.purge queue={queue}");
        if !self.model.has(queue) {
            return self.be_refused(id, &line, 404);
        }
        let told = self.ask(id, &line, |model| count = model.purge(queue), "queue.purge-ok");
        self.check_count(told, count);
    }

    fn check_count(&self, told: Option<Told>, count: usize) {
        if told.is_some_and(|told| told.number("message_count") != count as u64) {
            self.fail(&format!("there were {count} messages"));
        }
    }

    fn publish(&mut self, id: ChannelId) {
        let exchange = self.one_of(&EXCHANGES);
        let key = if exchange.is_empty() { self.one_of(&QUEUES).name } else { self.one_of(&KEYS) };
        let (persistent, priority) = (self.random.u8(..3) > 0, self.random.u8(..4));
        let message = Message { body: self.name("m"), persistent, priority };
        let is_gathered = matches!(self.channels[&id].mode, Mode::Transactions(_));
        let mandatory = !is_gathered && self.random.u8(..4) == 0;
        let line = format!(
            "basic.publish exchange={exchange} routing_key={key}{} delivery_mode={} priority={priority} \"{}\"",
            if mandatory { " mandatory" } else { "" },
            if persistent { 2 } else { 1 },
            message.body
        );
        let line = line.replace(" exchange= ", " ");
        self.say(id, &line);
        if let Some(Mode::Transactions(open)) = self.channels.get_mut(&id).map(|channel| &mut channel.mode) {
            open.publishes.push((exchange, key, message));
            return self.end_step(&[]);
        }
        let (count, is_kept) = self.model.publish(exchange, key, &message);
        self.model.end_operation();
        let position = if is_kept { self.world.position() } else { 0 };
        if let Some(Mode::Confirms(confirms)) = self.channels.get_mut(&id).map(|channel| &mut channel.mode) {
            confirms.published(message.body, position);
        }
        if mandatory && count == 0 {
            self.seen.returned += 1;
            return self.end_step(&["basic.return"]);
        }
        self.end_step(&[]);
    }

    fn get(&mut self, id: ChannelId) {
        let Some(queue) = self.used(id) else { return };
        let no_ack = self.random.u8(..3) == 0;
        let line = format!("basic.get queue={queue}{}", if no_ack { " no_ack" } else { "" });
        if !self.model.has(queue) {
            return self.be_refused(id, &line, 404);
        }
        self.say(id, &line);
        let told = self.hear().into_iter().find(|told| told.method().starts_with("basic.get-"));
        let Some(told) = told else { self.fail("there is no answer") };
        let body = told.body().to_owned();
        let has_body = told.method() == "basic.get-ok";
        let got = has_body.then(|| (&*body, told.has("redelivered"), told.number("message_count") as usize));
        match self.model.got(id, queue, no_ack, got) {
            Err(why) => self.fail(&why),
            Ok(place) => {
                let tag = told.number("delivery_tag");
                let channel = self.channels.get_mut(&id).expect("it is open");
                if has_body && !channel.tagged(tag, place) {
                    self.fail("the delivery tag is not the next one");
                }
            }
        }
        self.end_step(&[]);
    }

    fn consume(&mut self, id: ChannelId) {
        let Some(queue) = self.used(id) else { return };
        let tag = self.name("t");
        let (no_ack, prefetch) = (self.random.u8(..4) == 0, self.random.usize(..4));
        let line =
            format!("basic.consume queue={queue} consumer_tag={tag}{}", if no_ack { " no_ack" } else { "" });
        if !self.model.has(queue) {
            return self.be_refused(id, &line, 404);
        }
        self.ask(id, &format!("basic.qos prefetch_count={prefetch}"), |_| {}, "basic.qos-ok");
        let change = |model: &mut Model| model.consume(id, queue, &tag, no_ack, prefetch);
        self.ask(id, &line, change, "basic.consume-ok");
    }

    fn cancel(&mut self, id: ChannelId) {
        let tags = self.model.consumers_of(id);
        if let Some(tag) = tags.get(self.random.usize(..tags.len().max(1))) {
            let line = format!("basic.cancel consumer_tag={tag}");
            self.ask(id, &line, |model| model.cancel(tag), "basic.cancel-ok");
        }
    }

    fn settle(&mut self, id: ChannelId) {
        let how = self.one_of(&[How::Ack, How::Ack, How::Ack, How::Requeue, How::Release, How::Drop]);
        // Only a reject says that it has failed, and it names one.
        let multiple = how != How::Requeue && self.random.u8(..4) == 0;
        let tags = self.channels[&id].tags();
        let Some(&tag) = tags.get(self.random.usize(..tags.len().max(1))) else { return };
        let line = match how {
            How::Ack => "basic.ack".to_owned(),
            How::Requeue => "basic.reject".to_owned(),
            How::Drop if !multiple && self.random.bool() => "basic.reject".to_owned(),
            How::Release | How::Drop => "basic.nack".to_owned(),
        };
        let multiple = multiple && line != "basic.reject";
        let line = format!(
            "{line} delivery_tag={tag}{}{}",
            if multiple { " multiple" } else { "" },
            if matches!(how, How::Requeue | How::Release) { " requeue" } else { "" }
        );
        self.say(id, &line);
        let channel = self.channels.get_mut(&id).expect("it is open");
        let held = channel.take(tag, multiple);
        match &mut channel.mode {
            Mode::Transactions(open) => open.settled.push((held, how)),
            Mode::Plain | Mode::Confirms(_) => {
                let places: Vec<_> = held.into_iter().map(|(_, place)| place).collect();
                self.seen.letters += usize::from(how == How::Drop);
                self.model.settle(&places, how);
            }
        }
        self.end_step(&[]);
    }

    fn end_transaction(&mut self, id: ChannelId) {
        let channel = self.channels.get_mut(&id).expect("it is open");
        let Mode::Transactions(open) = &mut channel.mode else { return };
        let open = std::mem::take(open);
        if self.random.u8(..4) == 0 {
            open.settled.into_iter().for_each(|(held, _)| channel.put_back(held));
            self.ask(id, "tx.rollback", |_| {}, "tx.rollback-ok");
            return;
        }
        self.seen.transactions += 1;
        let commit = |model: &mut Model| {
            for (exchange, key, message) in &open.publishes {
                model.publish(exchange, key, message);
            }
            for (held, how) in &open.settled {
                let places: Vec<_> = held.iter().map(|(_, place)| *place).collect();
                model.settle_only(&places, *how);
            }
            model.end_operation();
        };
        self.ask(id, "tx.commit", commit, "tx.commit-ok");
    }

    fn recover(&mut self, id: ChannelId) {
        let channel = self.channels.get_mut(&id).expect("it is open");
        let places: Vec<_> = channel.take_all().into_iter().map(|(_, place)| place).collect();
        let change = |model: &mut Model| model.settle(&places, How::Release);
        self.ask(id, "basic.recover requeue", change, "basic.recover-ok");
    }

    fn mistake(&mut self, id: ChannelId) {
        if self.random.bool() {
            return self.be_refused(id, "basic.ack delivery_tag=1000000", 406);
        }
        self.be_refused(id, "queue.declare queue=nobody passive", 404);
    }
}
