//! Writing a stream: each block as a listpack behind the name of its first entry, then what the stream knows, then its groups.

use super::{HAS_SHARED_NAMES, UNKNOWN};
use crate::number::IntegerText;
use crate::parse_integer;
use crate::rdb::write::{put_len, put_string};
use crate::values::{EntryId, Stream, StreamEntry};

/// Writes everything behind the type; the newer one says when a consumer was last active.
pub(in crate::rdb) fn put(
    out: &mut Vec<u8>,
    stream: &Stream,
    is_new: bool,
    full: &mut dyn FnMut(&mut Vec<u8>),
) {
    put_len(out, stream.blocks_count() as u64);
    for block in stream.by_block() {
        put_block(out, &block.collect::<Vec<_>>());
        full(out);
    }
    put_len(out, stream.len());
    put_id(out, stream.last);
    put_id(out, stream.first_id());
    put_id(out, stream.deleted_max);
    put_len(out, stream.added_count);
    put_len(out, stream.groups.len() as u64);
    for (name, group) in &stream.groups {
        put_string(out, name);
        put_id(out, group.last);
        put_len(out, group.read_count.unwrap_or(UNKNOWN));
        put_len(out, group.pending().len() as u64);
        for (id, pending) in group.pending() {
            put_raw_id(out, *id);
            out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
            put_len(out, pending.count);
            full(out);
        }
        put_len(out, group.consumers().len() as u64);
        for (name, consumer) in group.consumers() {
            put_string(out, name);
            out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            if is_new {
                out.extend_from_slice(&consumer.active_ms.unwrap_or(UNKNOWN).to_le_bytes());
            }
            put_len(out, consumer.pending().len() as u64);
            for id in consumer.pending() {
                put_raw_id(out, *id);
                full(out);
            }
        }
    }
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_len(out, id.ms);
    put_len(out, id.seq);
}

fn put_raw_id(out: &mut Vec<u8>, id: EntryId) {
    out.extend_from_slice(&id.ms.to_be_bytes());
    out.extend_from_slice(&id.seq.to_be_bytes());
}

fn put_block(out: &mut Vec<u8>, entries: &[StreamEntry<'_>]) {
    let Some(first) = entries.first() else { return };
    put_len(out, 16);
    put_raw_id(out, first.id);
    let names = |entry: &StreamEntry<'_>| entry.fields().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
    let shared = names(first);
    let mut pack = Listpack::default();
    pack.number(entries.len() as i64);
    pack.number(0);
    pack.number(shared.len() as i64);
    shared.iter().for_each(|name| pack.element(name));
    pack.number(0);
    for entry in entries {
        let has_shared = names(entry) == shared;
        let before = pack.count;
        pack.number(if has_shared { HAS_SHARED_NAMES } else { 0 });
        pack.number((entry.id.ms - first.id.ms) as i64);
        // A difference, too, though it may be negative.
        pack.number(entry.id.seq.wrapping_sub(first.id.seq) as i64);
        if !has_shared {
            pack.number(entry.len as i64);
        }
        for (name, value) in entry.fields() {
            if !has_shared {
                pack.element(&name);
            }
            pack.element(&value);
        }
        pack.number(i64::from(pack.count - before));
    }
    let bytes = pack.finish();
    put_len(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

/// A listpack that is being written.
#[derive(Default)]
struct Listpack {
    elements: Vec<u8>,
    count: u32,
}

impl Listpack {
    fn number(&mut self, number: i64) {
        let start = self.elements.len();
        let bytes = number.to_le_bytes();
        match number {
            0..=0x7f => self.elements.push(number as u8),
            -0x1000..=0xfff => {
                let bits = number as u16 & 0x1fff;
                self.elements.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            _ => {
                let (kind, width) = match number {
                    -0x8000..=0x7fff => (0xf1, 2),
                    -0x80_0000..=0x7f_ffff => (0xf2, 3),
                    -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                    _ => (0xf4, 8),
                };
                self.elements.push(kind);
                self.elements.extend_from_slice(&bytes[..width]);
            }
        }
        self.end(start);
    }

    fn element(&mut self, bytes: &[u8]) {
        let integer = parse_integer(bytes).filter(|integer| IntegerText::new(*integer).as_bytes() == bytes);
        if let Some(integer) = integer {
            return self.number(integer);
        }
        let start = self.elements.len();
        match bytes.len() {
            len @ ..=0x3f => self.elements.push(0x80 | len as u8),
            len @ ..=0xfff => self.elements.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
            len => {
                self.elements.push(0xf0);
                self.elements.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.elements.extend_from_slice(bytes);
        self.end(start);
    }

    /// Behind each element stands its own length, to be read backwards.
    fn end(&mut self, start: usize) {
        let len = self.elements.len() - start;
        let groups = (usize::BITS - len.leading_zeros()).div_ceil(7);
        for group in (0..groups).rev() {
            // All but the first say that there are more before.
            let more = if group + 1 < groups { 0x80 } else { 0 };
            self.elements.push((len >> (7 * group)) as u8 & 0x7f | more);
        }
        self.count += 1;
    }

    fn finish(self) -> Vec<u8> {
        const HEAD: usize = 6;
        let mut out = ((HEAD + self.elements.len() + 1) as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&u16::try_from(self.count).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.elements);
        out.push(0xff);
        out
    }
}
