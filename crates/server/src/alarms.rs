//! Alarms: while memory or disk space is short nothing is taken from AMQP publishers, and they are told why. Everybody else goes
//! on, consumers above all. (RabbitMQ: memory and disk alarms) When there is no disk space at all, writes of Redis clients are
//! refused, too.

use crate::output_limits::bytes;
use crate::shared::{Shared, resident_bytes};
use leveret_engine::keyspace::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

const MEMORY: u8 = 1;
const DISK: u8 = 2;

/// As Redis says it when its own log cannot be written; it finds out likewise, when it has tried. (Redis: `writeCommandsGetDiskErrorMessage`)
pub(crate) const DISK_FULL: Error =
    Error::new("MISCONF Errors writing to the AOF file: No space left on device");

/// What is short, and when that is so.
#[derive(Debug)]
pub struct Alarms {
    raised: AtomicU8,
    /// The log could not be written for lack of space.
    full: AtomicBool,
    /// Bytes that the process may have.
    memory_max: AtomicU64,
    /// As it was set: a part of the machine's memory, or bytes.
    memory_text: parking_lot::RwLock<String>,
    /// Bytes that must be free where the log lies.
    disk_min: Arc<AtomicU64>,
}

impl Default for Alarms {
    fn default() -> Self {
        let alarms = Self {
            raised: AtomicU8::new(0),
            full: AtomicBool::new(false),
            memory_max: AtomicU64::new(0),
            memory_text: parking_lot::RwLock::default(),
            disk_min: Arc::new(AtomicU64::new(50_000_000)),
        };
        // RabbitMQ: vm_memory_high_watermark.relative
        alarms.set_memory("0.6").expect("0.6 is a part");
        alarms
    }
}

/// A part of so many bytes from 0 to 1, or bytes as in `2gb`.
pub(crate) fn part_of(whole: u64, text: &str) -> Result<u64, &'static str> {
    let part = text.parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part) && *part > 0.0);
    match part {
        Some(part) => Ok((whole as f64 * part) as u64),
        None => Ok(bytes(text)
            .ok_or("argument must be a part of the memory from 0 to 1, or a memory value")?
            as u64),
    }
}

impl Alarms {
    /// Sets when memory is short: a part of the machine's memory from 0 to 1, or bytes as in `2gb`.
    pub(crate) fn set_memory(&self, text: &str) -> Result<(), &'static str> {
        self.memory_max.store(part_of(machine_bytes(), text)?, Relaxed);
        *self.memory_text.write() = text.into();
        Ok(())
    }

    /// As it was set.
    pub(crate) fn memory_text(&self) -> String {
        self.memory_text.read().clone()
    }

    /// Sets when disk space is short.
    pub(crate) fn set_disk(&self, text: &str) -> Result<(), &'static str> {
        self.disk_min.store(bytes(text).ok_or("argument must be a memory value")? as u64, Relaxed);
        Ok(())
    }

    /// Bytes above which memory is short; 0 is never.
    pub fn memory_max(&self) -> u64 {
        self.memory_max.load(Relaxed)
    }

    /// Bytes below which disk space is short.
    pub fn disk_min(&self) -> u64 {
        self.disk_min.load(Relaxed)
    }

    /// Likewise, for who wants to know it again and again.
    pub(crate) fn disk_min_shared(&self) -> Arc<AtomicU64> {
        self.disk_min.clone()
    }

    /// Memory is short.
    pub fn has_memory(&self) -> bool {
        self.raised.load(Relaxed) & MEMORY != 0
    }

    /// Disk space is short.
    pub fn has_disk(&self) -> bool {
        self.short() & DISK != 0
    }

    /// There is no disk space at all.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// True when that is news.
    pub(crate) fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Relaxed) != full
    }

    fn short(&self) -> u8 {
        self.raised.load(Relaxed) | if self.is_full() { DISK } else { 0 }
    }

    /// What publishers are told while something is short.
    #[inline]
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self.short() {
            0 => None,
            MEMORY => Some("low on memory"),
            DISK => Some("low on disk"),
            _ => Some("low on memory & disk"),
        }
    }

    #[cfg(test)]
    pub(crate) fn raise(&self, memory: bool, disk: bool) {
        self.raised.store(if memory { MEMORY } else { 0 } | if disk { DISK } else { 0 }, Relaxed);
    }
}

impl Shared {
    /// Looks at memory, disk and how much happens; publishers go on when nothing is short any more.
    pub(crate) fn watch_resources(&self) {
        self.look_at_rates();
        let alarms = &self.settings.alarms;
        let memory = alarms.memory_max() > 0 && resident_bytes() > alarms.memory_max();
        let disk = free_disk_bytes(&self.settings.data_dir).is_some_and(|free| free < alarms.disk_min());
        let now = if memory { MEMORY } else { 0 } | if disk { DISK } else { 0 };
        let before = alarms.raised.swap(now, Relaxed);
        if before != now {
            match alarms.reason() {
                Some(reason) => tracing::warn!("{reason}: AMQP publishers are blocked"),
                None => tracing::info!("there is enough memory and disk space again"),
            }
            self.wake_all();
        }
    }
}

/// Bytes that are free where a file would go; `None` when that cannot be told.
pub fn free_disk_bytes(dir: &std::path::Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The memory of the machine, or of the container.
pub(crate) fn machine_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kilobytes.trim().parse::<u64>().ok()
    });
    let limit =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let total = total.map_or(0, |kilobytes| kilobytes * 1024);
    limit.map_or(total, |limit: u64| limit.min(total))
}
