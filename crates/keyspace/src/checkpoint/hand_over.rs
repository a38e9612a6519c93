//! What is handed over to a checkpoint: entries as the changes that make them.

use crate::change::{self, begin, put_many, put_scores, record_push};
use crate::entry::{Entry, Value};
use crate::number::IntegerText;
use crate::txn::{put_entry, put_rest};
use crate::values::{Element, End, Object};
use crate::{DbIndex, UnixMillis};
use leveret_base::codec::{put_bytes, put_varint};

/// The seed of the tables: in their order the entries follow.
pub(super) fn seed(out: &mut Vec<u8>, seed: u64) {
    begin(out, change::SEED, 0);
    put_varint(out, seed);
}

/// A whole entry.
pub(super) fn entry(out: &mut Vec<u8>, db: DbIndex, entry: &Entry) {
    let (key, deadline) = (entry.key(), entry.deadline());
    match entry.value() {
        Value::Integer(integer) => string(out, db, key, deadline, IntegerText::new(integer).as_bytes()),
        Value::Bytes(bytes) => {
            string(out, db, key, deadline, bytes);
            if entry.is_raw() {
                append(out, db, key, b"");
            }
        }
        Value::Object(object) => {
            collection(out, db, key, object);
            put_deadline(out, db, key, deadline);
        }
    }
}

fn string(out: &mut Vec<u8>, db: DbIndex, key: &[u8], deadline: Option<UnixMillis>, bytes: &[u8]) {
    match deadline {
        None => begin(out, change::PUT, db),
        Some(at) => {
            begin(out, change::PUT_WITH_DEADLINE, db);
            put_varint(out, at);
        }
    }
    put_bytes(out, key);
    put_bytes(out, bytes);
}

/// A string that was worked on is appended to, if only nothing: it stays what it is.
fn append(out: &mut Vec<u8>, db: DbIndex, key: &[u8], bytes: &[u8]) {
    begin(out, change::APPEND, db);
    put_bytes(out, key);
    put_bytes(out, bytes);
}

pub(crate) fn put_deadline(out: &mut Vec<u8>, db: DbIndex, key: &[u8], deadline: Option<UnixMillis>) {
    if let Some(at) = deadline {
        begin(out, change::DEADLINE, db);
        put_varint(out, at);
        put_bytes(out, key);
    }
}

fn collection(out: &mut Vec<u8>, db: DbIndex, key: &[u8], object: &Object) {
    match object {
        Object::Blob(_) | Object::Stream(_) => unreachable!("these are copied"),
        Object::List(list) => {
            let elements: Vec<Element<'_>> = list.iter(End::Left).collect();
            record_push(out, End::Right, db, key, elements.iter().map(|element| &**element));
        }
        Object::Set(set) => {
            let members: Vec<Element<'_>> = set.iter().collect();
            put_many(out, change::SET_ADD, db, None, key, members.iter().map(|member| &**member));
        }
        Object::SortedSet(set) => {
            let items: Vec<(f64, Element<'_>)> = set.iter().collect();
            put_scores(out, db, key, items.iter().map(|(score, member)| (*score, &**member)));
        }
        Object::Hash(hash) => {
            let fields: Vec<_> = hash.iter().collect();
            let parts: Vec<&[u8]> = fields.iter().flat_map(|field| [&*field.name, &*field.value]).collect();
            put_many(out, change::HASH_SET, db, None, key, parts.into_iter());
            for field in fields.iter().filter(|field| field.deadline != 0) {
                let name = [&*field.name].into_iter();
                put_many(out, change::HASH_DEADLINE, db, Some(field.deadline), key, name);
            }
        }
    }
}

/// A copy of a value that shares what it consists of, on its way.
pub(super) struct Copied {
    db: DbIndex,
    key: Box<[u8]>,
    deadline: Option<UnixMillis>,
    object: Object,
    /// Which part is next.
    next: usize,
}

impl Copied {
    pub(super) fn new(db: DbIndex, key: &[u8], deadline: Option<UnixMillis>, object: &Object) -> Self {
        Self { db, key: key.into(), deadline, object: object.clone(), next: 0 }
    }

    /// Hands over its next part; true after the last one.
    pub(super) fn hand_over(&mut self, out: &mut Vec<u8>) -> bool {
        let Self { db, key, next, .. } = self;
        let is_over = match &self.object {
            Object::Blob(blocks) => {
                if let Some(block) = blocks.iter().nth(*next) {
                    match next {
                        0 => string(out, *db, key, None, block),
                        _ => append(out, *db, key, block),
                    }
                }
                *next + 1 >= blocks.len().div_ceil(leveret_base::blocks::BLOCK_BYTES)
            }
            Object::List(list) => match list.part(*next) {
                Some(elements) => {
                    record_push(out, End::Right, *db, key, elements.iter().map(|element| &**element));
                    false
                }
                None => true,
            },
            Object::Stream(stream) => match stream.by_block().nth(*next) {
                Some(entries) => {
                    entries.for_each(|entry| put_entry(out, *db, key, entry));
                    false
                }
                None => {
                    put_rest(out, *db, key, stream);
                    true
                }
            },
            Object::Hash(_) | Object::Set(_) | Object::SortedSet(_) => unreachable!("these are walked"),
        };
        *next += 1;
        if is_over {
            put_deadline(out, *db, key, self.deadline);
        }
        is_over
    }
}
