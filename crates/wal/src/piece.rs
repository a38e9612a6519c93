//! Pieces of files that are read before they are needed, by threads of their own.

use crate::storage::File;
use memmap2::MmapMut;
use rustix::fs::{Advice, fadvise};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How long a piece is, unless the file ends in it.
pub(crate) const PIECE: usize = 2 * 1024 * 1024;
/// A piece begins with a page: at a multiple of so many bytes.
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
    pub(crate) fn elsewhere(path: PathBuf, offset: u64, spare: Option<MmapMut>) -> Self {
        let read = move || Piece::read(&path, offset, spare);
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

    fn read(path: &Path, offset: u64, spare: Option<MmapMut>) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        // Advice that is not taken changes nothing.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
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
