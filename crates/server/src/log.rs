//! The gate's two hands: the write that every turn waits for, and the flusher thread that syncs what has accumulated.
//! A failed write or sync ends the process: nothing that was answered may turn out not to be there.

use crate::settings::Fsync;
use crate::shared::Shared;
use leveret_cluster::{Level, Levels};
use leveret_wal::{Log, Preparer, Syncer, Tail};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The log and the empty tail that the engine's full one is swapped for.
pub(crate) struct LogWriter {
    log: Log,
    spare: Tail,
}

impl LogWriter {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, spare: Tail::default() }
    }
}

/// Ends the process, because it cannot keep its promises any more.
fn stop_node(what: &str, error: &leveret_wal::Error) -> ! {
    tracing::error!(%error, "{what} failed; stopping, because what was confirmed could be lost");
    std::process::exit(74)
}

impl Shared {
    /// Hands everything up to `position` to the kernel, with one write for all threads that wait.
    pub(crate) fn write_up_to(&self, position: u64) {
        if self.levels.level(Level::Written) >= position {
            return;
        }
        let mut writer = self.log.lock();
        if self.levels.level(Level::Written) >= position {
            return;
        }
        let LogWriter { log, spare } = &mut *writer;
        self.engine.lock().take_tail(spare);
        match log.write(spare) {
            Ok(written) => self.levels.set_written(written),
            Err(error) => stop_node("writing to the log", &error),
        }
        self.stats.log_writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody waits for a sync.
    pub(crate) fn want_sync(&self) {
        let mut wanted = self.sync_wanted.lock();
        if !*wanted {
            *wanted = true;
            self.sync_signal.notify_one();
        }
    }

    fn sync(&self, syncer: &Syncer) {
        match syncer.sync() {
            Ok(position) => self.levels.set_synced(position),
            Err(error) => stop_node("syncing the log", &error),
        }
        self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        self.serve_sync_waiters();
        self.visitors_signal.notify_all();
        for mailbox in &self.mailboxes {
            mailbox.synced();
        }
    }

    /// Answers those who waited for the disk; true when there were any. (Redis: WAITAOF)
    pub(crate) fn serve_sync_waiters(&self) -> bool {
        if self.sync_waiters.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut engine = self.engine.lock();
        engine.synced(self.levels.level(Level::Synced));
        self.sync_waiters.store(engine.sync_waiters_count(), Ordering::Release);
        for thread in engine.threads_to_wake(usize::MAX) {
            if let Some(mailbox) = self.mailboxes.get(thread) {
                mailbox.wake();
            }
        }
        true
    }

    /// Everything that was executed is on disk when this returns: the end of a clean stop.
    pub(crate) fn flush(&self, syncer: &Syncer) {
        let position = self.engine.lock().position();
        self.write_up_to(position);
        self.sync(syncer);
    }
}

/// The flusher thread: syncs when somebody waits, else once a second. (Redis: `appendfsync`)
pub(crate) fn run_flusher(shared: &Arc<Shared>, syncer: &Syncer) {
    let (mut last, mut watched) = (Instant::now(), Instant::now());
    while !shared.stopping.load(Ordering::Acquire) {
        let wanted = {
            let mut wanted = shared.sync_wanted.lock();
            if !*wanted {
                shared.sync_signal.wait_for(&mut wanted, Duration::from_secs(1));
            }
            std::mem::take(&mut *wanted)
        };
        if watched.elapsed() >= WATCH_PERIOD {
            shared.watch_resources();
            watched = Instant::now();
        }
        let behind = shared.levels.level(Level::Synced) < shared.levels.level(Level::Written);
        let due = shared.settings.fsync() != Fsync::No && last.elapsed() >= Duration::from_millis(990);
        if behind && (wanted || due) {
            shared.sync(syncer);
            last = Instant::now();
        } else if wanted {
            // Somebody may have begun to wait while the last sync ended.
            shared.serve_sync_waiters();
        }
    }
}

/// Between two looks at memory and disk.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Of the kernel's scheduler.
const LEAST_PRIORITY: i32 = 19;

/// The preparer thread: the next segment is there before it is needed.
/// Nobody waits for it, so it takes what others leave of the processor: filling a file with zeros would keep an I/O thread
/// of the same core from answering for milliseconds.
pub(crate) fn run_preparer(shared: &Arc<Shared>, preparer: &Preparer) {
    if let Err(error) = rustix::process::setpriority_process(None, LEAST_PRIORITY) {
        tracing::warn!(%error, "preparing log segments has the priority of everything else");
    }
    while !shared.stopping.load(Ordering::Acquire) {
        if let Err(error) = preparer.run() {
            stop_node("preparing a log segment", &error);
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}
