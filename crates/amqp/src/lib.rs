//! `leveret-amqp`: see ARCHITECTURE.md.
