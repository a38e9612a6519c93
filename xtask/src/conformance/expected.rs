//! Expected failures: `conformance/expected/SUITE.txt`, a line for each test, `test | reason`.
//! The list only shrinks: a test that is on it and passes is an error, and so is one that was never run. A `*` in the name
//! stands for anything: one line for the many tests that lack the same feature, and an error once all of them pass.

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

fn parse(list: &str) -> Result<Vec<(&str, &str)>> {
    list.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (test, reason) = line.rsplit_once('|').with_context(|| format!("no reason: {line}"))?;
            let (test, reason) = (test.trim(), reason.trim());
            if test.is_empty() || reason.is_empty() {
                bail!("a line is 'test | reason': {line}");
            }
            Ok((test, reason))
        })
        .collect()
}

fn differences(expected: &[(&str, &str)], outcomes: &[Outcome]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Outcome { test, failure } in outcomes {
        let listed = expected.iter().any(|(pattern, _)| is_like(test, pattern));
        if let (Some(why), false) = (failure, listed) {
            wrong.push(format!("failed: {test}: {why}"));
        }
    }
    for (pattern, _) in expected {
        let mut like = outcomes.iter().filter(|outcome| is_like(&outcome.test, pattern)).peekable();
        if like.peek().is_none() {
            wrong.push(format!("on the list, but it was not run: {pattern}"));
        } else if like.all(|outcome| outcome.failure.is_none()) {
            wrong.push(format!("passes now, take it off the list: {pattern}"));
        }
    }
    wrong
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
        let list = [("x*", "not built yet: x")];
        assert!(differences(&list, &[outcome("x1", Some("?")), outcome("x2", None)]).is_empty());
        assert_eq!(differences(&list, &[outcome("x1", None), outcome("x2", None)]).len(), 1);
        assert_eq!(differences(&list, &[outcome("y", None)]).len(), 1);
    }
}
