//! Writing: one pwrite per turn into the newest segment, a sync from another thread, the next segment from a third. It
//! has no threads itself. The trap: a write and a sync overlap, so a sync answers with what was written before it began.

mod preparer;
mod proof;

pub use preparer::Preparer;

use crate::block::{self, BLOCK_HEAD, BlockHead, Part, SEGMENT_HEAD};
use crate::bodies::{self, bodies_of};
use crate::checkpoint::{self, CheckpointHead, Checkpoints, UNFINISHED, checkpoint_position};
use crate::error::{Error, is_full};
use crate::reader::Reader;
use crate::recovery::{self, Each, Recovered, Replay, Summary};
use crate::storage::{File, Storage};
use crate::tail::{Head, Record, Tail};
use crate::units::{self, Census, Unit};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The name of a segment that is being prepared.
pub(crate) const NEXT: &str = "next.tmp";
/// A segment that grows is left for a prepared one when it has so many bytes: a small log stays a small file.
const GROWN: u64 = 1024 * 1024;
/// What the kernel's cache of files consists of.
pub(crate) const PAGE: u64 = 4096;
/// A block gets no larger, unless it is one record: whoever reads a record reads its block.
const BLOCK_MAX: usize = 128 * 1024;

/// What can be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How large a segment gets, in bytes; at least 256.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024 }
    }
}

pub(crate) fn segment_name(ordinal: u64) -> String {
    format!("{ordinal:020}.segment")
}

pub(crate) fn segment_ordinal(name: &str) -> Option<u64> {
    let ordinal = name.strip_suffix(".segment")?.parse().ok()?;
    (segment_name(ordinal) == name).then_some(ordinal)
}

#[derive(Default)]
struct Unsynced {
    written: u64,
    bytes: u64,
    files: Vec<(String, Arc<dyn File>)>,
    directory: bool,
}

#[derive(Default)]
struct Prepared {
    wanted: bool,
    file: Option<Arc<dyn File>>,
}

pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) segment_bytes: u64,
    /// All segments, and what is left of some.
    pub(crate) segments: Mutex<Arc<Vec<Unit>>>,
    /// Bytes kept for messages that the last checkpoint has by name only, and how many names that are.
    pub(crate) kept_bytes: AtomicU64,
    pub(crate) names: AtomicU64,
    /// Bytes written since the last checkpoint began.
    pub(crate) logged: AtomicU64,
    /// Bytes of the last checkpoint.
    pub(crate) checkpoint_bytes: AtomicU64,
    /// The position of the last checkpoint.
    pub(crate) checkpointed: AtomicU64,
    /// Something that it makes unnecessary could not be removed yet.
    pub(crate) left_over: AtomicBool,
    unsynced: Mutex<Unsynced>,
    prepared: Mutex<Prepared>,
    /// Held for a whole sync: a second one may not find the list empty and answer before the first is through.
    syncing: Mutex<()>,
    pub(crate) synced: AtomicU64,
    poisoned: AtomicBool,
}

impl Shared {
    fn check(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Turns a failure of a write into our error and refuses everything from now on, unless it may be tried again.
    fn writing<T>(&self, operation: &'static str, file: &str, result: io::Result<T>) -> Result<T, Error> {
        match result {
            Err(source) if is_full(&source) => Err(Error::io(operation, file, source)),
            result => self.fatal(operation, file, result),
        }
    }

    /// Turns a failure into our error and refuses everything from now on.
    fn fatal<T>(&self, operation: &'static str, file: &str, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| {
            self.poisoned.store(true, Ordering::Release);
            Error::io(operation, file, source)
        })
    }
}

/// How many zeros follow a block, so that a page which it is the first to write into is written as a whole. What is behind
/// the block are zeros anyway; but of a prepared page that the kernel has let go of meanwhile it would read the rest from
/// disk first, and the turn would wait for it.
fn padding(offset: u64, len: u64, segment_bytes: u64) -> usize {
    let end = offset + len;
    let page = (end - 1) / PAGE * PAGE;
    if page < offset { 0 } else { (page + PAGE).min(segment_bytes).saturating_sub(end) as usize }
}

/// The segment that is written to.
pub(crate) struct Open {
    pub(crate) ordinal: u64,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) offset: u64,
    /// It was not prepared: where it ends the file system finds it more space, and who writes may have to wait for that.
    pub(crate) grows: bool,
}

/// The log: replayed once, then written to by one thread at a time.
pub struct Log {
    shared: Arc<Shared>,
    open: Option<Open>,
    next_ordinal: u64,
    written: u64,
    /// The last block says that everything up to this is on disk.
    proved: u64,
    /// What the checkpoint has, once it is read.
    restored: Option<CheckpointHead>,
    /// What it needs of the files before it.
    held: Vec<Unit>,
    /// Those of them whose heads are damaged.
    damaged: Vec<String>,
    /// Bytes of the tail's first record that stand in parts already, and of all of it: the disk was full before the rest. What
    /// the record says of its length may be overwritten by then.
    split: usize,
    split_record: usize,
    /// The disk was full in the middle of a block. The same block is written over it, in the same place: in front of another
    /// segment the rest of it would be damage.
    is_broken: bool,
    replayed: bool,
}

impl Log {
    /// Takes a storage. Nothing is read before [`Log::replay`].
    pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Self, Error> {
        let Options { segment_bytes } = options;
        if !(256..=u64::from(u32::MAX)).contains(&segment_bytes) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "a segment has 256 bytes to 4 GiB");
            return Err(Error::io("use", "segment_bytes", source));
        }
        let shared = Shared {
            storage,
            segment_bytes,
            segments: Mutex::default(),
            kept_bytes: AtomicU64::new(0),
            names: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            checkpoint_bytes: AtomicU64::new(0),
            checkpointed: AtomicU64::new(0),
            left_over: AtomicBool::new(false),
            unsynced: Mutex::default(),
            prepared: Mutex::default(),
            syncing: Mutex::default(),
            synced: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            open: None,
            next_ordinal: 1,
            written: 0,
            proved: 0,
            restored: None,
            held: Vec::new(),
            damaged: Vec::new(),
            split: 0,
            split_record: 0,
            is_broken: false,
            replayed: false,
        })
    }

    /// Reads the newest checkpoint, if there is one: blocks of whole changes in order. Comes before [`Log::replay`], which
    /// then gives what comes after it. A checkpoint has its name only since it was on disk as a whole: damage is refused.
    pub fn restore(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Option<CheckpointHead>, Error> {
        assert!(!self.replayed, "a checkpoint is read before the log");
        let storage = self.shared.storage.as_ref();
        let Some(position) = checkpoint::newest_position(storage)? else { return Ok(None) };
        let mut census = Census::new(Arc::new(units::list(storage, position)?));
        let newest = checkpoint::newest(storage, each, &mut |name| census.count(name))?;
        let Some((head, size)) = newest else { return Ok(None) };
        *self.shared.segments.lock() = Arc::clone(&census.units);
        let gaps = census.gaps(storage)?;
        gaps.refuse(position)?;
        self.held = census.needed(position).map(|(unit, _)| unit).collect();
        self.damaged = units::damaged(storage, &self.held)?;
        let cut = gaps.cut.iter().map(Unit::name).filter(|name| !self.damaged.contains(name));
        self.damaged.extend(cut.collect::<Vec<_>>());
        let kept_bytes = self.held.iter().map(|unit| units::size(storage, unit)).sum::<Result<_, _>>()?;
        self.shared.kept_bytes.store(kept_bytes, Ordering::Relaxed);
        self.shared.names.store(census.names, Ordering::Relaxed);
        self.shared.checkpoint_bytes.store(size, Ordering::Relaxed);
        self.restored = Some(head);
        Ok(self.restored)
    }

    /// Reads every record in order, cuts a torn tail durably and says so. Comes once, before the first write. What it
    /// has read is synced when it returns.
    ///
    /// Damage that cannot be the trace of a power cut is refused, and so is a record that `each` refuses.
    pub fn replay(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Summary, Error> {
        self.replay_into(&mut Each(each))
    }

    /// Likewise, into something that wants to know what comes next.
    pub fn replay_into(&mut self, replay: &mut dyn Replay) -> Result<Summary, Error> {
        assert!(!self.replayed, "a log is replayed once");
        let storage = &self.shared.storage;
        let names = storage.list().map_err(|e| Error::io("list", "the log directory", e))?;
        let restored = self.restored.map_or(0, |head| head.position);
        let kept = storage.kept().map_err(|e| Error::io("read", "what is kept", e))?;
        let segment_bytes = self.shared.segment_bytes;
        let Recovered { mut summary, open, segments, skipped, proved } =
            recovery::recover(storage.as_ref(), segment_bytes, restored, &kept, &self.held, replay)?;
        // Only now: of a log that is refused nothing goes.
        let is_old = |name: &String| checkpoint_position(name).is_some_and(|at| at < restored);
        let is_unfinished = |name: &String| [NEXT, UNFINISHED, bodies::UNFINISHED].contains(&name.as_str());
        let is_left_over = |name: &&String| is_unfinished(name) || is_old(name) && !kept.all;
        for name in names.iter().filter(is_left_over) {
            storage.remove(name).map_err(|e| Error::io("remove", name, e))?;
        }
        let needed: BTreeSet<String> = self.held.iter().map(Unit::name).collect();
        // Nothing was ever left of a segment that is read here, and its number is needed.
        let begin = segments.first().map_or(u64::MAX, |(ordinal, _)| *ordinal);
        for name in names.iter().filter(|name| !needed.contains(*name)) {
            let Some((ordinal, made_for)) = bodies_of(name) else { continue };
            let is_strange = ordinal >= begin && made_for <= restored;
            if is_strange {
                summary.noticed.push(format!("{name} belongs to no checkpoint, and was removed"));
            }
            if is_strange || !kept.all {
                storage.remove(name).map_err(|e| Error::io("remove", name, e))?;
            }
        }
        drop(kept);
        summary.damaged = std::mem::take(&mut self.damaged);
        for skip in skipped {
            if skip.names(storage.as_ref(), restored)? > 0 {
                summary.damaged.push(segment_name(skip.ordinal));
            }
        }
        // Perhaps there is nothing: the first look will tell.
        self.shared.left_over.store(true, Ordering::Relaxed);
        self.shared.checkpointed.store(restored, Ordering::Relaxed);
        let last = open.as_ref().map(|open| Ok(open.ordinal));
        self.next_ordinal =
            last.unwrap_or_else(|| recovery::last_ordinal(storage.as_ref()))?.saturating_add(1);
        self.open = open;
        (self.written, self.proved) = (summary.last_position, proved);
        let units = segments.into_iter().map(|(ordinal, first)| Unit::segment(ordinal, first));
        let held = self.held.drain(..).filter(|unit| unit.ordinal < begin);
        *self.shared.segments.lock() = Arc::new(held.chain(units).collect());
        self.shared.logged.store(summary.bytes, Ordering::Relaxed);
        self.shared.unsynced.lock().written = summary.last_position;
        self.shared.synced.store(summary.last_position, Ordering::Release);
        self.replayed = true;
        Ok(summary)
    }

    /// Hands the records of the tail to the kernel and empties it; answers with the last position written. One write
    /// per block, one block unless a segment ends. After a failure everything is refused; but when the disk is full (see
    /// [`Error::is_full`]) what has not been written stays in the tail, and the same tail may be tried again.
    pub fn write(&mut self, tail: &mut Tail) -> Result<u64, Error> {
        assert!(self.replayed, "a log is replayed before it is written");
        self.shared.check()?;
        let Some(mut first) = tail.first else { return Ok(self.written) };
        assert_eq!(first.position, self.written + 1, "positions are contiguous");
        if self.split == 0
            && !self.is_broken
            && self.open.as_ref().is_some_and(|open| open.grows)
            && self.shared.prepared.lock().file.is_some()
        {
            self.roll(first.position)?;
        }
        let mut at = 0;
        if let Err(error) = self.put_all(tail, &mut at, &mut first) {
            self.is_broken = true;
            tail.drop_front(at, first);
            self.written = first.position - 1;
            self.shared.unsynced.lock().written = self.written;
            return Err(error);
        }
        self.is_broken = false;
        self.written = tail.last_position;
        self.shared.unsynced.lock().written = self.written;
        tail.clear();
        let segment_bytes = self.shared.segment_bytes;
        if let Some(open) = &self.open
            && open.offset > if open.grows { GROWN.min(segment_bytes / 4) } else { segment_bytes / 4 }
        {
            self.shared.prepared.lock().wanted = true;
        }
        Ok(self.written)
    }

    /// Writes everything from `at` on, which begins with the record of `first`; both go on with what is written.
    fn put_all(&mut self, tail: &mut Tail, at: &mut usize, first: &mut Head) -> Result<(), Error> {
        while BLOCK_HEAD + *at < tail.bytes.len() {
            let payload = tail.bytes.get(BLOCK_HEAD + *at..).expect("the loop stays inside");
            let room = self.room();
            let (mut count, mut len) = block::fitting(payload, room.min(BLOCK_MAX));
            if count == 0 && block::first_record_len(payload) <= room {
                (count, len) = (1, block::first_record_len(payload));
            }
            if count > 0 && self.split == 0 {
                self.put(tail, *at..BLOCK_HEAD + *at + len, Part::Whole, *first)?;
                first.position += count;
                *at += len;
                continue;
            }
            let record = if self.split == 0 { block::first_record_len(payload) } else { self.split_record };
            let segment = self.shared.segment_bytes as usize;
            // A record that is small against a segment waits for the next one, a large one is split.
            if self.split == 0 && (record <= segment / 8 || room < segment / 16) {
                self.roll(first.position)?;
            } else {
                self.put_split(tail, *at, record, *first)?;
                first.position += 1;
                *at += record;
            }
        }
        Ok(())
    }

    /// How many bytes a block could hold here.
    fn room(&self) -> usize {
        let used = self.open.as_ref().map_or(self.shared.segment_bytes, |open| open.offset);
        (self.shared.segment_bytes.saturating_sub(used) as usize).saturating_sub(BLOCK_HEAD)
    }

    /// One record as parts. A block's head overwrites what stands before it: that has been written already.
    fn put_split(&mut self, tail: &mut Tail, at: usize, record: usize, first: Head) -> Result<(), Error> {
        self.split_record = record;
        while self.split < record {
            let done = self.split;
            if self.room() < (self.shared.segment_bytes / 16) as usize {
                self.roll(first.position)?;
            }
            let len = self.room().min(record - done);
            let part = match (done == 0, done + len == record) {
                (true, true) => Part::Whole,
                (true, false) => Part::First,
                (false, false) => Part::Middle,
                (false, true) => Part::Last,
            };
            self.put(tail, at + done..BLOCK_HEAD + at + done + len, part, first)?;
            self.split += len;
        }
        self.split = 0;
        Ok(())
    }

    /// One block, which is `range` of the tail.
    fn put(&mut self, tail: &mut Tail, range: Range<usize>, part: Part, first: Head) -> Result<(), Error> {
        let open = self.open.as_mut().expect("without a segment there is no room");
        let synced = self.shared.synced.load(Ordering::Acquire);
        self.proved = synced;
        block::seal(&mut tail.bytes[range.clone()], &BlockHead { part, first, synced }, open.ordinal);
        let len = range.len() as u64;
        let end = tail.bytes.len();
        // What stands behind it in the tail is the next block.
        let zeros = if range.end == end { padding(open.offset, len, self.shared.segment_bytes) } else { 0 };
        tail.bytes.resize(end + zeros, 0);
        let written = open.file.write_at(&tail.bytes[range.start..range.end + zeros], open.offset);
        tail.bytes.truncate(end);
        self.shared.writing("write", &open.name, written)?;
        open.offset += len;
        self.shared.logged.fetch_add(len, Ordering::Relaxed);
        let mut unsynced = self.shared.unsynced.lock();
        unsynced.bytes += len;
        if unsynced.files.last().is_none_or(|(name, _)| *name != open.name) {
            unsynced.files.push((open.name.clone(), Arc::clone(&open.file)));
        }
        Ok(())
    }

    /// Begins the next segment: the prepared one if there is one.
    fn roll(&mut self, first: u64) -> Result<(), Error> {
        let shared = &self.shared;
        let ordinal = self.next_ordinal;
        let name = segment_name(ordinal);
        // The lock stays until the rename is through: the preparer creates a file of the same temporary name.
        let mut prepared = shared.prepared.lock();
        let grows = prepared.file.is_none();
        let file = match &prepared.file {
            Some(file) => {
                let file = Arc::clone(file);
                shared.writing("rename", NEXT, shared.storage.rename(NEXT, &name))?;
                prepared.file = None;
                file
            }
            None => shared.writing("create", &name, shared.storage.create(&name))?,
        };
        prepared.wanted = false;
        drop(prepared);
        shared.writing("write", &name, file.write_at(&block::segment_head(ordinal, first), 0))?;
        let mut unsynced = shared.unsynced.lock();
        unsynced.directory = true;
        unsynced.files.push((name.clone(), Arc::clone(&file)));
        drop(unsynced);
        Arc::make_mut(&mut shared.segments.lock()).push(Unit::segment(ordinal, first));
        self.open = Some(Open { ordinal, name, file, offset: SEGMENT_HEAD as u64, grows });
        self.next_ordinal += 1;
        Ok(())
    }

    /// How many bytes nobody has begun to sync.
    pub fn unsynced_bytes(&self) -> u64 {
        self.shared.unsynced.lock().bytes
    }

    /// The hand of whoever syncs.
    pub fn syncer(&self) -> Syncer {
        Syncer { shared: Arc::clone(&self.shared) }
    }

    /// The hand of the thread that writes checkpoints. `message_len` tells how long the message is that stands first, because
    /// messages which a checkpoint has by name only are kept and nothing beside them.
    pub fn checkpoints(&self, message_len: fn(&[u8]) -> Option<usize>) -> Checkpoints {
        Checkpoints { shared: Arc::clone(&self.shared), message_len }
    }

    /// A hand of whoever reads what was written.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Where it lies, and how large its segments are.
    pub(crate) fn storage(&self) -> (Arc<dyn Storage>, u64) {
        (Arc::clone(&self.shared.storage), self.shared.segment_bytes)
    }

    /// The hand of the thread that prepares segments.
    pub fn preparer(&self) -> Preparer {
        Preparer { shared: Arc::clone(&self.shared) }
    }
}

/// Makes written records durable while others are written.
#[derive(Clone)]
pub struct Syncer {
    pub(crate) shared: Arc<Shared>,
}

impl Syncer {
    /// Syncs every segment with unsynced bytes; answers with the position that was written before it began. After a
    /// failure everything is refused: what a failed sync has left on disk is not known.
    pub fn sync(&self) -> Result<u64, Error> {
        let _alone = self.shared.syncing.lock();
        self.shared.check()?;
        let Unsynced { written, files, directory, .. } = {
            let mut unsynced = self.shared.unsynced.lock();
            let written = unsynced.written;
            std::mem::replace(&mut *unsynced, Unsynced { written, ..Unsynced::default() })
        };
        for (name, file) in &files {
            self.shared.fatal("sync", name, file.sync_data())?;
        }
        if directory {
            self.shared.fatal("sync", "the log directory", self.shared.storage.sync_dir())?;
        }
        self.shared.check()?;
        self.shared.synced.fetch_max(written, Ordering::AcqRel);
        Ok(written)
    }
}
