//! One key with its value in one allocation behind one pointer. A head of 8 bytes comes first, and behind it the length
//! of a short string (4 bytes), nothing for an integer, or an [`Object`], which has to be aligned; then the deadline if there is
//! one, the key, and last the string or the integer. Of this crate's `unsafe` most is here; the trap is that every size is
//! computed from the head, so the head must never lie.

use crate::UnixMillis;
use crate::values::Object;
use leveret_base::Addressed;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::Cell;
use std::ptr::NonNull;

/// Strings longer than this are an [`Object`] of their own.
pub(crate) const INLINE_MAX: usize = 16 * 1024;

#[repr(C)]
struct Head {
    key_len: u32,
    /// Bits 0 and 1: the kind; bit 2: there is a deadline; bit 3: the string is a piece of work; bit 4: the epoch; from bit 8 on:
    /// the clock, which readers write as well.
    bits: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Integer,
    Object,
    /// What an object leaves when it is taken out.
    Gone,
}

const KIND: u32 = 0b11;
const HAS_DEADLINE: u32 = 0b100;
/// Of a string that was appended to or written into: Redis keeps such a one in another way, and says so.
const RAW: u32 = 0b1000;
/// Of an entry that a checkpoint has, or needs not have: see `checkpoint.rs`.
const EPOCH: u32 = 0b1_0000;
const CLOCK_SHIFT: u32 = 8;

impl Head {
    #[inline]
    fn kind(&self) -> Kind {
        match self.bits.get() & KIND {
            0 => Kind::Bytes,
            1 => Kind::Integer,
            2 => Kind::Object,
            _ => Kind::Gone,
        }
    }

    fn set_kind(&self, kind: Kind) {
        self.bits.set(self.bits.get() & !(KIND | RAW) | kind as u32);
    }

    #[inline]
    fn has_deadline(&self) -> bool {
        self.bits.get() & HAS_DEADLINE != 0
    }
}

const HEAD: usize = size_of::<Head>();
const LENGTH: usize = size_of::<u32>();
const INTEGER: usize = size_of::<i64>();
const DEADLINE: usize = size_of::<UnixMillis>();
const ALIGN: usize = 8;
const _: () = assert!(HEAD.is_multiple_of(align_of::<Object>()) && align_of::<Object>() <= ALIGN);

impl Kind {
    /// What stands between the head and the deadline.
    #[inline]
    fn before_deadline(self) -> usize {
        match self {
            Kind::Bytes => LENGTH,
            Kind::Integer => 0,
            Kind::Object | Kind::Gone => size_of::<Object>(),
        }
    }
}

/// What an entry is made of.
pub(crate) enum Payload<'a> {
    /// At most [`INLINE_MAX`] bytes.
    Bytes(&'a [u8]),
    /// A string that is a canonical decimal integer.
    Integer(i64),
    /// Anything else.
    Object(Object),
}

/// A value, borrowed.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// A string.
    Bytes(&'a [u8]),
    /// A string that is an integer.
    Integer(i64),
    /// Anything else.
    Object(&'a Object),
}

/// The allocation.
pub(crate) struct Entry(NonNull<Head>);

// SAFETY: an entry owns its allocation and what it points to, and `Object` is `Send`.
unsafe impl Send for Entry {}

impl Addressed for Entry {
    #[inline]
    fn address(&self) -> *const u8 {
        self.start()
    }
}

impl Payload<'_> {
    fn kind(&self) -> Kind {
        match self {
            Payload::Bytes(_) => Kind::Bytes,
            Payload::Integer(_) => Kind::Integer,
            Payload::Object(_) => Kind::Object,
        }
    }

    /// What stands behind the key.
    fn len_behind(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Integer(_) => INTEGER,
            Payload::Object(_) => 0,
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("an entry is far smaller than the address space")
}

impl Entry {
    /// Makes an entry.
    pub(crate) fn new(key: &[u8], value: Payload<'_>, deadline: Option<UnixMillis>) -> Self {
        let key_len = u32::try_from(key.len()).expect("the codec limits a key to 512 MB");
        let kind = value.kind();
        let deadline_at = HEAD + kind.before_deadline();
        let key_at = deadline_at + if deadline.is_some() { DEADLINE } else { 0 };
        let layout = layout(key_at + key.len() + value.len_behind());
        // SAFETY: the size is never zero; every write below stays within it, as the head describes.
        unsafe {
            let start = alloc(layout);
            let Some(head) = NonNull::new(start.cast::<Head>()) else { handle_alloc_error(layout) };
            let bits = kind as u32 | if deadline.is_some() { HAS_DEADLINE } else { 0 };
            head.write(Head { key_len, bits: Cell::new(bits) });
            if let Some(deadline) = deadline {
                start.add(deadline_at).cast::<UnixMillis>().write_unaligned(deadline);
            }
            start.add(key_at).copy_from_nonoverlapping(key.as_ptr(), key.len());
            let behind = start.add(key_at + key.len());
            match value {
                Payload::Bytes(bytes) => {
                    start.add(HEAD).cast::<u32>().write(bytes.len() as u32);
                    behind.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
                Payload::Integer(integer) => behind.cast::<i64>().write_unaligned(integer),
                Payload::Object(object) => start.add(HEAD).cast::<Object>().write(object),
            }
            Entry(head)
        }
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: `new` wrote a head there.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    #[inline]
    fn deadline_offset(&self) -> usize {
        HEAD + self.head().kind().before_deadline()
    }

    #[inline]
    fn key_offset(&self) -> usize {
        self.deadline_offset() + if self.head().has_deadline() { DEADLINE } else { 0 }
    }

    /// Where the string or the integer begins.
    #[inline]
    fn behind_offset(&self) -> usize {
        self.key_offset() + self.head().key_len as usize
    }

    /// How long the string or the integer is.
    #[inline]
    fn behind_len(&self) -> usize {
        match self.head().kind() {
            // SAFETY: a string's length lies behind the head.
            Kind::Bytes => unsafe { self.start().add(HEAD).cast::<u32>().read() as usize },
            Kind::Integer => INTEGER,
            Kind::Object | Kind::Gone => 0,
        }
    }

    fn size(&self) -> usize {
        self.behind_offset() + self.behind_len()
    }

    /// About how many bytes it takes with its value and its place in the table.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        const PLACE: usize = 9;
        let object = match self.value() {
            Value::Object(object) => object.memory(samples),
            Value::Bytes(_) | Value::Integer(_) => 0,
        };
        self.size().next_multiple_of(8) + PLACE + object
    }

    /// The key.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        // SAFETY: the key's bytes lie there, as the head says.
        unsafe {
            std::slice::from_raw_parts(self.start().add(self.key_offset()), self.head().key_len as usize)
        }
    }

    /// When the key expires.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<UnixMillis> {
        // SAFETY: the deadline lies behind the head where the head says there is one.
        self.head().has_deadline().then(|| unsafe {
            self.start().add(self.deadline_offset()).cast::<UnixMillis>().read_unaligned()
        })
    }

    /// When or how often it was used, in 24 bits; see `access.rs`.
    #[inline]
    pub(crate) fn clock(&self) -> u32 {
        self.head().bits.get() >> CLOCK_SHIFT
    }

    /// Notes a use. What has not changed is not written, so that its cache line stays clean.
    #[inline]
    pub(crate) fn set_clock(&self, clock: u32) {
        if clock != self.clock() {
            let bits = &self.head().bits;
            bits.set(bits.get() & ((1 << CLOCK_SHIFT) - 1) | clock << CLOCK_SHIFT);
        }
    }

    /// Which checkpoint has it: a bit that turns over with each.
    #[inline]
    pub(crate) fn epoch(&self) -> bool {
        self.head().bits.get() & EPOCH != 0
    }

    /// A checkpoint has it, or needs not have it.
    #[inline]
    pub(crate) fn set_epoch(&self, epoch: bool) {
        let bits = &self.head().bits;
        bits.set(bits.get() & !EPOCH | if epoch { EPOCH } else { 0 });
    }

    /// The value; the integer 0 if it was taken out.
    #[inline]
    pub(crate) fn value(&self) -> Value<'_> {
        // SAFETY: the kind says what lies behind the head and behind the key.
        unsafe {
            match self.head().kind() {
                Kind::Bytes => {
                    let at = self.start().add(self.behind_offset());
                    Value::Bytes(std::slice::from_raw_parts(at, self.behind_len()))
                }
                Kind::Integer => {
                    Value::Integer(self.start().add(self.behind_offset()).cast::<i64>().read_unaligned())
                }
                Kind::Object => Value::Object(&*self.start().add(HEAD).cast::<Object>()),
                Kind::Gone => Value::Integer(0),
            }
        }
    }

    /// The object, to be changed.
    pub(crate) fn object_mut(&mut self) -> Option<&mut Object> {
        // SAFETY: as in `value`; `&mut self` makes the borrow unique.
        (self.head().kind() == Kind::Object).then(|| unsafe { &mut *self.start().add(HEAD).cast::<Object>() })
    }

    /// True for a string that was appended to or written into since it was set.
    pub(crate) fn is_raw(&self) -> bool {
        self.head().bits.get() & RAW != 0
    }

    /// Says that it was.
    pub(crate) fn set_raw(&mut self) {
        let bits = &self.head().bits;
        bits.set(bits.get() | RAW);
    }

    /// The bytes of a short string, to be overwritten.
    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: as in `value`; `&mut self` makes the borrow unique.
        (self.head().kind() == Kind::Bytes).then(|| unsafe {
            std::slice::from_raw_parts_mut(self.start().add(self.behind_offset()), self.behind_len())
        })
    }

    /// Replaces the value; in place when it is of the same kind.
    #[inline]
    pub(crate) fn set_value(&mut self, value: Payload<'_>) {
        let kind = self.head().kind();
        if value.kind() != kind {
            *self = self.successor(self.key(), value, self.deadline());
            return;
        }
        // SAFETY: what lies there is of that kind, and a string has been given as much room as it needs.
        unsafe {
            match value {
                Payload::Bytes(bytes) => {
                    if bytes.len() != self.behind_len() {
                        self.resize(bytes.len());
                    }
                    let at = self.start().add(self.behind_offset());
                    at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
                Payload::Integer(integer) => {
                    self.start().add(self.behind_offset()).cast::<i64>().write_unaligned(integer);
                }
                Payload::Object(object) => *self.start().add(HEAD).cast::<Object>() = object,
            }
        }
        self.head().set_kind(kind);
    }

    /// Sets or removes the deadline.
    pub(crate) fn set_deadline(&mut self, deadline: Option<UnixMillis>) {
        if deadline.is_some() == self.head().has_deadline() {
            if let Some(deadline) = deadline {
                // SAFETY: the head says there is a deadline.
                unsafe {
                    let at = self.start().add(self.deadline_offset());
                    at.cast::<UnixMillis>().write_unaligned(deadline);
                }
            }
            return;
        }
        *self = self.rebuilt(None, deadline);
    }

    /// The same value under another key, with the same deadline.
    pub(crate) fn renamed(mut self, key: &[u8]) -> Entry {
        let deadline = self.deadline();
        self.rebuilt(Some(key), deadline)
    }

    /// A new allocation that takes the value.
    fn rebuilt(&mut self, key: Option<&[u8]>, deadline: Option<UnixMillis>) -> Entry {
        let is_raw = self.is_raw();
        let object = self.take_object();
        let key = key.unwrap_or(self.key());
        let payload = match (object, self.value()) {
            (Some(object), _) => Payload::Object(object),
            (None, Value::Bytes(bytes)) => Payload::Bytes(bytes),
            (None, Value::Integer(integer)) => Payload::Integer(integer),
            (None, Value::Object(_)) => unreachable!("take_object has just taken the object"),
        };
        let mut entry = self.successor(key, payload, deadline);
        if is_raw {
            entry.set_raw();
        }
        entry
    }

    /// Another entry that takes its place, and was used and handed over when this one was.
    fn successor(&self, key: &[u8], value: Payload<'_>, deadline: Option<UnixMillis>) -> Entry {
        let entry = Entry::new(key, value, deadline);
        entry.set_clock(self.clock());
        entry.set_epoch(self.epoch());
        entry
    }

    /// Takes the object out. What is left is good for its key, and to be given another value.
    pub(crate) fn take_object(&mut self) -> Option<Object> {
        if self.head().kind() != Kind::Object {
            return None;
        }
        self.head().set_kind(Kind::Gone);
        // SAFETY: there is an object, and from now on nobody takes those bytes for one.
        Some(unsafe { self.start().add(HEAD).cast::<Object>().read() })
    }

    /// Makes room for a string of so many bytes where there is another one.
    fn resize(&mut self, len: usize) {
        let (before, after) = (layout(self.size()), layout(self.behind_offset() + len));
        // SAFETY: the old layout is the one the head describes; the new size is not zero.
        unsafe {
            let start = realloc(self.start(), before, after.size());
            let Some(head) = NonNull::new(start.cast::<Head>()) else { handle_alloc_error(after) };
            self.0 = head;
            start.add(HEAD).cast::<u32>().write(len as u32);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.take_object());
        // SAFETY: the layout is the one the allocation was made or resized with.
        unsafe { dealloc(self.start(), layout(self.size())) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_base::blocks::Blocks;

    fn bytes(entry: &Entry) -> &[u8] {
        match entry.value() {
            Value::Bytes(bytes) => bytes,
            Value::Integer(_) | Value::Object(_) => panic!("not bytes"),
        }
    }

    #[test]
    fn a_value_changes_size_kind_deadline_and_key() {
        let mut entry = Entry::new(b"key", Payload::Bytes(b"value"), None);
        assert_eq!((entry.key(), bytes(&entry), entry.deadline()), (&b"key"[..], &b"value"[..], None));
        entry.set_raw();
        entry.set_clock(0xFF_FFFE);
        entry.set_deadline(Some(77));
        assert_eq!((entry.key(), bytes(&entry), entry.deadline()), (&b"key"[..], &b"value"[..], Some(77)));
        assert!(entry.is_raw());
        entry.set_value(Payload::Bytes(&[b'x'; 1000]));
        assert!(!entry.is_raw(), "it is another string");
        assert_eq!((entry.key(), bytes(&entry).len(), entry.deadline()), (&b"key"[..], 1000, Some(77)));
        entry.set_value(Payload::Integer(-5));
        assert!(matches!(entry.value(), Value::Integer(-5)));
        entry.set_value(Payload::Object(Object::Blob(Box::new(Blocks::from(&[1; 20][..])))));
        entry.set_deadline(None);
        let mut entry = entry.renamed(b"another key");
        assert_eq!((entry.key(), entry.deadline()), (&b"another key"[..], None));
        assert_eq!(entry.clock(), 0xFF_FFFE);
        assert!(matches!(entry.object_mut(), Some(Object::Blob(blob)) if blob.len() == 20));
        entry.set_value(Payload::Bytes(b""));
        assert_eq!((entry.key(), bytes(&entry)), (&b"another key"[..], &b""[..]));
    }
}
