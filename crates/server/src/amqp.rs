//! The AMQP 0-9-1 side: a session per connection, its channels, and what each method does.

mod channel;
mod commands;
mod content;
mod credit;
mod declare;
mod handshake;
mod incoming;
mod methods;
mod outgoing;
mod permissions;
mod session;
mod tx;

pub(crate) use session::AmqpSession;
