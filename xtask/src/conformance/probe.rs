//! A probe prints a line for each case, name first; the same probe has been run against RabbitMQ, and that output lies
//! beside it. A case agrees when its line is the same.

use super::Ran;
use super::expected::{Outcome, compare};
use super::server::Server;
use crate::install::python;
use crate::step::{output, root};
use anyhow::{Context, Result};
use std::process::Command;

/// Runs the probe and compares.
pub(super) fn run(suite: &str, reference: &str, server: &Server) -> Result<Ran> {
    let dir = root().join("conformance/amqp");
    let mut command = Command::new(python()?);
    command.arg(dir.join(format!("{suite}.py"))).arg(server.amqp_port.to_string());
    command.arg(server.http_port.to_string());
    server.tell(&mut command);
    let answers = output(command)?;
    let theirs = std::fs::read_to_string(dir.join(reference)).context("the reference's lines")?;
    compare(suite, &outcomes(&theirs, &answers))
}

fn outcomes(theirs: &str, answers: &str) -> Vec<Outcome> {
    let answers = cases(answers);
    let wanted = cases(theirs);
    let mut outcomes: Vec<Outcome> = wanted
        .iter()
        .map(|(test, want)| {
            let got = answers.iter().find(|(other, _)| other == test).map(|(_, got)| got);
            let failure = match got {
                Some(got) if got == want => None,
                Some(got) => Some(format!("\n    {got}\n    instead of\n    {want}")),
                None => Some("there is no answer".to_owned()),
            };
            Outcome { test: test.clone(), failure }
        })
        .collect();
    for (test, got) in answers.iter().filter(|(test, _)| !wanted.iter().any(|(other, _)| other == test)) {
        outcomes.push(Outcome {
            test: test.clone(),
            failure: Some(format!("a case without a reference: {got}")),
        });
    }
    outcomes
}

/// Cases by name. A name ends at two spaces, or at the first sign of a value; a name that occurs again gets a number.
fn cases(text: &str) -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--")) {
        let ends = ["  ", ": ", " {", " ["];
        let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
        let (name, answer) = line.split_at(end);
        let before = cases
            .iter()
            .filter(|(other, _)| other == name || other.starts_with(&format!("{name} #")))
            .count();
        let name = if before == 0 { name.to_owned() } else { format!("{name} #{}", before + 1) };
        cases.push((name, answer.trim_start_matches(':').trim().to_owned()));
    }
    cases
}

#[cfg(test)]
mod tests {
    //! A case that differs, is missing or is new is seen.
    use super::outcomes;

    #[test]
    fn cases_are_compared_by_name() {
        let theirs = "one case     channel  404  gone\nPUT /x     (201)\nPUT /x     (400)\nproperties {'a': 1}\n-- heading\n";
        let failed = |answers: &str| {
            outcomes(theirs, answers)
                .into_iter()
                .filter(|o| o.failure.is_some())
                .map(|o| o.test)
                .collect::<Vec<_>>()
        };
        assert!(failed(theirs).is_empty());
        assert_eq!(failed(&theirs.replace("404", "405")), ["one case"]);
        assert_eq!(failed(&theirs.replace("(400)", "(401)")), ["PUT /x #2"]);
        assert_eq!(failed("one case  channel  404  gone\nPUT /x  (201)\nPUT /x  (400)\n"), ["properties"]);
        assert_eq!(failed(&format!("{theirs}new case   OK\n")), ["new case"]);
    }
}
