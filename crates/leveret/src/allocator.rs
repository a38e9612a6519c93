//! The allocator of the process, and what it can be asked.

use leveret_server::Allocator;
use tikv_jemalloc_ctl::stats_print::{Options, stats_print};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
use tikv_jemalloc_ctl::{epoch, stats};

/// Each SET allocates; jemalloc needed the least CPU for that of the allocators measured.
#[global_allocator]
static JEMALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Its counters.
pub(crate) const ALLOCATOR: Allocator = Allocator { name: "jemalloc", in_use, of_thread, purge, report };

thread_local! {
    /// Where this thread's counters stand: bytes ever allocated, and ever freed.
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        allocatedp::read().and_then(|allocated| Ok((allocated, deallocatedp::read()?))).ok();
}

fn in_use() -> u64 {
    // What the counters say is as old as the epoch.
    epoch::advance().and_then(|_| stats::allocated::read()).map_or(0, |bytes| bytes as u64)
}

fn of_thread() -> i64 {
    COUNTERS.with(|counters| {
        counters.map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()) as i64)
    })
}

fn purge() {
    // jemalloc's number for all arenas (MALLCTL_ARENAS_ALL) is 4096.
    let name = c"arena.4096.purge";
    // SAFETY: the name ends with a zero byte; this command neither reads nor writes a value.
    let failed = unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    if failed != 0 {
        tracing::warn!(failed, "memory that is not in use could not be given back");
    }
}

fn report() -> String {
    let mut report = Vec::new();
    match stats_print(&mut report, Options::default()) {
        Ok(()) => String::from_utf8_lossy(&report).into_owned(),
        Err(error) => format!("the allocator does not tell: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_seen_by_both_counters() {
        let (in_use_before, thread_before) = (in_use(), of_thread());
        let block = vec![1u8; 10 << 20];
        assert!(of_thread() - thread_before >= 10 << 20);
        assert!(in_use() >= in_use_before + (9 << 20));
        drop(block);
        assert!(of_thread() - thread_before < 1 << 20);
        purge();
        assert!(report().contains("jemalloc statistics"));
    }
}
