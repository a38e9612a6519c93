//! HyperLogLog: how many different elements were seen, within about one percent, in 12 KiB or less. (Redis: PFADD)
//!
//! Each element is hashed; 14 bits choose one of 16384 registers, which keeps the longest run of zeroes that the other 50 bits
//! began with, plus one. The value is a string in the very format of Redis, so that it may come and go by GET, SET, DUMP:
//!
//! ```text
//! "HYLL"  encoding  3 unused  cardinality, 8 bytes, little end first  registers
//! ```
//!
//! Encoding 0 is dense, six bits a register; 1 is sparse, runs of equal registers. The highest bit of the cardinality
//! says that it has to be counted anew. The trap: anybody may SET such a string, so that nothing in it can be trusted.

mod dense;
mod estimate;
mod hash;
mod sparse;

use crate::Error;
use sparse::Raised;

pub(crate) use estimate::Histogram;
pub(crate) use sparse::runs;

/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
/// How many registers there are.
pub(crate) const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that are left.
const COUNTED_BITS: u32 = 64 - INDEX_BITS;
const HEADER: usize = 16;
const ENCODING_AT: usize = 4;
/// Where the cardinality stands.
pub(crate) const CACHE_AT: usize = 8;
/// The byte of it that says whether it holds.
pub(crate) const STALE_AT: usize = HEADER - 1;
pub(crate) const STALE: u8 = 0x80;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Bytes of a dense one.
pub(crate) const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;

const CORRUPTED: Error = Error::new("INVALIDOBJ Corrupted HLL object detected");

/// The register of an element, and what it is raised to.
pub(crate) fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash::murmur64a(element);
    let rest = hash >> INDEX_BITS | 1 << COUNTED_BITS;
    ((hash % REGISTERS as u64) as usize, rest.trailing_zeros() as u8 + 1)
}

/// Refuses a string that is none.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Error> {
    let fits = match bytes.get(ENCODING_AT) {
        Some(&DENSE) => bytes.len() == DENSE_BYTES,
        Some(&SPARSE) => bytes.len() >= HEADER,
        Some(_) | None => false,
    };
    if fits && bytes.starts_with(b"HYLL") {
        Ok(())
    } else {
        Err(Error::new("WRONGTYPE Key is not a valid HyperLogLog string value."))
    }
}

/// One that has seen nothing.
pub(crate) fn empty() -> Vec<u8> {
    let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    sparse::push_run(&mut bytes, 0, REGISTERS);
    bytes
}

/// True for a sparse one.
pub(crate) fn is_sparse(bytes: &[u8]) -> bool {
    bytes.get(ENCODING_AT) == Some(&SPARSE)
}

/// The cardinality, if it has been counted since the last change.
pub(crate) fn cached(bytes: &[u8]) -> Option<u64> {
    let cache = bytes.get(CACHE_AT..HEADER)?;
    let cardinality = u64::from_le_bytes(cache.try_into().ok()?);
    (cardinality >> 63 == 0).then_some(cardinality)
}

/// The cardinality has to be counted anew.
pub(crate) fn set_stale(bytes: &mut [u8]) {
    if let Some(byte) = bytes.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

fn registers(bytes: &[u8]) -> &[u8] {
    bytes.get(HEADER..).unwrap_or_default()
}

/// Raises one register of a dense one: which bytes to overwrite from where on, if it is lower.
pub(crate) fn raised_bytes(bytes: &[u8], index: usize, count: u8) -> Option<(usize, [u8; 2], usize)> {
    let (at, pair, len) = dense::raised(registers(bytes), index, count)?;
    Some((HEADER + at, pair, len))
}

/// Raises one register; gives whether it was lower. A sparse one that would have more than so many bytes becomes dense.
pub(crate) fn raise(bytes: &mut Vec<u8>, index: usize, count: u8, sparse_max: usize) -> Result<bool, Error> {
    if is_sparse(bytes) {
        match sparse::raise(bytes, HEADER, index, count, sparse_max)? {
            Raised::No => return Ok(false),
            Raised::Yes => return Ok(true),
            Raised::TooMuch => to_dense(bytes)?,
        }
    }
    let Some((at, pair, len)) = raised_bytes(bytes, index, count) else { return Ok(false) };
    if let (Some(into), Some(from)) = (bytes.get_mut(at..at + len), pair.get(..len)) {
        into.copy_from_slice(from);
    }
    Ok(true)
}

/// Makes a sparse one dense; the cardinality stays what it was.
pub(crate) fn to_dense(bytes: &mut Vec<u8>) -> Result<(), Error> {
    let mut all = Box::new([0; REGISTERS]);
    merge(&mut all, bytes)?;
    bytes.truncate(HEADER);
    if let Some(encoding) = bytes.get_mut(ENCODING_AT) {
        *encoding = DENSE;
    }
    dense::push_all(bytes, &all);
    Ok(())
}

/// Raises registers to those of another.
pub(crate) fn merge(into: &mut [u8; REGISTERS], bytes: &[u8]) -> Result<(), Error> {
    if !is_sparse(bytes) {
        let values = dense::iter(registers(bytes));
        into.iter_mut().zip(values).for_each(|(register, value)| *register = value.max(*register));
        return Ok(());
    }
    let mut rest = into.as_mut_slice();
    for run in runs(registers(bytes)) {
        let run = run?;
        let (here, behind) = rest.split_at_mut_checked(run.len).ok_or(CORRUPTED)?;
        here.iter_mut().for_each(|register| *register = run.value.max(*register));
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(CORRUPTED) }
}

/// The cardinality, counted.
pub(crate) fn count(bytes: &[u8]) -> Result<u64, Error> {
    let mut histogram = Histogram::default();
    if is_sparse(bytes) {
        for run in runs(registers(bytes)) {
            let run = run?;
            histogram.add(run.value, run.len);
        }
        if histogram.total() != REGISTERS {
            return Err(CORRUPTED);
        }
    } else {
        dense::iter(registers(bytes)).for_each(|value| histogram.add(value, 1));
    }
    Ok(histogram.estimate())
}

/// The runs of a sparse one as text. (Redis: PFDEBUG DECODE)
pub(crate) fn decoded(bytes: &[u8]) -> Result<String, Error> {
    let mut words = Vec::new();
    for run in runs(registers(bytes)) {
        let run = run?;
        words.push(match (run.value, run.bytes) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (value, _) => format!("v:{value},{}", run.len),
        });
    }
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests;
