//! One selector: which commands, on which keys, through which channels.

use super::setuser::Wrong;
use crate::resp::table::{Command, Run, TABLE};
use leveret_engine::keyspace::command::category;
use std::fmt;

/// A set of commands with keys and channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    /// A bit for each command of the table.
    pub(super) commands: Vec<u64>,
    /// What `+@all` or `-@all` has said last, which counts for commands to come.
    pub(super) all_commands: bool,
    /// What was said of commands since, as it is printed: with its sign.
    pub(super) said: Vec<String>,
    /// Commands that are refused but for a first argument: `select|0`.
    pub(super) first_args: Vec<(usize, String)>,
    pub(super) all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_channels: bool,
    pub(super) channels: Vec<Box<[u8]>>,
}

/// Keys that may be read, written or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) pattern: Box<[u8]>,
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (self.read, self.write) {
            (true, false) => "%R~",
            (false, true) => "%W~",
            _ => "~",
        };
        write!(f, "{sign}{}", String::from_utf8_lossy(&self.pattern))
    }
}

impl Selector {
    /// From rules between blanks.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut selector = Self::default();
        text.split(' ').filter(|rule| !rule.is_empty()).try_for_each(|rule| selector.apply(rule))?;
        Ok(selector)
    }

    /// True when it refuses nothing.
    pub(super) fn is_unlimited(&self) -> bool {
        self.all_keys && self.all_channels && self.all_commands && self.said.is_empty()
    }

    /// True when it lets every key be read.
    pub(super) fn reads_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|key| key.read && *key.pattern == *b"*")
    }

    /// One rule.
    pub(super) fn apply(&mut self, rule: &str) -> Result<(), Wrong> {
        match rule.to_ascii_lowercase().as_str() {
            "allkeys" | "~*" => (self.all_keys, self.keys) = (true, Vec::new()),
            "resetkeys" => (self.all_keys, self.keys) = (false, Vec::new()),
            "allchannels" | "&*" => (self.all_channels, self.channels) = (true, Vec::new()),
            "resetchannels" => (self.all_channels, self.channels) = (false, Vec::new()),
            "allcommands" | "+@all" => self.set_all(true),
            "nocommands" | "-@all" => self.set_all(false),
            lower => match rule.as_bytes() {
                [b'~', pattern @ ..] => self.add_key(true, true, pattern)?,
                [b'%', flags @ ..] => {
                    let at = flags.iter().position(|&byte| byte == b'~').ok_or(Wrong::Syntax)?;
                    let (mut read, mut write) = (false, false);
                    for flag in &flags[..at] {
                        match flag {
                            b'R' | b'r' if !read => read = true,
                            b'W' | b'w' if !write => write = true,
                            _ => return Err(Wrong::Syntax),
                        }
                    }
                    if !read && !write {
                        return Err(Wrong::Syntax);
                    }
                    self.add_key(read, write, &flags[at + 1..])?;
                }
                [b'&', pattern @ ..] => self.add_channel(pattern)?,
                [b'+', ..] => self.command(true, &lower[1..])?,
                [b'-', ..] => self.command(false, &lower[1..])?,
                _ => return Err(Wrong::Syntax),
            },
        }
        Ok(())
    }

    fn add_key(&mut self, read: bool, write: bool, pattern: &[u8]) -> Result<(), Wrong> {
        if self.all_keys {
            return Err(Wrong::AfterAllKeys);
        }
        check_word(pattern)?;
        match self.keys.iter_mut().find(|key| *key.pattern == *pattern) {
            Some(key) => (key.read, key.write) = (key.read || read, key.write || write),
            None => self.keys.push(KeyPattern { read, write, pattern: pattern.into() }),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), Wrong> {
        if self.all_channels {
            return Err(Wrong::AfterAllChannels);
        }
        check_word(pattern)?;
        if !self.channels.iter().any(|channel| **channel == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    fn set_all(&mut self, allowed: bool) {
        self.commands = vec![if allowed { u64::MAX } else { 0 }; TABLE.len().div_ceil(64)];
        self.all_commands = allowed;
        self.said.clear();
        self.first_args.clear();
    }

    /// `+name`, `-name`, with a category, a subcommand or a first argument.
    fn command(&mut self, allowed: bool, name: &str) -> Result<(), Wrong> {
        if let Some(category) = name.strip_prefix('@') {
            let bit = category_bit(category).ok_or(Wrong::Unknown)?;
            let of_it = TABLE.iter().filter(|command| command.spec.categories() & bit != 0);
            of_it.for_each(|command| self.set(command, allowed));
        } else if let Some(command) = TABLE.get(name.as_bytes()) {
            self.set(command, allowed);
            for sub in TABLE.subs(command.spec.name) {
                self.set(sub, allowed);
            }
        } else {
            let (of, argument) = name.rsplit_once('|').filter(|_| allowed).ok_or(Wrong::Unknown)?;
            let command = TABLE.get(of.as_bytes()).ok_or(Wrong::Unknown)?;
            if of.contains('|') {
                return Err(Wrong::OfSubcommand);
            }
            if argument.is_empty() {
                return Err(Wrong::Syntax);
            }
            if matches!(command.run, Run::Container) {
                return Err(Wrong::Unknown);
            }
            self.first_args.push((command.index, argument.into()));
        }
        self.say(allowed, name);
        Ok(())
    }

    /// What was said of the same before, or of its subcommands, does not count any more.
    fn say(&mut self, allowed: bool, name: &str) {
        let is_of = |said: &String| {
            let rest = said.get(1..).and_then(|said| said.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        };
        self.said.retain(|said| !is_of(said));
        self.said.push(format!("{}{name}", if allowed { '+' } else { '-' }));
    }

    fn set(&mut self, command: &Command, allowed: bool) {
        if self.commands.is_empty() {
            self.commands = vec![0; TABLE.len().div_ceil(64)];
        }
        let (word, bit) = (command.index / 64, 1 << (command.index % 64));
        if allowed {
            self.commands[word] |= bit;
        } else {
            self.commands[word] &= !bit;
        }
        self.first_args.retain(|(index, _)| *index != command.index);
    }

    pub(super) fn has(&self, command: &Command) -> bool {
        self.commands.get(command.index / 64).is_some_and(|word| word & 1 << (command.index % 64) != 0)
    }

    /// What is said of commands. (Redis: ACL GETUSER commands)
    pub(crate) fn commands_text(&self) -> String {
        let all = if self.all_commands { "+@all" } else { "-@all" };
        std::iter::once(all).chain(self.said.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }

    /// What is said of keys.
    pub(crate) fn keys_text(&self) -> String {
        if self.all_keys {
            return "~*".into();
        }
        self.keys.iter().map(KeyPattern::to_string).collect::<Vec<_>>().join(" ")
    }

    /// What is said of channels.
    pub(crate) fn channels_text(&self) -> String {
        if self.all_channels {
            return "&*".into();
        }
        let text = |channel: &[u8]| format!("&{}", String::from_utf8_lossy(channel));
        self.channels.iter().map(|channel| text(channel)).collect::<Vec<_>>().join(" ")
    }
}

/// As ACL LIST prints it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, channels) = (self.keys_text(), self.channels_text());
        if !keys.is_empty() {
            write!(f, "{keys} ")?;
        }
        if !self.all_channels {
            f.write_str("resetchannels ")?;
        }
        if !channels.is_empty() {
            write!(f, "{channels} ")?;
        }
        f.write_str(&self.commands_text())
    }
}

/// The bit of a category by its name without `@`.
pub(crate) fn category_bit(name: &str) -> Option<u32> {
    category::NAMES.iter().find(|(_, known)| known[1..] == *name).map(|(bit, _)| *bit)
}

/// Patterns are printed between blanks.
fn check_word(word: &[u8]) -> Result<(), Wrong> {
    let is_word = !word.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0);
    if is_word { Ok(()) } else { Err(Wrong::Syntax) }
}
