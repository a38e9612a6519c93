//! Snapshots of Redis and Valkey into a data directory and out of it, while no server has it. (Redis: dump.rdb)

mod import;

pub use import::{Existing, ImportHow, Imported, import};

use crate::recover::{Recovered, recover, refuse_half_import};
use crate::{Settings, StartError, now_ms};
use leveret_engine::keyspace::rdb::{self, Dialect, Exported, Failure};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Why an import, an export, a backup or a restore ended, for the person who wanted it.
#[derive(Debug)]
pub enum Failed {
    /// The data directory cannot be had.
    Start(StartError),
    /// The snapshot is not as it should be.
    Snapshot(String, Failure),
    /// A file cannot be read or written.
    Io(String, io::Error),
    /// The log takes nothing more.
    Log(leveret_wal::Error),
    /// It would do what was not asked for.
    Refused(String),
    /// Something failed when a part was there already.
    Half(Box<Failed>, u64),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Start(error) => error.fmt(f),
            Failed::Snapshot(file, failure) => write!(f, "{file} {failure}"),
            Failed::Io(what, error) => write!(f, "{what}: {error}"),
            Failed::Log(error) => error.fmt(f),
            Failed::Refused(why) => f.write_str(why),
            Failed::Half(failed, keys) => write!(
                f,
                "{failed}\nUp to {keys} keys had been imported before and are there. A server will not start with them: run the import again with --replace or --flush"
            ),
        }
    }
}

impl std::error::Error for Failed {}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Failed::Start(error)
    }
}

/// Refuses a directory in which nothing was ever kept: its name is probably wrong.
pub(crate) fn refuse_missing(data_dir: &Path) -> Result<(), Failed> {
    if data_dir.is_dir() {
        return Ok(());
    }
    Err(Failed::Refused(format!("there is no data directory {}", data_dir.display())))
}

/// Writes all keys and libraries to a file, which is complete when it has its name.
pub fn export(
    settings: &Settings,
    file: &Path,
    dialect: Dialect,
    replaces: bool,
) -> Result<Exported, Failed> {
    if file.exists() && !replaces {
        return Err(Failed::Refused(format!("{} is there already; --replace replaces it", file.display())));
    }
    refuse_missing(&settings.data_dir)?;
    refuse_half_import(&settings.data_dir)?;
    let Recovered { engine, .. } = recover(settings, 1)?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".tmp");
    let written = write_all(Path::new(&unfinished), |out| {
        let libraries = engine.libraries.iter().map(|(_, text)| &**text);
        rdb::export(&engine.keyspace, libraries, dialect, now_ms(), &mut |bytes| out.write_all(bytes))
    });
    let renamed = written.and_then(|exported| {
        std::fs::rename(&unfinished, file)?;
        sync_folder_of(file)?;
        Ok(exported)
    });
    renamed.map_err(|error| {
        // What is not complete is of no use to anybody.
        let _ = std::fs::remove_file(&unfinished);
        Failed::Io(format!("cannot write {}", file.display()), error)
    })
}

pub(crate) fn write_all<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let mut out = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let result = write(&mut out)?;
    out.sync_all()?;
    Ok(result)
}

/// Makes durable that the file is there, or is not.
pub(crate) fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
