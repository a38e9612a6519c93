//! AMQP 0-9-1 with RabbitMQ's extensions: bytes to frames, methods, tables and properties, and back. It knows no
//! socket, no channel state and no queue. Everything decoded borrows from the input; headers and properties keep the
//! bytes they came in, so what a client published leaves as it was.

mod content;
mod error;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod methods;
mod properties;
mod read;
mod reply_code;
mod table;
mod table_buf;
#[cfg(any(test, feature = "text"))]
pub mod text;
mod value;
mod write;

pub use content::{encode_body, encode_content, encode_content_around, encode_header};
pub use error::DecodeError;
pub use frame::{
    FRAME_END, FRAME_MIN_SIZE, FRAME_OVERHEAD, Frame, FrameError, FrameKind, HEARTBEAT, PROTOCOL_HEADER,
    ProtocolHeader, parse, parse_protocol_header,
};
pub use methods::*;
pub use properties::{ContentHeader, Properties, PropertyValues};
pub use reply_code::ReplyCode;
pub use table::{Array, DEPTH_MAX, Table};
pub use table_buf::{ArrayBuf, TableBuf};
pub use value::Value;

#[cfg(test)]
mod tests;
