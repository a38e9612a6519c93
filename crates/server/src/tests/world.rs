//! A server without sockets and threads: sessions, engine, and a log on a disk in memory.

use super::shown::{all, show_amqp, show_resp};
use crate::Settings;
use crate::amqp::AmqpSession;
use crate::around::Around;
use crate::fetcher::Hands;
use crate::listeners::Listeners;
use crate::output::Output;
use crate::recover::{Recovered, recover_from};
use crate::resp::RespSession;
use crate::session::Session;
use crate::shared::Shared;
use leveret_amqp::text::parse_line;
use leveret_amqp::{TableBuf, Value};
use leveret_cluster::{Level, Levels};
use leveret_engine::accounts::{Password, Pattern, Permissions, TopicPermissions, User};
use leveret_engine::broker::{ApplyTo, Message, Policy, VhostAbout, VhostId};
use leveret_engine::{Card, Engine, Link};
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Reader, Storage, Syncer};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// When every script begins: in the year 2033.
const START_MS: u64 = 2_000_000_000_000;
/// Small, so that a script can show what is too large.
const MESSAGE_BYTES_MAX: u64 = 100;

/// Small, so that a long conversation crosses many segments.
const SEGMENT_BYTES: u64 = 16 * 1024;

struct Client {
    session: Session,
    out: Output,
    /// Channels in use.
    channels: BTreeSet<u16>,
    /// The server has closed its connection.
    gone: bool,
}

pub(super) struct World {
    disk: FaultyDisk,
    shared: Shared,
    syncer: Syncer,
    syncing: bool,
    now_ms: u64,
    clients: BTreeMap<String, Client>,
    /// With what messages are read back, when a script says so.
    hands: Hands,
    /// What clients say comes in so many pieces.
    pieces: Pieces,
}

/// How what a client says reaches the server.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pieces {
    Whole,
    Bytes,
}

thread_local! {
    /// What the allocator says.
    static IN_USE: Cell<u64> = const { Cell::new(0) };
}

/// A server that turns so often for what one client said does not come to rest.
const TURNS_MAX: usize = 10_000;

fn recover(disk: &FaultyDisk, now_ms: u64) -> Recovered {
    let mut recovered = recover_from(Arc::new(disk.clone()), SEGMENT_BYTES, None, 1, 1).unwrap();
    recovered.engine.after_replay(now_ms);
    recovered
}

/// Of a state of which the log has a part.
fn digest(engine: &Engine, log: &mut Reader) -> u64 {
    engine.digest_with(&mut |place| {
        let bytes = log.read(place).unwrap();
        bytes.map(|bytes| Message::read(bytes, place).unwrap())
    })
}

impl World {
    pub(super) fn new(pieces: Pieces) -> Self {
        IN_USE.set(0);
        Self::on(FaultyDisk::new(1), START_MS, pieces)
    }

    fn on(disk: FaultyDisk, now_ms: u64, pieces: Pieces) -> Self {
        let recovered = recover(&disk, now_ms);
        let (syncer, hands) = (recovered.log.syncer(), Hands::new(recovered.log.reader()));
        let mut settings = Settings::new(PathBuf::from("data"));
        settings.allocator.in_use = || IN_USE.get();
        let shared = Shared {
            ports: [6379, 5672, 15672].map(AtomicU16::new),
            ..Shared::new(settings, recovered, Vec::new(), Listeners::default(), "0".repeat(40))
        };
        Self { disk, shared, syncer, syncing: true, now_ms, clients: BTreeMap::new(), hands, pieces }
    }

    /// A server that finds these files.
    pub(super) fn found(files: &[(String, Vec<u8>)]) -> Self {
        let disk = FaultyDisk::new(1);
        files.iter().for_each(|(name, bytes)| disk.put(name, bytes));
        Self::on(disk, START_MS + 60_000, Pieces::Whole)
    }

    /// What it has written.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.disk.list().unwrap();
        names.into_iter().map(|name| (name.clone(), self.disk.content(&name).unwrap())).collect()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.shared.engine.lock().next_deadline()
    }

    /// The last commit.
    pub(super) fn position(&self) -> u64 {
        self.shared.engine.lock().position()
    }

    /// The last commit that the disk has for certain.
    pub(super) fn synced(&self) -> u64 {
        self.shared.levels.level(Level::Synced)
    }

    /// True if a client has ever used the channel.
    pub(super) fn has_channel(&self, who: &str, number: u16) -> bool {
        self.clients.get(who).is_some_and(|client| client.channels.contains(&number))
    }

    /// The server is started again after it was killed, or after the power went, when the disk forgets what it likes of
    /// what was not synced.
    pub(super) fn crash(&mut self, power: bool, syncing: bool) {
        let disk = if power { self.disk.crash() } else { self.disk.clone() };
        *self = Self { syncing, ..Self::on(disk, self.now_ms, self.pieces) };
    }

    /// A number that is equal for equal states.
    pub(super) fn digest(&mut self) -> u64 {
        digest(&self.shared.engine.lock(), &mut self.hands.log)
    }

    /// Messages that only the log has.
    pub(super) fn away_count(&self) -> usize {
        self.shared.engine.lock().broker.places_away().count()
    }

    /// What is on the disk gives the state that is in memory.
    pub(super) fn check_replay(&mut self, place: &str) {
        self.run();
        let replayed = recover(&self.disk, self.now_ms);
        let replayed = digest(&replayed.engine, &mut replayed.log.reader());
        assert_eq!(replayed, self.digest(), "{place}: the log replayed gives another state");
    }

    /// A line that begins with `@`.
    pub(super) fn turn(&mut self, what: &str) -> Option<String> {
        match what.split_once(' ').unwrap_or((what, "")) {
            ("unsynced", _) => self.syncing = false,
            ("synced", _) => self.syncing = true,
            // Nothing stays in memory that need not, until it is read again.
            ("paging", _) => self.shared.engine.lock().broker.memory_bytes_max = Some(0),
            ("fetch", _) => {
                let mut wanted = self.shared.engine.lock().broker.take_wanted();
                while let Some(Some(more)) = self.shared.fetcher.next_within(Some(Duration::ZERO)) {
                    wanted.push(more);
                }
                wanted.iter().for_each(|wanted| self.shared.fetch_one(&mut self.hands, wanted).unwrap());
            }
            ("debug", _) => self.shared.settings.enable_debug_command.store(true, Ordering::Relaxed),
            ("memory", bytes) => IN_USE.set(bytes.parse().ok()?),
            ("credit", bytes) => self.shared.settings.publisher_bytes_max = bytes.parse().ok()?,
            ("close", who) => {
                let id = self.clients.remove(who)?.session.id();
                self.shared.engine.lock().close_session(id);
            }
            ("alarm", what) => {
                self.shared.settings.alarms.raise(what.contains("memory"), what.contains("disk"));
                let reason = self.shared.settings.alarms.reason();
                for client in self.clients.values_mut() {
                    if let Session::Amqp(session) = &mut client.session
                        && session.may_go_on(reason)
                    {
                        session.alarm = None;
                    }
                }
            }
            ("user", rest) => self.put_user(rest)?,
            ("topics", rest) => self.put_topics(rest)?,
            ("vhost", name) => {
                let about = VhostAbout::default();
                self.shared.engine.lock().on_broker(|txn| txn.vhost_put(name.as_bytes(), &about));
            }
            ("policy", rest) => self.put_policy(rest)?,
            ("delete-user", name) => {
                let mut engine = self.shared.engine.lock();
                engine.delete_user(name);
                engine.force_close_user(name, &format!("user '{name}' was deleted"));
            }
            ("delete-vhost", name) => {
                let mut engine = self.shared.engine.lock();
                let id = engine.broker.vhost(name.as_bytes())?;
                engine.delete_vhost(id);
            }
            ("restart", _) => *self = Self::on(self.disk.clone(), self.now_ms, self.pieces),
            (amount, _) => {
                let amount = amount.strip_prefix('+')?;
                let (digits, unit_ms) = match amount.strip_suffix("ms") {
                    Some(digits) => (digits, 1),
                    None => (amount.strip_suffix('s')?, 1_000),
                };
                self.now_ms += digits.parse::<u64>().ok()? * unit_ms;
            }
        }
        self.run();
        Some(self.told(""))
    }

    /// `NAME PASSWORD VHOST CONFIGURE WRITE READ [TAG]`; `-` is nothing.
    fn put_user(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let [name, password, vhost, configure, write, read, tags @ ..] = words.as_slice() else {
            return None;
        };
        let mut engine = self.shared.engine.lock();
        let mut user = engine.accounts.user(name).map_or_else(User::default, |user| (**user).clone());
        user.name = (*name).into();
        user.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        user.passwords = vec![Password::new(password.as_bytes(), *b"salt of a script")];
        if !vhost.is_empty() {
            let pattern = |text: &str| Pattern::new(text).ok();
            let (configure, write, read) = (pattern(configure)?, pattern(write)?, pattern(read)?);
            user.permissions.insert((*vhost).into(), Permissions { configure, write, read });
        }
        engine.put_user(user);
        Some(())
    }

    /// `NAME VHOST EXCHANGE WRITE READ`.
    fn put_topics(&mut self, line: &str) -> Option<()> {
        let [name, vhost, exchange, write, read] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let mut engine = self.shared.engine.lock();
        let mut user = (**engine.accounts.user(name)?).clone();
        let (write, read) = (Pattern::new(write).ok()?, Pattern::new(read).ok()?);
        user.topic_permissions.insert((vhost.into(), exchange.into()), TopicPermissions { write, read });
        engine.put_user(user);
        Some(())
    }

    /// `NAME PATTERN SETTING=VALUE …`, of queues and exchanges of the first vhost; without settings it goes.
    fn put_policy(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (name, pattern) = (words.next()?, words.next()?);
        let mut definition = TableBuf::new();
        for word in words {
            let (setting, value) = word.split_once('=')?;
            let text = Value::LongStr(value.as_bytes());
            definition.push(setting.as_bytes(), value.parse().map_or(text, Value::Long));
        }
        let key = (VhostId(0), false, name.into());
        let is_there = !definition.as_table().is_empty();
        let definition = definition.as_table().raw().into();
        let pattern = Pattern::new(pattern).ok()?;
        let policy = Policy { pattern, apply_to: ApplyTo::All, priority: 0, definition };
        self.shared.engine.lock().on_broker(|txn| match is_there {
            true => txn.put_policy(key, policy),
            false => drop(txn.delete_policy(&key)),
        });
        Some(())
    }

    /// A client says something; gives what is told to whom.
    pub(super) fn say(&mut self, who: &str, what: &str) -> Result<String, String> {
        let Some((connection, channel)) = who.split_once('.') else {
            self.resp(who, what);
            self.run();
            return Ok(self.told(who));
        };
        let number: u16 = channel.parse().map_err(|_| format!("{channel:?} is no channel"))?;
        if !self.clients.contains_key(connection) {
            self.connect_amqp(connection, number > 0)?;
        }
        if what == "channel.open" {
            if let Some(client) = self.clients.get_mut(connection) {
                client.channels.insert(number);
            }
        } else if number > 0 {
            self.open_channel(connection, number)?;
        }
        self.feed(connection, &parse_line(number, what)?);
        self.run();
        Ok(self.told(connection))
    }

    fn connect(&mut self, who: &str, card: Option<Card>, session: impl FnOnce(u64, &Self) -> Session) {
        let id = match card {
            Some(card) => self.shared.engine.lock().open_client(0, card),
            None => self.shared.engine.lock().open_session(0),
        };
        let session = session(id, self);
        let client = Client { session, out: Output::default(), channels: BTreeSet::new(), gone: false };
        self.clients.insert(who.into(), client);
    }

    fn resp(&mut self, who: &str, what: &str) {
        if !self.clients.contains_key(who) {
            let card = Card {
                address: format!("10.0.0.1:{}", who.bytes().map(u32::from).sum::<u32>()),
                local_address: "10.0.0.2:6379".into(),
                since_ms: self.now_ms,
                ..Card::default()
            };
            self.connect(who, Some(card), |id, world| {
                let needs_password = world.shared.engine.lock().accounts.needs_login();
                Session::Resp(Box::new(RespSession::new(id, needs_password, 1024 * 1024)))
            });
        }
        self.feed(who, format!("{}\r\n", what.replace(" ;; ", "\r\n")).as_bytes());
    }

    fn connect_amqp(&mut self, who: &str, shake_hands: bool) -> Result<(), String> {
        self.connect(who, None, |id, world| {
            Session::Amqp(Box::new(AmqpSession::new(
                id,
                true,
                Link::default(),
                MESSAGE_BYTES_MAX,
                world.now_ms,
            )))
        });
        self.feed(who, &leveret_amqp::PROTOCOL_HEADER);
        self.run();
        if shake_hands {
            for line in [
                r#"connection.start-ok mechanism=PLAIN response="\x00guest\x00guest" client_properties={capabilities: {consumer_cancel_notify: true}}"#,
                "connection.tune-ok frame_max=8192",
                "connection.open virtual_host=/",
            ] {
                self.feed(who, &parse_line(0, line)?);
                self.run();
            }
        }
        if let Some(client) = self.clients.get_mut(who) {
            client.out = Output::default();
        }
        Ok(())
    }

    fn open_channel(&mut self, who: &str, number: u16) -> Result<(), String> {
        if self.clients.get_mut(who).is_some_and(|client| client.channels.insert(number)) {
            self.feed(who, &parse_line(number, "channel.open")?);
            self.run();
            let told = self.told(who);
            if told != format!("{who}.{number}< channel.open-ok\n") {
                return Err(format!("the channel was not opened: {told}"));
            }
        }
        Ok(())
    }

    fn feed(&mut self, who: &str, bytes: &[u8]) {
        let size = if self.pieces == Pieces::Whole { bytes.len() } else { 1 };
        for piece in bytes.chunks(size) {
            if let Some(client) = self.clients.get_mut(who) {
                client.session.input().extend_from_slice(piece);
                client.session.decode(self.now_ms);
            }
            if self.pieces == Pieces::Bytes {
                self.run();
            }
        }
    }

    /// Turns until nothing happens any more.
    fn run(&mut self) {
        let mut engine = self.shared.engine.lock();
        let due = engine.next_deadline();
        engine.enter(self.now_ms);
        while due.is_some_and(|due| due <= self.now_ms) && engine.tick() {}
        let mut gone = Vec::new();
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "the server does not come to rest");
            let mut idle = true;
            for (who, client) in &mut self.clients {
                let Client { session, out, .. } = client;
                if let Some(from) = engine.session(session.id()) {
                    session.collect(&self.shared, from, out);
                    if from.killed && !gone.contains(who) {
                        gone.push(who.clone());
                    }
                }
                if let Session::Resp(session) = session {
                    // As when the rest is read after a wait.
                    session.decode();
                }
                if !gone.contains(who) && session.may_execute() {
                    idle = false;
                    if !session.execute(&mut engine, &Around::new(&self.shared, &|_| {}), out) {
                        gone.push(who.clone());
                    }
                    if let Some(from) = engine.session(session.id()) {
                        session.collect(&self.shared, from, out);
                    }
                }
            }
            let evicts = self.shared.memory.evicting.load(Ordering::Relaxed);
            self.shared.go_on_evicting(&mut engine);
            for (id, errand) in engine.take_errands() {
                let finding = errand.run(|| *b"salt of a script");
                engine.found(id, &errand, finding);
                idle = false;
            }
            if idle && !evicts {
                break;
            }
        }
        let position = engine.position();
        drop(engine);
        self.shared.write_up_to(position);
        if let Some(why) = self.shared.checkpointer.take_asked() {
            self.shared.checkpoint(why, |_| ());
            return self.run();
        }
        if self.syncing {
            self.shared.levels.set_synced(self.syncer.sync().unwrap());
            if self.shared.serve_sync_waiters() {
                return self.run();
            }
        }
        let synced = self.shared.levels.level(Level::Synced);
        let mut goes_on = false;
        for (who, client) in &mut self.clients {
            client.session.encode(synced, &mut client.out);
            let Session::Amqp(session) = &client.session else { continue };
            goes_on |= !client.gone && !gone.contains(who) && session.may_execute();
        }
        for who in gone {
            if let Some(client) = self.clients.get_mut(&who) {
                self.shared.engine.lock().close_session(client.session.id());
                client.gone = true;
            }
        }
        if goes_on {
            self.run();
        }
    }

    /// What everybody has been told since: the speaker first.
    fn told(&mut self, speaker: &str) -> String {
        let mut told = String::new();
        let (mut first, mut others) = (String::new(), String::new());
        for (who, client) in &mut self.clients {
            let into = if who == speaker { &mut first } else { &mut others };
            match client.session {
                Session::Resp(_) => show_resp(who, &all(&mut client.out), into),
                Session::Amqp(_) => show_amqp(who, &all(&mut client.out), into),
            }
            client.out = Output::default();
            if client.gone && matches!(client.session, Session::Resp(_)) {
                *into += &format!("{who}< (closed)\n");
            }
        }
        self.clients.retain(|_, client| !(client.gone && matches!(client.session, Session::Resp(_))));
        told += &first;
        told += &others;
        told
    }
}
