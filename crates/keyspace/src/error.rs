//! Every refusal of a command, with the exact text that Redis gives.

use std::borrow::Cow;
use std::fmt;

/// Why a command was refused. `Display` is the whole error line, without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The key holds another type.
    WrongType,
    /// An option is misspelt, repeated or contradicts another.
    Syntax,
    /// An argument should be an integer of 64 bits.
    NotInteger,
    /// An argument should be a number.
    NotFloat,
    /// An argument should not be negative.
    MustBePositive,
    /// An argument is outside the range the command allows.
    OutOfRange(&'static str),
    /// An increment would leave 64 bits.
    Overflow,
    /// The result would be longer than `proto-max-bulk-len`.
    StringTooLong,
    /// RENAME and others: the key must exist.
    NoSuchKey,
    /// A cursor of SCAN is not a number.
    InvalidCursor,
    /// A time to live is not positive or leaves 64 bits; names the command.
    InvalidExpire(&'static str),
    /// A database index is outside the configured range.
    DbOutOfRange,
    /// Too few or too many arguments; names the command.
    WrongArity(Cow<'static, str>),
    /// A blocking command's timeout is not a number.
    TimeoutNotFloat,
    /// A blocking command's timeout is negative.
    TimeoutNegative,
    /// A blocking command's timeout leaves 64 bits.
    TimeoutOutOfRange,
    /// Anything said once: the whole line.
    Other(Cow<'static, str>),
}

impl Error {
    /// An error line of its own.
    pub const fn new(line: &'static str) -> Self {
        Error::Other(Cow::Borrowed(line))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::Syntax => "ERR syntax error",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotFloat => "ERR value is not a valid float",
            Error::MustBePositive => "ERR value is out of range, must be positive",
            Error::OutOfRange(what) => return write!(f, "ERR {what} is out of range"),
            Error::Overflow => "ERR increment or decrement would overflow",
            Error::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Error::NoSuchKey => "ERR no such key",
            Error::InvalidCursor => "ERR invalid cursor",
            Error::InvalidExpire(command) => {
                return write!(f, "ERR invalid expire time in '{command}' command");
            }
            Error::DbOutOfRange => "ERR DB index is out of range",
            Error::WrongArity(command) => {
                return write!(f, "ERR wrong number of arguments for '{command}' command");
            }
            Error::TimeoutNotFloat => "ERR timeout is not a float or out of range",
            Error::TimeoutNegative => "ERR timeout is negative",
            Error::TimeoutOutOfRange => "ERR timeout is out of range",
            Error::Other(line) => line,
        })
    }
}

impl std::error::Error for Error {}
