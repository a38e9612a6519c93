//! The fetcher thread reads messages that are not in memory back from disk, beside the event loops, and gives them to the queues
//! that wait for them. The trap: what cannot be read must not be forgotten, for its queue stands still until it is there.

use crate::backlog::Backlog;
use crate::shared::{Shared, now_ms};
use crate::spiller::RunRead;
use leveret_cluster::{Level, Levels};
use leveret_engine::broker::{Message, Wanted};
use leveret_wal::Reader;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is to be read: a block of a queue each.
pub(crate) type Fetcher = Backlog<Wanted>;

/// What it reads with.
pub(crate) struct Hands {
    pub(crate) log: Reader,
    run: RunRead,
}

impl Hands {
    pub(crate) fn new(log: Reader) -> Self {
        Self { log, run: RunRead::default() }
    }
}

/// What could not be read is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is said that something cannot be read.
const TELL: Duration = Duration::from_secs(60);

impl Shared {
    /// The thread.
    pub(crate) fn fetch(&self, reader: &mut Hands) {
        let (mut failed, mut told): (Vec<(Instant, Wanted)>, Option<Instant>) = (Vec::new(), None);
        loop {
            let wait = failed.first().map(|(at, _)| (*at + RETRY).saturating_duration_since(Instant::now()));
            let wanted = match self.fetcher.next_within(wait) {
                Some(Some(wanted)) => wanted,
                // It is time.
                Some(None) if !failed.is_empty() => failed.remove(0).1,
                Some(None) => continue,
                None => return,
            };
            if let Err((failure, again)) = self.fetch_one(reader, &wanted) {
                if told.is_none_or(|at| at.elapsed() >= TELL) {
                    tracing::error!(%failure, "a message cannot be read; its queue waits for it");
                    told = Some(Instant::now());
                }
                failed.push((Instant::now(), again));
            }
        }
    }

    /// Gives a queue what could be read of what it wants; else what must be tried again, and why.
    pub(crate) fn fetch_one(&self, reader: &mut Hands, wanted: &Wanted) -> Result<(), (String, Wanted)> {
        let (messages, failure) = self.read(reader, wanted);
        // Even if that is nothing: it may not be wanted any more.
        let Some(again) = self.hand_over(wanted, &messages) else { return Ok(()) };
        Err((failure.unwrap_or_else(|| "it is not kept anywhere".to_owned()), again))
    }

    /// Reads what is there, in order, up to what cannot be read if that stops what stands behind it.
    fn read(&self, reader: &mut Hands, wanted: &Wanted) -> (Vec<(u64, Arc<Message>)>, Option<String>) {
        let (mut messages, mut first_failure) = (Vec::with_capacity(wanted.messages.len()), None);
        for &(seq, place) in &wanted.messages {
            let Hands { log, run } = &mut *reader;
            let (is_written, found) = match place.run() {
                Some(number) => {
                    let found = self.spiller.read(number, run);
                    (true, found.map(|run| run.and_then(|bytes| bytes.get(place.offset as usize..))))
                }
                None => {
                    if self.levels.level(Level::Written) < place.position {
                        self.write_up_to(place.position);
                    }
                    (self.levels.level(Level::Written) >= place.position, log.read(place))
                }
            };
            let failure = match found {
                Ok(Some(bytes)) => match Message::read(bytes, place) {
                    Ok(message) => {
                        messages.push((seq, Arc::new(message)));
                        continue;
                    }
                    Err(_) => format!("at position {} stands no message", place.position),
                },
                // It has left its queue meanwhile.
                Ok(None) if is_written => continue,
                Ok(None) => "there is no disk space to write it first".to_owned(),
                Err(error) => error.to_string(),
            };
            first_failure.get_or_insert(failure);
            if wanted.is_in_order() {
                break;
            }
        }
        (messages, first_failure)
    }

    fn hand_over(&self, wanted: &Wanted, messages: &[(u64, Arc<Message>)]) -> Option<Wanted> {
        let mut engine = self.engine.lock();
        if self.is_stopping() {
            return None;
        }
        engine.enter(now_ms());
        let again = engine.on_broker(|txn| txn.fetched(wanted, messages));
        let position = self.leave(engine);
        self.write_up_to(position);
        again
    }
}
