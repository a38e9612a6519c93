//! Files beside the log for bytes that no replay reads: written one behind the other, never synced, and removed by every start.
//! What is not needed any more is given back piece by piece, where the file system can do that, and file by file. It knows
//! nothing of what the bytes are. The trap: they are checked by a sum that is only in memory, as is all else that is known.

use crate::error::Error;
use crate::log::Log;
use crate::storage::{File, Storage};
use std::sync::Arc;

/// What begins at a page can be given back as a whole.
const PAGE: u64 = 4096;
/// From this size on that is worth what is left empty before it.
const WHOLE_PAGES_MIN: u64 = 8 * PAGE;

fn spill_name(number: u64) -> String {
    format!("{number:016}.spill")
}

fn is_spill(name: &str) -> bool {
    let number = name.strip_suffix(".spill").and_then(|number| number.parse().ok());
    number.is_some_and(|number| spill_name(number) == name)
}

struct SpillFile {
    name: String,
    file: Arc<dyn File>,
}

/// Bytes that were written.
#[derive(Clone)]
pub struct Extent {
    file: Arc<SpillFile>,
    offset: u64,
    len: u64,
    crc: u32,
}

impl Extent {
    /// Reads them.
    pub fn read(&self, into: &mut Vec<u8>) -> Result<(), Error> {
        let SpillFile { name, file } = &*self.file;
        into.clear();
        into.resize(self.len as usize, 0);
        let mut at = 0;
        while let Some(rest) = into.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, self.offset + at as u64) {
                Ok(0) => return Err(Error::corrupt(name, self.offset as usize + at, "it is cut")),
                Ok(count) => at += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", name, error)),
            }
        }
        if crc32c::crc32c(into) != self.crc {
            return Err(Error::corrupt(name, self.offset as usize, "the checksum is wrong"));
        }
        Ok(())
    }

    /// Gives the space back that they take, as far as that is possible while others are in the same file.
    pub fn discard(&self) {
        // Without it they stay until the file goes.
        let _ = self.file.file.discard(self.offset, self.len);
    }
}

/// A file nobody needs any more.
pub struct Unneeded(Arc<SpillFile>);

impl Unneeded {
    /// Removes it.
    pub fn remove(self, storage: &dyn Storage) -> Result<(), Error> {
        storage.remove(&self.0.name).map_err(|error| Error::io("remove", &self.0.name, error))
    }
}

/// The files.
pub struct SpillFiles {
    storage: Arc<dyn Storage>,
    /// How large one becomes.
    bytes_max: u64,
    /// What is written to, and where that ends.
    current: Option<(Arc<SpillFile>, u64)>,
    /// The files, and of how many bytes each is needed.
    live: Vec<(Arc<SpillFile>, u64)>,
    next: u64,
}

impl Log {
    /// Files for what is spilled, each about as large as a segment. Those of earlier starts are removed.
    pub fn spill_files(&self) -> Result<SpillFiles, Error> {
        let (storage, bytes_max) = self.storage();
        SpillFiles::new(storage, bytes_max)
    }
}

impl SpillFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, bytes_max: u64) -> Result<Self, Error> {
        let files = Self { storage, bytes_max, current: None, live: Vec::new(), next: 1 };
        files.remove_all()?;
        Ok(files)
    }

    /// Removes all files, whoever may need them.
    pub fn remove_all(&self) -> Result<(), Error> {
        let names = self.storage.list().map_err(|error| Error::io("list", "the log directory", error))?;
        for name in names.iter().filter(|name| is_spill(name)) {
            self.storage.remove(name).map_err(|error| Error::io("remove", name, error))?;
        }
        Ok(())
    }

    /// Where they lie.
    pub fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }

    /// Writes bytes. What a failed attempt has left is overwritten by the next one.
    pub fn append(&mut self, bytes: &[u8]) -> Result<Extent, Error> {
        let len = bytes.len() as u64;
        let (file, end) = match &self.current {
            Some((file, end)) if *end < self.bytes_max => (file.clone(), *end),
            Some(_) | None => (self.create()?, 0),
        };
        self.current = Some((file.clone(), end));
        let offset = if len >= WHOLE_PAGES_MIN { end.next_multiple_of(PAGE) } else { end };
        file.file.write_at(bytes, offset).map_err(|error| Error::io("write", &file.name, error))?;
        self.current = Some((file.clone(), offset + len));
        match self.live.iter_mut().find(|(live, _)| Arc::ptr_eq(live, &file)) {
            Some((_, live)) => *live += len,
            None => self.live.push((file.clone(), len)),
        }
        Ok(Extent { file, offset, len, crc: crc32c::crc32c(bytes) })
    }

    fn create(&mut self) -> Result<Arc<SpillFile>, Error> {
        let name = spill_name(self.next);
        let file = self.storage.create(&name).map_err(|error| Error::io("create", &name, error))?;
        self.next += 1;
        Ok(Arc::new(SpillFile { name, file }))
    }

    /// Nobody needs these bytes any more; gives the file if nobody needs that either.
    pub fn release(&mut self, extent: &Extent) -> Option<Unneeded> {
        let place = self.live.iter().position(|(file, _)| Arc::ptr_eq(file, &extent.file))?;
        let (_, bytes) = self.live.get_mut(place)?;
        *bytes -= extent.len;
        if *bytes > 0 {
            return None;
        }
        let (file, _) = self.live.swap_remove(place);
        if self.current.as_ref().is_some_and(|(current, _)| Arc::ptr_eq(current, &file)) {
            self.current = None;
        }
        Some(Unneeded(file))
    }
}
