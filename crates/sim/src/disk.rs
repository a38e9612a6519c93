//! The disk of a simulated server: the log's own faulty disk, on which the power goes or errors begin at an operation that
//! the seed has chosen, and whose syncs take time in which others go on.

use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{File, Storage};
use std::cell::RefCell;
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a server is thrown out with when the power goes.
pub(crate) struct PowerCut;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The operation is done by part or not at all, and nothing comes after it.
    Power,
    /// It fails, and so do all that come after it.
    Error,
}

struct State {
    /// Operations before it happens.
    left: Option<u64>,
    fate: Fate,
    rng: fastrand::Rng,
    /// The largest write into a checkpoint since somebody asked.
    checkpoint_write: usize,
}

/// A disk. Clones are the same one.
#[derive(Clone)]
pub(crate) struct SimDisk {
    pub(crate) inner: FaultyDisk,
    state: Arc<Mutex<State>>,
}

thread_local! {
    /// What others do while a sync takes its time.
    static MEANWHILE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Sets what others do while a sync takes its time.
pub(crate) fn set_meanwhile(run: Option<Rc<dyn Fn()>>) {
    MEANWHILE.set(run);
}

fn meanwhile() {
    let run = MEANWHILE.with_borrow(Clone::clone);
    if let Some(run) = run {
        run();
    }
}

impl SimDisk {
    pub(crate) fn new(inner: FaultyDisk, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let state = State { left: None, fate: Fate::Power, rng, checkpoint_write: 0 };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// After so many operations it happens.
    pub(crate) fn set_fate(&self, left: Option<u64>, fate: Fate) {
        let mut state = self.state();
        (state.left, state.fate) = (left, fate);
    }

    /// The largest write into a checkpoint since the last call.
    pub(crate) fn take_checkpoint_write(&self) -> usize {
        std::mem::take(&mut self.state().checkpoint_write)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation: has the time come?
    fn is_due(&self) -> Option<Fate> {
        let mut state = self.state();
        match &mut state.left {
            None => None,
            Some(0) => Some(state.fate),
            Some(left) => {
                *left -= 1;
                None
            }
        }
    }

    /// An operation that is done as a whole or not at all.
    fn whole<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.is_due() {
            None => run(),
            Some(Fate::Error) => Err(io::Error::from_raw_os_error(5)),
            Some(Fate::Power) => {
                if self.state().rng.bool() {
                    // Nobody is told.
                    drop(run());
                }
                resume_unwind(Box::new(PowerCut))
            }
        }
    }
}

impl Storage for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.whole(|| self.inner.create(name)).map(|file| self.file(name, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.inner.open(name).map(|file| self.file(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.whole(|| self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.whole(|| self.inner.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.whole(|| self.inner.sync_dir())?;
        meanwhile();
        Ok(())
    }
}

impl SimDisk {
    fn file(&self, name: &str, inner: Arc<dyn File>) -> Arc<dyn File> {
        let is_checkpoint = name.starts_with("checkpoint");
        Arc::new(SimFile { disk: self.clone(), inner, is_checkpoint })
    }
}

struct SimFile {
    disk: SimDisk,
    inner: Arc<dyn File>,
    is_checkpoint: bool,
}

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.is_checkpoint {
            let mut state = self.disk.state();
            state.checkpoint_write = state.checkpoint_write.max(bytes.len());
        }
        match self.disk.is_due() {
            None => self.inner.write_at(bytes, offset),
            Some(Fate::Error) => Err(io::Error::from_raw_os_error(5)),
            Some(Fate::Power) => {
                let len = self.disk.state().rng.usize(..=bytes.len());
                // Nobody is told.
                let _ = self.inner.write_at(&bytes[..len], offset);
                resume_unwind(Box::new(PowerCut))
            }
        }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(into, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.whole(|| self.inner.sync_data())?;
        // What is written from here on is not in it, though it is not through for who waits for it.
        meanwhile();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.whole(|| self.inner.set_len(len))
    }
}
