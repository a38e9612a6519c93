//! Messages that wait before they are routed: in exchanges of type `x-delayed-message`. They wait in one order for the whole
//! broker, by time, and cost nothing until then. An exchange that has gone meanwhile loses what waits for it.

use super::Txn;
use crate::change::Change;
use crate::{Broker, ExchangeId, Message, UnixMillis};
use leveret_amqp::{PropertyValues, Table, TableBuf, Value};
use std::sync::Arc;

/// The header that says how long, in milliseconds.
const X_DELAY: &[u8] = b"x-delay";

/// A message that waits.
pub(crate) struct Delayed {
    pub(crate) exchange: ExchangeId,
    pub(crate) message: Arc<Message>,
    /// The log has it.
    pub(crate) kept: bool,
}

/// A message that waits, looked at.
pub struct Scheduled<'a> {
    /// When it is routed.
    pub due: UnixMillis,
    /// Its number, which no other message that waits has.
    pub number: u64,
    /// Where it waits.
    pub exchange: ExchangeId,
    /// The message.
    pub message: &'a Arc<Message>,
}

impl Broker {
    /// Messages that wait, from a time and a number on, in the order in which they are due.
    pub fn scheduled(&self, from: (UnixMillis, u64)) -> impl Iterator<Item = Scheduled<'_>> {
        self.delayed.range(from..).map(|(&(due, number), delayed)| {
            let Delayed { exchange, ref message, kept: _ } = *delayed;
            Scheduled { due, number, exchange, message }
        })
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
            self.add_delayed(due, self.broker.next_delayed, *id, message, kept);
        }
        recorded
    }

    /// Primitive: a message waits. The caller has recorded the message itself.
    pub(crate) fn add_delayed(
        &mut self,
        due: UnixMillis,
        number: u64,
        exchange: ExchangeId,
        message: &Arc<Message>,
        kept: bool,
    ) {
        if kept {
            Change::Delay { exchange, number, due }.record(&mut self.changes);
        }
        self.broker.next_delayed = self.broker.next_delayed.max(number + 1);
        let delayed = Delayed { exchange, message: message.clone(), kept };
        self.broker.delayed.insert((due, number), delayed);
    }

    /// Primitive: a message waits no more.
    pub(crate) fn take_delayed(&mut self, due: UnixMillis, number: u64) -> Option<Delayed> {
        let delayed = self.broker.delayed.remove(&(due, number))?;
        if delayed.kept {
            Change::DelayOver { number, due }.record(&mut self.changes);
            if let Some(checkpoint) = &mut self.broker.checkpoint {
                checkpoint.takes_delayed((due, number), &delayed);
            }
        }
        Some(delayed)
    }

    /// Takes a message back before it is routed; gives whether it was still waiting.
    pub fn cancel_scheduled(&mut self, due: UnixMillis, number: u64) -> bool {
        self.take_delayed(due, number).is_some()
    }

    /// Routes what has waited long enough, in a slice.
    pub(super) fn release_delayed(&mut self) {
        while self.slice > 0
            && let Some((&(due, number), _)) = self.broker.delayed.first_key_value()
            && due <= self.now_ms
        {
            self.slice -= 1;
            let Some(Delayed { exchange, message, .. }) = self.take_delayed(due, number) else { return };
            let message = Arc::new(match delay(message.headers()) {
                Some(delay) => waited(&message, delay),
                None => (*message).clone(),
            });
            self.pass_on(exchange, &message);
        }
    }
}
