//! The primitive changes of streams. The names of entries, times and counts are decided by commands and recorded; so is
//! what a trim takes, whose extent depends on settings.

use super::Txn;
use crate::change::{self, begin, record, record_many};
use crate::entry::Entry;
use crate::event;
use crate::values::{Collection, EntryId, Group, Object, Stream, StreamEntry};
use crate::{DbIndex, UnixMillis};
use leveret_base::codec::{Malformed, Reader, put_bytes, put_varint};

/// An entry that is given to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Which one.
    pub(crate) id: EntryId,
    /// When.
    pub(crate) at_ms: UnixMillis,
    /// How often now.
    pub(crate) count: u64,
}

impl Txn<'_> {
    /// Primitive: adds an entry, whose name comes behind the last one, to a stream, which is made if it is missing.
    pub(crate) fn stream_add<'e>(
        &mut self,
        key: &[u8],
        id: EntryId,
        fields: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
    ) {
        self.reap(key);
        if let Some(out) = self.changes.buffer() {
            put_add(out, self.db, key, id, fields.clone());
        }
        self.change(event::STREAM_ADD, key, |stream: &mut Stream| stream.add(id, fields));
        self.keyspace.watches.filled(self.db, key);
    }

    /// Primitive: takes entries out; they are remembered as gaps if they were `named`. Gives how many were there.
    pub(crate) fn stream_delete(&mut self, key: &[u8], ids: &[EntryId], named: bool) -> u64 {
        self.record_ids(change::STREAM_DELETE, &[u64::from(named)], &[key], ids);
        let event = if named { event::STREAM_DELETE } else { event::STREAM_TRIM };
        self.change(event, key, |stream: &mut Stream| {
            let mut count = 0;
            for id in ids {
                if stream.remove(*id) {
                    count += 1;
                    if named {
                        stream.deleted_max = stream.deleted_max.max(*id);
                    }
                }
            }
            count
        })
    }

    /// Primitive: takes all entries up to one out.
    pub(crate) fn stream_trim(&mut self, key: &[u8], through: EntryId) {
        record!(self, change::STREAM_TRIM, number through.ms, number through.seq, bytes key);
        self.change(event::STREAM_TRIM, key, |stream: &mut Stream| stream.remove_through(through));
    }

    /// Primitive: sets what a stream knows about entries that are gone. It is made if it is missing; then this is announced
    /// by what it is made for.
    pub(crate) fn stream_set_ids(
        &mut self,
        key: &[u8],
        last: EntryId,
        added_count: u64,
        deleted_max: EntryId,
    ) {
        self.reap(key);
        record!(
            self,
            change::STREAM_SET_IDS,
            number last.ms,
            number last.seq,
            number added_count,
            number deleted_max.ms,
            number deleted_max.seq,
            bytes key
        );
        let is_new = self.find_mut(key).is_none();
        let event = if is_new { event::NOTHING } else { event::STREAM_SET_IDS };
        self.change(event, key, |stream: &mut Stream| {
            (stream.last, stream.added_count, stream.deleted_max) = (last, added_count, deleted_max);
        });
    }

    /// Primitive: sets how far a group has read; it is made if it is missing.
    pub(crate) fn stream_group(&mut self, key: &[u8], group: &[u8], last: EntryId, read_count: Option<u64>) {
        let read = read_count.map_or(0, |count| count.saturating_add(1));
        record!(self, change::STREAM_GROUP, number last.ms, number last.seq, number read, bytes key, bytes group);
        if let Some(stream) = self.stream_mut(key) {
            let group = stream.groups.entry(group.into()).or_default();
            (group.last, group.read_count) = (last, read_count);
        }
    }

    /// Primitive: removes a consumer of a group, or the group itself, with all that is pending there.
    pub(crate) fn stream_forget(&mut self, key: &[u8], group: &[u8], consumer: Option<&[u8]>) {
        let names = [Some(group), consumer].into_iter().flatten().collect::<Vec<_>>();
        record_many(self, change::STREAM_FORGET, None, key, names.into_iter());
        let Some(stream) = self.stream_mut(key) else { return };
        match (consumer, stream.groups.get_mut(group)) {
            (Some(consumer), Some(group)) => group.remove_consumer(consumer),
            (Some(_), None) => {}
            (None, _) => {
                stream.groups.remove(group);
                self.keyspace.watches.lost(self.db, key);
            }
        }
    }

    /// Primitive: gives entries to a consumer, whoever had them, at a time when it was seen; it is made if it is missing. It
    /// was active then if `active` says so.
    pub(crate) fn stream_deliver(
        &mut self,
        key: &[u8],
        (group, consumer): (&[u8], &[u8]),
        at_ms: UnixMillis,
        active: bool,
        deliveries: &[Delivery],
    ) {
        if let Some(out) = self.changes.buffer() {
            put_deliveries(out, self.db, [key, group, consumer], at_ms, active, deliveries);
        }
        let Some(group) = self.group_mut(key, group) else { return };
        let (name, consumer) = group.consumer_mut(consumer, at_ms);
        consumer.seen_ms = at_ms;
        if active {
            consumer.active_ms = Some(at_ms);
        }
        for Delivery { id, at_ms, count } in deliveries {
            group.deliver(&name, *id, *at_ms, *count);
        }
    }

    /// Primitive: entries are nobody's any more. Gives how many were somebody's.
    pub(crate) fn stream_acknowledge(&mut self, key: &[u8], group: &[u8], ids: &[EntryId]) -> u64 {
        self.record_ids(change::STREAM_ACKNOWLEDGE, &[], &[key, group], ids);
        let Some(group) = self.group_mut(key, group) else { return 0 };
        ids.iter().filter(|id| group.acknowledge(**id)).count() as u64
    }

    /// Notes that a consumer has asked for something, which is no part of the data.
    pub(crate) fn note_seen(&mut self, key: &[u8], (group, consumer): (&[u8], &[u8])) {
        let now_ms = self.now_ms;
        if let Some(group) = self.group_mut(key, group)
            && group.consumer(consumer).is_some()
        {
            group.consumer_mut(consumer, now_ms).1.seen_ms = now_ms;
        }
    }

    fn stream_mut(&mut self, key: &[u8]) -> Option<&mut Stream> {
        self.find_mut(key).and_then(Entry::object_mut).and_then(Stream::of_mut)
    }

    fn group_mut(&mut self, key: &[u8], group: &[u8]) -> Option<&mut Group> {
        self.stream_mut(key)?.groups.get_mut(group)
    }

    fn record_ids(&mut self, tag: u8, numbers: &[u64], strings: &[&[u8]], ids: &[EntryId]) {
        let Some(out) = self.changes.buffer() else { return };
        begin(out, tag, self.db);
        numbers.iter().for_each(|number| put_varint(out, *number));
        strings.iter().for_each(|bytes| put_bytes(out, bytes));
        put_varint(out, ids.len() as u64);
        ids.iter().for_each(|id| put_id(out, *id));
    }

    /// The stream under a key has gone, or another value has taken its place.
    pub(super) fn lose_stream(&mut self, key: &[u8], object: &Object) {
        if let Object::Stream(_) = object {
            self.keyspace.watches.lost(self.db, key);
        }
    }

    /// Replay of the changes of streams.
    pub(crate) fn apply_stream(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        match tag {
            change::STREAM_ADD => {
                let (id, key, count) = (read_id(fields)?, fields.bytes()?, fields.varint()?);
                let parts = (0..count).map(|_| fields.bytes()).collect::<Result<Vec<_>, _>>()?;
                let last = self.replayed_stream(key)?.map_or(EntryId::ZERO, |stream| stream.last);
                if id <= last || parts.is_empty() || parts.len() % 2 != 0 {
                    return Err(Malformed);
                }
                self.stream_add(key, id, parts.iter().copied());
            }
            change::STREAM_DELETE => {
                let (named, key) = (fields.varint()?, fields.bytes()?);
                let ids = read_ids(fields)?;
                self.replayed_stream(key)?.ok_or(Malformed)?;
                self.stream_delete(key, &ids, named != 0);
            }
            change::STREAM_TRIM => {
                let (through, key) = (read_id(fields)?, fields.bytes()?);
                self.replayed_stream(key)?.ok_or(Malformed)?;
                self.stream_trim(key, through);
            }
            change::STREAM_SET_IDS => {
                let (last, added, deleted_max) = (read_id(fields)?, fields.varint()?, read_id(fields)?);
                let key = fields.bytes()?;
                if self.replayed_stream(key)?.and_then(Stream::last_entry_id).is_some_and(|id| id > last) {
                    return Err(Malformed);
                }
                self.stream_set_ids(key, last, added, deleted_max);
            }
            change::STREAM_GROUP => {
                let (last, read) = (read_id(fields)?, fields.varint()?);
                let (key, group) = (fields.bytes()?, fields.bytes()?);
                self.replayed_stream(key)?.ok_or(Malformed)?;
                self.stream_group(key, group, last, read.checked_sub(1));
            }
            change::STREAM_FORGET => {
                let (key, count) = (fields.bytes()?, fields.varint()?);
                let group = fields.bytes()?;
                let consumer = if count > 1 { Some(fields.bytes()?) } else { None };
                self.replayed_stream(key)?.ok_or(Malformed)?;
                self.stream_forget(key, group, consumer);
            }
            change::STREAM_DELIVER => {
                let (at_ms, active) = (fields.varint()?, fields.varint()?);
                let (key, group, consumer) = (fields.bytes()?, fields.bytes()?, fields.bytes()?);
                let mut deliveries = Vec::new();
                for _ in 0..fields.varint()? {
                    let id = read_id(fields)?;
                    deliveries.push(Delivery { id, at_ms: fields.varint()?, count: fields.varint()? });
                }
                self.replayed_stream(key)?.ok_or(Malformed)?;
                self.stream_deliver(key, (group, consumer), at_ms, active != 0, &deliveries);
            }
            change::STREAM_ACKNOWLEDGE => {
                let (key, group) = (fields.bytes()?, fields.bytes()?);
                let ids = read_ids(fields)?;
                self.replayed_stream(key)?.ok_or(Malformed)?;
                self.stream_acknowledge(key, group, &ids);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn replayed_stream(&self, key: &[u8]) -> Result<Option<&Stream>, Malformed> {
        self.collection(key).map_err(|_| Malformed)
    }
}

fn put_add<'e>(
    out: &mut Vec<u8>,
    db: DbIndex,
    key: &[u8],
    id: EntryId,
    fields: impl ExactSizeIterator<Item = &'e [u8]>,
) {
    begin(out, change::STREAM_ADD, db);
    put_id(out, id);
    put_bytes(out, key);
    put_varint(out, fields.len() as u64);
    fields.for_each(|part| put_bytes(out, part));
}

/// Key, group and consumer; then what it is given.
fn put_deliveries(
    out: &mut Vec<u8>,
    db: DbIndex,
    names: [&[u8]; 3],
    at_ms: UnixMillis,
    active: bool,
    deliveries: &[Delivery],
) {
    begin(out, change::STREAM_DELIVER, db);
    put_varint(out, at_ms);
    put_varint(out, u64::from(active));
    names.iter().for_each(|bytes| put_bytes(out, bytes));
    put_varint(out, deliveries.len() as u64);
    for Delivery { id, at_ms, count } in deliveries {
        put_id(out, *id);
        put_varint(out, *at_ms);
        put_varint(out, *count);
    }
}

/// An entry of a stream as the change that adds it.
pub(crate) fn put_entry(out: &mut Vec<u8>, db: DbIndex, key: &[u8], entry: StreamEntry<'_>) {
    let parts: Vec<_> = entry.fields().flat_map(|(name, value)| [name, value]).collect();
    put_add(out, db, key, entry.id, parts.iter().map(|part| &**part));
}

/// What a stream has beside its entries, as the changes that make it.
pub(crate) fn put_rest(out: &mut Vec<u8>, db: DbIndex, key: &[u8], stream: &Stream) {
    begin(out, change::STREAM_SET_IDS, db);
    put_id(out, stream.last);
    put_varint(out, stream.added_count);
    put_id(out, stream.deleted_max);
    put_bytes(out, key);
    for (name, group) in &stream.groups {
        begin(out, change::STREAM_GROUP, db);
        put_id(out, group.last);
        put_varint(out, group.read_count.map_or(0, |count| count.saturating_add(1)));
        put_bytes(out, key);
        put_bytes(out, name);
        for (consumer, state) in group.consumers() {
            let names = [key, name, consumer];
            if let Some(active_ms) = state.active_ms {
                put_deliveries(out, db, names, active_ms, true, &[]);
            }
            let pending = state.pending().iter().filter_map(|id| Some((*id, group.pending().get(id)?)));
            let deliveries: Vec<Delivery> = pending
                .map(|(id, pending)| Delivery { id, at_ms: pending.delivered_ms, count: pending.count })
                .collect();
            put_deliveries(out, db, names, state.seen_ms, false, &deliveries);
        }
    }
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_varint(out, id.ms);
    put_varint(out, id.seq);
}

fn read_id(fields: &mut Reader<'_>) -> Result<EntryId, Malformed> {
    Ok(EntryId { ms: fields.varint()?, seq: fields.varint()? })
}

fn read_ids(fields: &mut Reader<'_>) -> Result<Vec<EntryId>, Malformed> {
    let count = fields.varint()?;
    (0..count).map(|_| read_id(fields)).collect()
}
