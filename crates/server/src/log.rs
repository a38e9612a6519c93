//! The gate's two hands: the write that every turn waits for, and the sync of what has accumulated.
//! A failed write or sync ends the process: nothing that was answered may turn out not to be there. Only when there is no
//! space does it go on: what was executed and not written stays in the tail, nobody is told of it, writers are refused, and
//! it is tried again until there is space.

use crate::settings::Fsync;
use crate::shared::Shared;
use leveret_cluster::{Level, Levels};
use leveret_engine::Engine;
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
pub(crate) fn stop_node(what: &str, error: &leveret_wal::Error) -> ! {
    tracing::error!(%error, "{what} failed; stopping, because what was confirmed could be lost");
    #[cfg(feature = "sim")]
    crate::sim::stop_here();
    std::process::exit(74)
}

impl Shared {
    /// Hands everything up to `position` to the kernel, with one write for all threads that wait, and before it what was let go of
    /// without being in the log. While the disk is full nothing of the log is tried here: the level stays behind.
    pub(crate) fn write_up_to(&self, position: u64) {
        self.spiller.write();
        if !self.settings.alarms.is_full() {
            self.write(position);
        }
    }

    /// True when everything up to `position` is written.
    fn write(&self, position: u64) -> bool {
        while self.levels.level(Level::Written) < position {
            let mut writer = self.log.lock();
            if self.levels.level(Level::Written) >= position {
                break;
            }
            // What a full disk has left of the last one comes first.
            if writer.spare.is_empty() {
                // A script may hold it for long; then its thread writes, which needs the log for that.
                let Some(mut engine) = self.engine.try_lock_for(ENGINE_PATIENCE) else { continue };
                engine.take_tail(&mut writer.spare);
            }
            if !self.hand_to_kernel(&mut writer) {
                return false;
            }
        }
        true
    }

    /// Writes what was committed before the commit that is open: whoever holds the engine for long does that for all.
    pub(crate) fn write_meanwhile(&self, engine: &mut Engine) {
        if self.levels.level(Level::Written) >= engine.position() || self.settings.alarms.is_full() {
            return;
        }
        // Whoever has it may wait for the engine.
        if let Some(mut writer) = self.log.try_lock_for(2 * ENGINE_PATIENCE)
            && writer.spare.is_empty()
        {
            engine.take_committed(&mut writer.spare);
            self.hand_to_kernel(&mut writer);
        }
    }

    /// Hands to the kernel what was taken from the engine; false when the disk is full.
    fn hand_to_kernel(&self, writer: &mut LogWriter) -> bool {
        let LogWriter { log, spare } = writer;
        let result = log.write(spare);
        self.stats.log_writes.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(written) => {
                self.levels.set_written(written);
                if log.unsynced_bytes() >= SYNC_BYTES && self.settings.fsync() != Fsync::No {
                    self.want_sync();
                }
                true
            }
            Err(error) if error.is_full() => {
                self.disk_is_full(&error);
                false
            }
            Err(error) => stop_node("writing to the log", &error),
        }
    }

    fn disk_is_full(&self, error: &leveret_wal::Error) {
        if self.settings.alarms.set_full(true) {
            tracing::error!(%error, "the disk is full: writers are refused, AMQP publishers are blocked, readers go on");
            self.wake_all();
        }
    }

    /// Is there space again? Then those who waited for it are answered.
    fn try_again(&self) {
        let position = self.engine.lock().position();
        if self.write(position) && self.settings.alarms.set_full(false) {
            tracing::info!("there is disk space again: everything that was executed is written");
            self.want_sync();
            self.wake_all();
        }
    }

    /// Somebody waits for a sync.
    pub(crate) fn want_sync(&self) {
        self.duty.want_sync();
    }

    /// True when the kernel has something that the disk does not have.
    pub(crate) fn is_behind(&self) -> bool {
        self.levels.level(Level::Synced) < self.levels.level(Level::Written)
    }

    /// Syncs and wakes the loops that wait for that, except one.
    fn sync(&self, syncer: &Syncer, but: Option<usize>) {
        match syncer.sync() {
            Ok(position) => self.levels.set_synced(position),
            Err(error) => stop_node("syncing the log", &error),
        }
        self.stats.syncs.fetch_add(1, Ordering::Relaxed);
        self.serve_sync_waiters();
        self.visitors_signal.notify_all();
        for (index, mailbox) in self.mailboxes.iter().enumerate() {
            if Some(index) != but {
                mailbox.synced();
            }
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
        self.leave(engine);
        true
    }

    /// Everything that was executed is on disk when this returns: the end of a clean stop.
    pub(crate) fn flush(&self, syncer: &Syncer) {
        let position = self.engine.lock().position();
        if !self.write(position) {
            tracing::error!("the disk is full: what was executed last and never confirmed is lost");
        }
        self.sync(syncer, None);
        let proved = self.log.lock().log.prove_synced();
        match proved {
            Ok(()) => self.sync(syncer, None),
            // The next start cuts what there is of it.
            Err(error) if error.is_full() => {}
            Err(error) => stop_node("writing to the log", &error),
        }
    }
}

/// When what is done from time to time was done last.
pub(crate) struct Flusher {
    synced: Instant,
    watched: Instant,
    tried: Instant,
}

impl Flusher {
    pub(crate) fn new(now: Instant) -> Self {
        Self { synced: now, watched: now, tried: now }
    }

    /// What is due after a wait; somebody has `wanted` a sync. One of the loops need not be woken.
    pub(crate) fn step(
        &mut self,
        shared: &Shared,
        syncer: &Syncer,
        wanted: bool,
        now: Instant,
        but: Option<usize>,
    ) {
        if shared.settings.alarms.is_full() && now - self.tried >= FULL_PERIOD {
            shared.try_again();
            self.tried = now;
        }
        if now - self.watched >= WATCH_PERIOD {
            shared.watch_resources();
            self.watched = now;
        }
        let due = shared.settings.fsync() != Fsync::No && now - self.synced >= SYNC_PERIOD;
        if shared.is_behind() && (wanted || due) {
            shared.sync(syncer, but);
            self.synced = now;
        } else if wanted {
            // Somebody may have begun to wait while the last sync ended.
            shared.serve_sync_waiters();
        }
    }
}

/// How long whoever writes the log waits for the engine before it lets others write.
const ENGINE_PATIENCE: Duration = Duration::from_millis(10);

/// Between two syncs when nobody waits for one. (Redis: `appendfsync everysec`)
const SYNC_PERIOD: Duration = Duration::from_millis(990);

/// Between two tries to write to a full disk.
pub(crate) const FULL_PERIOD: Duration = Duration::from_millis(200);

/// Between two looks at memory and disk.
pub(crate) const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// So much is synced at once though nobody waits: what the kernel does for a sync it does in one go, and who shares that
/// processor waits for it.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// Between two pieces of the next segment: with it a segment takes a third of a second.
const PREPARER_REST: Duration = Duration::from_micros(100);

/// The preparer thread: the next segment is there before it is needed. It sleeps after every piece, because filling a file
/// with zeros would keep an I/O thread of the same processor from answering for milliseconds.
pub(crate) fn run_preparer(shared: &Arc<Shared>, preparer: &Preparer) {
    while !shared.stopping.load(Ordering::Acquire) {
        if let Err(error) = preparer.run(&mut || std::thread::sleep(PREPARER_REST)) {
            stop_node("preparing a log segment", &error);
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}
