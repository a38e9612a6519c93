//! What functions of the server raise in a script. Lua is handed it wrapped; before a script looks at it the prelude asks for what
//! Redis would have raised: a table or a text.

use mlua::Lua;
use std::fmt;
use std::sync::Arc;

/// Why a function has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raised {
    /// An error of a command, with its code: a table with the field `err`.
    Reply(String),
    /// A text, as Lua's own functions raise it.
    Text(String),
}

impl Raised {
    /// A text with the place of the function that called the one that fails, if that is a function of Lua.
    pub(super) fn at_caller(lua: &Lua, why: &str) -> Self {
        let place = lua.inspect_stack(1, |debug| {
            let line = debug.current_line()?;
            Some(format!("{}:{line}: ", debug.source().short_src?))
        });
        Raised::Text(place.flatten().unwrap_or_default() + why)
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Raised::Reply(text) | Raised::Text(text) => text,
        }
    }

    /// What is inside an error of the interpreter, if it is one of these.
    pub(super) fn of(error: &mlua::Error) -> Option<&Self> {
        match error {
            mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => {
                Self::of(cause)
            }
            mlua::Error::ExternalError(inner) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Raised {}

impl From<Raised> for mlua::Error {
    fn from(raised: Raised) -> Self {
        mlua::Error::ExternalError(Arc::new(raised))
    }
}
