//! The sixteen databases: tables of entries. It mutates nothing by itself; see `txn.rs`.

use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, Value};
use crate::evict::Pool;
use crate::number::IntegerText;
use crate::values::Object;
use crate::{Eviction, Policy, UnixMillis, Watches};
use foldhash::fast::FixedState;
use leveret_base::{Addressed, Garbage, Table};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

/// How many databases there are (Redis: `databases`).
pub const DATABASES: u8 = 16;

/// The number of a database, below [`DATABASES`].
pub type DbIndex = u8;

/// One database.
#[derive(Default)]
pub(crate) struct Db {
    pub(crate) table: Table<Entry>,
    /// How many keys have a deadline.
    pub(crate) with_deadline: usize,
    /// Which hashes have fields that go, by the first of their deadlines.
    pub(crate) field_deadlines: BTreeSet<(UnixMillis, Box<[u8]>)>,
    /// Where the active expiry goes on.
    pub(crate) expire_cursor: u64,
    /// Where the search for keys that may go goes on.
    pub(crate) evict_cursor: u64,
    /// Its number when the checkpoint began, and where that goes on.
    pub(crate) unwalked: Option<(DbIndex, u64)>,
}

/// The hash of a key, or of an element of a collection.
#[inline]
pub(crate) fn hash(hasher: &FixedState, bytes: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

impl Db {
    /// True when the key is there and its time is not up.
    pub(crate) fn has_live(&self, hasher: &FixedState, key: &[u8], now_ms: UnixMillis) -> bool {
        let found = self.table.find(hash(hasher, key), |entry| entry.key() == key);
        found.is_some_and(|entry| !is_overdue(entry, now_ms))
    }
}

/// All keys of all databases, and who waits for them.
pub struct Keyspace {
    pub(crate) dbs: Vec<Db>,
    /// Decides the order in the tables.
    pub(crate) seed: u64,
    pub(crate) hasher: FixedState,
    /// Who must hear of which key.
    pub watches: Watches,
    /// What was removed and takes long to free.
    pub garbage: Garbage,
    /// Keys removed because their time was up, since the start.
    pub expired_count: u64,
    /// Fields of hashes that went by their deadlines since.
    pub expired_fields_count: u64,
    /// For random picks, of which the record says what was picked.
    pub(crate) rng: fastrand::Rng,
    /// Which keys go when memory is short.
    pub eviction: Eviction,
    pub(crate) pool: Pool,
    /// Lookups by read commands that found something, and that did not.
    pub(crate) hits: std::cell::Cell<u64>,
    pub(crate) misses: std::cell::Cell<u64>,
    /// What entries have that the last checkpoint has seen, or that were made since it began.
    pub(crate) epoch: bool,
    pub(crate) checkpoint: Option<Box<Checkpoint>>,
    /// Overdue keys that were read: to be removed next.
    pub(crate) overdue: std::cell::RefCell<Vec<(DbIndex, Box<[u8]>)>>,
}

impl Keyspace {
    /// An empty keyspace. `seed` decides hashing, never a logged change.
    pub fn new(seed: u64) -> Self {
        Self {
            dbs: (0..DATABASES).map(|_| Db::default()).collect(),
            seed,
            hasher: FixedState::with_seed(seed),
            watches: Watches::default(),
            garbage: Garbage::default(),
            expired_count: 0,
            expired_fields_count: 0,
            rng: fastrand::Rng::with_seed(seed),
            eviction: Eviction::new(seed),
            pool: Pool::default(),
            hits: std::cell::Cell::default(),
            misses: std::cell::Cell::default(),
            epoch: false,
            checkpoint: None,
            overdue: std::cell::RefCell::default(),
        }
    }

    /// The hash of a key: what `prefetch_bucket` and `prefetch_entry` take.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash(&self.hasher, key)
    }

    /// First round over a batch: start loading where the key would stand.
    #[inline]
    pub fn prefetch_bucket(&self, db: DbIndex, hash: u64) {
        self.dbs[db as usize].table.prefetch(hash);
    }

    /// Second round: start loading the entry itself.
    #[inline]
    pub fn prefetch_entry(&self, db: DbIndex, hash: u64) {
        if let Some(entry) = self.dbs[db as usize].table.candidate(hash) {
            leveret_base::prefetch::prefetch(entry.address());
            leveret_base::prefetch::prefetch(entry.address().wrapping_add(64));
        }
    }

    /// How many keys a database has, overdue ones that nobody has met yet included. (Redis: DBSIZE)
    pub fn len(&self, db: DbIndex) -> usize {
        self.dbs[db as usize].table.len()
    }

    /// True when no database has a key.
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(|db| db.table.is_empty())
    }

    /// How many keys of a database have a deadline.
    pub fn with_deadline(&self, db: DbIndex) -> usize {
        self.dbs[db as usize].with_deadline
    }

    /// Which keys go from now on. Clocks keep what they say until the keys are used again, as in Redis.
    pub fn set_policy(&mut self, policy: Policy) {
        self.eviction.policy = policy;
        self.pool.clear();
    }

    /// How many lookups of read commands found their key, and how many did not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.get(), self.misses.get())
    }

    /// The type of a live key, as TYPE prints it.
    pub fn type_of(&self, db: DbIndex, key: &[u8], now_ms: UnixMillis) -> Option<&'static str> {
        let entry = self.find(db, key).filter(|entry| !is_overdue(entry, now_ms))?;
        Some(crate::txn::type_name(entry))
    }

    /// A number that is equal for equal values, deadlines included. (Redis: DEBUG DIGEST-VALUE)
    pub fn digest_of(&self, db: DbIndex, key: &[u8]) -> Option<u64> {
        self.find(db, key).map(|entry| {
            let mut hasher = FixedState::with_seed(0).build_hasher();
            digest_value(entry, &mut hasher);
            hasher.finish()
        })
    }

    /// What DEBUG OBJECT tells of a key: its encoding, and how long its payload is.
    pub fn describe(&self, db: DbIndex, key: &[u8]) -> Option<(&'static str, usize)> {
        let entry = self.find(db, key)?;
        Some((crate::commands::encoding_of(entry), crate::rdb::dump(entry, 0).len()))
    }

    /// How many elements the value under a key has; a string is one.
    pub fn elements_count(&self, db: DbIndex, key: &[u8]) -> Option<u64> {
        self.find(db, key).map(|entry| match entry.value() {
            Value::Object(Object::List(list)) => list.len() as u64,
            Value::Object(Object::Hash(hash)) => hash.len() as u64,
            Value::Object(Object::Set(set)) => set.len() as u64,
            Value::Object(Object::SortedSet(set)) => set.len() as u64,
            Value::Object(Object::Stream(stream)) => stream.len(),
            Value::Object(Object::Blob(_)) | Value::Bytes(_) | Value::Integer(_) => 1,
        })
    }

    /// Sends every value through the format of snapshots and back. (Redis: DEBUG RELOAD)
    pub fn reload(&mut self) {
        for db in 0..DATABASES {
            let entries = self.dbs[db as usize].table.iter();
            let payloads: Vec<_> = entries
                .map(|entry| {
                    let dumped = crate::rdb::dump(entry, 0);
                    (Box::<[u8]>::from(entry.key()), entry.deadline(), entry.clock(), dumped)
                })
                .collect();
            let mut txn = crate::Txn::new(self, db, 0, leveret_base::codec::Changes::off());
            for (key, deadline, clock, payload) in payloads {
                crate::commands::rebuild(&mut txn, &key, deadline, &payload);
                txn.set_clock(&key, |_| Some(clock));
            }
        }
    }

    /// True when reads have met keys whose time is up.
    #[inline]
    pub fn has_overdue(&mut self) -> bool {
        !self.overdue.get_mut().is_empty()
    }

    /// They stay for now.
    pub fn forget_overdue(&mut self) {
        self.overdue.get_mut().clear();
    }

    /// Counters begin at zero again. (Redis: CONFIG RESETSTAT)
    pub fn reset_counts(&mut self) {
        (self.expired_count, self.expired_fields_count) = (0, 0);
        self.eviction.evicted_count = 0;
        self.hits.set(0);
        self.misses.set(0);
    }

    /// About how long keys with a deadline have left on average, in milliseconds; a sample decides.
    pub fn mean_ttl(&self, db: DbIndex, now_ms: UnixMillis) -> u64 {
        const VISITS: usize = 200;
        let (mut sum, mut count) = (0u64, 0u64);
        let db = &self.dbs[db as usize];
        if db.with_deadline > 0 {
            db.table.scan(
                db.expire_cursor,
                VISITS,
                |entry| self.hash(entry.key()),
                |entry| {
                    if let Some(at) = entry.deadline() {
                        sum = sum.saturating_add(at.saturating_sub(now_ms));
                        count += 1;
                    }
                },
            );
        }
        sum / count.max(1)
    }

    /// When a field of a hash goes next.
    pub fn next_field_deadline(&self) -> Option<UnixMillis> {
        self.dbs.iter().filter_map(|db| db.field_deadlines.first()).map(|(at, _)| *at).min()
    }

    #[inline]
    pub(crate) fn find(&self, db: DbIndex, key: &[u8]) -> Option<&Entry> {
        self.dbs[db as usize].table.find(self.hash(key), |entry| entry.key() == key)
    }

    /// True when the key is there and its time is not up.
    pub fn is_live(&self, db: DbIndex, key: &[u8], now_ms: UnixMillis) -> bool {
        self.find(db, key).is_some_and(|entry| !is_overdue(entry, now_ms))
    }

    /// A number that is equal for equal contents, whatever the seed and the order in the tables: what replay must
    /// reproduce.
    pub fn digest(&self) -> u64 {
        self.dbs.iter().enumerate().fold(0u64, |sum, (index, db)| {
            db.table.iter().fold(sum, |sum, entry| sum.wrapping_add(digest_entry(index, entry)))
        })
    }
}

#[inline]
pub(crate) fn is_overdue(entry: &Entry, now_ms: UnixMillis) -> bool {
    entry.deadline().is_some_and(|deadline| deadline <= now_ms)
}

fn digest_entry(db: usize, entry: &Entry) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(&db.to_le_bytes());
    hasher.write_usize(entry.key().len());
    hasher.write(entry.key());
    digest_value(entry, &mut hasher);
    hasher.finish()
}

fn digest_value(entry: &Entry, hasher: &mut impl Hasher) {
    let mut part = |bytes: &[u8]| {
        hasher.write_usize(bytes.len());
        hasher.write(bytes);
    };
    part(&entry.deadline().unwrap_or(0).to_le_bytes());
    match entry.value() {
        Value::Bytes(bytes) => part(bytes),
        Value::Integer(integer) => part(IntegerText::new(integer).as_bytes()),
        Value::Object(object) => object.parts(&mut part),
    }
}
