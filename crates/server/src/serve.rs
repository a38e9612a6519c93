//! Starting and stopping: recovery, listeners, threads.

use crate::Settings;
use crate::checkpointer;
use crate::crew::Crew;
use crate::fetcher::Hands;
use crate::io_loop::Mailbox;
use crate::listeners::{Listener, Listeners, Protocol, bind};
use crate::log::{run_preparer, stop_node};
use crate::recover::{recover, refuse_half_import};
use crate::resp::configure;
use crate::shared::Shared;
use crate::spiller;
use leveret_wal::{CheckpointHead, Summary, Syncer};
use mio::Poll;
use mio::net::UnixListener;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Why a server does not start; `Display` is for the person who started it.
#[derive(Debug)]
pub enum StartError {
    /// The data directory or an address cannot be had.
    Io(String, std::io::Error),
    /// The log cannot be read.
    Log(leveret_wal::Error),
    /// A setting cannot have its value.
    Setting(String),
    /// An import or a restore was broken off.
    Half(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Io(what, error) => write!(f, "{what}: {error}"),
            StartError::Log(error) => error.fmt(f),
            StartError::Setting(why) | StartError::Half(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// Where a server listens.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// RESP.
    pub resp: Vec<SocketAddr>,
    /// AMQP.
    pub amqp: Vec<SocketAddr>,
}

/// A running server.
pub struct Server {
    /// What its threads share.
    pub shared: Arc<Shared>,
    /// Where it listens.
    pub addresses: Addresses,
    /// The checkpoint that recovery began with.
    pub restored: Option<CheckpointHead>,
    /// What it found in the log after that.
    pub recovered: Summary,
    syncer: Syncer,
    threads: Vec<JoinHandle<()>>,
    helpers: Vec<JoinHandle<()>>,
}

/// Recovers the state from the data directory, listens, and starts all threads.
pub fn start(settings: Settings) -> Result<Server, StartError> {
    refuse_half_import(&settings.data_dir)?;
    let threads_count = settings.io_threads.max(1);
    let mut recovered = recover(&settings, threads_count)?;
    let engine = &mut recovered.engine;
    let no_random =
        |error| StartError::Io("the system has no random numbers".into(), std::io::Error::other(error));
    getrandom::fill(&mut engine.accounts.secret).map_err(no_random)?;
    getrandom::fill(&mut engine.broker.secret).map_err(no_random)?;
    settings.apply_requirepass(engine, false);
    engine.accounts.local_only.clone_from(&settings.loopback_users);
    drop(engine.take_garbage());

    let (resp, mut sockets) = bind(&settings, settings.resp_port, Protocol::Resp)?;
    let (amqp, more) = bind(&settings, settings.amqp_port, Protocol::Amqp)?;
    sockets.extend(more);
    let addresses = Addresses { resp, amqp };
    if let Some(path) = &settings.unix_socket {
        let failed = |error| StartError::Io(format!("cannot listen on {}", path.display()), error);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        sockets.push(Listener::Unix(UnixListener::bind(path).map_err(failed)?));
    }
    let failed = |error| StartError::Io("cannot make an event loop".into(), error);
    let polls = (0..threads_count).map(|_| Poll::new()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mailboxes = polls.iter().map(Mailbox::new).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let registry = polls[0].registry().try_clone().map_err(failed)?;
    let listeners = Listeners::new(registry);
    listeners.add(sockets).map_err(failed)?;
    let (restored, summary) = (recovered.restored, recovered.summary.clone());
    let (syncer, preparer) = (recovered.log.syncer(), recovered.log.preparer());
    let mut hands = Hands::new(recovered.log.reader());
    let run_id = format!("{:040x}", u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..)));
    let shared = Shared {
        ports: [port_of(&addresses.resp), port_of(&addresses.amqp), AtomicU16::new(0)],
        ..Shared::new(settings, recovered, mailboxes, listeners, run_id)
    };
    let shared = Arc::new(shared);
    shared.configure()?;
    let mut threads = Vec::new();
    let crew = Arc::new(Crew::new(&shared, syncer.clone(), polls).map_err(failed)?);
    for thread in 0..=threads_count {
        let (crew, event_loop) = (crew.clone(), (thread < threads_count).then_some(thread));
        threads.push(spawn(format!("io-{thread}"), move || crew.work(event_loop)).map_err(failed)?);
    }
    let (for_checkpointer, for_fetcher, for_spiller) = (shared.clone(), shared.clone(), shared.clone());
    let (for_preparer, for_reaper, for_doorkeeper) = (shared.clone(), shared.clone(), shared.clone());
    let helpers = vec![
        spawn("reaper".into(), move || for_reaper.reaper.run()).map_err(failed)?,
        spawn("doorkeeper".into(), move || for_doorkeeper.keep_the_door()).map_err(failed)?,
        spawn("preparer".into(), move || run_preparer(&for_preparer, &preparer)).map_err(failed)?,
        spawn("fetcher".into(), move || for_fetcher.fetch(&mut hands)).map_err(failed)?,
        spawn("spiller".into(), move || spiller::run(&for_spiller)).map_err(failed)?,
        spawn("checkpointer".into(), move || checkpointer::run(&for_checkpointer)).map_err(failed)?,
    ];
    let for_mover = shared.clone();
    // Nobody waits for its end: it may hang in the search for a host's address.
    drop(spawn("mover".into(), move || for_mover.move_keys()).map_err(failed)?);
    Ok(Server { shared, addresses, restored, recovered: summary, syncer, threads, helpers })
}

impl Shared {
    /// Gives settings their values that CONFIG SET gives them later.
    pub(crate) fn configure(&self) -> Result<(), StartError> {
        for (name, value) in &self.settings.more {
            configure(self, name, value)
                .map_err(|why| StartError::Setting(format!("{name} cannot be '{value}': {why}")))?;
        }
        Ok(())
    }
}

/// Scripts nest: two hundred calls of C, and a thousand levels of a value below them. What is not used costs nothing.
const STACK_BYTES: usize = 16 * 1024 * 1024;

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(run)
}

impl Server {
    /// Stops accepting, answers what was taken, syncs everything, and ends all threads. False when a script does not end: what was
    /// answered is on disk then, but nothing of the script is in any record, and the process has to end with its thread.
    pub fn stop(mut self) -> bool {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.mover.stop();
        self.shared.mailboxes.iter().for_each(Mailbox::wake);
        self.shared.want_sync();
        if !self.await_scripts() {
            if let Err(error) = self.syncer.sync() {
                stop_node("syncing the log", &error);
            }
            return false;
        }
        join(&mut self.threads);
        self.shared.listeners.close();
        self.shared.flush(&self.syncer);
        self.shared.reaper.stop();
        self.shared.doorkeeper.stop();
        self.shared.fetcher.stop();
        self.shared.checkpointer.stop();
        self.helpers.iter().for_each(|thread| thread.thread().unpark());
        join(&mut self.helpers);
        if let Some(path) = &self.shared.settings.unix_socket {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
        true
    }

    /// Gives scripts some time to end by themselves, then ends those that have not written. False when one does not end.
    fn await_scripts(&self) -> bool {
        let (running, since) = (&self.shared.scripts.running, Instant::now());
        while !self.threads.iter().all(JoinHandle::is_finished) {
            let elapsed = since.elapsed();
            if elapsed > SCRIPT_PATIENCE {
                running.end_all();
            }
            if elapsed > SCRIPT_PATIENCE + END_PATIENCE && running.is_longer_than(END_PATIENCE) {
                return false;
            }
            std::thread::sleep(STOP_LOOK);
        }
        true
    }
}

/// How long a script may go on when the server stops: whoever stops it kills it after ten seconds or more.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(1);

/// How long a script takes at most to notice that it is to end, if it does.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks whether all threads have ended.
const STOP_LOOK: Duration = Duration::from_millis(2);

fn join(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        if thread.join().is_err() {
            tracing::error!("a thread has panicked");
        }
    }
}

fn port_of(addresses: &[SocketAddr]) -> AtomicU16 {
    AtomicU16::new(addresses.first().map_or(0, SocketAddr::port))
}
