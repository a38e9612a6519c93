//! Sorted sets.

use crate::command::Row;

pub(super) const ROWS: &[Row] = &[];
