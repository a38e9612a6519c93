//! What others see of a command: whoever watches all commands, and the lists of those that were slow or large.

use super::RespSession;
use crate::command_log::Noted;
use crate::resp::table::Command;
use crate::shared::Shared;
use leveret_engine::Engine;
use leveret_engine::keyspace::{Args, flag};

impl RespSession {
    /// Lets others see how it stands.
    pub(crate) fn show(&mut self, engine: &mut Engine) {
        let now_ms = engine.now_ms();
        let Some(session) = engine.session(self.id) else { return };
        (self.subscribed, self.monitors) = (session.is_subscribed(), session.monitors);
        if let Some(card) = &mut session.card {
            card.seen_ms = now_ms;
            card.last_command = self.last_command;
            card.db = self.db;
            card.queued = self.multi.as_ref().map(|multi| multi.queue.len());
            card.input_bytes = self.input.len().saturating_sub(self.start + self.consumed);
        }
    }

    #[cold]
    pub(super) fn note_slow(
        &mut self,
        engine: &mut Engine,
        shared: &Shared,
        command: &Command,
        args: Args<'_>,
        taken: u64,
    ) {
        let kind = if command.spec.flags & flag::FAST != 0 { "fast-command" } else { "command" };
        let mut waiting = None;
        shared.observed.note_slow(kind, taken, |micros| {
            let noted = self.noted(engine, command, args)?;
            if engine.session(self.id).is_some_and(|session| session.is_blocked()) {
                waiting = Some(Box::new(Noted { amount: micros, ..noted }));
                return None;
            }
            Some(noted)
        });
        self.waiting = waiting.or(self.waiting.take());
    }

    #[cold]
    pub(super) fn note_request(
        &self,
        engine: &mut Engine,
        shared: &Shared,
        command: &Command,
        args: Args<'_>,
    ) {
        let len = args.encoded_len() as u64;
        shared.observed.large_requests.note(len, || self.noted(engine, command, args));
    }

    #[cold]
    pub(super) fn note_reply(
        &self,
        engine: &mut Engine,
        shared: &Shared,
        command: &Command,
        args: Args<'_>,
        len: u64,
    ) {
        shared.observed.large_replies.note(len, || self.noted(engine, command, args));
    }

    /// What is kept of a command, if it is one that is kept.
    fn noted(&self, engine: &mut Engine, command: &Command, args: Args<'_>) -> Option<Noted> {
        if command.spec.flags & flag::SKIP_COMMANDLOG != 0 {
            return None;
        }
        let at_ms = engine.now_ms();
        let card = engine.session(self.id)?.card.as_deref()?;
        Some(Noted {
            id: 0,
            at_ms,
            amount: 0,
            args: shortened(&shown(command, args)),
            address: card.address.clone(),
            name: card.name.clone(),
        })
    }

    /// Tells those who watch all commands, unless it is none of their business. (Redis: MONITOR)
    #[cold]
    pub(super) fn show_to_monitors(&self, engine: &mut Engine, command: &Command, args: Args<'_>) {
        if command.spec.flags & (flag::SKIP_MONITOR | flag::ADMIN) == 0 && command.spec.name != "quit" {
            self.tell_monitors(engine, command, args);
        }
    }

    /// Tells those who watch all commands.
    #[cold]
    pub(crate) fn tell_monitors(&self, engine: &mut Engine, command: &Command, args: Args<'_>) {
        let now_ms = engine.now_ms();
        let address = match engine.session(self.id).and_then(|session| session.card.as_deref()) {
            Some(_) if self.in_script => "lua".into(),
            Some(card) if card.over_unix_socket => format!("unix:{}", card.local_address),
            Some(card) => card.address.clone(),
            None => String::new(),
        };
        let mut line = format!("+{}.{:03}000 [{} {address}]", now_ms / 1000, now_ms % 1000, self.db);
        for arg in shown(command, args) {
            line.push(' ');
            line += &leveret_resp::text::quoted(&arg);
        }
        line += "\r\n";
        engine.tell_monitors(line.as_bytes());
    }
}

/// The arguments without secrets.
fn shown(command: &Command, args: Args<'_>) -> Vec<Vec<u8>> {
    const HIDDEN: &[u8] = b"(redacted)";
    let places = |first: usize, count: usize| (first..first + count).collect();
    let secrets: Vec<usize> = match command.spec.name {
        "auth" => places(1, 2),
        "hello" => {
            let auth = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"auth"));
            auth.map_or_else(Vec::new, |at| places(at + 1, 2))
        }
        "acl|setuser" => places(3, args.len()),
        "migrate" => secrets_of_migrate(args),
        _ => Vec::new(),
    };
    args.iter()
        .enumerate()
        .map(|(i, arg)| match secrets.contains(&i) {
            true => HIDDEN.to_vec(),
            false => arg.to_vec(),
        })
        .collect()
}

fn secrets_of_migrate(args: Args<'_>) -> Vec<usize> {
    let (mut secrets, mut i) = (Vec::new(), 6);
    while let Some(word) = args.get(i) {
        let count = match word.to_ascii_lowercase().as_slice() {
            b"auth" => 1,
            b"auth2" => 2,
            b"keys" => break,
            _ => 0,
        };
        secrets.extend(i + 1..i + 1 + count);
        i += 1 + count;
    }
    secrets
}

/// As much of the arguments as is kept of a slow command. (Redis: SLOWLOG_ENTRY_MAX_ARGC, SLOWLOG_ENTRY_MAX_STRING)
fn shortened(args: &[Vec<u8>]) -> Vec<Vec<u8>> {
    const ARGS_MAX: usize = 32;
    const BYTES_MAX: usize = 128;
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut shortened: Vec<Vec<u8>> = args[..kept]
        .iter()
        .map(|arg| match arg.len() {
            0..=BYTES_MAX => arg.clone(),
            len => [&arg[..BYTES_MAX], format!("... ({} more bytes)", len - BYTES_MAX).as_bytes()].concat(),
        })
        .collect();
    if kept < args.len() {
        shortened.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    shortened
}
