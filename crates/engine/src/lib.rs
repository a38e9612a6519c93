//! `leveret-engine`: see ARCHITECTURE.md.
