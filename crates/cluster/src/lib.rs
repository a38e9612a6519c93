//! `leveret-cluster`: see ARCHITECTURE.md.
