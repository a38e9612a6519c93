//! Up to which size collections are kept compactly: Redis' settings, of which the encodings follow that OBJECT ENCODING names.
//! They are the process's and not a database's, decide nothing that is logged, and hold from the next change of a
//! value on.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// One setting.
pub struct Limit {
    /// Redis' name.
    pub name: &'static str,
    value: AtomicI64,
    /// The least that it may be.
    pub least: i64,
}

impl Limit {
    const fn new(name: &'static str, value: i64) -> Self {
        Self { name, value: AtomicI64::new(value), least: 0 }
    }

    /// What it is.
    #[inline]
    pub fn get(&self) -> i64 {
        self.value.load(Relaxed)
    }

    /// As a size.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(0)
    }

    /// Changes it.
    pub fn set(&self, value: i64) {
        self.value.store(value, Relaxed);
    }
}

pub(crate) static HASH_ENTRIES: Limit = Limit::new("hash-max-listpack-entries", 512);
pub(crate) static HASH_VALUE: Limit = Limit::new("hash-max-listpack-value", 64);
pub(crate) static SET_INTEGERS: Limit = Limit::new("set-max-intset-entries", 512);
pub(crate) static SET_ENTRIES: Limit = Limit::new("set-max-listpack-entries", 128);
pub(crate) static SET_VALUE: Limit = Limit::new("set-max-listpack-value", 64);
pub(crate) static SORTED_SET_ENTRIES: Limit = Limit::new("zset-max-listpack-entries", 128);
pub(crate) static SORTED_SET_VALUE: Limit = Limit::new("zset-max-listpack-value", 64);
/// Of a stream's block; 0 is no limit of its own.
pub(crate) static STREAM_BYTES: Limit = Limit::new("stream-node-max-bytes", 4096);
pub(crate) static STREAM_ENTRIES: Limit = Limit::new("stream-node-max-entries", 100);
/// Elements of a chunk, or -1 to -5 for 4 to 64 KiB.
pub(crate) static LIST_CHUNK: Limit =
    Limit { name: "list-max-listpack-size", value: AtomicI64::new(-2), least: -5 };
/// Bytes of a sparse HyperLogLog; the one setting here that decides what is stored, not only how.
pub(crate) static HLL_SPARSE: Limit = Limit::new("hll-sparse-max-bytes", 3000);

/// DEVIATION: chunks are never compressed, whatever it says.
static LIST_COMPRESSED: Limit = Limit::new("list-compress-depth", 0);

/// All of them.
pub static LIMITS: [&Limit; 12] = [
    &HASH_ENTRIES,
    &HASH_VALUE,
    &HLL_SPARSE,
    &LIST_CHUNK,
    &LIST_COMPRESSED,
    &SET_ENTRIES,
    &SET_INTEGERS,
    &SET_VALUE,
    &SORTED_SET_ENTRIES,
    &SORTED_SET_VALUE,
    &STREAM_BYTES,
    &STREAM_ENTRIES,
];

/// How many elements and bytes a chunk of a list may have.
#[inline]
pub(crate) fn of_chunk() -> (usize, usize) {
    const BYTES: usize = 8 * 1024;
    match LIST_CHUNK.get() {
        count @ 1.. => (count as usize, BYTES),
        0 => (1, BYTES),
        class => (usize::MAX, 4096 << (-class - 1).clamp(0, 4)),
    }
}
