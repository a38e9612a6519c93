//! The tests of a Python package, from its source distribution below `target/suites`; the client itself comes from the
//! virtual environment, as its users install it.

use super::Ran;
use super::expected::{Outcome, compare};
use super::server::{Server, binary};
use crate::install::{python, python_for};
use crate::step::{output, root, target};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// A source distribution and how its tests are run.
pub(super) struct Package {
    /// As pip names it, with its version: `amqp==5.3.1`.
    pub(super) requirement: &'static str,
    /// Folder or files of tests, and further arguments; `{resp}` and `{amqp}` stand for the ports.
    pub(super) args: &'static [&'static str],
    /// Environment, likewise.
    pub(super) env: &'static [(&'static str, &'static str)],
    /// With the standard library patched by gevent.
    pub(super) gevent: bool,
    /// In an environment of its own, with what `conformance/requirements-SUITE.txt` lists as well.
    pub(super) wants_more: bool,
}

/// Runs the tests.
pub(super) fn run(suite: &str, package: &Package, server: &Server) -> Result<Ran> {
    let dir = unpacked(package.requirement)?;
    let python = if package.wants_more { python_for(suite)? } else { python()? };
    let mut command = Command::new(&python);
    // The folder with the tests only, or the unpacked package would be imported instead of the installed one.
    command.current_dir(&dir).arg("-P");
    if package.gevent {
        command.args(["-m", "gevent.monkey", "--module"]);
    } else {
        command.arg("-m");
    }
    command.args(["pytest", "-q", "-rA", "--tb=line", "-p", "no:cacheprovider"]);
    let (resp_port, amqp_port) = (server.resp_port.to_string(), server.amqp_port.to_string());
    let filled_in = |text: &str| text.replace("{resp}", &resp_port).replace("{amqp}", &amqp_port);
    command.args(package.args.iter().map(|arg| filled_in(arg)));
    command.envs(package.env.iter().map(|(name, value)| (name, filled_in(value))));
    let ours = root().join("conformance/python");
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", std::env::join_paths([&dir, &ours])?);
    // For tests that start the programs of a package.
    let bin = python.parent().context("an interpreter is in a folder")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env("PATH", std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))?);
    // For tests that start and stop brokers themselves.
    command.env("LEVERET_BINARY", binary()?);
    judged(suite, command)
}

/// Runs the tests of our own package, from its sources and in the environment of the pinned clients.
pub(super) fn ours(suite: &str) -> Result<Ran> {
    let package = root().join("python");
    let mut command = Command::new(python()?);
    command.current_dir(&package).args(["-m", "pytest", "-q", "-rA", "--tb=short", "--timeout=60"]);
    command.args(["-p", "no:cacheprovider", "-p", "no:aiomisc", "-p", "leveret.pytest_plugin", "tests"]);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", package.join("src"));
    command.env("LEVERET_BINARY", binary()?);
    judged(suite, command)
}

/// CPython's own cases for queues, which not every Python has.
pub(super) fn cases_of_python() -> Result<()> {
    let mut import = Command::new(python()?);
    import.args(["-c", "import test.test_queue"]);
    if output(import).is_ok() {
        return Ok(());
    }
    crate::install::file("/usr/lib/python3.11/test/test_queue.py", "libpython3.11-testsuite")
}

fn judged(suite: &str, mut command: Command) -> Result<Ran> {
    // Wide enough for the summary to say why a test failed.
    command.env("COLUMNS", "400");
    // pytest ends with 1 when tests fail; the list of expected failures decides what that means.
    let done = command.output().context("pytest")?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let outcomes = outcomes(&text);
    if !matches!(done.status.code(), Some(0 | 1)) || outcomes.is_empty() {
        bail!("pytest ended with {}\n{text}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    compare(suite, &outcomes)
}

/// Tests that ran, from the summary that `-rA` prints last: what tests have logged may look like it. Skipped tests are not
/// among them.
fn outcomes(text: &str) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let Some((_, summary)) = text.rsplit_once(" short test summary info ") else { return outcomes };
    for line in summary.lines() {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        let (test, why) = rest.split_once(" - ").unwrap_or((rest, ""));
        let failure = match kind {
            "PASSED" => None,
            "FAILED" | "ERROR" => Some(why.to_owned()),
            _ => continue,
        };
        if test.contains("::") {
            outcomes.push(Outcome { test: test.to_owned(), failure });
        }
    }
    outcomes
}

/// The folder `t` or `tests` of the distribution, with the settings of its tests.
fn unpacked(requirement: &str) -> Result<PathBuf> {
    let dir = target().join("suites").join(requirement.replace("==", "-"));
    let done = dir.join("unpacked");
    if !done.exists() {
        std::fs::create_dir_all(&dir)?;
        let mut download = Command::new(python()?);
        download
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"])
            // The package only: what builds it may come ready made.
            .arg(requirement.split("==").next().unwrap_or(requirement))
            .arg("--dest")
            .arg(&dir);
        output({
            download.arg(requirement);
            download
        })?;
        let mut unpack = Command::new("sh");
        unpack.arg("-c").arg(
            "cd \"$0\" && tar -xzf *.tar.gz --strip-components=1 --wildcards '*/t' '*/tests' '*/setup.cfg' '*/pyproject.toml' '*/conftest.py' 2>/dev/null; \
             test -d t || test -d tests",
        );
        output({
            unpack.arg(&dir);
            unpack
        })?;
        std::fs::write(done, "")?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    //! pytest's summary is read for what it is.
    use super::outcomes;

    #[test]
    fn the_summary_is_read() {
        let text = "..F\nERROR    client:a.py:3 lost t/a.py::b\n== short test summary info ==\nPASSED t/a.py::b\nFAILED t/a.py::c - assert 1 == 2\nSKIPPED [1] t/a.py:3: no\nERROR t/a.py::d - boom\n3 passed\n";
        let read: Vec<(String, bool)> =
            outcomes(text).into_iter().map(|o| (o.test, o.failure.is_some())).collect();
        let want = [("t/a.py::b", false), ("t/a.py::c", true), ("t/a.py::d", true)];
        assert_eq!(read, want.map(|(test, failed)| (test.to_owned(), failed)));
    }
}
