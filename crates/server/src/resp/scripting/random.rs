//! The numbers of `math.random`: those of Redis, so that a script that chooses its seed gets what it got there. (C: `lrand48`)

/// A state of 48 bits.
pub(super) struct Random(u64);

impl Random {
    const MAX: u64 = i32::MAX as u64;

    /// Of a seed of 32 bits.
    pub(super) fn new(seed: u32) -> Self {
        Self(u64::from(seed) << 16 | 0x330e)
    }

    /// From 0 up to 1, which is left out.
    pub(super) fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        (self.0 >> 17) as f64 % Self::MAX as f64 / Self::MAX as f64
    }
}
