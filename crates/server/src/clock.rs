//! The server's time: the machine's, as long as that goes on. When it goes back (somebody has set it, or it was ahead before a
//! restart), time goes on at half speed until the machine has caught up: deadlines of clients never stand still, heartbeats
//! still come often enough, and what is recorded never goes back.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

/// The clock of this process; the log's times are its.
static CLOCK: Clock = Clock::new();

/// Milliseconds since the Unix epoch; never less than before.
pub fn now_ms() -> u64 {
    #[cfg(feature = "sim")]
    if let Some(simulated) = crate::sim::clock() {
        return simulated;
    }
    let machine =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    CLOCK.at(machine, Instant::now)
}

/// The log has come so far.
pub(crate) fn not_before(time_ms: u64) {
    CLOCK.last.fetch_max(time_ms, Relaxed);
}

struct Clock {
    /// The latest time that anybody was told.
    last: AtomicU64,
    /// From where time goes on by itself.
    from: Mutex<Option<(u64, Instant)>>,
}

impl Clock {
    const fn new() -> Self {
        Self { last: AtomicU64::new(0), from: Mutex::new(None) }
    }

    fn at(&self, machine: u64, passed: impl FnOnce() -> Instant) -> u64 {
        let last = self.last.load(Relaxed);
        if machine == last {
            return machine;
        }
        let last = self.last.fetch_max(machine, Relaxed);
        if machine >= last { machine } else { self.behind(machine, last, passed()) }
    }

    #[cold]
    fn behind(&self, machine: u64, last: u64, now: Instant) -> u64 {
        let mut from = self.from.lock();
        let slow = from.map(|(time, at)| {
            let passed = now.saturating_duration_since(at).as_millis() as u64;
            time.saturating_add(passed / 2)
        });
        let time = match slow.filter(|slow| *slow >= last) {
            Some(slow) => slow.max(machine),
            None => {
                // It was right in between.
                if last - machine > 1000 {
                    tracing::warn!(
                        behind_ms = last - machine,
                        "the machine's clock has gone back; time goes on at half speed until it has caught up"
                    );
                }
                *from = Some((last, now));
                last
            }
        };
        self.last.fetch_max(time, Relaxed).max(time)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::time::{Duration, Instant};

    #[test]
    fn time_never_goes_back_and_never_stands_still() {
        let clock = Clock::new();
        let start = Instant::now();
        let at = |machine, passed_ms| clock.at(machine, || start + Duration::from_millis(passed_ms));
        assert_eq!([at(10_000, 0), at(10_005, 5), at(10_005, 5)], [10_000, 10_005, 10_005]);
        // A minute back.
        assert_eq!([at(0, 10), at(10, 20), at(90, 100), at(1_000, 1_010)], [10_005, 10_010, 10_050, 10_505]);
        // The machine has caught up, and forward is forward.
        assert_eq!([at(20_000, 20_010), at(20_005, 20_015)], [20_000, 20_005]);
        assert_eq!([at(20_020, 20_030), at(90_000, 20_040)], [20_020, 90_000]);
        // Once more.
        assert_eq!([at(50_000, 30_000), at(50_100, 30_100)], [90_000, 90_050]);
        let mut last = 0;
        for i in 0..100_000u64 {
            let time = at(60_000 + i * 7 % 90_000, 40_000 + i);
            assert!(time >= last, "{time} comes after {last}");
            last = time;
        }
    }
}
