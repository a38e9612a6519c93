//! `leveret-broker`: see ARCHITECTURE.md.
