//! `leveret-base`: see ARCHITECTURE.md.
