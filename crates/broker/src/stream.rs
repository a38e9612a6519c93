//! What a stream keeps: messages under offsets that never change, in segments, so that retention takes the oldest of them
//! whole. Nothing is taken out from between, so an offset is a place. It knows nothing of who reads.
//! The trap: where a segment ends follows from what was appended alone, so that replay cuts at the same places.

use crate::arguments::Retention;
use crate::{Message, UnixMillis};
use std::collections::VecDeque;
use std::sync::Arc;

/// A message under its offset.
pub(crate) struct Kept {
    pub(crate) message: Arc<Message>,
    /// When it came.
    pub(crate) at: UnixMillis,
}

/// Messages in a block. Blocks do not grow beyond it, so that an append never moves much.
const BLOCK_LEN: usize = 1024;

/// Messages in a segment, however small they are. (RabbitMQ: as many chunks)
const SEGMENT_LEN_MAX: u64 = 256_000;

/// Messages that leave together.
pub(crate) struct Segment {
    /// The offset of its first message.
    first: u64,
    len: u64,
    bytes: u64,
    /// All are full but the last one.
    blocks: Vec<Vec<Kept>>,
}

impl Segment {
    fn new(first: u64) -> Self {
        Self { first, len: 0, bytes: 0, blocks: Vec::new() }
    }

    /// The offset of its first message.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The offset behind its last message.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.len
    }

    /// The message under an offset.
    pub(crate) fn entry(&self, offset: u64) -> Option<&Kept> {
        let place = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.blocks.get(place / BLOCK_LEN)?.get(place % BLOCK_LEN)
    }

    fn push(&mut self, entry: Kept) {
        self.bytes += entry.message.stored_bytes();
        self.len += 1;
        match self.blocks.last_mut().filter(|block| block.len() < BLOCK_LEN) {
            Some(block) => block.push(entry),
            None => self.blocks.push(vec![entry]),
        }
    }

    /// When its last message came.
    fn last_at(&self) -> Option<UnixMillis> {
        self.blocks.last().and_then(|block| block.last()).map(|entry| entry.at)
    }

    fn is_full(&self, bytes_max: u64) -> bool {
        self.len > 0 && (self.bytes >= bytes_max || self.len >= SEGMENT_LEN_MAX)
    }
}

/// All segments of one stream, the oldest first. The newest one always stays.
#[derive(Default)]
pub(crate) struct Stream {
    segments: VecDeque<Segment>,
    next_offset: u64,
    bytes: u64,
    /// Deliveries so far: many readers may hold one message, so it is not the offset that tells them apart.
    pub(crate) deliveries_count: u64,
}

impl Stream {
    /// The offset of the oldest message, or of the next one while there is none.
    pub(crate) fn first_offset(&self) -> u64 {
        self.segments.front().map_or(self.next_offset, |segment| segment.first)
    }

    /// The offset of the next message.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    pub(crate) fn len(&self) -> usize {
        (self.next_offset - self.first_offset()) as usize
    }

    /// Bytes of messages.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn segments_count(&self) -> usize {
        self.segments.len()
    }

    /// True when a message may come under this offset: the next one, or any after nothing.
    pub(crate) fn may_append(&self, offset: u64) -> bool {
        offset == self.next_offset || (self.segments.is_empty() && offset > self.next_offset)
    }

    /// Appends a message; true when it is the first one of a new segment.
    pub(crate) fn append(&mut self, offset: u64, entry: Kept, segment_bytes_max: u64) -> bool {
        assert!(self.may_append(offset), "the offsets of a stream follow one another");
        self.next_offset = offset + 1;
        self.bytes += entry.message.stored_bytes();
        let last = self.segments.back_mut().filter(|segment| !segment.is_full(segment_bytes_max));
        if let Some(last) = last {
            last.push(entry);
            return false;
        }
        let mut segment = Segment::new(offset);
        segment.push(entry);
        self.segments.push_back(segment);
        true
    }

    /// A segment begins, whether or not the one before is full; false if it cannot begin there.
    pub(crate) fn begin_segment(&mut self, first: u64) -> bool {
        let may_begin = self.may_append(first) && self.segments.back().is_none_or(|last| last.len > 0);
        if may_begin {
            self.next_offset = first;
            self.segments.push_back(Segment::new(first));
        }
        may_begin
    }

    /// The message under an offset.
    pub(crate) fn entry(&self, offset: u64) -> Option<&Kept> {
        let place = self.segments.partition_point(|segment| segment.first <= offset).checked_sub(1)?;
        self.segments.get(place)?.entry(offset)
    }

    // DEVIATION: RabbitMQ begins with the chunk that has it.
    /// The offset of the first message that came at that time or later; the next one if none did.
    pub(crate) fn offset_at(&self, at: UnixMillis) -> u64 {
        // Times never go back along a stream.
        let (mut low, mut high) = (self.first_offset(), self.next_offset);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle) {
                Some(entry) if entry.at < at => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        low
    }

    /// When its messages came that are the newest of all.
    pub(crate) fn last_at(&self) -> UnixMillis {
        self.segments.back().and_then(Segment::last_at).unwrap_or(0)
    }

    /// True when it has more bytes than it may, and an old segment to lose.
    pub(crate) fn is_overfull(&self, retention: &Retention) -> bool {
        self.segments.len() > 1 && retention.bytes_max.is_some_and(|max| self.bytes > max)
    }

    /// When its oldest segment becomes too old.
    pub(crate) fn next_due(&self, retention: &Retention) -> Option<UnixMillis> {
        let age_max_ms = retention.age_max_ms?;
        let last_at = self.segments.front().filter(|_| self.segments.len() > 1)?.last_at()?;
        Some(last_at.saturating_add(age_max_ms).saturating_add(1))
    }

    /// The offset from which on it keeps what it has, if its first segments must go: so many of them at most.
    pub(crate) fn retained_from(
        &self,
        retention: &Retention,
        now_ms: UnixMillis,
        segments_max: usize,
    ) -> Option<u64> {
        let mut bytes = self.bytes;
        let must_go = |segment: &Segment, bytes: u64| {
            let is_old = |age| segment.last_at().is_some_and(|at| at.saturating_add(age) < now_ms);
            retention.bytes_max.is_some_and(|max| bytes > max) || retention.age_max_ms.is_some_and(is_old)
        };
        let mut gone = 0;
        for segment in self.segments.iter().take(self.segments.len().saturating_sub(1).min(segments_max)) {
            if !must_go(segment, bytes) {
                break;
            }
            bytes -= segment.bytes;
            gone += 1;
        }
        if gone == 0 { None } else { self.segments.get(gone).map(|segment| segment.first) }
    }

    /// Takes out the segments that lie before an offset, but for the newest one.
    pub(crate) fn truncate(&mut self, first: u64) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.segments.get(1).is_some_and(|next| next.first <= first)
            && let Some(segment) = self.segments.pop_front()
        {
            self.bytes -= segment.bytes;
            gone.push(segment);
        }
        gone
    }

    /// Its segments, the oldest first.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Takes all segments out.
    pub(crate) fn take_segments(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.segments).into()
    }

    /// Where its segments begin.
    pub(crate) fn segment_firsts(&self) -> impl Iterator<Item = u64> {
        self.segments.iter().map(|segment| segment.first)
    }

    /// All messages in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.segments.iter().flat_map(|segment| segment.blocks.iter().flatten())
    }
}

/// How many messages these segments have.
pub(crate) fn messages_count(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.len as usize).sum()
}
