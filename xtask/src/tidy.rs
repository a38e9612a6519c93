//! What the compiler does not check: the floors of the house, files that say what they are, files that stay short.

use crate::step::{Steps, cargo, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Command;

/// Crates by floor; an edge goes down only.
const FLOORS: &[(&str, u8)] = &[
    ("leveret", 7),
    ("leveret-console", 6),
    ("leveret-server", 5),
    ("leveret-cluster", 4),
    ("leveret-engine", 3),
    ("leveret-keyspace", 2),
    ("leveret-broker", 2),
    ("leveret-resp", 1),
    ("leveret-amqp", 1),
    ("leveret-wal", 1),
    ("leveret-base", 0),
];

/// Crates that may be used in these places only.
const CONFINED: &[(&str, &[&str])] = &[
    ("mio", &["leveret-server"]),
    ("openraft", &["leveret-cluster"]),
    ("tokio", &["leveret-cluster", "leveret-console"]),
    ("anyhow", &["leveret", "xtask"]),
];

const LINES_MAX: usize = 500;

pub(crate) fn run(steps: &mut Steps) {
    steps.run("tidy: floors", floors);
    steps.run("tidy: files", files);
    steps.run("tidy: dependencies have their line", dependency_lines);
}

fn packages() -> Result<Vec<Value>> {
    let output = cargo(&["metadata", "--format-version", "1", "--no-deps"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    metadata["packages"].as_array().cloned().context("cargo metadata has packages")
}

fn edges(package: &Value) -> impl Iterator<Item = &str> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|dependency| dependency["name"].as_str())
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(other, _)| *other == name).map(|(_, floor)| *floor)
}

fn floors() -> Result<()> {
    let mut wrong = Vec::new();
    for package in packages()? {
        let name = package["name"].as_str().unwrap_or_default();
        if name != "xtask" && floor(name).is_none() {
            wrong.push(format!("{name} has no floor"));
        }
        for dependency in edges(&package) {
            if let (Some(from), Some(to)) = (floor(name), floor(dependency))
                && to >= from
            {
                wrong.push(format!("{name} (floor {from}) uses {dependency} (floor {to})"));
            }
            if let Some((_, allowed)) = CONFINED.iter().find(|(confined, _)| *confined == dependency)
                && !allowed.contains(&name)
            {
                wrong.push(format!("{name} uses {dependency}, which belongs to {allowed:?}"));
            }
        }
    }
    report(&wrong)
}

fn tracked(pattern: &str) -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", pattern]).current_dir(root()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn files() -> Result<()> {
    let mut wrong = Vec::new();
    let files = tracked("*.rs")?;
    if files.is_empty() {
        bail!("git knows no Rust file");
    }
    for file in files {
        let text = std::fs::read_to_string(root().join(&file)).with_context(|| file.clone())?;
        if !text.starts_with("//!") {
            wrong.push(format!("{file} does not begin with //!"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{file} has {lines} lines; {LINES_MAX} are a reason to think"));
        }
        let forbidden =
            ["to".to_owned() + "do!(", "unimple".to_owned() + "mented!(", "#[ig".to_owned() + "nore"];
        wrong.extend(
            forbidden
                .iter()
                .filter(|word| text.contains(*word))
                .map(|word| format!("{file} contains {word}")),
        );
        for (i, line) in text.lines().enumerate() {
            let before = text
                .lines()
                .take(i + 1)
                .skip(i.saturating_sub(4))
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if line.contains("unsafe {") && !before {
                wrong.push(format!("{file}:{} has an unsafe block without SAFETY:", i + 1));
            }
        }
    }
    report(&wrong)
}

fn dependency_lines() -> Result<()> {
    let text =
        std::fs::read_to_string(root().join("docs/dependencies.md")).context("docs/dependencies.md")?;
    let mut wrong = Vec::new();
    for package in packages()? {
        for dependency in edges(&package).filter(|name| floor(name).is_none()) {
            if !text.contains(&format!("`{dependency}`")) {
                wrong.push(format!("docs/dependencies.md has no line for {dependency}"));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    report(&wrong)
}

fn report(wrong: &[String]) -> Result<()> {
    if wrong.is_empty() { Ok(()) } else { bail!("\n  {}", wrong.join("\n  ")) }
}
