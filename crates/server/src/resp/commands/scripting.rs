//! EVAL and its relatives, SCRIPT, FCALL: what they are told is looked at here, what it means in `scripting`.

use super::{Function, container, help, session};
use crate::resp::scripting::{Given, Kind, sha1_hex};
use crate::resp::session::Call;
use crate::resp::table::named;
use leveret_engine::keyspace::command::{Group, KeySpec, Row, counted_keys};
use leveret_engine::keyspace::{Error, flag, parse_integer};
use std::sync::atomic::Ordering::Relaxed;

const RUNS: u32 =
    flag::NOSCRIPT | flag::STALE | flag::SKIP_MONITOR | flag::MAY_REPLICATE | flag::NO_MANDATORY_KEYS;
const RUNS_READING: u32 =
    flag::NOSCRIPT | flag::STALE | flag::SKIP_MONITOR | flag::NO_MANDATORY_KEYS | flag::READONLY;
/// About the scripts that are kept.
const KEEPS: u32 = flag::NOSCRIPT | flag::STALE;
const DEPENDS: &str = "Depends on the script that is executed.";
const DEPENDS_ON_FUNCTION: &str = "Depends on the function that is executed.";

const fn runs(
    name: &'static str,
    flags: u32,
    since: &'static str,
    cost: &'static str,
    run: Function,
    says: &'static str,
) -> Row<Option<Function>> {
    const READ: &[KeySpec] = &[counted_keys(&["RO", "ACCESS"], 2)];
    const CHANGED: &[KeySpec] = &[counted_keys(&["RW", "ACCESS", "UPDATE"], 2)];
    let keys = if flags & flag::READONLY != 0 { READ } else { CHANGED };
    session(name, -3, Group::Scripting, flags, run).keys(keys).since(since).cost(cost).says(says)
}

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    runs("eval", RUNS, "2.6.0", DEPENDS, |call| eval(call, false), "Executes a script."),
    runs(
        "eval_ro",
        RUNS_READING,
        "7.0.0",
        DEPENDS,
        |call| eval(call, true),
        "Executes a script that only reads.",
    ),
    runs("evalsha", RUNS, "2.6.0", DEPENDS, |call| evalsha(call, false), "Executes a script by its digest."),
    runs(
        "evalsha_ro",
        RUNS_READING,
        "7.0.0",
        DEPENDS,
        |call| evalsha(call, true),
        "Executes a script that only reads, by its digest.",
    ),
    runs("fcall", RUNS, "7.0.0", DEPENDS_ON_FUNCTION, |call| fcall(call, false), "Executes a function."),
    runs(
        "fcall_ro",
        RUNS_READING,
        "7.0.0",
        DEPENDS_ON_FUNCTION,
        |call| fcall(call, true),
        "Executes a function that only reads.",
    ),
    container("script", Group::Scripting, 0).since("2.6.0").cost("Depends on subcommand."),
    session("script|load", 3, Group::Scripting, KEEPS, load)
        .since("2.6.0")
        .cost("O(N) with N being the length in bytes of the script body.")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Keeps a script; returns its digest."),
    session("script|exists", -3, Group::Scripting, KEEPS, exists)
        .since("2.6.0")
        .cost("O(N) with N being the number of scripts to check.")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:AGG_LOGICAL_AND"])
        .says("Tells which scripts are kept."),
    session("script|flush", -2, Group::Scripting, KEEPS, flush)
        .since("2.6.0")
        .cost("O(N) with N being the number of scripts in cache")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Forgets all scripts."),
    session("script|kill", 2, Group::Scripting, flag::NOSCRIPT | flag::ALLOW_BUSY, |call| {
        kill(call, Kind::Script)
    })
    .since("2.6.0")
    .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ONE_SUCCEEDED"])
    .says("Stops the script that is running."),
    session("script|show", 3, Group::Scripting, KEEPS, text)
        .since("8.0.0")
        .says("Returns the text of a script."),
    session("script|debug", -3, Group::Scripting, flag::NOSCRIPT, debug)
        .since("3.2.0")
        .says("Whether scripts are debugged, which they are not."),
    session("script|help", 2, Group::Scripting, flag::LOADING | flag::STALE, |call| help(call, "SCRIPT"))
        .since("5.0.0")
        .says("Lists the subcommands."),
];

/// The number of keys, which stands behind the script.
fn given(call: &Call<'_, '_>, read_only: bool, not_a_number: Error) -> Result<Given, Error> {
    let count = parse_integer(&call.args[2]).ok_or(not_a_number)?;
    if count > (call.args.len() - 3) as i64 {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    let keys_count =
        usize::try_from(count).map_err(|_| Error::new("ERR Number of keys can't be negative"))?;
    Ok(Given { keys_count, read_only })
}

/// Whoever watches everything sees the script before its commands.
fn show(call: &mut Call<'_, '_>) {
    if call.engine.has_monitors()
        && let Ok(command) = named(call.args)
    {
        call.session.tell_monitors(call.engine, command, call.args);
    }
}

fn eval(call: &mut Call<'_, '_>, read_only: bool) -> Result<(), Error> {
    show(call);
    let given = given(call, read_only, Error::NotInteger)?;
    let text = &call.args[1];
    let sha = sha1_hex(text);
    let scripts = &call.shared.scripts;
    let mut interpreter = scripts.enter()?;
    let gone = interpreter.load(&sha, text, true)?;
    scripts.evicted_count.fetch_add(gone as u64, Relaxed);
    scripts.scripts_count.store(interpreter.scripts_count(), Relaxed);
    interpreter.run_script(call, &sha, given)
}

fn evalsha(call: &mut Call<'_, '_>, read_only: bool) -> Result<(), Error> {
    show(call);
    let given = given(call, read_only, Error::NotInteger)?;
    let sha = String::from_utf8_lossy(&call.args[1]).to_ascii_lowercase();
    call.shared.scripts.enter()?.run_script(call, &sha, given)
}

fn fcall(call: &mut Call<'_, '_>, read_only: bool) -> Result<(), Error> {
    show(call);
    let name = String::from_utf8_lossy(&call.args[1]).into_owned();
    let mut interpreter = call.shared.scripts.enter()?;
    interpreter.follow(&call.engine.libraries);
    if interpreter.function_flags(&name).is_none() {
        return Err(Error::new("ERR Function not found"));
    }
    let given = given(call, read_only, Error::new("ERR Bad number of keys provided"))?;
    interpreter.run_function(call, &name, given)
}

fn load(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let text = &call.args[2];
    let sha = sha1_hex(text);
    let scripts = &call.shared.scripts;
    let mut interpreter = scripts.enter()?;
    interpreter.load(&sha, text, false)?;
    scripts.scripts_count.store(interpreter.scripts_count(), Relaxed);
    call.reply.bulk(sha.as_bytes());
    Ok(())
}

fn exists(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let interpreter = call.shared.scripts.entered_before();
    call.reply.array(call.args.len() - 2);
    for sha in call.args.iter().skip(2) {
        let sha = String::from_utf8_lossy(sha).to_ascii_lowercase();
        let is_kept = interpreter.as_ref().is_some_and(|interpreter| interpreter.text(&sha).is_some());
        call.reply.integer(i64::from(is_kept));
    }
    Ok(())
}

fn flush(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if call.args.len() > 3 || call.args.get(2).is_some_and(|word| !is_mode(word)) {
        return Err(Error::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    call.shared.scripts.flush()?;
    call.reply.ok();
    Ok(())
}

pub(super) fn kill(call: &mut Call<'_, '_>, kind: Kind) -> Result<(), Error> {
    // Who gets here holds the engine, so nothing is running.
    call.shared.scripts.running.kill(kind)?;
    call.reply.ok();
    Ok(())
}

fn text(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let sha = String::from_utf8_lossy(&call.args[2]).to_ascii_lowercase();
    let interpreter = call.shared.scripts.entered_before();
    let text = interpreter.as_ref().and_then(|interpreter| interpreter.text(&sha));
    call.reply.bulk(text.ok_or(Error::new("NOSCRIPT No matching script."))?);
    Ok(())
}

fn debug(call: &mut Call<'_, '_>) -> Result<(), Error> {
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"no" => call.reply.ok(),
        b"yes" | b"sync" => return Err(Error::new("ERR scripts cannot be debugged here")),
        _ => return Err(Error::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    Ok(())
}
