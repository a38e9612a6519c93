//! Starting what is measured, each on a core of its own, and what the kernel says of a process and those it has started:
//! CPU and resident memory.

use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// The kernel counts CPU in hundredths of a second.
pub(super) const TICK_US: f64 = 10_000.0;

/// Enough for the rows with 10,000 connections, and what RabbitMQ's manual asks for.
const HANDLES: u64 = 65_536;

/// What follows runs on one core and has as many file handles as it may. RabbitMQ keeps the 1,024 that a shell often has.
pub(super) fn pinned(core: &str) -> Result<Command> {
    let limits = fs::read_to_string("/proc/self/limits").context("/proc/self/limits")?;
    let handles = handles_max(&limits).unwrap_or(HANDLES).min(HANDLES);
    let mut command = Command::new("prlimit");
    // Each of these becomes what it starts.
    command.arg(format!("--nofile={handles}:")).args(["taskset", "-c", core]);
    Ok(command)
}

/// The hard limit of open files, if there is one.
fn handles_max(limits: &str) -> Option<u64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// The fields of `stat` behind the name, which is in parentheses and may contain anything.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(") ")?.1.split_whitespace().collect())
}

/// User and system time, and the parent.
fn parse(stat: &str) -> Option<(u64, u32)> {
    let fields = fields(stat)?;
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((number(11)? + number(12)?, number(1)? as u32))
}

/// The process and all below it.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(child) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // It may have ended since the directory was read.
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        if let Some((_, parent)) = parse(&stat) {
            parents.push((child, parent));
        }
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(child, _)| child));
        next += 1;
    }
    Ok(family)
}

/// CPU of the process and all below it.
pub(super) fn cpu_ticks(pid: u32) -> Result<u64> {
    let mut ticks = 0;
    for member in family(pid)? {
        let stat = fs::read_to_string(format!("/proc/{member}/stat")).unwrap_or_default();
        match parse(&stat) {
            Some((used, _)) => ticks += used,
            None if member == pid => anyhow::bail!("process {pid} is gone"),
            None => {}
        }
    }
    Ok(ticks)
}

/// Resident memory of the process and all below it.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    let mut kilobytes = 0;
    for member in family(pid)? {
        let status = fs::read_to_string(format!("/proc/{member}/status")).unwrap_or_default();
        match resident_kilobytes(&status) {
            Some(resident) => kilobytes += resident,
            None if member == pid => return Err(anyhow::anyhow!("process {pid} is gone")).context("VmRSS"),
            None => {}
        }
    }
    Ok(kilobytes * 1024)
}

fn resident_kilobytes(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some((150, 3)));
        let limits = "Limit      Soft Limit  Hard Limit  Units\nMax open files    1024   524288  files\n";
        assert_eq!(handles_max(limits), Some(524_288));
        assert_eq!(handles_max(&limits.replace("524288", "unlimited")), None);
        assert_eq!(resident_kilobytes("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
    }
}
