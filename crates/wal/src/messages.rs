//! Whether every message is there that the newest checkpoint has by name only. A start does not look: it would have to read
//! all of a backlog. So damage to one is found when it is wanted, or here.

use crate::archive::Walk;
use crate::bodies;
use crate::checkpoint::{self, CheckpointHead, checkpoint_name};
use crate::error::Error;
use crate::log::segment_name;
use crate::recovery::read_file;
use crate::storage::Storage;
use crate::units::{self, Census, Unit};
use leveret_base::codec::Place;
use std::sync::Arc;

/// What a checkpoint has by name only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// How many messages, each once.
    pub messages: u64,
    /// How many of them cannot be read.
    pub missing: u64,
    /// What is wrong where the first of these should be.
    pub trouble: Option<String>,
}

/// Reads all files that have such messages, and changes nothing.
pub fn check_named(storage: &dyn Storage) -> Result<Named, Error> {
    let Some(position) = checkpoint::newest_position(storage)? else { return Ok(Named::default()) };
    let mut census = Census::new(Arc::new(units::list(storage, position)?));
    let name = checkpoint_name(position);
    let file = storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
    let head = CheckpointHead { position, time_ms: 0 };
    let mut places = Vec::new();
    checkpoint::each_name(file.as_ref(), &name, head, &mut |name| {
        census.count(name);
        places.push(name.place);
    })?;
    places.sort_unstable();
    places.dedup();
    let mut search = Search { storage, found: vec![false; places.len()], places, trouble: None };
    // The newest ones may lie behind what the checkpoint has made unnecessary.
    let tallied = census.units.iter().zip(&census.tallies).filter(|(_, tally)| tally.count > 0);
    let needed: Vec<Unit> = tallied.map(|(unit, _)| *unit).collect();
    search.bodies(&needed)?;
    search.segments(&census.units, &needed)?;
    let missing = search.found.iter().filter(|is_found| !**is_found).count() as u64;
    let lost = search.places.iter().zip(&search.found).find(|(_, is_found)| !**is_found);
    let unexplained =
        || lost.map(|(place, _)| format!("a message of position {} is missing", place.position));
    let trouble = if missing > 0 { search.trouble.or_else(unexplained) } else { None };
    Ok(Named { messages: search.places.len() as u64, missing, trouble })
}

struct Search<'a> {
    storage: &'a dyn Storage,
    places: Vec<Place>,
    found: Vec<bool>,
    trouble: Option<String>,
}

impl Search<'_> {
    fn bodies(&mut self, needed: &[Unit]) -> Result<(), Error> {
        for unit in needed.iter().filter(|unit| !unit.is_segment()) {
            let (places, found) = (&self.places, &mut self.found);
            let read = bodies::read(self.storage, &unit.name(), &mut |place| {
                if let Some(is_found) = places.binary_search(&place).ok().and_then(|i| found.get_mut(i)) {
                    *is_found = true;
                }
            });
            self.note(read)?;
        }
        Ok(())
    }

    /// Records are looked for by their positions: a whole one has all that it had. The last one of a segment may end in the next.
    fn segments(&mut self, units: &[Unit], needed: &[Unit]) -> Result<(), Error> {
        let (mut walk, mut before, mut bytes) = (Walk::default(), None, Vec::new());
        let (mut positions, mut is_rest) = (Vec::new(), false);
        for unit in units.iter().filter(|unit| unit.is_segment()) {
            let is_next = before.is_some_and(|before: Unit| before.ordinal + 1 == unit.ordinal);
            let goes_on = is_next && before.is_some_and(|before| needed.contains(&before));
            if !needed.contains(unit) && !goes_on {
                continue;
            }
            if !is_next {
                (walk, is_rest) = (Walk::default(), false);
            }
            before = Some(*unit);
            let name = segment_name(unit.ordinal);
            let file = self.storage.open(&name).map_err(|e| Error::io("open", &name, e))?;
            read_file(file.as_ref(), &mut bytes).map_err(|e| Error::io("read", &name, e))?;
            positions.clear();
            let walked =
                walk.segment(&name, unit.ordinal, &bytes, &mut |position, _| positions.push(position));
            // The end of a record whose beginning was not read is not all of it.
            is_rest |= matches!(&walked, Ok(Some(walked)) if walked.begins_inside);
            for &position in positions.iter().skip(usize::from(is_rest)) {
                let from = self.places.partition_point(|place| place.position < position);
                let to = self.places.partition_point(|place| place.position <= position);
                self.found.get_mut(from..to).unwrap_or_default().fill(true);
            }
            is_rest &= positions.is_empty();
            let walked = match walked {
                Ok(Some(walked)) => match walked.trouble {
                    Some(why) => Err(Error::corrupt(&name, walked.used, why)),
                    None => Ok(()),
                },
                Ok(None) => Err(Error::corrupt(&name, 0, "its head is damaged")),
                Err(error) => Err(error),
            };
            if walked.is_err() {
                before = None;
            }
            self.note(walked)?;
        }
        Ok(())
    }

    /// Damage is noted, and the rest is read nevertheless.
    fn note(&mut self, read: Result<(), Error>) -> Result<(), Error> {
        match read {
            Err(error @ Error::Corrupt { .. }) => {
                self.trouble.get_or_insert_with(|| error.to_string());
                Ok(())
            }
            read => read,
        }
    }
}
