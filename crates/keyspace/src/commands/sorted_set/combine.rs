//! Unions, intersections and differences of sorted sets; plain sets take part with the score 1.

use super::reply_items;
use crate::command::{Group, Row, counted_keys, flag, keys, read, write};
use crate::commands::{check_stored, integer};
use crate::entry::Value;
use crate::event::{self, Event};
use crate::number::{compare_scores, parse_float};
use crate::values::{Object, Set, SortedSet};
use crate::{Args, Error, Reply, Txn, View};
use foldhash::fast::FixedState;
use std::collections::HashMap;

const ACCESS: &[&str] = &["RO", "ACCESS"];
const COST: &str = "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the number of elements in the resulting sorted set";

macro_rules! answered {
    ($name:literal, $how:expr, $says:literal) => {
        read($name, -3, Group::SortedSet, |view, args, reply| {
            let (items, with_scores) = combine(view, args, 1, $how)?;
            let items = items.iter().map(|(score, member)| (*score, member.as_slice()));
            reply_items(reply, items, with_scores);
            Ok(())
        })
        .keys(&[counted_keys(ACCESS, 1)])
        .since("6.2.0")
        .cost(COST)
        .says($says)
    };
}

macro_rules! stored {
    ($name:literal, $since:literal, $how:expr, $says:literal) => {
        write($name, -4, Group::SortedSet, |txn, args, reply| {
            let (items, _) = combine(&txn.view(), args, 2, $how)?;
            let event = match $how {
                How::Union => event::SORTED_UNION_STORE,
                How::Intersection => event::SORTED_INTERSECTION_STORE,
                How::Difference => event::SORTED_DIFFERENCE_STORE,
            };
            replace(txn, &args[1], &items, event)?;
            reply.integer(items.len() as i64);
            Ok(())
        })
        .flags(flag::DENYOOM)
        .keys(&[keys(&["OW", "UPDATE"], 1, 0, 1), counted_keys(ACCESS, 2)])
        .since($since)
        .cost(COST)
        .says($says)
    };
}

pub(in crate::commands) const ROWS: &[Row] = &[
    answered!("zunion", How::Union, "Returns the members that any of the sorted sets has."),
    answered!("zinter", How::Intersection, "Returns the members that all sorted sets have."),
    answered!("zdiff", How::Difference, "Returns the members of a sorted set that none of the others has."),
    stored!("zunionstore", "2.0.0", How::Union, "Stores the members that any of the sorted sets has."),
    stored!("zinterstore", "2.0.0", How::Intersection, "Stores the members that all sorted sets have."),
    stored!("zdiffstore", "6.2.0", How::Difference, "Stores the members of a sorted set that none of the others has."),
    read("zintercard", -3, Group::SortedSet, zintercard)
        .keys(&[counted_keys(ACCESS, 1)])
        .since("7.0.0")
        .cost("O(N*K) worst case with N being the smallest input sorted set, K being the number of input sorted sets.")
        .says("Counts the members that all sorted sets have."),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Union,
    Intersection,
    Difference,
}

/// Sets the key to these items, whatever it held; no items remove it.
pub(in crate::commands) fn replace(
    txn: &mut Txn<'_>,
    key: &[u8],
    items: &[(f64, Vec<u8>)],
    event: Event,
) -> Result<(), Error> {
    check_stored(items.iter().map(|(_, member)| member.as_slice()))?;
    if items.is_empty() {
        txn.delete(key);
    } else {
        txn.clear(key);
        txn.announced_as(event);
        let items: Vec<(f64, &[u8])> =
            items.iter().map(|(score, member)| (*score, member.as_slice())).collect();
        txn.sorted_set_put(key, &items);
    }
    Ok(())
}

enum Source<'a> {
    Sorted(&'a SortedSet),
    Plain(&'a Set),
    Missing,
}

impl Source<'_> {
    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Sorted(set) => set.score(member),
            Source::Plain(set) => set.contains(member).then_some(1.0),
            Source::Missing => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Source::Sorted(set) => set.len(),
            Source::Plain(set) => set.len(),
            Source::Missing => 0,
        }
    }

    fn for_each(&self, mut each: impl FnMut(f64, &[u8])) {
        match self {
            Source::Sorted(set) => set.iter().for_each(|(score, member)| each(score, &member)),
            Source::Plain(set) => set.iter().for_each(|member| each(1.0, &member)),
            Source::Missing => {}
        }
    }
}

fn source<'a>(view: &View<'a>, key: &[u8]) -> Result<Source<'a>, Error> {
    match view.look_up(key).map(crate::entry::Entry::value) {
        None => Ok(Source::Missing),
        Some(Value::Object(Object::SortedSet(set))) => Ok(Source::Sorted(set)),
        Some(Value::Object(Object::Set(set))) => Ok(Source::Plain(set)),
        Some(_) => Err(Error::WrongType),
    }
}

/// The sources behind a number of keys at an index, and the index behind them.
fn sources<'a>(
    view: &View<'a>,
    args: Args<'_>,
    at: usize,
    too_many: Error,
) -> Result<(Vec<Source<'a>>, usize), Error> {
    let name = String::from_utf8_lossy(&args[0]).to_lowercase();
    let count = integer(&args[at])?;
    if count < 1 {
        let line = format!("ERR at least 1 input key is needed for '{name}' command");
        return Err(Error::Other(line.into()));
    }
    let behind = usize::try_from(count).ok().and_then(|count| count.checked_add(at + 1));
    let behind = behind.filter(|behind| *behind <= args.len()).ok_or(too_many)?;
    let sources = (at + 1..behind).map(|i| source(view, &args[i])).collect::<Result<_, _>>()?;
    Ok((sources, behind))
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, left: f64, right: f64) -> f64 {
        match self {
            Aggregate::Sum => number(left + right),
            Aggregate::Min => left.min(right),
            Aggregate::Max => left.max(right),
        }
    }
}

/// What is not a number counts as zero: infinity minus infinity, zero times infinity. (Redis: ZUNIONSTORE) Adding zero
/// turns the negative zero into the other one.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score + 0.0 }
}

type Items = Vec<(f64, Vec<u8>)>;

fn combine(view: &View<'_>, args: Args<'_>, at: usize, how: How) -> Result<(Items, bool), Error> {
    let (sources, mut i) = sources(view, args, at, Error::Syntax)?;
    let (mut weights, mut aggregate, mut with_scores) = (vec![1.0; sources.len()], Aggregate::Sum, false);
    while let Some(word) = args.get(i) {
        match word.to_ascii_uppercase().as_slice() {
            b"WEIGHTS" if how != How::Difference && i + sources.len() < args.len() => {
                for weight in &mut weights {
                    i += 1;
                    *weight = parse_float(&args[i]).ok_or(Error::new("ERR weight value is not a float"))?;
                }
            }
            b"AGGREGATE" if how != How::Difference && i + 1 < args.len() => {
                i += 1;
                aggregate = match args[i].to_ascii_uppercase().as_slice() {
                    b"SUM" => Aggregate::Sum,
                    b"MIN" => Aggregate::Min,
                    b"MAX" => Aggregate::Max,
                    _ => return Err(Error::Syntax),
                };
            }
            b"WITHSCORES" if at == 1 => with_scores = true,
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    let mut items: Items = Vec::new();
    match how {
        How::Union => {
            let mut scores: HashMap<Vec<u8>, f64, FixedState> =
                HashMap::with_hasher(view.keyspace.hasher.clone());
            for (source, weight) in sources.iter().zip(&weights) {
                source.for_each(|score, member| {
                    let score = number(score * weight);
                    scores
                        .entry(member.to_vec())
                        .and_modify(|before| *before = aggregate.join(*before, score))
                        .or_insert(score);
                });
            }
            items.extend(scores.into_iter().map(|(member, score)| (score, member)));
        }
        How::Intersection => {
            let Some(smallest) = sources.iter().min_by_key(|source| source.len()) else {
                return Ok((Vec::new(), with_scores));
            };
            smallest.for_each(|_, member| {
                let mut each = sources
                    .iter()
                    .zip(&weights)
                    .map(|(source, weight)| source.score(member).map(|score| number(score * weight)));
                let first = each.next().flatten();
                let joined = first.and_then(|first| {
                    each.try_fold(first, |joined, score| Some(aggregate.join(joined, score?)))
                });
                if let Some(score) = joined {
                    items.push((score, member.to_vec()));
                }
            });
        }
        How::Difference => {
            if let Some((first, others)) = sources.split_first() {
                first.for_each(|score, member| {
                    if !others.iter().any(|other| other.score(member).is_some()) {
                        items.push((score, member.to_vec()));
                    }
                });
            }
        }
    }
    items.sort_unstable_by(|(a, left), (b, right)| compare_scores(*a, *b).then_with(|| left.cmp(right)));
    Ok((items, with_scores))
}

fn zintercard(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (sources, behind) = sources(view, args, 1, Error::Syntax)?;
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
    let mut count = 0usize;
    if let Some(smallest) = sources.iter().min_by_key(|source| source.len()) {
        smallest.for_each(|_, member| {
            count += usize::from(sources.iter().all(|source| source.score(member).is_some()));
        });
    }
    reply.integer(if limit == 0 { count } else { count.min(limit) } as i64);
    Ok(())
}
