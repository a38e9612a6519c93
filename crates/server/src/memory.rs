//! How much memory is in use, and room for more. The exact number takes the allocator a while, so it is asked rarely; in
//! between an I/O thread adds what it has allocated itself since, which costs next to nothing.

use crate::shared::{Shared, resident_bytes};
use leveret_engine::Engine;
use leveret_engine::keyspace::Evicted;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What the allocator can tell; the binary knows which one it has.
#[derive(Debug, Clone, Copy)]
pub struct Allocator {
    /// Its name, for INFO.
    pub name: &'static str,
    /// Bytes in use by the process; takes microseconds.
    pub in_use: fn() -> u64,
    /// Bytes that this thread has allocated less those that it has freed; takes nanoseconds.
    pub of_thread: fn() -> i64,
    /// Gives memory that is not in use back to the system.
    pub purge: fn(),
    /// All that it can tell, for people.
    pub report: fn() -> String,
}

impl Default for Allocator {
    /// Knows nothing; what is resident counts as used.
    fn default() -> Self {
        Self {
            name: "libc",
            in_use: resident_bytes,
            of_thread: || 0,
            purge: || {},
            report: || "Stats not supported for the current allocator".into(),
        }
    }
}

/// What is known of the memory in use.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Exact when it was asked for last, an estimate since.
    bytes: AtomicI64,
    asked_at_ms: AtomicU64,
    /// How often it was asked.
    asked: AtomicU64,
    peak: AtomicU64,
    /// The limit is passed and more keys may go: threads go on with it even if no command comes.
    pub(crate) evicting: AtomicBool,
    /// In use when the server was ready.
    pub(crate) at_start: u64,
}

/// Whether there is memory for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is.
    Enough,
    /// There was not; keys may have gone for it.
    Made,
    /// There is not, and no more keys may go.
    None,
}

/// An estimate is trusted for so long, and a shorter time when keys are to go for it.
const TRUSTED_MS: u64 = 100;
const TRUSTED_EVICTING_MS: u64 = 10;
/// Keys that go before one command or in one turn at the usual tenacity; if that is not enough the next ones go on with it.
const KEYS_MAX: usize = 64;
/// See [`keys_max`].
pub(crate) const TENACITY: usize = 10;

/// Keys that go at a tenacity from 0 to 100: fewer below the usual one, 15 % more for each step above it, all that have to
/// at 100. (Redis: `maxmemory-eviction-tenacity`, which bounds the time in the same way)
fn keys_max(tenacity: usize) -> usize {
    match tenacity {
        0..=TENACITY => (KEYS_MAX * tenacity / TENACITY).max(1),
        100.. => usize::MAX,
        _ => (KEYS_MAX as f64 * 1.15_f64.powi((tenacity - TENACITY) as i32)) as usize,
    }
}

thread_local! {
    /// What this thread had allocated when it looked last, and how often the allocator had been asked then: what was
    /// allocated before it was asked again is in the exact number.
    static SEEN: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
}

impl Gauge {
    /// A gauge of a server that is ready.
    pub(crate) fn new(allocator: &Allocator) -> Self {
        Self { at_start: (allocator.in_use)(), ..Self::default() }
    }

    /// Asks the allocator.
    pub(crate) fn exact(&self, allocator: &Allocator, now_ms: u64) -> u64 {
        let bytes = (allocator.in_use)();
        let asked = self.asked.load(Relaxed) + 1;
        self.asked.store(asked, Relaxed);
        SEEN.set((asked, (allocator.of_thread)()));
        self.bytes.store(bytes as i64, Relaxed);
        self.asked_at_ms.store(now_ms, Relaxed);
        self.peak.fetch_max(bytes, Relaxed);
        bytes
    }

    /// The most that was seen in use.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// The estimate. The caller holds the engine, so nobody else writes.
    #[inline]
    fn estimate(&self, allocator: &Allocator) -> u64 {
        let (asked, balance) = (self.asked.load(Relaxed), (allocator.of_thread)());
        let (asked_then, balance_then) = SEEN.replace((asked, balance));
        let since = if asked == asked_then { balance - balance_then } else { 0 };
        let bytes = self.bytes.load(Relaxed) + since;
        self.bytes.store(bytes, Relaxed);
        bytes.max(0) as u64
    }

    fn is_older_than(&self, ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.asked_at_ms.load(Relaxed)) >= ms
    }
}

impl Shared {
    /// Bytes in use, exactly.
    pub(crate) fn used_bytes(&self, now_ms: u64) -> u64 {
        self.memory.exact(&self.settings.allocator, now_ms)
    }

    /// Whether there is memory for a command; keys go for it if they may. (Redis: performEvictions)
    #[inline]
    pub(crate) fn room(&self, engine: &mut Engine) -> Room {
        let bytes_max = self.settings.memory_max.load(Relaxed) as u64;
        if bytes_max == 0 {
            return Room::Enough;
        }
        if self.memory.is_older_than(TRUSTED_MS, engine.now_ms()) {
            self.used_bytes(engine.now_ms());
        }
        if self.memory.estimate(&self.settings.allocator) <= bytes_max {
            return Room::Enough;
        }
        self.make_room(engine, bytes_max)
    }

    /// Lets more keys go when the last commands did not suffice, or the limit was lowered; true when it is not done yet.
    pub(crate) fn go_on_evicting(&self, engine: &mut Engine) -> bool {
        if !self.memory.evicting.load(Relaxed) {
            return false;
        }
        let more = self.room(engine) == Room::Made;
        self.memory.evicting.store(more, Relaxed);
        more
    }

    #[cold]
    fn make_room(&self, engine: &mut Engine, bytes_max: u64) -> Room {
        let (memory, allocator) = (&self.memory, &self.settings.allocator);
        if memory.is_older_than(TRUSTED_EVICTING_MS, engine.now_ms()) {
            self.used_bytes(engine.now_ms());
        }
        for _ in 0..keys_max(self.settings.eviction_tenacity.load(Relaxed)) {
            if memory.estimate(allocator) <= bytes_max || engine.is_paused() {
                return Room::Made;
            }
            if engine.has_garbage() || self.reaper.pending() > 0 {
                // Memory is on its way back; nothing else has to go until it is there.
                return Room::Made;
            }
            match engine.evict() {
                Evicted::Key => {}
                Evicted::NotYet => return Room::Made,
                Evicted::Nothing => return Room::None,
            }
        }
        memory.evicting.store(true, Relaxed);
        Room::Made
    }
}
