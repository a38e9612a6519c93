//! What is left of a segment that a checkpoint has made unnecessary but for a few messages: these, under their names, in
//! order, in blocks. A file is made for a checkpoint and has its position in its own name: one of a checkpoint that never
//! came to be is worth nothing. Drawn in `docs/log-format.md`.

use crate::error::Error;
use crate::recovery::{fill, read_file};
use crate::storage::{File, Storage};
use leveret_base::codec::Place;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"LEVBODY\n";
const FORMAT: u32 = 1;
pub(crate) const HEAD: usize = 40;
pub(crate) const BLOCK_HEAD: usize = 20;
const ENTRY_HEAD: usize = 16;
/// A block gets no larger, unless it is one message.
const BLOCK_MAX: usize = 128 * 1024;
/// The name of one that is being written.
pub(crate) const UNFINISHED: &str = "bodies.tmp";

/// The rest of this segment, made for the checkpoint of this position.
pub(crate) fn bodies_name(ordinal: u64, checkpoint: u64) -> String {
    format!("{ordinal:020}-{checkpoint:020}.bodies")
}

/// Segment and checkpoint.
pub(crate) fn bodies_of(name: &str) -> Option<(u64, u64)> {
    let (ordinal, checkpoint) = name.strip_suffix(".bodies")?.split_once('-')?;
    let (ordinal, checkpoint) = (ordinal.parse().ok()?, checkpoint.parse().ok()?);
    (bodies_name(ordinal, checkpoint) == name).then_some((ordinal, checkpoint))
}

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodiesHead {
    pub(crate) ordinal: u64,
    /// The first position of the segment.
    pub(crate) first: u64,
    /// How many messages it has.
    pub(crate) count: u64,
}

/// Magic (8), format (4), CRC of all the rest (4), ordinal (8), first position (8), count (8).
fn head_bytes(head: BodiesHead) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.ordinal.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.first.to_le_bytes());
    bytes[32..].copy_from_slice(&head.count.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Reads the head of a file of this name; `None` if it is damaged.
pub(crate) fn read_head(storage: &dyn Storage, name: &str) -> Result<Option<BodiesHead>, Error> {
    let file = storage.open(name).map_err(|error| Error::io("open", name, error))?;
    let mut bytes = [0; HEAD];
    let read = fill(file.as_ref(), &mut bytes, 0).map_err(|error| Error::io("read", name, error))?;
    if read < HEAD {
        return Ok(None);
    }
    let head =
        BodiesHead { ordinal: u64_at(&bytes, 16), first: u64_at(&bytes, 24), count: u64_at(&bytes, 32) };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    if bytes.starts_with(MAGIC) && u32_at(&bytes, 8) != FORMAT && u32_at(&bytes, 12) == crc {
        return Err(Error::corrupt(name, 8, "this format is not known to this version"));
    }
    let is_it =
        bytes == head_bytes(head) && bodies_of(name).map(|(ordinal, _)| ordinal) == Some(head.ordinal);
    Ok(is_it.then_some(head))
}

/// Reads a file from start to end and gives the place of each message.
pub(crate) fn read(storage: &dyn Storage, name: &str, each: &mut dyn FnMut(Place)) -> Result<(), Error> {
    let damaged = || Error::corrupt(name, 0, "the head of a file of messages is damaged");
    let head = read_head(storage, name)?.ok_or_else(damaged)?;
    let file = storage.open(name).map_err(|error| Error::io("open", name, error))?;
    let mut bytes = Vec::new();
    read_file(file.as_ref(), &mut bytes).map_err(|error| Error::io("read", name, error))?;
    let (mut at, mut count) = (HEAD, 0);
    while at < bytes.len() {
        let damaged = |reason: &str| Error::corrupt(name, at, reason);
        let rest = bytes.get(at..).unwrap_or_default();
        let len = glance(rest).map_or(0, |(_, len)| len as usize);
        let block = rest.get(..len).filter(|block| !block.is_empty());
        let block = block.ok_or_else(|| damaged("a block of messages is cut"))?;
        if !is_whole(block, head.ordinal) {
            return Err(damaged("a block's checksum is wrong"));
        }
        let mut within = BLOCK_HEAD;
        while let Some(entry) = block.get(within..within + ENTRY_HEAD) {
            each(Place { position: u64_at(entry, 0), offset: u32_at(entry, 8) });
            within += ENTRY_HEAD + u32_at(entry, 12) as usize;
            count += 1;
        }
        if within != len {
            return Err(damaged("the messages of a block do not have its length"));
        }
        at += len;
    }
    if count != head.count {
        return Err(Error::corrupt(name, at, format!("there are {count} messages of {}", head.count)));
    }
    Ok(())
}

/// Length of what follows (4), CRC of all the rest (4), position and offset of the first message (12).
fn block_head(payload: &[u8], ordinal: u64) -> [u8; BLOCK_HEAD] {
    let mut head = [0; BLOCK_HEAD];
    head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[8..].copy_from_slice(payload.get(..12).unwrap_or(&[0; 12]));
    // Begun with the segment's ordinal: a block of another file is not valid here.
    let crc = crc32c::crc32c_append(ordinal as u32, &head[..4]);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &head[8..]), payload);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What a block's head says, unchecked: its first message, and its length with the head. `None` if there is none.
pub(crate) fn glance(head: &[u8]) -> Option<(Place, u64)> {
    let len = u32_at(head, 0);
    let place = Place { position: u64_at(head, 8), offset: u32_at(head, 16) };
    (len > 0).then_some((place, BLOCK_HEAD as u64 + u64::from(len)))
}

/// The positions of the first and of the last message of a block that is whole.
pub(crate) fn positions(block: &[u8]) -> (u64, u64) {
    let (mut at, first) = (BLOCK_HEAD, u64_at(block, 8));
    let mut last = first;
    while let Some(head) = block.get(at..at + ENTRY_HEAD) {
        last = u64_at(head, 0);
        at += ENTRY_HEAD + u32_at(head, 12) as usize;
    }
    (first, last)
}

/// True if the block is what it was.
pub(crate) fn is_whole(block: &[u8], ordinal: u64) -> bool {
    block.split_at_checked(BLOCK_HEAD).is_some_and(|(head, payload)| head == block_head(payload, ordinal))
}

/// Where in a block a message lies.
pub(crate) fn find(block: &[u8], wanted: Place) -> Option<std::ops::Range<usize>> {
    let mut at = BLOCK_HEAD;
    while let Some(head) = block.get(at..at + ENTRY_HEAD) {
        let place = Place { position: u64_at(head, 0), offset: u32_at(head, 8) };
        let end = at + ENTRY_HEAD + u32_at(head, 12) as usize;
        if place == wanted {
            return (end <= block.len()).then_some(at + ENTRY_HEAD..end);
        }
        if place > wanted {
            return None;
        }
        at = end;
    }
    None
}

/// A file of a fuzzer's blocks, with heads and checksums made right. The length of each is taken from its first two bytes; what
/// is left at the end is one more block.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = head_bytes(BodiesHead { ordinal: 1, first: 1, count: 1 }).to_vec();
    let mut rest = data;
    while let Some((len, behind)) = rest.split_first_chunk::<2>() {
        let (payload, behind) = behind.split_at(usize::from(u16::from_le_bytes(*len)).min(behind.len()));
        bytes.extend_from_slice(&block_head(payload, 1));
        bytes.extend_from_slice(payload);
        rest = behind;
    }
    bytes
}

/// Writes a file. Messages come in order.
pub(crate) struct BodiesWriter {
    file: Arc<dyn File>,
    head: BodiesHead,
    offset: u64,
    payload: Vec<u8>,
}

impl BodiesWriter {
    pub(crate) fn begin(storage: &dyn Storage, ordinal: u64, first: u64) -> Result<Self, Error> {
        let file = storage.create(UNFINISHED).map_err(|error| Error::io("create", UNFINISHED, error))?;
        let head = BodiesHead { ordinal, first, count: 0 };
        Ok(Self { file, head, offset: HEAD as u64, payload: Vec::new() })
    }

    /// True when a block has been written.
    pub(crate) fn put(&mut self, place: Place, message: &[u8]) -> Result<bool, Error> {
        let is_full = !self.payload.is_empty() && self.payload.len() + ENTRY_HEAD + message.len() > BLOCK_MAX;
        if is_full {
            self.flush()?;
        }
        self.payload.extend_from_slice(&place.position.to_le_bytes());
        self.payload.extend_from_slice(&place.offset.to_le_bytes());
        self.payload.extend_from_slice(&(message.len() as u32).to_le_bytes());
        self.payload.extend_from_slice(message);
        self.head.count += 1;
        Ok(is_full)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.file.write_at(bytes, offset).map_err(|error| Error::io("write", UNFINISHED, error))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.write(&block_head(&self.payload, self.head.ordinal), self.offset)?;
        self.write(&self.payload, self.offset + BLOCK_HEAD as u64)?;
        self.offset += (BLOCK_HEAD + self.payload.len()) as u64;
        self.payload.clear();
        Ok(())
    }

    /// Gives the file its name, with all of it on disk; but the directory is not synced. Gives its size and how many messages
    /// it has.
    pub(crate) fn finish(mut self, storage: &dyn Storage, checkpoint: u64) -> Result<(u64, u64), Error> {
        if !self.payload.is_empty() {
            self.flush()?;
        }
        self.write(&head_bytes(self.head), 0)?;
        self.file.sync_data().map_err(|error| Error::io("sync", UNFINISHED, error))?;
        let name = bodies_name(self.head.ordinal, checkpoint);
        storage.rename(UNFINISHED, &name).map_err(|error| Error::io("rename", UNFINISHED, error))?;
        Ok((self.offset, self.head.count))
    }
}
