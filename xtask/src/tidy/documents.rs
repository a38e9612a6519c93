//! Documents that must keep pace with the code: the line of each dependency, the list of deviations.
//! A line that nothing in the code needs is as wrong as one that is missing.

use super::Source;
use super::crates::{edges, name, ours, packages};
use serde_json::Value;

/// Every direct dependency has a row in `docs/dependencies.md` with four cells, and every row is a dependency.
pub(super) fn dependencies(metadata: &Value, document: &str) -> Vec<String> {
    let mut used: Vec<&str> = packages(metadata)
        .flat_map(edges)
        .map(|(dependency, _)| dependency)
        .filter(|dependency| !ours(dependency))
        .collect();
    used.sort_unstable();
    used.dedup();
    let mut wrong = Vec::new();
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let listed: Vec<&str> =
        rows.iter().filter_map(|row| row.first()).map(|cell| cell.trim_matches('`')).collect();
    for dependency in &used {
        if !listed.contains(dependency) {
            wrong.push(format!("docs/dependencies.md has no line for {dependency}"));
        }
    }
    for (row, dependency) in rows.iter().zip(&listed) {
        if !used.contains(dependency) {
            wrong.push(format!("docs/dependencies.md has a line for {dependency}, which nothing uses"));
        }
        if row.len() != 4 || row.iter().any(|cell| cell.is_empty()) {
            wrong.push(format!("docs/dependencies.md: the line of {dependency} needs four cells"));
        }
    }
    if packages(metadata).all(|package| name(package).is_empty()) {
        wrong.push("cargo metadata lists no package".to_owned());
    }
    wrong
}

/// Every file with a `DEVIATION:` marker is named in `docs/deviations.md`, as often as it has markers.
pub(super) fn deviations(sources: &[Source], document: &str) -> Vec<String> {
    let marker = ["DEVIATION", ":"].concat();
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with("xtask/")) {
        let marked = source.text.matches(&marker).count();
        let listed = document.lines().filter(|line| line.contains(&format!("`{}`", source.path))).count();
        if marked != listed {
            wrong.push(format!(
                "{} marks {marked} deviations, docs/deviations.md lists {listed} of that file",
                source.path
            ));
        }
    }
    for path in document.split('`').filter(|word| word.starts_with("crates/") && word.ends_with(".rs")) {
        if !sources.iter().any(|source| source.path == path) {
            wrong.push(format!("docs/deviations.md names {path}, which is not there"));
        }
    }
    wrong
}
