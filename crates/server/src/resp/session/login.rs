//! Who the client is and what it may do.

use super::{Call, RespSession};
use crate::resp::acl::{Denied, Entry, Where, Why};
use crate::resp::commands::client_line;
use crate::resp::table::Command;
use crate::shared::Shared;
use leveret_engine::Engine;
use leveret_engine::accounts::{Errand, Finding, Login};
use leveret_engine::keyspace::{Args, Error};
use std::sync::atomic::Ordering::Relaxed;

impl RespSession {
    /// Refuses what the user may not do. One comparison, if the user may do everything.
    #[inline]
    pub(crate) fn permit(
        &mut self,
        engine: &mut Engine,
        shared: &Shared,
        command: &Command,
        args: Args<'_>,
    ) -> Result<(), Denied> {
        if self.accounts_seen != engine.accounts.generation() {
            self.take_rules(engine, shared);
        }
        match &self.rules {
            None => Ok(()),
            Some(rules) => rules.check(command, args),
        }
    }

    /// Notes a refusal and gives what the client is told.
    #[cold]
    pub(crate) fn refused(
        &self,
        engine: &mut Engine,
        shared: &Shared,
        args: Args<'_>,
        denied: Denied,
        place: Where,
    ) -> Error {
        let (reason, object) = match denied.why {
            Why::Command => ("command", denied.command.as_bytes()),
            Why::Key => ("key", args.get(denied.at).unwrap_or_default()),
            Why::Channel => ("channel", args.get(denied.at).unwrap_or_default()),
        };
        self.note_refusal(engine, shared, reason, object, &self.user, place);
        Error::Other(denied.told_to(&self.user).into())
    }

    fn note_refusal(
        &self,
        engine: &Engine,
        shared: &Shared,
        reason: &'static str,
        object: &[u8],
        username: &str,
        place: Where,
    ) {
        let now_ms = engine.now_ms();
        let entry = Entry {
            id: 0,
            count: 1,
            reason,
            place,
            object: object.to_vec(),
            username: username.into(),
            client_info: client_line(engine, self.id).trim_end().to_owned(),
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        shared.acl_history.lock().add(entry, shared.settings.acl_log_max.load(Relaxed));
    }

    #[cold]
    fn take_rules(&mut self, engine: &Engine, shared: &Shared) {
        self.accounts_seen = engine.accounts.generation();
        self.rules = match engine.accounts.user(&self.user) {
            Some(user) => shared.acl.of(user),
            None => Some(std::sync::Arc::default()),
        };
    }
}

/// What a login comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    Yes,
    /// The command is executed again when the password was compared.
    Later,
}

impl Call<'_, '_> {
    /// Waits for an errand; the command is executed again then.
    pub(crate) fn ask(&mut self, errand: Errand) -> Result<(), Error> {
        if !self.may_block {
            // DEVIATION: Redis hashes at once, which is quick because its hash is; here everybody would wait.
            return Err(Error::new("ERR Command not allowed inside a transaction"));
        }
        self.engine.ask(self.session.id, errand);
        self.session.asks = true;
        Ok(())
    }

    /// Compares a password, and is this user from now on if it is right.
    pub(crate) fn enter(&mut self, name: &[u8], password: &[u8]) -> Result<Entered, Error> {
        let finding = self.engine.session(self.session.id).and_then(|session| session.finding.take());
        let user = std::str::from_utf8(name).ok().and_then(|name| self.engine.accounts.user(name)).cloned();
        let Some(acl) = user.as_ref().and_then(|user| user.acl.as_ref()).filter(|acl| acl.on) else {
            return Err(self.wrong_password(name));
        };
        if !acl.nopass {
            match self.engine.accounts.login(name, password) {
                Login::Granted(_) => {}
                Login::Slow(check) if finding.is_none() => {
                    self.ask(Errand::Check(check))?;
                    return Ok(Entered::Later);
                }
                Login::Slow(_) if matches!(finding, Some(Finding::Login(Some(_)))) => {}
                Login::Slow(_) | Login::Refused => return Err(self.wrong_password(name)),
            }
        }
        let name = String::from_utf8_lossy(name).into_owned();
        if let Some(card) = self.card() {
            card.user.clone_from(&name);
        }
        self.session.become_user(name);
        Ok(Entered::Yes)
    }

    fn wrong_password(&mut self, name: &[u8]) -> Error {
        let command = self.args.get(0).unwrap_or_default().to_ascii_uppercase();
        let place = if self.may_block { Where::Toplevel } else { Where::Multi };
        let name = String::from_utf8_lossy(name).into_owned();
        self.session.note_refusal(self.engine, self.shared, "auth", &command, &name, place);
        Error::new("WRONGPASS invalid username-password pair or user is disabled.")
    }
}

impl RespSession {
    /// Is this user from now on.
    pub(crate) fn become_user(&mut self, name: String) {
        (self.user, self.accounts_seen) = (name, 0);
        self.authenticated = true;
    }
}
