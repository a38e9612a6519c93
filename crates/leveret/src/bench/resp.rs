//! Load for servers that speak RESP. A connection sends a batch of `--pipeline` commands, waits for all replies, sends the
//! next. The latency of each command is its batch's, from the write to the last reply.

mod commands;

use crate::bench::flags::{Flag, Flags, flag};
use crate::bench::report::{Clock, Latencies, Report};
use crate::bench::socket::{Socket, connect};
use anyhow::{Context, Result, bail};
use commands::{Batch, TESTS, Test};
use leveret_resp::{encode_command, parse_reply, skip_reply};
use mio::{Events, Poll};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Named as redis-benchmark's, where it has them.
pub(crate) const FLAGS: &[Flag] = &[
    flag("host", "NAME", "127.0.0.1", "the server"),
    flag("port", "N", "6379", "its port"),
    flag("user", "NAME", "", "user of AUTH"),
    flag("password", "TEXT", "", "password of AUTH"),
    flag("clients", "N", "50", "connections"),
    flag("requests", "N", "100000", "commands of each test"),
    flag("pipeline", "N", "1", "commands a connection sends before it waits for their replies"),
    flag("data-size", "BYTES", "64", "size of values"),
    flag("keyspace", "N", "1", "so many different keys, picked at random"),
    flag("sequential", "", "", "each key of the keyspace in turn, a command's further keys scattered"),
    flag("tests", "NAME,…", "set,get", "what to send, one after the other"),
    flag("csv", "", "", "two lines of CSV for each test"),
    flag("json", "", "", "one line of JSON for each test"),
];

const INPUT_BYTES: usize = 16 * 1024;
/// Without any reply for so long the run has failed.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The names of all tests.
pub(crate) fn test_names() -> String {
    TESTS.iter().map(|test| test.name).collect::<Vec<_>>().join(", ")
}

/// Runs the tests one after the other.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let mut tests = Vec::new();
    for name in flags.text("tests").split(',') {
        let test = TESTS.iter().find(|test| test.name == name);
        tests.push(test.with_context(|| format!("there is no test '{name}'; there are {}", test_names()))?);
    }
    for test in tests {
        measure(test, flags).with_context(|| test.name)?.print(flags);
    }
    Ok(())
}

struct Client {
    socket: Socket,
    batch: Batch,
    /// Replies to come.
    pending: u64,
    sent_ns: u64,
}

fn open(flags: &Flags) -> Result<Socket> {
    let mut stream = connect(flags.text("host"), flags.number("port")?)?;
    if flags.has("password") {
        let mut command = Vec::new();
        match (flags.text("user"), flags.text("password").as_bytes()) {
            ("", password) => encode_command(&mut command, &[b"AUTH", password]),
            (user, password) => encode_command(&mut command, &[b"AUTH", user.as_bytes(), password]),
        }
        stream.write_all(&command)?;
        let (mut reply, mut byte) = (Vec::new(), [0]);
        while !reply.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).context("AUTH was not answered")?;
            reply.extend_from_slice(&byte);
        }
        if reply != b"+OK\r\n" {
            bail!("AUTH was answered {}", String::from_utf8_lossy(&reply).trim());
        }
    }
    Socket::new(stream, &[], INPUT_BYTES)
}

fn measure(test: &Test, flags: &Flags) -> Result<Report> {
    let requests: u64 = flags.positive("requests")?;
    let pipeline: u64 = flags.positive("pipeline")?;
    let keyspace: u64 = flags.positive("keyspace")?;
    let client_count: usize = flags.positive("clients")?;
    let template = test.encode(flags.number("data-size")?);
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(client_count);
    for token in 0..client_count {
        let mut socket = open(flags)?;
        socket.register(poll.registry(), token)?;
        let batch = Batch::new(&template, pipeline as usize);
        clients.push(Client { socket, batch, pending: 0, sent_ns: 0 });
    }
    let mut keys =
        Keys { random: fastrand::Rng::new(), keyspace, next: flags.has("sequential").then_some(0) };
    let mut events = Events::with_capacity(client_count.min(1024));
    let mut latencies = Latencies::new()?;
    let (mut unsent, mut answered, mut missing) = (requests, 0, 0);
    let clock = Clock::start();
    for client in &mut clients {
        client.send(pipeline, &mut unsent, &mut keys, clock.ns())?;
    }
    let mut progress = Instant::now();
    while answered < requests {
        poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        let before = answered;
        for event in &events {
            let client = clients.get_mut(event.token().0).context("an event of an unknown connection")?;
            if event.is_writable() && !client.socket.is_flushed() {
                client.socket.flush()?;
            }
            if !event.is_readable() {
                continue;
            }
            loop {
                let more = client.socket.read()?;
                let (replies, nulls) = client.examine(test)?;
                answered += replies;
                missing += nulls;
                if client.pending == 0 && replies > 0 {
                    let now = clock.ns();
                    latencies.add(now - client.sent_ns, client.batch.sent());
                    client.send(pipeline, &mut unsent, &mut keys, now)?;
                }
                if !more {
                    break;
                }
            }
        }
        if answered > before {
            progress = Instant::now();
        } else if progress.elapsed() > STALL_MAX {
            bail!("no reply for {} s; {answered} of {requests} have come", STALL_MAX.as_secs());
        }
    }
    let elapsed = Duration::from_nanos(clock.ns());
    let counts = if test.may_be_missing { vec![("missing", missing)] } else { Vec::new() };
    let latencies = vec![("reply", latencies)];
    Ok(Report { test: test.name.into(), operations: requests, elapsed, latencies, counts })
}

/// A prime that shares no factor with the keyspaces that people choose.
const SCATTER: u64 = 7919;

/// Which key comes next.
struct Keys {
    random: fastrand::Rng,
    keyspace: u64,
    /// The next one, when they come in turn.
    next: Option<u64>,
}

impl Keys {
    #[inline]
    fn pick(&mut self, place: usize) -> u64 {
        match &mut self.next {
            Some(next) => {
                // The last one of a command is the next in turn; the others are scattered, but are each of them once, too.
                *next += u64::from(place == 0);
                (0..place).fold((*next - 1) % self.keyspace, |key, _| key * SCATTER % self.keyspace)
            }
            None if self.keyspace == 1 => 0,
            None => self.random.u64(0..self.keyspace),
        }
    }
}

impl Client {
    /// Sends the next batch, or nothing when all commands have been sent.
    #[inline]
    fn send(&mut self, pipeline: u64, unsent: &mut u64, keys: &mut Keys, now: u64) -> Result<()> {
        let count = pipeline.min(*unsent);
        if count == 0 {
            return Ok(());
        }
        *unsent -= count;
        self.batch.fill(count, |place| keys.pick(place));
        self.socket.output.extend_from_slice(self.batch.bytes());
        self.pending = count;
        self.sent_ns = now;
        self.socket.flush()
    }

    /// Looks at each reply that has arrived whole: how many, and how many of them were null.
    #[inline]
    fn examine(&mut self, test: &Test) -> Result<(u64, u64)> {
        let (mut used, mut replies, mut nulls) = (0, 0, 0);
        let input = self.socket.received();
        while let Some(rest @ [kind, ..]) = input.get(used..) {
            let bytes = if rest.starts_with(b"+OK\r\n") { Some(5) } else { skip_reply(rest)? };
            let Some(bytes) = bytes else { break };
            if test.may_be_missing && rest.starts_with(b"$-1") {
                nulls += 1;
            } else if *kind != test.reply {
                refuse(rest, test)?;
            }
            used += bytes;
            replies += 1;
        }
        let Some(pending) = self.pending.checked_sub(replies) else {
            bail!("{} replies more than commands", replies - self.pending)
        };
        self.pending = pending;
        self.socket.consume(used);
        Ok((replies, nulls))
    }
}

/// Says what was wrong with a reply.
#[cold]
fn refuse(reply: &[u8], test: &Test) -> Result<()> {
    match parse_reply(reply)? {
        Some((leveret_resp::Value::Error(text), _)) => bail!("the server answered: {text}"),
        other => bail!("the server answered {other:?} instead of a reply of kind '{}'", test.reply as char),
    }
}
