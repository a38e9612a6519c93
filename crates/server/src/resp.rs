//! The RESP side: a session per connection, the table of all commands, and the commands that concern the session
//! rather than the data.

mod commands;
mod session;
mod table;

pub use session::{Refused, RespSession, Turn};
pub use table::{Command, Run, TABLE, find};

#[cfg(test)]
mod tests;
