//! The values that do not fit into an entry: long strings and collections. They know neither their key nor the log.

mod compact;
mod element;
mod hash;
pub(crate) mod limits;
mod list;
mod packed;
mod set;
mod sorted_set;
mod stream;
mod walk;

use crate::checkpoint::put_deadline;
use leveret_base::blocks::Blocks;

pub(crate) use element::Element;
pub(crate) use hash::Hash;
pub(crate) use list::{End, List};
pub(crate) use set::Set;
pub(crate) use sorted_set::SortedSet;
pub(crate) use stream::Entry as StreamEntry;
pub(crate) use stream::{Consumer, EntryId, Group, Keep, Pending, Stream};
pub(crate) use walk::{Slot, Walk};

/// A value that is more than a short string. It lies in its entry, and what it consists of in allocations of its own.
#[derive(Clone)]
pub(crate) enum Object {
    /// A string beyond the inline limit.
    Blob(Box<Blocks>),
    /// A list, never empty.
    List(List),
    /// A hash, never empty.
    Hash(Hash),
    /// A set, never empty.
    Set(Set),
    /// A sorted set, never empty.
    SortedSet(SortedSet),
    /// A stream, which may be empty.
    Stream(Box<Stream>),
}

// A small collection is this in its entry and one run of bytes beside it.
const _: () = assert!(size_of::<Object>() == 16, "every key that is no short string has one");

/// What all collections have in common: a missing key is an empty one, and an emptied one goes with its key, but for streams.
pub(crate) trait Collection: Default {
    /// The collection, if the object is one of this kind.
    fn of(object: &Object) -> Option<&Self>;
    /// Likewise, to be changed.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// The object.
    fn into_object(self) -> Object;
    /// True when the key must go.
    fn is_empty(&self) -> bool;
}

macro_rules! collections {
    ($($name:ident),*) => {$(
        impl Collection for $name {
            fn of(object: &Object) -> Option<&Self> {
                if let Object::$name(value) = object { Some(value) } else { None }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                if let Object::$name(value) = object { Some(value) } else { None }
            }

            fn into_object(self) -> Object {
                Object::$name(self)
            }

            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    )*};
}

collections!(List, Hash, Set, SortedSet);

impl Object {
    /// As `TYPE` prints it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Object::Blob(_) => "string",
            Object::List(_) => "list",
            Object::Hash(_) => "hash",
            Object::Set(_) => "set",
            Object::SortedSet(_) => "zset",
            Object::Stream(_) => "stream",
        }
    }

    /// As `OBJECT ENCODING` prints it.
    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Object::Blob(_) => "raw",
            Object::List(list) => list.encoding(),
            Object::Hash(hash) => hash.encoding(),
            Object::Set(set) => set.encoding(),
            Object::SortedSet(set) => set.encoding(),
            Object::Stream(_) => "stream",
        }
    }

    /// About how many bytes it takes beside itself; that many elements stand for the others.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        /// Beside the bytes of an element: lengths, pointers, places in tables.
        const LISTED: usize = 2;
        const NAMED: usize = 24;
        if let Some(bytes) = self.packed_bytes() {
            return bytes;
        }
        let mean = |sizes: &mut dyn Iterator<Item = usize>, len: usize| {
            let (mut sum, mut count) = (0, 0);
            for size in sizes.take(samples) {
                (sum, count) = (sum + size, count + 1);
            }
            sum * len / count.max(1)
        };
        match self {
            Object::Blob(blocks) => blocks.len(),
            Object::List(list) => {
                mean(&mut list.iter(End::Left).map(|element| element.len() + LISTED), list.len())
            }
            Object::Hash(hash) => {
                mean(&mut hash.iter().map(|field| field.name.len() + field.value.len() + NAMED), hash.len())
            }
            Object::Set(set) => mean(&mut set.iter().map(|member| member.len() + NAMED), set.len()),
            Object::SortedSet(set) => {
                mean(&mut set.iter().map(|(_, member)| member.len() + 2 * NAMED), set.len())
            }
            Object::Stream(stream) => stream.bytes(),
        }
    }

    /// The bytes of a small collection, which is one run of them.
    fn packed_bytes(&self) -> Option<usize> {
        match self {
            Object::Blob(_) | Object::Stream(_) => None,
            Object::List(list) => list.packed_bytes(),
            Object::Hash(hash) => hash.packed_bytes(),
            Object::Set(set) => set.packed_bytes(),
            Object::SortedSet(set) => set.packed_bytes(),
        }
    }

    /// Of about how many allocations it consists.
    pub(crate) fn allocations(&self) -> usize {
        if self.packed_bytes().is_some() {
            return 1;
        }
        match self {
            // Large blocks cost more than small elements.
            Object::Blob(blocks) => blocks.len() / 1024,
            Object::List(list) => list.len(),
            Object::Hash(hash) => hash.len(),
            Object::Set(set) => set.len(),
            Object::SortedSet(set) => set.len(),
            Object::Stream(stream) => stream.allocations(),
        }
    }

    /// True when it has at most so many elements with at most so many bytes, or can only be handed over as a whole.
    pub(crate) fn is_small(&self, elements_max: usize, bytes_max: usize) -> bool {
        self.packed_bytes().is_some()
            || self.allocations() <= elements_max && self.memory(elements_max) <= bytes_max
    }

    /// Where a checkpoint's walk through it is kept, if it is a large table.
    pub(crate) fn walk(&mut self) -> Option<&mut Slot> {
        match self {
            Object::Hash(hash) => hash.table_mut().map(|table| table.walk()),
            Object::Set(set) => set.table_mut().map(|members| members.walk()),
            Object::SortedSet(set) => set.ordered_mut().map(|ordered| ordered.walk()),
            Object::Blob(_) | Object::List(_) | Object::Stream(_) => None,
        }
    }

    /// Goes on with the walk: appends what was handed over to `out`. True when it is over, and then it is forgotten.
    pub(crate) fn walk_on(&mut self, count: usize, out: &mut Vec<u8>) -> bool {
        let is_over = match self {
            Object::Hash(hash) => hash.table_mut().is_none_or(|table| table.walk_on(count)),
            Object::Set(set) => set.table_mut().is_none_or(|members| members.walk_on(count)),
            Object::SortedSet(set) => set.ordered_mut().is_none_or(|ordered| ordered.walk_on(count)),
            Object::Blob(_) | Object::List(_) | Object::Stream(_) => true,
        };
        if let Some(slot) = self.walk()
            && let Some(walk) = slot.get()
        {
            out.append(&mut walk.out);
            if is_over {
                put_deadline(out, walk.db, &walk.key, walk.deadline);
                *slot.get() = None;
            }
        }
        is_over
    }

    /// Hands over everything it contains, in an order that follows from the contents alone.
    pub(crate) fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        match self {
            Object::Blob(blocks) => part(&blocks.to_vec()),
            Object::List(list) => list.parts(part),
            Object::Hash(hash) => hash.parts(part),
            Object::Set(set) => set.parts(part),
            Object::SortedSet(set) => set.parts(part),
            Object::Stream(stream) => stream.parts(part),
        }
    }
}
