//! Records that nobody has written yet, encoded in place: room for a block's head, then records back to back. In
//! steady state appending allocates nothing.

use crate::block::BLOCK_HEAD;

/// What every record says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the record is; a reader stops at a kind it does not know.
    pub kind: u8,
    /// Which engine's.
    pub partition: u16,
    /// The leader's term.
    pub term: u64,
    /// The commit's number; contiguous.
    pub position: u64,
    /// When it was committed; never decreases.
    pub time_ms: u64,
}

/// A record, as a reader gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its head.
    pub head: Head,
    /// Its changes.
    pub changes: &'a [u8],
}

/// Length of the changes (4), kind (1), milliseconds since the first record of the tail (6).
pub(crate) const RECORD_HEAD: usize = 11;
/// A tail that grew beyond this gives its memory back.
const KEPT: usize = 4 * 1024 * 1024;

/// Pending records.
pub struct Tail {
    pub(crate) bytes: Vec<u8>,
    /// The head of the first record.
    pub(crate) first: Option<Head>,
    pub(crate) last_position: u64,
    open: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { bytes: vec![0; BLOCK_HEAD], first: None, last_position: 0, open: 0 }
    }
}

impl Tail {
    /// Opens a record.
    #[inline]
    pub fn begin(&mut self) {
        self.open = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEAD]);
    }

    /// Where the open record's changes are appended.
    #[inline]
    pub fn changes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Closes the open record.
    pub fn commit(&mut self, head: Head) {
        let first = *self.first.get_or_insert(head);
        assert!(
            first.partition == head.partition && first.term == head.term,
            "a tail belongs to one partition and term"
        );
        let len = u32::try_from(self.bytes.len() - self.open - RECORD_HEAD)
            .expect("a commit is far smaller than 4 GiB");
        assert!(first == head || head.position == self.last_position + 1, "positions are contiguous");
        let delta = head.time_ms.saturating_sub(first.time_ms);
        assert!(delta < 1 << 48, "a commit time is far below 8,000 years");
        let at = self.open;
        self.bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
        self.bytes[at + 4] = head.kind;
        self.bytes[at + 5..at + RECORD_HEAD].copy_from_slice(&delta.to_le_bytes()[..6]);
        self.last_position = head.position;
    }

    /// Drops the open record.
    pub fn abort(&mut self) {
        self.bytes.truncate(self.open);
    }

    /// Moves the records that were committed into an empty tail; the open one stays.
    pub fn take_committed(&mut self, empty: &mut Self) {
        let open = self.bytes.split_off(self.open);
        std::mem::swap(self, empty);
        self.open = self.bytes.len();
        self.bytes.extend_from_slice(&open);
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The number of the last record that was committed here, 0 before the first.
    pub fn last_position(&self) -> u64 {
        self.last_position
    }

    /// Bytes of the records, with their heads.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() - BLOCK_HEAD
    }

    /// Forgets the first bytes, which are whole records; `first` is the head of the record behind them.
    pub(crate) fn drop_front(&mut self, bytes: usize, first: Head) {
        self.bytes.drain(..bytes);
        self.first = Some(first);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(BLOCK_HEAD);
        if self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
        self.first = None;
    }
}
