//! Tables and arrays to be written: server properties, `x-death`, changed headers. Built in their wire form, so that
//! untouched fields keep their bytes.

use crate::read::Reader;
use crate::{Array, Table, Value};
use std::fmt;

/// A table being built.
#[derive(Clone, Default)]
pub struct TableBuf {
    bytes: Vec<u8>,
}

impl TableBuf {
    /// No fields yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a field; the name has at most 255 bytes.
    pub fn push(&mut self, name: &[u8], value: Value<'_>) -> &mut Self {
        let len = u8::try_from(name.len()).expect("a field's name has at most 255 bytes");
        self.bytes.push(len);
        self.bytes.extend_from_slice(name);
        value.write(&mut self.bytes);
        self
    }

    /// Removes every field of that name; true if there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let mut kept = Vec::with_capacity(self.bytes.len());
        let mut reader = Reader::new(&self.bytes);
        while !reader.rest().is_empty() {
            let field = reader.rest();
            let (Ok(found), Some(_)) = (reader.shortstr_unchecked(), Value::read_validated(&mut reader))
            else {
                break;
            };
            if found != name {
                kept.extend_from_slice(field.get(..field.len() - reader.rest().len()).unwrap_or_default());
            }
        }
        let removed = kept.len() < self.bytes.len();
        self.bytes = kept;
        removed
    }

    /// Removes the fields of that name and appends this one.
    pub fn set(&mut self, name: &[u8], value: Value<'_>) -> &mut Self {
        self.remove(name);
        self.push(name, value)
    }

    /// Borrowed, for reading and encoding.
    pub fn as_table(&self) -> Table<'_> {
        Table::from_validated(&self.bytes)
    }
}

impl From<Table<'_>> for TableBuf {
    fn from(table: Table<'_>) -> Self {
        Self { bytes: table.raw().to_vec() }
    }
}

impl fmt::Debug for TableBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_table().fmt(f)
    }
}

impl PartialEq for TableBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_table() == other.as_table()
    }
}

impl Eq for TableBuf {}

/// An array being built.
#[derive(Clone, Default)]
pub struct ArrayBuf {
    bytes: Vec<u8>,
}

impl ArrayBuf {
    /// No values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a value.
    pub fn push(&mut self, value: Value<'_>) -> &mut Self {
        value.write(&mut self.bytes);
        self
    }

    /// Borrowed, for reading and encoding.
    pub fn as_array(&self) -> Array<'_> {
        Array::from_validated(&self.bytes)
    }
}
