//! `leveret-keyspace`: see ARCHITECTURE.md.
