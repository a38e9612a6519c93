//! What checks need beyond the compiler: a Python environment, Debian packages, tools of cargo. Everything but the
//! Debian packages goes below `target/`. Whoever is not root is told what to install.

use crate::step::{cargo, check, output, root, target};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// The interpreter of the virtual environment with the pinned clients; made when it is missing or its list has changed.
pub(crate) fn python() -> Result<PathBuf> {
    python_in("venv", &["requirements.txt"])
}

/// Likewise, of an environment of its own for a suite that wants more: `conformance/requirements-SUITE.txt`.
pub(crate) fn python_for(suite: &str) -> Result<PathBuf> {
    python_in(&format!("venv-{suite}"), &["requirements.txt", &format!("requirements-{suite}.txt")])
}

fn python_in(venv: &str, lists: &[&str]) -> Result<PathBuf> {
    let (venv, dir) = (target().join(venv), root().join("conformance"));
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements.stamp"));
    let texts: std::io::Result<Vec<String>> =
        lists.iter().map(|list| std::fs::read_to_string(dir.join(list))).collect();
    let wanted = texts?.concat();
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&venv);
    output(make).context("a Python 3 with venv is needed (Debian: python3-venv)")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]);
    for list in lists {
        install.arg("--requirement").arg(dir.join(list));
    }
    output(install)?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// Makes sure that a program is there, if need be by installing its Debian package.
pub(crate) fn program(name: &str, package: &str) -> Result<()> {
    installed(&format!("the program {name}"), package, || have(name))
}

/// Likewise a file, such as a library's header.
pub(crate) fn file(path: &str, package: &str) -> Result<()> {
    installed(path, package, || std::path::Path::new(path).exists())
}

fn installed(what: &str, package: &str, is_there: impl Fn() -> bool) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        output(command)
    };
    if !is_root() {
        bail!("{what} is missing: install the Debian package {package}");
    }
    apt(&["update", "-qq"])?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", package])?;
    if !is_there() {
        bail!("the Debian package {package} was installed, but {what} is still missing");
    }
    Ok(())
}

/// Whether a program is on the path.
pub(crate) fn have(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(name).is_file())
}

/// cargo-deny: from the path, or built once below `target/` (unoptimised: two minutes on two cores instead of six).
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    if have("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let (tools, build) = (target().join("tools"), target().join("tools/build"));
    let binary = tools.join("bin/cargo-deny");
    if !binary.exists() {
        let mut install =
            cargo(&["install", "cargo-deny", "--version", "0.20.2", "--locked", "--debug", "--quiet"]);
        install.arg("--root").arg(&tools).arg("--target-dir").arg(&build);
        check(install)?;
        // A gigabyte of intermediate files that nobody needs again.
        let _ = std::fs::remove_dir_all(build);
    }
    Ok(binary)
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
