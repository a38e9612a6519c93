//! A file that is read here and there: so many bytes at a time.

use crate::error::Error;
use crate::recovery::{all_zero, fill};
use crate::storage::{File, Storage};
use std::sync::Arc;

/// How much is looked at together where there should be nothing.
const ZEROS: u64 = 256 * 1024;
/// Room that is kept from one reading to the next.
const KEPT: usize = 1024 * 1024;

pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) size: u64,
    /// What was read last.
    pub(crate) bytes: Vec<u8>,
}

impl Opened {
    pub(crate) fn new(storage: &dyn Storage, name: &str) -> Result<Self, Error> {
        let file = storage.open(name).map_err(|e| Error::io("open", name, e))?;
        let size = file.size().map_err(|e| Error::io("read", name, e))?;
        Ok(Self { name: name.to_owned(), file, size, bytes: Vec::new() })
    }

    /// So many bytes, or what there is of them.
    pub(crate) fn read(&mut self, at: u64, len: u64) -> Result<&[u8], Error> {
        self.bytes.resize(len.min(self.size.saturating_sub(at)) as usize, 0);
        self.bytes.shrink_to(KEPT);
        let read = fill(self.file.as_ref(), &mut self.bytes, at);
        self.bytes.truncate(read.map_err(|e| Error::io("read", &self.name, e))?);
        Ok(&self.bytes)
    }

    /// Whether there is nothing more.
    pub(crate) fn is_zero_from(&mut self, mut at: u64) -> Result<bool, Error> {
        loop {
            let bytes = self.read(at, ZEROS)?;
            if bytes.is_empty() || !all_zero(bytes) {
                return Ok(bytes.is_empty());
            }
            at += bytes.len() as u64;
        }
    }
}
