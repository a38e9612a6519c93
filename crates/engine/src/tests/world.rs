//! An engine over a disk that fails, and random operations of both worlds on it.

use super::replays::{OPTIONS, digest, read, restore};
use super::spilled::Spilled;
use crate::{Engine, Slice};
use leveret_amqp::{ArrayBuf, Properties, PropertyValues, Table, TableBuf, Value};
use leveret_broker::{ApplyTo, Consume, ExchangeDeclare, Got, How, Message, Pattern, Policy, PolicyKey};
use leveret_broker::{QueueDeclare, QueueId, ReplyKey, VhostId, Wanted};
use leveret_keyspace::{ArgsBuf, Reply, Row, Run};
use leveret_resp::Version;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{CheckpointWriter, Checkpoints, Error, Log, Reader, Syncer, Tail};
use std::sync::Arc;

const VHOST: VhostId = VhostId(0);
pub(super) const QUEUES: [&[u8]; 3] = [b"q0", b"q1", b"q2"];
const EXCHANGES: [&[u8]; 3] = [b"e0", b"e1", b"e2"];

pub(super) fn find(name: &[u8]) -> Run {
    let rows = leveret_keyspace::commands::TABLES.iter().copied().flatten();
    let mut found = rows.filter(|row: &&Row| row.spec.name.as_bytes().eq_ignore_ascii_case(name));
    found.next().expect("the command is there").run
}

pub(super) fn run(engine: &mut Engine, line: &str) -> String {
    let args: ArgsBuf = line.split(' ').map(str::as_bytes).collect();
    let mut out = Vec::new();
    let name = args.as_args().get(0).expect("a line is not empty").to_vec();
    engine.run(find(&name), 0, args.as_args(), &mut Reply::new(&mut out, Version::Resp2));
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn message(routing_key: &str, body: &str, persistent: bool) -> Arc<Message> {
    publish_to("", routing_key, body, persistent)
}

pub(super) fn publish_to(exchange: &str, routing_key: &str, body: &str, persistent: bool) -> Arc<Message> {
    let mut properties = Vec::new();
    let delivery_mode = Some(if persistent { 2 } else { 1 });
    // Any that is the same for the same body.
    let priority = Some(body.len() as u8 % 5);
    PropertyValues { delivery_mode, priority, ..PropertyValues::default() }.encode(&mut properties);
    Properties::parse(&properties).expect("they were made above");
    let message = Message::new(exchange.as_bytes(), routing_key.as_bytes(), &properties, body.as_bytes());
    Arc::new(message.expect("the properties are valid"))
}

/// An engine, its log, and what its one session holds.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) syncer: Syncer,
    checkpoints: Checkpoints,
    writer: Option<CheckpointWriter>,
    log: Log,
    tail: Tail,
    session: u64,
    held: Vec<(QueueId, u64)>,
    pub(super) reader: Reader,
    spilled: Spilled,
    /// What is to be read.
    wanted: Vec<Wanted>,
    /// How many messages were.
    pub(super) read_count: usize,
}

impl World {
    /// Recovers what is on the disk.
    pub(super) fn open(disk: &FaultyDisk, seed: u64) -> Self {
        Self::open_with(disk, seed, None)
    }

    /// Likewise, with so many bytes of messages in memory.
    pub(super) fn open_with(disk: &FaultyDisk, seed: u64, memory_bytes_max: Option<u64>) -> Self {
        let mut engine = Engine::new(seed, 1);
        engine.broker.memory_bytes_max = memory_bytes_max;
        let spilled = Spilled::of(&mut engine);
        let mut log = Log::open(Arc::new(disk.clone()), OPTIONS).expect("the log opens");
        restore(&mut log, &mut engine);
        log.replay(&mut |record| engine.apply(&record)).expect("the log replays");
        engine.after_replay(1_000_000);
        let session = engine.open_session(0);
        let (syncer, checkpoints) = (log.syncer(), log.checkpoints(leveret_broker::message_len));
        let (tail, held, writer) = (Tail::default(), Vec::new(), None);
        let (reader, wanted, read_count) = (log.reader(), Vec::new(), 0);
        Self {
            engine,
            syncer,
            checkpoints,
            writer,
            log,
            tail,
            session,
            held,
            reader,
            spilled,
            wanted,
            read_count,
        }
    }

    /// A checkpoint begins, goes on, or is published; true when that has happened.
    pub(super) fn checkpoint(&mut self, rng: &mut fastrand::Rng) -> Result<bool, Error> {
        let (mut changes, mut names) = (Vec::new(), Vec::new());
        let Some(writer) = &mut self.writer else {
            if let Some(head) = self.engine.begin_checkpoint(&mut changes) {
                let mut writer = self.checkpoints.begin(head)?;
                writer.write(&changes)?;
                self.writer = Some(writer);
            }
            return Ok(false);
        };
        let slice = self.engine.checkpoint_slice(rng.usize(..2000), &mut changes, &mut names);
        writer.write(&changes)?;
        writer.write_names(&names)?;
        if slice == Slice::More {
            return Ok(false);
        }
        self.write()?;
        let writer = self.writer.take();
        self.checkpoints.publish(writer.expect("it is there"))?;
        for place in self.engine.broker.places_away() {
            read(&mut self.reader, place).expect("what is not in memory stays in the log");
        }
        Ok(true)
    }

    /// A number for the state; everything must be written.
    pub(super) fn digest(&mut self) -> u64 {
        digest(&self.engine, &mut self.reader)
    }

    /// Reads what was asked for, late and in any order: `chance` of ten each.
    pub(super) fn fetch(&mut self, rng: &mut fastrand::Rng, chance: u8) {
        self.wanted.append(&mut self.engine.broker.take_wanted());
        self.spilled.settle();
        rng.shuffle(&mut self.wanted);
        for wanted in std::mem::take(&mut self.wanted) {
            if rng.u8(..10) >= chance {
                self.wanted.push(wanted);
                continue;
            }
            // What has left its queue meanwhile need not be there.
            let messages = wanted.messages.iter();
            let (spilled, reader) = (&self.spilled, &mut self.reader);
            let read =
                messages.filter_map(|(seq, place)| Some((*seq, Arc::new(spilled.read(reader, *place)?))));
            let read: Vec<_> = read.collect();
            self.read_count += read.len();
            let again = self.engine.on_broker(|txn| txn.fetched(&wanted, &read));
            self.wanted.extend(again);
        }
    }

    /// Hands what was executed to the disk, unsynced.
    pub(super) fn write(&mut self) -> Result<u64, Error> {
        self.engine.take_tail(&mut self.tail);
        self.log.write(&mut self.tail)
    }

    /// One random operation of either world; now and then several of them as one commit.
    pub(super) fn step(&mut self, rng: &mut fastrand::Rng) {
        if rng.u8(..8) > 0 {
            return self.operation(rng);
        }
        self.engine.begin();
        for _ in 0..rng.u8(1..6) {
            self.operation(rng);
        }
        // Its two halves are equal at every commit.
        let value = rng.u32(..);
        run(&mut self.engine, &format!("SET left {value}"));
        self.publish("", "q0", rng);
        run(&mut self.engine, &format!("SET right {value}"));
        self.engine.end();
    }

    fn operation(&mut self, rng: &mut fastrand::Rng) {
        let key = rng.u8(..6);
        let engine = &mut self.engine;
        match rng.u8(..28) {
            25..=27 => self.stream(rng),
            20 => drop(run(engine, &format!("HSET h{key} f{} {}", rng.u8(..4), rng.u16(..)))),
            21 => drop(run(engine, &format!("HPEXPIRE h{key} {} FIELDS 1 f1", rng.u8(..)))),
            22 => drop(run(engine, &format!("SADD s{key} {} x", rng.u8(..)))),
            23 => drop(run(engine, &format!("ZADD z{key} {} m{}", rng.i16(..), rng.u8(..9)))),
            24 => {
                let lines = [
                    format!("SPOP s{key}"),
                    format!("ZPOPMIN z{key}"),
                    format!("HDEL h{key} f0 f1"),
                    format!("LINSERT l{key} BEFORE b x"),
                    format!("LREM l{key} 1 a"),
                    format!("SETRANGE k{key} 3 zz"),
                    format!("COPY l{key} l0 REPLACE"),
                    format!("ZUNIONSTORE z0 2 z{key} s{key}"),
                ];
                run(engine, &lines[rng.usize(..lines.len())]);
            }
            0 => drop(run(engine, &format!("SET k{key} {}", rng.u16(..)))),
            1 => drop(run(engine, &format!("SET k{key} value PX {}", rng.u8(1..)))),
            2 => drop(run(engine, &format!("INCR k{key}"))),
            3 => drop(run(engine, &format!("APPEND k{key} {}", "tail".repeat(rng.usize(1..40))))),
            4 => drop(run(engine, &format!("DEL k{key}"))),
            5 => drop(run(engine, &format!("RPUSH l{key} a b c"))),
            6 => drop(run(engine, &format!("LPOP l{key} {}", rng.u8(1..3)))),
            7 => drop(run(engine, &format!("RENAME l{key} l{}", rng.u8(..6)))),
            8 if rng.bool() => self.reply(rng),
            8 => drop(run(engine, &format!("PEXPIRE l{key} {}", rng.u8(1..)))),
            9 => drop(run(engine, &format!("PERSIST k{key}"))),
            10 | 11 => self.publish("", ["q0", "q1", "q2"][rng.usize(..3)], rng),
            12 => self.publish("amq.topic", ["a.b", "b.c"][rng.usize(..2)], rng),
            13 => self.declare(rng),
            14 if rng.bool() => self.bind(rng),
            14 => (0..12).for_each(|_| self.exchange(rng)),
            15 => self.get(rng),
            16 | 17 => self.settle(rng),
            18 if rng.u8(..4) == 0 => self.delete(rng),
            18 if rng.u8(..4) == 0 => self.purge(rng),
            18 if rng.u8(..4) == 0 => self.policy(rng),
            18 => self.consume(rng),
            _ => {
                engine.enter(engine.now_ms() + u64::from(rng.u8(..)));
                engine.tick();
            }
        }
    }

    /// Streams with two groups, which fall behind, are claimed from, and lose entries that are pending.
    fn stream(&mut self, rng: &mut fastrand::Rng) {
        let (key, group, consumer) = (rng.u8(..3), ["g", "h"][rng.usize(..2)], rng.u8(..3));
        let id = |rng: &mut fastrand::Rng| format!("{}-{}", rng.u8(..40), rng.u8(..2));
        let line = match rng.u8(..24) {
            0..=5 => format!("XADD x{key} * field {} {} value", rng.i16(..), rng.u8(..3)),
            6 => format!("XADD x{key} {} field value", id(rng)),
            7 => format!("XADD x{key} MAXLEN {} * field value", rng.u8(..9)),
            8 => format!("XTRIM x{key} MAXLEN ~ {}", rng.u8(..3)),
            9 => format!("XTRIM x{key} MINID {} DELREF", id(rng)),
            10 => format!("XDEL x{key} {} {}", id(rng), id(rng)),
            11 => format!("XGROUP|CREATE . x{key} {group} {} MKSTREAM", id(rng)),
            12 => format!("XGROUP|SETID . x{key} {group} 0"),
            13 if rng.u8(..4) == 0 => format!("XGROUP|DESTROY . x{key} {group}"),
            13 => format!("XGROUP|DELCONSUMER . x{key} {group} c{consumer}"),
            14..=17 if rng.u8(..4) > 0 => {
                format!("XREADGROUP GROUP {group} c{consumer} COUNT 3 STREAMS x{key} >")
            }
            14..=17 => format!("XREADGROUP GROUP {group} c{consumer} CLAIM 30 STREAMS x{key} >"),
            18 => format!("XREADGROUP GROUP {group} c{consumer} NOACK STREAMS x{key} >"),
            19 => format!("XREADGROUP GROUP {group} c{consumer} STREAMS x{key} 0"),
            20 => format!("XAUTOCLAIM x{key} {group} c{consumer} {} 0 COUNT 2", rng.u8(..99)),
            21 => format!("XCLAIM x{key} {group} c{consumer} 0 {} {} FORCE", id(rng), id(rng)),
            22 => format!("XACK x{key} {group} {} {}", id(rng), id(rng)),
            _ => [
                format!("XSETID x{key} {}-0 ENTRIESADDED 50", 1_000_000 + self.engine.now_ms()),
                format!("XDELEX x{key} ACKED IDS 2 {} {}", id(rng), id(rng)),
                format!("COPY x{key} x0 REPLACE"),
                format!("RENAME x{key} x1"),
                format!("PEXPIRE x{key} 60"),
                format!("XACKDEL x{key} {group} DELREF IDS 1 {}", id(rng)),
            ][rng.usize(..6)]
            .clone(),
        };
        run(&mut self.engine, &line);
    }

    fn queue(rng: &mut fastrand::Rng) -> &'static [u8] {
        QUEUES[rng.usize(..QUEUES.len())]
    }

    fn publish(&mut self, exchange: &str, key: &str, rng: &mut fastrand::Rng) {
        let message = publish_to(exchange, key, &format!("m{}", rng.u32(..)), rng.u8(..3) > 0);
        let published = self.engine.on_broker(|txn| txn.publish(VHOST, &message));
        published.expect("the predeclared exchanges are there");
    }

    // What follows is refused when a queue is missing or another was declared: a refusal changes nothing.

    fn declare(&mut self, rng: &mut fastrand::Rng) {
        if rng.u8(..4) == 0 {
            return self.declare_stream(rng);
        }
        let mut arguments = TableBuf::new();
        let is_quorum = rng.u8(..4) == 0;
        if is_quorum {
            arguments.push(b"x-queue-type", Value::LongStr(b"quorum"));
            arguments.push(b"x-delivery-limit", Value::Long(rng.i64(0..3)));
            arguments.push(b"x-consumer-timeout", Value::Long(rng.i64(0..500)));
            let which = [&b"all"[..], b"failed", b"returned", b"disabled"][rng.usize(..4)];
            arguments.push(b"x-delayed-retry-type", Value::LongStr(which));
            arguments.push(b"x-delayed-retry-min", Value::Long(rng.i64(1..300)));
        } else if rng.bool() {
            arguments.push(b"x-max-priority", Value::Long(rng.i64(0..4)));
        }
        if rng.bool() {
            arguments.push(b"x-max-length", Value::Long(rng.i64(0..4)));
            let overflow: &[u8] = [&b"drop-head"[..], b"reject-publish"][rng.usize(..2)];
            arguments.push(b"x-overflow", Value::LongStr(overflow));
        }
        if rng.bool() {
            arguments
                .push(b"x-dead-letter-exchange", Value::LongStr([&b""[..], b"amq.topic"][rng.usize(..2)]));
            arguments
                .push(b"x-dead-letter-routing-key", Value::LongStr([&b"a.b"[..], b"q1"][rng.usize(..2)]));
        }
        if rng.u8(..4) == 0 {
            arguments.push(b"x-message-ttl", Value::Long(rng.i64(0..300)));
        }
        let declare = QueueDeclare {
            name: Self::queue(rng),
            passive: false,
            durable: is_quorum || rng.u8(..4) > 0,
            exclusive: !is_quorum && rng.u8(..8) == 0,
            auto_delete: false,
            arguments: arguments.as_table(),
        };
        let _ = self.engine.on_broker(|txn| txn.queue_declare(VHOST, self.session, &declare));
    }

    /// A stream that loses segments by size and by age.
    fn declare_stream(&mut self, rng: &mut fastrand::Rng) {
        let mut arguments = TableBuf::new();
        arguments.push(b"x-queue-type", Value::LongStr(b"stream"));
        arguments.push(b"x-stream-max-segment-size-bytes", Value::Long(rng.i64(0..100)));
        if rng.bool() {
            arguments.push(b"x-max-length-bytes", Value::Long(rng.i64(0..300)));
        }
        if rng.bool() {
            arguments.push(b"x-max-age", Value::LongStr(b"1s"));
        }
        let declare = QueueDeclare {
            name: Self::queue(rng),
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: arguments.as_table(),
        };
        let _ = self.engine.on_broker(|txn| txn.queue_declare(VHOST, self.session, &declare));
    }

    /// What streams keep changes while they are used.
    fn policy(&mut self, rng: &mut fastrand::Rng) {
        let key: PolicyKey = (VHOST, rng.bool(), "p".into());
        let mut definition = TableBuf::new();
        definition.push(b"max-length-bytes", Value::Long(rng.i64(0..300)));
        if !key.1 {
            definition.push(b"stream-max-segment-size-bytes", Value::Long(rng.i64(0..100)));
            definition.push(b"max-age", Value::LongStr(b"2s"));
        }
        let policy = Policy {
            pattern: Pattern::new("^q[01]").expect("it is valid"),
            apply_to: ApplyTo::Streams,
            priority: 0,
            definition: definition.as_table().raw().into(),
        };
        self.engine.on_broker(|txn| match rng.bool() {
            true => txn.put_policy(key, policy),
            false => drop(txn.delete_policy(&key)),
        });
    }

    /// A question whose reply is kept under a key, and the reply.
    fn reply(&mut self, rng: &mut fastrand::Rng) {
        let (key, ttl_ms) = (format!("k{}", rng.u8(..6)), rng.bool().then(|| rng.u64(1..500)));
        let at = ReplyKey { db: 0, key: key.as_bytes().into(), ttl_ms };
        let question = message("q0", "question", true);
        let session = self.session;
        let asked = self.engine.on_broker(|txn| txn.address_reply(session, 1, &question, Some(&at)));
        let asked = asked.expect("a reply that is kept needs nobody who hears it");
        let properties = Properties::from_validated(asked.properties());
        let address = properties.reply_to().and_then(|address| std::str::from_utf8(address).ok());
        let answer = message(address.expect("it has an address"), &rng.u16(..).to_string(), true);
        let (published, _) = self.engine.publish(VHOST, &answer).expect("there is a default exchange");
        assert!(published.durable && run(&mut self.engine, &format!("GET {key}")).len() > 3);
    }

    fn bind(&mut self, rng: &mut fastrand::Rng) {
        let (exchange, keys): (&[u8], [&[u8]; 2]) = match rng.bool() {
            true => (b"amq.topic", [b"a.*", b"#.c"]),
            false => (b"leveret.keyspace", [b"0.*.k1", b"*.set.#"]),
        };
        let key = keys[rng.usize(..2)];
        let (queue, arguments) = (Self::queue(rng), Table::from_validated(b""));
        let session = self.session;
        let _ = self.engine.on_broker(|txn| {
            if key == keys[0] || queue == b"q1" {
                txn.queue_bind(VHOST, session, queue, exchange, key, arguments)
            } else {
                txn.queue_unbind(VHOST, session, queue, exchange, key, arguments)
            }
        });
    }

    /// Exchanges of every type that come and go, and everything that leads to and from them.
    fn exchange(&mut self, rng: &mut fastrand::Rng) {
        let [name, other] = [(); 2].map(|()| EXCHANGES[rng.usize(..EXCHANGES.len())]);
        let (queue, session) = (Self::queue(rng), self.session);
        let key: &[u8] = [&b"a.b"[..], b"a.*", b"#", b""][rng.usize(..4)];
        let mut arguments = TableBuf::new();
        if rng.bool() {
            arguments.push(b"x-match", Value::LongStr(b"any")).push(b"n", Value::Long(rng.i64(0..3)));
        }
        let arguments = arguments.as_table();
        let what = rng.u8(..11);
        let _ = self.engine.on_broker(|txn| match what {
            0 | 1 => {
                let mut alternate = TableBuf::new();
                alternate.push(b"alternate-exchange", Value::LongStr(other));
                alternate.push(b"x-delayed-type", Value::LongStr(b"topic"));
                alternate.push(b"x-message-deduplication", Value::Bool(true));
                alternate.push(b"x-recent-history-length", Value::Long(rng.i64(1..4)));
                let declare = ExchangeDeclare {
                    name,
                    kind: [
                        &b"direct"[..],
                        b"fanout",
                        b"topic",
                        b"headers",
                        b"x-delayed-message",
                        b"x-random",
                        b"x-recent-history",
                    ][rng.usize(..7)],
                    passive: false,
                    durable: rng.u8(..4) > 0,
                    auto_delete: rng.bool(),
                    internal: false,
                    arguments: if rng.bool() { alternate.as_table() } else { Table::default() },
                };
                txn.exchange_declare(VHOST, &declare)
            }
            2 => txn.exchange_delete(VHOST, name, true),
            3 => txn.exchange_bind(VHOST, other, name, key, arguments),
            4 => txn.exchange_unbind(VHOST, other, name, key, arguments),
            5..=7 => txn.queue_bind(VHOST, session, queue, name, key, arguments),
            8 => txn.queue_unbind(VHOST, session, queue, name, key, arguments),
            _ => {
                let (mut keys, mut headers) = (ArrayBuf::new(), TableBuf::new());
                keys.push(Value::LongStr(b"a.b")).push(Value::LongStr(b"q0"));
                headers.push(b"n", Value::Long(rng.i64(0..3)));
                headers.push(b"x-delay", Value::Long(rng.i64(-100..300)));
                headers.push(b"x-deduplication-header", Value::Long(rng.i64(0..20)));
                headers.push(if rng.bool() { b"BCC" } else { b"CC" }, Value::Array(keys.as_array()));
                let headers = Some(headers.as_table());
                let mut properties = Vec::new();
                PropertyValues { delivery_mode: Some(rng.u8(1..3)), headers, ..PropertyValues::default() }
                    .encode(&mut properties);
                let message = Message::new(name, b"a", &properties, b"routed").expect("it is valid");
                txn.publish(VHOST, &Arc::new(message)).map(|_| ())
            }
        });
    }

    fn get(&mut self, rng: &mut fastrand::Rng) {
        let (queue, no_ack) = (Self::queue(rng), rng.bool());
        let got = self.engine.on_broker(|txn| txn.get_or_fetch(VHOST, self.session, 1, queue, no_ack));
        if let (Ok(Got::Message(got)), false) = (got, no_ack) {
            self.held.push((got.queue, got.seq));
        }
    }

    fn settle(&mut self, rng: &mut fastrand::Rng) {
        if !self.held.is_empty() {
            let (queue, seq) = self.held.swap_remove(rng.usize(..self.held.len()));
            let how = [How::Ack, How::Ack, How::Drop, How::Requeue, How::Release][rng.usize(..5)];
            self.engine.on_broker(|txn| txn.settle(self.session, 1, queue, seq, how));
        }
    }

    fn delete(&mut self, rng: &mut fastrand::Rng) {
        let _ = self
            .engine
            .on_broker(|txn| txn.queue_delete(VHOST, self.session, Self::queue(rng), false, false));
    }

    fn purge(&mut self, rng: &mut fastrand::Rng) {
        let _ = self.engine.on_broker(|txn| txn.queue_purge(VHOST, self.session, Self::queue(rng)));
    }

    /// A consumer for a moment; its deliveries are held from then on, or go back with its session.
    fn consume(&mut self, rng: &mut fastrand::Rng) {
        let session = self.engine.open_session(0);
        let mut arguments = TableBuf::new();
        if rng.u8(..3) == 0 {
            arguments.push(b"x-stream-offset", Value::Long(rng.i64(-2..20)));
        }
        let consume = Consume {
            session,
            channel: 1,
            queue: Self::queue(rng),
            tag: b"t",
            no_ack: rng.bool(),
            exclusive: false,
            no_local: false,
            hears_cancel: true,
            prefetch: 4,
            arguments: arguments.as_table(),
        };
        let _ = self.engine.on_broker(|txn| txn.consume(VHOST, &consume));
        self.engine.close_session(session);
    }
}
