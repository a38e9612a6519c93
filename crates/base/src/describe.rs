//! Changes for people: what a recorded change is called, and what its fields are. Every owner of changes has a table; the
//! order of the fields is the record's. It applies nothing.

use crate::codec::{Malformed, Reader};

/// What a field is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// One byte.
    Byte,
    /// A number.
    Number,
    /// Two numbers: an entry of a stream.
    Entry,
    /// A sorted set's score, as its record has it.
    Score,
    /// A string.
    Bytes,
    /// A string that is not for everybody's eyes.
    Secret,
    /// A count, then as many times these fields.
    Many(&'static [Field]),
}

/// A field with its name.
pub type Field = (&'static str, Kind);

/// A change with its tag, its name and its fields.
pub type Row = (u8, &'static str, &'static [Field]);

/// What a field says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// An entry of a stream.
    Entry(u64, u64),
    /// A score.
    Score(f64),
    /// A string.
    Bytes(&'a [u8]),
    /// A string of so many bytes that is not shown.
    Hidden(usize),
    /// Fields in turn, so many times.
    Many(Vec<Vec<(&'static str, Value<'a>)>>),
}

/// A change, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Described<'a> {
    /// What it is called.
    pub name: &'static str,
    /// What it says.
    pub fields: Vec<(&'static str, Value<'a>)>,
}

/// Reads the fields of a change whose tag has been read; `None` when the table does not have it.
pub fn describe<'a>(
    table: &[Row],
    tag: u8,
    fields: &mut Reader<'a>,
) -> Option<Result<Described<'a>, Malformed>> {
    let (_, name, kinds) = table.iter().find(|(known, ..)| *known == tag)?;
    Some(values(kinds, fields).map(|fields| Described { name, fields }))
}

fn values<'a>(kinds: &[Field], fields: &mut Reader<'a>) -> Result<Vec<(&'static str, Value<'a>)>, Malformed> {
    kinds.iter().map(|(name, kind)| Ok((*name, value(*kind, fields)?))).collect()
}

fn value<'a>(kind: Kind, fields: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    Ok(match kind {
        Kind::Byte => Value::Number(fields.byte()?.into()),
        Kind::Number => Value::Number(fields.varint()?),
        Kind::Entry => Value::Entry(fields.varint()?, fields.varint()?),
        Kind::Score => Value::Score(f64::from_bits(fields.varint()?.reverse_bits())),
        Kind::Bytes => Value::Bytes(fields.bytes()?),
        Kind::Secret => Value::Hidden(fields.bytes()?.len()),
        Kind::Many(kinds) => {
            let mut many = Vec::new();
            // Each takes a byte at least, so a count that lies ends soon.
            for _ in 0..fields.varint()? {
                many.push(values(kinds, fields)?);
            }
            Value::Many(many)
        }
    })
}
