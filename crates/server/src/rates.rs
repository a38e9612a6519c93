//! How much happens in a second, looked at once a second by whoever looks at resources. (Redis: `trackInstantaneousMetric`)

use crate::shared::Shared;
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Since the last look; with a shorter time between, a figure says little.
const PERIOD: Duration = Duration::from_millis(500);

/// Commands, bytes read and bytes written, in a second.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct PerSecond {
    pub(crate) commands: f64,
    pub(crate) read: f64,
    pub(crate) written: f64,
}

/// The last look.
#[derive(Debug)]
pub(crate) struct Rates(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    counts: [u64; 3],
    rates: PerSecond,
}

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new(Seen { at: Instant::now(), counts: [0; 3], rates: PerSecond::default() }))
    }
}

impl Rates {
    fn look(&self, now: Instant, counts: [u64; 3]) {
        let mut seen = self.0.lock();
        let passed = now.saturating_duration_since(seen.at);
        if passed < PERIOD {
            return;
        }
        // Counting may have begun anew. (Redis: CONFIG RESETSTAT)
        let rate = |i: usize| counts[i].saturating_sub(seen.counts[i]) as f64 / passed.as_secs_f64();
        seen.rates = PerSecond { commands: rate(0), read: rate(1), written: rate(2) };
        (seen.at, seen.counts) = (now, counts);
    }

    /// As they were at the last look.
    pub(crate) fn per_second(&self) -> PerSecond {
        self.0.lock().rates
    }
}

impl Shared {
    pub(crate) fn look_at_rates(&self) {
        let commands = self.observed.commands.iter().map(|command| command.calls.load(Relaxed)).sum();
        let (read, written) = (self.stats.bytes_read.load(Relaxed), self.stats.bytes_written.load(Relaxed));
        self.rates.look(Instant::now(), [commands, read, written]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_happened_since_the_last_look() {
        let rates = Rates::default();
        let start = rates.0.lock().at;
        rates.look(start + Duration::from_secs(1), [100, 2048, 0]);
        assert_eq!(rates.per_second(), PerSecond { commands: 100.0, read: 2048.0, written: 0.0 });
        rates.look(start + Duration::from_millis(1100), [900, 9000, 9000]);
        assert_eq!(rates.per_second().commands, 100.0, "that was too soon");
        rates.look(start + Duration::from_secs(3), [50, 4096, 2048]);
        assert_eq!(rates.per_second(), PerSecond { commands: 0.0, read: 1024.0, written: 1024.0 });
    }
}
