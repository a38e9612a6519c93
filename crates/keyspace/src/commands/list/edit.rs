//! Single elements of a list: found, replaced, inserted, removed, cut away.

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{NO_COUNT, integer};
use crate::values::{Element, End, List};
use crate::{Args, Error, Reply, Txn, View};

const ACCESS: &[&str] = &["RO", "ACCESS"];
const INSERT: &[&str] = &["RW", "INSERT"];
const DELETE: &[&str] = &["RW", "DELETE"];
const FROM_END: &str =
    "O(N) where N is the number of elements to traverse before seeing the wanted one, from the nearer end.";

pub(in crate::commands) const ROWS: &[Row] = &[
    write("lpushx", -3, Group::List, |txn, args, reply| push_if_there(txn, End::Left, args, reply))
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(INSERT, 1, 0, 1)])
        .since("2.2.0")
        .cost("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .says("Adds elements to the head of a list that exists."),
    write("rpushx", -3, Group::List, |txn, args, reply| push_if_there(txn, End::Right, args, reply))
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(INSERT, 1, 0, 1)])
        .since("2.2.0")
        .cost("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .says("Adds elements to the tail of a list that exists."),
    read("lindex", 3, Group::List, lindex)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .cost(FROM_END)
        .says("Returns an element of a list by its index."),
    read("lpos", -3, Group::List, lpos)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("6.0.6")
        .cost("O(N) where N is the number of elements in the list, for the average case.")
        .says("Returns the index of elements of a list that are equal to one."),
    write("lset", 4, Group::List, lset)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .cost(FROM_END)
        .says("Replaces an element of a list by its index."),
    write("linsert", 5, Group::List, linsert)
        .flags(flag::DENYOOM)
        .keys(&[keys(INSERT, 1, 0, 1)])
        .since("2.2.0")
        .cost("O(N) where N is the number of elements to traverse before seeing the pivot.")
        .says("Inserts an element before or after another one of a list."),
    write("lrem", 4, Group::List, lrem)
        .keys(&[keys(DELETE, 1, 0, 1)])
        .cost("O(N+M) where N is the length of the list and M is the number of elements removed.")
        .says("Removes elements of a list that are equal to one."),
    write("ltrim", 4, Group::List, ltrim)
        .keys(&[keys(DELETE, 1, 0, 1)])
        .cost("O(N) where N is the number of elements to be removed by the operation.")
        .says("Removes everything of a list but a range."),
];

fn push_if_there(txn: &mut Txn<'_>, end: End, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let before = txn.collection(&args[1])?.map_or(0, List::len);
    if before > 0 {
        txn.list_push(end, &args[1], (2..args.len()).map(|i| args.get(i).unwrap_or_default()));
        reply.integer((before + args.len() - 2) as i64);
    } else {
        reply.integer(0);
    }
    Ok(())
}

/// An index that may count from the end, if it is inside.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

fn lindex(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let list = view.collection::<List>(&args[1])?;
    // Without a list the index is not looked at.
    let Some(list) = list else {
        reply.null();
        return Ok(());
    };
    let index = integer(&args[2])?;
    match place(index, list.len()).and_then(|place| list.get(place)) {
        Some(element) => reply.bulk(&element),
        None => reply.null(),
    }
    Ok(())
}

fn lset(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let len = txn.collection::<List>(&args[1])?.map(List::len).ok_or(Error::NoSuchKey)?;
    let index = place(integer(&args[2])?, len).ok_or(Error::new("ERR index out of range"))?;
    txn.list_set(&args[1], index, &args[3]);
    reply.ok();
    Ok(())
}

fn linsert(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let after = match args[2].to_ascii_lowercase().as_slice() {
        b"before" => 0,
        b"after" => 1,
        _ => return Err(Error::Syntax),
    };
    let Some(list) = txn.collection::<List>(&args[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let len = list.len();
    let pivot = list.iter(End::Left).position(|element| *element == args[3]);
    match pivot {
        Some(pivot) => {
            txn.list_insert(&args[1], pivot + after, &args[4]);
            reply.integer(len as i64 + 1);
        }
        None => reply.integer(-1),
    }
    Ok(())
}

fn lrem(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let count = integer(&args[2])?;
    if count == i64::MIN {
        return Err(NO_COUNT);
    }
    let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let Some(list) = txn.collection::<List>(&args[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let len = list.len();
    let equal = |(i, element): (usize, Element<'_>)| (*element == args[3]).then_some(i);
    let mut indexes: Vec<usize> = if count < 0 {
        let found = list.iter(End::Right).enumerate().filter_map(equal).take(most);
        found.map(|from_end| len - 1 - from_end).collect()
    } else {
        list.iter(End::Left).enumerate().filter_map(equal).take(most).collect()
    };
    indexes.sort_unstable();
    if !indexes.is_empty() {
        txn.list_remove(&args[1], &indexes);
    }
    reply.integer(indexes.len() as i64);
    Ok(())
}

fn ltrim(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    if let Some(len) = txn.collection::<List>(&args[1])?.map(List::len) {
        let from_end = |index: i64| if index < 0 { index.saturating_add(len as i64) } else { index };
        let (start, stop) = (from_end(start).max(0), from_end(stop).min(len as i64 - 1));
        let kept = if start <= stop { (stop - start + 1) as usize } else { 0 };
        if kept < len {
            txn.list_trim(&args[1], start.min(len as i64) as usize, kept);
        }
    }
    reply.ok();
    Ok(())
}

fn lpos(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (mut rank, mut count, mut most) = (1, None, 0);
    for i in (3..args.len()).step_by(2) {
        let value = args.get(i + 1).ok_or(Error::Syntax)?;
        match args[i].to_ascii_uppercase().as_slice() {
            b"RANK" => {
                rank = integer(value)?;
                if rank == i64::MIN {
                    return Err(NO_COUNT);
                }
                if rank == 0 {
                    return Err(Error::new(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
                    ));
                }
            }
            b"COUNT" => {
                let value = integer(value)?;
                count = Some(usize::try_from(value).map_err(|_| Error::new("ERR COUNT can't be negative"))?);
            }
            b"MAXLEN" => {
                let value = integer(value)?;
                most = usize::try_from(value).map_err(|_| Error::new("ERR MAXLEN can't be negative"))?;
            }
            _ => return Err(Error::Syntax),
        }
    }
    let list = view.collection::<List>(&args[1])?;
    let len = list.map_or(0, List::len);
    let most = if most == 0 { usize::MAX } else { most };
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let from = if rank > 0 { End::Left } else { End::Right };
    let elements = list.into_iter().flat_map(|list| list.iter(from)).enumerate().take(most);
    let found: Vec<usize> = elements
        .filter(|(_, element)| **element == args[2])
        .map(|(i, _)| if rank > 0 { i } else { len - 1 - i })
        .skip(rank.unsigned_abs() as usize - 1)
        .take(wanted)
        .collect();
    match (count, found.first()) {
        (None, Some(index)) => reply.integer(*index as i64),
        (None, None) => reply.null(),
        (Some(_), _) => {
            reply.array(found.len());
            found.iter().for_each(|index| reply.integer(*index as i64));
        }
    }
    Ok(())
}
