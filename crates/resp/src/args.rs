//! The arguments of commands as ranges of the bytes they arrived in: nothing is copied until somebody keeps it.

use crate::decode::RANGES_KEPT;
use std::ops::Index;

/// Where one argument lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// The arguments of one command, name first.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range],
}

impl<'a> Args<'a> {
    /// How many there are, with the name.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True when there is not even a name.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The argument at `index`; 0 is the name.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let range = self.ranges.get(index)?;
        self.bytes.get(range.start..range.start + range.len)
    }

    /// At least [`Args::encoded_len`] and not much more, without a look at each of them.
    #[inline]
    pub fn encoded_len_max(&self) -> usize {
        /// A line with a number, and an end of line.
        const AROUND: usize = 24;
        match (self.ranges.first(), self.ranges.last()) {
            (Some(first), Some(last)) => {
                (last.start + last.len).saturating_sub(first.start) + (self.ranges.len() + 1) * AROUND
            }
            (None, _) | (_, None) => 0,
        }
    }

    /// How many bytes they are as an array of bulk strings.
    pub fn encoded_len(&self) -> usize {
        let line = |number: usize| number.checked_ilog10().unwrap_or(0) as usize + 4;
        line(self.len()) + self.iter().map(|arg| line(arg.len()) + arg.len() + 2).sum::<usize>()
    }

    /// Without the first `count`; nothing when there are no more.
    pub fn from(self, count: usize) -> Self {
        Self { bytes: self.bytes, ranges: self.ranges.get(count..).unwrap_or_default() }
    }

    /// All of them in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        (0..self.len()).map(move |i| self.get(i).unwrap_or_default())
    }
}

/// For use behind the arity check.
impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.get(index).expect("the arity was checked")
    }
}

/// The commands found in one input buffer. Reused from turn to turn.
#[derive(Default)]
pub struct Batch {
    pub(crate) ranges: Vec<Range>,
    /// For each command: where its ranges begin.
    pub(crate) starts: Vec<usize>,
}

impl Batch {
    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The arguments of command `index`; `input` is what was decoded.
    #[inline]
    pub fn args<'a>(&'a self, index: usize, input: &'a [u8]) -> Args<'a> {
        let start = self.starts.get(index).copied().unwrap_or(self.ranges.len());
        let end = self.starts.get(index + 1).copied().unwrap_or(self.ranges.len());
        Args { bytes: input, ranges: self.ranges.get(start..end).unwrap_or_default() }
    }

    /// Forgets all commands and keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.ranges.shrink_to(RANGES_KEPT);
        self.starts.clear();
        self.starts.shrink_to(RANGES_KEPT);
    }

    pub(crate) fn close_command(&mut self, first_range: usize) {
        self.starts.push(first_range);
    }
}

/// Commands that outlive their input: what `MULTI` queues and a blocked session keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArgsBuf {
    bytes: Vec<u8>,
    ranges: Vec<Range>,
}

impl From<Args<'_>> for ArgsBuf {
    fn from(args: Args<'_>) -> Self {
        args.iter().collect()
    }
}

impl<'a> FromIterator<&'a [u8]> for ArgsBuf {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(args: I) -> Self {
        let mut buf = ArgsBuf::default();
        for arg in args {
            buf.push(arg);
        }
        buf
    }
}

impl ArgsBuf {
    /// Appends an argument.
    pub fn push(&mut self, arg: &[u8]) {
        self.ranges.push(Range { start: self.bytes.len(), len: arg.len() });
        self.bytes.extend_from_slice(arg);
    }

    /// Forgets all arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.bytes.clear();
    }

    /// Borrowed again.
    pub fn as_args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, ranges: &self.ranges }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ranges.capacity() * size_of::<Range>()
    }
}

#[cfg(test)]
mod tests {
    use super::ArgsBuf;
    use crate::encode_command;

    #[test]
    fn the_encoded_length_is_that_of_an_encoded_command() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let args: Vec<Vec<u8>> =
                (0..rng.usize(1..120)).map(|_| vec![b'x'; rng.usize(..1200) >> rng.u32(..12)]).collect();
            let mut out = Vec::new();
            encode_command(&mut out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let args: ArgsBuf = args.iter().map(Vec::as_slice).collect();
            assert_eq!(args.as_args().encoded_len(), out.len());
            assert!(args.as_args().encoded_len_max() >= out.len());
        }
    }
}
