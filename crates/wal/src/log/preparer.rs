//! The thread that prepares segments: zero-filled and on disk before they are needed, so that a write into them changes nothing
//! but bytes.

use super::{NEXT, Shared};
use crate::error::{Error, is_full};
use crate::storage::File;
use std::io;
use std::sync::Arc;

/// How much of a segment is filled at a time. Nothing else runs on that processor meanwhile: a kernel need not interrupt a write.
const PIECE: usize = 64 * 1024;
/// Likewise how much is synced.
const SYNCED_PIECE: u64 = 4 * 1024 * 1024;

/// Makes the next segment before it is needed. One thread uses it.
#[derive(Clone)]
pub struct Preparer {
    pub(super) shared: Arc<Shared>,
}

impl Preparer {
    /// Prepares a zero-filled segment if the log has asked for one; true if it did. A full disk is no error here: the
    /// log then goes on with growing files, and fails where it must.
    ///
    /// It calls `rest` again and again, so that what shares its processor gets its turn.
    pub fn run(&self, rest: &mut dyn FnMut()) -> Result<bool, Error> {
        let shared = &self.shared;
        shared.check()?;
        {
            let mut prepared = shared.prepared.lock();
            if !prepared.wanted || prepared.file.is_some() {
                return Ok(false);
            }
            prepared.wanted = false;
        }
        // Not the last bytes: the log itself needs them more.
        let spare = shared.storage.free_bytes().map_or(u64::MAX, |free| free / 2);
        if spare < shared.segment_bytes {
            return Ok(false);
        }
        match self.fill(rest) {
            Ok(file) => {
                shared.prepared.lock().file = Some(file);
                Ok(true)
            }
            Err(error) if is_full(&error) => {
                shared.fatal("remove", NEXT, shared.storage.remove(NEXT))?;
                Ok(false)
            }
            Err(error) => shared.fatal("prepare", NEXT, Err(error)),
        }
    }

    fn fill(&self, rest: &mut dyn FnMut()) -> io::Result<Arc<dyn File>> {
        let file = self.shared.storage.create(NEXT)?;
        let zeros = vec![0; PIECE];
        let mut offset = 0;
        while offset < self.shared.segment_bytes {
            let len = (self.shared.segment_bytes - offset).min(PIECE as u64);
            file.write_at(&zeros[..len as usize], offset)?;
            offset += len;
            if offset % SYNCED_PIECE == 0 || offset == self.shared.segment_bytes {
                file.sync_data()?;
            }
            rest();
        }
        Ok(file)
    }
}
