//! What is running now, to be seen and stopped by threads that do not hold the engine. (Redis: SCRIPT KILL, FUNCTION STATS)

use leveret_engine::keyspace::{Args, ArgsBuf, Error};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Script,
    Function,
}

/// As much of the command as is told. (Redis: SLOWLOG_ENTRY_MAX_ARGC)
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One script or function.
#[derive(Debug, Default, Clone)]
pub(crate) struct Run {
    /// Of the function; the digest of the script.
    pub(crate) name: String,
    /// The command that runs it.
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) since: Option<Instant>,
}

/// The one that runs, if there is one. A run costs no allocation here: what there was before is written over.
#[derive(Default)]
pub(crate) struct Running {
    kind: Mutex<Option<Kind>>,
    name: Mutex<String>,
    command: Mutex<ArgsBuf>,
    since: Mutex<Option<Instant>>,
    /// Libraries and functions that there are.
    libraries_count: AtomicUsize,
    functions_count: AtomicUsize,
    /// It has written, so it cannot be stopped without leaving half of its work.
    pub(super) wrote: AtomicBool,
    /// It is to stop.
    killed: AtomicBool,
}

impl Running {
    pub(super) fn begin(&self, kind: Kind, name: &str, command: Args<'_>) {
        self.killed.store(false, Relaxed);
        self.wrote.store(false, Relaxed);
        let mut kept = self.name.lock();
        kept.clear();
        kept.push_str(name);
        let mut kept = self.command.lock();
        kept.clear();
        for word in command.iter().take(ARGS_MAX) {
            kept.push(word.get(..ARG_BYTES_MAX).unwrap_or(word));
        }
        *self.since.lock() = Some(Instant::now());
        *self.kind.lock() = Some(kind);
    }

    /// True when it was stopped.
    pub(super) fn end(&self) -> bool {
        *self.kind.lock() = None;
        self.killed.swap(false, Relaxed)
    }

    /// What is to stop now.
    pub(super) fn killed_as(&self) -> Option<Kind> {
        if self.killed.load(Relaxed) { *self.kind.lock() } else { None }
    }

    /// What is running.
    pub(crate) fn now(&self) -> Option<Run> {
        let kind = self.kind.lock();
        kind.as_ref()?;
        let command = self.command.lock().as_args().iter().map(<[u8]>::to_vec).collect();
        Some(Run { name: self.name.lock().clone(), command, since: *self.since.lock() })
    }

    /// True when something runs, and has for longer than that.
    pub(crate) fn is_longer_than(&self, limit: Duration) -> bool {
        self.kind.lock().is_some() && self.since.lock().is_some_and(|since| since.elapsed() > limit)
    }

    /// How long it has run.
    pub(super) fn elapsed(&self) -> Duration {
        self.since.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes how many libraries and functions there are.
    pub(crate) fn count(&self, libraries: usize, functions: usize) {
        self.libraries_count.store(libraries, Relaxed);
        self.functions_count.store(functions, Relaxed);
    }

    /// How many there were when they were counted last.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.libraries_count.load(Relaxed), self.functions_count.load(Relaxed))
    }

    /// What others are told while it runs.
    pub(crate) fn busy_text(&self) -> Option<&'static str> {
        self.kind.lock().map(busy_text)
    }

    /// Stops it, if it has not written and is of this kind.
    pub(crate) fn kill(&self, wanted: Kind) -> Result<(), Error> {
        match *self.kind.lock() {
            None => Err(Error::new("NOTBUSY No scripts in execution right now.")),
            Some(kind) if kind != wanted => Err(Error::new(busy_text(kind))),
            Some(_) if self.wrote.load(Relaxed) => Err(Error::new(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            )),
            Some(_) => {
                self.killed.store(true, Relaxed);
                Ok(())
            }
        }
    }
}

fn busy_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Script => {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        }
        Kind::Function => {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
        }
    }
}
