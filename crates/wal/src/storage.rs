//! The one trait between the log and whatever keeps its bytes, and its real implementation: a directory.

use crate::kept::{self, Kept};
use crate::piece::ReadPiece;
use memmap2::MmapMut;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of files.
pub trait Storage: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; replaces one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Renames a file, over one of the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Begins to read a piece of a file from an offset on, into a buffer that nobody needs any more.
    fn read_piece(&self, name: &str, offset: u64, spare: Option<MmapMut>) -> ReadPiece {
        match self.open(name) {
            Ok(file) => ReadPiece::now(file.as_ref(), offset, spare),
            Err(error) => ReadPiece::failed(error),
        }
    }
    /// How many bytes more would fit, if that can be told.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    /// What may not be removed though no start needs it, as long as what is answered lives.
    fn kept(&self) -> io::Result<Kept> {
        Ok(Kept::default())
    }
}

/// A file written at offsets.
pub trait File: Send + Sync {
    /// Writes all bytes at the offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at the offset; may give less than asked for, and 0 at the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// These bytes are read soon: whoever can get them from the disk meanwhile does.
    fn read_soon(&self, _offset: u64, _len: u64) {}
    /// How many bytes it has.
    fn size(&self) -> io::Result<u64>;
    /// Makes what was written durable. (POSIX: fdatasync)
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Gives back the space of bytes that nobody reads any more, if there is a way; then they are zeros.
    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

const LOCK: &str = "LOCK";
/// Says which process has the directory. One that only looks at it does not leave its number.
fn in_use(path: &Path, mut lock: &std::fs::File) -> io::Error {
    let mut owner = String::new();
    // Without a number the sentence is still true.
    let _ = lock.read_to_string(&mut owner);
    let is_alive = owner.trim().parse::<u32>().is_ok_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
    let who = if is_alive { format!(" (pid {})", owner.trim()) } else { String::new() };
    let message = format!("the directory {} is in use by another process{who}", path.display());
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Locks the directory itself: the file in it may be removed by somebody who takes it for a leftover. Where directories cannot be
/// locked the file is all there is. `None` when another process has it.
fn lock_directory(path: &Path, how: FlockOperation) -> io::Result<Option<std::fs::File>> {
    let directory = std::fs::File::open(path)?;
    match rustix::fs::flock(&directory, how) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Ok(()) | Err(_) => Ok(Some(directory)),
    }
}

/// A directory that this process has for itself.
pub struct Disk {
    path: PathBuf,
    _locks: [std::fs::File; 2],
}

impl Disk {
    /// Makes the directory if it is missing and locks it. A second process gets an error that names the first.
    pub fn open(path: &Path) -> io::Result<Self> {
        let disk = Self::lock(path)?;
        kept::offer(path)?;
        Ok(disk)
    }

    /// Likewise of a directory for backups, which no server uses.
    pub fn open_archive(path: &Path) -> io::Result<Self> {
        Self::lock(path)
    }

    fn lock(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut lock =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path.join(LOCK))?;
        let how = FlockOperation::NonBlockingLockExclusive;
        if rustix::fs::flock(&lock, how).is_err() {
            return Err(in_use(path, &lock));
        }
        let Some(directory) = lock_directory(path, how)? else { return Err(in_use(path, &lock)) };
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { path: path.to_owned(), _locks: [lock, directory] })
    }
}

/// A directory that is only looked at: nothing in it is made or changed, and as a rule no server may use it meanwhile.
pub struct Onlooker {
    path: PathBuf,
    is_used: bool,
    _locks: [Option<std::fs::File>; 2],
}

impl Onlooker {
    /// Refuses, by its number, a process that has the directory: what it writes would look like damage.
    pub fn open(path: &Path) -> io::Result<Self> {
        let lock = match std::fs::File::open(path.join(LOCK)) {
            Ok(lock) => Some(lock),
            // No server has ever had it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let how = FlockOperation::NonBlockingLockShared;
        if let Some(lock) = &lock
            && rustix::fs::flock(lock, how).is_err()
        {
            return Err(in_use(path, lock));
        }
        let directory = lock_directory(path, how)?;
        match (&directory, &lock) {
            (Some(_), _) => Ok(Self { path: path.to_owned(), is_used: false, _locks: [lock, directory] }),
            (None, Some(lock)) => Err(in_use(path, lock)),
            (None, None) => Err(in_use(path, &std::fs::File::open(path)?)),
        }
    }

    /// Likewise, but a server may use it, or start to: it goes on writing, and removes nothing until this is dropped.
    pub fn beside(path: &Path) -> io::Result<Self> {
        match kept::hold(path)? {
            Some(lock) => Ok(Self { path: path.to_owned(), is_used: true, _locks: [Some(lock), None] }),
            // No server that looks at that file has ever had it.
            None => Self::open(path),
        }
    }

    /// True when a server may be writing.
    pub fn is_used(&self) -> bool {
        self.is_used
    }
}

fn only_looked_at<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory is only looked at"))
}

impl Storage for Onlooker {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn File>> {
        only_looked_at()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(LookedAt(DiskFile(std::fs::File::open(self.path.join(name))?))))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        only_looked_at()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        only_looked_at()
    }

    /// Makes durable what somebody else has changed.
    fn sync_dir(&self) -> io::Result<()> {
        unless_read_only(std::fs::File::open(&self.path)?.sync_all())
    }

    fn read_piece(&self, name: &str, offset: u64, spare: Option<MmapMut>) -> ReadPiece {
        match self.open(name) {
            Ok(file) => ReadPiece::elsewhere(file, offset, spare),
            Err(error) => ReadPiece::failed(error),
        }
    }

    fn kept(&self) -> io::Result<Kept> {
        Ok(Kept::new(self.is_used, kept::archived(&self.path)?))
    }
}

/// On a file system that is read only there is nothing to make durable.
fn unless_read_only(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        synced => synced,
    }
}

/// A file that is only read.
struct LookedAt(DiskFile);

impl File for LookedAt {
    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn sync_data(&self) -> io::Result<()> {
        unless_read_only(self.0.sync_data())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        only_looked_at()
    }
}

struct DiskFile(std::fs::File);

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(true).open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        std::fs::File::open(&self.path)?.sync_all()
    }

    fn read_piece(&self, name: &str, offset: u64, spare: Option<MmapMut>) -> ReadPiece {
        match self.open(name) {
            Ok(file) => ReadPiece::elsewhere(file, offset, spare),
            Err(error) => ReadPiece::failed(error),
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn kept(&self) -> io::Result<Kept> {
        kept::kept(&self.path)
    }
}

impl File for DiskFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn read_soon(&self, offset: u64, len: u64) {
        // A kernel that takes no advice reads when it is asked to.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(len), Advice::WillNeed);
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.0, flags, offset, len)?)
    }
}
