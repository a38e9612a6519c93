//! One value of a field table. The variants are RabbitMQ's, which differ from the letters in the specification.
//! (RabbitMQ: 0-9-1 errata, "field types")

use crate::read::Reader;
use crate::{Array, DecodeError, Table};

/// A field value. Equality is that of the value: 5 is 5 in every width, 1.0 is 1.00, and a NaN equals itself.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// `t`.
    Bool(bool),
    /// `b`.
    Byte(i8),
    /// `B`.
    UnsignedByte(u8),
    /// `s`.
    Short(i16),
    /// `u`.
    UnsignedShort(u16),
    /// `I`.
    SignedInt(i32),
    /// `i`.
    UnsignedInt(u32),
    /// `l`, and `L`, which RabbitMQ reads as signed too. Written as `l`.
    Long(i64),
    /// `f`.
    Float(f32),
    /// `d`.
    Double(f64),
    /// `D`: `value` divided by ten to the power of `scale`.
    Decimal {
        /// Decimal places.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// `S`.
    LongStr(&'a [u8]),
    /// `x`.
    Binary(&'a [u8]),
    /// `A`.
    Array(Array<'a>),
    /// `T`, in seconds.
    Timestamp(u64),
    /// `F`.
    Table(Table<'a>),
    /// `V`.
    Void,
}

impl<'a> Value<'a> {
    /// Reads one; `depth` tables and arrays may still be nested in it.
    pub(crate) fn read(reader: &mut Reader<'a>, depth: usize) -> Result<Self, DecodeError> {
        Ok(match reader.octet()? {
            b'S' => Value::LongStr(reader.longstr()?),
            b'I' => Value::SignedInt(i32::from_be_bytes(reader.array()?)),
            b't' => Value::Bool(reader.octet()? != 0),
            b'T' => Value::Timestamp(reader.longlong()?),
            b'F' => Value::Table(Table::parse_nested(reader.longstr()?, depth)?),
            b'A' => Value::Array(Array::parse_nested(reader.longstr()?, depth)?),
            b'l' | b'L' => Value::Long(i64::from_be_bytes(reader.array()?)),
            b'b' => Value::Byte(i8::from_be_bytes(reader.array()?)),
            b'B' => Value::UnsignedByte(reader.octet()?),
            b's' => Value::Short(i16::from_be_bytes(reader.array()?)),
            b'u' => Value::UnsignedShort(reader.short()?),
            b'i' => Value::UnsignedInt(reader.long()?),
            b'f' => Value::Float(f32::from_be_bytes(reader.array()?)),
            b'd' => Value::Double(f64::from_be_bytes(reader.array()?)),
            b'D' => Value::Decimal { scale: reader.octet()?, value: reader.long()? },
            b'x' => Value::Binary(reader.longstr()?),
            b'V' => Value::Void,
            _ => return Err(DecodeError::Malformed),
        })
    }

    /// Reads one of a table that was validated: its nested parts are not looked at again.
    pub(crate) fn read_validated(reader: &mut Reader<'a>) -> Option<Self> {
        let mut ahead = reader.clone();
        let value = match ahead.octet().ok()? {
            b'F' => Value::Table(Table::from_validated(ahead.longstr().ok()?)),
            b'A' => Value::Array(Array::from_validated(ahead.longstr().ok()?)),
            _ => return Value::read(reader, 0).ok(),
        };
        *reader = ahead;
        Some(value)
    }

    /// Writes type letter and value.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        fn long(out: &mut Vec<u8>, letter: u8, bytes: &[u8]) {
            out.push(letter);
            let len = u32::try_from(bytes.len()).expect("a field value is smaller than 4 GiB");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        fn fixed(out: &mut Vec<u8>, letter: u8, bytes: &[u8]) {
            out.push(letter);
            out.extend_from_slice(bytes);
        }
        match *self {
            Value::Bool(value) => fixed(out, b't', &[u8::from(value)]),
            Value::Byte(value) => fixed(out, b'b', &value.to_be_bytes()),
            Value::UnsignedByte(value) => fixed(out, b'B', &[value]),
            Value::Short(value) => fixed(out, b's', &value.to_be_bytes()),
            Value::UnsignedShort(value) => fixed(out, b'u', &value.to_be_bytes()),
            Value::SignedInt(value) => fixed(out, b'I', &value.to_be_bytes()),
            Value::UnsignedInt(value) => fixed(out, b'i', &value.to_be_bytes()),
            Value::Long(value) => fixed(out, b'l', &value.to_be_bytes()),
            Value::Float(value) => fixed(out, b'f', &value.to_be_bytes()),
            Value::Double(value) => fixed(out, b'd', &value.to_be_bytes()),
            Value::Decimal { scale, value } => {
                fixed(out, b'D', &[scale]);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::LongStr(bytes) => long(out, b'S', bytes),
            Value::Binary(bytes) => long(out, b'x', bytes),
            Value::Array(array) => long(out, b'A', array.raw()),
            Value::Timestamp(value) => fixed(out, b'T', &value.to_be_bytes()),
            Value::Table(table) => long(out, b'F', table.raw()),
            Value::Void => out.push(b'V'),
        }
    }

    /// The type's name as RabbitMQ prints it in refusals.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::Byte(_) => "byte",
            Value::UnsignedByte(_) => "unsignedbyte",
            Value::Short(_) => "short",
            Value::UnsignedShort(_) => "unsignedshort",
            Value::SignedInt(_) => "signedint",
            Value::UnsignedInt(_) => "unsignedint",
            Value::Long(_) => "long",
            Value::Float(_) => "float",
            Value::Double(_) => "double",
            Value::Decimal { .. } => "decimal",
            Value::LongStr(_) => "longstr",
            Value::Binary(_) => "binary",
            Value::Array(_) => "array",
            Value::Timestamp(_) => "timestamp",
            Value::Table(_) => "table",
            Value::Void => "void",
        }
    }

    /// The number, for integers of every width; timestamps are none.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Value::Byte(value) => Some(value.into()),
            Value::UnsignedByte(value) => Some(value.into()),
            Value::Short(value) => Some(value.into()),
            Value::UnsignedShort(value) => Some(value.into()),
            Value::SignedInt(value) => Some(value.into()),
            Value::UnsignedInt(value) => Some(value.into()),
            Value::Long(value) => Some(value),
            Value::Bool(_)
            | Value::Float(_)
            | Value::Double(_)
            | Value::Decimal { .. }
            | Value::LongStr(_)
            | Value::Binary(_)
            | Value::Array(_)
            | Value::Timestamp(_)
            | Value::Table(_)
            | Value::Void => None,
        }
    }

    /// The number, for both widths of floats.
    pub fn as_float(&self) -> Option<f64> {
        if let Value::Float(value) = *self {
            return Some(value.into());
        }
        if let Value::Double(value) = *self { Some(value) } else { None }
    }

    /// The bytes of a long string.
    pub fn as_longstr(&self) -> Option<&'a [u8]> {
        if let Value::LongStr(bytes) = *self { Some(bytes) } else { None }
    }

    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = *self { Some(value) } else { None }
    }

    /// The nested table.
    pub fn as_table(&self) -> Option<Table<'a>> {
        if let Value::Table(table) = *self { Some(table) } else { None }
    }

    /// The nested array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        if let Value::Array(array) = *self { Some(array) } else { None }
    }

    /// A decimal without trailing zeros.
    fn as_decimal(&self) -> Option<(u8, u32)> {
        let Value::Decimal { mut scale, mut value } = *self else { return None };
        while scale > 0 && value.is_multiple_of(10) {
            scale = if value == 0 { 0 } else { scale - 1 };
            value /= 10;
        }
        Some((scale, value))
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (self.as_integer(), other.as_integer()) {
            return a == b;
        }
        if let (Some(a), Some(b)) = (self.as_float(), other.as_float()) {
            return a == b || a.is_nan() && b.is_nan();
        }
        if let (Some(a), Some(b)) = (self.as_decimal(), other.as_decimal()) {
            return a == b;
        }
        match (*self, *other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::LongStr(a), Value::LongStr(b)) | (Value::Binary(a), Value::Binary(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Table(a), Value::Table(b)) => a == b,
            (Value::Void, Value::Void) => true,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}
