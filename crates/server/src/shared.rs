//! What all threads of a server share: the engine behind its one lock, the log behind another, and the levels.

use crate::checkpointer::Checkpointer;
pub use crate::clock::now_ms;
use crate::crew::Duty;
use crate::doorkeeper::Doorkeeper;
use crate::fetcher::Fetcher;
use crate::io_loop::Mailbox;
use crate::listeners::Listeners;
use crate::log::LogWriter;
use crate::memory::Gauge;
use crate::mover::Mover;
use crate::observed::Observed;
use crate::placement::Placement;
use crate::rates::Rates;
use crate::reaper::Reaper;
use crate::recover::Recovered;
use crate::resp::{Compiled, History, Scripts, TABLE};
use crate::spiller::Spiller;
use crate::{Settings, StartError};
use leveret_cluster::Alone;
use leveret_engine::Engine;
use leveret_engine::broker::Spill;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// One server's common state. Lock order: the log before the engine.
pub struct Shared {
    /// Settings.
    pub settings: Settings,
    /// The state; entered once per turn.
    pub engine: Mutex<Engine>,
    /// Writes records, in the order of their positions.
    pub(crate) log: Mutex<LogWriter>,
    /// How durable a position is.
    pub levels: Alone,
    pub(crate) placement: Placement,
    pub(crate) reaper: Reaper,
    pub(crate) doorkeeper: Doorkeeper,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) fetcher: Fetcher,
    pub(crate) spiller: Spiller,
    pub(crate) mover: Mover,
    /// How to reach the I/O threads.
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) listeners: Listeners,
    /// When the loop that left the engine last enters it again though nobody says anything; changed by who holds the engine.
    pub(crate) slept_until: AtomicU64,
    /// Set once: stop.
    pub(crate) stopping: AtomicBool,
    /// What the thread without a loop is to do.
    pub(crate) duty: Duty,
    /// HTTP requests that wait for the disk.
    pub(crate) visitors: Mutex<()>,
    pub(crate) visitors_signal: Condvar,
    /// Sessions that wait for the disk; changed by who holds the engine.
    pub(crate) sync_waiters: AtomicUsize,
    /// Where clients are listened for: RESP, AMQP, HTTP; 0 is nowhere.
    pub(crate) ports: [AtomicU16; 3],
    /// When the server started.
    pub started: Instant,
    /// Counters.
    pub stats: Stats,
    pub(crate) rates: Rates,
    pub(crate) observed: Observed,
    pub(crate) scripts: Scripts,
    /// What users may do over RESP.
    pub(crate) acl: Compiled,
    /// What they were refused.
    pub(crate) acl_history: Mutex<History>,
    /// Different for every start. (Redis: run_id)
    pub(crate) run_id: String,
    pub(crate) memory: Gauge,
    /// Memory that Redis clients hold, when that is watched.
    pub(crate) client_bytes: AtomicI64,
}

/// Counters since the start.
#[derive(Default, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub connections_accepted: AtomicU64,
    pub resp_connections: AtomicU64,
    pub amqp_connections: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub connections_rejected: AtomicU64,
    pub clients_evicted: AtomicU64,
    pub syncs: AtomicU64,
    pub log_writes: AtomicU64,
}

/// Where clients are listened for; 0 is nowhere.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Ports {
    pub resp: u16,
    pub amqp: u16,
    pub http: u16,
}

impl Shared {
    /// What the threads of a server are to share, with nobody listening yet.
    pub(crate) fn new(
        settings: Settings,
        recovered: Recovered,
        mailboxes: Vec<Mailbox>,
        listeners: Listeners,
        run_id: String,
    ) -> Self {
        let Recovered { mut engine, log, spill_files, restored, summary } = recovered;
        let spill = Arc::<Spill>::default();
        engine.broker.spill = Some(spill.clone());
        engine.keyspace.set_policy(settings.policy);
        let memory = Gauge::new(&settings.allocator);
        let spiller = Spiller::new(spill_files, spill, settings.alarms.disk_min_shared());
        let in_memory = engine.broker.in_memory().clone();
        Self {
            settings,
            engine: Mutex::new(engine),
            levels: Alone::recovered(summary.last_position),
            placement: Placement::default(),
            reaper: Reaper::default(),
            doorkeeper: Doorkeeper::default(),
            checkpointer: Checkpointer::new(
                log.checkpoints(leveret_engine::broker::message_len),
                restored,
                &in_memory,
            ),
            fetcher: Fetcher::default(),
            spiller,
            log: Mutex::new(LogWriter::new(log)),
            mover: Mover::default(),
            mailboxes,
            listeners,
            slept_until: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            duty: Duty::default(),
            visitors: Mutex::default(),
            visitors_signal: Condvar::new(),
            sync_waiters: AtomicUsize::new(0),
            client_bytes: AtomicI64::new(0),
            ports: [0; 3].map(AtomicU16::new),
            started: Instant::now(),
            stats: Stats::default(),
            rates: Rates::default(),
            observed: Observed::new(TABLE.len()),
            scripts: Scripts::default(),
            acl: Compiled::default(),
            acl_history: Mutex::default(),
            run_id,
            memory,
        }
    }

    /// Where clients are listened for.
    pub fn ports(&self) -> Ports {
        let [resp, amqp, http] = self.ports.each_ref().map(|port| port.load(Ordering::Relaxed));
        Ports { resp, amqp, http }
    }

    /// Redis clients find the server at another port from now on.
    pub(crate) fn set_resp_port(&self, port: u16) -> Result<(), StartError> {
        if port != self.ports().resp {
            self.listeners.move_resp(&self.settings, port)?;
            self.ports[0].store(port, Ordering::Relaxed);
        }
        Ok(())
    }

    /// HTTP has its port.
    pub fn set_http_port(&self, port: u16) {
        self.ports[2].store(port, Ordering::Relaxed);
    }

    /// Lets every I/O thread see that a setting has changed.
    pub(crate) fn wake_all(&self) {
        self.mailboxes.iter().for_each(Mailbox::wake);
    }

    /// True once the server has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Resident memory of the process, in bytes.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
