//! The threads that serve the event loops: one more than there are loops. The one without a loop stands by and syncs once a
//! second, or when somebody asks. Whoever's loop has answers that wait for the disk gives the loop away to that one and syncs
//! itself; then it sends them, and it is the one that stands by. So whoever waits for the disk waits for no other thread, unless
//! that is syncing already, and a disk that hangs keeps nobody else waiting.
//! The trap: a loop that is given away must not be without a thread, whatever happens meanwhile.

use crate::io_loop::{IoLoop, wait};
use crate::log::{FULL_PERIOD, Flusher, WATCH_PERIOD};
use crate::shared::Shared;
use leveret_wal::Syncer;
use mio::{Events, Poll};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the thread that stands by is to do.
#[derive(Default)]
pub(crate) struct Duty {
    asked: Mutex<Asked>,
    signal: Condvar,
}

#[derive(Default)]
struct Asked {
    /// Somebody waits for a sync.
    sync: bool,
    /// A loop that has no thread.
    event_loop: Option<usize>,
    /// It waits for something to do.
    stands_by: bool,
}

/// What has come of a wait.
enum Next {
    /// Nothing for a while, or a sync, if it is wanted.
    Flush { wanted: bool },
    /// A loop is to be served.
    Serve(usize),
    /// The server stops.
    Stop,
}

impl Duty {
    /// Somebody waits for a sync.
    pub(crate) fn want_sync(&self) {
        let mut asked = self.asked.lock();
        asked.sync = true;
        if asked.stands_by {
            self.signal.notify_one();
        }
    }

    /// Has somebody asked for a sync since?
    pub(crate) fn take_wanted(&self) -> bool {
        std::mem::take(&mut self.asked.lock().sync)
    }

    /// Gives a loop away, if somebody is there to take it.
    fn give_away(&self, index: usize) -> bool {
        let mut asked = self.asked.lock();
        let is_taken = std::mem::take(&mut asked.stands_by);
        if is_taken {
            debug_assert!(
                asked.event_loop.is_none(),
                "whoever stands by has taken what was given away before"
            );
            asked.event_loop = Some(index);
        }
        is_taken
    }

    /// Waits for so long; while the disk is full those who wait want a sync all the time.
    fn wait(&self, shared: &Shared) -> Next {
        let is_full = shared.settings.alarms.is_full();
        let mut asked = self.asked.lock();
        // What it has given away may not have been taken yet: then it takes it back.
        if asked.event_loop.is_none() && !shared.is_stopping() && (is_full || !asked.sync) {
            asked.stands_by = true;
            self.signal.wait_for(&mut asked, if is_full { FULL_PERIOD } else { WATCH_PERIOD });
            asked.stands_by = false;
        }
        match asked.event_loop.take() {
            Some(index) => Next::Serve(index),
            None if shared.is_stopping() => Next::Stop,
            None => Next::Flush { wanted: std::mem::take(&mut asked.sync) },
        }
    }
}

/// An event loop: whoever serves it has its `poll`, and for each turn all of it.
struct Station {
    poll: Mutex<Poll>,
    event_loop: Mutex<IoLoop>,
}

/// What the threads share.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    syncer: Syncer,
    flusher: Mutex<Flusher>,
    stations: Vec<Station>,
}

impl Crew {
    /// With a loop for each of these.
    pub(crate) fn new(shared: &Arc<Shared>, syncer: Syncer, polls: Vec<Poll>) -> std::io::Result<Self> {
        let station = |(index, poll): (usize, Poll)| {
            let event_loop = Mutex::new(IoLoop::new(shared.clone(), index, &poll)?);
            Ok(Station { poll: Mutex::new(poll), event_loop })
        };
        let stations = polls.into_iter().enumerate().map(station).collect::<std::io::Result<_>>()?;
        let flusher = Mutex::new(Flusher::new(Instant::now()));
        Ok(Self { shared: shared.clone(), syncer, flusher, stations })
    }

    /// A thread, which begins with a loop or stands by.
    pub(crate) fn work(&self, mut event_loop: Option<usize>) {
        loop {
            if let Some(index) = event_loop
                && !self.serve(index)
            {
                return;
            }
            event_loop = self.flush(event_loop);
            if event_loop.is_none() {
                return;
            }
        }
    }

    /// Turns a loop until it has been given away; false when the server stops.
    fn serve(&self, index: usize) -> bool {
        let Some(station) = self.stations.get(index) else { return false };
        let (mut poll, mut events) = (station.poll.lock(), Events::with_capacity(1024));
        // Whoever gave it away has left this to be done.
        let mut event_loop = station.event_loop.lock();
        event_loop.answer_all();
        loop {
            let timeout = event_loop.timeout();
            drop(event_loop);
            if !wait(&mut poll, &mut events, timeout) {
                return false;
            }
            event_loop = station.event_loop.lock();
            let goes_on = event_loop.take_in(&mut poll, &events);
            if event_loop.wants_sync() {
                let may_lead = goes_on && event_loop.holds() && self.shared.is_behind();
                if may_lead && !self.shared.settings.alarms.is_full() && self.shared.duty.give_away(index) {
                    drop((event_loop, poll));
                    self.shared.duty.signal.notify_one();
                    return true;
                }
                self.shared.want_sync();
            }
            event_loop.answer_all();
            if !goes_on {
                event_loop.take_leave(&mut poll);
                return false;
            }
        }
    }

    /// Syncs when somebody waits, else once a second, until there is a loop to be served. Whoever has given one away syncs
    /// for that first. `None` when the server stops.
    fn flush(&self, mut given_away: Option<usize>) -> Option<usize> {
        let shared = &*self.shared;
        let mut wanted = given_away.is_some();
        loop {
            if !wanted || shared.settings.alarms.is_full() {
                given_away = None;
                wanted = match shared.duty.wait(shared) {
                    Next::Flush { wanted: by_others } => wanted || by_others,
                    Next::Serve(index) => return Some(index),
                    Next::Stop => return None,
                };
            }
            self.flusher.lock().step(shared, &self.syncer, wanted, Instant::now(), given_away);
            if let Some(index) = given_away {
                self.answer(index);
            }
            wanted = shared.duty.take_wanted();
        }
    }

    /// Sends what has waited for the sync, unless another thread is at it, or somebody waits for the next one.
    fn answer(&self, index: usize) {
        let Some((station, mailbox)) = self.stations.get(index).zip(self.shared.mailboxes.get(index)) else {
            return;
        };
        match station.event_loop.try_lock().filter(|_| !self.shared.is_behind()) {
            Some(mut event_loop) => {
                event_loop.answer_all();
                if event_loop.timeout() == Some(Duration::ZERO) {
                    mailbox.wake();
                }
            }
            None => mailbox.synced(),
        }
    }
}
