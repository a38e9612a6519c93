//! FUNCTION: libraries of functions, which are data and stay.

use super::scripting::kill;
use super::{Function, LOADING_STALE, container, help, session};
use crate::resp::scripting::{Interpreter, Kind, Library, Running, of_library};
use crate::resp::session::Call;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, Reply, flag, glob, rdb};
use std::sync::Arc;

const WRITES: u32 = flag::NOSCRIPT | flag::WRITE;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("function", Group::Scripting, 0).since("7.0.0").cost("Depends on subcommand."),
    session("function|load", -3, Group::Scripting, WRITES | flag::DENYOOM, load)
        .since("7.0.0")
        .cost("O(1) (considering compilation time is redundant)")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Keeps a library; returns its name."),
    session("function|delete", 3, Group::Scripting, WRITES, delete)
        .since("7.0.0")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Removes a library."),
    session("function|flush", -2, Group::Scripting, WRITES, flush)
        .since("7.0.0")
        .cost("O(N) where N is the number of functions deleted")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Removes all libraries."),
    session("function|list", -2, Group::Scripting, flag::NOSCRIPT, list)
        .since("7.0.0")
        .cost("O(N) where N is the number of functions")
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns the libraries."),
    session("function|dump", 2, Group::Scripting, flag::NOSCRIPT, dump)
        .since("7.0.0")
        .cost("O(N) where N is the number of functions")
        .says("Returns all libraries as a payload for FUNCTION RESTORE."),
    session("function|restore", -3, Group::Scripting, WRITES | flag::DENYOOM, restore)
        .since("7.0.0")
        .cost("O(N) where N is the number of functions on the payload")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Keeps the libraries of a payload."),
    session("function|stats", 2, Group::Scripting, flag::NOSCRIPT | flag::ALLOW_BUSY, stats)
        .since("7.0.0")
        .tips(&["NONDETERMINISTIC_OUTPUT", "REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:SPECIAL"])
        .says("Tells what is running, and how many libraries and functions there are."),
    session("function|kill", 2, Group::Scripting, flag::NOSCRIPT | flag::ALLOW_BUSY, |call| {
        kill(call, Kind::Function)
    })
    .since("7.0.0")
    .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ONE_SUCCEEDED"])
    .says("Stops the function that is running."),
    session("function|help", 2, Group::Scripting, LOADING_STALE, |call| help(call, "FUNCTION"))
        .since("7.0.0")
        .says("Lists the subcommands."),
];

fn load(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let mut replaces = false;
    let text_at = call.args.len() - 1;
    for word in call.args.iter().take(text_at).skip(2) {
        if !word.eq_ignore_ascii_case(b"replace") {
            let word = String::from_utf8_lossy(word);
            return Err(Error::Other(format!("ERR Unknown option given: {word}").into()));
        }
        replaces = true;
    }
    let text: Arc<[u8]> = call.args[text_at].into();
    let mut interpreter = call.shared.scripts.enter()?;
    interpreter.follow(&call.engine.libraries);
    let (name, _) = of_library(&text)?;
    if !replaces && interpreter.libraries().contains_key(&name) {
        return Err(Error::Other(format!("ERR Library '{name}' already exists").into()));
    }
    let (name, library) = interpreter.compile_library(&text)?;
    interpreter.check_names(&library.functions, |other| other == name)?;
    call.engine.put_library(&name, &text);
    followed(call, &mut interpreter);
    call.reply.bulk(name.as_bytes());
    Ok(())
}

/// The interpreter has what the engine has.
fn followed(call: &Call<'_, '_>, interpreter: &mut Interpreter) {
    interpreter.follow(&call.engine.libraries);
    call.shared.scripts.running.count(interpreter.libraries().len(), interpreter.functions_count());
}

fn delete(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if !call.engine.delete_library(&String::from_utf8_lossy(&call.args[2])) {
        return Err(Error::new("ERR Library not found"));
    }
    followed(call, &mut *call.shared.scripts.enter()?);
    call.reply.ok();
    Ok(())
}

fn flush(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if call.args.len() > 3 {
        return Err(Error::new(
            "ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP.",
        ));
    }
    if call.args.get(2).is_some_and(|word| !is_mode(word)) {
        return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    delete_all(call);
    followed(call, &mut *call.shared.scripts.enter()?);
    call.reply.ok();
    Ok(())
}

fn delete_all(call: &mut Call<'_, '_>) {
    let names: Vec<String> = call.engine.libraries.iter().map(|(name, _)| name.to_owned()).collect();
    call.engine.begin();
    for name in &names {
        call.engine.delete_library(name);
    }
    call.engine.end();
}

fn list(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let (mut with_code, mut pattern, mut at) = (false, None, 2);
    while let Some(word) = call.args.get(at) {
        at += 1;
        match word.to_ascii_lowercase().as_slice() {
            b"withcode" if !with_code => with_code = true,
            b"libraryname" if pattern.is_none() => {
                let given = call.args.get(at).ok_or(Error::new("ERR library name argument was not given"))?;
                pattern = Some(given);
                at += 1;
            }
            _ => {
                let word = String::from_utf8_lossy(word);
                return Err(Error::Other(format!("ERR Unknown argument {word}").into()));
            }
        }
    }
    let mut interpreter = call.shared.scripts.enter()?;
    interpreter.follow(&call.engine.libraries);
    let fits = |name: &str| pattern.is_none_or(|pattern| glob::matches(pattern, name.as_bytes()));
    let listed: Vec<_> = interpreter.libraries().iter().filter(|(name, _)| fits(name)).collect();
    call.reply.array(listed.len());
    for (name, library) in listed {
        describe(call.reply, name, library, with_code);
    }
    Ok(())
}

fn describe(reply: &mut Reply<'_>, name: &str, library: &Library, with_code: bool) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(name.as_bytes());
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(function.name.as_bytes());
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        function.flags.names().for_each(|name| reply.simple(name));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.text);
    }
}

fn dump(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let payload = rdb::dump_libraries(call.engine.libraries.iter().map(|(_, text)| &**text));
    call.reply.bulk(&payload);
    Ok(())
}

/// What a payload does with libraries that are there already. (Redis: FUNCTION RESTORE)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restoring {
    Append,
    Flush,
    Replace,
}

fn restore(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if call.args.len() > 4 {
        return Err(Error::new(
            "ERR unknown subcommand or wrong number of arguments for 'restore'. Try FUNCTION HELP.",
        ));
    }
    let how = match call.args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"append") => Restoring::Append,
        Some(b"flush") => Restoring::Flush,
        Some(b"replace") => Restoring::Replace,
        Some(_) => {
            return Err(Error::new(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let texts = rdb::load_libraries(&call.args[2])?;
    let mut interpreter = call.shared.scripts.enter()?;
    interpreter.follow(&call.engine.libraries);
    let mut libraries = Vec::new();
    for text in texts {
        libraries.push(interpreter.compile_library(&Arc::from(text))?);
    }
    let given = |name: &str| libraries.iter().any(|(other, _)| other == name);
    let gone = |name: &str| match how {
        Restoring::Append => false,
        Restoring::Flush => true,
        Restoring::Replace => given(name),
    };
    for (name, library) in &libraries {
        if interpreter.libraries().contains_key(name) && !gone(name) {
            return Err(Error::Other(format!("ERR Library {name} already exists").into()));
        }
        interpreter.check_names(&library.functions, gone)?;
    }
    call.engine.begin();
    if how == Restoring::Flush {
        delete_all(call);
    }
    for (name, library) in &libraries {
        call.engine.put_library(name, &library.text);
    }
    call.engine.end();
    followed(call, &mut interpreter);
    call.reply.ok();
    Ok(())
}

fn stats(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let mut interpreter = call.shared.scripts.enter()?;
    interpreter.follow(&call.engine.libraries);
    call.shared.scripts.running.count(interpreter.libraries().len(), interpreter.functions_count());
    tell_stats(&call.shared.scripts.running, call.reply);
    Ok(())
}

/// FUNCTION STATS, which is also answered while something runs.
pub(crate) fn tell_stats(running: &Running, reply: &mut Reply<'_>) {
    let (libraries, functions) = running.counts();
    reply.map(2);
    reply.bulk(b"running_script");
    match running.now() {
        None => reply.null(),
        Some(run) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(run.name.as_bytes());
            reply.bulk(b"command");
            reply.array(run.command.len());
            run.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(run.since.map_or(0, |since| since.elapsed().as_millis() as i64));
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries as i64);
    reply.bulk(b"functions_count");
    reply.integer(functions as i64);
}
