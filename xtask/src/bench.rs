//! Side by side with the peers: the place for it.

/// Why it cannot be run.
pub(crate) fn run(_args: &[String]) -> &'static str {
    "bench is not built yet"
}
