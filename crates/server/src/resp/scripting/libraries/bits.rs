//! `bit.*`: operations on integers of 32 bits. (LuaBitOp)

use super::{Outcome, bad_argument, function, number_of};
use mlua::{Function, Lua, MultiValue, Table, Value};

/// A number as 32 bits: what is beyond them is dropped, halves go to the even neighbour.
fn bits(args: &MultiValue, at: usize, name: &str) -> Result<i32, String> {
    let value = args.get(at);
    let number = number_of(value).ok_or_else(|| bad_argument(at + 1, name, "number", value))?;
    Ok(number.round_ties_even().rem_euclid(4_294_967_296.0) as u32 as i32)
}

fn one(bits: i32) -> Outcome {
    Ok(vec![Value::Number(f64::from(bits))])
}

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let unary = |name: &'static str, run: fn(i32) -> i32| -> mlua::Result<Function> {
        function(lua, move |_, args| Ok(bits(&args, 0, name).and_then(|x| one(run(x)))))
    };
    let many = |name: &'static str, run: fn(i32, i32) -> i32| -> mlua::Result<Function> {
        function(lua, move |_, args| {
            let mut result = bits(&args, 0, name);
            for at in 1..args.len() {
                result = result.and_then(|x| Ok(run(x, bits(&args, at, name)?)));
            }
            Ok(result.and_then(one))
        })
    };
    let shift = |name: &'static str, run: fn(i32, u32) -> i32| -> mlua::Result<Function> {
        function(lua, move |_, args| {
            let shifted = bits(&args, 0, name).and_then(|x| Ok(run(x, bits(&args, 1, name)? as u32 & 31)));
            Ok(shifted.and_then(one))
        })
    };
    let table = lua.create_table()?;
    table.raw_set("tobit", unary("tobit", |x| x)?)?;
    table.raw_set("bnot", unary("bnot", |x| !x)?)?;
    table.raw_set("bswap", unary("bswap", i32::swap_bytes)?)?;
    table.raw_set("band", many("band", |x, y| x & y)?)?;
    table.raw_set("bor", many("bor", |x, y| x | y)?)?;
    table.raw_set("bxor", many("bxor", |x, y| x ^ y)?)?;
    table.raw_set("lshift", shift("lshift", |x, by| x << by)?)?;
    table.raw_set("rshift", shift("rshift", |x, by| (x as u32 >> by) as i32)?)?;
    table.raw_set("arshift", shift("arshift", |x, by| x >> by)?)?;
    table.raw_set("rol", shift("rol", i32::rotate_left)?)?;
    table.raw_set("ror", shift("ror", i32::rotate_right)?)?;
    table.raw_set("tohex", function(lua, |lua, args| hex(lua, &args))?)?;
    Ok(table)
}

/// The last digits, as many as asked for; in capitals if the number of them is negative.
fn hex(lua: &Lua, args: &MultiValue) -> mlua::Result<Outcome> {
    let parts = bits(args, 0, "tohex").and_then(|x| {
        let count = if args.len() > 1 { bits(args, 1, "tohex")? } else { 8 };
        Ok((x as u32, count))
    });
    let (x, count) = match parts {
        Ok(parts) => parts,
        Err(why) => return Ok(Err(why)),
    };
    let digits = if count < 0 { format!("{x:08X}") } else { format!("{x:08x}") };
    let kept = (count.unsigned_abs() as usize).min(8);
    Ok(Ok(vec![Value::String(lua.create_string(&digits[8 - kept..])?)]))
}
