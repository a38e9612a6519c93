//! Messages that wait before they are routed: in exchanges of type `x-delayed-message`. They wait in one order for the whole
//! broker, by time, and cost nothing until then. An exchange that has gone meanwhile loses what waits for it.

use super::Txn;
use crate::block::{BLOCK_BYTES, BLOCK_LEN};
use crate::body::{Away, Body, BodyRef};
use crate::broker::Wanted;
use crate::change::Change;
use crate::{Broker, ExchangeId, Message, QueueId, UnixMillis};
use leveret_amqp::{PropertyValues, Table, TableBuf, Value};
use leveret_base::Keyed;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The header that says how long, in milliseconds.
const X_DELAY: &[u8] = b"x-delay";

/// What waits in exchanges, among queues that something is read for.
pub(super) const DELAYED: QueueId = QueueId(u32::MAX);

/// Between two looks at whether something was read.
const RETRY_MS: u64 = 50;

/// A message that waits. Millions do.
pub(crate) struct Delayed {
    /// When it is routed.
    pub(crate) due: UnixMillis,
    /// Its number, which no other message that waits has.
    pub(crate) number: u64,
    pub(crate) exchange: ExchangeId,
    pub(crate) body: Body,
    /// The log has it.
    pub(crate) kept: bool,
}

const _: () = assert!(size_of::<Delayed>() == 48, "what waits takes little more than its key and its body");

/// By the time when they are due, and their numbers.
impl Keyed for Delayed {
    type Key = (UnixMillis, u64);

    #[inline]
    fn key(&self) -> Self::Key {
        (self.due, self.number)
    }
}

impl Delayed {
    /// When it is due, its number, and where it lies if it is not in memory.
    fn away(&self) -> Option<(UnixMillis, u64, Away)> {
        Some((self.due, self.number, self.body.as_ref().away()?))
    }
}

/// A message that waits, looked at.
pub struct Scheduled<'a> {
    /// When it is routed.
    pub due: UnixMillis,
    /// Its number, which no other message that waits has.
    pub number: u64,
    /// Where it waits.
    pub exchange: ExchangeId,
    /// The message, if it is in memory.
    pub message: Option<&'a Arc<Message>>,
}

impl Wanted {
    /// False when what cannot be read holds up none of the others.
    pub fn is_in_order(&self) -> bool {
        self.queue != DELAYED
    }
}

impl Broker {
    /// Messages that wait, from a time and a number on, in the order in which they are due.
    pub fn scheduled(&self, from: (UnixMillis, u64)) -> impl Iterator<Item = Scheduled<'_>> {
        self.delayed.range_from(from).map(|delayed| {
            let Delayed { due, number, exchange, ref body, kept: _ } = *delayed;
            Scheduled { due, number, exchange, message: body.here() }
        })
    }

    /// Everything that waits and is not in memory is wanted there.
    pub(crate) fn want_delayed(&mut self) {
        let away = self.delayed.iter().filter_map(Delayed::away);
        let mut messages = Vec::new();
        for (due, number, Away { place, .. }) in away {
            let is_asked_again = self.delayed_unread.contains_key(&number);
            if !is_asked_again && self.delayed_asked.insert(number, due).is_none() {
                messages.push((number, place));
            }
        }
        if !messages.is_empty() {
            self.wanted.push(Wanted { queue: DELAYED, messages });
        }
    }

    fn count_delayed(&mut self, body: &Body) {
        if let Body::Here(message) = body {
            self.delayed_memory.add(message.size() as u64);
        }
    }

    fn uncount_delayed(&mut self, body: &Body) {
        match body {
            Body::Here(message) => self.delayed_memory.subtract(message.size() as u64),
            Body::Logged { .. } => drop(self.in_memory.left.fetch_add(1, Ordering::Relaxed)),
            Body::Spilled { .. } => {}
        }
    }

    /// Where a message waits: only on disk, if there is too much in memory.
    fn body_of_delayed(&mut self, message: &Arc<Message>, kept: bool) -> Body {
        if !self.is_memory_full() {
            return Body::Here(message.clone());
        }
        let spill = self.spill.as_ref().filter(|spill| !kept && spill.is_open());
        let gone = match spill {
            Some(spill) => spill.add_one(message).map(|(place, run)| (place, Some(run))),
            None => {
                let place = message.place().filter(|place| kept && place.position > self.in_log_after);
                place.map(|place| (place, None))
            }
        };
        match gone.and_then(|(place, run)| Some((Away::of(message, place)?, run))) {
            Some((away, run)) => Body::away(away, run),
            None => Body::Here(message.clone()),
        }
    }
}

/// How long a message with these headers waits; none, nothing and less than nothing are the same.
pub(super) fn delay(headers: Table<'_>) -> Option<u64> {
    let value = headers.find(X_DELAY)?;
    let delay = value.as_integer().or_else(|| value.as_float().map(|delay| delay as i64))?;
    u64::try_from(delay).ok().filter(|delay| *delay > 0)
}

/// The message as it goes on: the sign of its delay tells that it has waited.
fn waited(message: &Message, delay: u64) -> Message {
    let mut headers = TableBuf::from(message.headers());
    headers.set(X_DELAY, Value::Long(0i64.saturating_sub_unsigned(delay)));
    let values = PropertyValues { headers: Some(headers.as_table()), ..message.values() };
    message.rewritten(message.exchange(), message.routing_key(), &values)
}

impl Txn<'_> {
    /// A message waits in these exchanges; true when the log has it.
    pub(super) fn delay_in(&mut self, exchanges: &[ExchangeId], message: &Arc<Message>) -> bool {
        let Some(delay) = delay(message.headers()) else { return false };
        let due = self.now_ms.saturating_add(delay);
        let mut recorded = false;
        for id in exchanges {
            let durable = self.broker.exchanges.get(id).is_some_and(|exchange| exchange.durable);
            let kept = durable && message.persistent;
            if kept && !recorded {
                Change::Message(message).record(&mut self.changes);
                recorded = true;
            }
            let body = self.broker.body_of_delayed(message, kept);
            self.add_delayed(due, self.broker.next_delayed, *id, body, kept);
        }
        recorded
    }

    /// Replay of a message that waits.
    pub(crate) fn delay_again(&mut self, due: UnixMillis, number: u64, exchange: ExchangeId, body: Body) {
        let body = match body {
            Body::Here(message) => self.broker.body_of_delayed(&message, true),
            Body::Logged { .. } | Body::Spilled { .. } => body,
        };
        self.add_delayed(due, number, exchange, body, true);
    }

    /// Primitive: a message waits. The caller has recorded the message itself.
    fn add_delayed(&mut self, due: UnixMillis, number: u64, exchange: ExchangeId, body: Body, kept: bool) {
        if kept {
            Change::Delay { exchange, number, due }.record(&mut self.changes);
        }
        self.broker.next_delayed = self.broker.next_delayed.max(number + 1);
        self.broker.count_delayed(&body);
        if let Some(before) = self.broker.delayed.insert(Delayed { due, number, exchange, body, kept }) {
            self.broker.uncount_delayed(&before.body);
        }
    }

    /// Primitive: a message waits no more.
    pub(crate) fn take_delayed(&mut self, due: UnixMillis, number: u64) -> Option<Delayed> {
        let delayed = self.broker.delayed.remove((due, number))?;
        self.broker.uncount_delayed(&delayed.body);
        self.broker.delayed_asked.remove(&number);
        self.broker.delayed_unread.remove(&number);
        if delayed.kept {
            Change::DelayOver { number, due }.record(&mut self.changes);
            if let Some(checkpoint) = &mut self.broker.checkpoint {
                checkpoint.takes_delayed(&delayed);
            }
        }
        Some(delayed)
    }

    /// Takes a message back before it is routed; gives whether it was still waiting.
    pub fn cancel_scheduled(&mut self, due: UnixMillis, number: u64) -> bool {
        self.take_delayed(due, number).is_some()
    }

    /// Routes what has waited long enough, in a slice. What cannot be read holds nobody up: they come from many exchanges.
    pub(super) fn release_delayed(&mut self) {
        let mut from = (0, 0);
        while self.slice > 0
            && let Some(&Delayed { due, number, .. }) = self.broker.delayed.first_from(from)
            && due <= self.now_ms
        {
            if self.broker.delayed_unread.contains_key(&number) {
                from = (due, number + 1);
                self.broker.delayed_retry = self.now_ms + RETRY_MS;
                continue;
            }
            if self.must_fetch_delayed(from) {
                return;
            }
            self.slice -= 1;
            let Some(Delayed { exchange, body, .. }) = self.take_delayed(due, number) else { return };
            let message = body.into_message();
            let message = Arc::new(match delay(message.headers()) {
                Some(delay) => waited(&message, delay),
                None => (*message).clone(),
            });
            self.pass_on(exchange, &message);
        }
    }

    /// Asks for what is due first from there on and what comes behind it, if that is not in memory; true if so.
    fn must_fetch_delayed(&mut self, from: (UnixMillis, u64)) -> bool {
        let Broker { delayed, delayed_asked, delayed_unread, delayed_retry, wanted, .. } = &mut *self.broker;
        if delayed.first_from(from).is_none_or(|first| first.body.here().is_some()) {
            return false;
        }
        *delayed_retry = self.now_ms + RETRY_MS;
        if !delayed_asked.is_empty() {
            return true;
        }
        let behind = delayed.range_from(from).filter(|delayed| !delayed_unread.contains_key(&delayed.number));
        let away = behind.take(BLOCK_LEN).filter_map(Delayed::away);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for (due, number, away) in away {
            delayed_asked.insert(number, due);
            messages.push((number, away.place));
            bytes += u64::from(away.body_len);
            if bytes >= BLOCK_BYTES {
                break;
            }
        }
        wanted.push(Wanted { queue: DELAYED, messages });
        true
    }

    /// What was asked for has been read, as far as it could be; what is due goes on. Gives what still waits and was not read.
    pub(super) fn fetched_delayed(
        &mut self,
        wanted: &Wanted,
        messages: &[(u64, Arc<Message>)],
    ) -> Option<Wanted> {
        let (mut read, mut unread) = (messages.iter().peekable(), Vec::new());
        for &(number, place) in &wanted.messages {
            let message = read.next_if(|(of, _)| *of == number).map(|(_, message)| message);
            let Broker { delayed, delayed_asked, delayed_unread, .. } = &mut *self.broker;
            let due = delayed_asked.remove(&number).or_else(|| delayed_unread.remove(&number));
            let Some((due, delayed)) = due.and_then(|due| Some((due, delayed.get_mut((due, number))?)))
            else {
                continue;
            };
            match (message, delayed.body.as_ref()) {
                (Some(message), BodyRef::Away(_)) => {
                    let before = std::mem::replace(&mut delayed.body, Body::Here(message.clone()));
                    self.broker.uncount_delayed(&before);
                    self.broker.count_delayed(&Body::Here(message.clone()));
                }
                (None, BodyRef::Away(_)) => {
                    delayed_unread.insert(number, due);
                    unread.push((number, place));
                }
                (Some(_) | None, BodyRef::Here(_)) => {}
            }
        }
        self.release_delayed();
        (!unread.is_empty()).then_some(Wanted { queue: DELAYED, messages: unread })
    }
}
