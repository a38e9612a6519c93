//! Runs of equal registers, a byte or two each:
//!
//! ```text
//! 00nnnnnn           1 to 64 registers are zero
//! 01nnnnnn nnnnnnnn  1 to 16384 registers are zero
//! 1vvvvvnn           1 to 4 registers are 1 to 32
//! ```

use super::{CORRUPTED, set_stale};
use crate::Error;

/// Registers that one byte says are zero.
const SHORT_MAX: usize = 64;
/// A larger value needs a dense one.
const VALUE_MAX: u8 = 32;
/// Registers of one run that are not zero.
const VALUES_MAX: usize = 4;
/// So many runs from the one before the change on are looked at for neighbours that are equal now.
const MERGED_RUNS: usize = 5;

/// So many registers with one value, and the bytes that say so.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) value: u8,
    pub(crate) len: usize,
    pub(crate) bytes: usize,
}

/// What raising a register has come to.
pub(super) enum Raised {
    No,
    Yes,
    /// It cannot stay sparse; nothing has changed.
    TooMuch,
}

fn run_at(bytes: &[u8], at: usize) -> Option<Run> {
    let byte = *bytes.get(at)?;
    let low = usize::from(byte & 0x3f);
    Some(match byte >> 6 {
        0 => Run { value: 0, len: low + 1, bytes: 1 },
        1 => Run { value: 0, len: (low << 8 | usize::from(*bytes.get(at + 1)?)) + 1, bytes: 2 },
        _ => Run { value: (byte >> 2 & 0x1f) + 1, len: usize::from(byte & 3) + 1, bytes: 1 },
    })
}

/// All runs; the last one may be cut off.
pub(crate) fn runs(registers: &[u8]) -> impl Iterator<Item = Result<Run, Error>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= registers.len() {
            return None;
        }
        let run = run_at(registers, at);
        at += run.map_or(registers.len(), |run| run.bytes);
        Some(run.ok_or(CORRUPTED))
    })
}

/// Appends a run; an empty one is none.
pub(super) fn push_run(bytes: &mut Vec<u8>, value: u8, len: usize) {
    match (value, len) {
        (_, 0) => {}
        (0, ..=SHORT_MAX) => bytes.push(len as u8 - 1),
        (0, _) => bytes.extend_from_slice(&[0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
        (_, _) => bytes.push(0x80 | (value - 1) << 2 | (len - 1) as u8),
    }
}

/// Raises one register of the runs that begin at `start`. The string has at most so many bytes then.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    start: usize,
    index: usize,
    count: u8,
    bytes_max: usize,
) -> Result<Raised, Error> {
    if count > VALUE_MAX {
        return Ok(Raised::TooMuch);
    }
    let (mut at, mut first, mut before) = (start, 0, start);
    let run = loop {
        let run = run_at(bytes, at).ok_or(CORRUPTED)?;
        if index < first + run.len {
            break run;
        }
        before = at;
        (at, first) = (at + run.bytes, first + run.len);
    };
    if run.value >= count {
        return Ok(Raised::No);
    }
    let mut split = Vec::with_capacity(5);
    push_run(&mut split, run.value, index - first);
    push_run(&mut split, count, 1);
    push_run(&mut split, run.value, first + run.len - 1 - index);
    if split.len() > run.bytes && bytes.len() + split.len() - run.bytes > bytes_max {
        return Ok(Raised::TooMuch);
    }
    bytes.splice(at..at + run.bytes, split);
    merge_equal(bytes, before);
    set_stale(bytes);
    Ok(Raised::Yes)
}

/// Makes one run of two that lie side by side and have one value, a few runs from `at` on.
fn merge_equal(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..MERGED_RUNS {
        let Some(run) = run_at(bytes, at) else { return };
        match run_at(bytes, at + run.bytes) {
            Some(next) if run.value != 0 && next.value == run.value && run.len + next.len <= VALUES_MAX => {
                let mut both = Vec::with_capacity(1);
                push_run(&mut both, run.value, run.len + next.len);
                bytes.splice(at..at + run.bytes + next.bytes, both);
            }
            Some(_) | None => at += run.bytes,
        }
    }
}
