//! Who may do what: users with their passwords, ACL rules, tags and permissions. One name is one user for Redis' protocol,
//! RabbitMQ's and HTTP. A user changes as a whole: whoever holds one sees what it was.

mod change;
mod errand;
mod password;

pub use change::CHANGE_TAGS;
pub(crate) use change::{USER_DELETE, USER_PUT};
pub use errand::{Check, Errand, Finding, Keep};
pub use leveret_broker::{Pattern, WrongPattern};
pub use password::{Password, WrongHash};

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use leveret_keyspace::glob;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The user of Redis clients that do not log in.
pub const DEFAULT_USER: &str = "default";
/// RabbitMQ's first user.
pub const GUEST: &str = "guest";
/// The vhost that is there from the start.
const FIRST_VHOST: &str = "/";

/// One user.
#[derive(Debug, Clone, Default)]
pub struct User {
    /// Its name.
    pub name: String,
    /// What the management API lets it do. (RabbitMQ: user tags)
    pub tags: Vec<String>,
    /// Any of them is right.
    pub passwords: Vec<Password>,
    /// What it may do over RESP; without, nothing.
    pub acl: Option<Acl>,
    /// What it may do over AMQP, by vhost.
    pub permissions: BTreeMap<String, Permissions>,
    /// Which routing keys it may use, by vhost and exchange; all of exchanges that are not named.
    pub topic_permissions: BTreeMap<(String, String), TopicPermissions>,
}

/// What a user may do over RESP. (Redis: ACL)
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    /// It may log in.
    pub on: bool,
    /// It needs no password.
    pub nopass: bool,
    /// Rules for commands, keys and channels as ACL LIST prints them.
    pub rules: String,
}

/// What a user may do in a vhost. (RabbitMQ: access control)
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names are RabbitMQ's")]
pub struct Permissions {
    pub configure: Pattern,
    pub write: Pattern,
    pub read: Pattern,
}

/// Which routing keys a user may use with a topic exchange. (RabbitMQ: topic authorisation)
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names are RabbitMQ's")]
pub struct TopicPermissions {
    pub write: Pattern,
    pub read: Pattern,
}

/// The three kinds of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RabbitMQ's")]
pub enum Access {
    Configure,
    Write,
    Read,
}

impl Access {
    /// As refusals print it.
    pub fn name(self) -> &'static str {
        match self {
            Access::Configure => "configure",
            Access::Write => "write",
            Access::Read => "read",
        }
    }
}

impl User {
    /// True when it may access an exchange or a queue of this name so. The default exchange is `amq.default` here.
    pub fn allows(&self, vhost: &str, access: Access, name: &[u8]) -> bool {
        self.permissions.get(vhost).is_some_and(|Permissions { configure, write, read }| match access {
            Access::Configure => configure.is_match(name),
            Access::Write => write.is_match(name),
            Access::Read => read.is_match(name),
        })
    }

    /// True when it may use this routing key with a topic exchange. `{username}` and `{vhost}` in a pattern stand for what they
    /// name.
    pub fn allows_topic(&self, vhost: &str, access: Access, exchange: &[u8], key: &[u8]) -> bool {
        if self.topic_permissions.is_empty() {
            return true;
        }
        let place = (vhost.to_owned(), String::from_utf8_lossy(exchange).into_owned());
        self.topic_permissions.get(&place).is_none_or(|TopicPermissions { write, read }| {
            let pattern = if access == Access::Read { read } else { write };
            pattern.is_match_for(key, &self.name, vhost)
        })
    }

    /// True when it may do everything in a vhost.
    pub fn is_unlimited_in(&self, vhost: &str) -> bool {
        let limited = self.topic_permissions.keys().any(|(of, _)| of == vhost);
        self.permissions.get(vhost).is_some_and(|permissions| {
            let Permissions { configure, write, read } = permissions;
            !limited && [configure, write, read].iter().all(|pattern| pattern.matches_all())
        })
    }
}

/// What a name and a password come to.
#[derive(Debug)]
pub enum Login {
    /// They are right.
    Granted(Arc<User>),
    /// They are not.
    Refused,
    /// To find out takes long.
    Slow(Check),
}

/// All users.
#[derive(Debug)]
pub struct Accounts {
    users: BTreeMap<String, Arc<User>>,
    /// Users that may come from this machine only. (RabbitMQ: loopback_users)
    pub local_only: Vec<String>,
    /// Rises with every change.
    generation: u64,
    /// What was right, so that it need not be compared again.
    known: HashSet<[u8; 32], FixedState>,
    /// Makes what is known worthless elsewhere. Random, from whoever makes the engine.
    pub secret: [u8; 32],
}

impl Default for Accounts {
    /// The users that are there from the start: `default`, who may do everything over RESP, and `guest`, who may do
    /// everything in the vhost `/`.
    fn default() -> Self {
        let acl = Acl { on: true, nopass: true, rules: "~* &* +@all".into() };
        let default = User { name: DEFAULT_USER.into(), acl: Some(acl), ..User::default() };
        let all = Permissions { configure: Pattern::all(), write: Pattern::all(), read: Pattern::all() };
        let guest = User {
            name: GUEST.into(),
            tags: vec!["administrator".into()],
            passwords: vec![Password::rabbit_sha256(*b"hare", GUEST.as_bytes())],
            permissions: BTreeMap::from([(FIRST_VHOST.into(), all)]),
            ..User::default()
        };
        let users = [default, guest].map(|user| (user.name.clone(), Arc::new(user)));
        Self {
            users: users.into(),
            local_only: vec![GUEST.into()],
            generation: 1,
            known: HashSet::default(),
            secret: [0; 32],
        }
    }
}

impl Accounts {
    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users, by name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// A number that is another after every change of a user.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// True for users that may come from this machine only. (RabbitMQ: loopback_users)
    pub fn is_local_only(&self, name: &str) -> bool {
        self.local_only.iter().any(|user| user == name)
    }

    /// Compares a password.
    pub fn login(&self, name: &[u8], password: &[u8]) -> Login {
        let user = std::str::from_utf8(name).ok().and_then(|name| self.users.get(name));
        let Some(user) = user else { return Login::Refused };
        let is_right = |stored: &Password| match stored.is_slow() {
            true => self.known.contains(&self.fingerprint(stored, password)),
            false => stored.verify(password),
        };
        if user.passwords.iter().any(is_right) {
            return Login::Granted(user.clone());
        }
        if user.passwords.iter().any(Password::is_slow) {
            return Login::Slow(Check { user: user.clone(), password: password.into() });
        }
        Login::Refused
    }

    /// Remembers what a check has found, so that the same login is granted at once next time.
    pub fn remember(&mut self, check: &Check, fits: &Password) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(self.fingerprint(fits, &check.password));
    }

    fn fingerprint(&self, stored: &Password, password: &[u8]) -> [u8; 32] {
        let stored = stored.to_string();
        let hash = Sha256::new_with_prefix(self.secret);
        hash.chain_update((stored.len() as u64).to_le_bytes())
            .chain_update(stored)
            .chain_update(password)
            .finalize()
            .into()
    }

    /// True when Redis clients have to log in first.
    pub fn needs_login(&self) -> bool {
        let acl = self.user(DEFAULT_USER).and_then(|user| user.acl.as_ref());
        !acl.is_some_and(|acl| acl.on && acl.nopass)
    }

    /// Rules for keys and channels; a user without any is what everybody is who needs no password.
    fn rules(&self, name: &str) -> Option<&str> {
        let of = |name: &str| self.user(name).and_then(|user| user.acl.as_ref());
        let acl = of(name).or_else(|| of(DEFAULT_USER).filter(|_| !self.needs_login()))?;
        // What stands in parentheses counts for some commands only.
        acl.rules.split(" (").next()
    }

    /// True when the user may read all keys, of all databases: so may be told of all of them.
    pub fn reads_all_keys(&self, name: &str) -> bool {
        self.rules(name).is_some_and(|rules| rules.split(' ').any(|rule| matches!(rule, "~*" | "%R~*")))
    }

    /// True when the user may publish on the channel and listen to it, or on all of them.
    pub fn may_use_channel(&self, name: &str, channel: Option<&[u8]>) -> bool {
        let patterns = self.rules(name).into_iter().flat_map(|rules| rules.split(' '));
        let mut patterns = patterns.filter_map(|rule| rule.strip_prefix('&'));
        patterns.any(|pattern| {
            pattern == "*" || channel.is_some_and(|channel| glob::matches(pattern.as_bytes(), channel))
        })
    }

    /// Changes a user without a record: what settings say of it.
    pub fn overlay(&mut self, name: &str, change: impl FnOnce(&mut User)) {
        if let Some(user) = self.users.get_mut(name) {
            change(Arc::make_mut(user));
            self.generation += 1;
        }
    }
}

/// Passwords remembered at a time.
const KNOWN_MAX: usize = 10_000;
