//! The two ends of a range: of scores, `(` in front leaves one out; of members, `[` takes one in and `(` leaves it out.

use crate::Error;
use crate::number::parse_float;
use crate::values::SortedSet;

/// One end of a range of scores.
#[derive(Clone, Copy)]
struct Score {
    value: f64,
    excluded: bool,
}

impl Score {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (text, excluded) = match bytes.strip_prefix(b"(") {
            Some(rest) => (rest, true),
            None => (bytes, false),
        };
        // Nothing is zero here. (C: `strtod`)
        let value = if text.is_empty() { 0.0 } else { parse_float(text)? };
        Some(Self { value, excluded })
    }
}

/// The ranks of the items with scores between two ends.
pub(super) fn by_score(set: &SortedSet, ends: &ScoreRange) -> (usize, usize) {
    let ScoreRange { least, most } = *ends;
    let start = set.count_scores(|score| score < least.value || (least.excluded && score == least.value));
    let end = set.count_scores(|score| score < most.value || (!most.excluded && score == most.value));
    (start, end.max(start))
}

/// A range of scores.
#[derive(Clone, Copy)]
pub(super) struct ScoreRange {
    least: Score,
    most: Score,
}

impl ScoreRange {
    pub(super) fn parse(least: &[u8], most: &[u8]) -> Result<Self, Error> {
        let wrong = Error::new("ERR min or max is not a float");
        let (Some(least), Some(most)) = (Score::parse(least), Score::parse(most)) else { return Err(wrong) };
        Ok(Self { least, most })
    }
}

/// One end of a range of members.
#[derive(Clone, Copy)]
enum Name<'a> {
    First,
    Last,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

impl<'a> Name<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            b"-" => Some(Name::First),
            b"+" => Some(Name::Last),
            [b'[', name @ ..] => Some(Name::Included(name)),
            [b'(', name @ ..] => Some(Name::Excluded(name)),
            _ => None,
        }
    }
}

/// A range of members.
#[derive(Clone, Copy)]
pub(super) struct LexRange<'a> {
    least: Name<'a>,
    most: Name<'a>,
}

impl<'a> LexRange<'a> {
    pub(super) fn parse(least: &'a [u8], most: &'a [u8]) -> Result<Self, Error> {
        let wrong = Error::new("ERR min or max not valid string range item");
        let (Some(least), Some(most)) = (Name::parse(least), Name::parse(most)) else { return Err(wrong) };
        Ok(Self { least, most })
    }
}

/// The ranks of the items with members between two ends; it means something only where all scores are equal.
pub(super) fn by_lex(set: &SortedSet, ends: &LexRange<'_>) -> (usize, usize) {
    let start = match ends.least {
        Name::First => 0,
        Name::Last => set.len(),
        Name::Included(name) => set.count_members(|member| member < name),
        Name::Excluded(name) => set.count_members(|member| member <= name),
    };
    let end = match ends.most {
        Name::First => 0,
        Name::Last => set.len(),
        Name::Included(name) => set.count_members(|member| member <= name),
        Name::Excluded(name) => set.count_members(|member| member < name),
    };
    (start, end.max(start))
}
