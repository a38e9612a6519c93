//! The fetcher thread reads messages that are not in memory back from the log, beside the event loops, and gives them to the queues
//! that wait for them. The trap: what cannot be read must not be forgotten, for its queue stands still until it is there.

use crate::backlog::Backlog;
use crate::shared::{Shared, now_ms};
use leveret_cluster::{Level, Levels};
use leveret_engine::broker::{Message, Wanted};
use leveret_wal::Reader;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is to be read: a block of a queue each.
pub(crate) type Fetcher = Backlog<Wanted>;

/// What could not be read is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is said that something cannot be read.
const TELL: Duration = Duration::from_secs(60);

impl Shared {
    /// The thread.
    pub(crate) fn fetch(&self, reader: &mut Reader) {
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
            let (messages, failure) = self.read(reader, &wanted);
            if let Some(failure) = failure {
                if told.is_none_or(|at| at.elapsed() >= TELL) {
                    tracing::error!(%failure, "a message cannot be read from the log; its queue waits for it");
                    told = Some(Instant::now());
                }
                if messages.is_empty() {
                    failed.push((Instant::now(), wanted));
                    continue;
                }
            }
            self.hand_over(&wanted, &messages);
        }
    }

    /// Reads what is there, in order, up to what cannot be read.
    fn read(&self, reader: &mut Reader, wanted: &Wanted) -> (Vec<(u64, Arc<Message>)>, Option<String>) {
        let mut messages = Vec::with_capacity(wanted.messages.len());
        for &(seq, place) in &wanted.messages {
            if self.levels.level(Level::Written) < place.position {
                self.write_up_to(place.position);
            }
            let is_written = self.levels.level(Level::Written) >= place.position;
            let failure = match reader.read(place) {
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
            return (messages, Some(failure));
        }
        (messages, None)
    }

    fn hand_over(&self, wanted: &Wanted, messages: &[(u64, Arc<Message>)]) {
        let mut engine = self.engine.lock();
        if self.is_stopping() {
            return;
        }
        engine.enter(now_ms());
        engine.on_broker(|txn| txn.fetched(wanted, messages));
        let (position, garbage, more) =
            (engine.position(), engine.take_garbage(), engine.broker.take_wanted());
        let threads: Vec<usize> = engine.threads_to_wake(usize::MAX).collect();
        drop(engine);
        self.fetcher.extend(more);
        threads.into_iter().for_each(|thread| self.mailboxes[thread].wake());
        if let Some(garbage) = garbage {
            self.reaper.take(garbage);
        }
        self.write_up_to(position);
    }
}
