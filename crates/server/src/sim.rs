//! A server in one thread, for the simulation: its threads are steps that the caller picks, clock and storage are the
//! caller's, and a client holds the other end of a pair of sockets. All else is what runs in production.

use crate::checkpointer::Why;
use crate::connection::Stream;
use crate::fetcher::Hands;
use crate::io_loop::{IoLoop, Mailbox};
use crate::listeners::{Listeners, Protocol};
use crate::log::{Flusher, stop_node};
use crate::recover::recover_from;
use crate::serve::StartError;
use crate::settings::{Fsync, Settings};
use crate::shared::Shared;
use leveret_cluster::{Level, Levels};
use leveret_engine::broker::Message;
use leveret_wal::{Preparer, Storage, Syncer};
use mio::{Events, Poll};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::{Duration, Instant};

thread_local! {
    static CLOCK: Cell<Option<u64>> = const { Cell::new(None) };
}

/// This thread's time from now on, in milliseconds since 1970; `None` is the machine's.
pub fn set_clock(now_ms: Option<u64>) {
    CLOCK.set(now_ms);
}

pub(crate) fn clock() -> Option<u64> {
    CLOCK.get()
}

/// What a server panics with where it would end its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// In a simulation, ends the server.
pub(crate) fn stop_here() {
    if clock().is_some() {
        std::panic::resume_unwind(Box::new(Stopped));
    }
}

/// How a simulated server is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Event loops.
    pub threads: usize,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of a slice of a checkpoint.
    pub slice_bytes: usize,
    /// What an AMQP publisher may publish before the disk has it.
    pub publisher_bytes_max: usize,
    /// When answers of the RESP side leave.
    pub fsync: Fsync,
    /// Bytes of messages in memory.
    pub message_bytes: Option<u64>,
    /// Seed of the engine.
    pub seed: u64,
}

/// A server in one thread.
pub struct Machine {
    shared: Arc<Shared>,
    loops: Vec<RefCell<(IoLoop, Poll, Events)>>,
    flusher: RefCell<Flusher>,
    syncer: Syncer,
    preparer: Preparer,
    hands: RefCell<Hands>,
    /// The same moment on both clocks.
    started: (Instant, u64),
}

fn now_ms() -> u64 {
    clock().expect("a simulation has a clock")
}

impl Machine {
    /// Recovers what the storage has.
    pub fn start(storage: Arc<dyn Storage>, setup: &Setup) -> Result<Self, StartError> {
        let failed = |error| StartError::Io("cannot make an event loop".into(), error);
        let mut recovered =
            recover_from(storage, setup.segment_bytes, setup.message_bytes, setup.seed, setup.threads)?;
        recovered.engine.after_replay(now_ms());
        let mut settings = Settings::new(PathBuf::new());
        settings.alarms.set_memory("0").expect("0 is a memory value");
        settings.publisher_bytes_max = setup.publisher_bytes_max;
        settings.set_fsync(setup.fsync);
        settings.allocator.in_use = || 0;
        let polls = (0..setup.threads).map(|_| Poll::new()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mailboxes = polls.iter().map(Mailbox::new).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let (syncer, preparer) = (recovered.log.syncer(), recovered.log.preparer());
        let hands = RefCell::new(Hands::new(recovered.log.reader()));
        let mut shared = Shared::new(settings, recovered, mailboxes, Listeners::default(), "0".repeat(40));
        shared.checkpointer.slice_bytes = setup.slice_bytes;
        let shared = Arc::new(shared);
        let loops = polls.into_iter().enumerate().map(|(index, poll)| {
            let event_loop = IoLoop::new(shared.clone(), index, &poll)?;
            Ok(RefCell::new((event_loop, poll, Events::with_capacity(1024))))
        });
        let loops = loops.collect::<io::Result<_>>().map_err(failed)?;
        let started = (Instant::now(), now_ms());
        let flusher = RefCell::new(Flusher::new(started.0));
        Ok(Self { shared, loops, flusher, syncer, preparer, hands, started })
    }

    /// A client's end of a new connection; it does not block.
    pub fn connect(&self, speaks_amqp: bool) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let protocol = if speaks_amqp { Protocol::Amqp } else { Protocol::Resp };
        self.shared.place(Stream::Unix(mio::net::UnixStream::from_std(ours)), protocol);
        Ok(theirs)
    }

    /// How many event loops there are.
    pub fn threads(&self) -> usize {
        self.loops.len()
    }

    /// One turn of an event loop, with whatever is ready. False after the last one.
    pub fn turn(&self, thread: usize) -> bool {
        let mut place = self.loops[thread].borrow_mut();
        let (event_loop, poll, events) = &mut *place;
        event_loop.turn(poll, events, Some(Duration::ZERO))
    }

    /// What the thread that stands by does when it wakes up.
    pub fn flush(&self) {
        let wanted = self.shared.duty.take_wanted();
        let now = self.started.0 + Duration::from_millis(now_ms().saturating_sub(self.started.1));
        self.flusher.borrow_mut().step(&self.shared, &self.syncer, wanted, now, None);
    }

    /// What the preparer thread does.
    pub fn prepare(&self) {
        if let Err(error) = self.preparer.run(&mut || ()) {
            stop_node("preparing a log segment", &error);
        }
    }

    /// What the threads do that free memory and compare passwords.
    pub fn run_errands(&self) {
        self.shared.reaper.free();
        self.shared.spiller.reclaim();
        if self.shared.spiller.has_failed() {
            self.shared.spiller.try_again();
        }
        self.shared.spiller.open_or_close(&self.shared.settings.alarms);
        while let Some((id, errand)) = self.shared.doorkeeper.take() {
            self.shared.run_errand(id, &errand);
        }
    }

    /// What the thread does that reads messages back. What cannot be read is tried again with the next call.
    pub fn fetch(&self) {
        let mut failed = Vec::new();
        while let Some(wanted) = self.shared.fetcher.take() {
            let fetched = self.shared.fetch_one(&mut self.hands.borrow_mut(), &wanted);
            failed.extend(fetched.err().map(|(_, again)| again));
        }
        self.shared.fetcher.extend(failed);
    }

    /// What the checkpointer thread does when it makes a checkpoint; `rest` is called between slices. Gives the position of
    /// the checkpoint if it was made.
    pub fn checkpoint(&self, rest: impl Fn()) -> Option<u64> {
        let checkpointer = &self.shared.checkpointer;
        checkpointer.ask(Why::Rewrite);
        let why = checkpointer.take_asked()?;
        let before = checkpointer.report().count;
        self.shared.checkpoint(why, |_| rest());
        let report = checkpointer.report();
        (report.count > before).then_some(report.position)
    }

    /// Bytes logged since the last checkpoint began.
    pub fn logged_bytes(&self) -> u64 {
        self.shared.checkpointer.sizes()[0]
    }

    /// Bytes of the log from before the last checkpoint that are kept for messages which it has by name only.
    pub fn kept_bytes(&self) -> u64 {
        self.shared.checkpointer.kept_bytes()
    }

    /// A clean stop: what was taken is answered, and everything is synced.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Release);
        for thread in 0..self.loops.len() {
            self.turn(thread);
        }
        self.shared.flush(&self.syncer);
    }

    /// Is the disk known to be full?
    pub fn is_full(&self) -> bool {
        self.shared.settings.alarms.is_full()
    }

    /// The last commit.
    pub fn position(&self) -> u64 {
        self.shared.engine.lock().position()
    }

    /// The last commit that is on the disk for certain.
    pub fn synced(&self) -> u64 {
        self.shared.levels.level(Level::Synced)
    }

    /// How many messages are ready in a queue of the first vhost, and whether it is bound to anything; `None` without the queue.
    pub fn queue(&self, name: &str) -> Option<(u32, bool)> {
        let engine = self.shared.engine.lock();
        let id = engine.broker.queue_id(engine.broker.vhost(b"/")?, name.as_bytes())?;
        let is_bound = !engine.broker.bound_from(Some(id), None).is_empty();
        engine.broker.queue_report(id).map(|report| (report.ready as u32, is_bound))
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.shared.engine.lock().next_deadline()
    }

    /// A number that is the same for the same durable state.
    pub fn digest(&self) -> u64 {
        let mut hands = self.hands.borrow_mut();
        self.shared.engine.lock().digest_with(&mut |place| {
            let bytes = hands.log.read(place).ok().flatten()?;
            Message::read(bytes, place).ok()
        })
    }
}
