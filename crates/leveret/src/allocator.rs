//! The allocator of the process, and what it can be asked.

use leveret_server::Allocator;
use std::alloc::{GlobalAlloc, Layout};
use tikv_jemalloc_ctl::stats_print::{Options, stats_print};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
use tikv_jemalloc_ctl::{epoch, stats};
use tikv_jemallocator::Jemalloc;

/// Each SET allocates; jemalloc needed the least CPU for that of the allocators measured.
#[global_allocator]
static ALLOCATOR_OF_ALL: Fine = Fine(Jemalloc);

/// jemalloc with sizes in steps of 8 bytes up to 64 (`.cargo/config.toml`), as Redis builds it: most keys, members and fields are
/// short, and steps of 16 waste half a step of each. The trap: a size that is no multiple of 16 is not aligned to 16 then.
struct Fine(Jemalloc);

fn fitting(layout: Layout) -> Layout {
    if layout.align() <= 8 { layout } else { layout.pad_to_align() }
}

// SAFETY: it is jemalloc's, of a layout that asks for at least as much, and the same one for the same block each time.
unsafe impl GlobalAlloc for Fine {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(fitting(layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(fitting(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the block was made with this layout.
        unsafe { self.0.dealloc(block, fitting(layout)) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is one of a layout; it is rounded as when it is freed.
        unsafe {
            let wanted = fitting(Layout::from_size_align_unchecked(size, layout.align()));
            self.0.realloc(block, fitting(layout), wanted.size())
        }
    }
}

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
    fn blocks_are_aligned_and_no_larger_than_they_must_be() {
        let mut blocks = Vec::new();
        for size in 1..600 {
            for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: what is made with a layout is changed and freed with it.
                unsafe {
                    let first = std::alloc::alloc(layout);
                    assert_eq!(first as usize % align, 0, "{size} bytes aligned to {align}");
                    let zeroed = std::alloc::alloc_zeroed(layout);
                    assert_eq!(zeroed as usize % align, 0);
                    assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|byte| *byte == 0));
                    first.write_bytes(7, size);
                    let moved = std::alloc::realloc(first, layout, size + 9);
                    assert_eq!(moved as usize % align, 0);
                    assert!(std::slice::from_raw_parts(moved, size).iter().all(|byte| *byte == 7));
                    blocks.push((moved, Layout::from_size_align(size + 9, align).unwrap()));
                    blocks.push((zeroed, layout));
                }
            }
        }
        for (block, layout) in blocks {
            // SAFETY: as above.
            unsafe { std::alloc::dealloc(block, layout) };
        }
        let before = of_thread();
        let block = vec![0u8; 21];
        assert_eq!(
            of_thread() - before,
            24,
            "the build has steps of 16 bytes: .cargo/config.toml was not read"
        );
        drop(block);
    }

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
