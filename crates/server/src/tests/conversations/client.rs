//! What a client knows of its channels, and the ways of talking to the server and listening to it.

use super::model::{ChannelId, How, Message, Model, Place};
use super::{Conversation, QUEUES};
use std::collections::{BTreeMap, VecDeque};

/// Answers that say that something durable has happened.
const PROMISES: [&str; 6] = [
    "queue.declare-ok",
    "queue.bind-ok",
    "queue.unbind-ok",
    "queue.delete-ok",
    "queue.purge-ok",
    "tx.commit-ok",
];

/// A line of what somebody was told.
pub(super) struct Told {
    pub(super) channel: ChannelId,
    line: String,
}

impl Told {
    fn parse(line: &str) -> Option<Self> {
        let (who, line) = line.split_once("< ")?;
        let (connection, channel) = who.split_once('.')?;
        Some(Self { channel: (connection.parse().ok()?, channel.parse().ok()?), line: line.to_owned() })
    }

    pub(super) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.line.split(' ').any(|word| word == flag)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('='))
    }

    /// Fields that are zero are left out.
    pub(super) fn number(&self, field: &str) -> u64 {
        self.text(field).map_or(0, |text| text.parse().expect("it is a number"))
    }

    pub(super) fn body(&self) -> &str {
        self.line.rsplit(' ').next().unwrap_or_default().trim_matches('"')
    }
}

/// Publishes that a channel in confirm mode has not heard of.
#[derive(Default)]
pub(super) struct Confirms {
    heard: u64,
    waiting: VecDeque<(String, u64)>,
}

impl Confirms {
    /// A message, and the commit it is in if a durable queue keeps it.
    pub(super) fn published(&mut self, body: String, position: u64) {
        self.waiting.push_back((body, position));
    }
}

/// What waits for a commit.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) publishes: Vec<(&'static str, &'static str, Message)>,
    pub(super) settled: Vec<(Vec<(u64, Place)>, How)>,
}

pub(super) enum Mode {
    Plain,
    Confirms(Confirms),
    Transactions(Transaction),
}

pub(super) struct Channel {
    pub(super) mode: Mode,
    last_tag: u64,
    unacked: BTreeMap<u64, Place>,
}

impl Channel {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, last_tag: 0, unacked: BTreeMap::new() }
    }

    /// False if it is not the next tag.
    pub(super) fn tagged(&mut self, tag: u64, place: Option<Place>) -> bool {
        self.last_tag += 1;
        self.unacked.extend(place.map(|place| (tag, place)));
        tag == self.last_tag
    }

    pub(super) fn tags(&self) -> Vec<u64> {
        self.unacked.keys().copied().collect()
    }

    pub(super) fn take(&mut self, tag: u64, multiple: bool) -> Vec<(u64, Place)> {
        let first = if multiple { 0 } else { tag };
        let taken: Vec<_> = self.unacked.range(first..=tag).map(|(tag, place)| (*tag, *place)).collect();
        self.unacked.retain(|tag, _| taken.iter().all(|(other, _)| other != tag));
        taken
    }

    pub(super) fn take_all(&mut self) -> Vec<(u64, Place)> {
        self.take(u64::MAX, true)
    }

    pub(super) fn put_back(&mut self, held: Vec<(u64, Place)>) {
        self.unacked.extend(held);
    }
}

impl Conversation {
    /// Says something; what is told then waits to be heard.
    pub(super) fn say(&mut self, (connection, channel): ChannelId, line: &str) {
        let who = format!("{connection}.{channel}");
        self.transcript.push(format!("{who}> {line}"));
        self.before = self.world.position();
        match self.world.say(&who, line) {
            Ok(told) => self.told(&told),
            Err(why) => self.fail(&why),
        }
    }

    fn turn(&mut self, what: &str) {
        self.transcript.push(format!("@ {what}"));
        self.before = self.world.position();
        match self.world.turn(what) {
            Some(told) => self.told(&told),
            None => self.fail("the world does not understand"),
        }
    }

    fn told(&mut self, told: &str) {
        self.unheard += told;
        self.transcript.extend(told.lines().map(str::to_owned));
    }

    /// Hears deliveries and confirms; gives the rest.
    pub(super) fn hear(&mut self) -> Vec<Told> {
        let unheard = std::mem::take(&mut self.unheard);
        let mut rest = Vec::new();
        for line in unheard.lines() {
            let Some(told) = Told::parse(line) else { self.fail(&format!("what is {line:?}?")) };
            match told.method() {
                "basic.deliver" => self.hear_delivery(&told),
                "basic.ack" => self.hear_confirm(&told),
                // The model knows by itself that the queue is gone.
                "basic.cancel" => {}
                _ => rest.push(told),
            }
        }
        rest
    }

    fn hear_delivery(&mut self, told: &Told) {
        let (tag, redelivered) = (told.text("consumer_tag").unwrap_or_default(), told.has("redelivered"));
        let place = match self.model.delivered(told.channel, tag, told.body(), redelivered) {
            Ok(place) => place,
            Err(why) => self.fail(&why),
        };
        self.seen.delivered += 1;
        self.seen.redelivered += usize::from(redelivered);
        let channel = self.channels.get_mut(&told.channel);
        if !channel.is_some_and(|channel| channel.tagged(told.number("delivery_tag"), place)) {
            self.fail("the delivery tag is not the next one");
        }
    }

    fn hear_confirm(&mut self, told: &Told) {
        let synced = self.world.synced();
        let tag = told.number("delivery_tag");
        let mode = self.channels.get_mut(&told.channel).map(|channel| &mut channel.mode);
        let Some(Mode::Confirms(confirms)) = mode else { self.fail("nobody has asked for confirms") };
        let first = if told.has("multiple") { confirms.heard + 1 } else { tag };
        let (mut early, out_of_turn) = (None, first != confirms.heard + 1);
        for _ in first..=tag {
            confirms.heard += 1;
            let Some((body, position)) = confirms.waiting.pop_front() else { break };
            if position > synced {
                early = Some(format!("{body:?} is confirmed before the disk has it"));
            }
            self.seen.confirmed += 1;
            self.confirmed.insert(body);
        }
        let too_many = confirms.heard != tag;
        if out_of_turn || too_many {
            self.fail("a confirm is not the next one");
        }
        if let Some(early) = early {
            self.fail(&early);
        }
    }

    /// Asks for something and waits for the answer, which is `None` when the server has crashed meanwhile.
    pub(super) fn ask(
        &mut self,
        id: ChannelId,
        line: &str,
        change: impl FnOnce(&mut Model),
        answer: &str,
    ) -> Option<Told> {
        self.say(id, line);
        change(&mut self.model);
        self.wait(id, answer)
    }

    pub(super) fn wait(&mut self, id: ChannelId, answer: &str) -> Option<Told> {
        let mut rest = self.hear();
        self.remember();
        let (position, synced) = (self.world.position(), self.world.synced());
        if rest.is_empty() {
            if synced >= position {
                self.fail(&format!("there is no {answer}"));
            }
            // It waits for the disk, and so does the client, or for ever.
            if self.random.u8(..3) == 0 {
                self.crash();
                return None;
            }
            let syncing = self.syncing;
            self.sync(true);
            rest = std::mem::take(&mut self.answers);
            if !syncing {
                self.sync(false);
            }
        } else if position > self.before && synced < position && PROMISES.contains(&answer) {
            self.fail(&format!("{answer} comes before the disk has it"));
        }
        match <[Told; 1]>::try_from(rest) {
            Ok([told]) if told.method() == answer && told.channel == id => Some(told),
            Ok(_) | Err(_) => self.fail(&format!("it is not {answer} that comes")),
        }
    }

    /// Ends a step after which somebody must have been told just this.
    pub(super) fn end_step(&mut self, expected: &[&str]) {
        let rest = self.hear();
        let methods: Vec<&str> = rest.iter().map(Told::method).collect();
        if methods != expected {
            self.fail(&format!("{expected:?} should have been told, not {methods:?}"));
        }
        self.remember();
    }

    /// The step is over: the model as it is belongs to the last commit.
    fn remember(&mut self) {
        if let Err(why) = self.model.end_step() {
            self.fail(&why);
        }
        let (position, synced) = (self.world.position(), self.world.synced());
        if position > self.before + 1 {
            self.fail("one method made several commits");
        }
        self.past.push_back((position, self.model.clone()));
        while self.past.get(1).is_some_and(|(position, _)| *position <= synced) {
            self.past.pop_front();
        }
    }

    /// From now on the disk has everything, or nothing more.
    pub(super) fn sync(&mut self, on: bool) {
        self.syncing = on;
        self.turn(if on { "synced" } else { "unsynced" });
        self.answers = self.hear();
        self.remember();
        let waiting = self.channels.values().any(|channel| match &channel.mode {
            Mode::Confirms(confirms) => !confirms.waiting.is_empty(),
            Mode::Plain | Mode::Transactions(_) => false,
        });
        if on && waiting {
            self.fail("a confirm is missing");
        }
    }

    /// A method that closes the channel.
    pub(super) fn be_refused(&mut self, id: ChannelId, line: &str, code: u64) {
        self.seen.refused += 1;
        self.say(id, line);
        self.model.close(&[id]);
        let told = self.wait(id, "channel.close");
        if let Some(told) = told {
            if told.number("reply_code") != code {
                self.fail(&format!("it is not refused with {code}"));
            }
            self.channels.remove(&id);
            self.say(id, "channel.close-ok");
            self.end_step(&[]);
        }
    }

    pub(super) fn close_channel(&mut self, id: ChannelId) {
        self.ask(id, "channel.close reply_code=200", |model| model.close(&[id]), "channel.close-ok");
        self.channels.remove(&id);
    }

    /// With a word or without one.
    pub(super) fn close_connection(&mut self, connection: u8) {
        if self.random.bool() {
            return self.vanish(connection);
        }
        let ids = self.ids_of(connection);
        let change = |model: &mut Model| model.disconnect(connection, &ids);
        let told =
            self.ask((connection, 0), "connection.close reply_code=200", change, "connection.close-ok");
        if told.is_some() {
            self.channels.retain(|id, _| id.0 != connection);
            self.turn(&format!("close {connection}"));
            self.end_step(&[]);
        }
    }

    fn ids_of(&self, connection: u8) -> Vec<ChannelId> {
        self.channels.keys().copied().filter(|id| id.0 == connection).collect()
    }

    /// A connection is gone without a word.
    fn vanish(&mut self, connection: u8) {
        let ids = self.ids_of(connection);
        self.turn(&format!("close {connection}"));
        self.channels.retain(|id, _| id.0 != connection);
        self.model.disconnect(connection, &ids);
        self.end_step(&[]);
    }

    /// The process is killed, or the power goes.
    pub(super) fn crash(&mut self) {
        let (position, synced) = (self.world.position(), self.world.synced());
        let power = self.random.bool();
        self.transcript.push(format!("@ {}", if power { "power cut" } else { "kill" }));
        self.world.crash(power, self.syncing);
        self.channels.clear();
        let recovered = self.world.position();
        self.transcript.push(format!("@ {recovered} of {position}, {synced} were synced"));
        if recovered > position || recovered < if power { synced } else { position } {
            self.fail("a promised commit is lost");
        }
        let kept_before = self.model.kept();
        while self.past.back().is_some_and(|(position, _)| *position > recovered) {
            self.past.pop_back();
        }
        let Some((last, model)) = self.past.pop_back().filter(|(last, _)| *last == recovered) else {
            self.fail("no step ended with the last commit that is there")
        };
        self.model = model;
        self.model.crash();
        self.past = VecDeque::from([(last, self.model.clone())]);
        // A letter may be in the queue that it came from, again.
        let kept = self.model.kept();
        let is_lost = |body: &&String| kept_before.contains(*body) && !kept.contains(*body);
        if let Some(lost) = self.confirmed.iter().find(is_lost) {
            self.fail(&format!("{lost:?} was confirmed, and no queue has it"));
        }
        if power {
            self.seen.power_cuts += 1;
            self.seen.commits_lost += position - recovered;
        } else {
            self.seen.kills += 1;
        }
        self.look_at_all();
    }

    /// Every queue that should be there is there, with as many messages.
    fn look_at_all(&mut self) {
        let id = (9, 1);
        for kind in QUEUES.iter().filter(|kind| kind.owner.is_none()) {
            let line = format!("queue.declare queue={} passive", kind.name);
            self.say(id, &line);
            // What has come back to its place may be too much for it, and goes with the first operation.
            self.model.end_operation();
            let told = self.hear();
            let [told] = told.as_slice() else { self.fail("there is not one answer") };
            let counts = (told.number("message_count") as usize, told.number("consumer_count") as usize);
            match self.model.counts(kind.name) {
                Some(known) if told.method() == "queue.declare-ok" && known == counts => {}
                None if told.method() == "channel.close" => {
                    self.say(id, "channel.close-ok");
                    self.say(id, "channel.open");
                    self.hear();
                }
                known => self.fail(&format!("{} should have {known:?}", kind.name)),
            }
        }
        self.turn("close 9");
        self.end_step(&[]);
    }

    /// Everybody leaves, and what is left is what the model has, to the last message.
    pub(super) fn empty_all(&mut self) {
        self.sync(true);
        for connection in 1..=3 {
            if (1..=2).any(|number| self.world.has_channel(&connection.to_string(), number)) {
                self.vanish(connection);
            }
        }
        self.look_at_all();
        let id = (9, 1);
        for kind in QUEUES.iter().filter(|kind| self.model.has(kind.name)).collect::<Vec<_>>() {
            while self.model.counts(kind.name).is_some_and(|(ready, _)| ready > 0) {
                self.say(id, &format!("basic.get queue={} no_ack", kind.name));
                let told = self.hear();
                let [told] = told.as_slice() else { self.fail("there is not one answer") };
                let got = (told.body(), told.has("redelivered"), told.number("message_count") as usize);
                if let Err(why) = self.model.got(id, kind.name, true, Some(got)) {
                    self.fail(&why);
                }
                self.remember();
            }
        }
    }
}
