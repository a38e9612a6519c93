//! Expected failures: `conformance/expected/SUITE.txt`, a line for each test, `test | reason`.
//! The list only shrinks: a test that is on it and passes is an error, and so is one that was never run.

use crate::step::root;
use anyhow::{Context, Result, bail};

/// One test, case or line, and why it failed.
pub(super) struct Outcome {
    pub(super) test: String,
    pub(super) failure: Option<String>,
}

/// Compares with the list of the suite; gives the number of tests that ran.
pub(super) fn compare(suite: &str, outcomes: &[Outcome]) -> Result<usize> {
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
    Ok(outcomes.len())
}

/// How many failures of a suite are expected.
pub(super) fn listed(suite: &str) -> Result<usize> {
    let path = root().join(format!("conformance/expected/{suite}.txt"));
    if path.exists() { Ok(parse(&std::fs::read_to_string(path)?)?.len()) } else { Ok(0) }
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
        let listed = expected.iter().any(|(other, _)| other == test);
        match failure {
            Some(why) if !listed => wrong.push(format!("failed: {test}: {why}")),
            None if listed => wrong.push(format!("passes now, take it off the list: {test}")),
            Some(_) | None => {}
        }
    }
    for (test, _) in expected {
        if !outcomes.iter().any(|outcome| outcome.test == *test) {
            wrong.push(format!("on the list, but it was not run: {test}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    //! Each way of not being as the list says is seen.
    use super::{Outcome, differences, parse};

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
}
