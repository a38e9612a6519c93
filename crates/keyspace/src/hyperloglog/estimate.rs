//! From registers to a cardinality: Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017,
//! algorithm 6. It needs no table of biases and no switch to another method for few elements.

use super::{COUNTED_BITS, REGISTERS};

/// A register has one of so many values.
const VALUES: usize = 64;
/// 1 / (2 ln 2). (Redis: `HLL_ALPHA_INF`)
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers have each value.
pub(crate) struct Histogram([u32; VALUES]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; VALUES])
    }
}

impl Histogram {
    /// So many registers more have this value.
    #[inline]
    pub(crate) fn add(&mut self, value: u8, len: usize) {
        if let Some(count) = self.0.get_mut(usize::from(value)) {
            *count = count.saturating_add(len as u32);
        }
    }

    /// All registers.
    pub(super) fn total(&self) -> usize {
        self.0.iter().fold(0u32, |sum, count| sum.saturating_add(*count)) as usize
    }

    /// How many different elements they stand for.
    pub(crate) fn estimate(&self) -> u64 {
        let (all, of) = (REGISTERS as f64, |value: u32| f64::from(self.0[value as usize]));
        let highest = COUNTED_BITS + 1;
        let mut sum = all * tau((all - of(highest)) / all);
        for value in (1..highest).rev() {
            sum = (sum + of(value)) * 0.5;
        }
        sum += all * sigma(of(0) / all);
        (ALPHA * all * all / sum).round() as u64
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x).powi(2) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}
