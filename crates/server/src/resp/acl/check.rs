//! May a command be executed with these arguments?

use super::{Rules, Selector};
use crate::resp::table::Command;
use leveret_engine::keyspace::command::{FindKeys, KeySpec};
use leveret_engine::keyspace::{Args, flag, glob};

/// What a user has no permission for, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Command,
    Key,
    Channel,
}

/// A refusal, and which argument it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Denied {
    pub(crate) why: Why,
    pub(crate) at: usize,
    /// The command: mostly the one that is to be executed.
    pub(crate) command: &'static str,
}

impl Denied {
    /// What a Redis client is told.
    pub(crate) fn told_to(self, user: &str) -> String {
        match self.why {
            Why::Command => {
                format!("NOPERM User {user} has no permissions to run the '{}' command", self.command)
            }
            Why::Key => "NOPERM No permissions to access a key".into(),
            Why::Channel => "NOPERM No permissions to access a channel".into(),
        }
    }

    /// Likewise whoever asks what a user may do: names the argument.
    pub(crate) fn told_about(self, user: &str, args: Args<'_>) -> String {
        let object = String::from_utf8_lossy(args.get(self.at).unwrap_or_default());
        match self.why {
            Why::Command => format!("User {user} has no permissions to run the '{}' command", self.command),
            Why::Key => format!("User {user} has no permissions to access the '{object}' key"),
            Why::Channel => format!("User {user} has no permissions to access the '{object}' channel"),
        }
    }

    /// What the client is told whose message was to be a command.
    pub(crate) fn text(self) -> String {
        match self.why {
            Why::Command => {
                format!("NOPERM this user has no permissions to run the '{}' command", self.command)
            }
            Why::Key => {
                "NOPERM this user has no permissions to access one of the keys used as arguments".into()
            }
            Why::Channel => {
                "NOPERM this user has no permissions to access one of the channels used as arguments".into()
            }
        }
    }
}

/// How a command uses channels.
enum Channels {
    /// Those from the first argument on, so many.
    Names(usize),
    Patterns,
    None,
}

fn channels(command: &Command) -> Channels {
    match command.spec.name {
        "publish" | "spublish" => Channels::Names(1),
        "subscribe" | "ssubscribe" => Channels::Names(usize::MAX),
        "psubscribe" => Channels::Patterns,
        _ => Channels::None,
    }
}

impl Selector {
    pub(super) fn check(&self, command: &Command, args: Args<'_>) -> Result<(), Denied> {
        let denied = |why, at| Err(Denied { why, at, command: command.spec.name });
        if !self.has(command) && command.spec.flags & flag::NO_AUTH == 0 && !self.allows_first(command, args)
        {
            return denied(Why::Command, 0);
        }
        if !self.all_keys {
            for keys in command.spec.keys.iter().filter(|keys| !keys.flags.contains(&"NOT_KEY")) {
                let (read, write) = uses(command, keys, args);
                for at in command.spec.positions_of(keys, args) {
                    if !self.allows_key(&args[at], read, write) {
                        return denied(Why::Key, at);
                    }
                }
            }
        }
        if !self.all_channels {
            let (count, is_pattern) = match channels(command) {
                Channels::Names(count) => (count, false),
                Channels::Patterns => (usize::MAX, true),
                Channels::None => return Ok(()),
            };
            for (at, name) in args.iter().enumerate().skip(1).take(count) {
                if !self.allows_channel(name, is_pattern) {
                    return denied(Why::Channel, at);
                }
            }
        }
        Ok(())
    }

    fn allows_first(&self, command: &Command, args: Args<'_>) -> bool {
        let first = args.get(1).unwrap_or_default();
        self.first_args
            .iter()
            .any(|(of, arg)| *of == command.index && first.eq_ignore_ascii_case(arg.as_bytes()))
    }

    fn allows_key(&self, key: &[u8], read: bool, write: bool) -> bool {
        self.keys.iter().any(|allowed| {
            (allowed.read || !read) && (allowed.write || !write) && glob::matches(&allowed.pattern, key)
        })
    }

    /// A pattern is allowed only if it is the same as one that is.
    pub(crate) fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(|allowed| match is_pattern {
                true => **allowed == *name,
                false => glob::matches(allowed, name),
            })
    }
}

impl Rules {
    /// True when every key may be read. (Redis: SORT with BY and GET)
    pub(crate) fn reads_all_keys(&self, command: &Command) -> bool {
        self.selectors().any(|selector| selector.has(command) && selector.reads_all_keys())
    }
}

/// Whether a range of keys is read and written.
fn uses(command: &Command, keys: &KeySpec, args: Args<'_>) -> (bool, bool) {
    let has = |flag: &str| keys.flags.contains(&flag);
    let says = |from, words: &[&[u8]]| {
        args.iter().skip(from).any(|arg| words.iter().any(|word| arg.eq_ignore_ascii_case(word)))
    };
    match command.spec.name {
        // It reads the value only when it answers or compares it.
        "set" => (says(3, &[b"GET", b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"]), true),
        "bitfield" => (true, says(2, &[b"SET", b"INCRBY"])),
        _ if keys.find == FindKeys::Unknown && !has("OW") => (false, false),
        _ => (has("ACCESS"), has("INSERT") || has("UPDATE") || has("DELETE")),
    }
}
