//! New inputs from seeds: flipped bits, interesting numbers, removed, doubled and spliced pieces, words of the format.
//! It knows no format. The same seed gives the same inputs.

use fastrand::Rng;

/// Longer inputs are cut.
const LEN_MAX: usize = 64 * 1024;

/// Numbers at which length arithmetic goes wrong.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    4095,
    4096,
    65_535,
    65_536,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// An endless row of inputs.
pub(crate) struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    dictionary: &'a [&'a [u8]],
    rng: Rng,
    input: Vec<u8>,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seeds: &'a [Vec<u8>], dictionary: &'a [&'a [u8]], seed: u64) -> Self {
        Self { seeds, dictionary, rng: Rng::with_seed(seed), input: Vec::new() }
    }

    /// The next input: a seed with a few mutations, now and then with many.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.input.clear();
        self.input.extend_from_slice(self.rng.choice(self.seeds).map_or(&[], Vec::as_slice));
        let mutations = if self.rng.u8(..8) == 0 { self.rng.usize(1..64) } else { self.rng.usize(1..5) };
        for _ in 0..mutations {
            self.mutate();
        }
        self.input.truncate(LEN_MAX);
        &self.input
    }

    fn mutate(&mut self) {
        let len = self.input.len();
        let at = self.rng.usize(..=len);
        // A short piece more often than a long one.
        let bound = 1 << self.rng.u8(..12);
        let piece = self.rng.usize(..=(len - at).min(bound));
        match self.rng.u8(..12) {
            0 | 1 => self.overwrite(at, |rng, byte| byte ^ (1 << rng.u8(..8))),
            2 => self.overwrite(at, |rng, _| rng.u8(..)),
            3 => self.overwrite(at, |rng, byte| byte.wrapping_add_signed(rng.i8(-4..=4))),
            4 => self.overwrite_number(at),
            5 => drop(self.input.drain(at..at + piece)),
            6 => self.input.extend_from_within(at..at + piece),
            7 => {
                let copy = self.input.get(at..at + piece).unwrap_or_default().to_vec();
                drop(self.input.splice(at..at, copy));
            }
            8 => self.splice(at),
            9 => self.insert_word(at),
            10 => self.insert_digits(at),
            _ => {
                if self.rng.u8(..4) == 0 {
                    self.input.truncate(at);
                }
            }
        }
    }

    fn overwrite(&mut self, at: usize, change: impl Fn(&mut Rng, u8) -> u8) {
        if let Some(byte) = self.input.get_mut(at) {
            *byte = change(&mut self.rng, *byte);
        }
    }

    /// 1, 2, 4 or 8 bytes in either order; what reaches over the end is left out.
    fn overwrite_number(&mut self, at: usize) {
        let number = self.rng.choice(NUMBERS).copied().unwrap_or_default();
        let width = 1 << self.rng.u8(..4);
        let mut bytes = number.to_le_bytes();
        let bytes = bytes.get_mut(..width).unwrap_or_default();
        if self.rng.bool() {
            bytes.reverse();
        }
        self.input.iter_mut().skip(at).zip(bytes).for_each(|(into, byte)| *into = *byte);
    }

    /// A piece of another seed.
    fn splice(&mut self, at: usize) {
        let Some(other) = self.rng.choice(self.seeds) else { return };
        let from = self.rng.usize(..=other.len());
        let to = self.rng.usize(from..=other.len());
        drop(self.input.splice(at..at, other.get(from..to).unwrap_or_default().iter().copied()));
    }

    fn insert_word(&mut self, at: usize) {
        if let Some(word) = self.rng.choice(self.dictionary) {
            drop(self.input.splice(at..at, word.iter().copied()));
        }
    }

    /// A number in decimal, signed now and then: lengths in text.
    fn insert_digits(&mut self, at: usize) {
        let number = self.rng.choice(NUMBERS).copied().unwrap_or_default();
        let text = if self.rng.bool() { number.to_string() } else { (number as i64).to_string() };
        drop(self.input.splice(at..at, text.into_bytes()));
    }
}
