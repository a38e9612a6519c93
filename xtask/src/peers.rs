//! The newest peers of the benchmark, from Debian's unstable suite in a folder of their own, entered by `chroot`. What they
//! write stays in there.

use crate::install;
use crate::step::{output, target};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

const PACKAGES: &str = "redis-server,valkey-server,rabbitmq-server";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";

/// Where they are, if `cargo xtask peers` has been run.
pub(crate) fn folder() -> Option<PathBuf> {
    let root = target().join("peers/root");
    root.with_file_name("done").exists().then_some(root)
}

/// RabbitMQ asks for the machine's name with every connection; a name server that it is sent to lets it wait for seconds.
pub(crate) fn name_machine() -> Result<()> {
    let Some(root) = folder() else { return Ok(()) };
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("the machine's name")?;
    std::fs::write(root.join("etc/hosts"), format!("127.0.0.1 localhost {}\n", name.trim()))?;
    Ok(())
}

/// A program of theirs, by its name or its path, with the words that start it.
pub(crate) fn program(name: &str) -> Option<Vec<String>> {
    let root = folder()?;
    let path = name.strip_prefix('/').map_or_else(|| root.join("usr/bin").join(name), |path| root.join(path));
    path.exists().then(|| vec!["chroot".into(), root.display().to_string(), name.into()])
}

/// Downloads and unpacks them.
pub(crate) fn make() -> Result<()> {
    if !install::is_root() {
        bail!("only root may do this: debootstrap and chroot are used");
    }
    install::program("debootstrap", "debootstrap")?;
    let root = target().join("peers/root");
    let done = root.with_file_name("done");
    // What is half there cannot be gone on with.
    let _ = std::fs::remove_file(&done);
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    std::fs::create_dir_all(&root)?;
    let sources = std::fs::read_to_string(SOURCES)
        .with_context(|| format!("where Debian's packages come from is not in {SOURCES}"))?;
    let mirror = sources
        .lines()
        .find_map(|line| line.strip_prefix("URIs: "))
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("{SOURCES} names no mirror"))?;
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={PACKAGES}"), &format!("--keyring={KEYRING}")]);
    make.arg("unstable").arg(&root).arg(mirror);
    output(make)?;
    std::fs::write(done, "")?;
    for (name, flag) in [("redis-server", "--version"), ("valkey-server", "--version")] {
        let words = program(name).with_context(|| format!("{name} is not there"))?;
        let [chroot, rest @ ..] = words.as_slice() else { bail!("{name} cannot be started") };
        let mut ask = Command::new(chroot);
        ask.args(rest).arg(flag);
        eprintln!("{}", output(ask)?.trim());
    }
    Ok(())
}
