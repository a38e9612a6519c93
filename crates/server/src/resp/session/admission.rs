//! Which commands are executed now, queued, or refused.

use super::{Answering, RespSession};
use crate::alarms::DISK_FULL;
use crate::memory::Room;
use crate::resp::acl::{Rules, Where};
use crate::resp::table::{Command, find};
use crate::shared::{Shared, now_ms};
use leveret_engine::keyspace::{Args, Error, flag};
use leveret_engine::{Engine, consumes};
use leveret_resp::Version;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

impl RespSession {
    pub(crate) fn admit(
        &mut self,
        engine: &mut Engine,
        shared: &Shared,
        room: Room,
        args: Args<'_>,
    ) -> Result<&'static Command, Error> {
        let command = find(args)?;
        if !self.authenticated && command.spec.flags & flag::NO_AUTH == 0 {
            return Err(Error::new("NOAUTH Authentication required."));
        }
        if let Err(denied) = self.permit(engine, shared, command, args) {
            let place = if self.multi.is_some() { Where::Multi } else { Where::Toplevel };
            return Err(self.refused(engine, shared, args, denied, place));
        }
        if let Some(rules) = &self.rules {
            check_sort(rules, command, args)?;
        }
        if room == Room::None
            || shared.settings.replicas_to_write.load(Relaxed) > 0
            || shared.settings.alarms.is_full()
        {
            self.may_run_restricted(engine, shared, room, (command, args))?;
        }
        if self.multi.is_some() && command.spec.flags & flag::NO_MULTI != 0 && !runs_inside_multi(command) {
            return Err(Error::new("ERR Command not allowed inside a transaction"));
        }
        if self.version == Version::Resp2
            && !matches!(command.spec.name, "ping" | "quit" | "reset")
            && !command.spec.name.ends_with("subscribe")
            && engine.session(self.id).is_some_and(|s| s.is_subscribed())
        {
            let name = command.spec.name;
            let line = format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            );
            return Err(Error::Other(line.into()));
        }
        Ok(command)
    }

    /// Memory is short: commands that need more are refused, and so is what would be queued. Replicas are asked for: there are
    /// none, so writes are refused. The disk is full: writes are refused, and PING, which says whether they would be; whoever takes
    /// messages out goes on.
    #[cold]
    fn may_run_restricted(
        &self,
        engine: &Engine,
        shared: &Shared,
        room: Room,
        (command, args): (&Command, Args<'_>),
    ) -> Result<(), Error> {
        let flags_of = |command: &Command, args| {
            let flags = shared.scripts.flags_of(&engine.libraries, command, args);
            // Where queues get it, it is one that publishes a message.
            let is_message = command.spec.name == "publish" && !engine.broker.forwarding().is_empty();
            flags | if is_message { flag::WRITE | flag::DENYOOM } else { 0 }
        };
        let in_multi = self.multi.is_some() && !runs_inside_multi(command);
        let queue = self.multi.iter().filter(|_| command.spec.name == "exec").flat_map(|multi| &multi.queue);
        let needs_space = |command: &Command, flags| flags & flag::WRITE != 0 && !consumes(command.spec.name);
        let flags = flags_of(command, args);
        let first = (flags, command.spec.name == "ping" || needs_space(command, flags));
        let (flags, needs_space) = queue.fold(first, |(all, needed), (command, args)| {
            let flags = flags_of(command, args.as_args());
            (all | flags, needed || needs_space(command, flags))
        });
        if room == Room::None && (in_multi || flags & flag::DENYOOM != 0) {
            return Err(Error::new("OOM command not allowed when used memory > 'maxmemory'."));
        }
        if shared.settings.alarms.is_full() && needs_space {
            return Err(DISK_FULL);
        }
        if shared.settings.replicas_to_write.load(Relaxed) > 0 && flags & flag::WRITE != 0 {
            return Err(Error::new("NOREPLICAS Not enough good replicas to write."));
        }
        Ok(())
    }

    /// Whether the command at hand is answered; how the next one is follows from that. (Redis: CLIENT REPLY)
    pub(super) fn is_answered(&mut self) -> bool {
        let (answered, next) = match self.answering {
            Answering::On => (true, Answering::On),
            Answering::Off => (false, Answering::Off),
            Answering::SkipTwo => (false, Answering::SkipOne),
            Answering::SkipOne => (false, Answering::On),
        };
        self.answering = next;
        answered
    }

    /// True when a pause is for this command. (Redis: CLIENT PAUSE)
    pub(super) fn is_held_back(&self, engine: &Engine, shared: &Shared, args: Args<'_>) -> bool {
        let may_write = |command: &Command, args: Args<'_>| {
            let flags = shared.scripts.flags_of(&engine.libraries, command, args);
            flags & (flag::WRITE | flag::MAY_REPLICATE) != 0
        };
        let writes = find(args).is_ok_and(|command| {
            let queue = self.multi.as_ref().filter(|_| command.spec.name == "exec").map(|multi| &multi.queue);
            may_write(command, args)
                || queue.into_iter().flatten().any(|(command, args)| may_write(command, args.as_args()))
        });
        engine.holds_back(writes)
    }
}

/// SORT finds the keys of BY and GET by itself, so it may do that only if all keys may be read. (Redis: SORT)
#[cold]
fn check_sort(rules: &Rules, command: &Command, args: Args<'_>) -> Result<(), Error> {
    if !matches!(command.spec.name, "sort" | "sort_ro") || rules.reads_all_keys(command) {
        return Ok(());
    }
    let mut words = args.iter().skip(2);
    while let Some(word) = words.next() {
        let refused = match word.to_ascii_uppercase().as_slice() {
            b"BY" => words.next().is_some_and(|pattern| pattern.contains(&b'*')).then_some("BY"),
            b"GET" => words.next().map(|_| "GET"),
            _ => None,
        };
        if let Some(option) = refused {
            let text = format!("ERR {option} option of SORT denied due to insufficient ACL permissions.");
            return Err(Error::Other(text.into()));
        }
    }
    Ok(())
}

/// These act on the transaction or the connection at once.
pub(super) fn runs_inside_multi(command: &Command) -> bool {
    matches!(command.spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

pub(super) fn is_exec(args: Args<'_>) -> bool {
    args.get(0).is_some_and(|name| name.eq_ignore_ascii_case(b"exec"))
}

/// True for the beginning of an HTTP request, which a browser may have been made to send: nothing that stands in it is to be
/// executed. (Redis: `securityWarningCommand`)
#[cold]
pub(super) fn is_http(args: Args<'_>) -> bool {
    /// Milliseconds between two lines in the log.
    const PERIOD: u64 = 60_000;
    static NOTED_MS: AtomicU64 = AtomicU64::new(0);
    let name = args.get(0).unwrap_or_default();
    if !name.eq_ignore_ascii_case(b"post") && !name.eq_ignore_ascii_case(b"host:") {
        return false;
    }
    let now_ms = now_ms();
    if now_ms.saturating_sub(NOTED_MS.load(Relaxed)) >= PERIOD {
        NOTED_MS.store(now_ms, Relaxed);
        tracing::warn!(
            "a client speaks HTTP to the Redis port, which may be an attempt to send commands by way of a browser; it is left"
        );
    }
    true
}

/// What a refused EXEC is told: its transaction is gone. (Redis: transactions)
pub(crate) fn exec_abort(why: &impl std::fmt::Display) -> String {
    format!("EXECABORT Transaction discarded because of: {why}")
}
