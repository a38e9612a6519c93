//! Streams: adding, trimming, deleting. Ranges are in `range.rs`, XREAD and XREADGROUP in `read.rs`, groups and consumers in
//! `group.rs`, what is pending in `pending.rs` and `claim.rs`, XINFO in `info.rs`, deletion that looks at groups in `references.rs`.

mod arguments;
mod claim;
mod group;
mod info;
mod pending;
mod range;
mod read;
mod references;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{arguments, integer};
use crate::values::{EntryId, Keep, Stream};
use crate::{Args, Error, Reply, Txn, View};
use arguments::{Named, TrimOptions, entry_id, entry_ids};
use references::References;

pub(super) use claim::ROWS as CLAIM_ROWS;
pub(super) use group::ROWS as GROUP_ROWS;
pub(super) use info::ROWS as INFO_ROWS;
pub(super) use pending::ROWS as PENDING_ROWS;
pub(super) use range::ROWS as RANGE_ROWS;
pub(super) use read::ROWS as READ_ROWS;
pub(super) use references::ROWS as REFERENCE_ROWS;

pub(super) const ROWS: &[Row] = &[
    write("xadd", -5, Group::Stream, xadd)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("5.0.0")
        .cost("O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Adds an entry to a stream, which is created if it is missing."),
    write("xtrim", -4, Group::Stream, xtrim)
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .since("5.0.0")
        .cost("O(N), with N being the number of evicted entries. Constant times are very small however, since entries are organized in macro nodes containing multiple entries that can be released with a single deallocation.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Removes entries from the beginning of a stream."),
    write("xdel", -3, Group::Stream, xdel)
        .fast()
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .since("5.0.0")
        .cost("O(1) for each single item to delete in the stream, regardless of the stream size.")
        .says("Removes entries of a stream; it stays when it is empty."),
    write("xsetid", -3, Group::Stream, xsetid)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("5.0.0")
        .says("Sets the last ID of a stream and what it knows about entries that are gone."),
    read("xlen", 2, Group::Stream, xlen)
        .fast()
        .keys(&[keys(&["RO"], 1, 0, 1)])
        .since("5.0.0")
        .says("Returns the number of entries of a stream."),
];

fn xlen(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(view.collection::<Stream>(&args[1])?.map_or(0, Stream::len) as i64);
    Ok(())
}

/// More than this is no entry. (Redis: STREAM_LISTPACK_MAX_SIZE)
const ENTRY_BYTES_MAX: usize = 1 << 30;

fn xadd(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = TrimOptions::parse(args, true)?;
    let fields_at = options.at + 1;
    if args.len() < fields_at + 2 || (args.len() - fields_at) % 2 == 1 {
        return Err(Error::WrongArity("xadd".into()));
    }
    if options.name == Named::Whole(EntryId::ZERO) {
        return Err(Error::new("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let key = &args[1];
    let stream = txn.collection::<Stream>(key)?;
    if stream.is_none() && options.no_stream {
        reply.null();
        return Ok(());
    }
    let last = stream.map_or(EntryId::ZERO, |stream| stream.last);
    let id = next_id(last, options.name, txn.now_ms)?;
    let fields = arguments(args, fields_at);
    if fields.clone().map(<[u8]>::len).sum::<usize>() > ENTRY_BYTES_MAX {
        return Err(Error::new("ERR Elements are too large to be stored"));
    }
    txn.stream_add(key, id, fields);
    if let Some(keep) = options.keep {
        trim(txn, key, keep, &options)?;
    }
    reply.bulk(&id.text());
    Ok(())
}

/// The name of an entry that is added behind the last one.
fn next_id(last: EntryId, named: Named, now_ms: u64) -> Result<EntryId, Error> {
    if last == EntryId::MAX {
        return Err(Error::new(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match named {
        Named::Auto if now_ms > last.ms => Some(EntryId { ms: now_ms, seq: 0 }),
        Named::Auto => last.next(),
        Named::Millis(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| EntryId { ms, seq }),
        Named::Millis(ms) => Some(EntryId { ms, seq: 0 }),
        Named::Whole(id) => Some(id),
    };
    id.filter(|id| *id > last)
        .ok_or(Error::new("ERR The ID specified in XADD is equal or smaller than the target stream top item"))
}

fn xtrim(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = TrimOptions::parse(args, false)?;
    let count = match (txn.collection::<Stream>(&args[1])?, options.keep) {
        (Some(_), Some(keep)) => trim(txn, &args[1], keep, &options)?,
        (Some(_), None) | (None, _) => 0,
    };
    reply.integer(count as i64);
    Ok(())
}

/// Removes what is not to be kept from a stream that is there; gives how many entries.
fn trim(txn: &mut Txn<'_>, key: &[u8], keep: Keep, options: &TrimOptions) -> Result<u64, Error> {
    let Some(stream) = txn.collection::<Stream>(key)? else { return Ok(0) };
    if options.references == Some(References::Acknowledged) {
        let ids = unreferenced(stream, keep, options);
        return Ok(if ids.is_empty() { 0 } else { txn.stream_delete(key, &ids, false) });
    }
    let Some((count, through)) = stream.trim_end(keep, options.exact, options.limit) else { return Ok(0) };
    if options.references == Some(References::Delete) {
        let ids: Vec<EntryId> = stream.range(EntryId::ZERO, through).map(|entry| entry.id).collect();
        references::forget(txn, key, &ids)?;
    }
    txn.stream_trim(key, through);
    Ok(count)
}

/// What a trim takes that must not take what a group still needs.
fn unreferenced(stream: &Stream, keep: Keep, options: &TrimOptions) -> Vec<EntryId> {
    let through = if options.exact {
        EntryId::MAX
    } else {
        stream.trim_end(keep, false, options.limit).map_or(EntryId::ZERO, |(_, through)| through)
    };
    let mut ids = Vec::new();
    for entry in stream.range(EntryId::ZERO, through) {
        let is_enough = match keep {
            Keep::Last(max) => stream.len() - ids.len() as u64 <= max,
            Keep::From(first) => entry.id >= first,
        };
        if is_enough {
            break;
        }
        if !stream.is_referenced(entry.id) {
            ids.push(entry.id);
        }
    }
    ids
}

fn xdel(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let Some(stream) = txn.collection::<Stream>(&args[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let mut ids = entry_ids(arguments(args, 2))?;
    ids.retain(|id| stream.get(*id).is_some());
    let count = if ids.is_empty() { 0 } else { txn.stream_delete(&args[1], &ids, true) };
    reply.integer(count as i64);
    Ok(())
}

fn xsetid(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let id = entry_id(&args[2])?;
    let (mut added, mut deleted_max, mut i) = (None, EntryId::ZERO, 3);
    while let Some(word) = args.get(i) {
        match (word.to_ascii_uppercase().as_slice(), args.get(i + 1)) {
            (b"ENTRIESADDED", Some(count)) => {
                let count = u64::try_from(integer(count)?);
                added = Some(count.map_err(|_| Error::new("ERR entries_added must be positive"))?);
            }
            (b"MAXDELETEDID", Some(deleted)) => {
                deleted_max = entry_id(deleted)?;
                if id < deleted_max {
                    return Err(Error::new(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
            }
            _ => return Err(Error::Syntax),
        }
        i += 2;
    }
    let stream = txn.collection::<Stream>(&args[1])?.ok_or(Error::NoSuchKey)?;
    if id < stream.deleted_max {
        return Err(Error::new(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if stream.last_entry_id().is_some_and(|last| id < last) {
        return Err(Error::new("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if added.is_some_and(|added| stream.len() > added) {
        return Err(Error::new(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    let added = added.unwrap_or(stream.added_count);
    let deleted_max = if deleted_max == EntryId::ZERO { stream.deleted_max } else { deleted_max };
    txn.stream_set_ids(&args[1], id, added, deleted_max);
    reply.ok();
    Ok(())
}
