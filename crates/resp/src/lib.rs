//! `leveret-resp`: see ARCHITECTURE.md.
