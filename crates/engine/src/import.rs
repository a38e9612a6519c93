//! What an import needs: a commit on one database that is no client's command.

use crate::engine::Engine;
use leveret_base::codec::Changes;
use leveret_keyspace::{DbIndex, Txn};

impl Engine {
    /// One commit on a database.
    pub fn on_keyspace<T>(&mut self, db: DbIndex, run: impl FnOnce(&mut Txn<'_>) -> T) -> T {
        self.begin();
        let now_ms = self.now_ms();
        let changes = Changes::on(self.tail.changes());
        let result = run(&mut Txn::new(&mut self.keyspace, db, now_ms, changes));
        self.end();
        result
    }
}
