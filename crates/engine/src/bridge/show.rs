//! A message's properties as a Redis client gets them.

use leveret_amqp::{Properties, Value};
use leveret_broker::Message;
use leveret_keyspace::Reply;

/// Name and value of each property that is set, under the names that `AMQP.PUBLISH` takes, and `headers` as a map of their own.
pub(super) fn properties(message: &Message, reply: &mut Reply<'_>) {
    let properties = Properties::from_validated(message.properties());
    let texts = [
        ("content-type", properties.content_type()),
        ("content-encoding", properties.content_encoding()),
        ("correlation-id", properties.correlation_id()),
        ("reply-to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("message-id", properties.message_id()),
        ("type", properties.kind()),
        ("user-id", properties.user_id()),
        ("app-id", properties.app_id()),
    ];
    let numbers = [
        ("delivery-mode", properties.delivery_mode().map(i64::from)),
        ("priority", properties.priority().map(i64::from)),
        ("timestamp", properties.timestamp().map(|seconds| seconds as i64)),
    ];
    let headers = properties.headers().filter(|headers| !headers.is_empty());
    let len = texts.iter().filter(|(_, value)| value.is_some()).count()
        + numbers.iter().filter(|(_, value)| value.is_some()).count()
        + usize::from(headers.is_some());
    reply.map(len);
    for (name, text) in texts {
        if let Some(text) = text {
            reply.bulk(name.as_bytes());
            reply.bulk(text);
        }
    }
    for (name, number) in numbers {
        if let Some(number) = number {
            reply.bulk(name.as_bytes());
            reply.integer(number);
        }
    }
    if let Some(headers) = headers {
        reply.bulk(b"headers");
        value(Value::Table(headers), reply);
    }
}

fn value(shown: Value<'_>, reply: &mut Reply<'_>) {
    match shown {
        Value::Bool(is) => reply.boolean(is),
        Value::Byte(number) => reply.integer(number.into()),
        Value::UnsignedByte(number) => reply.integer(number.into()),
        Value::Short(number) => reply.integer(number.into()),
        Value::UnsignedShort(number) => reply.integer(number.into()),
        Value::SignedInt(number) => reply.integer(number.into()),
        Value::UnsignedInt(number) => reply.integer(number.into()),
        Value::Long(number) => reply.integer(number),
        Value::Timestamp(seconds) => reply.integer(seconds as i64),
        Value::Float(number) => reply.double(number.into()),
        Value::Double(number) => reply.double(number),
        Value::Decimal { scale, value } => reply.double(f64::from(value) / 10f64.powi(scale.into())),
        Value::LongStr(bytes) | Value::Binary(bytes) => reply.bulk(bytes),
        Value::Void => reply.null(),
        Value::Array(items) => {
            reply.array(items.iter().count());
            items.iter().for_each(|item| value(item, reply));
        }
        Value::Table(fields) => {
            reply.map(fields.iter().count());
            for (name, field) in fields.iter() {
                reply.bulk(name);
                value(field, reply);
            }
        }
    }
}
