//! Intersections, unions and differences of sets, answered or stored.

use crate::command::{Group, KeySpec, Row, counted_keys, flag, keys, read, write};
use crate::commands::check_stored;
use crate::event;
use crate::values::{Element, Set};
use crate::{Args, Error, Reply, Txn, View};

const FROM: &[KeySpec] = &[keys(&["RO", "ACCESS"], 1, -1, 1)];
const INTO: &[KeySpec] = &[keys(&["OW", "UPDATE"], 1, 0, 1), keys(&["RO", "ACCESS"], 2, -1, 1)];
const MEET: &str =
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.";
const ALL: &str = "O(N) where N is the total number of elements in all given sets.";
const UNORDERED: &[&str] = &["NONDETERMINISTIC_OUTPUT_ORDER"];

macro_rules! answered {
    ($name:literal, $how:expr, $cost:expr, $says:literal) => {
        read($name, -2, Group::Set, |view, args, reply| {
            let members = combine(view, args, 1, $how)?;
            reply.set(members.len());
            members.iter().for_each(|member| reply.bulk(member));
            Ok(())
        })
        .keys(FROM)
        .cost($cost)
        .tips(UNORDERED)
        .says($says)
    };
}

macro_rules! stored {
    ($name:literal, $how:expr, $cost:expr, $says:literal) => {
        write($name, -3, Group::Set, |txn, args, reply| store(txn, args, $how, reply))
            .flags(flag::DENYOOM)
            .keys(INTO)
            .cost($cost)
            .says($says)
    };
}

pub(in crate::commands) const ROWS: &[Row] = &[
    answered!("sinter", How::Intersection, MEET, "Returns the members that all sets have."),
    answered!("sunion", How::Union, ALL, "Returns the members that any of the sets has."),
    answered!("sdiff", How::Difference, ALL, "Returns the members of a set that none of the others has."),
    stored!("sinterstore", How::Intersection, MEET, "Stores the members that all sets have."),
    stored!("sunionstore", How::Union, ALL, "Stores the members that any of the sets has."),
    stored!("sdiffstore", How::Difference, ALL, "Stores the members of a set that none of the others has."),
    read("sintercard", -3, Group::Set, sintercard)
        .keys(&[counted_keys(&["RO", "ACCESS"], 1)])
        .since("7.0.0")
        .cost(MEET)
        .says("Counts the members that all sets have."),
];

#[derive(Clone, Copy)]
enum How {
    Intersection,
    Union,
    Difference,
}

/// The sets under the keys from an index on; all must be sets or missing.
fn sets<'a>(view: &View<'a>, args: Args<'_>, from: usize) -> Result<Vec<Option<&'a Set>>, Error> {
    (from..args.len()).map(|i| view.collection::<Set>(&args[i])).collect()
}

fn combine(view: &View<'_>, args: Args<'_>, from: usize, how: How) -> Result<Vec<Vec<u8>>, Error> {
    let sets = sets(view, args, from)?;
    Ok(match how {
        How::Intersection => intersection(&sets, usize::MAX),
        How::Union => {
            // A set is filled fastest in its own order, which is that of all large sets.
            let mut all = Set::default();
            for member in sets.into_iter().flatten().flat_map(Set::iter) {
                all.insert(&member, &view.keyspace.hasher);
            }
            all.iter().map(Element::into_owned).collect()
        }
        How::Difference => {
            let Some((first, others)) = sets.split_first() else { return Ok(Vec::new()) };
            let members = first.iter().flat_map(|set| set.iter());
            members
                .filter(|member| !others.iter().flatten().any(|set| set.contains(member)))
                .map(Element::into_owned)
                .collect()
        }
    })
}

/// Up to `limit` members that all have: those of the smallest set that the others have.
fn intersection(sets: &[Option<&Set>], limit: usize) -> Vec<Vec<u8>> {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return Vec::new() };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return Vec::new() };
    let shared = smallest.iter().filter(|member| others.iter().all(|set| set.contains(member)));
    shared.take(limit).map(Element::into_owned).collect()
}

fn store(txn: &mut Txn<'_>, args: Args<'_>, how: How, reply: &mut Reply<'_>) -> Result<(), Error> {
    let members = combine(&txn.view(), args, 2, how)?;
    check_stored(members.iter().map(Vec::as_slice))?;
    if members.is_empty() {
        txn.delete(&args[1]);
    } else {
        txn.clear(&args[1]);
        txn.announced_as(match how {
            How::Union => event::UNION_STORE,
            How::Intersection => event::INTERSECTION_STORE,
            How::Difference => event::DIFFERENCE_STORE,
        });
        txn.set_add(&args[1], members.iter().map(Vec::as_slice));
    }
    reply.integer(members.len() as i64);
    Ok(())
}

fn sintercard(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let count = crate::parse_integer(&args[1]).filter(|count| *count > 0);
    let count = count.ok_or(Error::new("ERR numkeys should be greater than 0"))?;
    let behind = usize::try_from(count).ok().and_then(|count| count.checked_add(2));
    let behind = behind
        .filter(|behind| *behind <= args.len())
        .ok_or(Error::new("ERR Number of keys can't be greater than number of args"))?;
    let mut limit = 0;
    for i in (behind..args.len()).step_by(2) {
        match args.get(i + 1) {
            Some(value) if args[i].eq_ignore_ascii_case(b"limit") => {
                let value = crate::parse_integer(value).and_then(|value| usize::try_from(value).ok());
                limit = value.ok_or(Error::new("ERR LIMIT can't be negative"))?;
            }
            Some(_) | None => return Err(Error::Syntax),
        }
    }
    let sets: Vec<Option<&Set>> =
        (2..behind).map(|i| view.collection::<Set>(&args[i])).collect::<Result<_, _>>()?;
    let limit = if limit == 0 { usize::MAX } else { limit };
    reply.integer(intersection(&sets, limit).len() as i64);
    Ok(())
}
