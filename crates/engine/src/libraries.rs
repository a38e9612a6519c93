//! Libraries of functions as data: the text that FUNCTION LOAD was given, by the name in its first line. What it means knows
//! who runs it. (Redis: functions)

use crate::engine::Engine;
use leveret_base::codec::{Malformed, Reader, put_bytes};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// The tags that belong to libraries.
pub(crate) const CHANGE_TAGS: std::ops::RangeInclusive<u8> = 0x98..=0x9b;

pub(crate) const PUT: u8 = 0x98;
pub(crate) const DELETE: u8 = 0x99;

/// All libraries.
#[derive(Debug, Default)]
pub struct Libraries {
    texts: BTreeMap<String, Arc<[u8]>>,
    generation: u64,
}

impl Libraries {
    /// Names and texts, in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Arc<[u8]>)> {
        self.texts.iter().map(|(name, text)| (name.as_str(), text))
    }

    /// Another one after every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn put(&mut self, name: String, text: &[u8]) {
        self.texts.insert(name, text.into());
        self.generation += 1;
    }

    fn delete(&mut self, name: &str) -> bool {
        self.generation += 1;
        self.texts.remove(name).is_some()
    }

    pub(crate) fn apply(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let name = String::from_utf8(fields.bytes()?.to_vec()).map_err(|_| Malformed)?;
        match tag {
            PUT => self.put(name, fields.bytes()?),
            DELETE => {
                self.delete(&name);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Hands all of them over to a checkpoint.
    pub(crate) fn hand_over(&self, out: &mut Vec<u8>) {
        self.texts.iter().for_each(|(name, text)| record(name, text, out));
    }

    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
        for (name, text) in &self.texts {
            hasher.write(name.as_bytes());
            hasher.write_usize(text.len());
            hasher.write(text);
        }
        hasher.finish()
    }
}

fn record(name: &str, text: &[u8], out: &mut Vec<u8>) {
    out.push(PUT);
    put_bytes(out, name.as_bytes());
    put_bytes(out, text);
}

impl Engine {
    /// A library as it is from now on.
    pub fn put_library(&mut self, name: &str, text: &[u8]) {
        self.begin();
        record(name, text, self.changes());
        self.libraries.put(name.to_owned(), text);
        self.end();
    }

    /// Deletes a library; false if there is none.
    pub fn delete_library(&mut self, name: &str) -> bool {
        if !self.libraries.delete(name) {
            return false;
        }
        self.begin();
        let out = self.changes();
        out.push(DELETE);
        put_bytes(out, name.as_bytes());
        self.end();
        true
    }
}
