//! Checksums of many parts of the same bytes, after one pass over them. Whoever looks for blocks among bytes that clients have
//! chosen would otherwise sum up the same bytes again for each four that look like the beginning of one.

use std::ops::Range;

/// Bytes between two places whose sums are kept.
const STEP: usize = 1024;

/// Of the parts that lie behind a place.
pub(crate) struct Sums<'a> {
    bytes: &'a [u8],
    from: usize,
    /// The sum of what lies before each step.
    steps: Vec<u32>,
    /// What becomes of each bit of a sum when 2, 4, 8 … times as many zeros follow: the first is one byte.
    zeros: Vec<[u32; 32]>,
}

impl<'a> Sums<'a> {
    pub(crate) fn new(bytes: &'a [u8], from: usize) -> Self {
        let bytes = bytes.get(from..).unwrap_or_default();
        let mut steps = vec![0];
        for step in bytes.chunks_exact(STEP) {
            steps.push(crc32c::crc32c_append(steps.last().copied().unwrap_or(0), step));
        }
        let powers = usize::BITS - bytes.len().leading_zeros();
        let of_bit = |bit: usize, power: u32| crc32c::crc32c_combine(1 << bit, 0, 1 << power);
        let zeros = (0..powers).map(|power| std::array::from_fn(|bit| of_bit(bit, power))).collect();
        Self { bytes, from, steps, zeros }
    }

    /// The sum of everything before a place.
    fn before(&self, at: usize) -> u32 {
        let step = at / STEP;
        let rest = self.bytes.get(step * STEP..at).unwrap_or_default();
        crc32c::crc32c_append(self.steps.get(step).copied().unwrap_or(0), rest)
    }

    /// What becomes of a sum when so many zeros follow, without the inversions at both ends.
    fn behind_zeros(&self, mut sum: u32, count: usize) -> u32 {
        for (power, of_bits) in self.zeros.iter().enumerate() {
            if count >> power & 1 == 1 {
                sum = (0..32).filter(|bit| sum >> bit & 1 == 1).fold(0, |all, bit| all ^ of_bits[bit]);
            }
        }
        sum
    }

    /// The sum of what `sum` stands for and this part behind it.
    pub(crate) fn appended(&self, sum: u32, part: Range<usize>) -> u32 {
        let (start, end) = (part.start.saturating_sub(self.from), part.end.saturating_sub(self.from));
        self.before(end) ^ self.behind_zeros(sum ^ self.before(start), end.saturating_sub(start))
    }
}

#[cfg(test)]
mod tests {
    use super::Sums;

    #[test]
    fn a_part_has_the_sum_that_it_has_by_itself() {
        let mut random = fastrand::Rng::with_seed(3);
        for len in [0, 1, 5, 1023, 1024, 1025, 9000] {
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
            let from = random.usize(..=len);
            let sums = Sums::new(&bytes, from);
            for _ in 0..200 {
                let start = random.usize(from..=len);
                let (end, before) = (random.usize(start..=len), random.u32(..));
                let expected = crc32c::crc32c_append(before, &bytes[start..end]);
                assert_eq!(sums.appended(before, start..end), expected, "{start}..{end} of {len}");
            }
        }
    }
}
