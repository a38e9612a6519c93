//! Sorted sets: adding, counting, ranks, taking. Ranges are in `range.rs`, what combines several in `combine.rs`, taking from
//! the ends in `pop.rs`.

mod bounds;
mod combine;
mod pop;
mod range;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{NO_COUNT, REPEATED_MAX, arguments, integer, scan_options};
use crate::event;
use crate::number::parse_float;
use crate::values::{Element, SortedSet};
use crate::{Args, Error, Reply, Txn, View, glob};
use foldhash::fast::FixedState;
use leveret_resp::Version;
use std::collections::HashMap;

pub(super) use combine::ROWS as COMBINE_ROWS;
pub(super) use combine::replace;
pub(super) use pop::ROWS as POP_ROWS;
pub(super) use range::ROWS as RANGE_ROWS;

const SEARCH: &str = "O(log(N)) with N being the number of elements in the sorted set.";

pub(super) const ROWS: &[Row] = &[
    write("zadd", -4, Group::SortedSet, zadd)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("1.2.0")
        .cost("O(log(N)) for each item added, where N is the number of elements in the sorted set.")
        .says("Adds members to a sorted set or changes their scores; it is created if it is missing."),
    write("zincrby", 4, Group::SortedSet, zincrby)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "UPDATE"], 1, 0, 1)])
        .since("1.2.0")
        .cost(SEARCH)
        .says("Adds a number to the score of a member; a missing member counts as 0."),
    write("zrem", -3, Group::SortedSet, zrem)
        .fast()
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .since("1.2.0")
        .cost("O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements to be removed.")
        .says("Removes members of a sorted set; the key goes with the last one."),
    read("zscore", 3, Group::SortedSet, zscore)
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("1.2.0")
        .says("Returns the score of a member."),
    read("zmscore", -3, Group::SortedSet, zmscore)
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("6.2.0")
        .cost("O(N) where N is the number of members being requested.")
        .says("Returns the scores of members."),
    read("zcard", 2, Group::SortedSet, zcard)
        .fast()
        .keys(&[keys(&["RO"], 1, 0, 1)])
        .since("1.2.0")
        .says("Returns the number of members of a sorted set."),
    read("zrank", -3, Group::SortedSet, |view, args, reply| zrank(view, args, false, reply))
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("2.0.0")
        .cost("O(log(N))")
        .says("Returns the rank of a member, counted from the lowest score."),
    read("zrevrank", -3, Group::SortedSet, |view, args, reply| zrank(view, args, true, reply))
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("2.0.0")
        .cost("O(log(N))")
        .says("Returns the rank of a member, counted from the highest score."),
    read("zrandmember", -2, Group::SortedSet, zrandmember)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("6.2.0")
        .cost("O(N) where N is the number of members returned")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns random members of a sorted set."),
    read("zscan", -3, Group::SortedSet, zscan)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("2.8.0")
        .cost("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Visits the members of a sorted set in slices."),
];

/// Answers with members, with their scores if wanted: pairs in RESP3, one behind the other in RESP2.
fn reply_items<M: std::ops::Deref<Target = [u8]>>(
    reply: &mut Reply<'_>,
    items: impl ExactSizeIterator<Item = (f64, M)>,
    with_scores: bool,
) {
    let nested = reply.version() == Version::Resp3;
    reply.array(if with_scores && !nested { items.len() * 2 } else { items.len() });
    for (score, member) in items {
        if with_scores && nested {
            reply.array(2);
        }
        reply.bulk(&member);
        if with_scores {
            reply.double(score);
        }
    }
}

/// What ZADD is told.
#[derive(Default)]
pub(super) struct Options {
    pub(super) nx: bool,
    pub(super) xx: bool,
    gt: bool,
    lt: bool,
    pub(super) ch: bool,
    incr: bool,
}

fn zadd(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (mut options, mut at) = (Options::default(), 2);
    while let Some(word) = args.get(at) {
        match word.to_ascii_uppercase().as_slice() {
            b"NX" => options.nx = true,
            b"XX" => options.xx = true,
            b"GT" => options.gt = true,
            b"LT" => options.lt = true,
            b"CH" => options.ch = true,
            b"INCR" => options.incr = true,
            _ => break,
        }
        at += 1;
    }
    if at >= args.len() || !(args.len() - at).is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    if options.nx && options.xx {
        return Err(Error::new("ERR XX and NX options at the same time are not compatible"));
    }
    if [options.gt, options.lt, options.nx].into_iter().filter(|option| *option).count() > 1 {
        return Err(Error::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if options.incr && args.len() - at != 2 {
        return Err(Error::new("ERR INCR option supports a single increment-element pair"));
    }
    let items = (at..args.len())
        .step_by(2)
        // Adding zero turns the negative zero into the other one.
        .map(|i| {
            Ok((parse_float(&args[i]).ok_or(Error::NotFloat)? + 0.0, args.get(i + 1).unwrap_or_default()))
        })
        .collect::<Result<Vec<(f64, &[u8])>, Error>>()?;
    add(txn, &args[1], &options, items, reply)
}

/// Gives members scores as the options say, and answers as ZADD.
pub(super) fn add(
    txn: &mut Txn<'_>,
    key: &[u8],
    options: &Options,
    items: Vec<(f64, &[u8])>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let set = txn.collection::<SortedSet>(key)?;
    // What the earlier pairs of this very command have made of a member counts.
    let mut decided: Vec<(f64, &[u8])> = Vec::new();
    // Of a few pairs the list itself is searched.
    let (is_long, hasher) = (items.len() > SEARCHED_MAX, txn.keyspace.hasher.clone());
    let mut by_member: HashMap<&[u8], f64, FixedState> = HashMap::with_hasher(hasher);
    let (mut added, mut changed, mut last) = (0, 0, None);
    for (score, member) in items {
        let said = if is_long {
            by_member.get(member).copied()
        } else {
            decided.iter().rev().find(|(_, other)| *other == member).map(|(score, _)| *score)
        };
        let before = said.or_else(|| set.and_then(|set| set.score(member)));
        if before.map_or(options.xx, |_| options.nx) {
            continue;
        }
        let score = if options.incr { before.unwrap_or(0.0) + score } else { score };
        if score.is_nan() {
            return Err(Error::new("ERR resulting score is not a number (NaN)"));
        }
        if before.is_some_and(|before| (options.gt && score <= before) || (options.lt && score >= before)) {
            continue;
        }
        last = Some(score);
        match before {
            None => added += 1,
            Some(before) if before == score => continue,
            Some(_) => changed += 1,
        }
        decided.push((score, member));
        if is_long {
            by_member.insert(member, score);
        }
    }
    if !decided.is_empty() {
        if options.incr {
            txn.announced_as(event::SORTED_SET_ADD);
        }
        txn.sorted_set_put(key, &decided);
    }
    match (options.incr, last) {
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
        (false, _) => reply.integer(added + if options.ch { changed } else { 0 }),
    }
    Ok(())
}

/// Pairs of one ZADD that are searched one by one.
const SEARCHED_MAX: usize = 16;

fn zincrby(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let by = parse_float(&args[2]).ok_or(Error::NotFloat)?;
    let before = txn.collection::<SortedSet>(&args[1])?.and_then(|set| set.score(&args[3]));
    let score = before.unwrap_or(0.0) + by;
    if score.is_nan() {
        return Err(Error::new("ERR resulting score is not a number (NaN)"));
    }
    if before != Some(score) {
        txn.announced_as(event::SORTED_SET_ADD);
        txn.sorted_set_put(&args[1], &[(score, &args[3])]);
    }
    reply.double(score);
    Ok(())
}

fn zrem(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = txn.collection::<SortedSet>(&args[1])?;
    let any_there = set.is_some_and(|set| arguments(args, 2).any(|member| set.score(member).is_some()));
    let gone = if any_there { txn.sorted_set_remove(&args[1], arguments(args, 2)) } else { 0 };
    reply.integer(gone as i64);
    Ok(())
}

fn zscore(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match view.collection::<SortedSet>(&args[1])?.and_then(|set| set.score(&args[2])) {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
    Ok(())
}

fn zmscore(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<SortedSet>(&args[1])?;
    reply.array(args.len() - 2);
    for member in arguments(args, 2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => reply.double(score),
            None => reply.null(),
        }
    }
    Ok(())
}

fn zcard(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(view.collection(&args[1])?.map_or(0, SortedSet::len) as i64);
    Ok(())
}

fn zrank(view: &View<'_>, args: Args<'_>, reverse: bool, reply: &mut Reply<'_>) -> Result<(), Error> {
    let with_score = match args.get(3) {
        None => false,
        Some(word) if args.len() == 4 && word.eq_ignore_ascii_case(b"withscore") => true,
        Some(_) => return Err(Error::Syntax),
    };
    let set = view.collection::<SortedSet>(&args[1])?;
    let found = set.and_then(|set| {
        let (rank, score) = set.rank(&args[2])?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            reply.array(2);
            reply.integer(rank as i64);
            reply.double(score);
        }
        Some((rank, _)) => reply.integer(rank as i64),
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

fn zrandmember(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut rng = fastrand::Rng::with_seed(view.seed);
    let with_scores = match args.get(3) {
        None => false,
        Some(option) if args.len() == 4 && option.eq_ignore_ascii_case(b"withscores") => true,
        Some(_) => return Err(Error::Syntax),
    };
    let count = args.get(2).map(integer).transpose()?;
    if count == Some(i64::MIN) {
        return Err(NO_COUNT);
    }
    if count.is_some_and(|count| {
        with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 || count < -REPEATED_MAX
    }) {
        return Err(Error::new("ERR value is out of range"));
    }
    let set = view.collection::<SortedSet>(&args[1])?;
    let picked: Vec<(f64, Element<'_>)> = match (count, set) {
        (None, Some(set)) => {
            match set.random(&mut rng) {
                Some((_, member)) => reply.bulk(&member),
                None => reply.null(),
            }
            return Ok(());
        }
        (None, None) => {
            reply.null();
            return Ok(());
        }
        (Some(_), None) => Vec::new(),
        (Some(count), Some(set)) if count < 0 => {
            (0..count.unsigned_abs()).map_while(|_| set.random(&mut rng)).collect()
        }
        (Some(count), Some(set)) => {
            let mut ranks: Vec<usize> = (0..set.len()).collect();
            if (count as usize) < ranks.len() {
                ranks = rng.choose_multiple(ranks, count as usize);
            }
            ranks.into_iter().filter_map(|rank| set.range(rank, rank + 1, false).next()).collect()
        }
    };
    reply_items(reply, picked.into_iter(), with_scores);
    Ok(())
}

fn zscan(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = scan_options(args, 2, false)?;
    let mut found = Vec::new();
    let set = view.collection::<SortedSet>(&args[1])?;
    let cursor = set.map_or(0, |set| {
        set.scan(options.cursor, options.count, |score, member| {
            if options.pattern.is_none_or(|pattern| glob::matches(pattern, &member)) {
                found.push((score, member));
            }
        })
    });
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(found.len() * 2);
    for (score, member) in found {
        reply.bulk(&member);
        reply.bulk(leveret_resp::DoubleText::new(score).as_bytes());
    }
    Ok(())
}
