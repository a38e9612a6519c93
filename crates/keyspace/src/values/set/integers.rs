//! Integers in ascending order, each as wide as the widest of them: two, four or eight bytes. (Redis: intset)

use crate::values::packed::Run;
use std::cmp::Ordering;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two = 2,
    Four = 4,
    Eight = 8,
}

impl Width {
    fn of(integer: i64) -> Self {
        if i16::try_from(integer).is_ok() {
            Width::Two
        } else if i32::try_from(integer).is_ok() {
            Width::Four
        } else {
            Width::Eight
        }
    }
}

/// How wide they are.
fn width(run: &Run) -> Width {
    match run.run().len() / run.len().max(1) {
        8 => Width::Eight,
        4 => Width::Four,
        _ => Width::Two,
    }
}

/// One of them, lowest byte first.
#[inline]
pub(super) fn get(run: &Run, index: usize) -> Option<i64> {
    let width = width(run);
    let at = index * width as usize;
    let bytes = run.run().get(at..at + width as usize)?;
    Some(match width {
        Width::Two => i64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
        Width::Four => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
        Width::Eight => i64::from_le_bytes(bytes.try_into().ok()?),
    })
}

/// All of them.
pub(super) fn iter(run: &Run) -> impl Iterator<Item = i64> {
    (0..run.len()).map_while(|index| get(run, index))
}

/// Where an integer is, or would be.
fn search(run: &Run, integer: i64) -> Result<usize, usize> {
    let (mut low, mut high) = (0, run.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        match get(run, middle).map_or(Ordering::Greater, |other| other.cmp(&integer)) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Ok(middle),
            Ordering::Greater => high = middle,
        }
    }
    Err(low)
}

/// True for one that is there.
pub(super) fn contains(run: &Run, integer: i64) -> bool {
    search(run, integer).is_ok()
}

/// Adds an integer that is not there.
pub(super) fn insert(run: &mut Run, integer: i64) {
    let (len, before) = (run.len(), width(run));
    let width = Width::of(integer).max(before);
    if width > before && len > 0 {
        let widened = |other: i64| other.to_le_bytes().into_iter().take(width as usize);
        let others: Vec<u8> = iter(run).flat_map(widened).collect();
        let end = run.run().len();
        run.room(0..end, others.len(), len).copy_from_slice(&others);
    }
    let at = search(run, integer).unwrap_or_else(|place| place) * width as usize;
    let room = run.room(at..at, width as usize, len + 1);
    room.copy_from_slice(&integer.to_le_bytes()[..width as usize]);
}

/// Removes an integer; gives whether it was there.
pub(super) fn remove(run: &mut Run, integer: i64) -> bool {
    let Ok(index) = search(run, integer) else { return false };
    let width = width(run) as usize;
    run.room(index * width..(index + 1) * width, 0, run.len() - 1);
    true
}
