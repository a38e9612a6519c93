//! Messages that are let go of though the log does not have them: transient ones, of which there is too much. Those of a block
//! go together, as a run of bytes that somebody else writes down and reads; here is only what is on its way to them, and what
//! nobody needs any more. The trap: a run lives as long as one entry is in it, wherever that entry is.

use crate::Message;
use crate::change::Change;
use leveret_base::codec::{Changes, Place};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes of some messages, one behind the other, and the number they have together.
pub struct SpilledRun {
    /// Its number, which no other one has ever had.
    pub number: u64,
    /// The messages, as [`Message::read`] reads them.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// What is to be written.
    out: Vec<SpilledRun>,
    /// What nobody needs any more.
    gone: Vec<u64>,
    /// What is not enough to be written: messages that came one by one.
    open: Option<Open>,
    /// What somebody needs.
    live: HashMap<u64, Weak<Run>, foldhash::fast::FixedState>,
}

struct Open {
    run: Weak<Run>,
    number: u64,
    bytes: Vec<u8>,
}

impl State {
    fn close(&mut self) {
        if let Some(Open { number, bytes, .. }) = self.open.take() {
            self.out.push(SpilledRun { number, bytes });
        }
    }
}

/// Messages that come one by one are written when they have so many bytes together.
const OPEN_BYTES: usize = 64 * 1024;

/// Between the broker and those who write down what it spills. Without one, transient messages stay in memory.
#[derive(Default)]
pub struct Spill {
    last: AtomicU64,
    has_out: AtomicBool,
    is_closed: AtomicBool,
    state: Mutex<State>,
}

impl Spill {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when there is something to be written.
    #[inline]
    pub fn has_out(&self) -> bool {
        self.has_out.load(Ordering::Acquire)
    }

    /// What is to be written.
    pub fn take_out(&self) -> Vec<SpilledRun> {
        let mut state = self.state();
        self.has_out.store(false, Ordering::Release);
        std::mem::take(&mut state.out)
    }

    /// Likewise with what is not enough to be written: before anybody reads what is asked for.
    pub fn take_all_out(&self) -> Vec<SpilledRun> {
        let mut state = self.state();
        state.close();
        self.has_out.store(false, Ordering::Release);
        std::mem::take(&mut state.out)
    }

    /// Numbers of runs that nobody will read. One that was not taken out is among them, too.
    pub fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().gone)
    }

    /// For a while nothing can be written, or it can be again.
    pub fn set_closed(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Ordering::Relaxed);
    }

    /// Spills a message that comes alone; gives where it is going to lie.
    pub(crate) fn add_one(self: &Arc<Self>, message: &Message) -> Option<(Place, Arc<Run>)> {
        if let Some(known) = self.find(message) {
            return Some(known);
        }
        let mut state = self.state();
        let (run, mut open) = match state.open.take().map(|open| (open.run.upgrade(), open)) {
            Some((Some(run), open)) => (run, open),
            // Nobody needs what was there.
            Some((None, _)) | None => {
                let run = Arc::new(Run { number: self.next_number(), spill: self.clone() });
                state.live.insert(run.number, Arc::downgrade(&run));
                let open = Open { run: Arc::downgrade(&run), number: run.number, bytes: Vec::new() };
                (run, open)
            }
        };
        let place = put(message, open.number, &mut open.bytes);
        let is_full = open.bytes.len() >= OPEN_BYTES;
        state.open = Some(open);
        if is_full {
            state.close();
            self.has_out.store(true, Ordering::Release);
        }
        // A run that nobody needs is told of under the same lock.
        drop(state);
        place.map(|place| (place, run))
    }

    /// Where a message was spilled to, if it is still there.
    fn find(&self, message: &Message) -> Option<(Place, Arc<Run>)> {
        let place = message.spilled_to()?;
        let run = self.state().live.get(&place.run()?).and_then(Weak::upgrade);
        run.map(|run| (place, run))
    }

    fn next_number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// True unless nothing can be written for now.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }
}

/// A run that is needed.
pub(crate) struct Run {
    number: u64,
    spill: Arc<Spill>,
}

impl Run {
    /// What lies behind so many bytes of it.
    #[inline]
    pub(crate) fn place(&self, offset: u32) -> Place {
        Place::in_run(self.number, offset)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = self.spill.state();
        state.live.remove(&self.number);
        state.gone.push(self.number);
    }
}

/// The runs that some entries are in, by their numbers.
#[derive(Default)]
pub(crate) struct Runs(Vec<Arc<Run>>);

impl Runs {
    fn find(&self, number: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |run| run.number)
    }

    /// One more, if it is none of them.
    pub(crate) fn adopt(&mut self, run: Arc<Run>) {
        if let Err(place) = self.find(run.number) {
            self.0.insert(place, run);
        }
    }

    /// The run of what lies there.
    #[inline]
    pub(crate) fn of(&self, place: Place) -> Option<Arc<Run>> {
        let found = self.find(place.run()?).ok()?;
        self.0.get(found).cloned()
    }

    /// Those that have some of these.
    pub(crate) fn with(&self, places: impl Iterator<Item = Place>) -> Self {
        let mut runs = Self::default();
        if !self.0.is_empty() {
            places.filter_map(|place| self.of(place)).for_each(|run| runs.adopt(run));
        }
        runs
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Puts a message behind others of a run.
fn put(message: &Message, number: u64, bytes: &mut Vec<u8>) -> Option<Place> {
    let place = Place::in_run(number, u32::try_from(bytes.len()).ok()?);
    Change::Message(message).record(&mut Changes::on(bytes));
    if message.place().is_none() {
        message.lies_at(place);
    }
    Some(place)
}

/// Messages on their way into a run.
pub(crate) struct Spilling<'a> {
    spill: &'a Arc<Spill>,
    number: u64,
    bytes: Vec<u8>,
    /// Runs that have some of them already, because another queue holds them, too.
    shared: Runs,
}

impl<'a> Spilling<'a> {
    /// A run of about so many bytes.
    pub(crate) fn new(spill: &'a Arc<Spill>, bytes: u64) -> Self {
        Self {
            spill,
            number: spill.next_number(),
            bytes: Vec::with_capacity(bytes as usize),
            shared: Runs::default(),
        }
    }

    /// Where a message is going to lie, which has its bytes there from now on.
    pub(crate) fn add(&mut self, message: &Message) -> Option<Place> {
        if let Some((place, run)) = self.spill.find(message) {
            self.shared.adopt(run);
            return Some(place);
        }
        put(message, self.number, &mut self.bytes)
    }

    /// Hands the run over; gives all that the messages lie in.
    pub(crate) fn end(self) -> Runs {
        let Self { spill, number, bytes, shared: mut runs } = self;
        if !bytes.is_empty() {
            let run = Arc::new(Run { number, spill: spill.clone() });
            let mut state = spill.state();
            state.live.insert(number, Arc::downgrade(&run));
            state.out.push(SpilledRun { number, bytes });
            spill.has_out.store(true, Ordering::Release);
            drop(state);
            runs.adopt(run);
        }
        runs
    }
}
