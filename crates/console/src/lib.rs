//! `leveret-console`: see ARCHITECTURE.md.
