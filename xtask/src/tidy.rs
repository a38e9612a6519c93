//! What the compiler does not check: the floors of the house, files that say what they are, documents that are kept.
//! Each check takes what it judges as an argument, so that its test can hand it something bad.

mod crates;
mod documents;
mod files;
#[cfg(test)]
mod tests;

use crate::step::{Steps, root};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// A file that git knows, or a new one that it does not ignore.
struct Source {
    path: String,
    text: String,
}

pub(crate) fn run(steps: &mut Steps) {
    steps.run("tidy: crates keep to their floor", || report(&crates::floors(&crates::metadata()?)));
    steps.run("tidy: nothing generates code on the lower floors", || {
        report(&crates::generators(&crates::metadata()?))
    });
    steps.run("tidy: files", || report(&files::wrong(&sources()?, &files::ratchet()?)));
    steps.run("tidy: dependencies have their line", || {
        report(&documents::dependencies(&crates::metadata()?, &read("docs/dependencies.md")?))
    });
    steps.run("tidy: deviations are listed", || {
        report(&documents::deviations(&sources()?, &read("docs/deviations.md")?))
    });
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// Every Rust file of the repository.
fn sources() -> Result<Vec<Source>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .context("git is needed for the list of files")?;
    let mut sources = Vec::new();
    for path in String::from_utf8_lossy(&output.stdout).lines() {
        // A file that was deleted but not yet committed is listed as well.
        if root().join(path).exists() {
            sources.push(Source { path: path.to_owned(), text: read(path)? });
        }
    }
    if sources.is_empty() {
        bail!("git knows no Rust file");
    }
    Ok(sources)
}

fn report(wrong: &[String]) -> Result<()> {
    if wrong.is_empty() { Ok(()) } else { bail!("\n  {}", wrong.join("\n  ")) }
}
