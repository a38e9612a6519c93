//! From a data directory to its state: by a server that starts, and by tools that need the directory for themselves.

use crate::clock::not_before;
use crate::serve::StartError;
use crate::{Settings, now_ms};
use leveret_engine::Engine;
use leveret_wal::{CheckpointHead, Disk, Log, Options, SpillFiles, Storage, Summary};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file in the data directory while an import is going on: what it says, nobody has finished.
const IMPORTING: &str = "IMPORTING";

/// Likewise while a restore is going on.
const RESTORING: &str = "RESTORING";

pub(crate) fn restore_mark(data_dir: &Path) -> PathBuf {
    data_dir.join(RESTORING)
}

pub(crate) fn import_mark(data_dir: &Path) -> PathBuf {
    data_dir.join(IMPORTING)
}

/// The state, the log to go on with, and what was read.
pub(crate) struct Recovered {
    pub(crate) engine: Engine,
    pub(crate) log: Log,
    /// For what no log has.
    pub(crate) spill_files: SpillFiles,
    /// The checkpoint that was there, whose place in the log is before all of it.
    pub(crate) restored: Option<CheckpointHead>,
    pub(crate) summary: Summary,
}

/// Locks the directory and reads everything in it.
pub(crate) fn recover(settings: &Settings, threads_count: usize) -> Result<Recovered, StartError> {
    refuse_half_restore(&settings.data_dir)?;
    let what = format!("cannot use the data directory {}", settings.data_dir.display());
    let disk = Disk::open(&settings.data_dir).map_err(|error| StartError::Io(what, error))?;
    // Who knows the seed of the tables can choose keys that collide: it comes from the system.
    let seed = RandomState::new().hash_one(now_ms());
    let mut recovered = recover_from(
        Arc::new(disk),
        settings.segment_bytes,
        settings.message_bytes_in_memory(),
        seed,
        threads_count,
    )?;
    // The machine's clock may have been ahead when the log was written.
    let restored_ms = recovered.restored.map_or(0, |head| head.time_ms);
    not_before(recovered.summary.last_time_ms.max(restored_ms));
    recovered.engine.after_replay(now_ms());
    Ok(recovered)
}

/// Reads everything in a storage; the engine has not been told the time then.
pub(crate) fn recover_from(
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    message_bytes: Option<u64>,
    seed: u64,
    threads_count: usize,
) -> Result<Recovered, StartError> {
    let mut engine = Engine::new(seed, threads_count);
    engine.broker.memory_bytes_max = message_bytes;
    let mut log = Log::open(storage, Options { segment_bytes }).map_err(StartError::Log)?;
    let restored = log.restore(&mut |changes| engine.restore(changes)).map_err(StartError::Log)?;
    if let Some(head) = restored {
        engine.restored(head);
    }
    let summary = log.replay_into(&mut engine).map_err(StartError::Log)?;
    let spill_files = log.spill_files().map_err(StartError::Log)?;
    Ok(Recovered { engine, log, spill_files, restored, summary })
}

/// A directory whose import was broken off holds a part of a snapshot, which nobody wants to find out later.
pub(crate) fn refuse_half_import(data_dir: &Path) -> Result<(), StartError> {
    let mark = import_mark(data_dir);
    refuse_mark(&mark, |what| {
        format!(
            "{what} was not finished: a part of it is in {}. Run it again with --replace or --flush, or remove {} to keep what is there",
            data_dir.display(),
            mark.display()
        )
    })
}

/// Likewise one whose restore was broken off.
pub(crate) fn refuse_half_restore(data_dir: &Path) -> Result<(), StartError> {
    refuse_mark(&restore_mark(data_dir), |what| {
        format!("{what} was not finished: a part of it is in {}. Run it again", data_dir.display())
    })
}

fn refuse_mark(mark: &Path, why: impl FnOnce(&str) -> String) -> Result<(), StartError> {
    match std::fs::read_to_string(mark) {
        Ok(what) => Err(StartError::Half(why(what.trim()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StartError::Io(format!("cannot read {}", mark.display()), error)),
    }
}
