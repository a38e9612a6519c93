//! Edges between crates, as `cargo metadata` gives them, against the table of floors.
//! The trap: a dependency for tests is an edge too, or the floors would grow together through their tests.

use crate::step::cargo;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Crates by floor; an edge goes down only, so neighbours on a floor never meet.
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

/// Tooling beside the house: may use any floor, no floor may use it.
const BESIDE: &[&str] = &["xtask", "leveret-sim", "leveret-fuzz", "leveret-bench"];

/// Crates that may be used in these places only.
const CONFINED: &[(&str, &[&str])] = &[
    ("anyhow", &["leveret", "xtask", "leveret-sim", "leveret-bench"]),
    ("axum", &["leveret-console"]),
    ("mio", &["leveret-server", "leveret"]),
    ("openraft", &["leveret-cluster"]),
    ("rustls", &["leveret-server"]),
    ("tokio", &["leveret-cluster", "leveret-console"]),
];

/// Floors without generated code: no proc macros, no build scripts.
const PLAIN_FLOOR_MAX: u8 = 3;

/// Build scripts that only ask the compiler what it can do; they generate nothing.
const HARMLESS_BUILD_SCRIPTS: &[(&str, &str)] = &[
    ("crc32c", "asks for the compiler's version to choose the processor's instruction"),
    ("rustix", "asks for the compiler's version and the target to choose a back end"),
    ("serde_json", "chooses the width of an arithmetic limb"),
];

/// Everything `cargo metadata` says, dependencies included.
pub(super) fn metadata() -> Result<Value> {
    let output = cargo(&["metadata", "--format-version", "1"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}

/// The workspace's own packages: those that come from no registry.
pub(super) fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten().filter(|package| package["source"].is_null())
}

/// Names of what a package depends on, and whether only for its tests.
pub(super) fn edges(package: &Value) -> impl Iterator<Item = (&str, bool)> {
    package["dependencies"].as_array().into_iter().flatten().filter_map(|dependency| {
        Some((dependency["name"].as_str()?, dependency["kind"].as_str() == Some("dev")))
    })
}

pub(super) fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// Whether a package is one of ours.
pub(super) fn ours(name: &str) -> bool {
    floor(name).is_some() || BESIDE.contains(&name)
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(other, _)| *other == name).map(|(_, floor)| *floor)
}

/// Edges that do not go down, crates without a floor, and confined crates outside their place.
pub(super) fn floors(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages(metadata) {
        let name = name(package);
        if !ours(name) {
            wrong.push(format!("{name} has no floor"));
        }
        for (dependency, _) in edges(package) {
            match (floor(name), floor(dependency)) {
                (Some(from), Some(to)) if to >= from => {
                    wrong.push(format!("{name} (floor {from}) uses {dependency} (floor {to})"));
                }
                (Some(_), None) if BESIDE.contains(&dependency) => {
                    wrong.push(format!("{name} uses {dependency}, which is beside the house"));
                }
                (Some(_) | None, Some(_) | None) => {}
            }
            if let Some((_, allowed)) = CONFINED.iter().find(|(confined, _)| *confined == dependency)
                && !allowed.contains(&name)
            {
                wrong.push(format!("{name} uses {dependency}, which belongs to {}", allowed.join(", ")));
            }
        }
    }
    wrong
}

/// Proc macros and build scripts that the plain floors use directly, or have themselves.
pub(super) fn generators(metadata: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let all = || metadata["packages"].as_array().into_iter().flatten();
    for package in packages(metadata) {
        let user = name(package);
        if floor(user).is_none_or(|floor| floor > PLAIN_FLOOR_MAX) {
            continue;
        }
        wrong.extend(generates(package).map(|kind| format!("{user} has a {kind}")));
        for (dependency, for_tests) in edges(package) {
            let harmless = HARMLESS_BUILD_SCRIPTS.iter().any(|(known, _)| *known == dependency);
            let Some(used) = all().find(|other| name(other) == dependency) else { continue };
            let bad = generates(used).filter(|kind| *kind == "proc-macro" || !(harmless || for_tests));
            wrong.extend(bad.map(|kind| format!("{user} uses {dependency}, which has a {kind}")));
        }
    }
    wrong
}

fn generates(package: &Value) -> impl Iterator<Item = &str> {
    package["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|target| target["kind"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .filter(|kind| matches!(*kind, "proc-macro" | "custom-build"))
}
