//! Load of both worlds at once: workers take a message, set a key, publish a message and acknowledge the first one. On Leveret that is one
//! commit, over either protocol; on Redis beside RabbitMQ a command for the one, and for the other a confirmed publish and an
//! acknowledgement when both have answered. Messages go round in one queue, which must have as many at the end as at the start.

mod exec;
mod key;
mod transaction;
mod two;

use crate::bench::amqp::{self, Link, Message};
use crate::bench::flags::{Flag, Flags, flag};
use crate::bench::report::{Clock, Latencies, Report};
use crate::bench::socket::Socket;
use anyhow::{Context, Result, bail};
use exec::Exec;
use key::Keys;
use mio::event::Event;
use mio::{Events, Poll, Registry};
use std::time::{Duration, Instant};
use transaction::Transaction;
use two::Two;

/// What the command line can say.
pub(crate) const FLAGS: &[Flag] = &[
    flag("host", "NAME", "127.0.0.1", "the server, or both of them"),
    flag("port", "N", "6379", "port of Redis' protocol"),
    flag("amqp-port", "N", "5672", "port of AMQP"),
    flag("user", "NAME", "guest", "user of AMQP"),
    flag("password", "TEXT", "guest", "password of AMQP"),
    flag("vhost", "NAME", "/", "virtual host"),
    flag(
        "way",
        "NAME",
        "exec",
        "exec (MULTI and a lease), tx (AMQP, with commands as messages), two (a command to one server, publish and ack to the other)",
    ),
    flag("messages", "N", "100000", "messages of the run"),
    flag("workers", "N", "50", "workers, each with connections of its own"),
    flag("pipeline", "N", "1", "messages that a worker has at once"),
    flag("size", "BYTES", "64", "size of bodies and values, at least 16"),
    flag("keyspace", "N", "1000000", "so many different keys, picked at random"),
    flag("json", "", "", "one line of JSON"),
    flag("csv", "", "", "two lines of CSV"),
];

/// Without any answer for so long the run has failed.
const STALL_MAX: Duration = Duration::from_secs(60);
/// What workers held goes back to the queue within this.
const RETURN_MAX: Duration = Duration::from_secs(30);

/// One load.
struct Options {
    amqp: amqp::Options,
    resp_port: u16,
    messages: u64,
    pipeline: usize,
    size: usize,
}

/// What all workers share.
struct Course {
    clock: Clock,
    keys: Keys,
    /// Messages that nobody has begun, and those that are done.
    unbegun: u64,
    done: u64,
    latencies: Latencies,
}

impl Course {
    /// Whether one more message is worked on.
    #[inline]
    fn begins(&mut self) -> bool {
        let begins = self.unbegun > 0;
        self.unbegun -= u64::from(begins);
        begins
    }

    /// A message that was taken then is done.
    #[inline]
    fn ends(&mut self, since_ns: u64) {
        self.done += 1;
        self.latencies.add(self.clock.ns() - since_ns, 1);
    }
}

/// One worker.
trait Worker {
    /// Asks to be told of events, with numbers from this one on, of which there are two.
    fn register(&mut self, registry: &Registry, token: usize) -> Result<()>;
    /// What precedes the first event: its own first words, and what has arrived already.
    fn begin(&mut self, course: &mut Course) -> Result<()>;
    /// Its first or its second connection.
    fn socket(&mut self, which: usize) -> &mut Socket;
    /// Looks at what has arrived on it.
    fn heard(&mut self, which: usize, course: &mut Course) -> Result<()>;

    /// Something has happened on it.
    fn on(&mut self, which: usize, event: &Event, course: &mut Course) -> Result<()> {
        let socket = self.socket(which);
        if event.is_writable() && !socket.is_flushed() {
            socket.flush()?;
        }
        let mut more = event.is_readable();
        while more {
            more = self.socket(which).read()?;
            self.heard(which, course)?;
        }
        Ok(())
    }
}

/// Runs the load and prints what it has measured.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let workers: usize = flags.positive("workers")?;
    let options = Options {
        amqp: amqp::Options::of_queue(flags, flags.positive("pipeline")?)?,
        resp_port: flags.number("port")?,
        messages: flags.positive("messages")?,
        pipeline: flags.positive("pipeline")?,
        size: flags.number("size")?,
    };
    let make: fn(&Options) -> Result<Box<dyn Worker>> = match flags.text("way") {
        "exec" => |options| Ok(Box::new(Exec::open(options)?)),
        "tx" => |options| Ok(Box::new(Transaction::open(options)?)),
        "two" => |options| Ok(Box::new(Two::open(options)?)),
        other => bail!("--way: '{other}' is none of exec, tx, two"),
    };
    let mut control = Link::open(&options.amqp)?;
    control.declare(&options.amqp)?;
    let measured = fill(&mut control, &options, workers).and_then(|filled| {
        let workers: Result<Vec<_>> = (0..workers).map(|_| make(&options)).collect();
        let report = measure(workers?, &options, flags)?;
        check(&mut control, &options, filled)?;
        Ok(report)
    });
    // Whatever has happened, the queue goes.
    control.delete(&options.amqp)?;
    measured?.print(flags);
    Ok(())
}

/// Twice as many messages as workers have at once.
fn fill(control: &mut Link, options: &Options, workers: usize) -> Result<u64> {
    let message = Message::new("", &options.amqp.queue, options.size, true, control.frame_max);
    let count = 2 * workers as u64 * options.pipeline as u64;
    let mut bytes = Vec::new();
    (0..count).for_each(|number| message.append_numbered(number, &mut bytes));
    control.send_raw(&bytes)?;
    await_count(control, options, count)
}

/// All of them are there, in the queue.
fn await_count(control: &mut Link, options: &Options, count: u64) -> Result<u64> {
    let since = Instant::now();
    loop {
        let there = control.declare_queue(&options.amqp.queue, true)?;
        if there == count {
            return Ok(count);
        }
        if since.elapsed() > RETURN_MAX {
            bail!("there are {there} messages in the queue, and there should be {count}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The queue has what it had, once what workers held has come back.
fn check(control: &mut Link, options: &Options, filled: u64) -> Result<()> {
    await_count(control, options, filled).context("messages were lost or doubled").map(drop)
}

fn measure(mut workers: Vec<Box<dyn Worker>>, options: &Options, flags: &Flags) -> Result<Report> {
    let mut poll = Poll::new()?;
    for (number, worker) in workers.iter_mut().enumerate() {
        worker.register(poll.registry(), 2 * number)?;
    }
    let mut course = Course {
        clock: Clock::start(),
        keys: Keys::new(flags.positive("keyspace")?),
        unbegun: options.messages,
        done: 0,
        latencies: Latencies::new()?,
    };
    for worker in &mut workers {
        worker.begin(&mut course)?;
    }
    let mut events = Events::with_capacity(1024);
    let mut progress = Instant::now();
    while course.done < options.messages {
        poll.poll(&mut events, Some(Duration::from_secs(1)))?;
        let before = course.done;
        for event in &events {
            let (worker, which) = (event.token().0 / 2, event.token().0 % 2);
            let worker = workers.get_mut(worker).context("an event of an unknown connection")?;
            worker.on(which, event, &mut course)?;
        }
        if course.done > before {
            progress = Instant::now();
        } else if progress.elapsed() > STALL_MAX {
            bail!("{} of {} messages are done, and no more", course.done, options.messages);
        }
    }
    let elapsed = Duration::from_nanos(course.clock.ns());
    let latencies = vec![("message", course.latencies)];
    let test = format!("both worlds, {}", flags.text("way"));
    Ok(Report { test, operations: options.messages, elapsed, latencies, counts: Vec::new() })
}
