//! Messages of a stream that lie one behind the other: all in memory, or all only in the log. Of the latter a block may be in
//! memory for a while beside it, for those who read there; nothing depends on that.

use crate::body::{Away, Body, BodyRef, PageOut, Refuge};
use crate::entries::NEVER_READ;
use crate::{Message, UnixMillis};
use leveret_base::codec::Place;
use std::sync::Arc;

/// Messages in a block. Blocks do not grow beyond it, so that an append never moves much.
pub(super) const BLOCK_LEN: usize = 1024;
/// A block with so many bytes is full, too: it is read as a whole.
const BLOCK_BYTES: u64 = 128 * 1024;

/// A message under its offset.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    /// What is away has the length of all that it consists of.
    pub(crate) body: BodyRef<'a>,
    /// When it came.
    pub(crate) at: UnixMillis,
}

struct HereKept {
    message: Arc<Message>,
    at: UnixMillis,
}

struct AwayKept {
    position: u64,
    offset: u32,
    /// Bytes of all it consists of.
    len: u32,
    at: UnixMillis,
}

const _: () = assert!(size_of::<AwayKept>() == 24, "a place is 24 bytes");

impl AwayKept {
    fn away(&self) -> Away {
        let place = Place { position: self.position, offset: self.offset };
        Away { place, body_len: self.len, priority: 0, persistent: true }
    }
}

enum Places {
    Here(Vec<HereKept>),
    Away {
        places: Vec<AwayKept>,
        /// The first of them, as far as they could be read, if somebody reads there.
        read: Vec<Arc<Message>>,
    },
}

/// Messages one behind the other.
pub(crate) struct Block {
    /// The offset of its first message.
    first: u64,
    places: Places,
    /// Bytes of all messages.
    bytes: u64,
}

impl Block {
    /// A block for a message and what follows it.
    pub(super) fn new(first: u64, body: &Body) -> Self {
        let places = match body {
            Body::Here(_) => Places::Here(Vec::new()),
            Body::Logged { .. } | Body::Spilled { .. } => {
                Places::Away { places: Vec::new(), read: Vec::new() }
            }
        };
        Self { first, places, bytes: 0 }
    }

    /// The offset of its first message.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    fn len(&self) -> usize {
        match &self.places {
            Places::Here(places) => places.len(),
            Places::Away { places, .. } => places.len(),
        }
    }

    /// The offset behind its last message.
    pub(super) fn end(&self) -> u64 {
        self.first + self.len() as u64
    }

    /// Adds a message behind the others; it comes back when there is no place for it.
    pub(super) fn push(&mut self, body: Body, at: UnixMillis) -> Option<Body> {
        if self.len() >= BLOCK_LEN || self.bytes >= BLOCK_BYTES {
            return Some(body);
        }
        match (&mut self.places, body) {
            (Places::Here(places), Body::Here(message)) => {
                self.bytes += message.stored_bytes();
                places.push(HereKept { message, at });
            }
            (Places::Away { places, read }, Body::Logged { position, offset, body_len: len, .. })
                if read.is_empty() =>
            {
                self.bytes += u64::from(len);
                places.push(AwayKept { position, offset, len, at });
            }
            (Places::Here(_) | Places::Away { .. }, body) => return Some(body),
        }
        None
    }

    /// The message at a place, as the stream has it.
    pub(super) fn get(&self, index: usize) -> Option<Kept<'_>> {
        match &self.places {
            Places::Here(places) => {
                places.get(index).map(|kept| Kept { body: BodyRef::Here(&kept.message), at: kept.at })
            }
            Places::Away { places, .. } => {
                places.get(index).map(|kept| Kept { body: BodyRef::Away(kept.away()), at: kept.at })
            }
        }
    }

    /// Likewise, in memory if it is there for those who read.
    pub(super) fn look(&self, index: usize) -> Option<Kept<'_>> {
        let kept = self.get(index)?;
        match &self.places {
            Places::Away { read, .. } => match read.get(index) {
                Some(message) => Some(Kept { body: BodyRef::Here(message), ..kept }),
                None => Some(kept),
            },
            Places::Here(_) => Some(kept),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Kept<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// When its last message came.
    pub(super) fn last_at(&self) -> Option<UnixMillis> {
        self.get(self.len().checked_sub(1)?).map(|kept| kept.at)
    }

    /// Bytes of messages in memory.
    pub(super) fn memory(&self) -> u64 {
        match &self.places {
            Places::Here(places) => places.iter().map(|kept| kept.message.size() as u64).sum(),
            Places::Away { read, .. } => read.iter().map(|message| message.size() as u64).sum(),
        }
    }

    /// Lets go of the messages, if the log has all of them; true if so.
    pub(super) fn page_out(&mut self, may: PageOut<'_>) -> bool {
        let Places::Here(places) = &self.places else { return false };
        let away = places.iter().map(|kept| {
            let Some(Refuge::Log(place)) = may.refuge(&kept.message, NEVER_READ) else { return None };
            let len = u32::try_from(kept.message.stored_bytes()).ok()?;
            Some(AwayKept { position: place.position, offset: place.offset, len, at: kept.at })
        });
        let Some(places) = away.collect() else { return false };
        self.places = Places::Away { places, read: Vec::new() };
        true
    }

    /// What has to be read so that its messages are in memory; nothing if they are.
    pub(super) fn wanted(&self) -> Vec<(u64, Place)> {
        match &self.places {
            Places::Away { places, read } => {
                let all = (self.first..).zip(places.iter().map(|kept| kept.away().place));
                all.skip(read.len()).collect()
            }
            Places::Here(_) => Vec::new(),
        }
    }

    /// Messages of it were read: those that follow what is in memory are there, too, from now on. Gives how many bytes that is.
    pub(super) fn page_in(&mut self, messages: &[(u64, Arc<Message>)]) -> u64 {
        let (first, len) = (self.first, self.len());
        let Places::Away { read, .. } = &mut self.places else { return 0 };
        let mut bytes = 0;
        for (offset, message) in messages {
            if read.len() < len && *offset == first + read.len() as u64 {
                bytes += message.size() as u64;
                read.push(message.clone());
            }
        }
        bytes
    }

    /// Nobody reads there any more; gives how many bytes of memory that is.
    pub(super) fn forget(&mut self) -> u64 {
        let Places::Away { read, .. } = &mut self.places else { return 0 };
        std::mem::take(read).iter().map(|message| message.size() as u64).sum()
    }
}
