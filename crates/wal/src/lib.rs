//! `leveret-wal`: see ARCHITECTURE.md.
