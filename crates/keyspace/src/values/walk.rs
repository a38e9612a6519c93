//! How far a checkpoint has come through a large table, and what was written to the table meanwhile. The checkpoint wants
//! what was there when the walk began: an element that has not been handed over yet is handed over before it changes or
//! goes, and one that came later never is. A walk knows names and hashes and nothing of what an element is.

use crate::{DbIndex, UnixMillis};
use foldhash::fast::FixedState;
use std::collections::HashSet;

/// A walk through one table.
pub(crate) struct Walk {
    /// Where the table was when the checkpoint began.
    pub(crate) db: DbIndex,
    pub(crate) key: Box<[u8]>,
    pub(crate) deadline: Option<UnixMillis>,
    /// Where the scan goes on; what lies before was handed over.
    cursor: u64,
    is_over: bool,
    /// Behind the cursor: what came later, or was handed over before it changed.
    settled: HashSet<Box<[u8]>, FixedState>,
    /// What was handed over, as changes.
    pub(crate) out: Vec<u8>,
}

/// What the table's `scan` does with its cursor.
const CURSOR_SHIFT: u32 = leveret_base::CURSOR_SHIFT;

impl Walk {
    /// At the start of a table.
    pub(crate) fn new(db: DbIndex, key: &[u8], deadline: Option<UnixMillis>) -> Self {
        Self {
            db,
            key: key.into(),
            deadline,
            cursor: 0,
            is_over: false,
            settled: HashSet::default(),
            out: Vec::new(),
        }
    }

    /// Where elements are handed over.
    pub(super) fn step(&mut self) -> Step<'_> {
        Step { db: self.db, key: &self.key, out: &mut self.out }
    }

    fn is_ahead(&self, hash: u64) -> bool {
        !self.is_over && hash >> CURSOR_SHIFT >= self.cursor
    }
}

/// Where a table keeps its walk. A copy of the table is not walked.
#[derive(Default)]
pub(crate) struct Slot(Option<Box<Walk>>);

impl Clone for Slot {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Slot {
    /// A walk begins.
    pub(crate) fn begin(&mut self, walk: Walk) {
        self.0 = Some(Box::new(walk));
    }

    /// An element comes that was not there.
    #[inline]
    pub(super) fn comes(&mut self, hash: u64, name: &[u8]) {
        if let Some(walk) = &mut self.0
            && walk.is_ahead(hash)
        {
            walk.settled.insert(name.into());
        }
    }

    /// An element is about to go: the walk, if it must be handed over first.
    #[inline]
    pub(super) fn goes(&mut self, hash: u64, name: &[u8]) -> Option<&mut Walk> {
        let walk = self.0.as_deref_mut().filter(|walk| walk.is_ahead(hash))?;
        (!walk.settled.remove(name)).then_some(walk)
    }

    /// An element is about to change: likewise.
    #[inline]
    pub(super) fn changes(&mut self, hash: u64, name: &[u8]) -> Option<&mut Walk> {
        let walk = self.0.as_deref_mut().filter(|walk| walk.is_ahead(hash))?;
        walk.settled.insert(name.into()).then_some(walk)
    }

    /// One step: `scan` visits elements from a cursor on, gives those that are not settled, and the cursor to go on from.
    /// True when the walk is over.
    pub(super) fn step(
        &mut self,
        scan: impl FnOnce(u64, &dyn Fn(&[u8]) -> bool, &mut Step<'_>) -> u64,
    ) -> bool {
        let Some(walk) = self.0.as_deref_mut() else { return true };
        let Walk { db, key, cursor, settled, out, .. } = walk;
        let next = scan(*cursor, &|name| settled.contains(name), &mut Step { db: *db, key, out });
        (*cursor, walk.is_over) = (next, next == 0);
        walk.is_over
    }

    /// The walk, to be looked at or ended.
    pub(crate) fn get(&mut self) -> &mut Option<Box<Walk>> {
        &mut self.0
    }
}

/// Where elements are handed over.
pub(super) struct Step<'a> {
    pub(super) db: DbIndex,
    pub(super) key: &'a [u8],
    pub(super) out: &'a mut Vec<u8>,
}
