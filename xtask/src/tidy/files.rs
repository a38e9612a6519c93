//! Rust files: that they say what they are, stay short, finish what they begin, and give reasons for `unsafe`.
//! Long files stand in `xtask/ratchet.txt` with their length, which may only shrink.

use super::Source;
use anyhow::{Context, Result};

/// A reason to think: longer files stand in the ratchet file.
const LINES_MAX: usize = 500;
/// Longer only as a table.
const LINES_MAX_EVER: usize = 1000;

/// Files that are nothing but a table.
const DECLARED_TABLES: &[&str] = &[];

const RATCHET: &str = "xtask/ratchet.txt";

/// The lines `path length` of the ratchet file.
pub(super) fn ratchet() -> Result<Vec<(String, usize)>> {
    let mut known = Vec::new();
    for line in super::read(RATCHET)?.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        let (path, length) = line.rsplit_once(' ').with_context(|| format!("{RATCHET}: {line}"))?;
        known.push((path.trim().to_owned(), length.parse().with_context(|| format!("{RATCHET}: {line}"))?));
    }
    Ok(known)
}

pub(super) fn wrong(sources: &[Source], ratchet: &[(String, usize)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        if !source.text.starts_with("//!") {
            wrong.push(format!("{} does not begin with //!", source.path));
        }
        wrong.extend(length(source, ratchet));
        wrong.extend(unfinished(source));
        wrong.extend(unsafe_without_reason(source));
    }
    for (path, _) in ratchet {
        if !sources.iter().any(|source| source.path == *path) {
            wrong.push(format!("{RATCHET} lists {path}, which is not there"));
        }
    }
    wrong
}

fn length(source: &Source, ratchet: &[(String, usize)]) -> Option<String> {
    let (path, lines) = (&source.path, source.text.lines().count());
    if DECLARED_TABLES.contains(&path.as_str()) {
        return None;
    }
    let known = ratchet.iter().find(|(other, _)| other == path).map(|(_, length)| *length);
    match known {
        _ if lines > LINES_MAX_EVER => {
            Some(format!("{path} has {lines} lines; at most {LINES_MAX_EVER} are allowed"))
        }
        Some(known) if lines > known => {
            Some(format!("{path} has grown from {known} to {lines} lines; it may only shrink"))
        }
        Some(known) if lines < known => {
            Some(format!("{path} has shrunk from {known} to {lines} lines: say so in {RATCHET}"))
        }
        Some(_) => None,
        None if lines > LINES_MAX => {
            Some(format!("{path} has {lines} lines; {LINES_MAX} are a reason to think"))
        }
        None => None,
    }
}

/// Words that must not be committed. They are put together here, or this file would contain them.
fn unfinished(source: &Source) -> Vec<String> {
    let words = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["#[ig", "nore"].concat()];
    words
        .into_iter()
        .filter(|word| source.text.contains(word.as_str()))
        .map(|word| format!("{} contains {word}", source.path))
        .collect()
}

/// Blocks and impls need `SAFETY:` on one of the four lines above (or the same); functions say it in their docs.
fn unsafe_without_reason(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut wrong = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let block = [["unsafe", " {"].concat(), ["unsafe", " impl"].concat()];
        let near = lines.get(i.saturating_sub(4)..=i).unwrap_or_default();
        if block.iter().any(|word| code.contains(word.as_str()))
            && !near.iter().any(|l| l.contains("SAFETY:"))
        {
            wrong.push(format!("{}:{} is unsafe without SAFETY:", source.path, i + 1));
        }
    }
    wrong
}
