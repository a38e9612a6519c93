//! Why a payload could not be decoded, and with which reply code RabbitMQ answers that.

use crate::ReplyCode;
use std::fmt;

/// A payload that is no method, content header or table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Too short, too long, an unknown field type, or nested too deeply.
    Malformed,
    /// A short string of a method is not UTF-8; RabbitMQ checks those, but not the ones among the properties.
    ShortstrNotUtf8,
    /// The weight of a content header must be 0.
    Weight(u16),
    /// No such method in AMQP 0-9-1 as RabbitMQ speaks it.
    UnknownMethod {
        /// Class id as received.
        class: u16,
        /// Method id as received.
        method: u16,
    },
}

impl DecodeError {
    /// What to close the connection with.
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            DecodeError::Malformed | DecodeError::ShortstrNotUtf8 => ReplyCode::FrameError,
            DecodeError::Weight(_) => ReplyCode::UnexpectedFrame,
            DecodeError::UnknownMethod { .. } => ReplyCode::CommandInvalid,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Malformed => f.write_str("cannot decode payload"),
            DecodeError::ShortstrNotUtf8 => f.write_str("Malformed UTF-8 in shortstr"),
            DecodeError::Weight(weight) => write!(f, "content header with weight {weight}, expected 0"),
            DecodeError::UnknownMethod { class, method } => {
                write!(f, "unknown method {method} of class {class}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
