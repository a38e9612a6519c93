//! Redis' own test suite in its external mode, from Debian's source package below `target/suites`: a unit at a time, each
//! with a server of its own. The trap: a unit ends at the first error outside a test, and then says little about the rest;
//! that it ended early is an outcome, too.

use super::expected::{Outcome, compare};
use super::server::{Server, free_port};
use super::{Ran, debian_source};
use crate::step::target;
use anyhow::{Context, Result, bail};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The units that run against somebody else's server.
const UNITS: &[&str] = &[
    "type/string",
    "type/incr",
    "type/hash",
    "type/list",
    "type/list-2",
    "type/list-3",
    "type/set",
    "type/zset",
    "type/stream",
    "type/stream-cgroups",
    "keyspace",
    "expire",
    "scan",
    "sort",
    "bitops",
    "bitfield",
    "hyperloglog",
    "geo",
    "dump",
    "multi",
    "pubsub",
    "pubsubshard",
    "slowlog",
    "latency-monitor",
    "querybuf",
    "protocol",
    "tracking",
    "introspection",
    "info",
    "other",
    "pause",
    "quit",
    "limits",
    "scripting",
    "functions",
    "hyperloglog",
    "geo",
];
/// A unit that takes longer hangs.
const UNIT_SECONDS: &str = "120";
/// Of what is said about a failure.
const FAILURE_LINES: usize = 3;

/// Runs all units.
#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
pub(super) fn run(suite: &str, reference: bool) -> Result<Ran> {
    let dir = unpacked()?;
    let mut outcomes = Vec::new();
    for unit in UNITS {
        let name = format!("{suite}-{}", unit.replace('/', "-"));
        let server = if reference { Server::reference(&name)? } else { Server::leveret(&name)? };
        let of_unit = run_unit(&dir, unit, server.resp_port)?;
        let failed = of_unit.iter().filter(|outcome| outcome.failure.is_some()).count();
        println!("{unit}: {} tests, {failed} failed", of_unit.len());
        outcomes.extend(of_unit);
    }
    compare(suite, &outcomes)
}

fn run_unit(dir: &Path, unit: &str, port: u16) -> Result<Vec<Outcome>> {
    let mut command = Command::new("timeout");
    command.current_dir(dir).args([
        UNIT_SECONDS,
        "./runtest",
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
    ]);
    command.args(["--single", &format!("unit/{unit}"), "--durable", "--tags", "-slow"]);
    command.args(["--baseport", &base_port()?.to_string()]);
    let done = command.output().context("runtest")?;
    let mut outcomes = outcomes(unit, &plain(&String::from_utf8_lossy(&done.stdout)));
    // Ends with 1 when tests have failed, and when none could be run.
    let is_fine = match done.status.code() {
        Some(1) => !outcomes.is_empty(),
        code => code == Some(0),
    };
    if !is_fine {
        let test = format!("{unit}: the unit as a whole");
        outcomes.push(Outcome { test, failure: Some(format!("ended with {}", done.status)) });
    }
    Ok(outcomes)
}

/// A free port; the suite wants the one that is higher by ten thousand, too.
fn base_port() -> Result<u16> {
    const HIGHEST: u16 = 50_000;
    let port = free_port()?;
    Ok(if port > HIGHEST { port - (u16::MAX - HIGHEST) } else { port })
}

/// Without the colours.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    for (i, part) in text.split('\u{1b}').enumerate() {
        plain += if i == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) };
    }
    plain
}

/// A line that begins with `[ok]: ` or `[err]: ` is a test; an error without a test's name ended the unit.
fn outcomes(unit: &str, text: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("[ok]: ") {
            let name = rest.rsplit_once(" (").map_or(rest, |(name, _)| name);
            outcomes.push(Outcome { test: format!("{unit}: {name}"), failure: None });
        } else if let Some(rest) = line.strip_prefix("[err]: ") {
            let why = failure(&mut lines);
            let test = match rest.rsplit_once(" in tests/unit/") {
                Some((name, _)) => format!("{unit}: {name}"),
                None => format!("{unit}: the unit as a whole"),
            };
            outcomes.push(Outcome { test, failure: Some(why) });
        } else if let Some(why) = line.strip_prefix("[exception]: ") {
            let test = format!("{unit}: the unit as a whole");
            outcomes.push(Outcome { test, failure: Some(format!("{why} {}", failure(&mut lines))) });
        }
    }
    outcomes
}

/// The first lines of what is said about a failure, as one.
fn failure<'a>(lines: &mut Peekable<impl Iterator<Item = &'a str>>) -> String {
    let mut why = Vec::new();
    while let Some(line) = lines.next_if(|line| why.len() < FAILURE_LINES && !line.starts_with('[')) {
        why.push(line.trim());
    }
    why.join(" ")
}

/// The source package, unpacked. Since Redis 7.2 short lists and sets are listpacks, too: the check of an encoding's
/// name takes that for an answer.
fn unpacked() -> Result<PathBuf> {
    const CHECK: &str = "proc assert_encoding {enc key} {";
    debian_source::unpacked("redis", &target().join("suites/redis-tcl"), |dir| {
        let helper = dir.join("tests/support/test.tcl");
        let text = std::fs::read_to_string(&helper)?;
        if !text.contains(CHECK) {
            bail!("{} has changed", helper.display());
        }
        let lenient = format!(
            "{CHECK}\n    if {{$enc eq \"quicklist\" || $enc eq \"hashtable\"}} {{ if {{[r object encoding $key] eq \"listpack\"}} return }}"
        );
        std::fs::write(&helper, text.replace(CHECK, &lenient))?;
        track_what_is_read(&dir.join("tests/unit/tracking.tcl"))
    })
}

/// Since Redis 7.2 the keys that a script reads are tracked, not those that it declares: the test's scripts read what it expects.
fn track_what_is_read(unit: &Path) -> Result<()> {
    const READS: [(&str, &str); 2] = [
        ("EVAL \"redis.call('get', 'key3{t}')\"", "EVAL \"redis.call('mget', 'key1{t}', 'key2{t}')\""),
        ("EVAL_RO \"redis.call('get', 'key1{t}')\"", "EVAL_RO \"redis.call('mget', 'key1{t}', 'key2{t}')\""),
    ];
    let mut text = std::fs::read_to_string(unit)?;
    for (before, since) in READS {
        if !text.contains(before) {
            bail!("{} has changed", unit.display());
        }
        text = text.replace(before, since);
    }
    Ok(std::fs::write(unit, text)?)
}

#[cfg(test)]
mod tests {
    //! Tests, errors and early ends are told apart.
    use super::{outcomes, plain};

    #[test]
    fn the_output_is_read() {
        let text = "[ready]: 1\n\u{1b}[0m[\u{1b}[0;32;49mok\u{1b}[0m]: SET and GET (1 ms)\n[err]: DEL (all) in tests/unit/keyspace.tcl\nExpected 1\n[err]: n option\nERR\n[exception]: boom\n";
        let read: Vec<(String, bool)> =
            outcomes("u", &plain(text)).into_iter().map(|o| (o.test, o.failure.is_some())).collect();
        let whole = ("u: the unit as a whole".to_owned(), true);
        assert_eq!(
            read,
            [("u: SET and GET".to_owned(), false), ("u: DEL (all)".to_owned(), true), whole.clone(), whole]
        );
    }
}
