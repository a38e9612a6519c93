//! Reply codes: what a refusal is called, and whether it closes the channel or the whole connection.
//! (AMQP 0-9-1, 1.2; RabbitMQ's names)

macro_rules! reply_codes {
    ($($(#[$doc:meta])* $code:literal $name:ident $text:literal $closes:ident)*) => {
        /// Why a method, a channel or a connection was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ReplyCode { $($(#[$doc])* $name),* }

        impl ReplyCode {
            /// All of them, in the order of their numbers.
            pub const ALL: &[ReplyCode] = &[$(ReplyCode::$name),*];

            /// The number on the wire.
            pub fn code(self) -> u16 {
                match self { $(ReplyCode::$name => $code),* }
            }

            /// The name in front of each reply text: `NOT_FOUND`.
            pub fn name(self) -> &'static str {
                match self { $(ReplyCode::$name => $text),* }
            }

            /// True when it closes the connection, false when it closes (or only informs) the channel.
            pub fn is_hard(self) -> bool {
                match self { $(ReplyCode::$name => reply_codes!(@$closes)),* }
            }

            /// The code with this number.
            pub fn from_code(code: u16) -> Option<ReplyCode> {
                match code { $($code => Some(ReplyCode::$name),)* _ => None }
            }
        }
    };
    (@hard) => { true };
    (@soft) => { false };
}

reply_codes! {
    /// No error: an orderly close.
    200 Success "REPLY_SUCCESS" soft
    /// A content too large to be taken now.
    311 ContentTooLarge "CONTENT_TOO_LARGE" soft
    /// A mandatory message that no queue got; for `basic.return`.
    312 NoRoute "NO_ROUTE" soft
    /// An immediate message without a consumer; for `basic.return`.
    313 NoConsumers "NO_CONSUMERS" soft
    /// An operator closed the connection.
    320 ConnectionForced "CONNECTION_FORCED" hard
    /// An unknown virtual host.
    402 InvalidPath "INVALID_PATH" hard
    /// Rights are missing.
    403 AccessRefused "ACCESS_REFUSED" soft
    /// No such exchange or queue.
    404 NotFound "NOT_FOUND" soft
    /// Another connection owns it.
    405 ResourceLocked "RESOURCE_LOCKED" soft
    /// A condition of the method is not met.
    406 PreconditionFailed "PRECONDITION_FAILED" soft
    /// A malformed frame.
    501 FrameError "FRAME_ERROR" hard
    /// A field with an impossible value.
    502 SyntaxError "SYNTAX_ERROR" hard
    /// A method that may not come now.
    503 CommandInvalid "COMMAND_INVALID" hard
    /// A channel that is not open, or open already.
    504 ChannelError "CHANNEL_ERROR" hard
    /// A frame that may not come now.
    505 UnexpectedFrame "UNEXPECTED_FRAME" hard
    /// Not enough resources.
    506 ResourceError "RESOURCE_ERROR" hard
    /// Forbidden by the agreement or by a rule.
    530 NotAllowed "NOT_ALLOWED" hard
    /// Not available here.
    540 NotImplemented "NOT_IMPLEMENTED" hard
    /// A mistake of the server.
    541 InternalError "INTERNAL_ERROR" hard
}

impl ReplyCode {
    /// The reply text `NAME - text`; cut to what a short string holds, with `...` at the end of a cut one.
    pub fn text(self, text: &str) -> String {
        let mut whole = format!("{} - {text}", self.name());
        if whole.len() > 255 {
            let mut end = 252;
            while !whole.is_char_boundary(end) {
                end -= 1;
            }
            whole.truncate(end);
            whole.push_str("...");
        }
        whole
    }
}
