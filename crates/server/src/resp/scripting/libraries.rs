//! The libraries that Redis adds to Lua. A function answers with its results or with why there are none, which is raised with the
//! place of the caller.

mod bits;
mod json;
mod msgpack;
mod structs;

use super::raised::Raised;
use mlua::{Function, Lua, MultiValue, Table, Value};

/// What is written out as one string; a longer one is no value that could be kept. (Redis: proto-max-bulk-len)
const BYTES_MAX: usize = 512 * 1024 * 1024;
const TOO_LONG: &str = "the result is longer than 512 MB";

/// What a function of a library comes to.
pub(super) type Outcome = Result<Vec<Value>, String>;

/// All libraries by their names.
pub(super) fn install(lua: &Lua, native: &Table) -> mlua::Result<()> {
    native.raw_set("cjson", json::library(lua)?)?;
    native.raw_set("new_cjson", lua.create_function(|lua, ()| json::library(lua))?)?;
    native.raw_set("cmsgpack", msgpack::library(lua)?)?;
    native.raw_set("struct", structs::library(lua)?)?;
    native.raw_set("bit", bits::library(lua)?)
}

/// A function of a library.
pub(super) fn function<F>(lua: &Lua, run: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, MultiValue) -> mlua::Result<Outcome> + mlua::MaybeSend + 'static,
{
    lua.create_function(move |lua, args: MultiValue| match run(lua, args)? {
        Ok(results) => Ok(MultiValue::from_vec(results)),
        Err(why) => Err(Raised::at_caller(lua, &why).into()),
    })
}

/// An argument as a number; strings that spell one are taken, as Lua does.
pub(super) fn number_of(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::String(text) => std::str::from_utf8(&text.as_bytes()).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// An argument as bytes; numbers are spelt as Lua does.
pub(super) fn bytes_of(value: Option<&Value>) -> Option<Vec<u8>> {
    match value? {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(spelt(*number, 14).into_bytes()),
        _ => None,
    }
}

/// Lua's refusal of an argument.
pub(super) fn bad_argument(at: usize, function: &str, wanted: &str, got: Option<&Value>) -> String {
    let got = got.map_or("no value", Value::type_name);
    format!("bad argument #{at} to '{function}' ({wanted} expected, got {got})")
}

/// `%.{precision}g` of C.
pub(super) fn spelt(number: f64, precision: usize) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan" } else { "nan" }.into();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-inf" } else { "inf" }.into();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let precision = precision.max(1);
    let scientific = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    trimmed(&format!("{number:.*}", (precision as i32 - 1 - exponent).max(0) as usize))
}

#[cfg(test)]
mod tests {
    //! Numbers as C spells them.
    use super::spelt;

    #[test]
    fn numbers_are_spelt_as_by_printf() {
        for (number, text) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (3.3, "3.3"),
            (1.0 / 3.0, "0.33333333333333"),
            (1e14, "1e+14"),
            (123456789012345.0, "1.2345678901234e+14"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(spelt(number, 14), text);
        }
        assert_eq!(spelt(3.3, 17), "3.2999999999999998");
    }
}
