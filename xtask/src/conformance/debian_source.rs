//! Debian's source packages, which carry test suites that no other registry has. apt gets lists and a cache of its own below
//! `target/`, so that the system's stay as they are.

use crate::step::output;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The upstream source of a package, unpacked in `dir`; `prepare` is run once.
pub(super) fn unpacked(
    package: &str,
    dir: &Path,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let done = dir.join("unpacked");
    if !done.exists() {
        let parts = dir.join("apt/parts");
        for folder in [&parts, &dir.join("apt/lists/partial"), &dir.join("apt/cache/archives/partial")] {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(parts.join("sources.sources"), sources()?)?;
        let options = format!(
            "-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts={} -o Dir::State::Lists={} -o Dir::Cache={}",
            parts.display(),
            dir.join("apt/lists").display(),
            dir.join("apt/cache").display()
        );
        let mut shell = Command::new("sh");
        shell.current_dir(dir).arg("-e").arg("-c").arg(format!(
            "apt-get {options} -q update; apt-get {options} -q source --download-only {package}; tar -xzf {package}_*.orig.tar.gz --strip-components=1"
        ));
        output(shell)?;
        prepare(dir)?;
        std::fs::write(done, "")?;
    }
    Ok(dir.to_owned())
}

/// The system's own first source of packages, for sources.
fn sources() -> Result<String> {
    let system = std::fs::read_to_string("/etc/apt/sources.list.d/debian.sources")
        .context("where Debian's packages come from is not in /etc/apt/sources.list.d/debian.sources")?;
    let first = system.split("\n\n").next().unwrap_or_default();
    Ok(first.replace("Types: deb\n", "Types: deb-src\n") + "\n")
}
