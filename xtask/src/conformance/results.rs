//! `docs/conformance.md`: what each suite executed and how much of it passed, when, and of which commit. A suite that has run
//! renews its own row; the others keep theirs.

use super::Ran;
use super::suites::SUITES;
use crate::step::{output, root};
use anyhow::Result;
use std::process::Command;

const HEADING: &str = "# Conformance

A suite that is run by `cargo xtask conformance SUITE` renews its row here, `cargo xtask conformance all` all of them. Expected failures, each
with its reason, are in `conformance/expected/`.

| suite | executed | passed | expected failures | date | commit |
|---|---|---|---|---|---|
";

/// Renews the rows of these suites; one without a number has failed as a whole.
pub(super) fn write(results: &[(&str, Option<Ran>)]) -> Result<()> {
    let said = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(root());
        output(command).map(|text| text.trim().to_owned())
    };
    let (date, commit) = (said("date", &["+%F"])?, said("git", &["rev-parse", "--short", "HEAD"])?);
    let path = root().join("docs/conformance.md");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    Ok(std::fs::write(path, page(&before, results, &date, &commit))?)
}

/// The page with new rows, in the order of the suites.
fn page(before: &str, results: &[(&str, Option<Ran>)], date: &str, commit: &str) -> String {
    let mut text = HEADING.to_owned();
    for suite in SUITES {
        let start = format!("| {} |", suite.name);
        let kept = before.lines().find(|line| line.starts_with(&start)).map(str::to_owned);
        let row = match results.iter().find(|(name, _)| *name == suite.name) {
            None => kept,
            Some((_, Some(Ran { executed, passed }))) => {
                Some(format!("{start} {executed} | {passed} | {} | {date} | {commit} |", executed - passed))
            }
            Some((_, None)) => Some(format!("{start} failed as a whole | 0 | | {date} | {commit} |")),
        };
        text.extend(row.map(|row| row + "\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    //! Rows are renewed and kept.
    use super::{Ran, page};

    #[test]
    fn a_suite_renews_its_own_row() {
        let before = "| serve | 1 | 1 | 0 | 2026-01-01 | a |\n| kombu | 2 | 1 | 1 | 2026-01-01 | a |\n";
        let after = page(before, &[("kombu", Some(Ran { executed: 3, passed: 3 }))], "2026-02-02", "b");
        assert!(after.contains("| serve | 1 | 1 | 0 | 2026-01-01 | a |\n"), "{after}");
        assert!(after.ends_with("| kombu | 3 | 3 | 0 | 2026-02-02 | b |\n"), "{after}");
    }
}
