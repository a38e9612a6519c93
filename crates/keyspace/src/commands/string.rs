//! Strings: SET and GET with their families, and counters.

mod condition;
mod range;

use crate::command::{Group, Row, counted_pairs, flag, keys, read, write};
use crate::commands::{deadline, integer};
use crate::event;
use crate::view::Text;
use crate::{Args, Error, Reply, STRING_MAX, Txn, UnixMillis, View};
use condition::Condition;

pub(super) use condition::ROWS as CONDITION_ROWS;
pub(super) use range::ROWS as RANGE_ROWS;

const RO: &[&str] = &["RO", "ACCESS"];
const RW: &[&str] = &["RW", "ACCESS", "UPDATE"];
const OW: &[&str] = &["OW", "UPDATE"];

pub(super) const ROWS: &[Row] = &[
    write("set", -3, Group::String, set)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "ACCESS", "UPDATE", "VARIABLE_FLAGS"], 1, 0, 1)])
        .says("Sets the string value of a key, ignoring its type."),
    read("get", 2, Group::String, get)
        .fast()
        .keys(&[keys(RO, 1, 0, 1)])
        .says("Returns the string value of a key."),
    write("getdel", 2, Group::String, getdel)
        .fast()
        .keys(&[keys(&["RW", "ACCESS", "DELETE"], 1, 0, 1)])
        .since("6.2.0")
        .says("Returns the string value of a key after deleting the key."),
    write("getex", -2, Group::String, getex)
        .fast()
        .keys(&[keys(RW, 1, 0, 1)])
        .since("6.2.0")
        .says("Returns the string value of a key after setting its expiration time."),
    read("mget", -2, Group::String, mget)
        .fast()
        .keys(&[keys(RO, 1, -1, 1)])
        .cost("O(N) where N is the number of keys to retrieve.")
        .tips(&["REQUEST_POLICY:MULTI_SHARD"])
        .says("Returns the string values of several keys in one step."),
    write("mset", -3, Group::String, mset)
        .flags(flag::DENYOOM)
        .keys(&[keys(OW, 1, -1, 2)])
        .since("1.0.1")
        .cost("O(N) where N is the number of keys to set.")
        .tips(&["REQUEST_POLICY:MULTI_SHARD", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Sets the string values of several keys in one step."),
    write("msetex", -4, Group::String, msetex)
        .flags(flag::DENYOOM)
        .keys(&[counted_pairs(OW, 1)])
        .since("9.1.0")
        .cost("O(N) where N is the number of keys to set.")
        .tips(&["REQUEST_POLICY:MULTI_SHARD", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Sets the string values of several keys, and when they expire, in one step."),
    write("setnx", 3, Group::String, setnx)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["OW", "INSERT"], 1, 0, 1)])
        .says("Sets the string value of a key that does not exist."),
    write("setex", 4, Group::String, |txn, args, reply| setex(txn, "setex", 1_000, args, reply))
        .flags(flag::DENYOOM)
        .keys(&[keys(OW, 1, 0, 1)])
        .since("2.0.0")
        .says("Sets the string value and the time to live, in seconds, of a key."),
    write("psetex", 4, Group::String, |txn, args, reply| setex(txn, "psetex", 1, args, reply))
        .flags(flag::DENYOOM)
        .keys(&[keys(OW, 1, 0, 1)])
        .since("2.6.0")
        .says("Sets the string value and the time to live, in milliseconds, of a key."),
    write("incr", 2, Group::String, |txn, args, reply| add(txn, &args[1], 1, reply))
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(RW, 1, 0, 1)])
        .says("Adds one to the integer value of a key; a missing key counts as 0."),
    write("decr", 2, Group::String, |txn, args, reply| add(txn, &args[1], -1, reply))
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(RW, 1, 0, 1)])
        .says("Takes one from the integer value of a key; a missing key counts as 0."),
    write("incrby", 3, Group::String, |txn, args, reply| {
        let by = integer(&args[2])?;
        add(txn, &args[1], by, reply)
    })
    .flags(flag::DENYOOM)
    .fast()
    .keys(&[keys(RW, 1, 0, 1)])
    .says("Adds a number to the integer value of a key; a missing key counts as 0."),
    write("decrby", 3, Group::String, |txn, args, reply| {
        let by = integer(&args[2])?.checked_neg().ok_or(Error::new("ERR decrement would overflow"))?;
        add(txn, &args[1], by, reply)
    })
    .flags(flag::DENYOOM)
    .fast()
    .keys(&[keys(RW, 1, 0, 1)])
    .says("Takes a number from the integer value of a key; a missing key counts as 0."),
    write("append", 3, Group::String, append)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "INSERT"], 1, 0, 1)])
        .since("2.0.0")
        .says("Appends to the string value of a key, which is created if it is missing."),
    read("strlen", 2, Group::String, strlen)
        .fast()
        .keys(&[keys(&["RO"], 1, 0, 1)])
        .since("2.2.0")
        .says("Returns the length of a string value."),
];

/// What SET and GETEX may say about the deadline. The amount is looked at only when all options are known.
#[derive(Clone, Copy)]
enum Expiry<'a> {
    Keep,
    Persist,
    /// `EX s`, `PX ms`, `EXAT s`, `PXAT ms`.
    At {
        unit_ms: i64,
        relative: bool,
        amount: &'a [u8],
    },
}

impl<'a> Expiry<'a> {
    /// The option at `args[*i]`, if it is one; moves on to its last word.
    fn parse(args: Args<'a>, i: &mut usize) -> Result<Option<Self>, Error> {
        let (unit_ms, relative) = match args[*i].to_ascii_uppercase().as_slice() {
            b"KEEPTTL" => return Ok(Some(Expiry::Keep)),
            b"PERSIST" => return Ok(Some(Expiry::Persist)),
            b"EX" => (1_000, true),
            b"PX" => (1, true),
            b"EXAT" => (1_000, false),
            b"PXAT" => (1, false),
            _ => return Ok(None),
        };
        *i += 1;
        let amount = args.get(*i).ok_or(Error::Syntax)?;
        Ok(Some(Expiry::At { unit_ms, relative, amount }))
    }

    /// The option again, or a contradiction. The last of several amounts counts.
    fn instead_of(self, before: Option<Self>) -> Result<Option<Self>, Error> {
        let agrees = match (before, self) {
            (None, _) | (Some(Expiry::Keep), Expiry::Keep) | (Some(Expiry::Persist), Expiry::Persist) => true,
            (
                Some(Expiry::At { unit_ms: unit, relative: counts_from_now, .. }),
                Expiry::At { unit_ms, relative, .. },
            ) => (unit, counts_from_now) == (unit_ms, relative),
            (Some(_), _) => false,
        };
        if agrees { Ok(Some(self)) } else { Err(Error::Syntax) }
    }

    /// The deadline in milliseconds, if an amount is given.
    fn deadline(self, command: &'static str, now_ms: UnixMillis) -> Result<Option<i64>, Error> {
        let Expiry::At { unit_ms, relative, amount } = self else { return Ok(None) };
        let amount = integer(amount)?;
        if amount <= 0 {
            return Err(Error::InvalidExpire(command));
        }
        deadline(command, amount, unit_ms, if relative { now_ms } else { 0 }).map(Some)
    }
}

/// Whether SET does anything.
#[derive(Clone, Copy)]
enum If<'a> {
    Missing,
    Exists,
    Value(Condition<'a>),
}

#[derive(Default)]
struct SetOptions<'a> {
    only: Option<If<'a>>,
    get: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> SetOptions<'a> {
    /// The options behind `args[first]`.
    fn parse(args: Args<'a>, first: usize) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut i = first;
        while i < args.len() {
            match (args[i].to_ascii_uppercase().as_slice(), options.only) {
                (b"NX", None | Some(If::Missing)) => options.only = Some(If::Missing),
                (b"XX", None | Some(If::Exists)) => options.only = Some(If::Exists),
                (b"GET", _) => options.get = true,
                (b"PERSIST", _) => return Err(Error::Syntax),
                (_, only) => match Condition::parse(args, &mut i)? {
                    Some(condition) if only.is_none() => options.only = Some(If::Value(condition)),
                    Some(_) => return Err(Error::Syntax),
                    None => {
                        let expiry = Expiry::parse(args, &mut i)?.ok_or(Error::Syntax)?;
                        options.expiry = expiry.instead_of(options.expiry)?;
                    }
                },
            }
            i += 1;
        }
        Ok(options)
    }

    fn deadline(&self, command: &'static str, now_ms: UnixMillis) -> Result<Option<i64>, Error> {
        self.expiry.map_or(Ok(None), |expiry| expiry.deadline(command, now_ms))
    }

    /// Stores one value as the options say.
    fn put(&self, txn: &mut Txn<'_>, key: &[u8], value: &[u8], deadline: Option<i64>) {
        match (self.expiry, deadline) {
            (_, Some(at)) => put_until(txn, key, value, at),
            (Some(Expiry::Keep), None) => {
                let kept = txn.view().find(key).and_then(crate::entry::Entry::deadline);
                txn.put(key, value, kept);
            }
            (_, None) => txn.put(key, value, None),
        }
    }
}

fn set(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, value) = (&args[1], &args[2]);
    if args.len() == 3 {
        txn.put(key, value, None);
        reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args, 3)?;
    let deadline = options.deadline("set", txn.now_ms)?;
    if options.get {
        match txn.string(key)? {
            Some(text) => text.reply(reply),
            None => reply.null(),
        }
    }
    let may = match options.only {
        None => true,
        Some(If::Missing) => txn.view().find(key).is_none(),
        Some(If::Exists) => txn.view().find(key).is_some(),
        Some(If::Value(condition)) => condition.holds(txn.string(key)?),
    };
    if may {
        options.put(txn, key, value, deadline);
    }
    match (options.get, may) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

/// A deadline that has passed removes the key instead.
fn put_until(txn: &mut Txn<'_>, key: &[u8], value: &[u8], at: i64) {
    if at as u64 > txn.now_ms {
        txn.put(key, value, Some(at as u64));
        txn.announce(event::EXPIRE, key);
    } else {
        txn.delete(key);
    }
}

fn get(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match view.string(&args[1])? {
        Some(text) => text.reply(reply),
        None => reply.null(),
    }
    Ok(())
}

fn getdel(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match txn.string(&args[1])? {
        Some(text) => text.reply(reply),
        None => {
            reply.null();
            return Ok(());
        }
    }
    txn.delete(&args[1]);
    Ok(())
}

fn getex(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (mut expiry, mut i) = (None, 2);
    while i < args.len() {
        let said = Expiry::parse(args, &mut i)?.ok_or(Error::Syntax)?;
        if matches!(said, Expiry::Keep) {
            return Err(Error::Syntax);
        }
        expiry = said.instead_of(expiry)?;
        i += 1;
    }
    // Before the amount is looked at: a missing key is no place for an error.
    let Some(text) = txn.string(&args[1])? else {
        reply.null();
        return Ok(());
    };
    text.reply(reply);
    let Some(expiry) = expiry else { return Ok(()) };
    match expiry.deadline("getex", txn.now_ms)? {
        Some(at) if at as u64 > txn.now_ms => txn.set_deadline(&args[1], Some(at as u64)),
        Some(_) => {
            txn.delete(&args[1]);
        }
        None => {
            if txn.view().find(&args[1]).is_some_and(|entry| entry.deadline().is_some()) {
                txn.set_deadline(&args[1], None);
            }
        }
    }
    Ok(())
}

fn mget(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(args.len() - 1);
    for key in args.iter().skip(1) {
        match view.string(key) {
            Ok(Some(text)) => text.reply(reply),
            Ok(None) | Err(_) => reply.null(),
        }
    }
    Ok(())
}

fn mset(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::WrongArity("mset".into()));
    }
    for i in (1..args.len()).step_by(2) {
        txn.put(&args[i], &args[i + 1], None);
    }
    reply.ok();
    Ok(())
}

fn msetex(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let pairs = integer(&args[1]).ok().filter(|pairs| (1..=i64::from(i32::MAX)).contains(pairs));
    let pairs = pairs.ok_or(Error::new("ERR invalid numkeys value"))? as usize;
    let end = 2 + 2 * pairs;
    if end > args.len() {
        return Err(Error::new("ERR wrong number of key-value pairs"));
    }
    let options = SetOptions::parse(args, end)?;
    if options.get {
        return Err(Error::Syntax);
    }
    let deadline = options.deadline("msetex", txn.now_ms)?;
    let exists = |i: usize| txn.view().find(&args[i]).is_some();
    let keys = (2..end).step_by(2);
    let may = match options.only {
        None => true,
        Some(If::Missing) => !keys.clone().any(exists),
        Some(If::Exists) => keys.clone().all(exists),
        Some(If::Value(_)) => return Err(Error::Syntax),
    };
    if may {
        keys.for_each(|i| options.put(txn, &args[i], &args[i + 1], deadline));
    }
    reply.integer(i64::from(may));
    Ok(())
}

fn setnx(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let missing = txn.view().find(&args[1]).is_none();
    if missing {
        txn.put(&args[1], &args[2], None);
    }
    reply.integer(i64::from(missing));
    Ok(())
}

fn setex(
    txn: &mut Txn<'_>,
    command: &'static str,
    unit_ms: i64,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let amount = integer(&args[2])?;
    if amount <= 0 {
        return Err(Error::InvalidExpire(command));
    }
    let at = deadline(command, amount, unit_ms, txn.now_ms)?;
    txn.put(&args[1], &args[3], Some(at as u64));
    txn.announce(event::EXPIRE, &args[1]);
    reply.ok();
    Ok(())
}

fn add(txn: &mut Txn<'_>, key: &[u8], by: i64, reply: &mut Reply<'_>) -> Result<(), Error> {
    let value = match txn.string(key)? {
        None => 0,
        Some(Text::Integer(value)) => value,
        Some(Text::Bytes(bytes)) => integer(bytes)?,
        Some(Text::Blocks(_)) => return Err(Error::NotInteger),
    };
    let value = value.checked_add(by).ok_or(Error::Overflow)?;
    txn.put_integer(key, value);
    reply.integer(value);
    Ok(())
}

fn append(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let before = txn.string(&args[1])?.map_or(0, Text::len);
    let after = before.saturating_add(args[2].len());
    if after > STRING_MAX {
        return Err(Error::StringTooLong);
    }
    txn.append(&args[1], &args[2]);
    reply.integer(after as i64);
    Ok(())
}

fn strlen(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let len = view.string(&args[1])?.map_or(0, Text::len);
    reply.integer(len as i64);
    Ok(())
}
