//! Expected failures: `conformance/expected/SUITE.txt`, a line for each test, `test | reason`.
//! The list only shrinks: a test that is on it and passes is an error, and so is one that was never run. A `*` in the name
//! stands for anything: one line for the many tests that lack the same feature, and an error once all of them pass.
//! `test because failure | reason` holds only for failures that read like that; a line `* because …` is an error once no
//! test fails so. Both may name several patterns: `a* or *b`.

use super::Ran;
use crate::step::root;
use anyhow::{Context, Result, bail};

/// One test, case or line, and why it failed.
pub(super) struct Outcome {
    pub(super) test: String,
    pub(super) failure: Option<String>,
}

/// Compares with the list of the suite.
pub(super) fn compare(suite: &str, outcomes: &[Outcome]) -> Result<Ran> {
    let path = root().join(format!("conformance/expected/{suite}.txt"));
    let list = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
    let wrong = differences(&parse(&list)?, outcomes);
    if !wrong.is_empty() {
        bail!(
            "{} of {} are not as conformance/expected/{suite}.txt says\n  {}",
            wrong.len(),
            outcomes.len(),
            wrong.join("\n  ")
        );
    }
    let passed = outcomes.iter().filter(|outcome| outcome.failure.is_none()).count();
    Ok(Ran { executed: outcomes.len(), passed })
}

/// A line of a list without its reason: patterns of the test's name and of its failure.
struct Expected<'a> {
    test: &'a str,
    failure: &'a str,
}

impl Expected<'_> {
    fn covers(&self, outcome: &Outcome) -> bool {
        let failed_so = |why: &String| is_like_any(&why.to_lowercase(), &self.failure.to_lowercase());
        is_like_any(&outcome.test, self.test) && outcome.failure.as_ref().is_some_and(failed_so)
    }
}

fn parse(list: &str) -> Result<Vec<Expected<'_>>> {
    list.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (what, reason) = line.rsplit_once('|').with_context(|| format!("no reason: {line}"))?;
            let (test, failure) = what.split_once(" because ").unwrap_or((what, "*"));
            let (test, failure) = (test.trim(), failure.trim());
            if test.is_empty() || failure.is_empty() || reason.trim().is_empty() {
                bail!("a line is 'test | reason' or 'test because failure | reason': {line}");
            }
            Ok(Expected { test, failure })
        })
        .collect()
}

fn differences(expected: &[Expected<'_>], outcomes: &[Outcome]) -> Vec<String> {
    let mut wrong = Vec::new();
    for outcome in outcomes {
        if let Some(why) = &outcome.failure
            && !expected.iter().any(|line| line.covers(outcome))
        {
            wrong.push(format!("failed: {}: {why}", outcome.test));
        }
    }
    for line in expected {
        let Expected { test, failure } = line;
        if !outcomes.iter().any(|outcome| is_like_any(&outcome.test, test)) {
            wrong.push(format!("on the list, but it was not run: {test}"));
        } else if !outcomes.iter().any(|outcome| line.covers(outcome)) {
            wrong.push(format!("passes now, take it off the list: {test} because {failure}"));
        }
    }
    wrong
}

fn is_like_any(text: &str, patterns: &str) -> bool {
    patterns.split(" or ").any(|pattern| is_like(text, pattern.trim()))
}

/// Whether a test's name is a pattern's, in which `*` stands for anything.
fn is_like(test: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return test == pattern };
    let Some(mut test) = test.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(place) = test.find(part) else { return false };
        test = &test[place + part.len()..];
    }
    test.ends_with(end)
}

#[cfg(test)]
mod tests {
    //! Each way of not being as the list says is seen.
    use super::{Outcome, differences, is_like, parse};

    fn outcome(test: &str, failure: Option<&str>) -> Outcome {
        Outcome { test: test.to_owned(), failure: failure.map(str::to_owned) }
    }

    #[test]
    fn the_list_only_shrinks() {
        let list = parse("# comment\n\na | not built yet: b\n").expect("the list is well formed");
        assert!(differences(&list, &[outcome("a", Some("x")), outcome("c", None)]).is_empty());
        assert_eq!(differences(&list, &[outcome("a", Some("x")), outcome("c", Some("x"))]).len(), 1);
        assert_eq!(differences(&list, &[outcome("a", None)]).len(), 1);
        assert_eq!(differences(&list, &[]).len(), 1);
        assert!(parse("a without a reason").is_err());
        assert!(parse("a | ").is_err());
    }

    #[test]
    fn a_star_is_anything() {
        for pattern in ["a*", "*d", "a*c*d", "a*bcd", "*", "abcd"] {
            assert!(is_like("abcd", pattern), "{pattern}");
        }
        for pattern in ["b*", "*c", "a*c*c*", "abc*bcd", "ab"] {
            assert!(!is_like("abcd", pattern), "{pattern}");
        }
        let list = parse("x* | not built yet: x").expect("the list is well formed");
        assert!(differences(&list, &[outcome("x1", Some("?")), outcome("x2", None)]).is_empty());
        assert_eq!(differences(&list, &[outcome("x1", None), outcome("x2", None)]).len(), 1);
        assert_eq!(differences(&list, &[outcome("y", None)]).len(), 1);
    }

    #[test]
    fn a_failure_is_known_by_its_text() {
        let list = parse("* because *no 'GET'* or *no 'EVAL'* | not built yet: scripts")
            .expect("the list is well formed");
        let eval = outcome("a", Some("ERR: no 'eval'!"));
        assert!(differences(&list, &[eval, outcome("b", None)]).is_empty());
        let eval = outcome("a", Some("ERR: no 'eval'!"));
        assert_eq!(differences(&list, &[eval, outcome("b", Some("other"))]).len(), 1);
        assert_eq!(differences(&list, &[outcome("b", None)]).len(), 1);
    }
}
