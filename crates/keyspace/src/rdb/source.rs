//! A file's bytes from front to end: how far it has been read, and the checksum of that.

use super::input::Input;
use super::{BadFormat, CRC};
use crc::{Digest, Table};
use std::io::{ErrorKind, Read};

/// Read at once.
const CHUNK: usize = 256 * 1024;

/// A reader with a buffer, which is no larger than the longest string needs.
pub(super) struct Source<R> {
    read: R,
    buffer: Vec<u8>,
    /// Where in the buffer it goes on, and how much of it is there.
    at: usize,
    filled: usize,
    /// Where in the file that is.
    offset: u64,
    /// Of everything before the buffer.
    digest: Digest<'static, u64, Table<16>>,
    /// Why nothing more came.
    end: Option<End>,
}

/// Why a file ends too early.
pub(super) enum End {
    /// There is no more of it.
    Cut,
    Io(std::io::Error),
}

impl<R: Read> Source<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, buffer: Vec::new(), at: 0, filled: 0, offset: 0, digest: CRC.digest(), end: None }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The checksum of everything read so far.
    pub(super) fn checksum(&self) -> u64 {
        let mut digest = self.digest.clone();
        digest.update(self.buffer.get(..self.at).unwrap_or_default());
        digest.finalize()
    }

    /// Why the last `take` had no bytes, if that was why it failed.
    pub(super) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// True behind the last byte.
    pub(super) fn is_at_end(&mut self) -> bool {
        let is_at_end = self.fill(1).is_err();
        self.end = None;
        is_at_end
    }

    fn fill(&mut self, len: usize) -> Result<(), BadFormat> {
        if self.filled - self.at >= len {
            return Ok(());
        }
        self.digest.update(self.buffer.get(..self.at).unwrap_or_default());
        self.buffer.copy_within(self.at..self.filled, 0);
        (self.at, self.filled) = (0, self.filled - self.at);
        if self.buffer.len() > 4 * CHUNK && len <= CHUNK && self.filled <= CHUNK {
            // A long string's memory is not kept.
            self.buffer = self.buffer.get(..CHUNK).unwrap_or_default().to_vec();
        }
        while self.filled < len {
            if self.filled == self.buffer.len() {
                // Bytes that are not there yet are not believed in.
                let more = CHUNK.max(self.filled.min(len - self.filled));
                self.buffer.resize(self.filled + more, 0);
            }
            match self.read.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => self.end = Some(End::Cut),
                Ok(read) => {
                    self.filled += read;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => self.end = Some(End::Io(error)),
            }
            return Err(BadFormat);
        }
        Ok(())
    }
}

impl<R: Read> Input for Source<R> {
    fn take(&mut self, len: usize) -> Result<&[u8], BadFormat> {
        self.fill(len)?;
        let taken = self.buffer.get(self.at..self.at + len).ok_or(BadFormat)?;
        self.at += len;
        self.offset += len as u64;
        Ok(taken)
    }
}
