//! What was refused, for those who look after it. (Redis: ACL LOG)

use std::collections::VecDeque;

/// Where something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Toplevel,
    Multi,
    Script,
}

/// One refusal, or several of the same kind.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) count: u64,
    /// `command`, `key`, `channel` or `auth`.
    pub(crate) reason: &'static str,
    pub(crate) place: Where,
    pub(crate) object: Vec<u8>,
    pub(crate) username: String,
    pub(crate) client_info: String,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// Refusals, the newest first.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) entries: VecDeque<Entry>,
    last_id: u64,
}

/// Refusals of the same kind within this time are one entry.
const TOGETHER_MS: u64 = 60_000;
/// Among so many of the newest.
const COMPARED: usize = 10;

impl History {
    /// Adds a refusal; at most `entries_max` are kept.
    pub(crate) fn add(&mut self, mut entry: Entry, entries_max: usize) {
        let is_same = |old: &Entry| {
            old.reason == entry.reason
                && old.place == entry.place
                && old.object == entry.object
                && old.username == entry.username
                && entry.created_ms.saturating_sub(old.updated_ms) <= TOGETHER_MS
        };
        if let Some(at) = self.entries.iter().take(COMPARED).position(is_same)
            && let Some(mut old) = self.entries.remove(at)
        {
            old.count += 1;
            (old.updated_ms, old.client_info) = (entry.created_ms, entry.client_info);
            self.entries.push_front(old);
        } else {
            self.last_id += 1;
            entry.id = self.last_id - 1;
            self.entries.push_front(entry);
        }
        self.entries.truncate(entries_max);
    }
}
