//! The command tables, one file a group: a table of rows at the top, the functions beside it.

mod bitmap;
mod dump;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod keys;
mod list;
mod set;
mod sort;
mod sorted_set;
mod stream;
mod string;

use crate::number::parse_wide_float;
use crate::{Args, Error, Row, UnixMillis, parse_integer};

/// All rows of the keyspace.
pub const TABLES: &[&[Row]] = &[
    string::ROWS,
    string::CONDITION_ROWS,
    string::RANGE_ROWS,
    bitmap::ROWS,
    bitmap::FIELD_ROWS,
    hyperloglog::ROWS,
    hyperloglog::DEBUG_ROWS,
    list::ROWS,
    list::EDIT_ROWS,
    list::MOVE_ROWS,
    hash::ROWS,
    hash::DEADLINE_ROWS,
    set::ROWS,
    set::COMBINE_ROWS,
    sorted_set::ROWS,
    sorted_set::RANGE_ROWS,
    sorted_set::COMBINE_ROWS,
    sorted_set::POP_ROWS,
    stream::ROWS,
    stream::RANGE_ROWS,
    stream::READ_ROWS,
    stream::GROUP_ROWS,
    stream::PENDING_ROWS,
    stream::CLAIM_ROWS,
    stream::REFERENCE_ROWS,
    stream::INFO_ROWS,
    geo::ROWS,
    geo::SEARCH_ROWS,
    generic::ROWS,
    keys::ROWS,
    sort::ROWS,
    dump::ROWS,
];

pub(crate) use dump::rebuild;
pub(crate) use keys::encoding_of;

/// An argument as an integer.
pub(crate) fn integer(bytes: &[u8]) -> Result<i64, Error> {
    parse_integer(bytes).ok_or(Error::NotInteger)
}

/// A result that is stored is one change; a larger one would be more than a record can hold.
const STORED_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Refuses to store members of so many bytes.
pub(crate) fn check_stored<'a>(members: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
    // Each has a score and lengths beside it.
    let bytes = members.fold(0usize, |sum, member| sum.saturating_add(member.len() + 24));
    if bytes > STORED_BYTES_MAX {
        Err(Error::new("ERR the result is too large to be stored"))
    } else {
        Ok(())
    }
}

/// Random elements answered with repetitions: more would not fit anywhere.
pub(crate) const REPEATED_MAX: i64 = 1 << 26;

/// For a count of which the negative one must exist as well.
pub(crate) const NO_COUNT: Error =
    Error::new("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");

/// The arguments from an index on.
pub(crate) fn arguments(args: Args<'_>, from: usize) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
    (from..args.len()).map(move |i| args.get(i).unwrap_or_default())
}

/// What SCAN and its relatives are told beside the key.
pub(crate) struct ScanOptions<'a> {
    pub(crate) cursor: u64,
    pub(crate) count: usize,
    pub(crate) pattern: Option<&'a [u8]>,
    /// `TYPE`, in lower case.
    pub(crate) of_type: Option<Vec<u8>>,
    /// `NOVALUES`.
    pub(crate) no_values: bool,
}

/// Reads the cursor at `at` and the options behind it; `TYPE` belongs to SCAN, `NOVALUES` to HSCAN.
pub(crate) fn scan_options(args: Args<'_>, at: usize, of_hash: bool) -> Result<ScanOptions<'_>, Error> {
    let cursor = std::str::from_utf8(&args[at])
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .ok_or(Error::InvalidCursor)?;
    let mut options = ScanOptions { cursor, count: 10, pattern: None, of_type: None, no_values: false };
    let mut i = at + 1;
    while let Some(option) = args.get(i) {
        let option = option.to_ascii_uppercase();
        if option == b"NOVALUES" && of_hash {
            options.no_values = true;
            i += 1;
            continue;
        }
        let value = args.get(i + 1).ok_or(Error::Syntax)?;
        match option.as_slice() {
            b"MATCH" => options.pattern = Some(value),
            b"COUNT" => {
                options.count =
                    usize::try_from(integer(value)?).ok().filter(|n| *n > 0).ok_or(Error::Syntax)?;
            }
            b"TYPE" if at == 1 => options.of_type = Some(value.to_ascii_lowercase()),
            _ => return Err(Error::Syntax),
        }
        i += 2;
    }
    Ok(options)
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

/// The timeout of a blocking command as a deadline: seconds, fractions allowed, 0 is for ever.
pub(crate) fn timeout(bytes: &[u8], now_ms: UnixMillis) -> Result<Option<UnixMillis>, Error> {
    let seconds = parse_wide_float(bytes).ok_or(Error::TimeoutNotFloat)?;
    if seconds < 0.0 {
        return Err(Error::TimeoutNegative);
    }
    let ms = (seconds * 1_000.0).ceil();
    if ms > (i64::MAX as u64 - now_ms) as f64 {
        return Err(Error::TimeoutOutOfRange);
    }
    Ok((ms > 0.0).then_some(now_ms + ms as u64))
}
