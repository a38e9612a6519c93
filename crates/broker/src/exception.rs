//! A refusal in RabbitMQ's words.

use leveret_amqp::ReplyCode;

/// Why a method is refused. The code decides whether the channel or the connection closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The reply code.
    pub code: u16,
    /// The whole text: `NOT_FOUND - no queue 'q' in vhost '/'`.
    pub text: String,
    /// The connection closes, not only the channel.
    pub hard: bool,
}

impl Exception {
    /// A refusal with this code; the code's name is put before the text.
    pub fn new(code: ReplyCode, text: impl AsRef<str>) -> Self {
        Exception { code: code.code(), text: code.text(text.as_ref()), hard: code.is_hard() }
    }

    /// What was said cannot be.
    pub fn precondition(text: impl AsRef<str>) -> Self {
        Self::new(ReplyCode::PreconditionFailed, text)
    }

    /// Whoever asks has not said where it wants the reply. (RabbitMQ: direct reply-to)
    pub fn no_reply_consumer() -> Self {
        Self::precondition("fast reply consumer does not exist")
    }
}

/// A name as refusals print it.
pub(crate) fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}
