//! Tables of AMQP as JSON and back.

use super::{Refusal, text};
use leveret_amqp::{Array, ArrayBuf, Properties, PropertyValues, Table, TableBuf};
use serde_json::{Map, Number, Value};

/// A table as an object.
pub(super) fn to_json(table: Table<'_>) -> Value {
    Value::Object(table.iter().map(|(name, value)| (text(name), value_to_json(value))).collect())
}

fn array_to_json(array: Array<'_>) -> Value {
    Value::Array(array.iter().map(value_to_json).collect())
}

fn value_to_json(value: leveret_amqp::Value<'_>) -> Value {
    use leveret_amqp::Value as Amqp;
    match value {
        Amqp::Bool(truth) => Value::Bool(truth),
        Amqp::Float(number) => Number::from_f64(number.into()).map_or(Value::Null, Value::Number),
        Amqp::Double(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Amqp::Decimal { scale, value } => {
            let number = f64::from(value) / 10f64.powi(scale.into());
            Number::from_f64(number).map_or(Value::Null, Value::Number)
        }
        Amqp::LongStr(bytes) | Amqp::Binary(bytes) => Value::String(text(bytes)),
        Amqp::Array(array) => array_to_json(array),
        Amqp::Timestamp(seconds) => Value::Number(seconds.into()),
        Amqp::Table(table) => to_json(table),
        Amqp::Void => Value::Null,
        other => other.as_integer().map_or(Value::Null, |number| Value::Number(number.into())),
    }
}

/// An object as a table.
pub(super) fn from_json(object: &Map<String, Value>) -> TableBuf {
    let mut table = TableBuf::new();
    for (name, value) in object {
        with_value(value, &mut |value| {
            table.push(name.as_bytes(), value);
        });
    }
    table
}

fn with_value(value: &Value, take: &mut dyn FnMut(leveret_amqp::Value<'_>)) {
    use leveret_amqp::Value as Amqp;
    match value {
        Value::Null => take(Amqp::Void),
        Value::Bool(truth) => take(Amqp::Bool(*truth)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => take(Amqp::Long(integer)),
            None => take(Amqp::Double(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => take(Amqp::LongStr(text.as_bytes())),
        Value::Array(values) => {
            let mut array = ArrayBuf::new();
            for value in values {
                with_value(value, &mut |value| {
                    array.push(value);
                });
            }
            take(Amqp::Array(array.as_array()));
        }
        Value::Object(object) => take(Amqp::Table(from_json(object).as_table())),
    }
}

/// The object of a field, or an empty one; RabbitMQ takes an empty list for that, too.
pub(super) fn object_of(body: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(Value::Array(values)) if values.is_empty() => Ok(Map::new()),
        Some(_) => Err(Refusal::bad(format!("{name} is no JSON object"))),
    }
}

/// A truth in a body, as itself or as a word.
pub(super) fn truth(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(truth)) => Ok(*truth),
        Some(Value::String(word)) if word == "true" => Ok(true),
        Some(Value::String(word)) if word == "false" => Ok(false),
        Some(other) => Err(Refusal::bad(format!("{{not_boolean,{other}}}"))),
    }
}

/// The properties of a message as an object.
pub(super) fn properties_to_json(properties: Properties<'_>) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.into(), value);
        }
    };
    let string = |bytes: Option<&[u8]>| bytes.map(|bytes| Value::String(text(bytes)));
    put("app_id", string(properties.app_id()));
    put("user_id", string(properties.user_id()));
    put("type", string(properties.kind()));
    put("timestamp", properties.timestamp().map(Value::from));
    put("message_id", string(properties.message_id()));
    put("expiration", string(properties.expiration()));
    put("reply_to", string(properties.reply_to()));
    put("correlation_id", string(properties.correlation_id()));
    put("priority", properties.priority().map(Value::from));
    put("delivery_mode", properties.delivery_mode().map(Value::from));
    put("headers", properties.headers().map(to_json));
    put("content_encoding", string(properties.content_encoding()));
    put("content_type", string(properties.content_type()));
    Value::Object(object)
}

/// The properties of a message from an object, as bytes.
pub(super) fn properties_from_json(object: &Map<String, Value>) -> Result<Vec<u8>, Refusal> {
    let string = |name: &str| -> Result<Option<&[u8]>, Refusal> {
        match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= 255 => Ok(Some(text.as_bytes())),
            Some(other) => Err(Refusal::bad(format!("property {name} cannot be {other}"))),
        }
    };
    let number = |name: &str| -> Result<Option<u64>, Refusal> {
        match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(Refusal::bad(format!("property {name} cannot be {value}"))),
            },
        }
    };
    let small = |name: &str| -> Result<Option<u8>, Refusal> {
        number(name)?
            .map(u8::try_from)
            .transpose()
            .map_err(|_| Refusal::bad(format!("property {name} is too large")))
    };
    let headers = object.get("headers").filter(|value| !value.is_null());
    let headers =
        headers.map(|_| object_of(object, "headers")).transpose()?.map(|headers| from_json(&headers));
    let values = PropertyValues {
        content_type: string("content_type")?,
        content_encoding: string("content_encoding")?,
        headers: headers.as_ref().map(TableBuf::as_table),
        delivery_mode: small("delivery_mode")?,
        priority: small("priority")?,
        correlation_id: string("correlation_id")?,
        reply_to: string("reply_to")?,
        expiration: string("expiration")?,
        message_id: string("message_id")?,
        timestamp: number("timestamp")?,
        kind: string("type")?,
        user_id: string("user_id")?,
        app_id: string("app_id")?,
        ..PropertyValues::default()
    };
    let mut bytes = Vec::new();
    values.encode(&mut bytes);
    Ok(bytes)
}
