//! The integration tests of RabbitMQ's own client of the management API, from its package.

use super::Ran;
use super::expected::{Outcome, compare};
use super::server::{Server, binary};
use crate::step::{output, target};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "rabbitmq_http_client";
const VERSION: &str = "0.93.0";
/// What the tests expect to be there.
const VHOSTS: [&str; 2] = ["rust/http/api/client", "rust/rabbitmqadmin"];

/// Runs them.
pub(super) fn run(suite: &str) -> Result<Ran> {
    let server = Server::leveret(suite)?;
    prepare(&server)?;
    let dir = target().join("suites/http-client");
    let tests = with_ports(&source(&dir)?, &dir.join("tests"), &server)?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(tests).env("CARGO_TARGET_DIR", dir.join("target"));
    cargo.args(["test", "--all-features", "--test", "integration", "--", "--test-threads=1"]);
    let done = cargo.output().context("cargo test")?;
    let outcomes = outcomes(&String::from_utf8_lossy(&done.stdout));
    if outcomes.is_empty() {
        bail!("the tests did not run\n{}", String::from_utf8_lossy(&done.stderr));
    }
    compare(suite, &outcomes)
}

fn prepare(server: &Server) -> Result<()> {
    let ctl = |args: &[&str]| {
        let mut ctl = Command::new(binary()?);
        ctl.args(["ctl", "--url", &format!("http://127.0.0.1:{}", server.http_port)]).args(args);
        output(ctl).map(|_| ())
    };
    ctl(&["add_user", "rust3", "rust3"])?;
    ctl(&["set_user_tags", "rust3", "administrator"])?;
    for vhost in VHOSTS {
        ctl(&["add_vhost", vhost])?;
    }
    for vhost in VHOSTS.iter().chain(&["/"]) {
        for user in ["guest", "rust3"] {
            ctl(&["set_permissions", "-p", vhost, user, ".*", ".*", ".*"])?;
        }
    }
    Ok(())
}

/// Where cargo has put the package's source.
fn source(dir: &Path) -> Result<PathBuf> {
    let fetch = dir.join("fetch");
    std::fs::create_dir_all(fetch.join("src"))?;
    let manifest = fetch.join("Cargo.toml");
    std::fs::write(fetch.join("src/lib.rs"), "")?;
    let text = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{PACKAGE} = \"={VERSION}\"\n[workspace]\n"
    );
    std::fs::write(&manifest, text)?;
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    let metadata: Value = serde_json::from_str(&output(metadata)?)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let package =
        packages.iter().find(|package| package["name"] == PACKAGE).context("the package is not there")?;
    let path = PathBuf::from(package["manifest_path"].as_str().context("its path")?);
    Ok(path.parent().context("its folder")?.to_owned())
}

/// A copy whose tests know our ports.
fn with_ports(source: &Path, copy: &Path, server: &Server) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(copy);
    let mut cp = Command::new("cp");
    cp.arg("-r").arg(source).arg(copy);
    output(cp)?;
    // It is no member of ours.
    let manifest = copy.join("Cargo.toml");
    std::fs::write(&manifest, std::fs::read_to_string(&manifest)? + "\n[workspace]\n")?;
    for file in std::fs::read_dir(copy.join("tests/integration"))? {
        let path = file?.path();
        let text = std::fs::read_to_string(&path)?;
        // Before the shorter number, which is a part of it.
        let text = text.replace("15672", &server.http_port.to_string());
        std::fs::write(path, text.replace("5672", &server.amqp_port.to_string()))?;
    }
    Ok(copy.to_owned())
}

/// `test async_user_tests::… ... ok`
fn outcomes(text: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for line in text.lines() {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            continue;
        };
        let failure = match result {
            "ok" => None,
            "FAILED" => Some("failed".to_owned()),
            _ => continue,
        };
        outcomes.push(Outcome { test: name.to_owned(), failure });
    }
    outcomes
}

#[cfg(test)]
mod tests {
    //! What cargo prints is read for what it is.
    use super::outcomes;

    #[test]
    fn results_are_read() {
        let text = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest a::d ... ignored\ntest result: FAILED.\n";
        let read: Vec<_> = outcomes(text).into_iter().map(|o| (o.test, o.failure.is_some())).collect();
        assert_eq!(read, [("a::b".to_owned(), false), ("a::c".to_owned(), true)]);
    }
}
