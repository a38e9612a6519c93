//! What commands have taken, for INFO, SLOWLOG and LATENCY. Counters are written by whoever holds the engine, one at a time,
//! and read at any time; a command that was not slow pays two readings of the tick clock and a few additions.

use crate::command_log::{CommandLog, Noted};
use crate::ticks;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Powers of two of ticks.
pub(crate) const BUCKETS: usize = 64;
/// Samples kept of each kind of latency. (Redis: LATENCY_TS_LEN)
const SAMPLES_MAX: usize = 160;
/// Kinds of errors that are counted; more are counted as one. (Redis: errorstats)
const ERRORS_MAX: usize = 128;

/// Adds without an exclusive access: nobody else writes.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// One command's counters.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) ticks: AtomicU64,
    /// Refused before they were executed.
    pub(crate) rejected: AtomicU64,
    /// Answered with an error.
    pub(crate) failed: AtomicU64,
    /// Calls by the power of two of ticks that they took.
    pub(crate) by_ticks: [AtomicU32; BUCKETS],
}

impl Default for Counters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        let by_ticks = std::array::from_fn(|_| AtomicU32::default());
        Self { calls: zero(), ticks: zero(), rejected: zero(), failed: zero(), by_ticks }
    }
}

impl Counters {
    /// One more execution.
    #[inline]
    pub(crate) fn count(&self, ticks: u64, failed: bool) {
        add(&self.calls, 1);
        add(&self.ticks, ticks);
        let bucket = &self.by_ticks[(ticks.max(1).ilog2() as usize).min(BUCKETS - 1)];
        bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
        if failed {
            add(&self.failed, 1);
        }
    }

    /// An execution that is counted has been answered with an error later on.
    pub(crate) fn fail(&self) {
        add(&self.failed, 1);
    }

    /// One more refusal.
    pub(crate) fn reject(&self) {
        add(&self.rejected, 1);
    }

    fn reset(&self) {
        for counter in [&self.calls, &self.ticks, &self.rejected, &self.failed] {
            counter.store(0, Relaxed);
        }
        self.by_ticks.iter().for_each(|bucket| bucket.store(0, Relaxed));
    }
}

/// One kind of latency. (Redis: LATENCY)
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples {
    /// Second and milliseconds, at most one a second.
    pub(crate) recent: VecDeque<(u64, u64)>,
    pub(crate) max_ms: u64,
}

/// Everything observed.
#[derive(Debug)]
pub(crate) struct Observed {
    start: ticks::Start,
    pub(crate) commands: Box<[Counters]>,
    pub(crate) errors: Mutex<BTreeMap<String, u64>>,
    /// By microseconds.
    pub(crate) slow: CommandLog,
    /// By bytes.
    pub(crate) large_requests: CommandLog,
    /// Likewise.
    pub(crate) large_replies: CommandLog,
    /// Milliseconds; 0 is never. (Redis: `latency-monitor-threshold`)
    pub(crate) latency_after: AtomicU64,
    /// With fewer ticks nothing is slow.
    fast_ticks: AtomicU64,
    latencies: Mutex<BTreeMap<&'static str, Samples>>,
}

impl Observed {
    /// Nothing yet, for so many commands.
    pub(crate) fn new(commands: usize) -> Self {
        let observed = Self {
            start: ticks::Start::new(),
            commands: (0..commands).map(|_| Counters::default()).collect(),
            errors: Mutex::default(),
            slow: CommandLog::new(10_000),
            large_requests: CommandLog::new(1024 * 1024),
            large_replies: CommandLog::new(1024 * 1024),
            latency_after: AtomicU64::new(0),
            fast_ticks: AtomicU64::new(0),
            latencies: Mutex::default(),
        };
        observed.settle();
        observed
    }

    /// After a threshold has changed.
    pub(crate) fn settle(&self) {
        let slow = self.slow.least();
        let latency = Some(self.latency_after.load(Relaxed)).filter(|ms| *ms > 0).map(|ms| ms * 1000);
        let least = slow.into_iter().chain(latency).min();
        // With room for what the rate of ticks is not known exactly.
        let ticks =
            least.map_or(u64::MAX, |micros| (micros as f64 * self.start.per_microsecond() * 0.5) as u64);
        self.fast_ticks.store(ticks, Relaxed);
    }

    /// True when it may have taken too long.
    #[inline]
    pub(crate) fn may_be_slow(&self, ticks: u64) -> bool {
        ticks >= self.fast_ticks.load(Relaxed)
    }

    /// Microseconds.
    pub(crate) fn micros(&self, ticks: u64) -> f64 {
        ticks as f64 / self.start.per_microsecond()
    }

    /// A command took long, perhaps too long.
    #[cold]
    pub(crate) fn note_slow(&self, kind: &'static str, ticks: u64, noted: impl FnOnce(u64) -> Option<Noted>) {
        let micros = self.micros(ticks) as u64;
        self.slow.note(micros, || noted(micros));
        self.note_latency(kind, micros / 1000);
    }

    /// Something took so long. Kept if it is more than the threshold.
    pub(crate) fn note_latency(&self, kind: &'static str, ms: u64) {
        let after = self.latency_after.load(Relaxed);
        if after == 0 || ms < after {
            return;
        }
        let second = crate::shared::now_ms() / 1000;
        let mut latencies = self.latencies.lock();
        let samples = latencies.entry(kind).or_default();
        samples.max_ms = samples.max_ms.max(ms);
        match samples.recent.back_mut() {
            Some((last, most)) if *last == second => *most = (*most).max(ms),
            Some(_) | None => samples.recent.push_back((second, ms)),
        }
        if samples.recent.len() > SAMPLES_MAX {
            samples.recent.pop_front();
        }
    }

    /// All kinds of latency that were met.
    pub(crate) fn latencies(&self) -> BTreeMap<&'static str, Samples> {
        self.latencies.lock().clone()
    }

    /// Forgets some kinds of latency, or all; gives how many there were.
    pub(crate) fn forget_latencies(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let mut latencies = self.latencies.lock();
        let before = latencies.len();
        latencies.retain(|kind, _| !wanted(kind));
        before - latencies.len()
    }

    /// An error was answered: counted by its first word.
    #[cold]
    pub(crate) fn note_error(&self, reply: &[u8]) {
        let line = reply.strip_prefix(b"-").unwrap_or(reply);
        let word = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let word = String::from_utf8_lossy(word).into_owned();
        let mut errors = self.errors.lock();
        let is_new = !errors.contains_key(&word);
        let word = if is_new && errors.len() >= ERRORS_MAX { "ERRORSTATS_OVERFLOW".to_owned() } else { word };
        *errors.entry(word).or_default() += 1;
    }

    /// Redis: CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        self.commands.iter().for_each(Counters::reset);
        self.errors.lock().clear();
    }
}
