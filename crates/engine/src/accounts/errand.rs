//! What takes long about passwords, to be done by somebody who does not hold the engine.

use super::{Password, User};
use std::sync::Arc;

/// Something to find out for a session, which waits for it.
#[derive(Debug)]
pub enum Errand {
    /// Is the password the user's?
    Check(Check),
    /// What are these passwords as they are kept?
    Keep(Keep),
}

/// A password to be compared with a user's hashes that take long.
#[derive(Debug)]
pub struct Check {
    pub(super) user: Arc<User>,
    pub(super) password: Box<[u8]>,
}

/// Passwords that a user gets or loses. (Redis: ACL SETUSER)
#[derive(Debug)]
pub struct Keep {
    /// As it is now, if there is one.
    pub user: Option<Arc<User>>,
    /// Each with whether it is added.
    pub passwords: Vec<(bool, Box<[u8]>)>,
}

/// What came out of an errand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The hash that a checked password fits.
    Login(Option<Password>),
    /// For each password to be kept the one that is added, or the one that is removed, if the user has it.
    Kept(Vec<Option<Password>>),
}

impl Errand {
    /// Does it. `salt` gives random bytes.
    pub fn run(&self, mut salt: impl FnMut() -> [u8; 16]) -> Finding {
        match self {
            Errand::Check(Check { user, password }) => {
                Finding::Login(fitting(user.passwords.iter().filter(|stored| stored.is_slow()), password))
            }
            Errand::Keep(Keep { user, passwords }) => {
                let mut known = user.as_ref().map(|user| user.passwords.clone()).unwrap_or_default();
                let mut kept = Vec::new();
                for (is_added, password) in passwords {
                    let known_as = fitting(known.iter(), password);
                    kept.push(match is_added {
                        true => known_as.or_else(|| Some(Password::new(password, salt()))),
                        false => known_as,
                    });
                    known.extend(kept.last().cloned().flatten());
                }
                Finding::Kept(kept)
            }
        }
    }
}

fn fitting<'a>(mut stored: impl Iterator<Item = &'a Password>, password: &[u8]) -> Option<Password> {
    stored.find(|stored| stored.verify(password)).cloned()
}
