//! The tests of a Rust client, from its package: copied, with our ports in the place of the usual ones.

use super::Ran;
use super::expected::{Outcome, compare};
use super::server::{Server, binary};
use crate::step::{output, target};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package and how its tests are run.
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// Arguments of `cargo test`.
    pub(super) args: &'static [&'static str],
    /// Environment; `{amqp}` stands for the port.
    pub(super) env: &'static [(&'static str, &'static str)],
    /// An administrator who is expected to be there, and the password.
    pub(super) user: Option<(&'static str, &'static str)>,
    /// Vhosts that are expected to be there.
    pub(super) vhosts: &'static [&'static str],
}

/// Runs the tests.
pub(super) fn run(suite: &str, package: &Package, server: &Server) -> Result<Ran> {
    prepare(package, server)?;
    let suites = target().join("suites");
    let tests = with_ports(&source(package, &suites)?, &suites.join(package.name), server)?;
    let mut cargo = Command::new(env!("CARGO"));
    // One folder for what they all depend on.
    cargo.current_dir(tests).env("CARGO_TARGET_DIR", suites.join("cargo"));
    cargo.args(["test", "--no-fail-fast"]).args(package.args);
    let amqp_port = server.amqp_port.to_string();
    cargo.envs(package.env.iter().map(|(name, value)| (name, value.replace("{amqp}", &amqp_port))));
    let done = cargo.output().context("cargo test")?;
    let outcomes = outcomes(&String::from_utf8_lossy(&done.stdout));
    if outcomes.is_empty() {
        bail!("the tests did not run\n{}", String::from_utf8_lossy(&done.stderr));
    }
    compare(suite, &outcomes)
}

fn prepare(package: &Package, server: &Server) -> Result<()> {
    let ctl = |args: &[&str]| {
        let mut ctl = Command::new(binary()?);
        ctl.args(["ctl", "--url", &format!("http://127.0.0.1:{}", server.http_port)]).args(args);
        output(ctl).map(|_| ())
    };
    for vhost in package.vhosts {
        ctl(&["add_vhost", vhost])?;
        ctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"])?;
    }
    if let Some((user, password)) = package.user {
        ctl(&["add_user", user, password])?;
        ctl(&["set_user_tags", user, "administrator"])?;
        for vhost in package.vhosts.iter().chain(&["/"]) {
            ctl(&["set_permissions", "-p", vhost, user, ".*", ".*", ".*"])?;
        }
    }
    Ok(())
}

/// Where cargo has put the package's source.
fn source(package: &Package, suites: &Path) -> Result<PathBuf> {
    let Package { name, version, .. } = package;
    let fetch = suites.join("fetch").join(name);
    std::fs::create_dir_all(fetch.join("src"))?;
    let manifest = fetch.join("Cargo.toml");
    // A target of its own, because some packages have a program only.
    std::fs::write(fetch.join("src/lib.rs"), "")?;
    let text = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    std::fs::write(&manifest, text)?;
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    let metadata: Value = serde_json::from_str(&output(metadata)?)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let found = packages.iter().find(|found| found["name"] == *name).context("the package is not there")?;
    let path = PathBuf::from(found["manifest_path"].as_str().context("its path")?);
    Ok(path.parent().context("its folder")?.to_owned())
}

/// A copy that knows our ports.
fn with_ports(source: &Path, copy: &Path, server: &Server) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(copy);
    let mut cp = Command::new("cp");
    cp.arg("-r").arg(source).arg(copy);
    output(cp)?;
    // It is no member of ours.
    let manifest = copy.join("Cargo.toml");
    std::fs::write(&manifest, std::fs::read_to_string(&manifest)? + "\n[workspace]\n")?;
    put_ports(&copy.join("src"), server)?;
    put_ports(&copy.join("tests"), server)?;
    Ok(copy.to_owned())
}

fn put_ports(dir: &Path, server: &Server) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            put_ports(&path, server)?;
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "conf") {
            let text = std::fs::read_to_string(&path)?;
            // Before the shorter number, which is a part of it.
            let text = text.replace("15672", &server.http_port.to_string());
            std::fs::write(&path, text.replace("5672", &server.amqp_port.to_string()))?;
        }
    }
    Ok(())
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
