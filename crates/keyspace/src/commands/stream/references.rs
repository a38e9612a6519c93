//! Deleting entries with an eye on the groups that know them. (Redis 8.2)

use super::arguments::entry_ids;
use crate::command::{Group, Row, keys, write};
use crate::commands::integer;
use crate::values::{EntryId, Stream};
use crate::{Args, Error, Reply, Txn};
use std::collections::{BTreeMap, BTreeSet};

pub(in crate::commands) const ROWS: &[Row] = &[
    write("xdelex", -5, Group::Stream, xdelex)
        .fast()
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .since("8.2.0")
        .cost("O(1) for each single item to delete in the stream, regardless of the stream size.")
        .says("Removes entries of a stream as far as consumer groups allow."),
    write("xackdel", -6, Group::Stream, xackdel)
        .fast()
        .keys(&[keys(&["RW", "UPDATE", "DELETE"], 1, 0, 1)])
        .since("8.2.0")
        .cost("O(1) for each entry ID processed.")
        .says("Acknowledges entries for a consumer group and removes them as far as other groups allow."),
];

/// What becomes of an entry that is pending somewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum References {
    /// It goes and stays pending.
    Keep,
    /// It goes and is pending no more.
    Delete,
    /// It stays until every group has read and acknowledged it.
    Acknowledged,
}

impl References {
    /// Takes one of the three words, of which there is one at most.
    pub(super) fn give(into: &mut Option<Self>, word: &[u8]) -> Result<(), Error> {
        let given = match word {
            b"KEEPREF" => References::Keep,
            b"DELREF" => References::Delete,
            b"ACKED" => References::Acknowledged,
            _ => return Err(Error::Syntax),
        };
        if into.replace(given).is_some() { Err(Error::Syntax) } else { Ok(()) }
    }
}

/// Nothing is there.
const MISSING: i64 = -1;
/// The entry is gone.
const DELETED: i64 = 1;
/// It stays because a group needs it.
const NEEDED: i64 = 2;

/// `[KEEPREF|DELREF|ACKED] IDS numids id …`, in any order.
fn options(args: Args<'_>, mut at: usize) -> Result<(References, Vec<EntryId>), Error> {
    const MISMATCH: Error = Error::new("ERR The `numids` parameter must match the number of arguments");
    let (mut references, mut ids) = (None, None);
    while let Some(word) = args.get(at) {
        let word = word.to_ascii_uppercase();
        if word == b"IDS" && at + 1 < args.len() {
            let count = integer(&args[at + 1]).ok().filter(|count| *count > 0);
            let count = count.ok_or(Error::new("ERR Number of IDs must be a positive integer"))?;
            let count = usize::try_from(count).ok().filter(|count| *count <= args.len() - at - 2);
            let end = at + 2 + count.ok_or(MISMATCH)?;
            ids = Some(at + 2..end);
            at = end;
        } else {
            References::give(&mut references, &word)?;
            at += 1;
        }
    }
    let ids = ids.ok_or(Error::new("ERR IDS option is required"))?;
    let ids = entry_ids(ids.map(|i| args.get(i).unwrap_or_default()))?;
    Ok((references.unwrap_or(References::Keep), ids))
}

/// Answers that nothing is there.
fn reply_of_missing(reply: &mut Reply<'_>, count: usize) {
    reply.array(count);
    (0..count).for_each(|_| reply.integer(MISSING));
}

/// Entries are pending nowhere any more.
pub(super) fn forget(txn: &mut Txn<'_>, key: &[u8], ids: &[EntryId]) -> Result<(), Error> {
    let Some(stream) = txn.collection::<Stream>(key)? else { return Ok(()) };
    let known = |group: &crate::values::Group| -> Vec<EntryId> {
        ids.iter().copied().filter(|id| group.pending().contains_key(id)).collect()
    };
    let by_group: Vec<_> = stream.groups.iter().map(|(name, group)| (name.clone(), known(group))).collect();
    for (name, ids) in by_group.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        txn.stream_acknowledge(key, &name, &ids);
    }
    Ok(())
}

fn xdelex(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = &args[1];
    let is_missing = txn.collection::<Stream>(key)?.is_none();
    let (references, ids) = options(args, 2)?;
    if is_missing {
        reply_of_missing(reply, ids.len());
        return Ok(());
    }
    if references == References::Delete {
        // Even of what is not there any more.
        forget(txn, key, &ids)?;
    }
    let codes = delete(txn, key, &ids, references)?;
    reply.array(codes.len());
    codes.into_iter().for_each(|code| reply.integer(code));
    Ok(())
}

/// Deletes the entries that may go; tells of each what became of it.
fn delete(txn: &mut Txn<'_>, key: &[u8], ids: &[EntryId], references: References) -> Result<Vec<i64>, Error> {
    let (mut codes, mut gone) = (Vec::new(), BTreeSet::new());
    let stream = txn.collection::<Stream>(key)?;
    for id in ids {
        codes.push(match stream {
            Some(stream) if stream.get(*id).is_none() || gone.contains(id) => MISSING,
            Some(stream) if references == References::Acknowledged && stream.is_referenced(*id) => NEEDED,
            Some(_) => {
                gone.insert(*id);
                DELETED
            }
            None => MISSING,
        });
    }
    if !gone.is_empty() {
        let gone: Vec<EntryId> = gone.into_iter().collect();
        txn.stream_delete(key, &gone, true);
    }
    Ok(codes)
}

fn xackdel(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, group) = (&args[1], &args[2]);
    let is_there = txn.collection::<Stream>(key)?.is_some_and(|stream| stream.groups.contains_key(group));
    let (references, ids) = options(args, 3)?;
    if !is_there {
        reply_of_missing(reply, ids.len());
        return Ok(());
    }
    let mut acknowledged = BTreeSet::new();
    if let Some(group) = txn.collection::<Stream>(key)?.and_then(|stream| stream.groups.get(group)) {
        for id in &ids {
            if group.pending().contains_key(id) {
                acknowledged.insert(*id);
            }
        }
    }
    let acknowledged: Vec<EntryId> = acknowledged.into_iter().collect();
    if !acknowledged.is_empty() {
        txn.stream_acknowledge(key, group, &acknowledged);
    }
    if references == References::Delete {
        forget(txn, key, &acknowledged)?;
    }
    let codes = delete(txn, key, &acknowledged, references)?;
    let mut done: BTreeMap<EntryId, i64> = acknowledged.into_iter().zip(codes).collect();
    reply.array(ids.len());
    for id in ids {
        // What was pending is acknowledged, whether it is still there or not.
        reply.integer(done.remove(&id).map_or(MISSING, |code| code.max(DELETED)));
    }
    Ok(())
}
