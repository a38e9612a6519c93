//! Records back into state: the tags say whose change it is, and the owner's primitive is called again.

use crate::engine::{Engine, KIND_COMMIT};
use leveret_base::codec::{Place, Reader};
use leveret_wal::{Record, Replay};

impl Replay for Engine {
    fn ahead(&mut self, records: &[Record<'_>]) {
        self.keyspace.load_ahead(records.iter().map(|record| record.changes));
    }

    fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.apply(record)
    }
}

impl Engine {
    /// Applies one record. An unknown kind or tag is an error: a newer Leveret has written it.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        if record.head.kind != KIND_COMMIT {
            return Err(format!(
                "record kind {} is unknown: was this log written by a newer version?",
                record.head.kind
            ));
        }
        self.apply_changes(record.changes, Some(record.head.position))?;
        self.set_replayed(record.head.position, record.head.time_ms);
        Ok(())
    }

    /// Applies changes back to back: those of a commit, or of a checkpoint.
    pub(crate) fn apply_changes(&mut self, changes: &[u8], position: Option<u64>) -> Result<(), String> {
        let mut fields = Reader::new(changes);
        while !fields.is_empty() {
            let offset = u32::try_from(changes.len() - fields.left()).ok();
            self.broker.place = offset.zip(position).map(|(offset, position)| Place { position, offset });
            let tag = fields.byte().map_err(|e| e.to_string())?;
            let applied = if leveret_keyspace::CHANGE_TAGS.contains(&tag) {
                self.keyspace.apply(tag, &mut fields)
            } else if leveret_broker::CHANGE_TAGS.contains(&tag) {
                self.broker.apply(tag, &mut fields)
            } else if crate::accounts::CHANGE_TAGS.contains(&tag) {
                self.accounts.apply(tag, &mut fields)
            } else if crate::parameters::CHANGE_TAGS.contains(&tag) {
                self.parameters.apply(tag, &mut fields)
            } else if crate::libraries::CHANGE_TAGS.contains(&tag) {
                self.libraries.apply(tag, &mut fields)
            } else {
                return Err(format!(
                    "change {tag:#04x} is unknown: was this log written by a newer version?"
                ));
            };
            applied.map_err(|e| format!("{e} (tag {tag:#04x})"))?;
        }
        self.keyspace.watches.ready.clear();
        Ok(())
    }

    /// After the last record: what was handed out before the stop is marked redelivered, and keys count as used
    /// last by now.
    pub fn after_replay(&mut self, now_ms: u64) {
        self.enter(now_ms);
        let now_ms = self.now_ms();
        self.keyspace.eviction.started_ms = now_ms;
        self.broker.after_replay(now_ms);
        self.follow_bindings();
    }
}
