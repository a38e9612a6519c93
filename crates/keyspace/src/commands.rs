//! The command tables, one file a group: a table of rows at the top, the functions beside it.

mod generic;
mod hash;
mod list;
mod set;
mod sorted_set;
mod string;

use crate::{Error, Row, UnixMillis, parse_integer};

/// All rows of the keyspace.
pub const TABLES: &[&[Row]] =
    &[string::ROWS, list::ROWS, hash::ROWS, set::ROWS, sorted_set::ROWS, generic::ROWS];

/// An argument as an integer.
pub(crate) fn integer(bytes: &[u8]) -> Result<i64, Error> {
    parse_integer(bytes).ok_or(Error::NotInteger)
}

/// An absolute deadline from an amount in units of `unit_ms`, which counts from `base_ms`.
pub(crate) fn deadline(
    command: &'static str,
    amount: i64,
    unit_ms: i64,
    base_ms: UnixMillis,
) -> Result<i64, Error> {
    amount
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms as i64))
        .ok_or(Error::InvalidExpire(command))
}
