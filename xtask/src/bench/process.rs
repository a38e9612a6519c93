//! What the kernel says of a process and those it has started: CPU and resident memory.

use anyhow::{Context, Result};
use std::fs;

/// The kernel counts CPU in hundredths of a second.
pub(super) const TICK_US: f64 = 10_000.0;

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
    fn a_name_may_contain_anything() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some((150, 3)));
        assert_eq!(resident_kilobytes("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
    }
}
