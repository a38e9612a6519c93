//! Active expiry: overdue keys that nobody asks for are removed in slices, each removal a recorded change.

use crate::db::is_overdue;
use crate::{DATABASES, Txn, event};

impl Txn<'_> {
    /// Visits about `visits` keys of databases that have deadlines, from where the last call stopped, and removes the
    /// overdue ones. Gives how many were removed; many mean that another slice is worth it.
    pub fn expire_slice(&mut self, visits: usize) -> usize {
        let mut removed = 0;
        let home = self.db;
        for db in 0..DATABASES {
            self.db = db;
            removed += self.expire_fields(visits);
            if self.keyspace.dbs[db as usize].with_deadline > 0 {
                removed += self.expire_slice_of_db(visits);
            }
        }
        self.db = home;
        removed
    }

    /// Removes the overdue keys that reads have met. (Redis: lazy expiry)
    pub fn expire_read(&mut self) {
        let home = self.db;
        for (db, key) in std::mem::take(self.keyspace.overdue.get_mut()) {
            self.db = db;
            self.reap(&key);
        }
        self.db = home;
    }

    fn expire_slice_of_db(&mut self, visits: usize) -> usize {
        let db = &self.keyspace.dbs[self.db as usize];
        let (now_ms, mut overdue) = (self.now_ms, Vec::new());
        let cursor = db.table.scan(
            db.expire_cursor,
            visits,
            |entry| self.keyspace.hash(entry.key()),
            |entry| {
                if is_overdue(entry, now_ms) {
                    overdue.push(Box::<[u8]>::from(entry.key()));
                }
            },
        );
        self.keyspace.dbs[self.db as usize].expire_cursor = cursor;
        self.keyspace.expired_count += overdue.len() as u64;
        overdue.iter().filter(|key| self.delete_as(key, event::EXPIRED)).count()
    }
}
