//! The checkpointer thread writes down what the state is, from time to time and when somebody asks, so that the log may
//! forget what came before. It enters the engine for a slice at a time and leaves most of the time to others; when writers
//! are faster than it is, it does not rest, and then they wait for it (`Engine::checkpoint_bytes`).
//! A checkpoint that fails costs nothing but its own file; the log has everything.

use crate::alarms::free_disk_bytes;
use crate::shared::{Shared, now_ms};
use leveret_base::codec::Name;
use leveret_engine::Slice;
use leveret_engine::broker::InMemory;
use leveret_wal::{CheckpointHead, CheckpointWriter, Checkpoints, Error, Reclaimed};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes of one slice, if nobody says otherwise: some tens of microseconds under the engine's lock.
const SLICE_BYTES: usize = 64 * 1024;
/// It rests so many times as long as it has held the engine.
const REST: u32 = 4;
/// About so long it takes to copy 128 KiB of messages that only old segments had; it rests then, too.
const COPIED: Duration = Duration::from_micros(100);
/// With so much handed over out of turn there is no time to rest.
const HURRY_BYTES: usize = 8 * 1024 * 1024;
/// After so many bytes what was written is brought to the disk, so that the log's syncs do not have to wait for all of it. The kernel
/// does that in one go, and who shares that processor waits for it.
const SYNC_BYTES: u64 = 1024 * 1024;
/// Segments that may lie about for messages that are mostly gone.
const SEGMENTS_MIN: u64 = 4;
/// Between two looks at whether one is due.
const PERIOD: Duration = Duration::from_millis(100);
/// Between two tries to remove what somebody has kept.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);
/// After one that has failed. (Redis: CONFIG_BGSAVE_RETRY_DELAY)
const RETRY: Duration = Duration::from_secs(5);

/// Why a checkpoint is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody has asked for it. (Redis: BGSAVE, SAVE)
    Save,
    /// The log has grown, or somebody has asked for that. (Redis: BGREWRITEAOF)
    Rewrite,
}

/// What is known of checkpoints.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Report {
    /// The state that the last one is of; 0 without.
    pub(crate) position: u64,
    /// When it was finished.
    pub(crate) at_ms: u64,
    /// How many there were since the start.
    pub(crate) count: u64,
    /// How long the last one has taken.
    pub(crate) seconds: u64,
    pub(crate) has_failed: bool,
}

#[derive(Default)]
struct State {
    wanted: Option<Why>,
    /// What is being done, and since when.
    doing: Option<(Why, u64)>,
    report: Report,
    stopping: bool,
}

/// The thread's state.
pub(crate) struct Checkpointer {
    checkpoints: Checkpoints,
    /// Bytes of one slice.
    pub(crate) slice_bytes: usize,
    state: Mutex<State>,
    signal: Condvar,
    in_memory: Arc<InMemory>,
    /// How many messages that only the log had were not any more there when the last one began.
    left_before: AtomicU64,
    /// Redis: `auto-aof-rewrite-percentage`, `auto-aof-rewrite-min-size`.
    pub(crate) growth_percent: AtomicU64,
    pub(crate) growth_bytes_min: AtomicU64,
}

impl Checkpointer {
    /// With Redis' defaults; `restored` is the checkpoint that recovery has begun with.
    pub(crate) fn new(
        checkpoints: Checkpoints,
        restored: Option<CheckpointHead>,
        in_memory: &Arc<InMemory>,
    ) -> Self {
        let (position, at_ms) = restored.map_or((0, now_ms()), |head| (head.position, head.time_ms));
        let report = Report { position, at_ms, ..Report::default() };
        Self {
            checkpoints,
            slice_bytes: SLICE_BYTES,
            state: Mutex::new(State { report, ..State::default() }),
            signal: Condvar::new(),
            in_memory: Arc::clone(in_memory),
            left_before: AtomicU64::new(0),
            growth_percent: AtomicU64::new(100),
            growth_bytes_min: AtomicU64::new(64 * 1024 * 1024),
        }
    }

    /// Asks for one; false if one is on its way or asked for.
    pub(crate) fn ask(&self, why: Why) -> bool {
        let mut state = self.state.lock();
        if state.doing.is_some() || state.wanted.is_some() {
            return false;
        }
        state.wanted = Some(why);
        self.signal.notify_one();
        true
    }

    /// Asks for one after the one that is on its way.
    pub(crate) fn ask_later(&self, why: Why) {
        let mut state = self.state.lock();
        if state.wanted != Some(Why::Save) {
            // It does what the other would do, too.
            state.wanted = Some(why);
        }
        self.signal.notify_one();
    }

    /// What is being done.
    pub(crate) fn doing(&self) -> Option<Why> {
        self.state.lock().doing.map(|(why, _)| why)
    }

    /// Since when.
    pub(crate) fn began_ms(&self) -> Option<u64> {
        self.state.lock().doing.map(|(_, began_ms)| began_ms)
    }

    /// What is asked for.
    pub(crate) fn asked(&self) -> Option<Why> {
        self.state.lock().wanted
    }

    /// What is known of the last one.
    pub(crate) fn report(&self) -> Report {
        self.state.lock().report
    }

    /// Bytes logged since the last one began, and bytes of that.
    pub(crate) fn sizes(&self) -> [u64; 2] {
        [self.checkpoints.logged_bytes(), self.checkpoints.checkpoint_bytes()]
    }

    /// Bytes of the log that are kept for messages which the last checkpoint has by name only.
    #[cfg(feature = "sim")]
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.checkpoints.kept()[0]
    }

    /// The thread ends.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.signal.notify_one();
    }

    /// True when the log has grown so much beside the last checkpoint that another is worth it, or something can be given back.
    fn is_due(&self) -> bool {
        let [logged, last] = self.sizes();
        let percent = self.growth_percent.load(Relaxed);
        let min = self.growth_bytes_min.load(Relaxed);
        let has_grown = logged >= min.max((u128::from(last) * u128::from(percent) / 100) as u64);
        percent > 0 && (has_grown || self.keeps_too_much())
    }

    /// True when much is kept for messages that the last checkpoint has by name only, and half of them have left since.
    fn keeps_too_much(&self) -> bool {
        let [bytes, names] = self.checkpoints.kept();
        let left = self.in_memory.left() - self.left_before.load(Relaxed);
        bytes > SEGMENTS_MIN * self.checkpoints.segment_bytes() && left >= names.div_ceil(2)
    }

    /// True when one gives back more than it takes, on a disk that has so much left.
    fn is_worth_its_room(&self, free: u64) -> bool {
        let [_, last] = self.sizes();
        self.keeps_too_much() && 2 * (last + self.in_memory.bytes()) < free
    }

    /// Waits until one is to be made; `None` at the end.
    fn next(&self, has_room: impl Fn() -> bool) -> Option<Why> {
        let (since, mut swept) = (Instant::now(), Instant::now());
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            let may_retry = !state.report.has_failed || since.elapsed() >= RETRY;
            if may_retry && self.is_due() && has_room() {
                state.wanted.get_or_insert(Why::Rewrite);
            }
            if let Some(why) = take(&mut state) {
                return Some(why);
            }
            if swept.elapsed() >= SWEEP_PERIOD && self.checkpoints.has_left_over() {
                MutexGuard::unlocked(&mut state, || self.sweep());
                swept = Instant::now();
            } else {
                self.signal.wait_for(&mut state, PERIOD);
            }
        }
    }

    /// Removes what a backup or an archive has kept when the last checkpoint was made.
    fn sweep(&self) {
        match self.checkpoints.remove_unnecessary() {
            Ok(reclaimed) => tell_given_up(reclaimed),
            Err(error) => tracing::warn!(%error, "what is unnecessary stays for now"),
        }
    }

    /// What was asked for is being done from here on.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn take_asked(&self) -> Option<Why> {
        take(&mut self.state.lock())
    }

    fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }
}

fn tell_given_up(reclaimed: Reclaimed) {
    if reclaimed.given_up > 0 {
        tracing::warn!(
            segments = reclaimed.given_up,
            "too many segments were waiting for the archive and were removed: it will have a gap. Is 'leveret backup' still run?"
        );
    }
}

fn take(state: &mut State) -> Option<Why> {
    let why = state.wanted.take()?;
    state.doing = Some((why, now_ms()));
    Some(why)
}

/// The thread.
pub(crate) fn run(shared: &Shared) {
    // The little that is left of a disk is the log's; by hand it may be tried. But what a drained backlog has left may be most of it.
    let has_room = || {
        let free = || free_disk_bytes(&shared.settings.data_dir).unwrap_or(0);
        !shared.settings.alarms.has_disk() || shared.checkpointer.is_worth_its_room(free())
    };
    while let Some(why) = shared.checkpointer.next(has_room) {
        shared.checkpoint(why, |held| std::thread::sleep(held * REST));
    }
}

impl Shared {
    /// Makes a checkpoint; `rest` is called between slices with how long the engine was held.
    pub(crate) fn checkpoint(&self, why: Why, rest: impl Fn(Duration)) {
        let began = Instant::now();
        let result = self.write_checkpoint(rest);
        let is_made = matches!(result, Ok(Some(_)));
        {
            let mut state = self.checkpointer.state.lock();
            state.doing = None;
            let report = &mut state.report;
            match result {
                Ok(Some((position, reclaimed))) => {
                    tell_given_up(reclaimed);
                    let Reclaimed { checkpoint_bytes, segments, kept_bytes, .. } = reclaimed;
                    tracing::info!(
                        position,
                        checkpoint_bytes,
                        segments,
                        kept_bytes,
                        "a checkpoint was made, segments were removed"
                    );
                    (report.position, report.at_ms) = (position, now_ms());
                    report.count += 1;
                    (report.seconds, report.has_failed) = (began.elapsed().as_secs(), false);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "there is no new checkpoint; the log has everything and goes on");
                    (report.seconds, report.has_failed) = (began.elapsed().as_secs(), true);
                }
            }
        }
        if why == Why::Rewrite {
            return;
        }
        let mut engine = self.engine.lock();
        engine.saved(is_made);
        self.leave(engine);
    }

    /// `None` when the server stops before it is finished.
    fn write_checkpoint(&self, rest: impl Fn(Duration)) -> Result<Option<(u64, Reclaimed)>, Error> {
        let checkpoints = &self.checkpointer.checkpoints;
        let (mut changes, mut names) = (Vec::with_capacity(2 * SLICE_BYTES), Vec::new());
        let mut engine = self.engine.lock();
        let head = engine.begin_checkpoint(&mut changes);
        self.checkpointer.left_before.store(engine.broker.in_memory().left(), Relaxed);
        drop(engine);
        let Some(head) = head else { return Ok(None) };
        // What cannot be written is handed over nevertheless: every checkpoint comes to its end.
        let mut writing = checkpoints.begin(head);
        loop {
            let mut engine = self.engine.lock();
            let held = Instant::now();
            let hurry = engine.checkpoint_bytes() > HURRY_BYTES;
            let slice = engine.checkpoint_slice(self.checkpointer.slice_bytes, &mut changes, &mut names);
            self.leave(engine);
            let held = held.elapsed();
            writing = writing.and_then(|mut writer| match write(&mut writer, &changes, &names) {
                Ok(()) => Ok(writer),
                Err(error) => {
                    checkpoints.abandon(writer);
                    Err(error)
                }
            });
            names.clear();
            changes.clear();
            changes.shrink_to(16 * SLICE_BYTES);
            if slice == Slice::Last {
                break;
            }
            if self.checkpointer.is_stopping() {
                writing.map(|writer| checkpoints.abandon(writer))?;
                return Ok(None);
            }
            if !hurry {
                rest(held);
            }
        }
        let writer = writing?;
        self.write_up_to(head.position);
        let reclaimed = checkpoints.publish_resting(writer, &mut || rest(COPIED))?;
        Ok(Some((head.position, reclaimed)))
    }
}

fn write(writer: &mut CheckpointWriter, changes: &[u8], names: &[Name]) -> Result<(), Error> {
    writer.write(changes)?;
    writer.write_names(names)?;
    writer.sync_every(SYNC_BYTES)
}
