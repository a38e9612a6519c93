//! What a client is told while somebody holds the engine for too long: nothing is executed then but what ends a script.

use super::admission::{exec_abort, is_exec, is_http};
use super::{Multi, RespSession};
use crate::output::Output;
use crate::resp::commands::tell_stats;
use crate::resp::scripting::{Kind, Running};
use crate::resp::table::{Command, find};
use crate::shared::Shared;
use leveret_engine::keyspace::{Args, Error, Reply, flag};

const BUSY: &str = "BUSY Leveret is busy with another command; try again later";

impl RespSession {
    /// Refuses what was decoded, because the engine cannot be entered; what ends a script is done.
    pub(crate) fn refuse_busy(&mut self, shared: &Shared, out: &mut Output) {
        // Lent out, because what is said may change the rest of the session.
        let (input, batch) = (std::mem::take(&mut self.input), std::mem::take(&mut self.batch));
        let arrived = input.get(self.start..).unwrap_or_default();
        for i in self.done..batch.len() {
            // Whoever speaks HTTP is left when the engine can be entered; until then nothing is answered.
            self.quitting = self.quitting || is_http(batch.args(i, arrived));
            if self.quitting {
                break;
            }
            let len = out.bytes.len();
            let mut reply = Reply::new(&mut out.bytes, self.version);
            if let Err(error) = self.answer_busy(&shared.scripts.running, batch.args(i, arrived), &mut reply)
            {
                if let Some(multi) = &mut self.multi {
                    multi.refused = true;
                }
                reply.error(&error.to_string());
            }
            if !self.is_answered() {
                out.bytes.truncate(len);
            }
        }
        self.done = batch.len();
        (self.input, self.batch) = (input, batch);
    }

    fn answer_busy(&mut self, running: &Running, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
        let busy = running.busy_text().unwrap_or(BUSY);
        if is_exec(args) {
            (self.multi, self.discarded) = (None, true);
            reply.error(&exec_abort(&busy));
            return Ok(());
        }
        let command = find(args)?;
        if !self.authenticated {
            // Who a client is only the engine can tell.
            let may_log_in = command.spec.flags & flag::NO_AUTH != 0;
            return Err(Error::new(if may_log_in { busy } else { "NOAUTH Authentication required." }));
        }
        match (command.spec.name, self.multi.is_some()) {
            // A transaction may begin: it is executed later, if nothing in it is refused. (Redis: CMD_ALLOW_BUSY)
            ("multi", false) => {
                self.multi = Some(Multi::default());
                reply.ok();
            }
            ("discard", true) => {
                (self.multi, self.discarded) = (None, true);
                reply.ok();
            }
            (_, false) if self.allows(command, args) => {
                if !answers_while_busy(running, command, args, reply) {
                    return Err(Error::new(busy));
                }
            }
            (_, _) => return Err(Error::new(busy)),
        }
        Ok(())
    }

    /// True when the user may execute the command, by the rules as they were last seen.
    fn allows(&self, command: &Command, args: Args<'_>) -> bool {
        self.rules.as_ref().is_none_or(|rules| rules.check(command, args).is_ok())
    }
}

/// Answers what may be asked while a script runs; false when this may not.
fn answers_while_busy(running: &Running, command: &Command, args: Args<'_>, reply: &mut Reply<'_>) -> bool {
    let killed = match command.spec.name {
        "script|kill" => running.kill(Kind::Script),
        "function|kill" => running.kill(Kind::Function),
        "function|stats" if running.busy_text().is_some() => {
            tell_stats(running, reply);
            return true;
        }
        "shutdown"
            if running.busy_text().is_some()
                && args.iter().any(|word| word.eq_ignore_ascii_case(b"nosave")) =>
        {
            // What the script has done so far is in no record, and everything that was answered is.
            tracing::warn!("SHUTDOWN NOSAVE while a script runs; what it has done is dropped");
            std::process::exit(0);
        }
        _ => return false,
    };
    match killed {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(&error.to_string()),
    }
    true
}
