//! What names an entry of a stream: a time and a number among the entries of that millisecond, written `ms-seq`.

use std::fmt;
use std::io::Write;
use std::ops::Deref;

/// The name of an entry; entries are in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct EntryId {
    /// Milliseconds, as the server or a client has said.
    pub(crate) ms: u64,
    /// Within the millisecond.
    pub(crate) seq: u64,
}

impl EntryId {
    /// No entry has it, it comes before all.
    pub(crate) const ZERO: EntryId = EntryId { ms: 0, seq: 0 };
    /// The last one that there can be.
    pub(crate) const MAX: EntryId = EntryId { ms: u64::MAX, seq: u64::MAX };

    /// The next one.
    pub(crate) fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(EntryId { seq, ..self }),
            None => Some(EntryId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The one before.
    pub(crate) fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(EntryId { seq, ..self }),
            None => Some(EntryId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// As a client writes it; what it leaves out is `seq_missing`.
    pub(crate) fn parse(text: &[u8], seq_missing: u64) -> Option<Self> {
        match text.iter().position(|byte| *byte == b'-') {
            None => Some(EntryId { ms: number(text)?, seq: seq_missing }),
            Some(dash) => Some(EntryId { ms: number(&text[..dash])?, seq: number(&text[dash + 1..])? }),
        }
    }

    /// As it is written, without an allocation.
    pub(crate) fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; TEXT_BYTES], len: 0 };
        let mut rest = &mut text.bytes[..];
        // It fits: two numbers of at most twenty digits.
        let left = write!(rest, "{self}").map_or(TEXT_BYTES, |()| rest.len());
        text.len = TEXT_BYTES - left;
        text
    }

    /// `ms-*`: the number is to be chosen.
    pub(crate) fn parse_ms(text: &[u8]) -> Option<u64> {
        number(text.strip_suffix(b"-*")?)
    }
}

/// Digits. Redis reads them as C's `strtoull` does, so that leading zeroes, blanks and a plus are right.
fn number(text: &[u8]) -> Option<u64> {
    const TEXT_MAX: usize = 127;
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= TEXT_MAX)?;
    let digits = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    digits.parse().ok()
}

const TEXT_BYTES: usize = 41;

/// A name as text.
pub(crate) struct IdText {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::EntryId;

    #[test]
    fn ids_are_read_and_printed() {
        let id = |ms, seq| Some(EntryId { ms, seq });
        for (text, expected) in [
            ("5", id(5, 7)),
            ("5-0", id(5, 0)),
            ("18446744073709551615-18446744073709551615", Some(EntryId::MAX)),
            ("01-007", id(1, 7)),
            (" +3", id(3, 7)),
            ("18446744073709551616", None),
            ("", None),
            ("-", None),
            ("1-", None),
            ("-1", None),
            ("1-2-3", None),
            ("1-+", None),
            ("x", None),
        ] {
            assert_eq!(EntryId::parse(text.as_bytes(), 7), expected, "{text}");
        }
        assert_eq!(EntryId::parse_ms(b"5-*"), Some(5));
        assert_eq!(EntryId::parse_ms(b"5-*1"), None);
        assert_eq!(&*EntryId::MAX.text(), b"18446744073709551615-18446744073709551615");
        assert_eq!(&*EntryId::ZERO.text(), b"0-0");
    }

    #[test]
    fn neighbours_carry() {
        let last = EntryId { ms: 4, seq: u64::MAX };
        assert_eq!(last.next(), Some(EntryId { ms: 5, seq: 0 }));
        assert_eq!(last.next().and_then(EntryId::previous), Some(last));
        assert_eq!((EntryId::MAX.next(), EntryId::ZERO.previous()), (None, None));
    }
}
