//! The part of `redis.*` that needs no client: digests, the server's log, the protocol version, constants.

use super::interpreter::State;
use super::libraries::{Outcome, bad_argument, bytes_of, function, install, number_of};
use super::raised::Raised;
use super::random::Random;
use super::values::failed;
use crate::resp::commands::REDIS_VERSION;
use leveret_resp::Version;
use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Numbers that have a name in `redis.*`.
const CONSTANTS: [(&str, i64); 9] = [
    ("LOG_DEBUG", 0),
    ("LOG_VERBOSE", 1),
    ("LOG_NOTICE", 2),
    ("LOG_WARNING", 3),
    ("REPL_NONE", 0),
    ("REPL_AOF", 1),
    ("REPL_SLAVE", 2),
    ("REPL_REPLICA", 2),
    ("REPL_ALL", 3),
];

/// What the prelude is given.
pub(super) fn native(lua: &Lua, state: &Arc<State>) -> mlua::Result<(Table, Table)> {
    let native = lua.create_table()?;
    install(lua, &native)?;
    native.raw_set("redis", redis(lua, state)?)?;
    let rng = state.clone();
    native.raw_set("random", function(lua, move |_, args| Ok(random(&rng, &args)))?)?;
    let rng = state.clone();
    native.raw_set(
        "randomseed",
        function(lua, move |_, args| {
            let seed = number_of(args.front()).unwrap_or(0.0);
            *rng.random.lock() = Random::new(seed as i64 as u32);
            Ok(Ok(Vec::new()))
        })?,
    )?;
    native.raw_set("register", super::functions::register(lua, state)?)?;
    native.raw_set(
        "error_text",
        lua.create_function(|lua, text: LuaString| lua.create_string(error_text(&text.as_bytes())))?,
    )?;
    let of_ending = state.clone();
    native.raw_set("is_ending", lua.create_function(move |_, ()| Ok(of_ending.why_to_end().is_some()))?)?;
    let of_look = state.clone();
    native.raw_set("look_around", lua.create_function(move |_, ()| of_look.look_around())?)?;
    native.raw_set("position", lua.create_function(|lua, ()| position(lua))?)?;
    // What a function here has raised, as scripts may see it: the error of a command, or a text.
    native.raw_set(
        "unwrapped",
        lua.create_function(|lua, error: Value| {
            let Value::Error(error) = error else { return Ok(error) };
            Ok(match Raised::of(&error) {
                Some(Raised::Reply(text)) => Value::Table(failed(lua, text.as_bytes())?),
                Some(Raised::Text(text)) => Value::String(lua.create_string(text)?),
                None => Value::String(lua.create_string(super::interpreter::message(&error))?),
            })
        })?,
    )?;
    let constants = lua.create_table()?;
    for (name, value) in CONSTANTS {
        constants.raw_set(name, value)?;
    }
    constants.raw_set("REDIS_VERSION", REDIS_VERSION)?;
    let parts = REDIS_VERSION.split('.').map(|part| part.parse().unwrap_or(0));
    constants.raw_set("REDIS_VERSION_NUM", parts.fold(0i64, |number, part: i64| number << 8 | part))?;
    Ok((native, constants))
}

/// A function of `redis.*`: why it fails is told as the error of a command.
pub(super) fn refusing<F>(lua: &Lua, run: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, &MultiValue) -> mlua::Result<Outcome> + mlua::MaybeSend + 'static,
{
    lua.create_function(move |lua, args: MultiValue| match run(lua, &args)? {
        Ok(results) => Ok(MultiValue::from_vec(results)),
        Err(why) => Err(Raised::Reply(format!("ERR {why}")).into()),
    })
}

/// `redis.call`, `redis.pcall` and whatever else needs the client.
fn with_caller(lua: &Lua, redis: &Table, state: &Arc<State>) -> mlua::Result<()> {
    const NOBODY: &str = "ERR commands can be called only while a script runs";
    let call = |state: &State, lua: &Lua, args: &MultiValue| {
        let version = if state.is_resp3.load(Relaxed) { Version::Resp3 } else { Version::Resp2 };
        let called = state.lent.with(|caller| caller.call(lua, args, version));
        called.unwrap_or_else(|| Err(Raised::Reply(NOBODY.into()).into()))
    };
    let of_call = state.clone();
    redis.raw_set("call", lua.create_function(move |lua, args: MultiValue| call(&of_call, lua, &args))?)?;
    let of_pcall = state.clone();
    redis.raw_set(
        "pcall",
        lua.create_function(move |lua, args: MultiValue| match call(&of_pcall, lua, &args) {
            Ok(reply) => Ok(reply),
            Err(error) => match Raised::of(&error) {
                Some(raised) => Ok(Value::Table(failed(lua, raised.text().as_bytes())?)),
                None => Err(error),
            },
        })?,
    )?;
    let of_check = state.clone();
    redis.raw_set(
        "acl_check_cmd",
        refusing(lua, move |_, args| {
            let may = of_check.lent.with(|caller| caller.may(args));
            Ok(may.unwrap_or_else(|| Err(NOBODY.into())).map(|may| vec![Value::Boolean(may)]))
        })?,
    )
}

fn redis(lua: &Lua, state: &Arc<State>) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    with_caller(lua, &redis, state)?;
    redis.raw_set(
        "sha1hex",
        refusing(lua, |lua, args| {
            if args.len() != 1 {
                return Ok(Err("wrong number of arguments".into()));
            }
            let text = match args.front() {
                Some(Value::String(text)) => text.as_bytes().to_vec(),
                Some(value @ (Value::Integer(_) | Value::Number(_))) => value.to_string()?.into_bytes(),
                _ => Vec::new(),
            };
            Ok(Ok(vec![Value::String(lua.create_string(super::sha1_hex(&text))?)]))
        })?,
    )?;
    redis.raw_set("log", refusing(lua, |_, args| Ok(log(args)))?)?;
    let version = state.clone();
    redis.raw_set(
        "setresp",
        refusing(lua, move |_, args| {
            if args.len() != 1 {
                return Ok(Err("redis.setresp() requires one argument.".into()));
            }
            match number_of(args.front()) {
                Some(number) if number == 2.0 || number == 3.0 => {
                    version.is_resp3.store(number == 3.0, Relaxed);
                    Ok(Ok(Vec::new()))
                }
                Some(_) | None => Ok(Err("RESP version must be 2 or 3.".into())),
            }
        })?,
    )?;
    redis.raw_set(
        "set_repl",
        refusing(lua, |_, args| {
            // Changes are always logged, whatever a script wants of replication.
            Ok(match number_of(args.front()) {
                _ if args.len() != 1 => Err("redis.set_repl() requires two arguments.".into()),
                Some(flags) if (0.0..=3.0).contains(&flags) => Ok(Vec::new()),
                Some(_) | None => {
                    Err("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."
                        .into())
                }
            })
        })?,
    )?;
    Ok(redis)
}

fn log(args: &MultiValue) -> Outcome {
    let Some((level, words)) = args.len().checked_sub(1).filter(|rest| *rest > 0).and_then(|_| {
        let mut values = args.iter();
        Some((values.next()?, values))
    }) else {
        return Err("redis.log() requires two arguments or more.".into());
    };
    let level = match level {
        Value::Integer(level) => *level,
        Value::Number(level) => *level as i64,
        _ => return Err("First argument must be a number (log level).".into()),
    };
    let words: Vec<_> = words.filter_map(|word| bytes_of(Some(word))).collect();
    let text = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    match level {
        0 => tracing::trace!(target: "script", "{text}"),
        1 => tracing::debug!(target: "script", "{text}"),
        2 => tracing::info!(target: "script", "{text}"),
        3 => tracing::warn!(target: "script", "{text}"),
        _ => return Err("Invalid debug level.".into()),
    }
    Ok(Vec::new())
}

/// Lua's `math.random`, whose numbers are other ones in every process.
fn random(state: &State, args: &MultiValue) -> Outcome {
    let number = |at: usize| {
        let value = args.get(at);
        number_of(value).ok_or_else(|| bad_argument(at + 1, "random", "number", value))
    };
    let part = state.random.lock().part();
    let (low, high) = match args.len() {
        0 => return Ok(vec![Value::Number(part)]),
        1 => (1.0, number(0)?.floor()),
        2 => (number(0)?.floor(), number(1)?.floor()),
        _ => return Err("wrong number of arguments".into()),
    };
    if low > high {
        return Err(format!("bad argument #{} to 'random' (interval is empty)", args.len()));
    }
    Ok(vec![Value::Number((part * (high - low + 1.0)).floor() + low)])
}

/// The text of an error reply, with or without a dash: the first of several words is a code, a single word has none.
fn error_text(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() };
    text.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()
}

/// Where the script is: the innermost of its own functions.
fn position(lua: &Lua) -> mlua::Result<MultiValue> {
    /// An error function that calls itself endlessly is not looked through to its end.
    const LEVELS_MAX: usize = 64;
    for level in 1..LEVELS_MAX {
        let found = lua.inspect_stack(level, |debug| {
            let source = debug.source();
            (source.source.map(|source| source.into_owned()), source.what, debug.current_line())
        });
        let Some((source, what, line)) = found else { break };
        if line.is_some() && what != "C" && source.as_deref() != Some(super::interpreter::PRELUDE_NAME) {
            let mut values = MultiValue::new();
            values.push_back(Value::String(lua.create_string(source.unwrap_or_default())?));
            values.push_back(Value::Integer(line.unwrap_or_default() as i64));
            return Ok(values);
        }
    }
    Ok(MultiValue::new())
}
