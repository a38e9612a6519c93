//! Builds and runs the fuzz targets. They are beside the house, in `fuzz/`: one row for each decoder and file format.
//! Debug assertions and overflow checks stay on, which is worth more here than speed.

use crate::step::{cargo, check, target};
use anyhow::Result;

/// Hands the flags on; an input that panics is kept under `target/fuzz`.
pub(crate) fn run(flags: &[String]) -> Result<()> {
    let mut fuzz = cargo(&["run", "--quiet", "--package", "leveret-fuzz", "--", "--found"]);
    fuzz.arg(target().join("fuzz")).args(flags);
    check(fuzz)
}
