//! Writing: one write a turn into the current segment, a sync from another thread, the next segment prepared by a
//! third. The trap: the three share a file list, and a position counts as synced only if every file with bytes up to
//! it was synced after they were written.

use crate::block::{self, BLOCK_HEAD, BlockHead, Part, SEGMENT_HEAD};
use crate::tail::Head;
use crate::{Error, File, Storage, Tail};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of one segment file.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024 }
    }
}

/// What writer, syncer and preparer share.
pub(crate) struct Common {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) poisoned: AtomicBool,
    pub(crate) written: AtomicU64,
    pub(crate) synced: AtomicU64,
    unsynced: Mutex<Unsynced>,
    /// The next segment under its temporary name, zero-filled and synced.
    prepared: Mutex<Option<Arc<dyn File>>>,
    wants_prepared: AtomicBool,
}

#[derive(Default)]
struct Unsynced {
    files: Vec<(String, Arc<dyn File>)>,
    dir: bool,
}

/// The log of one engine.
pub struct Log {
    pub(crate) common: Arc<Common>,
    pub(crate) segment: Option<Segment>,
    pub(crate) next_ordinal: u64,
    pub(crate) replayed: bool,
    scratch: Vec<u8>,
}

/// The segment that is being written.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) ordinal: u64,
    pub(crate) file: Arc<dyn File>,
    pub(crate) offset: usize,
}

pub(crate) const PREPARED: &str = "next.tmp";

pub(crate) fn segment_name(ordinal: u64) -> String {
    format!("segment-{ordinal:012}.log")
}

impl Log {
    /// Takes the storage; `replay` must follow before the first write.
    pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Log, Error> {
        let common = Common {
            storage,
            options,
            poisoned: AtomicBool::new(false),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            unsynced: Mutex::default(),
            prepared: Mutex::new(None),
            wants_prepared: AtomicBool::new(false),
        };
        Ok(Log { common: Arc::new(common), segment: None, next_ordinal: 1, replayed: false, scratch: Vec::new() })
    }

    /// Hands the tail's records to the kernel and empties it. Gives the last position written so far.
    pub fn write(&mut self, tail: &mut Tail) -> Result<u64, Error> {
        assert!(self.replayed, "a log is replayed before it is written");
        if self.common.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned);
        }
        if let Some(first) = tail.first {
            self.write_records(tail, first).inspect_err(|_| self.common.poisoned.store(true, Ordering::Release))?;
            self.common.written.store(tail.last_position, Ordering::Release);
            tail.clear();
        }
        Ok(self.common.written.load(Ordering::Acquire))
    }

    fn write_records(&mut self, tail: &mut Tail, first: Head) -> Result<(), Error> {
        if self.room()? >= tail.bytes.len() {
            return self.write_block(&mut tail.bytes, Part::Whole, first);
        }
        // The slow way, once a segment: as many whole records as fit, or one record in parts.
        let (mut at, mut first) = (BLOCK_HEAD, first);
        let mut scratch = std::mem::take(&mut self.scratch);
        while at < tail.bytes.len() {
            let room = self.room()?.saturating_sub(BLOCK_HEAD);
            let payload = tail.bytes.get(at..).unwrap_or_default();
            let (count, len) = block::fitting(payload, room);
            if count > 0 {
                self.copy_block(&mut scratch, payload.get(..len).unwrap_or_default(), Part::Whole, first)?;
                (at, first.position) = (at + len, first.position + count);
                continue;
            }
            let record_len = block::first_record_len(payload);
            if room < record_len && record_len <= self.capacity() {
                // It fits into the next segment as a whole.
                self.roll()?;
                continue;
            }
            let record = payload.get(..record_len).unwrap_or_default();
            self.write_parts(&mut scratch, record, first)?;
            (at, first.position) = (at + record_len, first.position + 1);
        }
        scratch.clear();
        scratch.shrink_to(1024 * 1024);
        self.scratch = scratch;
        Ok(())
    }

    fn write_parts(&mut self, scratch: &mut Vec<u8>, record: &[u8], first: Head) -> Result<(), Error> {
        let mut at = 0;
        while at < record.len() {
            let room = self.room()?.saturating_sub(BLOCK_HEAD);
            if room == 0 {
                self.roll()?;
                continue;
            }
            let end = (at + room).min(record.len());
            let part = match (at, end) {
                (0, _) => Part::First,
                (_, end) if end == record.len() => Part::Last,
                (_, _) => Part::Middle,
            };
            self.copy_block(scratch, record.get(at..end).unwrap_or_default(), part, first)?;
            at = end;
        }
        Ok(())
    }

    fn copy_block(&mut self, scratch: &mut Vec<u8>, payload: &[u8], part: Part, first: Head) -> Result<(), Error> {
        scratch.clear();
        scratch.resize(BLOCK_HEAD, 0);
        scratch.extend_from_slice(payload);
        self.write_block(scratch, part, first)
    }

    fn write_block(&mut self, block: &mut [u8], part: Part, first: Head) -> Result<(), Error> {
        let synced = self.common.synced.load(Ordering::Acquire);
        let segment = self.segment.as_mut().expect("room() has opened a segment");
        block::seal(block, &BlockHead { part, first, synced }, segment.ordinal);
        let written = segment.file.write_at(block, segment.offset as u64);
        written.map_err(|e| Error::io("write", &segment.name, e))?;
        segment.offset += block.len();
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.common.options.segment_bytes as usize - SEGMENT_HEAD - BLOCK_HEAD
    }

    /// Bytes left in the current segment, which is opened if there is none.
    fn room(&mut self) -> Result<usize, Error> {
        if self.segment.is_none() {
            self.roll()?;
        }
        let offset = self.segment.as_ref().map_or(0, |segment| segment.offset);
        Ok((self.common.options.segment_bytes as usize).saturating_sub(offset))
    }

    /// Goes on in the next segment: the prepared one, or a new file that grows.
    fn roll(&mut self) -> Result<(), Error> {
        let (ordinal, name) = (self.next_ordinal, segment_name(self.next_ordinal));
        let storage = &self.common.storage;
        let prepared = self.common.prepared.lock().take();
        let file = match prepared {
            Some(file) => storage.rename(PREPARED, &name).map(|()| file),
            None => storage.create(&name),
        };
        let file = file.map_err(|e| Error::io("create", &name, e))?;
        file.write_at(&block::segment_head(ordinal), 0).map_err(|e| Error::io("write", &name, e))?;
        {
            let mut unsynced = self.common.unsynced.lock();
            unsynced.files.push((name.clone(), file.clone()));
            unsynced.dir = true;
        }
        self.segment = Some(Segment { name, ordinal, file, offset: SEGMENT_HEAD });
        self.next_ordinal += 1;
        self.common.wants_prepared.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn resume(&mut self, segment: Segment) {
        self.common.unsynced.lock().files.push((segment.name.clone(), segment.file.clone()));
        self.next_ordinal = segment.ordinal + 1;
        self.segment = Some(segment);
    }

    /// What syncs, from another thread.
    pub fn syncer(&self) -> Syncer {
        Syncer { common: self.common.clone() }
    }

    /// What prepares the next segment, from another thread.
    pub fn preparer(&self) -> Preparer {
        Preparer { common: self.common.clone() }
    }
}

/// Makes written records durable.
#[derive(Clone)]
pub struct Syncer {
    common: Arc<Common>,
}

impl Syncer {
    /// Syncs every file with unsynced bytes; gives the position up to which everything was written when it began.
    pub fn sync(&self) -> Result<u64, Error> {
        let common = &*self.common;
        if common.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned);
        }
        let position = common.written.load(Ordering::Acquire);
        let (files, dir) = {
            let mut unsynced = common.unsynced.lock();
            // The last file is the current one and may get more.
            let files = unsynced.files.clone();
            let done = unsynced.files.len().saturating_sub(1);
            unsynced.files.drain(..done);
            (files, std::mem::take(&mut unsynced.dir))
        };
        let result = files
            .iter()
            .try_for_each(|(name, file)| file.sync_data().map_err(|e| Error::io("sync", name, e)))
            .and_then(|()| if dir { common.storage.sync_dir().map_err(|e| Error::io("sync", "the data directory", e)) } else { Ok(()) });
        result.inspect_err(|_| common.poisoned.store(true, Ordering::Release))?;
        common.synced.fetch_max(position, Ordering::Release);
        Ok(position)
    }
}

/// Prepares segments.
pub struct Preparer {
    common: Arc<Common>,
}

impl Preparer {
    /// Makes the next segment if one is wanted: allocated, filled with zeros, synced. Gives whether it did.
    pub fn run(&self) -> Result<bool, Error> {
        let common = &*self.common;
        if common.prepared.lock().is_some() || !common.wants_prepared.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let fail = |e| Error::io("prepare", PREPARED, e);
        let file = common.storage.create(PREPARED).map_err(fail)?;
        let zeros = vec![0; 1024 * 1024];
        let mut at = 0;
        while at < common.options.segment_bytes {
            let len = zeros.len().min((common.options.segment_bytes - at) as usize);
            file.write_at(zeros.get(..len).unwrap_or_default(), at).map_err(fail)?;
            at += len as u64;
        }
        file.sync_data().map_err(fail)?;
        *common.prepared.lock() = Some(file);
        Ok(true)
    }
}
