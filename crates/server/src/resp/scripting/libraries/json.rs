//! `cjson.*`: JSON. (lua-cjson 2.1, with its settings, which last until the interpreter is made anew)

mod decode;
mod encode;

use super::{function, number_of};
use mlua::{Lua, MultiValue, Table, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Redis' names, as functions with which they are read and changed.
struct Settings {
    sparse_converts: AtomicBool,
    sparse_ratio: AtomicUsize,
    sparse_safe: AtomicUsize,
    encode_depth_max: AtomicUsize,
    decode_depth_max: AtomicUsize,
    precision: AtomicUsize,
    keeps_buffer: AtomicBool,
    encodes_invalid: AtomicUsize,
    decodes_invalid: AtomicBool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_converts: AtomicBool::new(false),
            sparse_ratio: AtomicUsize::new(2),
            sparse_safe: AtomicUsize::new(10),
            encode_depth_max: AtomicUsize::new(1000),
            decode_depth_max: AtomicUsize::new(1000),
            precision: AtomicUsize::new(14),
            keeps_buffer: AtomicBool::new(true),
            encodes_invalid: AtomicUsize::new(NEVER),
            decodes_invalid: AtomicBool::new(true),
        }
    }
}

/// Of `encode_invalid_numbers`.
const NEVER: usize = 0;
const ALWAYS: usize = 1;
const AS_NULL: usize = 2;

type Told = Result<Value, String>;

/// Changes a size if there is an argument, and tells it.
fn sized(args: &MultiValue, at: usize, size: &AtomicUsize, least: usize, most: usize) -> Told {
    if let Some(value) = args.get(at).filter(|value| !value.is_nil()) {
        let given = number_of(Some(value)).unwrap_or(-1.0);
        if !(least as f64..=most as f64).contains(&given) {
            return Err(format!("bad argument #{} (expected integer between {least} and {most})", at + 1));
        }
        size.store(given as usize, Relaxed);
    }
    Ok(Value::Integer(size.load(Relaxed) as i64))
}

fn switched(args: &MultiValue, at: usize, switch: &AtomicBool) -> Told {
    match args.get(at) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(on)) => switch.store(*on, Relaxed),
        Some(Value::String(text)) if &*text.as_bytes() == b"on" => switch.store(true, Relaxed),
        Some(Value::String(text)) if &*text.as_bytes() == b"off" => switch.store(false, Relaxed),
        Some(_) => return Err(format!("bad argument #{} (invalid option)", at + 1)),
    }
    Ok(Value::Boolean(switch.load(Relaxed)))
}

fn invalid_numbers(args: &MultiValue, mode: &AtomicUsize) -> Told {
    match args.front() {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(on)) => mode.store(if *on { ALWAYS } else { NEVER }, Relaxed),
        Some(Value::String(text)) if &*text.as_bytes() == b"on" => mode.store(ALWAYS, Relaxed),
        Some(Value::String(text)) if &*text.as_bytes() == b"off" => mode.store(NEVER, Relaxed),
        Some(Value::String(text)) if &*text.as_bytes() == b"null" => mode.store(AS_NULL, Relaxed),
        Some(_) => return Err("bad argument #1 (invalid option)".into()),
    }
    Ok(Value::Integer(mode.load(Relaxed) as i64))
}

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let settings = Arc::new(Settings::default());
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    table.raw_set("null", Value::NULL)?;
    let setting = |run: fn(&MultiValue, &Settings) -> Result<Vec<Value>, String>| {
        let settings = settings.clone();
        function(lua, move |_, args| Ok(run(&args, &settings)))
    };
    table.raw_set(
        "encode_sparse_array",
        setting(|args, settings| {
            Ok(vec![
                switched(args, 0, &settings.sparse_converts)?,
                sized(args, 1, &settings.sparse_ratio, 0, i32::MAX as usize)?,
                sized(args, 2, &settings.sparse_safe, 0, i32::MAX as usize)?,
            ])
        })?,
    )?;
    table.raw_set(
        "encode_max_depth",
        setting(|args, settings| {
            Ok(vec![sized(args, 0, &settings.encode_depth_max, 1, i32::MAX as usize)?])
        })?,
    )?;
    table.raw_set(
        "decode_max_depth",
        setting(|args, settings| {
            Ok(vec![sized(args, 0, &settings.decode_depth_max, 1, i32::MAX as usize)?])
        })?,
    )?;
    table.raw_set(
        "encode_number_precision",
        setting(|args, settings| Ok(vec![sized(args, 0, &settings.precision, 1, 17)?]))?,
    )?;
    table.raw_set(
        "encode_keep_buffer",
        setting(|args, settings| Ok(vec![switched(args, 0, &settings.keeps_buffer)?]))?,
    )?;
    table.raw_set(
        "encode_invalid_numbers",
        setting(|args, settings| Ok(vec![invalid_numbers(args, &settings.encodes_invalid)?]))?,
    )?;
    table.raw_set(
        "decode_invalid_numbers",
        setting(|args, settings| Ok(vec![switched(args, 0, &settings.decodes_invalid)?]))?,
    )?;
    let for_encode = settings.clone();
    table.raw_set(
        "encode",
        function(lua, move |lua, args| {
            if args.len() != 1 {
                return Ok(Err("bad argument #1 to 'encode' (expected 1 argument)".into()));
            }
            let mut out = Vec::new();
            match encode::encode(&for_encode, args.front().unwrap_or(&Value::Nil), &mut out, 0) {
                Ok(()) => Ok(Ok(vec![Value::String(lua.create_string(out)?)])),
                Err(why) => Ok(Err(why)),
            }
        })?,
    )?;
    table.raw_set(
        "decode",
        function(lua, move |lua, args| {
            if args.len() != 1 {
                return Ok(Err("bad argument #1 to 'decode' (expected 1 argument)".into()));
            }
            let Some(text) = super::bytes_of(args.front()) else {
                return Ok(Err(super::bad_argument(1, "decode", "string", args.front())));
            };
            Ok(decode::decode(lua, &settings, &text)?.map(|value| vec![value]))
        })?,
    )?;
    Ok(table)
}
