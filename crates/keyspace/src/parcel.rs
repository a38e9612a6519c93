//! A key as it travels to another server. (Redis: MIGRATE)

use crate::{Txn, UnixMillis, View, rdb};

/// A key, its value as a payload, and its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The key.
    pub key: Box<[u8]>,
    /// As DUMP gives it.
    pub payload: Vec<u8>,
    /// When it goes by itself.
    pub deadline: Option<UnixMillis>,
}

impl View<'_> {
    /// The key as it is now.
    pub fn pack(&self, key: &[u8]) -> Option<Parcel> {
        let entry = self.look_up(key)?;
        let payload = rdb::dump(entry, self.now_ms);
        Some(Parcel { key: key.into(), payload, deadline: entry.deadline() })
    }
}

impl Txn<'_> {
    /// The key has arrived elsewhere.
    pub fn depart(&mut self, key: &[u8]) {
        if self.view().find(key).is_some() {
            self.delete(key);
        }
    }
}
