//! What can go wrong with a log, with the file and the operation it happened to.

use std::fmt;

/// A failure. After one of `Io` in a write or sync the log refuses everything, unless there was only no space to write.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused.
    Io {
        /// What was tried: `write`, `sync`, …
        operation: &'static str,
        /// Which file.
        file: String,
        /// Its words.
        source: std::io::Error,
    },
    /// What is on disk is not what was written.
    Corrupt {
        /// Which segment.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A write or sync has failed before.
    Poisoned,
    /// What was asked for cannot be done with what is there.
    Refused(String),
}

impl Error {
    pub(crate) fn io(operation: &'static str, file: &str, source: std::io::Error) -> Self {
        Error::Io { operation, file: file.to_owned(), source }
    }

    /// There is no space: nothing is lost, and the same may be tried again. A sync never answers this, for what it leaves on disk
    /// is not known.
    pub fn is_full(&self) -> bool {
        match self {
            Error::Io { operation, source, .. } => *operation != "sync" && is_full(source),
            Error::Corrupt { .. } | Error::Poisoned | Error::Refused(_) => false,
        }
    }

    pub(crate) fn corrupt(file: &str, offset: usize, reason: impl Into<String>) -> Self {
        Error::Corrupt { file: file.to_owned(), offset: offset as u64, reason: reason.into() }
    }
}

pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { operation, file, source } => write!(f, "cannot {operation} {file}: {source}"),
            Error::Corrupt { file, offset, reason } => {
                write!(f, "{file} is damaged at byte {offset}: {reason}")
            }
            Error::Poisoned => f.write_str("the log has failed before and takes nothing more"),
            Error::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
