//! Where a consumer of a stream stands, and which of its messages it wants. (RabbitMQ: stream consumers)

use crate::arguments::age_ms;
use crate::exception::shown;
use crate::stream::Stream;
use crate::{Message, UnixMillis};
use leveret_amqp::{Table, Value};

/// The argument of `basic.consume` that says where to begin.
pub(crate) const X_STREAM_OFFSET: &str = "x-stream-offset";

/// The header of a message that consumers may filter by.
const FILTER_VALUE: &[u8] = b"x-stream-filter-value";

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    First,
    /// The newest message that is there.
    Last,
    /// What comes from now on.
    Next,
    Offset(u64),
    /// What has come since then.
    Time(UnixMillis),
}

impl Start {
    /// From the argument; a value that means nothing is given back as RabbitMQ prints it.
    pub(crate) fn from_arguments(arguments: Table<'_>, now_ms: UnixMillis) -> Result<Self, String> {
        let Some(value) = arguments.find(X_STREAM_OFFSET.as_bytes()) else { return Ok(Start::Next) };
        match value {
            Value::LongStr(b"first") | Value::Binary(b"first") => Ok(Start::First),
            Value::LongStr(b"last") | Value::Binary(b"last") => Ok(Start::Last),
            Value::LongStr(b"next") | Value::Binary(b"next") => Ok(Start::Next),
            Value::Timestamp(seconds) => Ok(Start::Time(seconds.saturating_mul(1000))),
            Value::LongStr(interval) => match age_ms(interval) {
                Some(age) => Ok(Start::Time(now_ms.saturating_sub(age))),
                None => Err(format!("{{longstr,<<\"{}\">>}}", shown(interval))),
            },
            other => match other.as_integer() {
                // Before the first one is at the first one.
                Some(offset) => Ok(Start::Offset(u64::try_from(offset).unwrap_or(0))),
                // DEVIATION: RabbitMQ takes it and fails.
                None => Err(format!("{{{},{}}}", other.type_name(), term(other))),
            },
        }
    }

    fn offset(self, stream: &Stream) -> u64 {
        match self {
            Start::First => stream.first_offset(),
            Start::Last => stream.next_offset().saturating_sub(1).max(stream.first_offset()),
            Start::Next => stream.next_offset(),
            Start::Offset(offset) => offset.max(stream.first_offset()),
            Start::Time(at) => stream.offset_at(at),
        }
    }
}

/// A value that is no offset as Erlang prints it; of a large one only what it is.
fn term(value: Value<'_>) -> String {
    match (value.as_bool(), value.as_float()) {
        (Some(truth), _) => truth.to_string(),
        (None, Some(float)) => format!("{float:?}"),
        (None, None) => value.type_name().to_owned(),
    }
}

// DEVIATION: filters are exact.
/// What a consumer wants to see. RabbitMQ skips only what it can skip cheaply and leaves the rest to the client, which has
/// to look at the values anyway; here nothing else comes.
struct Filter {
    values: Vec<Box<[u8]>>,
    /// Messages without a value, too.
    match_unfiltered: bool,
}

impl Filter {
    fn from_arguments(arguments: Table<'_>) -> Option<Self> {
        let values = match arguments.find(b"x-stream-filter")? {
            Value::LongStr(value) => vec![value.into()],
            Value::Array(values) => {
                values.iter().filter_map(|value| value.as_longstr()).map(Box::from).collect()
            }
            _ => return None,
        };
        let match_unfiltered = arguments.find(b"x-stream-match-unfiltered").and_then(|value| value.as_bool());
        Some(Self { values, match_unfiltered: match_unfiltered.unwrap_or(false) })
    }

    fn wants(&self, message: &Message) -> bool {
        match message.headers().find(FILTER_VALUE).and_then(|value| value.as_longstr()) {
            Some(value) => self.values.iter().any(|wanted| **wanted == *value),
            None => self.match_unfiltered,
        }
    }
}

/// A place in a stream.
pub(crate) struct Cursor {
    /// The next offset to be looked at.
    pub(crate) next: u64,
    filter: Option<Filter>,
}

impl Cursor {
    pub(crate) fn new(start: Start, arguments: Table<'_>, stream: &Stream) -> Self {
        Self { next: start.offset(stream), filter: Filter::from_arguments(arguments) }
    }

    pub(crate) fn wants(&self, message: &Message) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.wants(message))
    }
}
