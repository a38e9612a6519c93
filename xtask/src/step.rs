//! Steps with a name, their outcome, and the closing line that sums them up.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where everything that is built, downloaded or installed goes.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A cargo command at the root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Runs a command; anything but success is an error that names it.
pub(crate) fn check(mut command: Command) -> Result<()> {
    let name = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// Runs a command and gives what it prints on standard output; anything but success is an error with all it printed.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{name} ended with {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// What was run and how it went.
#[derive(Default)]
pub(crate) struct Steps {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
impl Steps {
    /// Runs one step and notes the outcome.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("── {name}");
        let started = Instant::now();
        match step() {
            Ok(()) => {
                self.passed += 1;
                println!("── {name}: passed in {:.1} s", started.elapsed().as_secs_f64());
            }
            Err(error) => {
                println!("── {name}: FAILED in {:.1} s: {error:#}", started.elapsed().as_secs_f64());
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Notes, loudly, that a step was not run.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("── {name}: SKIPPED: {why}");
        self.skipped.push(name.to_owned());
    }

    /// Adds the outcome of other steps.
    pub(crate) fn append(&mut self, other: Steps) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// Prints the closing line; an error if anything failed or nothing was run.
    pub(crate) fn finish(self) -> Result<()> {
        for name in &self.failed {
            println!("failed: {name}");
        }
        for name in &self.skipped {
            println!("skipped: {name}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
        if !self.failed.is_empty() {
            bail!("{} of the steps failed", self.failed.len());
        }
        if self.passed == 0 {
            bail!("nothing was run");
        }
        Ok(())
    }
}
