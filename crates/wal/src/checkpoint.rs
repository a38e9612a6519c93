//! Checkpoints on disk: what the state was at one position, as blocks of changes whose meaning is not known here. A file
//! gets its name when it is whole and on disk; then the segments that it makes unnecessary go, but for the messages that it
//! has by name only. A failure costs the checkpoint, never the log.

use crate::bodies::bodies_of;
use crate::error::Error;
use crate::log::{Shared, Syncer, segment_name, segment_ordinal};
use crate::names;
use crate::rewrite;
use crate::storage::{File, Storage};
use crate::units::Unit;
use leveret_base::codec::Name;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which state a checkpoint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointHead {
    /// The last position that is in it.
    pub position: u64,
    /// When it began, in milliseconds since 1970.
    pub time_ms: u64,
}

const MAGIC: &[u8; 8] = b"LEVCKPT\n";
pub(crate) const FORMAT: u32 = 1;
const HEAD: usize = 32;
const BLOCK_HEAD: usize = 16;
/// Added to the number of a block of names.
const OF_NAMES: u64 = 1 << 63;
/// The name of one that is being written.
pub(crate) const UNFINISHED: &str = "checkpoint.tmp";

pub(crate) fn checkpoint_name(position: u64) -> String {
    format!("{position:020}.checkpoint")
}

pub(crate) fn checkpoint_position(name: &str) -> Option<u64> {
    let position = name.strip_suffix(".checkpoint")?.parse().ok()?;
    (checkpoint_name(position) == name).then_some(position)
}

/// Magic (8), format (4), CRC of all the rest (4), position (8), time (8).
fn file_head(head: CheckpointHead) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.position.to_le_bytes());
    bytes[24..].copy_from_slice(&head.time_ms.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Length (4), CRC of all the rest (4), number (8). A length of 0 is the end.
fn block_head(payload: &[u8], number: u64, position: u64) -> [u8; BLOCK_HEAD] {
    let mut head = [0; BLOCK_HEAD];
    head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[8..].copy_from_slice(&number.to_le_bytes());
    // Begun with the position: a block of another checkpoint is not valid here.
    let crc = crc32c::crc32c_append(position as u32, &head[..4]);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &head[8..]), payload);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The hand of whoever writes checkpoints. One thread uses it.
#[derive(Clone)]
pub struct Checkpoints {
    pub(crate) shared: Arc<Shared>,
    /// How long the message is that stands first; nothing else is known of what is in records.
    pub(crate) message_len: fn(&[u8]) -> Option<usize>,
}

/// A checkpoint that is being written.
pub struct CheckpointWriter {
    head: CheckpointHead,
    file: Arc<dyn File>,
    offset: u64,
    blocks: u64,
    /// How much of it is on disk for certain.
    synced: u64,
    /// What had been written to the log when it began.
    logged_before: u64,
}

/// What a new checkpoint has made unnecessary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// How large the checkpoint is.
    pub checkpoint_bytes: u64,
    /// Segments removed, or but for a few messages.
    pub segments: usize,
    /// How many of them an archive should have got first: too many were waiting for it.
    pub given_up: usize,
    /// Bytes that are kept for messages which the checkpoint has by name only.
    pub kept_bytes: u64,
}

impl Checkpoints {
    /// Begins a file.
    pub fn begin(&self, head: CheckpointHead) -> Result<CheckpointWriter, Error> {
        let create = || -> io::Result<Arc<dyn File>> {
            let file = self.shared.storage.create(UNFINISHED)?;
            file.write_at(&file_head(head), 0)?;
            Ok(file)
        };
        let file = create().map_err(|e| Error::io("create", UNFINISHED, e))?;
        let logged_before = self.shared.logged.load(Ordering::Relaxed);
        Ok(CheckpointWriter { head, file, offset: HEAD as u64, blocks: 0, synced: 0, logged_before })
    }

    /// Gives up; what was written goes.
    pub fn abandon(&self, writer: CheckpointWriter) {
        drop(writer);
        // If it stays, the next one or the next start removes it.
        let _ = self.shared.storage.remove(UNFINISHED);
    }

    /// Makes the checkpoint the one to begin with, and removes what comes before it: older checkpoints and segments.
    pub fn publish(&self, writer: CheckpointWriter) -> Result<Reclaimed, Error> {
        self.publish_resting(writer, &mut || ())
    }

    /// Likewise, and calls `rest` again and again while messages are copied.
    pub fn publish_resting(
        &self,
        mut writer: CheckpointWriter,
        rest: &mut dyn FnMut(),
    ) -> Result<Reclaimed, Error> {
        writer.put(&[], false)?;
        let CheckpointWriter { head, file, offset, logged_before, .. } = writer;
        file.sync_data().map_err(|e| Error::io("sync", UNFINISHED, e))?;
        // What is not on disk in the log must not be in a checkpoint either.
        if self.shared.synced.load(Ordering::Acquire) < head.position {
            Syncer { shared: Arc::clone(&self.shared) }.sync()?;
        }
        if self.shared.synced.load(Ordering::Acquire) < head.position {
            // The disk was full before the log had all of it.
            return Err(Error::io("write", "the log", io::ErrorKind::StorageFull.into()));
        }
        if newest_position(self.shared.storage.as_ref())? == Some(head.position) {
            return self.publish_again(head.position, logged_before);
        }
        let each_name = |each: &mut dyn FnMut(Name)| each_name(file.as_ref(), UNFINISHED, head, each);
        let left = rewrite::keep(&self.shared, head.position, &each_name, self.message_len, rest)?;
        let (storage, name) = (&self.shared.storage, checkpoint_name(head.position));
        storage.rename(UNFINISHED, &name).map_err(|e| Error::io("rename", UNFINISHED, e))?;
        storage.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
        self.shared.logged.fetch_sub(logged_before, Ordering::Relaxed);
        self.shared.checkpoint_bytes.store(offset, Ordering::Relaxed);
        self.shared.kept_bytes.store(left.bytes, Ordering::Relaxed);
        self.shared.names.store(left.names, Ordering::Relaxed);
        self.shared.checkpointed.store(head.position, Ordering::Relaxed);
        {
            let mut units = self.shared.segments.lock();
            let after = units.get(left.before..).unwrap_or_default();
            *units = Arc::new(left.units.iter().chain(after).copied().collect());
        }
        let kept_bytes = left.bytes;
        Ok(Reclaimed { checkpoint_bytes: offset, kept_bytes, ..self.remove_unnecessary()? })
    }

    /// There is one of this position already, so of the same state. The new one may have more as a whole and less by name, but
    /// what the old one names is copied under this position, and backups may have it: the old one stays.
    fn publish_again(&self, position: u64, logged_before: u64) -> Result<Reclaimed, Error> {
        let storage = &self.shared.storage;
        storage.remove(UNFINISHED).map_err(|e| Error::io("remove", UNFINISHED, e))?;
        // The one before may have failed at this.
        storage.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
        self.shared.logged.fetch_sub(logged_before, Ordering::Relaxed);
        self.shared.checkpointed.store(position, Ordering::Relaxed);
        let [checkpoint_bytes, kept_bytes] = [&self.shared.checkpoint_bytes, &self.shared.kept_bytes]
            .map(|bytes| bytes.load(Ordering::Relaxed));
        Ok(Reclaimed { checkpoint_bytes, kept_bytes, ..self.remove_unnecessary()? })
    }

    /// True when something that the last checkpoint makes unnecessary may still be there.
    pub fn has_left_over(&self) -> bool {
        self.shared.left_over.load(Ordering::Relaxed)
    }

    /// Bytes written to the log since the last checkpoint began.
    pub fn logged_bytes(&self) -> u64 {
        self.shared.logged.load(Ordering::Relaxed)
    }

    /// Bytes of the last checkpoint, 0 without.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.shared.checkpoint_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are kept for messages which the last checkpoint has by name only, and how many names those are.
    pub fn kept(&self) -> [u64; 2] {
        [&self.shared.kept_bytes, &self.shared.names].map(|number| number.load(Ordering::Relaxed))
    }

    /// How large a segment gets.
    pub fn segment_bytes(&self) -> u64 {
        self.shared.segment_bytes
    }

    /// Removes what the last checkpoint makes unnecessary, as far as nobody keeps it. Only the thread that writes checkpoints
    /// calls this.
    pub fn remove_unnecessary(&self) -> Result<Reclaimed, Error> {
        let Shared { storage, segments, segment_bytes, checkpointed, left_over, .. } = &*self.shared;
        let position = checkpointed.load(Ordering::Relaxed);
        // Until it is through.
        left_over.store(true, Ordering::Relaxed);
        let kept = storage.kept().map_err(|e| Error::io("read", "what is kept", e))?;
        let units = Arc::clone(&segments.lock());
        let needed: BTreeSet<String> = units.iter().map(Unit::name).collect();
        // Segments that have begun meanwhile come behind these.
        let end = units.last().map_or(0, |unit| unit.ordinal);
        let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
        let (mut ordinals, mut old) = (Vec::new(), Vec::new());
        for name in names.into_iter().filter(|name| !needed.contains(name)) {
            if let Some(ordinal) = segment_ordinal(&name) {
                ordinals.extend((ordinal < end).then_some(ordinal));
            } else if checkpoint_position(&name).is_some_and(|at| at < position) || bodies_of(&name).is_some()
            {
                old.push(name);
            }
        }
        ordinals.sort_unstable();
        let (removable, given_up) = kept.removable(&ordinals, *segment_bytes);
        let is_left = removable < ordinals.len() || kept.all && !old.is_empty();
        let gone = ordinals.into_iter().take(removable).map(segment_name);
        for name in gone.chain(old.into_iter().filter(|_| !kept.all)) {
            storage.remove(&name).map_err(|e| Error::io("remove", &name, e))?;
        }
        left_over.store(is_left, Ordering::Relaxed);
        Ok(Reclaimed { segments: removable, given_up, ..Reclaimed::default() })
    }
}

impl CheckpointWriter {
    /// Appends a block of whole changes.
    pub fn write(&mut self, changes: &[u8]) -> Result<(), Error> {
        if changes.is_empty() { Ok(()) } else { self.put(changes, false) }
    }

    /// Appends the names of messages that changes have written down by their names only: the log keeps those.
    pub fn write_names(&mut self, names: &[Name]) -> Result<(), Error> {
        if names.is_empty() { Ok(()) } else { self.put(&names::encode(names), true) }
    }

    fn put(&mut self, payload: &[u8], of_names: bool) -> Result<(), Error> {
        let number = if of_names { self.blocks | OF_NAMES } else { self.blocks };
        let head = block_head(payload, number, self.head.position);
        let written = self
            .file
            .write_at(&head, self.offset)
            .and_then(|()| self.file.write_at(payload, self.offset + BLOCK_HEAD as u64));
        written.map_err(|e| Error::io("write", UNFINISHED, e))?;
        self.offset += (BLOCK_HEAD + payload.len()) as u64;
        self.blocks += 1;
        Ok(())
    }

    /// Syncs when so many bytes are not on disk yet.
    pub fn sync_every(&mut self, bytes: u64) -> Result<(), Error> {
        if self.offset - self.synced >= bytes {
            self.file.sync_data().map_err(|e| Error::io("sync", UNFINISHED, e))?;
            self.synced = self.offset;
        }
        Ok(())
    }
}

/// The position of the newest checkpoint, if there is one.
pub(crate) fn newest_position(storage: &dyn Storage) -> Result<Option<u64>, Error> {
    let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
    Ok(names.iter().filter_map(|name| checkpoint_position(name)).max())
}

/// Reads the newest checkpoint from start to end, if there is one; gives its head and its size.
pub(crate) fn newest(
    storage: &dyn Storage,
    each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    each_name: &mut dyn FnMut(Name),
) -> Result<Option<(CheckpointHead, u64)>, Error> {
    let newest = newest_position(storage)?;
    newest.map(|position| read(storage, &checkpoint_name(position), each, each_name)).transpose()
}

/// Gives the names in a checkpoint, and passes over all else in it.
pub(crate) fn each_name(
    file: &dyn File,
    name: &str,
    head: CheckpointHead,
    each: &mut dyn FnMut(Name),
) -> Result<(), Error> {
    let (mut offset, mut payload) = (HEAD as u64, Vec::new());
    loop {
        let mut head_bytes = [0; BLOCK_HEAD];
        fill(file, name, &mut head_bytes, offset)?;
        let len = head_bytes.first_chunk().map_or(0, |len| u32::from_le_bytes(*len)) as usize;
        let number = head_bytes.last_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        if len == 0 {
            return Ok(());
        }
        if number & OF_NAMES != 0 {
            let damaged = |reason: &str| Error::corrupt(name, offset as usize, reason);
            let size = file.size().map_err(|e| Error::io("read", name, e))?;
            if len as u64 > size.saturating_sub(offset) {
                return Err(damaged("a block of the checkpoint is cut"));
            }
            payload.resize(len, 0);
            fill(file, name, &mut payload, offset + BLOCK_HEAD as u64)?;
            if head_bytes != block_head(&payload, number, head.position) {
                return Err(damaged("a block's checksum is wrong"));
            }
            names::decode(&payload, each).map_err(|error| damaged(&error.to_string()))?;
        }
        offset += (BLOCK_HEAD + len) as u64;
    }
}

/// How many names in a checkpoint are of a position that is wanted.
pub(crate) fn count_names(
    storage: &dyn Storage,
    position: u64,
    mut is_wanted: impl FnMut(u64) -> bool,
) -> Result<u64, Error> {
    let (name, mut count) = (checkpoint_name(position), 0);
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    each_name(file.as_ref(), &name, CheckpointHead { position, time_ms: 0 }, &mut |name| {
        count += u64::from(is_wanted(name.place.position));
    })?;
    Ok(count)
}

/// Reads a checkpoint from start to end; gives its head and its size.
pub(crate) fn read(
    storage: &dyn Storage,
    name: &str,
    each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    each_name: &mut dyn FnMut(Name),
) -> Result<(CheckpointHead, u64), Error> {
    let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
    let mut bytes = vec![0; HEAD];
    fill(file.as_ref(), name, &mut bytes, 0)?;
    let number =
        |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let head = CheckpointHead { position: number(16), time_ms: number(24) };
    if bytes.get(8..12) != Some(&FORMAT.to_le_bytes()) && bytes.starts_with(MAGIC) {
        return Err(Error::corrupt(name, 8, "this format is not known to this version"));
    }
    if bytes != file_head(head) {
        return Err(Error::corrupt(name, 0, "the head of the checkpoint is damaged"));
    }
    if checkpoint_position(name) != Some(head.position) {
        return Err(Error::corrupt(
            name,
            16,
            format!("this is the checkpoint of position {}", head.position),
        ));
    }
    let size = file.size().map_err(|e| Error::io("read", name, e))?;
    let (mut offset, mut blocks, mut payload) = (HEAD as u64, 0, Vec::new());
    loop {
        let at = offset;
        let damaged = |reason: &str| Error::corrupt(name, at as usize, reason);
        let mut head_bytes = [0; BLOCK_HEAD];
        fill(file.as_ref(), name, &mut head_bytes, offset)?;
        let len = head_bytes.first_chunk().map_or(0, |len| u32::from_le_bytes(*len)) as usize;
        // Before it is believed, so that a damaged length does not ask for memory.
        if len as u64 > size.saturating_sub(offset + BLOCK_HEAD as u64) {
            return Err(damaged("a block of the checkpoint is cut"));
        }
        payload.resize(len, 0);
        fill(file.as_ref(), name, &mut payload, offset + BLOCK_HEAD as u64)?;
        let of_names = head_bytes.last_chunk().map_or(0, |number| u64::from_le_bytes(*number)) & OF_NAMES;
        if head_bytes != block_head(&payload, blocks | of_names, head.position) {
            return Err(damaged("a block's checksum is wrong"));
        }
        if of_names != 0 {
            names::decode(&payload, each_name).map_err(|error| damaged(&error.to_string()))?;
        } else if len > 0 {
            each(&payload).map_err(|reason| damaged(&reason))?;
        }
        offset += (BLOCK_HEAD + len) as u64;
        blocks += 1;
        if len == 0 {
            return if offset == size {
                Ok((head, size))
            } else {
                Err(damaged("there is more behind the end"))
            };
        }
    }
}

fn fill(file: &dyn File, name: &str, mut into: &mut [u8], mut offset: u64) -> Result<(), Error> {
    while !into.is_empty() {
        match file.read_at(into, offset) {
            Ok(0) => return Err(Error::corrupt(name, offset as usize, "the checkpoint ends here")),
            Ok(n) => {
                into = &mut into[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", name, error)),
        }
    }
    Ok(())
}

/// The position of a fuzzer's checkpoints.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) const FUZZED: u64 = 7;

/// A checkpoint of a fuzzer's blocks, with their heads and checksums made right. The length of each is taken from its head, whose
/// highest bit says that it has names; what is left at the end is one more block.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = file_head(CheckpointHead { position: FUZZED, time_ms: 1 }).to_vec();
    let (mut rest, mut number) = (data, 0);
    while let Some((len, behind)) = rest.split_first_chunk::<2>() {
        let len = u16::from_le_bytes(*len);
        let of_names = if len >> 15 == 1 { OF_NAMES } else { 0 };
        let (payload, behind) = behind.split_at(usize::from(len & 0x7fff).min(behind.len()));
        bytes.extend_from_slice(&block_head(payload, number | of_names, FUZZED));
        bytes.extend_from_slice(payload);
        (rest, number) = (behind, number + 1);
    }
    bytes
}
