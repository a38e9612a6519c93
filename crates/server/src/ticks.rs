//! A clock for measuring, in ticks of the processor: reading it takes a few nanoseconds. What a tick is worth follows from
//! a start that is remembered together with the system's clock, so nothing has to be calibrated at the start.

use std::time::{Duration, Instant};

/// The clock now. Only differences mean something.
#[inline(always)]
pub(crate) fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and it changes nothing.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        START.elapsed().as_nanos() as u64
    }
}

/// When both clocks were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    at: Instant,
    ticks: u64,
}

impl Start {
    /// Now.
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), ticks: now() }
    }

    /// Ticks of a microsecond, the more exact the longer ago the start is.
    pub(crate) fn per_microsecond(&self) -> f64 {
        let since = self.at.elapsed().max(Duration::from_micros(1));
        (now().saturating_sub(self.ticks).max(1) as f64 / since.as_secs_f64() / 1e6).max(1e-3)
    }
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_on() {
        let start = Start::new();
        let before = now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(now() > before);
        assert!(start.per_microsecond() > 0.0);
    }
}
