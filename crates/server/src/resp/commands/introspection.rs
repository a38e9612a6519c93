//! `COMMAND`: the table tells about itself.

use super::{Function, LOADING_STALE, help, session};
use crate::resp::session::Call;
use crate::resp::table::{self, Command, TABLE, find};
use leveret_engine::keyspace::command::{FindKeys, Group, KeySpec, Row};
use leveret_engine::keyspace::{Args, ArgsBuf, Error, Reply, category, flag};

const COMMON: u32 = LOADING_STALE | flag::SENTINEL;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("command", -1, Group::Server, COMMON, all)
        .since("2.8.13")
        .also(category::CONNECTION)
        .cost("O(N) where N is the total number of commands")
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns facts about all commands."),
    session("command|count", 2, Group::Server, COMMON, count)
        .since("2.8.13")
        .also(category::CONNECTION)
        .says("Returns the number of commands."),
    session("command|info", -2, Group::Server, COMMON, info)
        .since("2.8.13")
        .also(category::CONNECTION)
        .cost("O(N) where N is the number of commands to look up")
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns facts about some commands."),
    session("command|docs", -2, Group::Server, COMMON, docs)
        .since("7.0.0")
        .also(category::CONNECTION)
        .cost("O(N) where N is the number of commands to look up")
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns what commands are for."),
    session("command|list", -2, Group::Server, COMMON, list)
        .since("7.0.0")
        .also(category::CONNECTION)
        .cost("O(N) where N is the total number of commands")
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns the names of all commands."),
    session("command|getkeys", -3, Group::Server, COMMON, getkeys)
        .since("2.8.13")
        .also(category::CONNECTION)
        .cost("O(N) where N is the number of arguments to the command")
        .says("Returns which arguments of a command are keys."),
    session("command|getkeysandflags", -3, Group::Server, COMMON, getkeysandflags)
        .since("7.0.0")
        .also(category::CONNECTION)
        .cost("O(N) where N is the number of arguments to the command")
        .says("Returns which arguments of a command are keys and what is done with them."),
    session("command|help", 2, Group::Server, COMMON, |call| help(call, "COMMAND"))
        .since("5.0.0")
        .also(category::CONNECTION)
        .says("Lists the subcommands."),
];

fn top_level() -> Vec<&'static Command> {
    TABLE.by_name().into_iter().filter(|command| !command.spec.name.contains('|')).collect()
}

fn all(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let commands = top_level();
    call.reply.array(commands.len());
    commands.iter().for_each(|command| describe(call.reply, command));
    Ok(())
}

fn count(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.integer(top_level().len() as i64);
    Ok(())
}

fn named(name: &[u8]) -> Option<&'static Command> {
    TABLE.get(name)
}

fn info(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if call.args.len() == 2 {
        let commands = top_level();
        call.reply.array(commands.len());
        commands.iter().for_each(|command| describe(call.reply, command));
        return Ok(());
    }
    call.reply.array(call.args.len() - 2);
    for name in call.args.iter().skip(2) {
        match named(name) {
            Some(command) => describe(call.reply, command),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

fn names_of(bits: u32, names: &'static [(u32, &'static str)]) -> Vec<&'static str> {
    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect()
}

fn simple_set(reply: &mut Reply<'_>, names: &[&str]) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name));
}

/// The ten fields of a command. (Redis: COMMAND INFO)
fn describe(reply: &mut Reply<'_>, command: &Command) {
    let spec = &command.spec;
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    let mut flags = names_of(spec.flags, flag::NAMES);
    if spec.keys.iter().any(|keys| !matches!(keys.find, FindKeys::Range { .. })) {
        flags.push("movablekeys");
    }
    simple_set(reply, &flags);
    // Only ranges have a place in these three.
    let ranges = spec.keys.iter().filter_map(|keys| match keys.find {
        FindKeys::Range { last, step } => Some((keys.first, i64::from(last), step as i64)),
        FindKeys::Counted { .. }
        | FindKeys::Halved { .. }
        | FindKeys::Behind { .. }
        | FindKeys::Rest { .. }
        | FindKeys::Unknown => None,
    });
    reply.integer(ranges.clone().next().map_or(0, |(first, ..)| first as i64));
    let last = ranges.clone().map(|(first, last, _)| if last < 0 { last } else { first as i64 + last });
    reply.integer(last.clone().find(|last| *last < 0).or(last.max()).unwrap_or(0));
    reply.integer(ranges.clone().next().map_or(0, |(_, _, step)| step));
    simple_set(reply, &names_of(spec.categories(), category::NAMES));
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip.to_ascii_lowercase().as_bytes()));
    reply.set(spec.keys.len());
    spec.keys.iter().for_each(|keys| describe_keys(reply, keys));
    let subs = TABLE.subs(spec.name);
    if subs.is_empty() {
        reply.set(0);
    } else {
        reply.array(subs.len());
    }
    subs.iter().for_each(|sub| describe(reply, sub));
}

/// What is done with keys: the kind of access in capitals, the rest not. (Redis: key specifications)
fn key_flags(reply: &mut Reply<'_>, flags: &[&str]) {
    reply.set(flags.len());
    for flag in flags {
        let is_access = matches!(*flag, "RO" | "RW" | "OW" | "RM");
        reply.simple(&if is_access { (*flag).to_owned() } else { flag.to_ascii_lowercase() });
    }
}

fn describe_keys(reply: &mut Reply<'_>, keys: &KeySpec) {
    let pair = |reply: &mut Reply<'_>, name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    };
    reply.map(3);
    reply.bulk(b"flags");
    key_flags(reply, keys.flags);
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    match keys.find {
        FindKeys::Range { .. } | FindKeys::Counted { .. } => {
            reply.bulk(b"index");
            reply.bulk(b"spec");
            reply.map(1);
            pair(reply, "index", keys.first as i64);
        }
        FindKeys::Halved { keyword } | FindKeys::Behind { keyword } => {
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(keyword.as_bytes());
            pair(reply, "startfrom", keys.first as i64);
        }
        FindKeys::Rest { keyword, from_end } => {
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(keyword.as_bytes());
            pair(reply, "startfrom", -(from_end as i64));
        }
        FindKeys::Unknown => {
            reply.bulk(b"unknown");
            reply.bulk(b"spec");
            reply.map(0);
        }
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    let range = |reply: &mut Reply<'_>, last: i32, step: usize, limit: i64| {
        reply.bulk(b"range");
        reply.bulk(b"spec");
        reply.map(3);
        pair(reply, "lastkey", i64::from(last));
        pair(reply, "keystep", step as i64);
        pair(reply, "limit", limit);
    };
    match keys.find {
        FindKeys::Range { last, step } => range(reply, last, step, 0),
        FindKeys::Halved { .. } => range(reply, -1, 1, 2),
        FindKeys::Behind { .. } => range(reply, 0, 1, 0),
        FindKeys::Rest { .. } => range(reply, -1, 1, 0),
        FindKeys::Counted { step } => {
            reply.bulk(b"keynum");
            reply.bulk(b"spec");
            reply.map(3);
            pair(reply, "keynumidx", 0);
            pair(reply, "firstkey", 1);
            pair(reply, "keystep", step as i64);
        }
        FindKeys::Unknown => {
            reply.bulk(b"unknown");
            reply.bulk(b"spec");
            reply.map(0);
        }
    }
}

fn docs(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let commands: Vec<&Command> = match call.args.len() {
        2 => top_level(),
        _ => call.args.iter().skip(2).filter_map(named).collect(),
    };
    call.reply.map(commands.len());
    commands.iter().for_each(|command| document(call.reply, command));
    Ok(())
}

fn document(reply: &mut Reply<'_>, command: &Command) {
    let subs = TABLE.subs(command.spec.name);
    let spec = &command.spec;
    let facts = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    reply.bulk(spec.name.as_bytes());
    reply.map(facts.len() + usize::from(!subs.is_empty()));
    for (name, value) in facts {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !subs.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subs.len());
        subs.iter().for_each(|sub| document(reply, sub));
    }
}

fn list(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let mut names: Vec<&str> = TABLE.iter().map(|c| c.spec.name).collect();
    names.sort_unstable();
    if let Some(option) = call.args.get(2) {
        let (by, value) = match (option, call.args.get(3), call.args.get(4)) {
            (option, Some(by), Some(value))
                if option.eq_ignore_ascii_case(b"filterby") && call.args.len() == 5 =>
            {
                (by.to_ascii_uppercase(), value)
            }
            _ => return Err(Error::Syntax),
        };
        match by.as_slice() {
            b"PATTERN" => names.retain(|name| {
                leveret_engine::keyspace::glob::matches(&value.to_ascii_lowercase(), name.as_bytes())
            }),
            b"ACLCAT" => {
                let wanted = format!("@{}", String::from_utf8_lossy(value).to_lowercase());
                let bit = category::NAMES.iter().find(|(_, name)| *name == wanted).map_or(0, |(bit, _)| *bit);
                names.retain(|name| {
                    TABLE.get(name.as_bytes()).is_some_and(|c| c.spec.categories() & bit != 0)
                });
            }
            b"MODULE" => names.clear(),
            _ => return Err(Error::Syntax),
        }
    }
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

/// A channel of a shard has a slot as a key has, but is none.
fn is_no_key(keys: &KeySpec) -> bool {
    keys.flags.contains(&"NOT_KEY")
}

/// What these arguments do with the keys, where that is up to them.
fn used_as(command: &Command, keys: &KeySpec, args: Args<'_>) -> &'static [&'static str] {
    let says = |from, words: &[&[u8]]| {
        args.iter().skip(from).any(|arg| words.iter().any(|word| arg.eq_ignore_ascii_case(word)))
    };
    match command.spec.name {
        "set" if !says(3, &[b"GET"]) => &["OW", "UPDATE"],
        "bitfield" if !says(2, &[b"SET", b"INCRBY"]) => &["RO", "ACCESS"],
        "set" | "bitfield" => &["RW", "ACCESS", "UPDATE"],
        _ => keys.flags,
    }
}

/// The command that the arguments behind the second are for, which must have keys.
fn inner<'a>(call: &Call<'a, '_>) -> Result<(&'static Command, ArgsBuf), Error> {
    let inner: ArgsBuf = call.args.iter().skip(2).collect();
    let args = inner.as_args();
    let command = table::named(args).map_err(|_| Error::new("ERR Invalid command specified"))?;
    if command.spec.keys.iter().all(is_no_key) {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    let command =
        find(args).map_err(|_| Error::new("ERR Invalid number of arguments specified for command"))?;
    Ok((command, inner))
}

fn getkeys(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let (command, inner) = inner(call)?;
    let keys = command.spec.keys.iter().filter(|keys| !is_no_key(keys));
    let positions: Vec<usize> =
        keys.flat_map(|keys| command.spec.positions_of(keys, inner.as_args())).collect();
    call.reply.array(positions.len());
    positions.iter().for_each(|&i| call.reply.bulk(&inner.as_args()[i]));
    Ok(())
}

fn getkeysandflags(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let (command, inner) = inner(call)?;
    let args = inner.as_args();
    let found: Vec<(usize, &KeySpec)> = command
        .spec
        .keys
        .iter()
        .filter(|keys| !is_no_key(keys))
        .flat_map(|keys| command.spec.positions_of(keys, args).into_iter().map(move |i| (i, keys)))
        .collect();
    call.reply.array(found.len());
    for (i, keys) in found {
        call.reply.array(2);
        call.reply.bulk(&args[i]);
        key_flags(call.reply, used_as(command, keys, args));
    }
    Ok(())
}
