//! Old backups go when no point that is still wanted needs them, and with them the files that no other one names.

use super::listing::{Backup, Listed, backup_name, backups};
use crate::bodies::{bodies_name, bodies_of};
use crate::checkpoint::{checkpoint_name, checkpoint_position};
use crate::error::Error;
use crate::log::{segment_name, segment_ordinal};
use crate::storage::Storage;

/// What has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Backups.
    pub backups: usize,
    /// Files that belonged to them alone.
    pub files: usize,
}

/// Removes what is not needed to restore any point from this time on: the newest checkpoint before it stays, and what comes after.
pub fn prune(archive: &dyn Storage, from_ms: u64) -> Result<Pruned, Error> {
    let Listed { whole: backups, damaged } = backups(archive)?;
    // Nobody knows what those name that cannot be read.
    if !damaged.is_empty() {
        return Ok(Pruned::default());
    }
    let checkpoints = backups.iter().filter_map(|backup| backup.checkpoint);
    let newest = checkpoints.filter(|copy| copy.time_ms <= from_ms).map(|copy| copy.position).max();
    let is_base = |backup: &Backup| newest.is_some() && backup.checkpoint() == newest;
    let Some(base) = backups.iter().position(is_base) else { return Ok(Pruned::default()) };
    let sync_dir = || archive.sync_dir().map_err(|e| Error::io("sync", "the directory of backups", e));
    let remove = |name: &str| archive.remove(name).map_err(|e| Error::io("remove", name, e));
    let (old, wanted) = backups.split_at(base);
    for backup in old {
        remove(&backup_name(backup.number))?;
    }
    // A list never outlives what it names.
    sync_dir()?;
    let is_wanted = |name: &String| {
        let is_copy = checkpoint_position(name).is_some()
            || segment_ordinal(name).is_some()
            || bodies_of(name).is_some();
        !is_copy
            || wanted.iter().any(|backup| {
                backup.checkpoint().is_some_and(|position| *name == checkpoint_name(position))
                    || backup.bodies.iter().any(|copy| *name == bodies_name(copy.ordinal, copy.made_for))
                    || backup.segments.iter().any(|copy| *name == segment_name(copy.ordinal))
            })
    };
    let mut names = archive.list().map_err(|e| Error::io("list", "the directory of backups", e))?;
    names.retain(|name| !is_wanted(name));
    for name in &names {
        remove(name)?;
    }
    sync_dir()?;
    Ok(Pruned { backups: old.len(), files: names.len() })
}
