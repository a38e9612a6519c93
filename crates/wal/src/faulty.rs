//! A disk in memory that fails as disks do: unsynced writes are lost, torn or come in another order at a crash, writes
//! and syncs err, space ends, reads are short. Everything follows from a seed.

use crate::kept::{Archived, Kept};
use crate::storage::{File, Storage};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const SECTOR: usize = 512;

enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Default)]
struct Content {
    /// What a reader sees.
    now: Vec<u8>,
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    /// What it may leave or not.
    pending: Vec<Change>,
}

fn put(into: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    if into.len() < offset + bytes.len() {
        into.resize(offset + bytes.len(), 0);
    }
    into[offset..offset + bytes.len()].copy_from_slice(bytes);
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Default)]
struct Faults {
    writes_left: Option<u64>,
    syncs_left: Option<u64>,
    space_left: Option<u64>,
    short_reads: bool,
}

struct Inner {
    names: Names,
    durable: Names,
    /// The directory after each change since its last sync.
    pending: Vec<Names>,
    faults: Faults,
    /// What somebody keeps.
    kept: (bool, Option<Archived>),
    random: fastrand::Rng,
    /// So many bytes were read.
    read: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<Mutex<Inner>>,
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> Self {
        Self::with(Names::new(), fastrand::Rng::with_seed(seed))
    }

    fn with(names: Names, random: fastrand::Rng) -> Self {
        let durable = names.clone();
        let (faults, kept) = (Faults::default(), (false, None));
        let inner = Inner { names, durable, pending: Vec::new(), faults, kept, random, read: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// After `n` more writes every write fails with EIO.
    pub fn fail_writes_after(&self, n: u64) {
        self.inner.lock().faults.writes_left = Some(n);
    }

    /// After `n` more syncs every sync fails with EIO, and what it should have synced stays in doubt.
    pub fn fail_syncs_after(&self, n: u64) {
        self.inner.lock().faults.syncs_left = Some(n);
    }

    /// The disk takes `n` more written bytes, then ENOSPC.
    pub fn full_after(&self, n: u64) {
        self.inner.lock().faults.space_left = Some(n);
    }

    /// There is space again.
    pub fn free_space(&self) {
        self.inner.lock().faults.space_left = None;
    }

    /// Somebody reads and nothing may be removed; segments wait for an archive.
    pub fn keep(&self, all: bool, archived: Option<Archived>) {
        self.inner.lock().kept = (all, archived);
    }

    /// Reads give less than asked for.
    pub fn short_reads(&self) {
        self.inner.lock().faults.short_reads = true;
    }

    /// How many bytes were read.
    pub fn bytes_read(&self) -> u64 {
        self.inner.lock().read
    }

    /// The bytes of a file, as a reader sees them.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.inner.lock().names.get(name)?.lock().now.clone())
    }

    /// Puts a file there, durably.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let content = Content { now: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
        let mut inner = self.inner.lock();
        let content = Arc::new(Mutex::new(content));
        inner.names.insert(name.to_owned(), Arc::clone(&content));
        inner.durable.insert(name.to_owned(), content);
    }

    /// What a reboot would find: of the directory some of its latest changes in order, of each file any of its unsynced
    /// writes, whole or by sector. The old disk stays as it is; the new one has no faults set.
    pub fn crash(&self) -> FaultyDisk {
        let mut inner = self.inner.lock();
        let mut random = inner.random.fork();
        let kept = random.usize(..=inner.pending.len());
        let names = kept.checked_sub(1).and_then(|i| inner.pending.get(i)).unwrap_or(&inner.durable);
        let found = names.iter().map(|(name, content)| {
            let now = content.lock().after_crash(&mut random);
            let content = Content { durable: now.clone(), now, pending: Vec::new() };
            (name.clone(), Arc::new(Mutex::new(content)))
        });
        Self::with(found.collect(), random)
    }
}

impl Content {
    fn after_crash(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut found = self.durable.clone();
        // One crash loses most, another little: both must be seen often.
        let keep = [0.0, 0.5, 0.9, 1.0][random.usize(..4)];
        for change in &self.pending {
            match change {
                Change::SetLen(len) => {
                    if random.f64() < keep {
                        found.resize(*len, 0);
                    }
                }
                Change::Write(offset, bytes) => {
                    let torn = random.u8(..4) == 0;
                    if !torn && random.f64() >= keep {
                        continue;
                    }
                    for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                        if !torn {
                            put(&mut found, sector, offset + i * SECTOR);
                        } else if random.f64() < keep {
                            let len =
                                if random.bool() { sector.len() } else { random.usize(..=sector.len()) };
                            put(&mut found, &sector[..len], offset + i * SECTOR);
                        }
                    }
                }
            }
        }
        found
    }
}

struct FaultyFile {
    disk: Arc<Mutex<Inner>>,
    content: Arc<Mutex<Content>>,
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} does not exist"))
}

impl Inner {
    /// The directory has changed.
    fn changed(&mut self) {
        self.pending.push(self.names.clone());
    }

    fn sync_may_fail(&mut self) -> io::Result<()> {
        match &mut self.faults.syncs_left {
            Some(0) => Err(eio()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Storage for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut inner = self.inner.lock();
        let content = Arc::new(Mutex::new(Content::default()));
        inner.names.insert(name.to_owned(), Arc::clone(&content));
        inner.changed();
        Ok(Arc::new(FaultyFile { disk: Arc::clone(&self.inner), content }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let content = self.inner.lock().names.get(name).cloned().ok_or_else(|| missing(name))?;
        Ok(Arc::new(FaultyFile { disk: Arc::clone(&self.inner), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let content = inner.names.remove(from).ok_or_else(|| missing(from))?;
        inner.names.insert(to.to_owned(), content);
        inner.changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.names.remove(name).ok_or_else(|| missing(name))?;
        inner.changed();
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.sync_may_fail()?;
        inner.durable = inner.names.clone();
        inner.pending.clear();
        Ok(())
    }

    fn kept(&self) -> io::Result<Kept> {
        let (all, archived) = self.inner.lock().kept.clone();
        Ok(Kept::new(all, archived))
    }
}

impl File for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match &mut disk.faults.writes_left {
            Some(0) => return Err(eio()),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut taken = bytes;
        if let Some(left) = &mut disk.faults.space_left {
            taken = &bytes[..bytes.len().min(*left as usize)];
            *left -= taken.len() as u64;
        }
        let mut content = self.content.lock();
        put(&mut content.now, taken, offset as usize);
        content.pending.push(Change::Write(offset as usize, taken.to_vec()));
        if taken.len() < bytes.len() { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let content = self.content.lock();
        let rest = content.now.get(offset as usize..).unwrap_or_default();
        let mut len = into.len().min(rest.len());
        if disk.faults.short_reads && len > 1 {
            len = disk.random.usize(1..=len);
        }
        into[..len].copy_from_slice(&rest[..len]);
        disk.read += len as u64;
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().now.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.lock().sync_may_fail()?;
        let mut content = self.content.lock();
        content.durable = content.now.clone();
        content.pending.clear();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        content.now.resize(len as usize, 0);
        content.pending.push(Change::SetLen(len as usize));
        Ok(())
    }
}
