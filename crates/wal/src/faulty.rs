//! A disk in memory that does what disks do when the power goes: it forgets, tears and reorders what was not synced;
//! and that fails when it is told to. For tests, of other crates too.

use crate::{File, Storage};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Writes are torn at multiples of this.
const SECTOR: usize = 512;

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    /// What the directory would say after a power cut.
    durable_names: BTreeMap<String, usize>,
    files: Vec<Content>,
    operations: u64,
    fail_at: Option<(u64, Fault)>,
    room: Option<usize>,
}

#[derive(Default, Clone)]
struct Content {
    durable: Vec<u8>,
    live: Vec<u8>,
    /// Offset and bytes, or a new length.
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next write: EIO.
    Write,
    /// The next sync: EIO.
    Sync,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

struct FaultyFile {
    state: Arc<Mutex<State>>,
    index: usize,
}

impl FaultyDisk {
    /// The n-th write or sync from now on fails, if it is of that kind or the next of that kind after it.
    pub fn fail_after(&self, operations: u64, fault: Fault) {
        let mut state = self.state.lock();
        state.fail_at = Some((state.operations + operations, fault));
    }

    /// Only so many bytes fit from now on: ENOSPC.
    pub fn set_room(&self, bytes: usize) {
        self.state.lock().room = Some(bytes);
    }

    /// The power goes: every unsynced write is kept, lost or torn, as the seed decides. Gives the disk as the next
    /// start finds it.
    pub fn crash(&self, seed: u64) -> FaultyDisk {
        let mut rng = fastrand::Rng::with_seed(seed);
        let state = self.state.lock();
        let mut files = state.files.clone();
        for file in &mut files {
            let mut after = file.durable.clone();
            let keep = rng.u8(..4);
            for pending in &file.pending {
                let kept = match keep {
                    0 => false,
                    1 => true,
                    _ => rng.bool(),
                };
                match pending {
                    Pending::Length(len) if kept => after.resize(*len, 0),
                    Pending::Write(offset, bytes) if kept => {
                        let len = if rng.u8(..4) == 0 { rng.usize(..=bytes.len() / SECTOR) * SECTOR } else { bytes.len() };
                        patch(&mut after, *offset, bytes.get(..len).unwrap_or(bytes));
                    }
                    Pending::Length(_) | Pending::Write(..) => {}
                }
            }
            *file = Content { durable: after.clone(), live: after, pending: Vec::new() };
        }
        let names = if rng.bool() { state.durable_names.clone() } else { state.names.clone() };
        let new = State { durable_names: names.clone(), names, files, ..State::default() };
        FaultyDisk { state: Arc::new(Mutex::new(new)) }
    }

    /// The process is killed, the machine goes on: everything written is there.
    pub fn kill(&self) -> FaultyDisk {
        let state = self.state.lock();
        let new = State { names: state.names.clone(), durable_names: state.durable_names.clone(), files: state.files.clone(), ..State::default() };
        FaultyDisk { state: Arc::new(Mutex::new(new)) }
    }

    /// The content of a file, to look at or to damage.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(name).and_then(|&i| state.files.get(i)).map(|file| file.live.clone())
    }

    /// Replaces a file's content, durably.
    pub fn set_content(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state.lock();
        let index = state.files.len();
        state.files.push(Content { durable: bytes.to_vec(), live: bytes.to_vec(), pending: Vec::new() });
        state.names.insert(name.into(), index);
        state.durable_names.insert(name.into(), index);
    }
}

fn patch(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl State {
    fn operation(&mut self, fault: Fault) -> io::Result<()> {
        self.operations += 1;
        match self.fail_at {
            Some((at, kind)) if kind == fault && self.operations >= at => {
                self.fail_at = None;
                Err(io::Error::from_raw_os_error(5))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Storage for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let index = state.files.len();
        state.files.push(Content::default());
        state.names.insert(name.into(), index);
        Ok(Arc::new(FaultyFile { state: self.state.clone(), index }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let index = *self.state.lock().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { state: self.state.clone(), index }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let index = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), index);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state.lock().names.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation(Fault::Sync)?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl File for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation(Fault::Write)?;
        if let Some(room) = &mut state.room {
            *room = room.checked_sub(bytes.len()).ok_or(io::Error::from_raw_os_error(28))?;
        }
        let file = &mut state.files[self.index];
        patch(&mut file.live, offset as usize, bytes);
        file.pending.push(Pending::Write(offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn read_all(&self, into: &mut Vec<u8>) -> io::Result<()> {
        into.extend_from_slice(&self.state.lock().files[self.index].live);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation(Fault::Sync)?;
        let file = &mut state.files[self.index];
        file.durable = file.live.clone();
        file.pending.clear();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = &mut state.files[self.index];
        file.live.resize(len as usize, 0);
        file.pending.push(Pending::Length(len as usize));
        Ok(())
    }
}
