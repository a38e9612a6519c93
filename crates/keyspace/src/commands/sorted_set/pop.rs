//! Taking from the ends of sorted sets, waiting if need be.

use super::reply_items;
use crate::command::{Group, Row, counted_keys, flag, keys, write};
use crate::commands::{integer, timeout};
use crate::event;
use crate::txn::Block;
use crate::values::SortedSet;
use crate::{Args, Error, Reply, Txn};
use leveret_resp::Version;

const TAKE: &[&str] = &["RW", "ACCESS", "DELETE"];
const COST: &str = "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.";
const MANY: &str = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.";

pub(in crate::commands) const ROWS: &[Row] = &[
    write("zpopmin", -2, Group::SortedSet, |txn, args, reply| pop(txn, args, false, reply))
        .fast()
        .keys(&[keys(TAKE, 1, 0, 1)])
        .since("5.0.0")
        .cost(COST)
        .says("Takes the members with the lowest scores."),
    write("zpopmax", -2, Group::SortedSet, |txn, args, reply| pop(txn, args, true, reply))
        .fast()
        .keys(&[keys(TAKE, 1, 0, 1)])
        .since("5.0.0")
        .cost(COST)
        .says("Takes the members with the highest scores."),
    write("bzpopmin", -3, Group::SortedSet, |txn, args, reply| pop_or_wait(txn, args, false, reply))
        .flags(flag::BLOCKING)
        .fast()
        .keys(&[keys(TAKE, 1, -2, 1)])
        .since("5.0.0")
        .cost(COST)
        .says(
            "Takes the member with the lowest score of the first sorted set that has one, or waits for it.",
        ),
    write("bzpopmax", -3, Group::SortedSet, |txn, args, reply| pop_or_wait(txn, args, true, reply))
        .flags(flag::BLOCKING)
        .fast()
        .keys(&[keys(TAKE, 1, -2, 1)])
        .since("5.0.0")
        .cost(COST)
        .says(
            "Takes the member with the highest score of the first sorted set that has one, or waits for it.",
        ),
    write("zmpop", -4, Group::SortedSet, |txn, args, reply| {
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
    .says("Takes members from the first of several sorted sets that has one."),
    write("bzmpop", -5, Group::SortedSet, |txn, args, reply| {
        let deadline = timeout(&args[1], txn.now_ms)?;
        let wanted = Wanted::parse(args, 2)?;
        if !pop_first(txn, &wanted, reply)? {
            reply.null_array();
            txn.block_on(Block::new(wanted.keys.iter().map(|key| (*key).into()).collect(), "zset", deadline));
        }
        Ok(())
    })
    .flags(flag::BLOCKING)
    .keys(&[counted_keys(TAKE, 2)])
    .since("7.0.0")
    .cost(MANY)
    .says("Takes members from the first of several sorted sets that has one, or waits for it."),
];

/// Takes up to `count` items from an end, in the order in which they are answered.
fn take(txn: &mut Txn<'_>, key: &[u8], count: usize, highest: bool) -> Result<Vec<(f64, Vec<u8>)>, Error> {
    let Some(set) = txn.collection::<SortedSet>(key)? else { return Ok(Vec::new()) };
    let len = set.len();
    let (start, end) = if highest { (len.saturating_sub(count), len) } else { (0, count.min(len)) };
    let items: Vec<(f64, Vec<u8>)> =
        set.range(start, end, highest).map(|(score, member)| (score, member.to_vec())).collect();
    if !items.is_empty() {
        txn.announced_as(if highest { event::SORTED_SET_POP_MAX } else { event::SORTED_SET_POP_MIN });
        txn.sorted_set_remove(key, items.iter().map(|(_, member)| member.as_slice()));
    }
    Ok(items)
}

fn borrowed(items: &[(f64, Vec<u8>)]) -> impl ExactSizeIterator<Item = (f64, &[u8])> {
    items.iter().map(|(score, member)| (*score, member.as_slice()))
}

fn pop(txn: &mut Txn<'_>, args: Args<'_>, highest: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let count = match args.get(2) {
        None => None,
        Some(count) => {
            let count = crate::parse_integer(count).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(Error::MustBePositive)?)
        }
    };
    let items = take(txn, &args[1], count.unwrap_or(1), highest)?;
    if count.is_none() && reply.version() == Version::Resp3 {
        // One pair, not an array of pairs.
        reply.array(items.len() * 2);
        for (score, member) in &items {
            reply.bulk(member);
            reply.double(*score);
        }
    } else {
        reply_items(reply, borrowed(&items), true);
    }
    Ok(())
}

fn pop_or_wait(txn: &mut Txn<'_>, args: Args<'_>, highest: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let last = args.len() - 1;
    let deadline = timeout(&args[last], txn.now_ms)?;
    for i in 1..last {
        if let Some((score, member)) = take(txn, &args[i], 1, highest)?.first() {
            reply.array(3);
            reply.bulk(&args[i]);
            reply.bulk(member);
            reply.double(*score);
            return Ok(());
        }
    }
    reply.null_array();
    txn.block_on(Block::new((1..last).map(|i| args[i].into()).collect(), "zset", deadline));
    Ok(())
}

/// `numkeys key … MIN|MAX [COUNT n]`.
struct Wanted<'a> {
    keys: Vec<&'a [u8]>,
    highest: bool,
    count: usize,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>, at: usize) -> Result<Self, Error> {
        let count = crate::parse_integer(&args[at]).filter(|count| *count > 0);
        let count = count.ok_or(Error::new("ERR numkeys should be greater than 0"))?;
        let behind =
            usize::try_from(count).ok().and_then(|count| count.checked_add(at + 1)).ok_or(Error::Syntax)?;
        let highest = match args.get(behind).ok_or(Error::Syntax)?.to_ascii_uppercase().as_slice() {
            b"MIN" => false,
            b"MAX" => true,
            _ => return Err(Error::Syntax),
        };
        let count = match (args.get(behind + 1), args.get(behind + 2)) {
            (None, _) => 1,
            (Some(word), Some(count)) if word.eq_ignore_ascii_case(b"count") && args.len() == behind + 3 => {
                let count = integer(count).ok().filter(|count| *count > 0);
                count.ok_or(Error::new("ERR count should be greater than 0"))? as usize
            }
            (Some(_), _) => return Err(Error::Syntax),
        };
        let keys = (at + 1..behind).map(|i| args.get(i).unwrap_or_default()).collect();
        Ok(Self { keys, highest, count })
    }
}

/// False when no sorted set has anything.
fn pop_first(txn: &mut Txn<'_>, wanted: &Wanted<'_>, reply: &mut Reply<'_>) -> Result<bool, Error> {
    for key in &wanted.keys {
        let items = take(txn, key, wanted.count, wanted.highest)?;
        if !items.is_empty() {
            reply.array(2);
            reply.bulk(key);
            reply.array(items.len());
            for (score, member) in items {
                reply.array(2);
                reply.bulk(&member);
                reply.double(score);
            }
            return Ok(true);
        }
    }
    Ok(false)
}
