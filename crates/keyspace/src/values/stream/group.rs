//! A consumer group: how far it has read, and who has been given what without having acknowledged it.

use super::EntryId;
use crate::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was given to a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// To whom.
    pub(crate) consumer: Arc<[u8]>,
    /// When last.
    pub(crate) delivered_ms: UnixMillis,
    /// How often.
    pub(crate) count: u64,
}

/// One that reads for its group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Consumer {
    /// When it last asked for anything. It is noted and not recorded: no part of the data.
    pub(crate) seen_ms: UnixMillis,
    /// When it last got something, if ever.
    pub(crate) active_ms: Option<UnixMillis>,
    pending: BTreeSet<EntryId>,
}

impl Consumer {
    /// What it has not acknowledged.
    pub(crate) fn pending(&self) -> &BTreeSet<EntryId> {
        &self.pending
    }
}

/// A group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Up to where it has read.
    pub(crate) last: EntryId,
    /// How many of all entries that ever were it has read, while that is known.
    pub(crate) read_count: Option<u64>,
    pending: BTreeMap<EntryId, Pending>,
    /// The same by the time of delivery, so that what has been pending for long is found without a walk.
    by_time: BTreeSet<(UnixMillis, EntryId)>,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
}

impl Group {
    /// What nobody has acknowledged.
    pub(crate) fn pending(&self) -> &BTreeMap<EntryId, Pending> {
        &self.pending
    }

    /// What was delivered up to a time, the longest ago first.
    pub(crate) fn delivered_until(&self, ms: UnixMillis) -> impl Iterator<Item = (EntryId, &Pending)> {
        let due = self.by_time.range(..=(ms, EntryId::MAX));
        due.filter_map(|(_, id)| Some((*id, self.pending.get(id)?)))
    }

    /// Its consumers.
    pub(crate) fn consumers(&self) -> &BTreeMap<Arc<[u8]>, Consumer> {
        &self.consumers
    }

    /// One of them.
    pub(crate) fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// A consumer with its name, which is made if it is missing.
    pub(crate) fn consumer_mut(&mut self, name: &[u8], now_ms: UnixMillis) -> (Arc<[u8]>, &mut Consumer) {
        let known = self.consumers.get_key_value(name).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| name.into());
        let fresh = || Consumer { seen_ms: now_ms, ..Consumer::default() };
        let consumer = self.consumers.entry(name.clone()).or_insert_with(fresh);
        (name, consumer)
    }

    /// An entry is a consumer's from now on, whoever had it.
    pub(crate) fn deliver(&mut self, to: &Arc<[u8]>, id: EntryId, delivered_ms: UnixMillis, count: u64) {
        let pending = Pending { consumer: to.clone(), delivered_ms, count };
        if let Some(before) = self.pending.insert(id, pending) {
            self.by_time.remove(&(before.delivered_ms, id));
            if before.consumer != *to
                && let Some(consumer) = self.consumers.get_mut(&before.consumer)
            {
                consumer.pending.remove(&id);
            }
        }
        self.by_time.insert((delivered_ms, id));
        if let Some(consumer) = self.consumers.get_mut(to) {
            consumer.pending.insert(id);
        }
    }

    /// An entry is nobody's any more; gives whether it was somebody's.
    pub(crate) fn acknowledge(&mut self, id: EntryId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.by_time.remove(&(pending.delivered_ms, id));
        if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// Removes a consumer with all that it has.
    pub(crate) fn remove_consumer(&mut self, name: &[u8]) {
        if let Some(consumer) = self.consumers.remove(name) {
            for id in consumer.pending {
                if let Some(pending) = self.pending.remove(&id) {
                    self.by_time.remove(&(pending.delivered_ms, id));
                }
            }
        }
    }
}
