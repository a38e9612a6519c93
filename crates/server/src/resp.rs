//! The RESP side: a session per connection, the table of all commands, and the commands that concern the session
//! rather than the data.

mod acl;
mod commands;
mod scripting;
mod session;
mod table;

pub(crate) use acl::{Compiled, Denied, History};
pub(crate) use commands::configure;
pub use commands::is_setting;
pub(crate) use scripting::Scripts;
pub(crate) use session::{RespSession, Turn};
pub(crate) use table::{Command, Run, TABLE, find};

#[cfg(test)]
mod tests;
