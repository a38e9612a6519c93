//! The Redis protocol, RESP2 and RESP3: requests in, replies out, no socket and no meaning.

mod args;
mod decode;
mod double;
mod encode;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod lent;
mod reply;
#[cfg(any(test, feature = "text"))]
pub mod text;

pub use args::{Args, ArgsBuf, Batch};
pub use decode::{Decoder, Limits, ProtocolError};
pub use double::DoubleText;
pub use encode::{Reply, Version, encode_command};
pub use lent::{Lent, Owner, Piece};
pub use reply::{Value, parse_reply, skip_reply};

#[cfg(test)]
mod tests;
