//! What a stream keeps: messages under offsets that never change, in segments, so that retention takes the oldest of them
//! whole. Nothing is taken out from between, so an offset is a place. It knows nothing of who reads.
//! The trap: where a segment ends follows from what was appended alone, so that replay cuts at the same places.

mod block;

use crate::arguments::Retention;
use crate::body::{Body, BodyRef, PageOut};
use crate::broker::InMemory;
use crate::entries::{Memory, Wanting};
use crate::{Message, UnixMillis};
use block::Block;
pub(crate) use block::Kept;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Messages in a segment, however small they are. (RabbitMQ: as many chunks)
const SEGMENT_LEN_MAX: u64 = 256_000;

/// Messages that leave together.
pub(crate) struct Segment {
    /// The offset of its first message.
    first: u64,
    len: u64,
    bytes: u64,
    blocks: Vec<Block>,
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

    fn block_of(&self, offset: u64) -> Option<usize> {
        self.blocks.partition_point(|block| block.first() <= offset).checked_sub(1)
    }

    /// The message under an offset.
    pub(crate) fn entry(&self, offset: u64) -> Option<Kept<'_>> {
        let block = self.blocks.get(self.block_of(offset)?)?;
        block.get(usize::try_from(offset - block.first()).ok()?)
    }

    fn push(&mut self, body: Body, at: UnixMillis) {
        let offset = self.end();
        self.bytes += stored_bytes(&body);
        self.len += 1;
        let left = match self.blocks.last_mut() {
            Some(block) => block.push(body, at),
            None => Some(body),
        };
        if let Some(body) = left {
            let mut block = Block::new(offset, &body);
            let left = block.push(body, at);
            assert!(left.is_none(), "an empty block takes what it was made for");
            self.blocks.push(block);
        }
    }

    /// When its last message came.
    fn last_at(&self) -> Option<UnixMillis> {
        self.blocks.last().and_then(Block::last_at)
    }

    fn is_full(&self, bytes_max: u64) -> bool {
        self.len > 0 && (self.bytes >= bytes_max || self.len >= SEGMENT_LEN_MAX)
    }
}

/// Bytes of all that a message consists of.
fn stored_bytes(body: &Body) -> u64 {
    match body.as_ref() {
        BodyRef::Here(message) => message.stored_bytes(),
        BodyRef::Away(away) => away.body_len.into(),
    }
}

/// Blocks that one append lets go of.
const PAGED_OUT_MAX: usize = 4;
/// Blocks that are in memory for those who read, beside two for each consumer.
const READ_MIN: usize = 2;

/// All segments of one stream, the oldest first. The newest one always stays.
pub(crate) struct Stream {
    segments: VecDeque<Segment>,
    next_offset: u64,
    bytes: u64,
    /// Deliveries so far: many readers may hold one message, so it is not the offset that tells them apart.
    pub(crate) deliveries_count: u64,
    memory: Memory,
    /// What lies below was let go of, or cannot be.
    paged_out: u64,
    /// Offsets of the first messages of what was asked for and has not come.
    asked: BTreeSet<u64>,
    /// Likewise of what is in memory for those who read, the oldest first.
    read: VecDeque<u64>,
}

impl Stream {
    /// An empty one; `all` counts the bytes of messages in memory.
    pub(crate) fn new(all: &Arc<InMemory>) -> Self {
        Self {
            segments: VecDeque::new(),
            next_offset: 0,
            bytes: 0,
            deliveries_count: 0,
            memory: Memory::new(all),
            paged_out: 0,
            asked: BTreeSet::new(),
            read: VecDeque::new(),
        }
    }

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
    pub(crate) fn append(&mut self, offset: u64, body: Body, at: UnixMillis, segment_bytes_max: u64) -> bool {
        assert!(self.may_append(offset), "the offsets of a stream follow one another");
        self.next_offset = offset + 1;
        self.bytes += stored_bytes(&body);
        if let Body::Here(message) = &body {
            self.memory.add(message.size() as u64);
        }
        let last = self.segments.back_mut().filter(|segment| !segment.is_full(segment_bytes_max));
        if let Some(last) = last {
            last.push(body, at);
            return false;
        }
        let mut segment = Segment::new(offset);
        segment.push(body, at);
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

    fn segment_of(&self, offset: u64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.first <= offset).checked_sub(1)
    }

    fn block_of(&self, offset: u64) -> Option<&Block> {
        let segment = self.segments.get(self.segment_of(offset)?)?;
        segment.blocks.get(segment.block_of(offset)?)
    }

    fn block_of_mut(&mut self, offset: u64) -> Option<&mut Block> {
        let place = self.segment_of(offset)?;
        let segment = self.segments.get_mut(place)?;
        let place = segment.block_of(offset)?;
        segment.blocks.get_mut(place)
    }

    /// The message under an offset, in memory if it is there.
    pub(crate) fn entry(&self, offset: u64) -> Option<Kept<'_>> {
        let block = self.block_of(offset)?;
        block.look(usize::try_from(offset - block.first()).ok()?)
    }

    /// Lets go of the oldest messages in memory, as far as the log has them.
    pub(crate) fn page_out(&mut self, may: PageOut<'_>) {
        self.paged_out = self.paged_out.max(self.first_offset());
        for _ in 0..PAGED_OUT_MAX {
            let Some(end) = self.block_of(self.paged_out).map(Block::end) else { return };
            // Two blocks stay for those who read at the end, unless there is next to no memory.
            let stays = || self.block_of(end).is_none_or(|next| next.end() == self.next_offset);
            if end <= self.paged_out || may.head_bytes > 0 && stays() {
                return;
            }
            let Some(block) = self.block_of_mut(end - 1) else { return };
            let bytes = block.memory();
            if block.page_out(may) {
                self.memory.subtract(bytes);
            }
            self.paged_out = end;
        }
    }

    /// What has to be read so that a message is in memory, and those around it; each once.
    pub(crate) fn wanted(&mut self, offset: u64) -> Option<Wanting> {
        let wanted = self.block_of(offset)?.wanted();
        let (first, _) = *wanted.first()?;
        self.asked.insert(first).then_some(wanted)
    }

    /// Likewise what comes behind it.
    pub(crate) fn wanted_ahead(&mut self, offset: u64) -> Option<Wanting> {
        let block = self.block_of(offset).filter(|block| block.first() == offset)?;
        self.wanted(block.end())
    }

    /// Everything that is not in memory and was not asked for.
    pub(crate) fn wanted_at_all(&mut self) -> Vec<Wanting> {
        let blocks = self.segments.iter().flat_map(|segment| &segment.blocks);
        let all = blocks
            .map(Block::wanted)
            .filter(|wanted| wanted.first().is_some_and(|(first, _)| self.asked.insert(*first)));
        all.collect()
    }

    /// Messages have been read that were asked for from an offset on, up to what could not be read. What was read longest ago goes, where there is more than so
    /// many consumers need.
    pub(crate) fn page_in(&mut self, first: u64, messages: &[(u64, Arc<Message>)], consumers: usize) {
        self.asked.remove(&first);
        let Some(block) = self.block_of_mut(first) else { return };
        let (first, before) = (block.first(), block.memory());
        let bytes = block.page_in(messages);
        if bytes == 0 {
            return;
        }
        self.memory.add(bytes);
        if before == 0 {
            self.read.push_back(first);
        }
        while self.read.len() > READ_MIN + 2 * consumers
            && let Some(first) = self.read.pop_front()
        {
            // It may have left.
            let bytes =
                self.block_of_mut(first).filter(|block| block.first() == first).map_or(0, Block::forget);
            self.memory.subtract(bytes);
        }
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
            self.memory.subtract(segment.blocks.iter().map(Block::memory).sum());
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = Kept<'_>> {
        self.segments.iter().flat_map(|segment| segment.blocks.iter().flat_map(Block::iter))
    }
}

/// How many messages these segments have.
pub(crate) fn messages_count(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.len as usize).sum()
}
