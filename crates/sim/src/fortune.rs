//! What a seed has in store for one life of a server.

use crate::disk::Fate;
use crate::ledger::Crash;
use leveret_server::Fsync;
use leveret_server::sim::Setup;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// There may be no memory for messages.
pub(crate) static PAGED: AtomicBool = AtomicBool::new(false);

/// How a life is, and how it ends unless something happens before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fortune {
    pub(crate) setup: Setup,
    pub(crate) steps: u64,
    pub(crate) crash: Crash,
    /// What happens at an operation of the disk, after so many.
    pub(crate) fate: Option<(u64, Fate)>,
    /// After so many bytes the disk is full.
    pub(crate) full: Option<u64>,
    /// Reads give less than asked for, from here to the next power cut.
    pub(crate) short_reads: bool,
    /// Redis clients send scripts, too.
    pub(crate) runs_scripts: bool,
    /// Commands that a Redis client says before it waits for an answer.
    pub(crate) depth_max: usize,
    /// All are answered before the end.
    pub(crate) settles: bool,
}

impl Fortune {
    /// Nothing happens.
    pub(crate) fn quiet(segment_bytes: u64) -> Self {
        let setup = Setup {
            threads: 1,
            segment_bytes,
            slice_bytes: 4096,
            publisher_bytes_max: 1024 * 1024,
            fsync: Fsync::Always,
            message_bytes: None,
            seed: 1,
        };
        Self {
            setup,
            steps: 0,
            crash: Crash::Stopped,
            fate: None,
            full: None,
            short_reads: false,
            runs_scripts: false,
            depth_max: 1,
            settles: false,
        }
    }
}

/// The next life.
pub(crate) fn fortune(rng: &mut fastrand::Rng, segment_bytes: u64, is_last: bool) -> Fortune {
    let setup = Setup {
        threads: rng.usize(1..3),
        segment_bytes,
        slice_bytes: [500, 4000, 64 * 1024][rng.usize(..3)],
        publisher_bytes_max: [1000, 1024 * 1024][rng.usize(..2)],
        fsync: if rng.bool() { Fsync::Always } else { Fsync::Everysec },
        // The same dice either way.
        message_bytes: [None, Some(0), Some(500)][rng.usize(..3)].filter(|_| PAGED.load(Relaxed)),
        seed: rng.u64(..),
    };
    let steps = match rng.u8(..4) {
        0 => rng.u64(..60),
        1..=2 => rng.u64(100..600),
        _ => rng.u64(500..2500),
    };
    let fate = match rng.u8(..16) {
        _ if is_last => None,
        // In the midst of the recovery.
        0 => Some((rng.u64(..12), Fate::Power)),
        1 => Some((rng.u64(..12), Fate::Error)),
        2..=6 => Some((rng.u64(..steps / 4 + 2), Fate::Power)),
        7..=8 => Some((rng.u64(..steps / 4 + 2), Fate::Error)),
        _ => None,
    };
    let crash = match rng.u8(..8) {
        _ if is_last => Crash::Stopped,
        0..=3 => Crash::Power,
        4..=6 => Crash::Killed,
        _ => Crash::Stopped,
    };
    let full = (!is_last && rng.u8(..12) == 0).then(|| rng.u64(2_000..60_000));
    // Of commands that may be refused one at a time is uncertain.
    let depth_max = if full.is_some() { 1 } else { [1, 3, 12][rng.usize(..3)] };
    let short_reads = rng.u8(..4) == 0;
    // A scripting engine takes longer to make than most lives last.
    let runs_scripts = rng.u8(..6) == 0;
    Fortune {
        setup,
        steps,
        crash,
        fate,
        full,
        short_reads,
        runs_scripts,
        depth_max,
        settles: is_last || rng.u8(..4) == 0,
    }
}
