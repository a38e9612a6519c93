//! hiredis, the client of C programs: a program of ours on libevent, and the library's own test program from Debian's source
//! package, over TCP, a Unix socket and an inherited descriptor.

use super::expected::{Outcome, compare};
use super::redis_tcl::plain;
use super::server::Server;
use super::{Ran, debian_source};
use crate::install;
use crate::step::{output, root, target};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// What both need to be built.
pub(super) fn install() -> Result<()> {
    install::program("cc", "gcc")?;
    install::program("make", "make")?;
    install::file("/usr/include/hiredis/hiredis.h", "libhiredis-dev")?;
    install::file("/usr/include/event2/event.h", "libevent-dev")
}

/// Runs both; the answers that our program compares are checks like the tests of the other one.
pub(super) fn run(suite: &str, reference: bool) -> Result<Ran> {
    let socket = std::env::temp_dir().join(format!("leveret-{suite}-{}.sock", std::process::id()));
    let server =
        if reference { Server::reference_on(suite, &socket)? } else { Server::leveret_on(suite, &socket)? };
    let ran = run_against(suite, &server, &socket);
    drop(server);
    // Who was killed leaves it behind.
    let _ = std::fs::remove_file(socket);
    ran
}

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn run_against(suite: &str, server: &Server, socket: &Path) -> Result<Ran> {
    let checks = pairs(server.resp_port)?;
    println!("pairs over libevent: {checks} checks");
    let outcomes = own_tests(server.resp_port, socket)?;
    let ran = compare(suite, &outcomes)?;
    println!("hiredis' own tests: {} of {} passed", ran.passed, ran.executed);
    Ok(Ran { executed: checks + ran.executed, passed: checks + ran.passed })
}

fn pairs(port: u16) -> Result<usize> {
    let program = target().join("conformance/hiredis_pairs");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    cc.arg(root().join("conformance/c/hiredis_pairs.c")).args(["-lhiredis", "-levent"]);
    output(cc)?;
    let mut command = Command::new(program);
    command.arg(port.to_string());
    let text = output(command)?;
    let count = text.trim().strip_suffix(" checks passed").and_then(|count| count.parse().ok());
    count.with_context(|| format!("the program did not say how many checks it made: {text}"))
}

fn own_tests(port: u16, socket: &Path) -> Result<Vec<Outcome>> {
    let dir = debian_source::unpacked("hiredis", &target().join("suites/hiredis"), |dir| {
        let mut make = Command::new("make");
        make.current_dir(dir).arg("hiredis-test");
        output(make).map(drop)
    })?;
    // Without a limit a server that does not answer would hold up everything.
    let mut command = Command::new("timeout");
    command.current_dir(&dir).args(["60", "./hiredis-test", "-p", &port.to_string(), "-s"]).arg(socket);
    let done = command.output().context("hiredis-test")?;
    let text = plain(&String::from_utf8_lossy(&done.stdout));
    if !text.contains("ALL TESTS PASSED") && !text.contains("TESTS FAILED ***") {
        bail!("hiredis-test ended with {}\n{text}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    Ok(outcomes(&text))
}

/// `#01 name: PASSED`, below the connection it is about; measurements come between.
fn outcomes(text: &str) -> Vec<Outcome> {
    let (mut outcomes, mut about) = (Vec::new(), "library");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Testing against ") {
            about = rest.split_once(" (").map_or(rest, |(name, _)| name);
        } else if let Some((name, result)) = line.strip_prefix('#').and_then(|line| line.rsplit_once(": ")) {
            let name = name.split_once(' ').map_or(name, |(_, name)| name);
            let failure = (result != "PASSED").then(|| result.to_owned());
            outcomes.push(Outcome { test: format!("{about}: {name}"), failure });
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    //! Tests are found below the connection they are about.
    use super::outcomes;

    #[test]
    fn the_output_is_read() {
        let text = "#01 Format: command: PASSED\n\nTesting against TCP connection (127.0.0.1:1):\n#02 Is able: FAILED\n\t(1000x PING: 0.010s)\n";
        let read: Vec<(String, bool)> =
            outcomes(text).into_iter().map(|o| (o.test, o.failure.is_none())).collect();
        assert_eq!(
            read,
            [("library: Format: command".to_owned(), true), ("TCP connection: Is able".to_owned(), false)]
        );
    }
}
