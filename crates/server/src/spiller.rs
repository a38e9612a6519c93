//! What becomes of messages that are let go of though the log does not have them: whoever leaves the engine writes them into files
//! of their own, as it writes the log, and the fetcher reads them there. The spiller thread gives space back, and tries again
//! what could not be written.
//! They take no space that the log may need: what would be left of the disk is asked for before.
//! The trap: what is not written is nowhere but here. So it stays until it is, and meanwhile nothing more is let go of.

use crate::alarms::Alarms;
use crate::shared::Shared;
use leveret_engine::broker::{Spill, SpilledRun};
use leveret_wal::{Error, Extent, SpillFiles, Storage, Unneeded};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at what nobody needs any more.
const PERIOD: Duration = Duration::from_millis(100);
/// So much is written between two looks at how much space there is.
const LOOK_BYTES: u64 = 1024 * 1024;
/// Between two tries to write what could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Where a run is.
#[derive(Clone)]
enum Kept {
    /// It is not written, or could not be.
    Here(Arc<Vec<u8>>),
    There(Extent),
}

/// What is written to.
struct Files {
    files: SpillFiles,
    /// For so much more there was space when it was looked.
    granted: u64,
}

/// Why a run stays here.
#[derive(Debug)]
enum Refused {
    /// The rest of the disk is the log's.
    NoRoom,
    Failed(Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NoRoom => f.write_str("there is little disk space left"),
            Refused::Failed(error) => error.fmt(f),
        }
    }
}

/// The files, and what is known of runs.
pub(crate) struct Spiller {
    spill: Arc<Spill>,
    storage: Arc<dyn Storage>,
    /// Held while something is written.
    files: Mutex<Files>,
    /// Bytes that must be left on the disk.
    spared: Arc<AtomicU64>,
    runs: Mutex<BTreeMap<u64, Kept>>,
    has_failed: AtomicBool,
}

impl Spiller {
    pub(crate) fn new(files: SpillFiles, spill: Arc<Spill>, spared: Arc<AtomicU64>) -> Self {
        Self {
            spill,
            storage: files.storage(),
            files: Mutex::new(Files { files, granted: 0 }),
            spared,
            runs: Mutex::default(),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Writes what was let go of.
    #[inline]
    pub(crate) fn write(&self) {
        if self.spill.has_out() {
            self.write_out(Spill::take_out);
        }
    }

    /// Likewise all of it; whatever was let go of before can be read then.
    fn write_all_out(&self) {
        self.write_out(Spill::take_all_out);
    }

    fn write_out(&self, take: impl FnOnce(&Spill) -> Vec<SpilledRun>) {
        let mut files = self.files.lock();
        let out = take(&self.spill);
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
            tracing::error!(%error, "transient messages stay in memory");
        }
    }

    /// True when so much can be written without taking what is to be left.
    fn has_room(&self, granted: &mut u64, len: u64) -> bool {
        if *granted < len {
            let free = self.storage.free_bytes().unwrap_or(u64::MAX);
            let more = len.max(LOOK_BYTES);
            *granted = if free.saturating_sub(self.spared.load(Ordering::Relaxed)) < more { 0 } else { more };
        }
        *granted >= len
    }

    fn write_runs(&self, to: &mut Files, here: Vec<(u64, Arc<Vec<u8>>)>) -> Result<(), Refused> {
        let Files { files, granted } = to;
        for (number, bytes) in here {
            if !self.has_room(granted, bytes.len() as u64) {
                return Err(Refused::NoRoom);
            }
            *granted -= bytes.len() as u64;
            let extent = files.append(&bytes).map_err(Refused::Failed)?;
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
            self.write_all_out();
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
        self.write_all_out();
        for number in gone {
            let Some(Kept::There(extent)) = self.runs.lock().remove(&number) else { continue };
            extent.discard();
            let unneeded = self.files.lock().files.release(&extent);
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
        if self.write_runs(&mut files, here).is_ok() && self.has_room(&mut files.granted, 1) {
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
        if let Err(error) = self.files.lock().files.remove_all() {
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

#[cfg(test)]
mod tests {
    use super::{Kept, LOOK_BYTES, RunRead, Spiller};
    use leveret_engine::Engine;
    use leveret_engine::broker::{Message, QueueDeclare, Spill, VhostId, Wanted};
    use leveret_wal::faulty::FaultyDisk;
    use leveret_wal::{File, Log, Options, Storage};
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    const COUNT: usize = 100;
    const SPARED: u64 = 50_000_000;

    /// A disk that says how much is free.
    struct Small {
        disk: FaultyDisk,
        free: AtomicU64,
    }

    impl Storage for Small {
        fn list(&self) -> io::Result<Vec<String>> {
            self.disk.list()
        }

        fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
            self.disk.create(name)
        }

        fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
            self.disk.open(name)
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.disk.rename(from, to)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.disk.remove(name)
        }

        fn sync_dir(&self) -> io::Result<()> {
            self.disk.sync_dir()
        }

        fn free_bytes(&self) -> Option<u64> {
            Some(self.free.load(Relaxed))
        }
    }

    /// An engine that spills everything, and what becomes of that.
    fn spilling(disk: &FaultyDisk) -> (Engine, Spiller) {
        spilling_to(Arc::new(disk.clone()))
    }

    fn spilling_to(disk: Arc<dyn Storage>) -> (Engine, Spiller) {
        let mut log = Log::open(disk, Options::default()).expect("an empty disk opens");
        log.replay(&mut |_| Ok(())).expect("an empty disk replays");
        let (mut engine, spill) = (Engine::new(1, 1), Arc::<Spill>::default());
        let session = engine.open_session(0);
        engine.broker.memory_bytes_max = Some(0);
        engine.broker.spill = Some(spill.clone());
        let queue = QueueDeclare {
            name: b"q",
            passive: false,
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: Default::default(),
        };
        engine.on_broker(|txn| txn.queue_declare(VhostId(0), session, &queue)).expect("the name is free");
        let files = log.spill_files().expect("the disk is fine");
        (engine, Spiller::new(files, spill, Arc::new(AtomicU64::new(SPARED))))
    }

    fn publish(engine: &mut Engine) {
        for i in 0..COUNT {
            let message = Message::new(b"", b"q", &[0, 0], &i.to_le_bytes()).expect("it is valid");
            engine.on_broker(|txn| txn.publish(VhostId(0), &Arc::new(message))).expect("the queue is there");
        }
    }

    fn wanted(engine: &mut Engine) -> Vec<Wanted> {
        engine.broker.want_everything();
        engine.broker.take_wanted()
    }

    fn read_all(spiller: &Spiller, wanted: &[Wanted]) -> Result<usize, leveret_wal::Error> {
        let (mut read, mut count) = (RunRead::default(), 0usize);
        for (_, place) in wanted.iter().flat_map(|wanted| &wanted.messages) {
            let run = place.run().expect("the log has nothing");
            let bytes = spiller.read(run, &mut read)?.expect("it is needed");
            let message =
                Message::read(&bytes[place.offset as usize..], *place).expect("a message lies there");
            assert_eq!(message.body(), count.to_le_bytes());
            count += 1;
        }
        Ok(count)
    }

    fn spill_files(disk: &FaultyDisk) -> Vec<String> {
        let names = disk.list().expect("the disk is fine");
        names.into_iter().filter(|name| name.ends_with(".spill")).collect()
    }

    #[test]
    fn what_is_spilled_is_read_and_its_file_goes_with_it() {
        let disk = FaultyDisk::new(1);
        let (mut engine, spiller) = spilling(&disk);
        publish(&mut engine);
        let wanted = wanted(&mut engine);
        assert_eq!(read_all(&spiller, &wanted).expect("the disk is fine"), COUNT);
        assert_eq!(spill_files(&disk).len(), 1);
        spiller.reclaim();
        assert_eq!(spill_files(&disk).len(), 1, "somebody needs it");
        let purged = engine.on_broker(|txn| txn.queue_purge(VhostId(0), 1, b"q"));
        assert_eq!(purged.expect("the queue is there"), COUNT);
        drop(engine.take_garbage());
        spiller.reclaim();
        assert!(spill_files(&disk).is_empty() && spiller.runs.lock().is_empty());
        // The next start removes what is left by a kill.
        publish(&mut engine);
        spiller.write();
        assert_eq!(spill_files(&disk).len(), 1);
        spilling(&disk);
        assert!(spill_files(&disk).is_empty());
    }

    #[test]
    fn on_a_full_disk_messages_stay_in_memory() {
        let disk = FaultyDisk::new(1);
        let (mut engine, spiller) = spilling(&disk);
        disk.full_after(1000);
        publish(&mut engine);
        spiller.write();
        assert!(spiller.has_failed());
        // What was on its way can be read, what comes now is let go of by nobody.
        let before = wanted(&mut engine);
        assert_eq!(read_all(&spiller, &before).expect("it is here"), COUNT);
        publish(&mut engine);
        assert!(!spiller.spill.has_out() && wanted(&mut engine).is_empty());
        spiller.try_again();
        assert!(spiller.has_failed());
        disk.free_space();
        spiller.try_again();
        assert!(!spiller.has_failed());
        assert_eq!(read_all(&spiller, &before).expect("the disk is fine"), COUNT);
        assert_eq!(spill_files(&disk).len(), 1);
    }

    #[test]
    fn what_the_log_may_need_is_not_taken() {
        let small = Arc::new(Small { disk: FaultyDisk::new(1), free: AtomicU64::new(SPARED + LOOK_BYTES) });
        let (mut engine, spiller) = spilling_to(small.clone());
        publish(&mut engine);
        let first = wanted(&mut engine);
        assert_eq!(read_all(&spiller, &first).expect("there is room"), COUNT);
        assert_eq!(spill_files(&small.disk).len(), 1);
        let written = |spiller: &Spiller| {
            spiller.runs.lock().values().filter(|kept| matches!(kept, Kept::There(_))).count()
        };
        let before = written(&spiller);
        // Nobody has raised an alarm when the last of it is used up.
        small.free.store(SPARED + LOOK_BYTES - 1, Relaxed);
        spiller.files.lock().granted = 0;
        publish(&mut engine);
        spiller.write_all_out();
        assert!(spiller.has_failed() && !spiller.spill.has_out());
        publish(&mut engine);
        spiller.write_all_out();
        spiller.try_again();
        assert!(spiller.has_failed());
        assert_eq!(written(&spiller), before);
        small.free.store(SPARED + LOOK_BYTES, Relaxed);
        spiller.try_again();
        assert!(!spiller.has_failed() && written(&spiller) > before);
    }

    #[test]
    fn damage_is_noticed() {
        let disk = FaultyDisk::new(1);
        let (mut engine, spiller) = spilling(&disk);
        publish(&mut engine);
        let wanted = wanted(&mut engine);
        spiller.write();
        let name = spill_files(&disk).pop().expect("it is written");
        let file = disk.open(&name).expect("it is there");
        file.write_at(b"?", 3).expect("the disk is fine");
        let error = read_all(&spiller, &wanted).expect_err("a byte is wrong").to_string();
        assert_eq!(error, format!("{name} is damaged at byte 0: the checksum is wrong"));
    }
}
