//! One target for each decoder and file format: the place for it. The entries exist: `fuzz` modules of `resp`, `amqp`
//! and `wal`, behind their feature `fuzz`.

/// Why it cannot be run.
pub(crate) fn run(_args: &[String]) -> &'static str {
    "fuzz is not built yet"
}
