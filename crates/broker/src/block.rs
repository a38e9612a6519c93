//! A part of a lane: entries whose numbers are near each other and that have not come back, in places of 16 or 24 bytes. Either all of them have their
//! messages in memory, or all only know where they lie on disk.

use crate::body::{Away, Body, BodyRef, Moved, PageOut, Refuge};
use crate::entries::{Entry, NEVER_READ, Ready, Returns};
use crate::spill::{Runs, Spilling};
use crate::{Message, UnixMillis};
use leveret_base::codec::Place;
use std::sync::Arc;

/// Places in a block.
pub(crate) const BLOCK_LEN: usize = 512;
/// A block has no more bytes of messages, unless it has one only: it is fetched as a whole. Few large messages to a block
/// would cost as much as their places.
pub(crate) const BLOCK_BYTES: u64 = 4 * 1024 * 1024;

/// Where an entry stands, as far as its block does not say it.
struct HerePlace {
    /// `None` when it was taken out from between others.
    message: Option<Arc<Message>>,
    /// Its number, counted from the block's first.
    distance: u32,
    redelivered: bool,
}

/// Likewise, of an entry whose message is only on disk.
struct AwayPlace {
    position: u64,
    offset: u32,
    distance: u32,
    body_len: u32,
    priority: u8,
    flags: u8,
}

const _: () =
    assert!(size_of::<HerePlace>() == 16 && size_of::<AwayPlace>() == 24, "there are millions of places");

const PERSISTENT: u8 = 1;
const REDELIVERED: u8 = 2;
/// It was taken out from between others.
const GONE: u8 = 4;

impl AwayPlace {
    fn new(distance: u32, redelivered: bool, away: &Away) -> Self {
        let Away { place: Place { position, offset }, body_len, priority, persistent } = *away;
        let flags = if persistent { PERSISTENT } else { 0 } | if redelivered { REDELIVERED } else { 0 };
        Self { position, offset, distance, body_len, priority, flags }
    }

    fn away(&self) -> Away {
        Away {
            place: Place { position: self.position, offset: self.offset },
            body_len: self.body_len,
            priority: self.priority,
            persistent: self.flags & PERSISTENT != 0,
        }
    }
}

enum Places {
    Here(Vec<HerePlace>),
    Away(Vec<AwayPlace>),
}

/// Entries whose numbers are near each other.
pub(crate) struct Block {
    first: u64,
    places: Places,
    /// When entries leave; empty while none of them does.
    deadlines: Vec<UnixMillis>,
    /// Places whose entries have left from the front.
    start: usize,
    /// Places behind those that are empty.
    gone_count: usize,
    /// Bytes of the messages that came into it.
    bytes: u64,
    /// What those lie in that the log does not have.
    runs: Runs,
    /// See [`Entry`]: of all of them.
    read_in: u32,
}

impl Block {
    /// A block for an entry and what follows it.
    pub(crate) fn new(entry: &Entry) -> Self {
        let places = match entry.body {
            Body::Here(_) => Places::Here(Vec::new()),
            Body::Logged { .. } | Body::Spilled { .. } => Places::Away(Vec::new()),
        };
        let (deadlines, runs) = (Vec::new(), Runs::default());
        Self {
            first: entry.seq,
            places,
            deadlines,
            start: 0,
            gone_count: 0,
            bytes: 0,
            runs,
            read_in: NEVER_READ,
        }
    }

    /// Bytes of the messages that came into it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn first_number(&self) -> u64 {
        self.first
    }

    #[inline]
    fn len(&self) -> usize {
        match &self.places {
            Places::Here(places) => places.len(),
            Places::Away(places) => places.len(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.len()
    }

    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.places, Places::Here(_))
    }

    /// Empty, it is there for what comes next.
    pub(crate) fn reuse(&mut self) {
        match &mut self.places {
            Places::Here(places) => places.clear(),
            Places::Away(_) => self.places = Places::Here(Vec::new()),
        }
        self.deadlines.clear();
        self.runs.clear();
        self.read_in = NEVER_READ;
        (self.start, self.gone_count, self.bytes) = (0, 0, 0);
    }

    /// The number of its last place, whether or not an entry is there.
    #[inline]
    pub(crate) fn last_number(&self) -> Option<u64> {
        let distance = self.distance(self.len().checked_sub(1)?)?;
        Some(self.first + u64::from(distance))
    }

    #[inline]
    fn distance(&self, index: usize) -> Option<u32> {
        match &self.places {
            Places::Here(places) => places.get(index).map(|place| place.distance),
            Places::Away(places) => places.get(index).map(|place| place.distance),
        }
    }

    /// The distance of a number that has a place here or could get one.
    #[inline]
    fn distance_of(&self, seq: u64) -> Option<u32> {
        seq.checked_sub(self.first).and_then(|distance| u32::try_from(distance).ok())
    }

    /// Adds an entry behind the others; it comes back when there is no place for it.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) -> Option<Entry> {
        let len = self.len();
        if len == 0 {
            (self.first, self.read_in) = (entry.seq, entry.read_in);
        }
        let bytes = self.bytes + entry.body.len();
        let Some(distance) = self.distance_of(entry.seq) else { return Some(entry) };
        if len >= BLOCK_LEN || (len > 0 && bytes > BLOCK_BYTES) || entry.returns != Returns::NONE {
            return Some(entry);
        }
        debug_assert!(len == 0 || self.distance(len - 1) < Some(distance), "what comes last is last");
        let Entry { seq, body, redelivered, returns, deadline, read_in } = entry;
        match (&mut self.places, body) {
            (Places::Here(places), Body::Here(message)) if read_in == self.read_in => {
                places.push(HerePlace { message: Some(message), distance, redelivered });
            }
            (Places::Away(places), body @ (Body::Logged { .. } | Body::Spilled { .. }))
                if let BodyRef::Away(away) = body.as_ref() =>
            {
                places.push(AwayPlace::new(distance, redelivered, &away));
                body.into_run().into_iter().for_each(|run| self.runs.adopt(run));
            }
            (Places::Here(_) | Places::Away(_), body) => {
                return Some(Entry { seq, body, redelivered, returns, deadline, read_in });
            }
        }
        if deadline != 0 && self.deadlines.is_empty() {
            self.deadlines.resize(len, 0);
        }
        if deadline != 0 || !self.deadlines.is_empty() {
            self.deadlines.push(deadline);
        }
        self.bytes = bytes;
        None
    }

    fn deadline(&self, index: usize) -> UnixMillis {
        self.deadlines.get(index).copied().unwrap_or(0)
    }

    fn ready(&self, index: usize) -> Option<Ready<'_>> {
        let deadline = self.deadline(index);
        match &self.places {
            Places::Here(places) => {
                let HerePlace { message, distance, .. } = places.get(index)?;
                let (seq, returns) = (self.first + u64::from(*distance), Returns::NONE);
                Some(Ready { seq, body: BodyRef::Here(message.as_ref()?), returns, deadline, retry_at: 0 })
            }
            Places::Away(places) => {
                let place = places.get(index).filter(|place| place.flags & GONE == 0)?;
                let (seq, returns) = (self.first + u64::from(place.distance), Returns::NONE);
                Some(Ready { seq, body: BodyRef::Away(place.away()), returns, deadline, retry_at: 0 })
            }
        }
    }

    pub(crate) fn first(&self) -> Option<Ready<'_>> {
        self.ready(self.start)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready<'_>> {
        self.iter_from(0)
    }

    /// From a number on.
    pub(crate) fn iter_from(&self, seq: u64) -> impl Iterator<Item = Ready<'_>> {
        let distance = seq.saturating_sub(self.first);
        let before = match &self.places {
            Places::Here(places) => places.partition_point(|place| u64::from(place.distance) < distance),
            Places::Away(places) => places.partition_point(|place| u64::from(place.distance) < distance),
        };
        (before.max(self.start)..self.len()).filter_map(|index| self.ready(index))
    }

    /// Takes an entry and leaves its place.
    #[inline]
    fn take_at(&mut self, index: usize) -> Option<Entry> {
        let (first, deadline, read_in) = (self.first, self.deadline(index), self.read_in);
        match &mut self.places {
            Places::Here(places) => {
                let place = places.get_mut(index)?;
                let body = Body::Here(place.message.take()?);
                let HerePlace { distance, redelivered, .. } = *place;
                let (seq, returns) = (first + u64::from(distance), Returns::NONE);
                Some(Entry { seq, body, redelivered, returns, deadline, read_in })
            }
            Places::Away(places) => {
                let place = places.get_mut(index).filter(|place| place.flags & GONE == 0)?;
                place.flags |= GONE;
                let away = place.away();
                let (seq, body) =
                    (first + u64::from(place.distance), Body::away(away, self.runs.of(away.place)));
                let redelivered = place.flags & REDELIVERED != 0;
                let returns = Returns::NONE;
                Some(Entry { seq, body, redelivered, returns, deadline, read_in })
            }
        }
    }

    #[inline]
    fn is_gone(&self, index: usize) -> bool {
        match &self.places {
            Places::Here(places) => places.get(index).is_some_and(|place| place.message.is_none()),
            Places::Away(places) => places.get(index).is_some_and(|place| place.flags & GONE != 0),
        }
    }

    /// The first entry, taken out.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.take_at(self.start)?;
        self.start += 1;
        while self.gone_count > 0 && self.is_gone(self.start) {
            self.start += 1;
            self.gone_count -= 1;
        }
        Some(entry)
    }

    /// Takes an entry out by its number.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Entry> {
        let index = self.find(seq)?;
        if index == self.start {
            return self.pop();
        }
        let entry = self.take_at(index)?;
        self.gone_count += 1;
        if self.gone_count * 2 > self.len() - self.start {
            self.close_gaps();
        }
        Some(entry)
    }

    /// Gives back the room of what is gone.
    fn close_gaps(&mut self) {
        if !self.deadlines.is_empty() {
            let is_kept: Vec<bool> = (0..self.len()).map(|index| !self.is_gone(index)).collect();
            let mut kept = is_kept.into_iter();
            self.deadlines.retain(|_| kept.next().unwrap_or(false));
            self.deadlines.shrink_to_fit();
        }
        match &mut self.places {
            Places::Here(places) => {
                places.retain(|place| place.message.is_some());
                places.shrink_to_fit();
            }
            Places::Away(places) => {
                places.retain(|place| place.flags & GONE == 0);
                places.shrink_to_fit();
                self.runs = self.runs.with(places.iter().map(|place| place.away().place));
            }
        }
        (self.start, self.gone_count) = (0, 0);
    }

    /// Lets go of the messages, if all of them may go; gives what that is.
    pub(crate) fn page_out(&mut self, may: PageOut<'_>) -> Option<Moved> {
        let Places::Here(places) = &self.places else { return None };
        // Those that are spilled are written one behind the other: little by little would be many runs.
        let is_ripe = places.len() >= BLOCK_LEN || self.bytes >= may.head_bytes;
        let may_go = |message: &Message| match may.refuge(message, self.read_in) {
            Some(Refuge::Log(_)) => true,
            Some(Refuge::Spill) => is_ripe,
            None => false,
        };
        let there = || places.iter().filter_map(|place| Some((place, place.message.as_deref()?)));
        // Most often the last one tells.
        places.last().and_then(|place| place.message.as_ref()).filter(|last| may_go(last))?;
        if !there().all(|(_, message)| may_go(message)) {
            return None;
        }
        let spilled =
            there().filter(|(_, message)| matches!(may.refuge(message, self.read_in), Some(Refuge::Spill)));
        let bytes = spilled.map(|(_, message)| message.size() as u64).sum();
        let mut spilling = may.spill.map(|spill| Spilling::new(spill, bytes));
        let (mut away, mut gone) = (Vec::with_capacity(places.len()), Moved::default());
        for (place, message) in there() {
            let at = match may.refuge(message, self.read_in)? {
                Refuge::Log(at) => at,
                Refuge::Spill => spilling.as_mut()?.add(message)?,
            };
            let known = Away::of(message, at)?;
            gone.add(message, at);
            away.push(AwayPlace::new(place.distance, place.redelivered, &known));
        }
        self.close_gaps();
        (self.places, self.read_in) = (Places::Away(away), NEVER_READ);
        self.runs = spilling.map(Spilling::end).unwrap_or_default();
        Some(gone)
    }

    /// What has to be read so that the messages are in memory again: numbers of entries, and where their messages are.
    pub(crate) fn wanted(&self) -> Vec<(u64, Place)> {
        let Places::Away(places) = &self.places else { return Vec::new() };
        let there = places.iter().filter(|place| place.flags & GONE == 0);
        there.map(|place| (self.first + u64::from(place.distance), place.away().place)).collect()
    }

    /// True when an entry of that number is there.
    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.find(seq).is_some_and(|index| !self.is_gone(index))
    }

    fn find(&self, seq: u64) -> Option<usize> {
        let distance = self.distance_of(seq)?;
        let found = match &self.places {
            Places::Here(places) => places.binary_search_by_key(&distance, |place| place.distance),
            Places::Away(places) => places.binary_search_by_key(&distance, |place| place.distance),
        };
        found.ok().filter(|index| *index >= self.start)
    }

    /// Messages are in memory again, which `all` counts: gives what came since they were asked for, which is in a block of its
    /// own now.
    pub(crate) fn page_in(
        &mut self,
        messages: &[(u64, Arc<Message>)],
        generation: u32,
        all: &mut Moved,
    ) -> Option<Block> {
        if self.is_here() {
            return None;
        }
        self.close_gaps();
        let Places::Away(places) = &mut self.places else { return None };
        let mut here = Vec::with_capacity(places.len());
        for place in places.iter() {
            let seq = self.first + u64::from(place.distance);
            let found = messages.binary_search_by_key(&seq, |(seq, _)| *seq).ok();
            let Some((_, message)) = found.and_then(|found| messages.get(found)) else { break };
            all.add(message, place.away().place);
            here.push(HerePlace {
                message: Some(message.clone()),
                distance: place.distance,
                redelivered: place.flags & REDELIVERED != 0,
            });
        }
        let count = here.len();
        if count == 0 {
            return None;
        }
        let mut rest = places.split_off(count);
        (self.places, self.read_in) = (Places::Here(here), generation);
        let runs = std::mem::take(&mut self.runs);
        let deadlines = self.deadlines.split_off(count.min(self.deadlines.len()));
        let from = rest.first().map(|place| place.distance)?;
        rest.iter_mut().for_each(|place| place.distance -= from);
        let rest_bytes = rest.iter().map(|place| u64::from(place.body_len)).sum();
        let first = self.first + u64::from(from);
        let runs = runs.with(rest.iter().map(|place| place.away().place));
        let (places, read_in) = (Places::Away(rest), NEVER_READ);
        Some(Block { first, places, deadlines, start: 0, gone_count: 0, bytes: rest_bytes, runs, read_in })
    }

    /// Entries up to a number may have been delivered.
    pub(crate) fn mark_redelivered(&mut self, through: u64) {
        let first = self.first;
        match &mut self.places {
            Places::Here(places) => places.iter_mut().for_each(|place| {
                place.redelivered |= first + u64::from(place.distance) <= through;
            }),
            Places::Away(places) => places.iter_mut().for_each(|place| {
                if first + u64::from(place.distance) <= through {
                    place.flags |= REDELIVERED;
                }
            }),
        }
    }

    /// Places that there is room for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        match &self.places {
            Places::Here(places) => places.capacity(),
            Places::Away(places) => places.capacity(),
        }
    }
}
