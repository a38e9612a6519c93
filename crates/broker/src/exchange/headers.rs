//! A headers exchange: a binding's arguments are compared with the message's headers. (AMQP 0-9-1 3.1.3.4)
//! It asks one binding after the other, as RabbitMQ does; bindings with the same arguments are asked once.

use super::{Binding, Counted, Destination, Keys, Routes};
use crate::broker::Map;
use crate::exception::Exception;
use leveret_amqp::{Table, Value};

/// What each table of arguments leads to.
#[derive(Default)]
pub(super) struct Headers {
    arguments: Map<Box<[u8]>, Counted>,
}

/// What `x-match` says.
#[derive(Clone, Copy)]
struct Match {
    /// One field suffices.
    any: bool,
    /// Fields beginning with `x-` count as well.
    with_x: bool,
}

impl Match {
    fn parse(name: &[u8]) -> Option<Self> {
        match name {
            b"all" => Some(Match { any: false, with_x: false }),
            b"any" => Some(Match { any: true, with_x: false }),
            b"all-with-x" => Some(Match { any: false, with_x: true }),
            b"any-with-x" => Some(Match { any: true, with_x: true }),
            _ => None,
        }
    }
}

/// Refuses an `x-match` that is none. (RabbitMQ: `rabbit_exchange_type_headers:validate_binding`)
pub(super) fn check(_: &[u8], arguments: Table<'_>) -> Result<(), Exception> {
    let Some(value) = arguments.find(b"x-match") else { return Ok(()) };
    match value.as_longstr() {
        Some(name) if Match::parse(name).is_some() => Ok(()),
        Some(_) => Err(Exception::precondition(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            erlang(value)
        ))),
        None => Err(Exception::precondition(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            value.type_name(),
            erlang(value)
        ))),
    }
}

/// Simple values as Erlang prints them.
pub(super) fn erlang(value: Value<'_>) -> String {
    match (value.as_integer(), value.as_longstr(), value.as_bool()) {
        (Some(integer), _, _) => integer.to_string(),
        (_, Some(text), _) => format!("<<\"{}\">>", String::from_utf8_lossy(text)),
        (_, _, Some(truth)) => truth.to_string(),
        (None, None, None) if matches!(value, Value::Void) => "undefined".to_owned(),
        (None, None, None) => format!("{value:?}"),
    }
}

/// True for values that are one term in RabbitMQ, which compares them without their types: 5 is 5 in every width and a
/// string is also binary data, but 1 is not 1.0. Inside of arrays and tables the types count.
// DEVIATION: a timestamp in a binding to a headers exchange fits an equal one.
fn is_same(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::LongStr(a) | Value::Binary(a), Value::LongStr(b) | Value::Binary(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => a.raw() == b.raw(),
        (Value::Table(a), Value::Table(b)) => a.raw() == b.raw(),
        (Value::Decimal { scale, value }, Value::Decimal { scale: other_scale, value: other }) => {
            (scale, value) == (other_scale, other)
        }
        (a, b) => a == b,
    }
}

fn is_match(arguments: Table<'_>, headers: &[(&[u8], Value<'_>)]) -> bool {
    let how = arguments.find(b"x-match").and_then(|value| Match::parse(value.as_longstr()?));
    let Match { any, with_x } = how.unwrap_or(Match { any: false, with_x: false });
    let mut fields = arguments
        .iter()
        .filter(|(name, _)| if with_x { *name != b"x-match" } else { !name.starts_with(b"x-") });
    let mut is_met = |(name, wanted): (&[u8], Value<'_>)| {
        // Of several headers with one name the last counts.
        let place = headers.partition_point(|(other, _)| *other <= name);
        match place.checked_sub(1).and_then(|place| headers.get(place)) {
            Some((other, value)) if *other == name => {
                matches!(wanted, Value::Void) || is_same(wanted, *value)
            }
            _ => false,
        }
    };
    if any { fields.any(&mut is_met) } else { fields.all(&mut is_met) }
}

impl Routes for Headers {
    fn add(&mut self, binding: &Binding) {
        self.arguments.entry(binding.arguments.clone()).or_default().add(binding.destination);
    }

    fn remove(&mut self, binding: &Binding) {
        if let Some(counted) = self.arguments.get_mut(&binding.arguments) {
            counted.remove(binding.destination);
            if counted.is_empty() {
                self.arguments.remove(&binding.arguments);
            }
        }
    }

    fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>) {
        if self.arguments.is_empty() {
            return;
        }
        let mut headers: smallvec::SmallVec<[(&[u8], Value<'_>); 16]> = keys.headers.iter().collect();
        headers.sort_by_key(|(name, _)| *name);
        for (arguments, counted) in &self.arguments {
            if is_match(Table::from_validated(arguments), &headers) {
                counted.list(into);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::{ArrayBuf, TableBuf};

    fn fits(wanted: Value<'_>, given: Value<'_>) -> bool {
        let (mut arguments, mut headers) = (TableBuf::new(), TableBuf::new());
        arguments.push(b"h", wanted);
        headers.push(b"a", Value::Void).push(b"h", given).push(b"z", Value::Void);
        let headers: Vec<_> = headers.as_table().iter().collect();
        is_match(arguments.as_table(), &headers)
    }

    #[test]
    fn values_are_compared_without_their_types_but_not_across_kinds() {
        assert!(fits(Value::SignedInt(5), Value::Long(5)));
        assert!(fits(Value::UnsignedByte(5), Value::Short(5)));
        assert!(fits(Value::LongStr(b"5"), Value::Binary(b"5")));
        assert!(fits(Value::Float(0.5), Value::Double(0.5)));
        assert!(fits(Value::Timestamp(5), Value::Timestamp(5)));
        assert!(fits(Value::Void, Value::Bool(false)));
        assert!(!fits(Value::SignedInt(5), Value::LongStr(b"5")));
        assert!(!fits(Value::SignedInt(1), Value::Double(1.0)));
        assert!(!fits(Value::SignedInt(1), Value::Bool(true)));
        assert!(!fits(Value::SignedInt(5), Value::Timestamp(5)));
        assert!(!fits(Value::Bool(false), Value::Void));
        let decimal = |scale, value| Value::Decimal { scale, value };
        assert!(fits(decimal(1, 10), decimal(1, 10)));
        assert!(!fits(decimal(1, 10), decimal(0, 1)));
    }

    #[test]
    fn inside_of_arrays_types_count() {
        let [int, long] = [Value::SignedInt(5), Value::Long(5)].map(|value| {
            let mut array = ArrayBuf::new();
            array.push(value);
            array
        });
        assert!(fits(Value::Array(int.as_array()), Value::Array(int.as_array())));
        assert!(!fits(Value::Array(int.as_array()), Value::Array(long.as_array())));
    }

    #[test]
    fn of_several_headers_with_one_name_the_last_counts() {
        let mut arguments = TableBuf::new();
        arguments.push(b"h", Value::Long(2));
        let headers = [(&b"h"[..], Value::Long(1)), (&b"h"[..], Value::Long(2))];
        assert!(is_match(arguments.as_table(), &headers));
        assert!(!is_match(arguments.as_table(), &headers[..1]));
    }
}
