//! How a user is changed, one rule after the other. (Redis: ACL SETUSER)

use super::{Rules, Selector};
use leveret_engine::accounts::{Acl, Password, User};
use std::fmt;

/// Why a rule is refused, in Redis' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Syntax,
    Unknown,
    OfSubcommand,
    AfterAllKeys,
    AfterAllChannels,
    NoSuchPassword,
    Hash,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::Syntax => "Syntax error",
            Wrong::Unknown => "Unknown command or category name in ACL",
            Wrong::OfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Wrong::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Wrong::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Wrong::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Wrong::Hash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
        })
    }
}

/// A user while it is being changed.
pub(crate) struct Draft {
    user: User,
    acl: Acl,
    rules: Rules,
    /// New users and `reset` ones may use all channels. (Redis: acl-pubsub-default)
    all_channels: bool,
}

impl Draft {
    /// From a user as it is, or a new one.
    pub(crate) fn new(name: &str, user: Option<&User>, all_channels: bool) -> Self {
        let user = user.cloned().unwrap_or_else(|| User { name: name.into(), ..User::default() });
        let mut draft = match user.acl.clone() {
            Some(acl) => {
                Self { rules: Rules::parse(&acl.rules).unwrap_or_default(), acl, user, all_channels }
            }
            None => Self { user, acl: Acl::default(), rules: Rules::default(), all_channels },
        };
        if draft.user.acl.is_none() {
            draft.rules.root = draft.first_selector();
        }
        draft
    }

    fn first_selector(&self) -> Selector {
        Selector { all_channels: self.all_channels, ..Selector::default() }
    }

    /// Applies a rule. `kept` is what a password in it is kept as, or which one of the user's it is.
    pub(crate) fn apply(&mut self, rule: &str, kept: Option<Password>) -> Result<(), Wrong> {
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.acl.on = true,
            "off" => self.acl.on = false,
            "nopass" => {
                self.acl.nopass = true;
                self.user.passwords.clear();
            }
            "resetpass" => {
                self.acl.nopass = false;
                self.user.passwords.clear();
            }
            // Payloads of RESTORE are always checked.
            "sanitize-payload" => {}
            "skip-sanitize-payload" => return Err(Wrong::Syntax),
            "clearselectors" => self.rules.others.clear(),
            "reset" => {
                self.acl = Acl::default();
                self.user.passwords.clear();
                self.rules = Rules { root: self.first_selector(), others: Vec::new() };
            }
            _ => match rule.as_bytes() {
                [b'>' | b'#', rest @ ..] => {
                    let password = match kept {
                        Some(password) => password,
                        None => hash(rest)?,
                    };
                    if !self.user.passwords.contains(&password) {
                        self.user.passwords.push(password);
                    }
                    self.acl.nopass = false;
                }
                [sign @ (b'<' | b'!'), rest @ ..] => {
                    let password = match (sign, kept) {
                        (_, Some(password)) => password,
                        (b'!', None) => hash(rest)?,
                        (_, None) => return Err(Wrong::NoSuchPassword),
                    };
                    let at = self.user.passwords.iter().position(|stored| *stored == password);
                    self.user.passwords.remove(at.ok_or(Wrong::NoSuchPassword)?);
                }
                [b'(', inner @ .., b')'] => {
                    let inner = std::str::from_utf8(inner).map_err(|_| Wrong::Syntax)?;
                    self.rules.others.push(Selector::parse(inner)?);
                }
                _ => self.rules.root.apply(rule)?,
            },
        }
        Ok(())
    }

    /// The user as it is now.
    pub(crate) fn finish(mut self) -> User {
        self.acl.rules = self.rules.to_string();
        self.user.acl = Some(self.acl);
        self.user
    }
}

fn hash(text: &[u8]) -> Result<Password, Wrong> {
    std::str::from_utf8(text).ok().and_then(|text| Password::parse(text).ok()).ok_or(Wrong::Hash)
}
