//! `docs/conformance.md`: what each suite executed and how much of it passed, written when all of them have run.

use super::Ran;
use crate::step::{output, root};
use anyhow::Result;
use std::fmt::Write;
use std::process::Command;

/// Writes the table; a suite without a number has failed as a whole.
pub(super) fn write(results: &[(&str, Option<Ran>)]) -> Result<()> {
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.args(args).current_dir(root());
        output(git).map(|text| text.trim().to_owned())
    };
    let (commit, subject) = (git(&["rev-parse", "--short", "HEAD"])?, git(&["log", "-1", "--format=%s"])?);
    let mut date = Command::new("date");
    date.arg("+%F");
    let mut text = format!(
        "# Conformance\n\n`cargo xtask conformance all` runs every suite and writes this page. Expected failures, each with its reason,\n\
         are in `conformance/expected/`.\n\n{}, commit {commit}, \"{subject}\"\n\n\
         | suite | executed | passed | expected failures |\n|---|---|---|---|\n",
        output(date)?.trim()
    );
    for (suite, ran) in results {
        match ran {
            Some(Ran { executed, passed }) => {
                writeln!(text, "| {suite} | {executed} | {passed} | {} |", executed - passed)?;
            }
            None => writeln!(text, "| {suite} | failed as a whole | 0 | |")?,
        }
    }
    std::fs::write(root().join("docs/conformance.md"), text)?;
    Ok(())
}
