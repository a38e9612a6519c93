//! Pieces of files that are read before they are needed, by threads of their own.

use crate::recovery::fill;
use crate::storage::File;
use memmap2::MmapMut;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How long a piece is, unless the file ends in it.
pub(crate) const PIECE: usize = 2 * 1024 * 1024;

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
        Self(Reading::Done(Piece::read(file, offset, spare)))
    }

    /// What could not even be begun.
    pub(crate) fn failed(error: io::Error) -> Self {
        Self(Reading::Done(Err(error)))
    }

    /// Read by a thread of its own.
    pub(crate) fn elsewhere(file: Arc<dyn File>, offset: u64, spare: Option<MmapMut>) -> Self {
        let read = move || Piece::read(file.as_ref(), offset, spare);
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

    fn read(file: &dyn File, offset: u64, spare: Option<MmapMut>) -> io::Result<Self> {
        let mut buffer = buffer(spare)?;
        let len = fill(file, &mut buffer, offset)?;
        Ok(Self { buffer, len, file_size: file.size()? })
    }
}

/// One that nobody needs any more, or a new one.
fn buffer(spare: Option<MmapMut>) -> io::Result<MmapMut> {
    spare.map_or_else(|| MmapMut::map_anon(PIECE), Ok)
}
