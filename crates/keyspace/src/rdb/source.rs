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
    /// Where in the buffer it goes on.
    at: usize,
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
        Self { read, buffer: Vec::new(), at: 0, offset: 0, digest: CRC.digest(), end: None }
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
        if self.buffer.len() - self.at >= len {
            return Ok(());
        }
        self.digest.update(self.buffer.get(..self.at).unwrap_or_default());
        self.buffer.drain(..self.at);
        self.at = 0;
        // A long string's memory is not kept.
        self.buffer.shrink_to(4 * CHUNK);
        while self.buffer.len() < len {
            let before = self.buffer.len();
            // Bytes that are not there yet are not believed in.
            self.buffer.resize(before + CHUNK.max(before.min(len - before)), 0);
            let read = loop {
                match self.read.read(self.buffer.get_mut(before..).unwrap_or_default()) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
            self.end = match read {
                Ok(0) => Some(End::Cut),
                Ok(_) => continue,
                Err(error) => Some(End::Io(error)),
            };
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
