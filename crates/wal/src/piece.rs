//! Pieces of files that are read before they are needed: from the kernel's cache if it has them, else past it, so that they are not
//! copied and push nothing out of it.

use crate::storage::File;
use memmap2::MmapMut;
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::OpenOptions;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How long a piece is, unless the file ends in it.
pub(crate) const PIECE: usize = 2 * 1024 * 1024;
/// A piece begins at a multiple of so many bytes in the file, and in memory with a page: so it can be read past the cache.
pub const PIECE_STEP: u64 = 4096;

/// A piece of a file.
pub(crate) struct Piece {
    buffer: MmapMut,
    len: usize,
    file_size: u64,
}

/// A piece that is being read.
pub struct ReadPiece(Reading);

enum Reading {
    Done(io::Result<Piece>),
    Elsewhere(JoinHandle<io::Result<Piece>>),
}

impl ReadPiece {
    /// Read when it is asked for, into a buffer that nobody needs any more.
    pub(crate) fn now(file: &dyn File, offset: u64, spare: Option<MmapMut>) -> Self {
        Self(Reading::Done(Piece::of(file, offset, spare)))
    }

    /// What could not even be begun.
    pub(crate) fn failed(error: io::Error) -> Self {
        Self(Reading::Done(Err(error)))
    }

    /// Read by a thread of its own.
    pub(crate) fn elsewhere(path: PathBuf, offset: u64, is_written_to: bool, spare: Option<MmapMut>) -> Self {
        let read = move || Piece::read(&open(&path, offset, is_written_to)?, offset, spare);
        match std::thread::Builder::new().name("read-ahead".into()).spawn(read) {
            Ok(reading) => Self(Reading::Elsewhere(reading)),
            Err(error) => Self::failed(error),
        }
    }

    /// The piece, when it is there.
    pub(crate) fn wait(self) -> io::Result<Piece> {
        match self.0 {
            Reading::Done(read) => read,
            Reading::Elsewhere(reading) => reading.join().expect("whoever reads a piece does not panic"),
        }
    }
}

impl Piece {
    /// What was read; fewer bytes than a piece has as a rule only if the file ends in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// How long the file was.
    pub(crate) fn file_size(&self) -> u64 {
        self.file_size
    }

    /// Its buffer, for the next one.
    pub(crate) fn into_spare(self) -> MmapMut {
        self.buffer
    }

    fn of(file: &dyn File, offset: u64, spare: Option<MmapMut>) -> io::Result<Self> {
        let mut buffer = buffer(spare)?;
        let len = fill(&mut buffer, |rest, at| file.read_at(rest, offset + at))?;
        Ok(Self { buffer, len, file_size: file.size()? })
    }

    fn read(file: &std::fs::File, offset: u64, spare: Option<MmapMut>) -> io::Result<Self> {
        let mut buffer = buffer(spare)?;
        let len = fill(&mut buffer, |rest, at| file.read_at(rest, offset + at))?;
        Ok(Self { buffer, len, file_size: file.metadata()?.len() })
    }
}

/// One that nobody needs any more, or a new one.
fn buffer(spare: Option<MmapMut>) -> io::Result<MmapMut> {
    spare.map_or_else(|| MmapMut::map_anon(PIECE), Ok)
}

/// Reads as much as there is room for, or up to the end: only that is no multiple of a step.
fn fill(room: &mut [u8], read: impl Fn(&mut [u8], u64) -> io::Result<usize>) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = room.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match read(rest, len as u64) {
            Ok(count) => {
                len += count;
                if count == 0 || !count.is_multiple_of(PIECE_STEP as usize) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn open(path: &Path, offset: u64, is_written_to: bool) -> io::Result<std::fs::File> {
    let file = std::fs::File::open(path)?;
    // Whoever writes waits until what is read past the cache is there.
    if is_written_to || is_cached(&file, offset) {
        return Ok(file);
    }
    let past_cache = OFlags::DIRECT.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(past_cache).open(path) {
        // Not every file system has a way past the cache.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(file),
        opened => opened,
    }
}

/// Whether the kernel has the first page of what is there, and so the rest, as a rule.
fn is_cached(file: &std::fs::File, offset: u64) -> bool {
    let mut byte = [0];
    // Whoever reads here and there is not given more than he asks for.
    let _ = fadvise(file, 0, None, Advice::Random);
    let found = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    let _ = fadvise(file, 0, None, Advice::Sequential);
    found.is_ok_and(|len| len > 0)
}
