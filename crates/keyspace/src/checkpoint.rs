//! The keyspace as it was at one moment, handed over in slices while it goes on changing.
//!
//! Every entry has an epoch bit, and outside a checkpoint all have the keyspace's. A checkpoint begins by turning the
//! keyspace's over: now every entry is an old one. A walk through the tables hands each old entry over and gives it the new
//! bit; a primitive that is about to change or remove an old entry hands it over first; what is made meanwhile has the new
//! bit from the start and is never handed over. So each entry is handed over once, as it was at the beginning, and at the
//! end all have the keyspace's bit again. What is handed over are changes as the log has them, so that reading a checkpoint
//! is replay.
//!
//! What takes long is not handed over at once. Long strings, long lists and streams are copied, which shares their blocks,
//! and the copy is handed over bit by bit; large tables do the same within themselves that the keyspace does as a whole
//! (`values/walk.rs`). What is removed meanwhile (a key, a whole database) lives on here until the walk is through it.
//!
//! Fuzzy walks with positions of their own, as databases do them, need no old states at all, but cannot tell what a key
//! that came by `RENAME` was; copies of all pages, as after a fork, need twice the memory.

mod hand_over;

use crate::db::{Db, hash};
use crate::entry::{Entry, Value};
use crate::values::{Object, Walk};
use crate::{DATABASES, DbIndex, Keyspace};
use foldhash::fast::FixedState;
use hand_over::Copied;
pub(crate) use hand_over::put_deadline;
use leveret_base::Garbage;
use std::collections::VecDeque;

/// A value that is being walked through.
pub(crate) enum Walked {
    /// It is under a key.
    Live(DbIndex, Box<[u8]>),
    /// It has gone from its key.
    Gone(Object),
}

/// A checkpoint of the keyspace on its way.
#[derive(Default)]
pub(crate) struct Checkpoint {
    /// Changes that nobody has taken yet.
    out: Vec<u8>,
    /// Databases that were emptied before the walk was through them.
    flushed: VecDeque<Db>,
    copies: VecDeque<Copied>,
    walked: Vec<Walked>,
}

/// Elements between two looks at how much was handed over.
const STEP: usize = 64;
/// Likewise at first, and after large ones.
const STEP_FIRST: usize = 4;
const STEP_MIN: usize = 1;
/// What makes them large, together.
const STEP_BYTES: usize = 16 * 1024;
/// A value of more elements, or of more bytes, is not handed over at once.
const AT_ONCE_MAX: usize = 512;
const AT_ONCE_BYTES: usize = 64 * 1024;

impl Checkpoint {
    /// An old entry is about to change or to go, or its turn has come: it is handed over, or begins to be.
    #[cold]
    pub(crate) fn preserve(&mut self, place: (DbIndex, DbIndex), entry: &mut Entry, epoch: bool) {
        let (origin, db) = place;
        entry.set_epoch(epoch);
        let deadline = entry.deadline();
        let Value::Object(object) = entry.value() else {
            return hand_over::entry(&mut self.out, origin, entry);
        };
        if let Object::Blob(_) | Object::Stream(_) = object {
            return self.copies.push_back(Copied::new(origin, entry.key(), deadline, object));
        }
        if object.is_small(AT_ONCE_MAX, AT_ONCE_BYTES) {
            return hand_over::entry(&mut self.out, origin, entry);
        }
        if let Object::List(_) = object {
            return self.copies.push_back(Copied::new(origin, entry.key(), deadline, object));
        }
        let (walk, key) = (Walk::new(origin, entry.key(), deadline), Box::from(entry.key()));
        if let Some(slot) = entry.object_mut().and_then(Object::walk) {
            slot.begin(walk);
            self.walked.push(Walked::Live(db, key));
        }
    }

    /// A value has left its key for good: it comes back if nobody needs it.
    pub(crate) fn keep(&mut self, db: DbIndex, key: &[u8], object: Object) -> Option<Object> {
        for walked in &mut self.walked {
            if matches!(walked, Walked::Live(at, name) if *at == db && **name == *key) {
                *walked = Walked::Gone(object);
                return None;
            }
        }
        Some(object)
    }

    /// A value has another key.
    pub(crate) fn moved(&mut self, from: (DbIndex, &[u8]), to: (DbIndex, &[u8])) {
        for walked in &mut self.walked {
            if let Walked::Live(db, key) = walked
                && (*db, &**key) == from
            {
                (*db, *key) = (to.0, to.1.into());
                return;
            }
        }
    }

    /// Two databases have each other's contents.
    pub(crate) fn swapped(&mut self, first: DbIndex, second: DbIndex) {
        for walked in &mut self.walked {
            if let Walked::Live(db, _) = walked {
                if *db == first {
                    *db = second;
                } else if *db == second {
                    *db = first;
                }
            }
        }
    }

    /// A database was emptied: it comes back if nobody needs it.
    pub(crate) fn flushed(&mut self, db: DbIndex, mut old: Db, hash_of: impl Fn(&[u8]) -> u64) -> Option<Db> {
        for walked in &mut self.walked {
            if let Walked::Live(at, key) = walked
                && *at == db
                && let Some(entry) = old.table.find_mut(hash_of(key), |entry| entry.key() == &**key)
                && let Some(object) = entry.take_object()
            {
                *walked = Walked::Gone(object);
            }
        }
        if old.unwalked.is_none() {
            return Some(old);
        }
        self.flushed.push_back(old);
        None
    }

    /// Goes on with values that take long: until so many bytes are there, or all of them are through.
    fn go_on(&mut self, dbs: &mut [Db], garbage: &mut Garbage, hash_of: impl Fn(&[u8]) -> u64, bytes: usize) {
        let mut count = STEP_FIRST;
        while self.out.len() < bytes {
            if let Some(copied) = self.copies.front_mut() {
                if copied.hand_over(&mut self.out) {
                    self.copies.pop_front();
                }
                continue;
            }
            let Some(walked) = self.walked.last_mut() else { break };
            let object = match walked {
                Walked::Gone(object) => Some(object),
                Walked::Live(db, key) => {
                    let table = &mut dbs[*db as usize].table;
                    table.find_mut(hash_of(key), |entry| entry.key() == &**key).and_then(Entry::object_mut)
                }
            };
            let object = object.expect("whoever takes a value from its key says so");
            let before = self.out.len();
            let is_over = object.walk_on(count, &mut self.out);
            let is_large = self.out.len() - before > STEP_BYTES;
            count = if is_large { (count / 4).max(STEP_MIN) } else { (count * 2).min(STEP) };
            if is_over && let Some(Walked::Gone(object)) = self.walked.pop() {
                let allocations = object.allocations();
                garbage.put(object, allocations);
            }
        }
    }
}

impl Keyspace {
    /// A checkpoint of what is there now begins.
    pub fn begin_checkpoint(&mut self) {
        assert!(self.checkpoint.is_none(), "one checkpoint ends before the next one begins");
        self.epoch = !self.epoch;
        for (origin, db) in (0..DATABASES).zip(&mut self.dbs) {
            db.unwalked = Some((origin, 0));
        }
        let mut checkpoint = Box::<Checkpoint>::default();
        hand_over::seed(&mut checkpoint.out, self.seed);
        self.checkpoint = Some(checkpoint);
    }

    /// While there is nothing in it.
    pub(crate) fn set_seed(&mut self, seed: u64) {
        (self.seed, self.hasher) = (seed, FixedState::with_seed(seed));
    }

    /// Bytes that were handed over and that nobody has taken.
    pub fn checkpoint_bytes(&self) -> usize {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.out.len())
    }

    /// Hands over about so many bytes more and appends everything to `into`; true at the end.
    pub fn checkpoint_slice(&mut self, bytes: usize, into: &mut Vec<u8>) -> bool {
        let Some(mut checkpoint) = self.checkpoint.take() else { return true };
        let is_over = self.walk(&mut checkpoint, bytes);
        into.append(&mut checkpoint.out);
        if !is_over {
            self.checkpoint = Some(checkpoint);
        }
        is_over
    }

    fn walk(&mut self, checkpoint: &mut Checkpoint, bytes: usize) -> bool {
        let Self { dbs, hasher, epoch, garbage, .. } = self;
        let hash_of = |key: &[u8]| hash(hasher, key);
        // Old ones may be few among many.
        let mut visits = VISITS_MAX;
        while checkpoint.out.len() < bytes && visits > 0 {
            checkpoint.go_on(dbs, garbage, hash_of, bytes);
            visits -= 1;
            if let Some(mut db) = checkpoint.flushed.pop_front() {
                if step(checkpoint, DATABASES, &mut db, hash_of, *epoch) {
                    let allocations = db.table.len();
                    garbage.put(db, allocations);
                } else {
                    checkpoint.flushed.push_front(db);
                }
            } else if let Some((index, db)) = (0..).zip(&mut *dbs).find(|(_, db)| db.unwalked.is_some()) {
                step(checkpoint, index, db, hash_of, *epoch);
            } else {
                return checkpoint.copies.is_empty() && checkpoint.walked.is_empty();
            }
        }
        false
    }
}

/// Steps in a slice.
const VISITS_MAX: usize = 200;

/// Visits some entries of a database; true after the last ones.
fn step(
    checkpoint: &mut Checkpoint,
    index: DbIndex,
    db: &mut Db,
    hash_of: impl Fn(&[u8]) -> u64,
    epoch: bool,
) -> bool {
    let Some((origin, cursor)) = db.unwalked else { return true };
    let mut large = Vec::new();
    let next = db.table.scan(
        cursor,
        STEP,
        |entry| hash_of(entry.key()),
        |entry| {
            if entry.epoch() == epoch {
                return;
            }
            match entry.value() {
                Value::Bytes(_) | Value::Integer(_) => {
                    entry.set_epoch(epoch);
                    hand_over::entry(&mut checkpoint.out, origin, entry);
                }
                Value::Object(_) => large.push(Box::<[u8]>::from(entry.key())),
            }
        },
    );
    for key in large {
        if let Some(entry) = db.table.find_mut(hash_of(&key), |entry| entry.key() == &*key) {
            checkpoint.preserve((origin, index), entry, epoch);
            if index == DATABASES {
                // Nobody finds it there any more.
                checkpoint.take_flushed(entry);
            }
        }
    }
    db.unwalked = (next != 0).then_some((origin, next));
    next == 0
}

impl Checkpoint {
    /// A walk through a value of a database that was emptied has just begun, perhaps: it goes on beside it.
    fn take_flushed(&mut self, entry: &mut Entry) {
        if let Some(walked) = self.walked.last_mut()
            && matches!(walked, Walked::Live(DATABASES, _))
            && let Some(object) = entry.take_object()
        {
            *walked = Walked::Gone(object);
        }
    }
}
