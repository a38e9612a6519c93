//! The last messages that came to an exchange, for whatever is bound to it later. (RabbitMQ: x-recent-history)
//! The trap: replay knows only the messages that are in the log, so the log says when one of them goes, too.

use super::headers::erlang;
use crate::{Exception, Message};
use leveret_amqp::{Table, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// A message that an exchange keeps.
#[derive(Clone)]
pub(crate) struct Recent {
    /// As it was routed, with the keys that nobody sees.
    pub(crate) message: Arc<Message>,
    /// The log has it.
    pub(crate) kept: bool,
}

/// What an exchange keeps, oldest first.
pub(crate) struct History {
    length_max: usize,
    recent: VecDeque<Recent>,
}

impl History {
    pub(super) fn new(arguments: Table<'_>) -> Self {
        let length = arguments.find(LENGTH.as_bytes()).and_then(|value| value.as_integer());
        let length_max = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(LENGTH_DEFAULT);
        Self { length_max, recent: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.recent.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.recent.len() >= self.length_max
    }

    pub(crate) fn push(&mut self, recent: Recent) {
        self.recent.push_back(recent);
    }

    pub(crate) fn pop(&mut self) -> Option<Recent> {
        self.recent.pop_front()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Recent> {
        self.recent.iter()
    }
}

/// Refuses a number of messages that is none.
pub(super) fn check_arguments(arguments: Table<'_>) -> Result<(), Exception> {
    match arguments.find(LENGTH.as_bytes()) {
        None | Some(Value::Byte(1..) | Value::Short(1..) | Value::SignedInt(1..) | Value::Long(1..)) => {
            Ok(())
        }
        Some(value) => Err(Exception::precondition(format!(
            "Invalid argument {}, '{LENGTH}' must be a positive integer",
            erlang(value)
        ))),
    }
}

/// True for messages that an exchange is not to keep.
pub(crate) fn is_unkept(headers: Table<'_>) -> bool {
    headers.find(NO_STORE).is_some_and(|value| value.as_bool() == Some(true))
}

/// The argument that says how many are kept, and how many if it is not there.
const LENGTH: &str = "x-recent-history-length";
const LENGTH_DEFAULT: usize = 20;

const NO_STORE: &[u8] = b"x-recent-history-no-store";
