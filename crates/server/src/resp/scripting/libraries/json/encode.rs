//! A value as JSON. (lua-cjson: `cjson.encode`)

use super::super::spelt;
use super::{AS_NULL, NEVER, Settings};
use mlua::{Table, Value};
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn encode(
    settings: &Settings,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), String> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Integer(number) => encode_number(settings, *number as f64, out)?,
        Value::Number(number) => encode_number(settings, *number, out)?,
        Value::String(text) => encode_text(&text.as_bytes(), out),
        Value::Table(table) => encode_table(settings, table, out, depth + 1)?,
        Value::LightUserData(null) if null.0.is_null() => out.extend_from_slice(b"null"),
        other => return Err(cannot(other, "type not supported")),
    }
    Ok(())
}

/// Deeper tables would exhaust the stack, whatever the setting says.
const DEPTH_MAX: usize = 1000;

fn cannot(value: &Value, why: &str) -> String {
    let name = match value {
        Value::Integer(_) => "number",
        other => other.type_name(),
    };
    format!("Cannot serialise {name}: {why}")
}

fn encode_number(settings: &Settings, number: f64, out: &mut Vec<u8>) -> Result<(), String> {
    if !number.is_finite() {
        match settings.encodes_invalid.load(Relaxed) {
            NEVER => return Err(cannot(&Value::Number(number), "must not be NaN or Inf")),
            AS_NULL => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            _ => {}
        }
    }
    out.extend_from_slice(spelt(number, settings.precision.load(Relaxed)).as_bytes());
    Ok(())
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'/' => b"\\/",
            8 => b"\\b",
            12 => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=31 | 127 => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                continue;
            }
            byte => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(short);
    }
    out.push(b'"');
}

fn encode_table(settings: &Settings, table: &Table, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    if out.len() > super::super::BYTES_MAX {
        return Err(super::super::TOO_LONG.into());
    }
    if depth > settings.encode_depth_max.load(Relaxed).min(DEPTH_MAX) {
        return Err(format!("Cannot serialise, excessive depth ({depth})"));
    }
    if let Some(len) = array_len(settings, table)? {
        out.push(b'[');
        for i in 1..=len {
            if i > 1 {
                out.push(b',');
            }
            encode(settings, &table.raw_get::<Value>(i).unwrap_or(Value::Nil), out, depth)?;
            if out.len() > super::super::BYTES_MAX {
                return Err(super::super::TOO_LONG.into());
            }
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    let mut is_first = true;
    for pair in table.pairs::<Value, Value>() {
        let Ok((key, value)) = pair else { continue };
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        match &key {
            Value::Integer(_) | Value::Number(_) => {
                out.push(b'"');
                let number = super::super::number_of(Some(&key)).unwrap_or(0.0);
                encode_number(settings, number, out)?;
                out.push(b'"');
            }
            Value::String(text) => encode_text(&text.as_bytes(), out),
            _ => return Err(cannot(&Value::Table(table.clone()), "table key must be a number or string")),
        }
        out.push(b':');
        encode(settings, &value, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// How long the array is; `None` if it is an object, as an empty table is.
fn array_len(settings: &Settings, table: &Table) -> Result<Option<usize>, String> {
    let (mut largest, mut count) = (0usize, 0usize);
    for pair in table.pairs::<Value, Value>() {
        match pair {
            Ok((Value::Integer(key), _)) if key >= 1 => {
                largest = largest.max(key as usize);
                count += 1;
            }
            _ => return Ok(None),
        }
    }
    let (ratio, safe) = (settings.sparse_ratio.load(Relaxed), settings.sparse_safe.load(Relaxed));
    if ratio > 0 && largest > count.saturating_mul(ratio) && largest > safe {
        if !settings.sparse_converts.load(Relaxed) {
            return Err(cannot(&Value::Table(table.clone()), "excessively sparse array"));
        }
        return Ok(None);
    }
    Ok((largest > 0).then_some(largest))
}
