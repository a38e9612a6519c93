//! How changes are written as bytes: varints and length-prefixed strings. It knows no change by name; the trap is
//! that everything read back comes from a disk, so reading refuses instead of trusting a length.

/// Where a change lies: in which commit, and so many bytes behind the beginning of its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The commit's number.
    pub position: u64,
    /// Bytes of the commit before it.
    pub offset: u32,
}

impl Place {
    /// No commit has such a number.
    const SPILLED: u64 = 1 << 63;

    /// A place that is not in the log but in a run of what was spilled beside it.
    pub fn in_run(run: u64, offset: u32) -> Self {
        Self { position: run | Self::SPILLED, offset }
    }

    /// The run, if that is where it lies.
    #[inline]
    pub fn run(self) -> Option<u64> {
        (self.position & Self::SPILLED != 0).then_some(self.position & !Self::SPILLED)
    }
}

/// A message that only the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Where it lies.
    pub place: Place,
    /// Bytes of its content; it takes a little more.
    pub bytes: u32,
}

/// Where a primitive records its change: bytes of the open commit, or nowhere while the log is being replayed.
pub struct Changes<'a> {
    bytes: Option<&'a mut Vec<u8>>,
    /// The number of the commit, and where its changes begin.
    commit: Option<(u64, usize)>,
}

impl<'a> Changes<'a> {
    /// Records into `bytes`.
    pub fn on(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes: Some(bytes), commit: None }
    }

    /// Records into `bytes` the changes of a commit, which begin at `start` there.
    pub fn of_commit(bytes: &'a mut Vec<u8>, position: u64, start: usize) -> Self {
        Self { bytes: Some(bytes), commit: Some((position, start)) }
    }

    /// Records nothing: replay.
    pub fn off() -> Self {
        Self { bytes: None, commit: None }
    }

    /// The buffer to encode one change into, if recording is on.
    #[inline]
    pub fn buffer(&mut self) -> Option<&mut Vec<u8>> {
        self.bytes.as_deref_mut()
    }

    /// The same recorder for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> Changes<'_> {
        Changes { bytes: self.bytes.as_deref_mut(), commit: self.commit }
    }

    /// Where the next change is going to lie, if that can be said.
    pub fn next_place(&self) -> Option<Place> {
        let (position, start) = self.commit?;
        let offset = u32::try_from(self.len().checked_sub(start)?).ok()?;
        Some(Place { position, offset })
    }

    /// How many bytes the open commit has so far.
    pub fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, |b| b.len())
    }

    /// True while nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Appends an unsigned LEB128 integer: 1 to 10 bytes.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length as a varint, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The bytes ended before the value did, or a value does not fit its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a change is malformed")
    }
}

impl std::error::Error for Malformed {}

/// Reads what the `put_` functions wrote.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes have not been read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A LEB128 integer of at most 64 bits.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A varint that fits in 32 bits.
    pub fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed)
    }

    /// A varint that fits in 16 bits.
    pub fn varint16(&mut self) -> Result<u16, Malformed> {
        u16::try_from(self.varint()?).map_err(|_| Malformed)
    }

    /// A length-prefixed string, borrowed.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        if len > self.rest.len() {
            return Err(Malformed);
        }
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            put_varint(&mut out, value);
        }
        put_bytes(&mut out, b"hare");
        let mut reader = Reader::new(&out);
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(reader.varint(), Ok(value));
        }
        assert_eq!(reader.bytes(), Ok(&b"hare"[..]));
        assert!(reader.is_empty());
    }

    #[test]
    fn short_and_overlong_input_is_refused() {
        assert_eq!(Reader::new(&[0x80]).varint(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff; 10]).varint(), Err(Malformed));
        assert_eq!(Reader::new(&[5, b'a']).bytes(), Err(Malformed));
    }
}
