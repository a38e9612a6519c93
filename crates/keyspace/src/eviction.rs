//! Which keys go when memory is short, and the clock that every entry has for that: 24 bits that say when it was used
//! last, or, when the policy counts, how often. A clock is no part of the data: it is neither logged nor replayed.

use crate::UnixMillis;
use crate::entry::Entry;
use std::cell::RefCell;

/// Which keys may go. (Redis: `maxmemory-policy`)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// No key goes.
    Nothing,
    /// Any key.
    AllKeys,
    /// Keys with a deadline.
    Volatile,
}

/// Which of them goes first. (Redis: `maxmemory-policy`)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The one that was not used for the longest time.
    Lru,
    /// The one that is used least often.
    Lfu,
    /// Any.
    Random,
    /// The one whose deadline is next.
    Ttl,
}

/// Which keys go, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which may go.
    pub among: Among,
    /// Which goes first.
    pub by: By,
}

const POLICIES: &[(&str, Among, By)] = &[
    ("volatile-lru", Among::Volatile, By::Lru),
    ("volatile-lfu", Among::Volatile, By::Lfu),
    ("volatile-random", Among::Volatile, By::Random),
    ("volatile-ttl", Among::Volatile, By::Ttl),
    ("allkeys-lru", Among::AllKeys, By::Lru),
    ("allkeys-lfu", Among::AllKeys, By::Lfu),
    ("allkeys-random", Among::AllKeys, By::Random),
    ("noeviction", Among::Nothing, By::Lru),
];

impl Policy {
    /// No key goes.
    pub const NO_EVICTION: Policy = Policy { among: Among::Nothing, by: By::Lru };

    /// From Redis' name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let found = POLICIES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        found.map(|(_, among, by)| Policy { among: *among, by: *by })
    }

    /// Redis' name.
    pub fn name(self) -> &'static str {
        let found = POLICIES.iter().find(|(_, among, by)| (*among, *by) == (self.among, self.by));
        found.map_or("noeviction", |(name, ..)| name)
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        POLICIES.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// How uses are noted, and by what keys are chosen to go.
#[derive(Debug)]
pub struct Eviction {
    /// Which keys go.
    pub policy: Policy,
    /// Keys looked at for each that goes. (Redis: `maxmemory-samples`)
    pub samples: usize,
    /// How many uses one step of the counter stands for. (Redis: `lfu-log-factor`)
    pub lfu_log_factor: u32,
    /// Minutes without a use after which the counter goes down by one; 0 is never. (Redis: `lfu-decay-time`)
    pub lfu_decay_minutes: u32,
    /// Keys that went, since the start.
    pub evicted_count: u64,
    /// Uses are not noted now. (Redis: CLIENT NO-TOUCH)
    pub unnoticed: bool,
    /// When keys were loaded that nobody has used since.
    pub started_ms: UnixMillis,
    rng: RefCell<fastrand::Rng>,
}

/// The counter of a new key, so that it does not go at once. (Redis: LFU_INIT_VAL)
const COUNTER_AT_FIRST: u32 = 5;
const COUNTER_MAX: u32 = 255;
/// The clock of a key that was loaded: replay knows no time. It counts as new at the start, whatever the policy is then.
const LOADED: u32 = 0;
const SECONDS: u64 = 0xFF_FFFF;
const MINUTES: u64 = 0xFFFF;

impl Eviction {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            policy: Policy::NO_EVICTION,
            samples: 5,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
            evicted_count: 0,
            unnoticed: false,
            started_ms: 0,
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// The key is used now.
    #[inline]
    pub(crate) fn used(&self, entry: &Entry, now_ms: UnixMillis) {
        if !self.unnoticed {
            self.touch(entry, now_ms);
        }
    }

    /// Likewise, even if its client is not to be noticed.
    #[inline]
    pub(crate) fn touch(&self, entry: &Entry, now_ms: UnixMillis) {
        entry.set_clock(self.after_use(entry.clock(), now_ms));
    }

    /// The clock of a new key; without a time it is loaded.
    #[inline]
    pub(crate) fn at_first(&self, now_ms: UnixMillis) -> u32 {
        match self.policy.by {
            By::Lfu if now_ms == 0 => LOADED,
            By::Lfu => self.used_often(now_ms, COUNTER_AT_FIRST),
            By::Lru | By::Random | By::Ttl => seconds(now_ms),
        }
    }

    /// The clock of a key that is used now.
    #[inline]
    fn after_use(&self, clock: u32, now_ms: UnixMillis) -> u32 {
        match self.policy.by {
            By::Lfu if now_ms == 0 => LOADED,
            By::Lfu => self.counted(clock, now_ms),
            By::Lru | By::Random | By::Ttl => seconds(now_ms),
        }
    }

    /// The clock of a key that was not used for so long.
    pub(crate) fn idle(&self, idle_seconds: u64, now_ms: UnixMillis) -> u32 {
        seconds(now_ms.saturating_sub(idle_seconds.saturating_mul(1000)))
    }

    /// The clock of a key whose counter stands so.
    pub(crate) fn used_often(&self, now_ms: UnixMillis, counter: u32) -> u32 {
        minutes(now_ms) << 8 | counter.min(COUNTER_MAX)
    }

    /// Seconds since the last use. The clock turns over after 194 days.
    pub(crate) fn idle_seconds(&self, clock: u32, now_ms: UnixMillis) -> u64 {
        let last = if clock == LOADED { seconds(self.started_ms) } else { clock };
        u64::from(seconds(now_ms).wrapping_sub(last)) & SECONDS
    }

    /// How often it was used, on the logarithmic scale of the counter, after what was forgotten since.
    pub(crate) fn frequency(&self, clock: u32, now_ms: UnixMillis) -> u32 {
        let clock = match clock {
            LOADED => self.used_often(self.started_ms, COUNTER_AT_FIRST),
            noted => noted,
        };
        let since = u64::from(minutes(now_ms).wrapping_sub(clock >> 8)) & MINUTES;
        let forgotten = (since as u32).checked_div(self.lfu_decay_minutes).unwrap_or(0);
        (clock & COUNTER_MAX).saturating_sub(forgotten)
    }

    /// One more use: the higher the counter stands the rarer it goes up. (Redis: LFULogIncr)
    #[cold]
    fn counted(&self, clock: u32, now_ms: UnixMillis) -> u32 {
        let counter = self.frequency(clock, now_ms);
        let above = counter.saturating_sub(COUNTER_AT_FIRST);
        let one_in = f64::from(above) * f64::from(self.lfu_log_factor) + 1.0;
        let goes_up = counter < COUNTER_MAX && self.rng.borrow_mut().f64() * one_in < 1.0;
        self.used_often(now_ms, counter + u32::from(goes_up))
    }
}

fn seconds(now_ms: UnixMillis) -> u32 {
    ((now_ms / 1000) & SECONDS) as u32
}

fn minutes(now_ms: UnixMillis) -> u32 {
    ((now_ms / 60_000) & MINUTES) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn names_are_read_and_printed() {
        for (name, ..) in POLICIES {
            assert_eq!(Policy::parse(&name.to_uppercase()).map(Policy::name), Some(*name));
        }
        assert_eq!(Policy::parse("allkeys-ttl"), None);
    }

    #[test]
    fn a_clock_tells_idle_seconds_also_after_it_has_turned_over() {
        let eviction = Eviction::new(1);
        let turn_over = (SECONDS + 1) * 1000 * 100;
        for now in [NOW, turn_over, turn_over + 5_000] {
            let clock = eviction.idle(1000, now);
            assert_eq!(eviction.idle_seconds(clock, now), 1000);
            assert_eq!(eviction.idle_seconds(eviction.after_use(clock, now), now + 7_000), 7);
        }
    }

    #[test]
    fn a_loaded_key_is_new_at_the_start() {
        let mut eviction = Eviction::new(1);
        for by in [By::Lru, By::Lfu] {
            eviction.policy.by = by;
            let clock = eviction.after_use(eviction.at_first(0), 0);
            eviction.started_ms = NOW;
            assert_eq!(eviction.idle_seconds(clock, NOW + 7_000), 7);
            assert_eq!(eviction.frequency(clock, NOW + 2 * 60_000), 3);
        }
    }

    #[test]
    fn a_counter_grows_slowly_and_is_forgotten() {
        let mut eviction = Eviction::new(1);
        eviction.policy.by = By::Lfu;
        let mut clock = eviction.at_first(NOW);
        assert_eq!(eviction.frequency(clock, NOW), 5);
        for _ in 0..1000 {
            clock = eviction.after_use(clock, NOW);
        }
        let after_1000 = eviction.frequency(clock, NOW);
        assert!((12..=30).contains(&after_1000), "{after_1000}");
        assert_eq!(eviction.frequency(clock, NOW + 3 * 60_000), after_1000 - 3);
        assert_eq!(eviction.frequency(clock, NOW + 999 * 60_000), 0);
        eviction.lfu_decay_minutes = 0;
        assert_eq!(eviction.frequency(clock, NOW + 999 * 60_000), after_1000);
        eviction.lfu_log_factor = 0;
        for _ in 0..300 {
            clock = eviction.after_use(clock, NOW);
        }
        assert_eq!(eviction.frequency(clock, NOW), 255);
    }
}
