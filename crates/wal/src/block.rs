//! The format on disk: segment heads, blocks, and the records inside a block. Reading trusts nothing.

use crate::sums::Sums;
use crate::tail::{Head, RECORD_HEAD, Record};

pub(crate) const SEGMENT_HEAD: usize = 32;
pub(crate) const BLOCK_HEAD: usize = 48;
pub(crate) const FORMAT: u8 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"LEVERET\n";
const BLOCK_MAGIC: u32 = 0x4b42_564c;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    /// Whole records.
    Whole = 0,
    /// The first part of one record that goes on in the next block.
    First = 1,
    /// A part between.
    Middle = 2,
    /// The last part: only now the record is valid.
    Last = 3,
}

/// What a block says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockHead {
    pub(crate) part: Part,
    /// Head of the first record; its kind is not used, its time is the base that records count from.
    pub(crate) first: Head,
    /// The last position that was synced when this block was written: a damaged block at or below a number that a
    /// later block gives had been on disk, so the damage is not the trace of a power cut.
    pub(crate) synced: u64,
}

/// Magic (8), format (4), CRC of all the rest (4), ordinal (8), position of the first record or part (8).
pub(crate) fn segment_head(ordinal: u64, first: u64) -> [u8; SEGMENT_HEAD] {
    let mut head = [0; SEGMENT_HEAD];
    head[..8].copy_from_slice(SEGMENT_MAGIC);
    head[8] = FORMAT;
    head[16..24].copy_from_slice(&ordinal.to_le_bytes());
    head[24..].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..]);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The position of the first record, `None` if the head is torn or was never written, `Err` for an unknown format.
pub(crate) fn read_segment_head(bytes: &[u8], ordinal: u64) -> Result<Option<u64>, String> {
    let Some(head) = bytes.get(..SEGMENT_HEAD) else { return Ok(None) };
    let first = u64_at(head, 24);
    if head == segment_head(ordinal, first) {
        return Ok(Some(first));
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..]);
    if head.starts_with(SEGMENT_MAGIC) && crc == u32_at(head, 12) {
        if u32_at(head, 8) != u32::from(FORMAT) {
            return Err(format!("segment format {} is not known to this version", u32_at(head, 8)));
        }
        return Err(format!("this is segment {}, not {ordinal}", u64_at(head, 16)));
    }
    Ok(None)
}

/// Fills the head of a block whose payload stands behind it in `block`.
pub(crate) fn seal(block: &mut [u8], head: &BlockHead, ordinal: u64) {
    let len = (block.len() - BLOCK_HEAD) as u32;
    block[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
    block[4..8].copy_from_slice(&len.to_le_bytes());
    block[12] = FORMAT;
    block[13] = head.part as u8;
    block[14..16].copy_from_slice(&head.first.partition.to_le_bytes());
    block[16..24].copy_from_slice(&head.first.term.to_le_bytes());
    block[24..32].copy_from_slice(&head.first.position.to_le_bytes());
    block[32..40].copy_from_slice(&head.first.time_ms.to_le_bytes());
    block[40..48].copy_from_slice(&head.synced.to_le_bytes());
    let crc = checksum(block, ordinal);
    block[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Makes head and checksum of damaged bytes right, so that a fuzzer gets behind them. Length and fields stay.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn reseal(block: &mut [u8], ordinal: u64) {
    let len = (block.len() - BLOCK_HEAD) as u32;
    block[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
    block[4..8].copy_from_slice(&len.to_le_bytes());
    let crc = checksum(block, ordinal);
    block[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Over everything but itself, seeded with the segment's ordinal: a block of the file's earlier life is not valid.
fn checksum(block: &[u8], ordinal: u64) -> u32 {
    let crc = crc32c::crc32c_append(ordinal as u32, &block[..8]);
    crc32c::crc32c_append(crc, &block[12..])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Milliseconds since the block's time base: six bytes.
pub(crate) fn delta_at(record: &[u8]) -> u64 {
    let mut delta = [0; 8];
    let from = record.get(5..RECORD_HEAD).unwrap_or(&[0; 6]);
    delta[..6].copy_from_slice(from);
    u64::from_le_bytes(delta)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// What stands at an offset.
pub(crate) enum Found<'a> {
    /// A valid block with its payload.
    Block(BlockHead, &'a [u8]),
    /// Nothing was ever written there.
    End,
    /// Something else: torn or damaged.
    Damaged(&'static str),
}

/// What a block's head says of itself, unchecked: the position of its first record, its length with the head, and whether
/// a record begins in it. `None` if it is no head.
pub(crate) fn glance(head: &[u8]) -> Option<(u64, usize, bool)> {
    let is_head = head.len() >= BLOCK_HEAD && u32_at(head, 0) == BLOCK_MAGIC;
    let begins = is_head && matches!(head.get(13), Some(0 | 1));
    is_head.then(|| (u64_at(head, 24), BLOCK_HEAD + u32_at(head, 4) as usize, begins))
}

/// Reads the block at the start of `bytes`. `Err` is a format from the future.
pub(crate) fn read(bytes: &[u8], ordinal: u64) -> Result<Found<'_>, String> {
    let Some(head) = bytes.get(..BLOCK_HEAD) else {
        return Ok(if bytes.iter().all(|&b| b == 0) {
            Found::End
        } else {
            Found::Damaged("a block's head is cut")
        });
    };
    if head.iter().all(|&b| b == 0) {
        return Ok(Found::End);
    }
    if u32_at(head, 0) != BLOCK_MAGIC {
        return Ok(Found::Damaged("there is no block where one should begin"));
    }
    let len = u32_at(head, 4) as usize;
    let Some(block) = bytes.get(..BLOCK_HEAD + len) else { return Ok(Found::Damaged("a block is cut")) };
    if checksum(block, ordinal) != u32_at(head, 8) {
        return Ok(Found::Damaged("a block's checksum is wrong"));
    }
    if head[12] != FORMAT {
        return Err(format!("block format {} is not known to this version", head[12]));
    }
    let part = match head[13] {
        0 => Part::Whole,
        1 => Part::First,
        2 => Part::Middle,
        3 => Part::Last,
        other => return Err(format!("block part {other} is not known to this version")),
    };
    let partition = u16::from_le_bytes([head[14], head[15]]);
    let first = Head {
        kind: 0,
        partition,
        term: u64_at(head, 16),
        position: u64_at(head, 24),
        time_ms: u64_at(head, 32),
    };
    Ok(Found::Block(
        BlockHead { part, first, synced: u64_at(head, 40) },
        block.get(BLOCK_HEAD..).unwrap_or_default(),
    ))
}

/// Where something stands, at or behind a place, that looks like the head of a block.
pub(crate) fn next_head(bytes: &[u8], mut from: usize) -> Option<usize> {
    let first = BLOCK_MAGIC.to_le_bytes()[0];
    loop {
        let at = from + bytes.get(from..)?.iter().position(|&byte| byte == first)?;
        if glance(bytes.get(at..)?).is_some() {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Blocks at or behind a place, wherever they begin. Each byte is looked at a few times only, whatever clients have written.
struct Search<'a> {
    bytes: &'a [u8],
    at: usize,
    ordinal: u64,
    sums: Option<Sums<'a>>,
}

impl<'a> Search<'a> {
    fn new(bytes: &'a [u8], from: usize, ordinal: u64) -> Self {
        Self { bytes, at: from, ordinal, sums: None }
    }

    /// The next valid block of which the unchecked head is `likely` what is looked for. It goes on behind that block.
    fn next(&mut self, likely: impl Fn(&[u8]) -> bool) -> Option<(BlockHead, &'a [u8])> {
        loop {
            self.at = next_head(self.bytes, self.at)?;
            let rest = self.bytes.get(self.at..)?;
            if likely(rest)
                && self.has_its_sum()
                && let Ok(Found::Block(head, payload)) = read(rest, self.ordinal)
            {
                self.at += BLOCK_HEAD + payload.len();
                return Some((head, payload));
            }
            self.at += 1;
        }
    }

    /// Does what begins here have the checksum of a block?
    fn has_its_sum(&mut self) -> bool {
        let (bytes, at) = (self.bytes, self.at);
        let Some(head) = bytes.get(at..at + BLOCK_HEAD) else { return false };
        let end = at + BLOCK_HEAD + u32_at(head, 4) as usize;
        if end > bytes.len() {
            return false;
        }
        let sums = self.sums.get_or_insert_with(|| Sums::new(bytes, at));
        let begun = crc32c::crc32c_append(self.ordinal as u32, &head[..8]);
        sums.appended(begun, at + 12..end) == u32_at(head, 8)
    }
}

/// True when a valid block at or behind `from` says that `position` had been synced.
pub(crate) fn proves_synced(bytes: &[u8], from: usize, ordinal: u64, position: u64) -> bool {
    let says_so = |head: &[u8]| u64_at(head, 40) >= position && u64_at(head, 40) < u64_at(head, 24);
    Search::new(bytes, from, ordinal).next(says_so).is_some()
}

/// The last position of valid blocks at or behind `from`: what somebody loses who cuts there, as far as that can be told.
pub(crate) fn last_position(bytes: &[u8], from: usize, ordinal: u64) -> Option<u64> {
    let (mut search, mut last) = (Search::new(bytes, from, ordinal), None);
    while let Some((head, payload)) = search.next(|_| true) {
        // One without records says only what had been synced.
        let count = match head.part {
            Part::Whole => Records::new(head.first, payload).count() as u64,
            Part::First | Part::Middle | Part::Last => 1,
        };
        last = last.max(head.first.position.checked_add(count).and_then(|end| end.checked_sub(1)));
    }
    last
}

/// The records of a payload, or of one that was put together from parts.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    next: Head,
    base_ms: u64,
}

impl<'a> Records<'a> {
    pub(crate) fn new(first: Head, payload: &'a [u8]) -> Self {
        Self { rest: payload, next: first, base_ms: first.time_ms }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let len = u32_at(self.rest, 0) as usize;
        let Some(changes) = self.rest.get(RECORD_HEAD..RECORD_HEAD + len) else {
            self.rest = &[];
            return Some(Err("a record is longer than its block"));
        };
        let head = Head {
            kind: self.rest[4],
            time_ms: self.base_ms.saturating_add(delta_at(self.rest)),
            ..self.next
        };
        self.rest = self.rest.get(RECORD_HEAD + len..).unwrap_or_default();
        self.next.position = self.next.position.wrapping_add(1);
        Some(Ok(Record { head, changes }))
    }
}

/// How many whole records, and how many bytes of them, fit into `room`.
pub(crate) fn fitting(payload: &[u8], room: usize) -> (u64, usize) {
    let (mut count, mut at) = (0, 0);
    while at < payload.len() {
        let len = RECORD_HEAD + u32_at(payload, at) as usize;
        if at + len > room {
            break;
        }
        at += len;
        count += 1;
    }
    (count, at)
}

/// The length of the first record of a payload, with its head.
pub(crate) fn first_record_len(payload: &[u8]) -> usize {
    RECORD_HEAD + u32_at(payload, 0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(position: u64, synced: u64, payload: &[u8], ordinal: u64) -> Vec<u8> {
        let mut block = [&[0; BLOCK_HEAD], payload].concat();
        let first = Head { kind: 0, partition: 0, term: 1, position, time_ms: 9 };
        seal(&mut block, &BlockHead { part: Part::Whole, first, synced }, ordinal);
        block
    }

    /// A record of a client's bytes.
    fn record(changes: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD_HEAD];
        record[..4].copy_from_slice(&(changes.len() as u32).to_le_bytes());
        record.extend_from_slice(changes);
        record
    }

    #[test]
    fn blocks_are_found_wherever_they_begin() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..60 {
            let mut bytes = vec![b'L'; random.usize(..90)];
            let mut last = None;
            for _ in 0..random.usize(..4) {
                let position = random.u64(1..1000);
                let mut one = block(position, 7, &record(&vec![b'L'; random.usize(..3000)]), 3);
                if random.bool() {
                    let damaged = random.usize(..one.len());
                    one[damaged] ^= 1;
                } else {
                    last = last.max(Some(position));
                }
                bytes.extend_from_slice(&one);
                bytes.extend((0..random.usize(..40)).map(|_| b'V'));
            }
            assert_eq!(last_position(&bytes, 0, 3), last);
            assert_eq!(last_position(&bytes, 0, 4), None);
            assert_eq!(proves_synced(&bytes, 0, 3, 7), last > Some(7));
            assert!(!proves_synced(&bytes, 0, 3, 8));
        }
    }

    /// Each head claims everything behind it: with a sum over that for each of them this would take for ever.
    #[test]
    fn heads_that_a_client_has_made_up_cost_little() {
        const LEN: usize = 3 * 1024 * 1024;
        let mut bytes = Vec::with_capacity(LEN);
        while bytes.len() + BLOCK_HEAD <= LEN {
            let mut head = [0; BLOCK_HEAD];
            head[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
            head[4..8].copy_from_slice(&((LEN - bytes.len() - BLOCK_HEAD) as u32).to_le_bytes());
            head[24..32].copy_from_slice(&(1u64 << 41).to_le_bytes());
            head[40..48].copy_from_slice(&(1u64 << 40).to_le_bytes());
            bytes.extend_from_slice(&head);
        }
        bytes.resize(LEN, 0);
        bytes.extend_from_slice(&block(30, 20, &record(b"real"), 1));
        assert!(proves_synced(&bytes, 0, 1, 19));
        assert!(!proves_synced(&bytes, 0, 1, 21));
        assert_eq!(last_position(&bytes, 0, 1), Some(30));
    }
}
