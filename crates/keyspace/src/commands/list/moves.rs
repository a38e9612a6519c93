//! Elements that go from one list to another or come from the first of several lists, waiting if need be.

use crate::command::{Group, Row, counted_keys, flag, keys, write};
use crate::commands::{integer, timeout};
use crate::txn::Block;
use crate::values::{End, List};
use crate::{Args, Error, Reply, Txn, UnixMillis};

const TAKE: &[&str] = &["RW", "ACCESS", "DELETE"];
const INSERT: &[&str] = &["RW", "INSERT"];
const MANY: &str = "O(N+M) where N is the number of provided keys and M is the number of elements returned.";

pub(in crate::commands) const ROWS: &[Row] = &[
    write("lmove", 5, Group::List, |txn, args, reply| {
        let (from, to) = (end(&args[3])?, end(&args[4])?);
        move_now(txn, args, from, to, reply).map(|moved| {
            if !moved {
                reply.null();
            }
        })
    })
    .flags(flag::DENYOOM)
    .keys(&[keys(TAKE, 1, 0, 1), keys(INSERT, 2, 0, 1)])
    .since("6.2.0")
    .says("Takes an element from one list and adds it to another."),
    write("rpoplpush", 3, Group::List, |txn, args, reply| {
        move_now(txn, args, End::Right, End::Left, reply).map(|moved| {
            if !moved {
                reply.null();
            }
        })
    })
    .flags(flag::DENYOOM)
    .keys(&[keys(TAKE, 1, 0, 1), keys(INSERT, 2, 0, 1)])
    .since("1.2.0")
    .says("Takes the last element of one list and adds it to the head of another."),
    write("blmove", 6, Group::List, |txn, args, reply| {
        let (from, to) = (end(&args[3])?, end(&args[4])?);
        let deadline = timeout(&args[5], txn.now_ms)?;
        move_or_wait(txn, args, from, to, deadline, reply)
    })
    .flags(flag::DENYOOM | flag::BLOCKING)
    .keys(&[keys(TAKE, 1, 0, 1), keys(INSERT, 2, 0, 1)])
    .since("6.2.0")
    .says("Takes an element from one list and adds it to another, or waits for one."),
    write("brpoplpush", 4, Group::List, |txn, args, reply| {
        let deadline = timeout(&args[3], txn.now_ms)?;
        move_or_wait(txn, args, End::Right, End::Left, deadline, reply)
    })
    .flags(flag::DENYOOM | flag::BLOCKING)
    .keys(&[keys(TAKE, 1, 0, 1), keys(INSERT, 2, 0, 1)])
    .since("2.2.0")
    .says("Takes the last element of one list and adds it to the head of another, or waits for one."),
    write("lmpop", -4, Group::List, |txn, args, reply| {
        let wanted = Wanted::parse(args, 1)?;
        pop_first(txn, &wanted, reply).map(|popped| {
            if !popped {
                reply.null_array();
            }
        })
    })
    .keys(&[counted_keys(TAKE, 1)])
    .since("7.0.0")
    .cost(MANY)
    .says("Takes elements from the first of several lists that has one."),
    write("blmpop", -5, Group::List, |txn, args, reply| {
        let deadline = timeout(&args[1], txn.now_ms)?;
        let wanted = Wanted::parse(args, 2)?;
        if !pop_first(txn, &wanted, reply)? {
            reply.null_array();
            txn.block_on(Block::new(wanted.keys.iter().map(|key| (*key).into()).collect(), "list", deadline));
        }
        Ok(())
    })
    .flags(flag::BLOCKING)
    .keys(&[counted_keys(TAKE, 2)])
    .since("7.0.0")
    .cost(MANY)
    .says("Takes elements from the first of several lists that has one, or waits for it."),
];

/// `LEFT` or `RIGHT`.
fn end(word: &[u8]) -> Result<End, Error> {
    match word.to_ascii_uppercase().as_slice() {
        b"LEFT" => Ok(End::Left),
        b"RIGHT" => Ok(End::Right),
        _ => Err(Error::Syntax),
    }
}

/// False when there is nothing to move.
fn move_now(
    txn: &mut Txn<'_>,
    args: Args<'_>,
    from: End,
    to: End,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    let Some(list) = txn.collection::<List>(&args[1])? else { return Ok(false) };
    let index = if from == End::Left { 0 } else { list.len() - 1 };
    let moved = list.get(index).map_or_else(Vec::new, |element| element.to_vec());
    txn.collection::<List>(&args[2])?;
    // Redis announces the push first.
    txn.list_push(to, &args[2], std::iter::once(moved.as_slice()));
    txn.list_pop(from, &args[1], 1, |_| {});
    reply.bulk(&moved);
    Ok(true)
}

fn move_or_wait(
    txn: &mut Txn<'_>,
    args: Args<'_>,
    from: End,
    to: End,
    deadline: Option<UnixMillis>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if !move_now(txn, args, from, to, reply)? {
        // After the timeout; in a transaction, where nothing waits, Redis answers with a null string.
        reply.null_array();
        txn.block_on(Block::new(vec![args[1].into()], "list", deadline));
    }
    Ok(())
}

/// `numkeys key … LEFT|RIGHT [COUNT n]`.
struct Wanted<'a> {
    keys: Vec<&'a [u8]>,
    end: End,
    count: usize,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>, at: usize) -> Result<Self, Error> {
        let count = crate::parse_integer(&args[at]).filter(|count| *count > 0);
        let count = count.ok_or(Error::new("ERR numkeys should be greater than 0"))?;
        let behind =
            usize::try_from(count).ok().and_then(|count| count.checked_add(at + 1)).ok_or(Error::Syntax)?;
        let end = end(args.get(behind).ok_or(Error::Syntax)?)?;
        let count = match (args.get(behind + 1), args.get(behind + 2)) {
            (None, _) => 1,
            (Some(word), Some(count)) if word.eq_ignore_ascii_case(b"count") && args.len() == behind + 3 => {
                let count = integer(count).ok().filter(|count| *count > 0);
                count.ok_or(Error::new("ERR count should be greater than 0"))? as usize
            }
            (Some(_), _) => return Err(Error::Syntax),
        };
        Ok(Self { keys: (at + 1..behind).map(|i| args.get(i).unwrap_or_default()).collect(), end, count })
    }
}

/// False when no list has anything.
fn pop_first(txn: &mut Txn<'_>, wanted: &Wanted<'_>, reply: &mut Reply<'_>) -> Result<bool, Error> {
    for key in &wanted.keys {
        if let Some(len) = txn.collection::<List>(key)?.map(List::len) {
            reply.array(2);
            reply.bulk(key);
            reply.array(len.min(wanted.count));
            txn.list_pop(wanted.end, key, wanted.count, |element| reply.bulk(element));
            return Ok(true);
        }
    }
    Ok(false)
}
