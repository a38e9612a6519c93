//! Files that stay though no start needs them any more: somebody copies them right now, or an archive has not got them yet.
//! The directory says both: `BACKUP` is locked by whoever reads, `ARCHIVED` tells how far an archive has come.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Who reads the files of a running server has this one locked. It is made by servers that look at the lock.
const BACKUP: &str = "BACKUP";
const ARCHIVED: &str = "ARCHIVED";

/// How far an archive has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The first segment that it does not have as a whole.
    pub first: u64,
    /// So many bytes of segments wait for it at most; then the oldest go.
    pub bytes_max: u64,
    /// Where it is, for people.
    pub archive: String,
}

/// What may not be removed now.
#[derive(Debug, Default)]
pub struct Kept {
    /// Somebody reads: nothing may go.
    pub all: bool,
    /// Segments wait for an archive.
    pub archived: Option<Archived>,
    /// While it is held nobody begins to read.
    _lock: Option<File>,
}

impl Kept {
    /// What somebody decides who is not a directory.
    pub(crate) fn new(all: bool, archived: Option<Archived>) -> Self {
        Self { all, archived, _lock: None }
    }

    /// How many of these segments may go, the first ones; and how many of them an archive would still want.
    pub(crate) fn removable(&self, unnecessary: &[u64], segment_bytes: u64) -> (usize, usize) {
        match (self.all, &self.archived) {
            (true, _) => (0, 0),
            (false, None) => (unnecessary.len(), 0),
            (false, Some(archived)) => {
                let had = unnecessary.iter().take_while(|ordinal| **ordinal < archived.first).count();
                let wanted = (unnecessary.len() - had) as u64;
                let lost = wanted.saturating_sub(archived.bytes_max / segment_bytes) as usize;
                (had + lost, lost)
            }
        }
    }
}

/// Makes the file whose lock says that somebody reads.
pub(crate) fn offer(directory: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(directory.join(BACKUP)).map(drop)
}

/// Nothing is removed from the directory as long as the file is open. `None`: there is a server that does not know of this.
pub(crate) fn hold(directory: &Path) -> io::Result<Option<File>> {
    match File::open(directory.join(BACKUP)) {
        Ok(file) => {
            // Who removes something has it for a moment.
            flock(&file, FlockOperation::LockShared)?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What may not be removed from the directory, as long as what is answered lives.
pub(crate) fn kept(directory: &Path) -> io::Result<Kept> {
    let lock = match File::open(directory.join(BACKUP)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
    };
    let all = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err();
    Ok(Kept { all, archived: archived(directory)?, _lock: Some(lock) })
}

/// How far an archive of the directory has come, if there is one.
pub fn archived(directory: &Path) -> io::Result<Option<Archived>> {
    let text = match std::fs::read_to_string(directory.join(ARCHIVED)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let number = |name: &str| line(name).and_then(|value| value.parse().ok());
    let (Some(first), Some(bytes_max), Some(archive)) =
        (number("segment"), number("bytes_max"), line("archive"))
    else {
        let what = format!("{} cannot be understood", directory.join(ARCHIVED).display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    };
    Ok(Some(Archived { first, bytes_max, archive: archive.to_owned() }))
}

/// Says how far an archive has come, or that there is none any more. A crash leaves what was said before or this.
pub fn set_archived(directory: &Path, archived: Option<&Archived>) -> io::Result<()> {
    let path = directory.join(ARCHIVED);
    match archived {
        Some(Archived { first, bytes_max, archive }) => {
            let unfinished = directory.join("ARCHIVED.tmp");
            let mut file = File::create(&unfinished)?;
            write!(file, "segment {first}\nbytes_max {bytes_max}\narchive {archive}\n")?;
            file.sync_all()?;
            std::fs::rename(unfinished, path)?;
        }
        None => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        },
    }
    File::open(directory)?.sync_all()
}
