//! Sets. What combines several of them is in `set/combine.rs`.

mod combine;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{NO_COUNT, REPEATED_MAX, arguments, integer, scan_options};
use crate::event;
use crate::values::{Element, Set};
use crate::{Args, Error, Reply, Txn, View, glob};

pub(super) use combine::ROWS as COMBINE_ROWS;

const ALL: &str = "O(N) where N is the set cardinality.";

pub(super) const ROWS: &[Row] = &[
    write("sadd", -3, Group::Set, sadd)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "INSERT"], 1, 0, 1)])
        .cost("O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.")
        .says("Adds members to a set, which is created if it is missing."),
    write("srem", -3, Group::Set, srem)
        .fast()
        .keys(&[keys(&["RW", "DELETE"], 1, 0, 1)])
        .cost("O(N) where N is the number of members to be removed.")
        .says("Removes members of a set; the key goes with the last one."),
    read("sismember", 3, Group::Set, sismember)
        .fast()
        .keys(&[keys(&["RO"], 1, 0, 1)])
        .says("Tells whether a set has a member."),
    read("smismember", -3, Group::Set, smismember)
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("6.2.0")
        .cost("O(N) where N is the number of elements being checked for membership")
        .says("Tells which members a set has."),
    read("scard", 2, Group::Set, scard)
        .fast()
        .keys(&[keys(&["RO"], 1, 0, 1)])
        .says("Returns the number of members of a set."),
    read("smembers", 2, Group::Set, smembers)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .cost(ALL)
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns all members of a set."),
    write("spop", -2, Group::Set, spop)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "DELETE"], 1, 0, 1)])
        .cost("Without the count argument O(1), otherwise O(N) where N is the value of the passed count.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Takes random members of a set; the key goes with the last one."),
    read("srandmember", -2, Group::Set, srandmember)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .cost("Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns random members of a set."),
    write("smove", 4, Group::Set, smove)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "DELETE"], 1, 0, 1), keys(&["RW", "INSERT"], 2, 0, 1)])
        .says("Moves a member from one set to another."),
    read("sscan", -3, Group::Set, sscan)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("2.8.0")
        .cost("O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Visits the members of a set in slices."),
];

fn sadd(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = txn.collection::<Set>(&args[1])?;
    let all_there = set.is_some_and(|set| arguments(args, 2).all(|member| set.contains(member)));
    let added = if all_there { 0 } else { txn.set_add(&args[1], arguments(args, 2)) };
    reply.integer(added as i64);
    Ok(())
}

fn srem(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = txn.collection::<Set>(&args[1])?;
    let any_there = set.is_some_and(|set| arguments(args, 2).any(|member| set.contains(member)));
    let gone = if any_there { txn.set_remove(&args[1], arguments(args, 2)) } else { 0 };
    reply.integer(gone as i64);
    Ok(())
}

fn sismember(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<Set>(&args[1])?;
    reply.integer(i64::from(set.is_some_and(|set| set.contains(&args[2]))));
    Ok(())
}

fn smismember(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<Set>(&args[1])?;
    reply.array(args.len() - 2);
    for member in arguments(args, 2) {
        reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn scard(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(view.collection(&args[1])?.map_or(0, Set::len) as i64);
    Ok(())
}

fn smembers(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<Set>(&args[1])?;
    reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| reply.bulk(&member));
    Ok(())
}

/// Up to `count` different members.
fn different(set: &Set, count: usize, rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    if count.saturating_mul(3) < set.len() {
        let mut picked = std::collections::BTreeSet::new();
        while picked.len() < count
            && let Some(member) = set.random(rng)
        {
            picked.insert(member.into_owned());
        }
        return picked.into_iter().collect();
    }
    let mut members: Vec<Vec<u8>> = set.iter().map(Element::into_owned).collect();
    if count < members.len() {
        rng.shuffle(&mut members);
        members.truncate(count);
    }
    members
}

fn spop(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
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
    let mut rng = txn.keyspace.rng.fork();
    let set = txn.collection::<Set>(&args[1])?;
    let picked = set.map_or(Vec::new(), |set| different(set, count.unwrap_or(1), &mut rng));
    if !picked.is_empty() {
        txn.announced_as(event::SET_POP);
        txn.set_remove(&args[1], picked.iter().map(Vec::as_slice));
    }
    match (count, picked.first()) {
        (None, Some(member)) => reply.bulk(member),
        (None, None) => reply.null(),
        (Some(_), _) => {
            reply.set(picked.len());
            picked.iter().for_each(|member| reply.bulk(member));
        }
    }
    Ok(())
}

fn srandmember(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let mut rng = fastrand::Rng::with_seed(view.seed);
    let count = args.get(2).map(integer).transpose()?;
    if count == Some(i64::MIN) {
        return Err(NO_COUNT);
    }
    if count.is_some_and(|count| count < -REPEATED_MAX) {
        return Err(Error::new("ERR value is out of range"));
    }
    let set = view.collection::<Set>(&args[1])?;
    match (count, set) {
        (None, Some(set)) => match set.random(&mut rng) {
            Some(member) => reply.bulk(&member),
            None => reply.null(),
        },
        (None, None) => reply.null(),
        (Some(_), None) => reply.array(0),
        (Some(count), Some(set)) if count < 0 => {
            reply.array(count.unsigned_abs() as usize);
            for _ in 0..count.unsigned_abs() {
                if let Some(member) = set.random(&mut rng) {
                    reply.bulk(&member);
                }
            }
        }
        (Some(count), Some(set)) => {
            let picked = different(set, count as usize, &mut rng);
            reply.array(picked.len());
            picked.iter().for_each(|member| reply.bulk(member));
        }
    }
    Ok(())
}

fn smove(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let Some(set) = txn.collection::<Set>(&args[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let there = set.contains(&args[3]);
    let is_there_too = txn.collection::<Set>(&args[2])?.is_some_and(|set| set.contains(&args[3]));
    if there && args[1] != args[2] {
        txn.set_remove(&args[1], std::iter::once(&args[3]));
        if !is_there_too {
            txn.set_add(&args[2], std::iter::once(&args[3]));
        }
    }
    reply.integer(i64::from(there));
    Ok(())
}

fn sscan(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = scan_options(args, 2, false)?;
    let mut found = Vec::new();
    let set = view.collection::<Set>(&args[1])?;
    let cursor = set.map_or(0, |set| {
        set.scan(options.cursor, options.count, |member| {
            if options.pattern.is_none_or(|pattern| glob::matches(pattern, &member)) {
                found.push(member.into_owned());
            }
        })
    });
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|member| reply.bulk(member));
    Ok(())
}
