//! What is running now, to be seen and stopped by threads that do not hold the engine. (Redis: SCRIPT KILL, FUNCTION STATS)

use leveret_engine::keyspace::{Args, ArgsBuf, Error};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
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
    /// One of the stages below. One place for both, so that what is killed has not written and does not.
    stage: AtomicU8,
    /// The server stops: what has not written is killed when it is asked next.
    ending: AtomicBool,
}

/// It may be stopped.
const FRESH: u8 = 0;
/// It has written, so it cannot be stopped without leaving half of its work.
const WROTE: u8 = 1;
/// It is to stop.
const KILLED: u8 = 2;

impl Running {
    pub(super) fn begin(&self, kind: Kind, name: &str, command: Args<'_>) {
        self.stage.store(FRESH, Relaxed);
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
        self.stage.swap(FRESH, Relaxed) == KILLED
    }

    /// What is to stop now.
    pub(super) fn killed_as(&self) -> Option<Kind> {
        let stage = if self.is_ending() { self.leave_fresh_for(KILLED) } else { self.stage.load(Relaxed) };
        if stage == KILLED { *self.kind.lock() } else { None }
    }

    /// Asked before each write: false when it is too late for one.
    pub(super) fn may_write(&self) -> bool {
        self.leave_fresh_for(WROTE) == WROTE
    }

    /// The stage that it is in then.
    fn leave_fresh_for(&self, stage: u8) -> u8 {
        match self.stage.compare_exchange(FRESH, stage, Relaxed, Relaxed) {
            Ok(_) => stage,
            Err(other) => other,
        }
    }

    /// From now on everything is killed that has not written.
    pub(crate) fn end_all(&self) {
        self.ending.store(true, Relaxed);
    }

    /// True when everything is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
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
            Some(_) if self.leave_fresh_for(KILLED) == WROTE => Err(Error::new(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            )),
            Some(_) => Ok(()),
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

#[cfg(test)]
mod tests {
    //! Killed or written, never both.
    use super::{Kind, Running};
    use leveret_engine::keyspace::ArgsBuf;

    fn begin(running: &Running) {
        running.begin(Kind::Script, "name", ArgsBuf::default().as_args());
    }

    #[test]
    fn what_is_killed_does_not_write_and_what_has_written_is_not_killed() {
        let running = Running::default();
        begin(&running);
        assert!(running.kill(Kind::Function).is_err(), "it is no function");
        assert!(running.kill(Kind::Script).is_ok());
        assert!(!running.may_write() && running.killed_as() == Some(Kind::Script));
        assert!(running.end());
        begin(&running);
        assert!(running.may_write() && running.may_write(), "as often as it wants");
        assert!(running.kill(Kind::Script).is_err_and(|why| why.to_string().starts_with("UNKILLABLE")));
        running.end_all();
        assert_eq!(running.killed_as(), None);
        assert!(!running.end());
        begin(&running);
        assert_eq!(running.killed_as(), Some(Kind::Script), "it has not written, and all are to end");
        assert!(!running.may_write());
    }
}
