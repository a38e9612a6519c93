//! Deadlines of single fields: the HEXPIRE and HTTL families, HPERSIST, and the commands that read or write fields
//! together with their deadlines.

use crate::command::{Group, KeySpec, Row, flag, keys, read, write};
use crate::commands::{deadline, integer};
use crate::values::Hash;
use crate::{Args, Error, Reply, Txn, UnixMillis, View};
use std::collections::HashSet;

const UPDATE: &[KeySpec] = &[keys(&["RW", "UPDATE"], 1, 0, 1)];
const ACCESS: &[KeySpec] = &[keys(&["RO", "ACCESS"], 1, 0, 1)];
const EACH: &str = "O(N) where N is the number of specified fields";

const NEGATIVE: Error = Error::new("ERR invalid expire time, must be >= 0");

macro_rules! expire {
    ($name:literal, $unit_ms:literal, $relative:literal, $says:literal) => {
        write($name, -6, Group::Hash, |txn, args, reply| expire(txn, $name, $unit_ms, $relative, args, reply))
            .fast()
            .keys(UPDATE)
            .since("9.0.0")
            .cost(EACH)
            .says($says)
    };
}

macro_rules! time {
    ($name:literal, $unit_ms:literal, $relative:literal, $says:literal) => {
        read($name, -5, Group::Hash, |view, args, reply| time(view, $unit_ms, $relative, args, reply))
            .fast()
            .keys(ACCESS)
            .since("9.0.0")
            .cost(EACH)
            .says($says)
    };
}

pub(in crate::commands) const ROWS: &[Row] = &[
    expire!("hexpire", 1_000, true, "Gives fields of a hash a time to live, in seconds."),
    expire!("hpexpire", 1, true, "Gives fields of a hash a time to live, in milliseconds."),
    expire!("hexpireat", 1_000, false, "Gives fields of a hash a deadline, in seconds since 1970."),
    expire!("hpexpireat", 1, false, "Gives fields of a hash a deadline, in milliseconds since 1970."),
    time!("httl", 1_000, true, "Returns the time to live of fields of a hash, in seconds."),
    time!("hpttl", 1, true, "Returns the time to live of fields of a hash, in milliseconds."),
    time!("hexpiretime", 1_000, false, "Returns the deadline of fields of a hash, in seconds since 1970."),
    time!("hpexpiretime", 1, false, "Returns the deadline of fields of a hash, in milliseconds since 1970."),
    write("hpersist", -5, Group::Hash, hpersist)
        .fast()
        .keys(UPDATE)
        .since("9.0.0")
        .cost(EACH)
        .says("Takes the deadlines of fields of a hash away."),
    write("hgetdel", -5, Group::Hash, hgetdel)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "DELETE"], 1, 0, 1)])
        .since("9.1.0")
        .cost(EACH)
        .says("Returns the values of fields of a hash after removing the fields."),
    write("hgetex", -5, Group::Hash, hgetex)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "UPDATE"], 1, 0, 1)])
        .since("9.0.0")
        .cost(EACH)
        .says("Returns the values of fields of a hash after setting their deadlines."),
    write("hsetex", -6, Group::Hash, hsetex)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "INSERT"], 1, 0, 1)])
        .since("9.0.0")
        .cost(EACH)
        .says("Sets fields of a hash and their deadline."),
];

/// The strings behind `FIELDS count` at an index, of which each field has `width`.
fn fields(args: Args<'_>, at: usize, width: usize) -> Result<Vec<&[u8]>, Error> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"fields")) {
        return Err(Error::new("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = args.get(at + 1).and_then(crate::parse_integer).filter(|count| *count > 0);
    let count = count.ok_or(Error::new("ERR Number of fields must be a positive integer"))?;
    let strings: Vec<&[u8]> = (at + 2..args.len()).map(|i| args.get(i).unwrap_or_default()).collect();
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(width)) != Some(strings.len()) {
        return Err(Error::new("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(strings)
}

fn expire(
    txn: &mut Txn<'_>,
    command: &'static str,
    unit_ms: i64,
    relative: bool,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let amount = integer(&args[2])?;
    if amount < 0 {
        return Err(NEGATIVE);
    }
    let at = deadline(command, amount, unit_ms, if relative { txn.now_ms } else { 0 })? as u64;
    let condition = args[3].to_ascii_uppercase();
    let conditional = matches!(condition.as_slice(), b"NX" | b"XX" | b"GT" | b"LT");
    let names = fields(args, if conditional { 4 } else { 3 }, 1)?;
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let hash = txn.collection::<Hash>(&args[1])?;
    let allowed = |current: UnixMillis| match condition.as_slice() {
        b"NX" => current == 0,
        b"XX" => current != 0,
        b"GT" => current != 0 && at > current,
        b"LT" => current == 0 || at < current,
        _ => true,
    };
    let past = at <= txn.now_ms;
    let mut chosen = Chosen::default();
    reply.array(names.len());
    for name in names {
        let field = hash.and_then(|hash| hash.find(name));
        let is_chosen = chosen.contains(name);
        reply.integer(match field.map(|field| if is_chosen { at } else { field.deadline }) {
            None => -2,
            Some(_) if is_chosen && past => -2,
            Some(current) if !allowed(current) => 0,
            Some(_) => {
                if !is_chosen {
                    chosen.add(name);
                }
                if past { 2 } else { 1 }
            }
        });
    }
    match chosen.names {
        none if none.is_empty() => {}
        names if past => drop(txn.hash_delete(&args[1], names.into_iter())),
        names => txn.hash_deadline(&args[1], at, names.into_iter()),
    }
    Ok(())
}

/// Fields that a command changes: one that is named again is met as it will be by then.
#[derive(Default)]
struct Chosen<'a> {
    names: Vec<&'a [u8]>,
    /// The same, when there are many.
    found: HashSet<&'a [u8]>,
}

impl<'a> Chosen<'a> {
    const FEW: usize = 16;

    fn contains(&self, name: &[u8]) -> bool {
        if self.names.len() > Self::FEW { self.found.contains(name) } else { self.names.contains(&name) }
    }

    fn add(&mut self, name: &'a [u8]) {
        self.names.push(name);
        match self.names.len() {
            0..=Self::FEW => {}
            len if len == Self::FEW + 1 => self.found.extend(&self.names),
            _ => drop(self.found.insert(name)),
        }
    }
}

fn time(
    view: &View<'_>,
    unit_ms: u64,
    relative: bool,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let names = fields(args, 2, 1)?;
    let hash = view.collection::<Hash>(&args[1])?;
    reply.array(names.len());
    for name in names {
        reply.integer(match hash.and_then(|hash| hash.find_live(name, view.now_ms)) {
            None => -2,
            Some(field) if field.deadline == 0 => -1,
            Some(field) if relative => ((field.deadline - view.now_ms).div_ceil(unit_ms)) as i64,
            Some(field) => field.deadline.div_ceil(unit_ms) as i64,
        });
    }
    Ok(())
}

fn hpersist(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let names = fields(args, 2, 1)?;
    txn.collection::<Hash>(&args[1])?;
    txn.reap_fields(&args[1]);
    let hash = txn.collection::<Hash>(&args[1])?;
    let mut chosen = Chosen::default();
    reply.array(names.len());
    for name in names {
        reply.integer(match hash.and_then(|hash| hash.find(name)) {
            None => -2,
            Some(field) if field.deadline == 0 || chosen.contains(name) => -1,
            Some(_) => {
                chosen.add(name);
                1
            }
        });
    }
    if !chosen.names.is_empty() {
        txn.hash_deadline(&args[1], 0, chosen.names.into_iter());
    }
    Ok(())
}

/// Answers with the values and gives the names of the fields that are there; those that go with being read are there once.
fn reply_fields<'a>(
    txn: &Txn<'_>,
    key: &[u8],
    names: Vec<&'a [u8]>,
    go: bool,
    reply: &mut Reply<'_>,
) -> Result<Vec<&'a [u8]>, Error> {
    let hash = txn.collection::<Hash>(key)?;
    reply.array(names.len());
    let mut there = Chosen::default();
    for name in names {
        let is_again = there.contains(name);
        match hash.and_then(|hash| hash.find(name)).filter(|_| !(go && is_again)) {
            Some(field) => {
                reply.bulk(&field.value);
                if !is_again {
                    there.add(name);
                }
            }
            None => reply.null(),
        }
    }
    Ok(there.names)
}

fn hgetdel(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    txn.collection::<Hash>(&args[1])?;
    let names = fields(args, 2, 1)?;
    txn.reap_fields(&args[1]);
    let there = reply_fields(txn, &args[1], names, true, reply)?;
    if !there.is_empty() {
        txn.hash_delete(&args[1], there.into_iter());
    }
    Ok(())
}

/// What is to become of the deadlines.
enum Change {
    Nothing,
    Keep,
    Persist,
    At(UnixMillis),
}

/// An option about deadlines at an index; moves behind it.
fn change(
    command: &'static str,
    now_ms: UnixMillis,
    args: Args<'_>,
    i: &mut usize,
) -> Result<Option<Change>, Error> {
    let (unit_ms, base_ms) = match args.get(*i).unwrap_or_default().to_ascii_uppercase().as_slice() {
        b"PERSIST" => {
            *i += 1;
            return Ok(Some(Change::Persist));
        }
        b"KEEPTTL" => {
            *i += 1;
            return Ok(Some(Change::Keep));
        }
        b"EX" => (1_000, now_ms),
        b"PX" => (1, now_ms),
        b"EXAT" => (1_000, 0),
        b"PXAT" => (1, 0),
        _ => return Ok(None),
    };
    let amount = integer(args.get(*i + 1).ok_or(Error::Syntax)?)?;
    *i += 2;
    if amount < 0 {
        return Err(NEGATIVE);
    }
    Ok(Some(Change::At(deadline(command, amount, unit_ms, base_ms)? as u64)))
}

fn hgetex(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    txn.collection::<Hash>(&args[1])?;
    let mut i = 2;
    let wanted = match change("hgetex", txn.now_ms, args, &mut i)? {
        Some(Change::Keep) => return Err(Error::Syntax),
        wanted => wanted.unwrap_or(Change::Nothing),
    };
    let names = fields(args, i, 1)?;
    txn.reap_fields(&args[1]);
    let go = matches!(wanted, Change::At(at) if at <= txn.now_ms);
    let there = reply_fields(txn, &args[1], names, go, reply)?;
    if there.is_empty() {
        return Ok(());
    }
    match wanted {
        Change::Nothing | Change::Keep => {}
        Change::Persist => txn.hash_deadline(&args[1], 0, there.into_iter()),
        Change::At(_) if go => drop(txn.hash_delete(&args[1], there.into_iter())),
        Change::At(at) => txn.hash_deadline(&args[1], at, there.into_iter()),
    }
    Ok(())
}

fn hsetex(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    txn.collection::<Hash>(&args[1])?;
    let (mut i, mut if_there, mut wanted) = (2, None, None);
    while let Some(word) = args.get(i).filter(|word| !word.eq_ignore_ascii_case(b"fields")) {
        match word.to_ascii_uppercase().as_slice() {
            b"FNX" if if_there.is_none() => (i, if_there) = (i + 1, Some(false)),
            b"FXX" if if_there.is_none() => (i, if_there) = (i + 1, Some(true)),
            _ => match change("hsetex", txn.now_ms, args, &mut i)? {
                Some(said) if wanted.is_none() && !matches!(said, Change::Persist) => wanted = Some(said),
                Some(_) | None => return Err(Error::Syntax),
            },
        }
    }
    let strings = fields(args, i, 2)?;
    txn.reap_fields(&args[1]);
    let names = strings.iter().step_by(2).copied();
    let hash = txn.collection::<Hash>(&args[1])?;
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.find(name).is_some());
    if if_there.is_some_and(|wanted| names.clone().any(|name| is_there(name) != wanted)) {
        reply.integer(0);
        return Ok(());
    }
    match wanted {
        Some(Change::At(at)) if at <= txn.now_ms => {
            if names.clone().any(is_there) {
                txn.hash_delete(&args[1], names.collect::<Vec<_>>().into_iter());
            }
        }
        Some(Change::At(at)) => {
            txn.hash_set(&args[1], false, strings.iter().copied());
            txn.hash_deadline(&args[1], at, names.collect::<Vec<_>>().into_iter());
        }
        wanted => {
            let keep = matches!(wanted, Some(Change::Keep));
            txn.hash_set(&args[1], keep, strings.iter().copied());
        }
    }
    reply.integer(1);
    Ok(())
}
