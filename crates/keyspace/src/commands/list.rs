//! Lists, and the blocking commands that wait for them.

mod edit;
mod moves;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{integer, timeout};
use crate::txn::Block;
use crate::values::{End, List};
use crate::{Args, Error, Reply, Txn, View};

pub(super) use edit::ROWS as EDIT_ROWS;
pub(super) use moves::ROWS as MOVE_ROWS;

const INSERT: &[&str] = &["RW", "INSERT"];
const TAKE: &[&str] = &["RW", "ACCESS", "DELETE"];

pub(super) const ROWS: &[Row] = &[
    write("lpush", -3, Group::List, |txn, args, reply| push(txn, End::Left, args, reply))
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(INSERT, 1, 0, 1)])
        .cost("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .says("Adds elements to the head of a list, which is created if it is missing."),
    write("rpush", -3, Group::List, |txn, args, reply| push(txn, End::Right, args, reply))
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(INSERT, 1, 0, 1)])
        .cost("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .says("Adds elements to the tail of a list, which is created if it is missing."),
    write("lpop", -2, Group::List, |txn, args, reply| pop(txn, "lpop", End::Left, args, reply))
        .fast()
        .keys(&[keys(TAKE, 1, 0, 1)])
        .cost("O(N) where N is the number of elements returned")
        .says("Takes elements from the head of a list; the key goes with the last one."),
    write("rpop", -2, Group::List, |txn, args, reply| pop(txn, "rpop", End::Right, args, reply))
        .fast()
        .keys(&[keys(TAKE, 1, 0, 1)])
        .cost("O(N) where N is the number of elements returned")
        .says("Takes elements from the tail of a list; the key goes with the last one."),
    read("llen", 2, Group::List, llen).fast().keys(&[keys(&["RO"], 1, 0, 1)]).says("Returns the length of a list."),
    read("lrange", 4, Group::List, lrange)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .cost("O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range.")
        .says("Returns a range of elements of a list."),
    write("blpop", -3, Group::List, |txn, args, reply| blocking_pop(txn, End::Left, args, reply))
        .flags(flag::BLOCKING)
        .keys(&[keys(TAKE, 1, -2, 1)])
        .since("2.0.0")
        .cost("O(N) where N is the number of provided keys.")
        .says("Takes the first element of the first list that has one, or waits for it."),
    write("brpop", -3, Group::List, |txn, args, reply| blocking_pop(txn, End::Right, args, reply))
        .flags(flag::BLOCKING)
        .keys(&[keys(TAKE, 1, -2, 1)])
        .since("2.0.0")
        .cost("O(N) where N is the number of provided keys.")
        .says("Takes the last element of the first list that has one, or waits for it."),
];

fn push(txn: &mut Txn<'_>, end: End, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let before = txn.collection(&args[1])?.map_or(0, List::len);
    txn.list_push(end, &args[1], (2..args.len()).map(|i| args.get(i).unwrap_or_default()));
    reply.integer((before + args.len() - 2) as i64);
    Ok(())
}

fn pop(
    txn: &mut Txn<'_>,
    command: &'static str,
    end: End,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if args.len() > 3 {
        return Err(Error::WrongArity(command.into()));
    }
    let Some(count) = args.get(2) else {
        match txn.collection::<List>(&args[1])? {
            Some(_) => txn.list_pop(end, &args[1], 1, |element| reply.bulk(element)),
            None => reply.null(),
        }
        return Ok(());
    };
    let count = crate::parse_integer(count)
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(Error::MustBePositive)?;
    match txn.collection(&args[1])?.map(List::len) {
        None => reply.null_array(),
        Some(len) => {
            reply.array(count.min(len));
            txn.list_pop(end, &args[1], count, |element| reply.bulk(element));
        }
    }
    Ok(())
}

fn llen(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(view.collection(&args[1])?.map_or(0, List::len) as i64);
    Ok(())
}

fn lrange(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let list = view.collection::<List>(&args[1])?;
    let len = list.map_or(0, List::len) as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    match list {
        Some(list) if start <= stop => {
            reply.array((stop - start + 1) as usize);
            list.range(start as usize, stop as usize, |element| reply.bulk(element));
        }
        Some(_) | None => reply.array(0),
    }
    Ok(())
}

fn blocking_pop(txn: &mut Txn<'_>, end: End, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let last = args.len() - 1;
    let deadline = timeout(&args[last], txn.now_ms)?;
    for i in 1..last {
        if txn.collection::<List>(&args[i])?.is_some() {
            reply.array(2);
            reply.bulk(&args[i]);
            txn.list_pop(end, &args[i], 1, |element| reply.bulk(element));
            return Ok(());
        }
    }
    reply.null_array();
    txn.block_on(Block::new((1..last).map(|i| args[i].into()).collect(), "list", deadline));
    Ok(())
}
