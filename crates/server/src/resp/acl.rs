//! Rules for what a user may do over RESP: parsed and printed as Redis does it, and compiled once a change to what is asked
//! for each command. (Redis: ACL)

mod check;
mod history;
mod selector;
mod setuser;

pub(crate) use check::{Denied, Why};
pub(crate) use history::{Entry, History, Where};
pub(crate) use selector::{Selector, category_bit};
pub(crate) use setuser::{Draft, Wrong};

use crate::resp::table::{Command, TABLE};
use leveret_engine::accounts::User;
use leveret_engine::keyspace::{Args, ArgsBuf};
use leveret_engine::reply_key_at;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What a user may do: what any of the selectors allows, the root first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) root: Selector,
    pub(crate) others: Vec<Selector>,
}

impl Rules {
    /// From the text that `Display` gives.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut rules = Self::default();
        for word in words(text) {
            match word.strip_prefix('(') {
                Some(inner) => rules.others.push(Selector::parse(inner.strip_suffix(')').unwrap_or(inner))?),
                None => rules.root.apply(word)?,
            }
        }
        Ok(rules)
    }

    /// Every selector.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// True when no command is refused.
    fn is_unlimited(&self) -> bool {
        self.root.is_unlimited()
    }

    /// Refuses a command that may not be executed with these arguments.
    pub(crate) fn check(&self, command: &Command, args: Args<'_>) -> Result<(), Denied> {
        self.check_one(command, args)?;
        if command.spec.name == "amqp.publish"
            && let Some(at) = reply_key_at(args)
        {
            return self.check_kept(args, at);
        }
        Ok(())
    }

    /// A reply that is kept under a key is a `SET` of it, as it is for those who ask over AMQP.
    #[cold]
    fn check_kept(&self, args: Args<'_>, at: usize) -> Result<(), Denied> {
        let set: ArgsBuf = [&b"SET"[..], &args[at], b""].into_iter().collect();
        let command = TABLE.get(b"set").expect("it is a row of the table");
        // Its key stands somewhere else here.
        self.check_one(command, set.as_args()).map_err(|denied| Denied { at, ..denied })
    }

    /// Of all selectors the one counts that comes furthest.
    fn check_one(&self, command: &Command, args: Args<'_>) -> Result<(), Denied> {
        let mut worst = None;
        for selector in self.selectors() {
            match selector.check(command, args) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(Some(denied)),
            }
        }
        worst.map_or(Ok(()), Err)
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        self.others.iter().try_for_each(|selector| write!(f, " ({selector})"))
    }
}

/// Words between blanks; what is in parentheses is one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(' ');
        let end = match rest.starts_with('(') {
            true => rest.find(')').map_or(rest.len(), |end| end + 1),
            false => rest.find(' ').unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// The rules of users, compiled when they are first asked for.
#[derive(Default)]
pub(crate) struct Compiled(Mutex<HashMap<String, OfUser>>);

/// A user as it was, and what it may do.
type OfUser = (Arc<User>, Option<Arc<Rules>>);

impl Compiled {
    /// The rules of a user; `None` when nothing is refused.
    pub(crate) fn of(&self, user: &Arc<User>) -> Option<Arc<Rules>> {
        let mut compiled = self.0.lock();
        if let Some((of, rules)) = compiled.get(&user.name)
            && Arc::ptr_eq(of, user)
        {
            return rules.clone();
        }
        let text = user.acl.as_ref().map(|acl| acl.rules.as_str()).unwrap_or_default();
        // Rules of a newer version that are not understood allow nothing.
        let rules = Rules::parse(text).unwrap_or_default();
        let rules = (!rules.is_unlimited()).then(|| Arc::new(rules));
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(user.name.clone(), (user.clone(), rules.clone()));
        rules
    }
}

/// Users whose compiled rules are kept.
const COMPILED_MAX: usize = 10_000;
