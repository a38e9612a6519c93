//! What an entry has of its message: all of it, or where it lies on disk and what must be known of it meanwhile.

use crate::Message;
use crate::spill::{Run, Spill};
use leveret_base::codec::Place;
use std::sync::Arc;

/// The message of an entry. What is away is an [`Away`] in as little room as it takes, because there are millions of them.
#[derive(Clone)]
pub(crate) enum Body {
    Here(Arc<Message>),
    /// Only the log has it.
    Logged {
        position: u64,
        offset: u32,
        body_len: u32,
        priority: u8,
        persistent: bool,
    },
    /// It was spilled.
    Spilled {
        run: Arc<Run>,
        offset: u32,
        body_len: u32,
        priority: u8,
        persistent: bool,
    },
}

const _: () = assert!(size_of::<Body>() == 24, "a body is no more than a place");

/// Messages that have come into memory or gone from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) len: usize,
    /// Bytes of their contents.
    pub(crate) body_bytes: u64,
    /// Bytes that they take in memory.
    pub(crate) bytes: u64,
    /// How many of them the log does not have.
    pub(crate) spilled: usize,
}

impl Moved {
    /// One more, which lies there.
    pub(crate) fn add(&mut self, message: &Message, place: Place) {
        self.len += 1;
        self.body_bytes += message.body().len() as u64;
        self.bytes += message.size() as u64;
        self.spilled += usize::from(place.run().is_some());
    }
}

/// Which messages a queue may let go of: those that the log has for this queue, and others if they can be spilled. The log may have
/// one for another queue only; then no checkpoint would name it here.
#[derive(Clone, Copy)]
pub(crate) struct PageOut<'a> {
    /// The log has them behind this position.
    pub(crate) after: u64,
    /// The log keeps what was read in this generation of checkpoints (`Broker::generation`), too.
    pub(crate) generation: u32,
    /// It has something of the queue.
    pub(crate) is_logged: bool,
    /// It has transient ones, too.
    pub(crate) keeps_all: bool,
    /// So many bytes stay if they stand first, and are spilled at least at a time.
    pub(crate) head_bytes: u64,
    /// Where others go.
    pub(crate) spill: Option<&'a Arc<Spill>>,
}

/// Where a message may go.
pub(crate) enum Refuge {
    /// The log has it.
    Log(Place),
    Spill,
}

impl PageOut<'_> {
    /// Where a message may go, if it may. One that was read since the last checkpoint began is named in it.
    #[inline]
    pub(crate) fn refuge(&self, message: &Message, read_in: u32) -> Option<Refuge> {
        if self.is_logged && (message.persistent || self.keeps_all) {
            let is_there = |place: &Place| place.position > self.after || read_in == self.generation;
            return message.place().filter(is_there).map(Refuge::Log);
        }
        self.spill.map(|_| Refuge::Spill)
    }
}

/// A message that is only on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) place: Place,
    /// Bytes of its content.
    pub(crate) body_len: u32,
    pub(crate) priority: u8,
    pub(crate) persistent: bool,
}

/// The message of an entry, looked at.
#[derive(Clone, Copy)]
pub(crate) enum BodyRef<'a> {
    Here(&'a Arc<Message>),
    Away(Away),
}

impl<'a> BodyRef<'a> {
    /// Bytes of its content.
    pub(crate) fn len(self) -> u64 {
        match self {
            BodyRef::Here(message) => message.body().len() as u64,
            BodyRef::Away(away) => away.body_len.into(),
        }
    }

    /// The message, if it is in memory.
    #[inline]
    pub(crate) fn here(self) -> Option<&'a Arc<Message>> {
        match self {
            BodyRef::Here(message) => Some(message),
            BodyRef::Away(_) => None,
        }
    }

    /// Where it lies, if it is not in memory.
    #[inline]
    pub(crate) fn away(self) -> Option<Away> {
        match self {
            BodyRef::Here(_) => None,
            BodyRef::Away(away) => Some(away),
        }
    }

    #[inline]
    pub(crate) fn is_persistent(self) -> bool {
        match self {
            BodyRef::Here(message) => message.persistent,
            BodyRef::Away(away) => away.persistent,
        }
    }
}

impl Away {
    /// True unless the log has it.
    #[inline]
    pub(crate) fn is_spilled(&self) -> bool {
        self.place.run().is_some()
    }

    /// What is kept of a message that lies there, when its bytes are let go.
    pub(crate) fn of(message: &Message, place: Place) -> Option<Self> {
        let body_len = u32::try_from(message.body().len()).ok()?;
        Some(Self { place, body_len, priority: message.priority, persistent: message.persistent })
    }
}

impl Body {
    /// A message that lies on disk: with its run, unless the log has it.
    pub(crate) fn away(away: Away, run: Option<Arc<Run>>) -> Self {
        let Away { place: Place { position, offset }, body_len, priority, persistent } = away;
        match run {
            Some(run) => Body::Spilled { run, offset, body_len, priority, persistent },
            None => Body::Logged { position, offset, body_len, priority, persistent },
        }
    }

    #[inline]
    pub(crate) fn as_ref(&self) -> BodyRef<'_> {
        match *self {
            Body::Here(ref message) => BodyRef::Here(message),
            Body::Logged { position, offset, body_len, priority, persistent } => {
                BodyRef::Away(Away { place: Place { position, offset }, body_len, priority, persistent })
            }
            Body::Spilled { ref run, offset, body_len, priority, persistent } => {
                BodyRef::Away(Away { place: run.place(offset), body_len, priority, persistent })
            }
        }
    }

    #[inline]
    pub(crate) fn here(&self) -> Option<&Arc<Message>> {
        match self {
            Body::Here(message) => Some(message),
            Body::Logged { .. } | Body::Spilled { .. } => None,
        }
    }

    /// The message, where nobody comes before it is in memory.
    #[inline]
    pub(crate) fn message(&self) -> &Arc<Message> {
        self.here().expect("what is handed out was fetched before")
    }

    /// The run that it lies in.
    pub(crate) fn into_run(self) -> Option<Arc<Run>> {
        match self {
            Body::Spilled { run, .. } => Some(run),
            Body::Here(_) | Body::Logged { .. } => None,
        }
    }

    /// Likewise, with what it counts for.
    pub(crate) fn into_message(self) -> Arc<Message> {
        match self {
            Body::Here(message) => message,
            Body::Logged { .. } | Body::Spilled { .. } => {
                unreachable!("what becomes a letter was fetched before")
            }
        }
    }

    #[inline]
    pub(crate) fn is_persistent(&self) -> bool {
        match self {
            Body::Here(message) => message.persistent,
            Body::Logged { persistent, .. } | Body::Spilled { persistent, .. } => *persistent,
        }
    }

    #[inline]
    pub(crate) fn priority(&self) -> u8 {
        match self {
            Body::Here(message) => message.priority,
            Body::Logged { priority, .. } | Body::Spilled { priority, .. } => *priority,
        }
    }

    /// Bytes of the content.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        match self {
            Body::Here(message) => message.body().len() as u64,
            Body::Logged { body_len, .. } | Body::Spilled { body_len, .. } => (*body_len).into(),
        }
    }
}
