//! Backups of a data directory, whether or not a server uses it, and back. The server is not asked: its files are what it has
//! promised, and while somebody has them locked it removes none.

use crate::now_ms;
use crate::recover::{refuse_half_import, refuse_half_restore, restore_mark};
use crate::snapshot::{Failed, refuse_missing, sync_folder_of, write_all};
use leveret_wal::{Archived, BackupMade, Disk, Onlooker, Pruned, Restored, Storage, Until};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The server keeps segments until the archive has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepLog {
    /// As it was before.
    AsBefore,
    /// From now on, up to so many bytes.
    UpTo(u64),
}

/// How to make a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupHow {
    /// What the server keeps until the next backup.
    pub keep_log: KeepLog,
    /// Points that are older, in milliseconds, need not be restored any more.
    pub keep_ms: Option<u64>,
}

/// It says what a directory is for, before the first backup is finished.
const BACKUPS: &str = "BACKUPS";

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failed {
    move |error| Failed::Io(what.into(), error)
}

/// Adds to the backups of a directory what they do not have yet.
pub fn backup(data_dir: &Path, archive: &Path, how: BackupHow) -> Result<(BackupMade, Pruned), Failed> {
    refuse_missing(data_dir)?;
    refuse_half_import(data_dir)?;
    refuse_half_restore(data_dir)?;
    let what = format!("cannot read the data directory {}", data_dir.display());
    // Before anything is looked at: what was confirmed up to here is in it.
    let taken_ms = now_ms();
    let from = Onlooker::beside(data_dir).map_err(io(what.clone()))?;
    let inside = data_dir.canonicalize().map_err(io(what))?;
    let what = format!("cannot use the directory {}", archive.display());
    if std::path::absolute(archive).map_err(io(what.clone()))?.starts_with(&inside) {
        return Err(Failed::Refused("backups inside the data directory would be lost with it".into()));
    }
    refuse_other_files(archive)?;
    let to = Disk::open_archive(archive).map_err(io(what.clone()))?;
    write_all(&archive.join(BACKUPS), |out| out.write_all(b"backups of Leveret\n"))
        .map_err(io(what.clone()))?;
    let place = archive.canonicalize().map_err(io(what))?.display().to_string();
    let cannot_mark = || format!("cannot say in {} how far the backups are", data_dir.display());
    let before = leveret_wal::archived(data_dir).map_err(io(cannot_mark()))?;
    if let (Some(before), KeepLog::UpTo(_)) = (&before, how.keep_log)
        && before.archive != place
    {
        return Err(Failed::Refused(format!(
            "the log is kept for the backups in {} already; 'leveret backup --forget' ends that",
            before.archive
        )));
    }
    let made = leveret_wal::backup(&from, &to, taken_ms).map_err(Failed::Log)?;
    let bytes_max = match (how.keep_log, before.filter(|before| before.archive == place)) {
        (KeepLog::UpTo(bytes_max), _) => Some(bytes_max),
        (KeepLog::AsBefore, before) => before.map(|before| before.bytes_max),
    };
    if let Some(bytes_max) = bytes_max {
        // While the directory is still locked: nothing has gone since the files were listed.
        let archived = Archived { first: made.first_unfinished, bytes_max, archive: place };
        leveret_wal::set_archived(data_dir, Some(&archived)).map_err(io(cannot_mark()))?;
    }
    drop(from);
    let pruned = match how.keep_ms {
        Some(keep_ms) => leveret_wal::prune(&to, taken_ms.saturating_sub(keep_ms)).map_err(Failed::Log)?,
        None => Pruned::default(),
    };
    Ok((made, pruned))
}

/// Nothing is kept for backups any more; gives for which it was.
pub fn forget(data_dir: &Path) -> Result<Option<String>, Failed> {
    refuse_missing(data_dir)?;
    let what = format!("cannot change what is kept in {}", data_dir.display());
    let before = leveret_wal::archived(data_dir).map_err(io(what.clone()));
    leveret_wal::set_archived(data_dir, None).map_err(io(what))?;
    // What cannot be understood is gone as well.
    Ok(before.ok().flatten().map(|before| before.archive))
}

/// The names in a directory, without what a file system or a lock leaves there.
fn names(directory: &Path) -> Result<Vec<String>, Failed> {
    let read = || -> std::io::Result<Vec<String>> {
        let names = std::fs::read_dir(directory)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    match read() {
        Ok(mut names) => {
            names.retain(|name| !["LOCK", "BACKUP", "lost+found"].contains(&name.as_str()));
            Ok(names)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failed::Io(format!("cannot read {}", directory.display()), error)),
    }
}

/// A directory that holds something else, perhaps another server's data, is not what was meant.
fn refuse_other_files(archive: &Path) -> Result<(), Failed> {
    let names = names(archive)?;
    if names.is_empty() || names.iter().any(|name| name == BACKUPS || name.ends_with(".backup")) {
        return Ok(());
    }
    Err(Failed::Refused(format!("{} is not empty, and there is no backup in it", archive.display())))
}

fn is_copy(name: &str) -> bool {
    [".segment", ".checkpoint", ".bodies", ".tmp"].iter().any(|end| name.ends_with(end))
}

/// Makes a data directory as it was at one point of the backups. It must be empty, or hold a restore that was broken off.
pub fn restore(archive: &Path, data_dir: &Path, until: Until) -> Result<Restored, Failed> {
    if !archive.is_dir() {
        return Err(Failed::Refused(format!("there is no directory {}", archive.display())));
    }
    let cannot_read = format!("cannot read the backups in {}", archive.display());
    let from = Onlooker::open(archive).map_err(io(cannot_read))?;
    let mark = restore_mark(data_dir);
    if !mark.exists() && !names(data_dir)?.is_empty() {
        return Err(Failed::Refused(format!("{} is not empty", data_dir.display())));
    }
    let cannot = || format!("cannot write to {}", data_dir.display());
    let into = Disk::open(data_dir).map_err(io(cannot()))?;
    let what = format!("the restore from {}\n", archive.display());
    write_all(&mark, |out| out.write_all(what.as_bytes()))
        .and_then(|()| sync_folder_of(&mark))
        .map_err(io(cannot()))?;
    clear(&into).map_err(io(cannot()))?;
    let restored = leveret_wal::restore(&from, &into, until);
    if restored.is_err() {
        // The directory is as it was; if not, the mark stays.
        clear(&into).map_err(io(cannot()))?;
    }
    remove_mark(&mark).map_err(io(cannot()))?;
    restored.map_err(Failed::Log)
}

/// Removes what a restore has made.
fn clear(into: &Disk) -> std::io::Result<()> {
    for name in into.list()?.iter().filter(|name| is_copy(name)) {
        into.remove(name)?;
    }
    into.sync_dir()
}

fn remove_mark(mark: &PathBuf) -> std::io::Result<()> {
    std::fs::remove_file(mark)?;
    sync_folder_of(mark)
}
