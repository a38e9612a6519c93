//! Pieces of files that are read by a thread of their own: from the kernel's cache if it has them, else past it, so that they are not
//! copied and push nothing out of it.

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How long a piece is, unless the file ends in it.
pub(crate) const PIECE: usize = 2 * 1024 * 1024;
/// A piece begins at a multiple of so many bytes, in the file and in memory: so it can be read past the cache.
pub const PIECE_STEP: u64 = 4096;

/// A piece that is being read.
pub type ReadPiece = JoinHandle<io::Result<Piece>>;

/// A piece of a file.
pub struct Piece {
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl Piece {
    /// Begins to read one, into a buffer that nobody needs any more; `None` if there can be no thread for it.
    pub(crate) fn begin(path: PathBuf, offset: u64, spare: Vec<u8>) -> Option<ReadPiece> {
        let read = move || Self::read(&path, offset, spare);
        std::thread::Builder::new().name("read-ahead".into()).spawn(read).ok()
    }

    fn read(path: &Path, offset: u64, mut buffer: Vec<u8>) -> io::Result<Self> {
        let step = PIECE_STEP as usize;
        buffer.resize(PIECE + step, 0);
        let start = buffer.as_ptr().align_offset(step);
        let file = open(path, offset)?;
        let mut len = 0;
        while let Some(rest) = buffer.get_mut(start + len..start + PIECE).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + len as u64) {
                Ok(count) => {
                    len += count;
                    // Only the end of a file is no multiple.
                    if count == 0 || !count.is_multiple_of(step) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { buffer, start, len })
    }

    /// The first bytes of a buffer.
    pub(crate) fn of(buffer: Vec<u8>, len: usize) -> Self {
        Self { buffer, start: 0, len }
    }

    /// What was read; fewer bytes than a piece has if the file ends in it.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Its buffer, for the next one.
    pub fn into_spare(self) -> Vec<u8> {
        self.buffer
    }
}

fn open(path: &Path, offset: u64) -> io::Result<File> {
    let file = File::open(path)?;
    if is_cached(&file, offset) {
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
fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    // Whoever reads here and there is not given more than he asks for.
    let _ = fadvise(file, 0, None, Advice::Random);
    let found = preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    let _ = fadvise(file, 0, None, Advice::Sequential);
    found.is_ok_and(|len| len > 0)
}
