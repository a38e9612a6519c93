//! What becomes of messages that are let go of though the log does not have them: whoever leaves the engine writes them into files
//! of their own, as it writes the log, and the fetcher reads them there. The spiller thread gives space back, and tries again
//! what could not be written.
//! The trap: what is not written is nowhere but here. So it stays until it is, and meanwhile nothing more is let go of.

use crate::alarms::Alarms;
use crate::shared::Shared;
use leveret_engine::broker::{Spill, SpilledRun};
use leveret_wal::{Error, Extent, SpillFiles, Storage, Unneeded};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at what nobody needs any more.
const PERIOD: Duration = Duration::from_millis(100);
/// Between two tries to write what could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Where a run is.
#[derive(Clone)]
enum Kept {
    /// It is not written, or could not be.
    Here(Arc<Vec<u8>>),
    There(Extent),
}

/// The files, and what is known of runs.
pub(crate) struct Spiller {
    spill: Arc<Spill>,
    storage: Arc<dyn Storage>,
    /// Held while something is written.
    files: Mutex<SpillFiles>,
    runs: Mutex<BTreeMap<u64, Kept>>,
    has_failed: AtomicBool,
}

impl Spiller {
    pub(crate) fn new(files: SpillFiles, spill: Arc<Spill>) -> Self {
        let (storage, files, runs) = (files.storage(), Mutex::new(files), Mutex::default());
        Self { spill, storage, files, runs, has_failed: AtomicBool::new(false) }
    }

    /// Writes what was let go of.
    #[inline]
    pub(crate) fn write(&self) {
        if self.spill.has_out() {
            self.write_out();
        }
    }

    /// Likewise; whatever was let go of before can be read then.
    fn write_out(&self) {
        let mut files = self.files.lock();
        let out = self.spill.take_out();
        if out.is_empty() {
            return;
        }
        let here = out.into_iter().map(|SpilledRun { number, bytes }| (number, Arc::new(bytes)));
        let here: Vec<_> = here.collect();
        self.runs.lock().extend(here.iter().map(|(number, bytes)| (*number, Kept::Here(bytes.clone()))));
        if !self.has_failed.load(Ordering::Relaxed)
            && let Err(error) = self.write_runs(&mut files, here)
        {
            self.has_failed.store(true, Ordering::Relaxed);
            self.spill.set_closed(true);
            tracing::error!(%error, "transient messages stay in memory: they cannot be written");
        }
    }

    fn write_runs(&self, files: &mut SpillFiles, here: Vec<(u64, Arc<Vec<u8>>)>) -> Result<(), Error> {
        for (number, bytes) in here {
            let extent = files.append(&bytes)?;
            let mut runs = self.runs.lock();
            match runs.get_mut(&number) {
                Some(kept) => *kept = Kept::There(extent),
                // It is not needed any more.
                None => {
                    drop(runs);
                    self.remove(files.release(&extent));
                }
            }
        }
        Ok(())
    }

    /// Reads a run that was let go of before; `None` when nobody needs it any more.
    pub(crate) fn read<'a>(&self, number: u64, into: &'a mut RunRead) -> Result<Option<&'a [u8]>, Error> {
        if into.number != Some(number) {
            self.write_out();
            let Some(kept) = self.runs.lock().get(&number).cloned() else { return Ok(None) };
            into.number = None;
            match kept {
                Kept::Here(bytes) => into.bytes.clone_from(&bytes),
                Kept::There(extent) => match extent.read(&mut into.bytes) {
                    Ok(()) => {}
                    // It may have been given back meanwhile.
                    Err(_) if !self.runs.lock().contains_key(&number) => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
            into.number = Some(number);
        }
        Ok(Some(&into.bytes))
    }

    /// Gives back what nobody needs any more.
    pub(crate) fn reclaim(&self) {
        let gone = self.spill.take_gone();
        if gone.is_empty() {
            return;
        }
        // What is not in the table yet would come there afterwards.
        self.write_out();
        for number in gone {
            let Some(Kept::There(extent)) = self.runs.lock().remove(&number) else { continue };
            extent.discard();
            let unneeded = self.files.lock().release(&extent);
            self.remove(unneeded);
        }
    }

    fn remove(&self, unneeded: Option<Unneeded>) {
        if let Some(Err(error)) = unneeded.map(|file| file.remove(&*self.storage)) {
            tracing::warn!(%error, "a file of messages that have left stays");
        }
    }

    /// Tries to write what could not be written.
    pub(crate) fn try_again(&self) {
        let mut files = self.files.lock();
        let runs = self.runs.lock();
        let here = runs.iter().filter_map(|(number, kept)| match kept {
            Kept::Here(bytes) => Some((*number, bytes.clone())),
            Kept::There(_) => None,
        });
        let here: Vec<_> = here.collect();
        drop(runs);
        if self.write_runs(&mut files, here).is_ok() {
            self.has_failed.store(false, Ordering::Relaxed);
            tracing::info!("transient messages can be written again");
        }
    }

    /// Whether more may be let go of. What is left of a disk is the log's.
    pub(crate) fn open_or_close(&self, alarms: &Alarms) {
        self.spill.set_closed(self.has_failed() || alarms.has_disk());
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// The end: no file is needed any more.
    fn remove_all(&self) {
        if let Err(error) = self.files.lock().remove_all() {
            tracing::warn!(%error, "files of transient messages stay until the next start");
        }
    }
}

/// The run that was read last.
#[derive(Default)]
pub(crate) struct RunRead {
    number: Option<u64>,
    bytes: Vec<u8>,
}

/// The spiller thread.
pub(crate) fn run(shared: &Shared) {
    let (spiller, mut tried) = (&shared.spiller, Instant::now());
    while !shared.is_stopping() {
        std::thread::park_timeout(PERIOD);
        if spiller.has_failed() && tried.elapsed() >= RETRY {
            spiller.try_again();
            tried = Instant::now();
        }
        spiller.open_or_close(&shared.settings.alarms);
        spiller.reclaim();
    }
    spiller.remove_all();
}
