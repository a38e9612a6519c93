//! `leveret-server`: see ARCHITECTURE.md.
