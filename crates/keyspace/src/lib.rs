//! Redis' data: sixteen databases of keys, the primitive changes that mutate them, and the commands.
//!
//! A command is one row and one function in `commands/`; it reads through [`View`] or decides and calls the primitives
//! of [`Txn`], the only code that mutates. This crate knows no socket, no clock and no log format: time comes in
//! as an argument, and a change is bytes in somebody else's record.

mod change;
mod checkpoint;
pub mod command;
pub mod commands;
mod db;
mod decimal;
mod entry;
mod error;
pub mod event;
mod evict;
mod eviction;
mod expire;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod geohash;
pub mod glob;
mod hyperloglog;
mod number;
mod parcel;
pub mod rdb;
mod txn;
mod values;
mod view;
mod watch;

pub use change::{CHANGE_NAMES, CHANGE_TAGS};
pub use command::{Row, Run, Spec, category, flag};
pub use db::{DATABASES, DbIndex, Keyspace};
pub use error::Error;
pub use evict::Evicted;
pub use eviction::{Among, By, Eviction, Policy};
pub use leveret_resp::{Args, ArgsBuf, Lent, Reply};
pub use number::{parse_float, parse_integer};
pub use parcel::Parcel;
pub use txn::{Block, Txn};
pub use values::limits::{LIMITS, Limit};
pub use view::View;
pub use watch::{Captured, Happening, SessionId, Watches};

/// The longest string. (Redis: `proto-max-bulk-len`)
pub(crate) const STRING_MAX: usize = 512 * 1024 * 1024;

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;
