//! A disk that does no more than so many writes a second, for this process and those that it starts: what the kernel's
//! controller of block devices is for. (Linux: blkio.throttle.write_iops_device)

use crate::step::output;
use anyhow::{Context, Result, bail};
use std::fs::write;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// While this lives the disk is slow.
pub(super) struct SlowDisk {
    group: PathBuf,
}

impl SlowDisk {
    /// The disk on which a folder lies.
    pub(super) fn of(folder: &Path, writes_a_second: u32) -> Result<Self> {
        if !Path::new(CONTROLLER).is_dir() {
            bail!("there is no {CONTROLLER}, with which a disk could be slowed down");
        }
        let mut stat = Command::new("stat");
        let device = output({
            stat.arg("--format=%Hd:%Ld").arg(folder);
            stat
        })?;
        let device = device.trim();
        let disk = Self { group: Path::new(CONTROLLER).join(format!("bench-{}", std::process::id())) };
        std::fs::create_dir(&disk.group).context("are you root?")?;
        write(disk.group.join("blkio.throttle.write_iops_device"), format!("{device} {writes_a_second}"))
            .with_context(|| format!("{device} is no disk that can be slowed down"))?;
        write(disk.group.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(disk)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // It ends with the processes in it anyway.
        let _ = write(Path::new(CONTROLLER).join("cgroup.procs"), std::process::id().to_string());
        let _ = std::fs::remove_dir(&self.group);
    }
}
