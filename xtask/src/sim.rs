//! Builds and runs the simulation, which is beside the house, in `crates/sim`: optimised, and with debug assertions.

use crate::step::{cargo, check};
use anyhow::Result;

/// Hands the flags on.
pub(crate) fn run(flags: &[String]) -> Result<()> {
    let mut sim = cargo(&["run", "--quiet", "--profile", "sim", "--package", "leveret-sim", "--"]);
    sim.args(flags);
    check(sim)
}
