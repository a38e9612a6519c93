//! One RESP connection as a state machine: bytes in, bytes out, no socket. Decoding happens outside the engine's lock,
//! execution inside; a blocked session executes nothing until the engine has answered it.

mod admission;
mod busy;
mod input;
mod login;
mod pushed;
mod shown;

pub(crate) use login::Entered;

use crate::around::Around;
use crate::command_log::Noted;
use crate::connection::OUT_MAX;
use crate::io_loop::PENDING_MAX;
use crate::memory::Room;
use crate::output::Output;
use crate::prefetch::Window;
use crate::resp::acl::Rules;
use crate::resp::table::{Command, Run, TABLE};
use crate::shared::{Shared, now_ms};
use crate::ticks;
pub(crate) use admission::exec_abort;
use admission::{is_exec, is_http, runs_inside_multi};
use leveret_engine::accounts::DEFAULT_USER;
use leveret_engine::keyspace::{Args, ArgsBuf, Error, Reply, flag};
use leveret_engine::{Card, Engine, SessionId, settles};
use leveret_resp::{Batch, Decoder, ProtocolError, Version};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Commands queued by `MULTI`.
#[derive(Default)]
pub(crate) struct Multi {
    pub(crate) queue: Vec<(&'static Command, ArgsBuf)>,
    /// Of the arguments in the queue.
    pub(crate) bytes: usize,
    /// A command was refused while queueing: `EXEC` refuses all.
    pub(crate) refused: bool,
}

/// Whether commands are answered. (Redis: CLIENT REPLY)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answering {
    On,
    Off,
    /// Neither this command nor the next one.
    SkipTwo,
    /// Not the next one.
    SkipOne,
}

/// One connection.
pub(crate) struct RespSession {
    pub(crate) id: SessionId,
    /// The I/O thread that serves it, once that was looked up.
    thread: usize,
    pub(crate) db: u8,
    pub(crate) version: Version,
    pub(crate) authenticated: bool,
    pub(crate) user: String,
    /// What it may do; `None` is everything.
    pub(super) rules: Option<Arc<Rules>>,
    /// The state of the accounts that they were taken from.
    accounts_seen: u64,
    /// The command is executed again when its errand is done.
    pub(crate) asks: bool,
    pub(crate) multi: Option<Multi>,
    pub(crate) answering: Answering,
    /// Its reads and writes are no uses of keys. (Redis: CLIENT NO-TOUCH)
    pub(crate) unnoticed: bool,
    /// It stays when clients hold too much memory. (Redis: CLIENT NO-EVICT)
    pub(crate) stays: bool,
    /// When it has last said something, or taken an answer.
    pub(crate) seen_ms: u64,
    /// It hears of changes to what it reads.
    pub(crate) tracks: bool,
    last_command: &'static str,
    /// A slow command that waits: it is noted when it has its answer.
    waiting: Option<Box<Noted>>,
    /// When the last command ended, in ticks.
    clock: u64,
    pub(crate) quitting: bool,
    /// A transaction went while the engine could not be entered: what it watched is still to be forgotten.
    discarded: bool,
    blocked: bool,
    subscribed: bool,
    monitors: bool,
    /// Its commands are those of a script.
    in_script: bool,
    /// The error that is answered was counted where it came from.
    pub(crate) error_noted: bool,
    decoder: Decoder,
    input: Vec<u8>,
    /// Where what is not executed begins, the batch first.
    start: usize,
    /// Bytes of the batch.
    consumed: usize,
    /// More has arrived than was looked at.
    undecoded: bool,
    batch: Batch,
    /// Commands of the batch already executed.
    done: usize,
    /// Commands of the batch whose keys are being loaded.
    prefetched: usize,
    error: Option<ProtocolError>,
}

/// What one locked visit left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Everything that has arrived was executed.
    Drained,
    /// The session waits for a key; the rest of its commands stay.
    Blocked,
    /// The connection is to be closed once its answers are out.
    Closing,
}

/// What a session command works with.
pub(crate) struct Call<'a, 'b> {
    pub(crate) session: &'a mut RespSession,
    pub(crate) engine: &'a mut Engine,
    pub(crate) shared: &'a Around<'a>,
    pub(crate) args: Args<'a>,
    pub(crate) reply: &'a mut Reply<'b>,
    /// False inside `EXEC`.
    pub(crate) may_block: bool,
}

impl Call<'_, '_> {
    /// What others may know of the session.
    pub(crate) fn card(&mut self) -> Option<&mut Card> {
        self.engine.session(self.session.id)?.card.as_deref_mut()
    }
}

impl RespSession {
    /// A new session; `needs_password` when clients have to log in.
    pub(crate) fn new(id: SessionId, needs_password: bool, bulk_bytes_max: usize) -> Self {
        let mut decoder = Decoder::default();
        decoder.limits.authenticated = !needs_password;
        decoder.limits.bulk_bytes_max = bulk_bytes_max;
        Self {
            id,
            thread: usize::MAX,
            db: 0,
            version: Version::Resp2,
            authenticated: !needs_password,
            user: DEFAULT_USER.into(),
            rules: None,
            accounts_seen: 0,
            asks: false,
            multi: None,
            answering: Answering::On,
            unnoticed: false,
            stays: false,
            seen_ms: now_ms(),
            tracks: false,
            last_command: "",
            waiting: None,
            clock: 0,
            quitting: false,
            discarded: false,
            blocked: false,
            subscribed: false,
            monitors: false,
            in_script: false,
            error_noted: false,
            decoder,
            input: Vec::new(),
            start: 0,
            consumed: 0,
            undecoded: false,
            batch: Batch::default(),
            done: 0,
            prefetched: 0,
            error: None,
        }
    }

    /// The session's number in the engine.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Where the socket's bytes are read into.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// True when `execute` would do something now.
    pub(crate) fn may_execute(&self) -> bool {
        self.has_work() && !self.blocked
    }

    /// True while a blocking command waits.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The engine has answered the blocking command, or not yet.
    pub(crate) fn set_blocked(&mut self, blocked: bool, shared: &Shared) {
        self.blocked = blocked;
        if !blocked && let Some(noted) = self.waiting.take() {
            shared.observed.slow.note(noted.amount, || Some(*noted));
        }
    }

    /// True when others' messages reach it, as far as the loop has seen.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscribed
    }

    /// True when it hears of all commands, as far as the loop has seen. (Redis: MONITOR)
    pub(crate) fn monitors(&self) -> bool {
        self.monitors
    }

    pub(crate) fn set_monitors(&mut self, monitors: bool) {
        self.monitors = monitors;
    }

    pub(crate) fn set_subscribed(&mut self, subscribed: bool) {
        self.subscribed = subscribed;
    }

    /// Executes what was decoded, under the lock, and writes the answers to `out`.
    pub(crate) fn execute(&mut self, engine: &mut Engine, shared: &Around<'_>, out: &mut Output) -> Turn {
        engine.actor = Some(self.id);
        if std::mem::take(&mut self.discarded) {
            engine.unwatch(self.id);
        }
        self.clock = ticks::now();
        let mut turn = self.execute_batch(engine, shared, out);
        // A client that was not known decoded one command at a time; it goes on here.
        while turn == Turn::Drained && self.decoder.limits.commands_max == 1 && self.error.is_none() {
            if self.has_work() {
                // There is no room for more answers now.
                break;
            }
            self.decode();
            if self.batch.is_empty() {
                break;
            }
            turn = self.execute_batch(engine, shared, out);
        }
        engine.actor = None;
        engine.keyspace.eviction.unnoticed = false;
        self.take_pushed(engine, out);
        self.blocked = turn == Turn::Blocked;
        self.show(engine);
        if turn == Turn::Drained
            && self.done >= self.batch.len()
            && let Some(error) = self.error
        {
            Reply::new(&mut out.bytes, self.version).error(&format!("ERR {error}"));
            turn = Turn::Closing;
        }
        turn
    }

    fn execute_batch(&mut self, engine: &mut Engine, shared: &Around<'_>, out: &mut Output) -> Turn {
        // The input and the batch are lent out while commands may change the rest of the session.
        let (input, batch) = (std::mem::take(&mut self.input), std::mem::take(&mut self.batch));
        let arrived = input.get(self.start..).unwrap_or_default();
        let mut turn = if self.quitting { Turn::Closing } else { Turn::Drained };
        let (bytes, lent_count) = (out.bytes.len(), out.lent.pieces().len());
        while self.done < batch.len() && turn == Turn::Drained {
            // The rest waits until the client has read, or the log has what was changed.
            if out.bytes.len() - bytes > OUT_MAX
                || out.lent.pieces().len() - lent_count > LENT_MAX
                || engine.pending_bytes() > PENDING_MAX
            {
                break;
            }
            if self.done >= self.prefetched {
                let mut window = Window::default();
                self.prefetched = window.fill(engine, self.db, &batch, arrived, self.done);
                window.load(engine);
            }
            let args = batch.args(self.done, arrived);
            if engine.is_paused() && self.is_held_back(engine, shared, args) {
                engine.postpone(self.id);
                turn = Turn::Blocked;
                break;
            }
            self.done += 1;
            turn = self.command(engine, shared, args, out);
            if std::mem::take(&mut self.asks) {
                self.done -= 1;
                turn = Turn::Blocked;
            }
        }
        (self.input, self.batch) = (input, batch);
        turn
    }

    fn command(
        &mut self,
        engine: &mut Engine,
        shared: &Around<'_>,
        args: Args<'_>,
        out: &mut Output,
    ) -> Turn {
        let room = shared.room(engine);
        // What was put out by now, also by what has gone for this command, is told before its answer.
        self.take_pushed(engine, out);
        if self.answering == Answering::On {
            return self.answered(engine, shared, room, args, out);
        }
        let (bytes, lent_count) = (out.bytes.len(), out.lent.pieces().len());
        let turn = self.answered(engine, shared, room, args, out);
        let name = args.get(0).unwrap_or_default();
        if self.asks || name.to_ascii_lowercase().ends_with(b"subscribe") {
            // What it is told is a message of its subscriptions, not an answer.
            return turn;
        }
        if !self.is_answered() {
            out.bytes.truncate(bytes);
            out.lent.truncate(lent_count);
        }
        turn
    }

    fn answered(
        &mut self,
        engine: &mut Engine,
        shared: &Around<'_>,
        room: Room,
        args: Args<'_>,
        out: &mut Output,
    ) -> Turn {
        let mut reply = Reply::lending(&mut out.bytes, &mut out.lent, self.version);
        let command = match self.admit(engine, shared, room, args) {
            Ok(command) => command,
            Err(_) if is_http(args) => {
                self.quitting = true;
                return Turn::Closing;
            }
            Err(error) => {
                let mark = reply.mark();
                if is_exec(args) {
                    self.multi = None;
                    engine.unwatch(self.id);
                    let why = error.to_string();
                    reply.error(&exec_abort(&why.strip_prefix("ERR ").unwrap_or(&why)));
                } else {
                    if let Some(multi) = &mut self.multi {
                        multi.refused = true;
                    }
                    reply.error(&error.to_string());
                }
                if let Some(command) = args.get(0).and_then(|name| TABLE.get(name)) {
                    shared.observed.commands[command.index].reject();
                }
                shared.observed.note_error(reply.since(mark));
                return Turn::Drained;
            }
        };
        if let Some(multi) = &mut self.multi
            && !runs_inside_multi(command)
        {
            multi.queue.push((command, args.into()));
            multi.bytes += args.iter().map(<[u8]>::len).sum::<usize>();
            reply.simple("QUEUED");
            return Turn::Drained;
        }
        self.run(engine, shared, command, args, &mut reply, true);
        if self.tracks && self.multi.is_none() && command.spec.name != "client|caching" {
            // It was about this command.
            if let Some(tracking) = engine.session(self.id).and_then(|session| session.tracking.as_mut()) {
                tracking.caching = None;
            }
        }
        match () {
            () if self.quitting => Turn::Closing,
            () if command.spec.flags & flag::BLOCKING != 0
                && engine.session(self.id).is_some_and(|s| s.is_blocked()) =>
            {
                Turn::Blocked
            }
            () => Turn::Drained,
        }
    }

    /// A script runs commands from now on; gives what it must not change.
    pub(crate) fn enter_script(&mut self) -> (u8, &'static str) {
        self.in_script = true;
        (self.db, self.last_command)
    }

    /// It has ended.
    pub(crate) fn leave_script(&mut self, (db, last_command): (u8, &'static str)) {
        self.in_script = false;
        (self.db, self.last_command) = (db, last_command);
    }

    /// Runs one admitted command; `may_block` is false inside `EXEC`.
    pub(crate) fn run(
        &mut self,
        engine: &mut Engine,
        shared: &Around<'_>,
        command: &'static Command,
        args: Args<'_>,
        reply: &mut Reply<'_>,
        may_block: bool,
    ) {
        self.last_command = command.spec.name;
        let (mark, len) = (reply.mark(), reply.written());
        // Where the one before ended.
        let started = self.clock;
        let result = match command.run {
            Run::Keyspace(run) => {
                engine.keyspace.eviction.unnoticed = self.unnoticed;
                let block = engine.run(run, self.db, args, reply);
                if self.tracks && command.spec.flags & flag::READONLY != 0 {
                    let keys = command.spec.key_positions(args).into_iter().filter_map(|i| args.get(i));
                    let keys_max = shared.settings.tracked_keys_max.load(Relaxed);
                    engine.remember(self.id, keys, keys_max);
                }
                if let Some(block) = block
                    && may_block
                {
                    let timeout_reply = reply.since(mark).to_vec();
                    reply.truncate(mark);
                    engine.wait(self.id, run, self.db, args, block, &timeout_reply);
                }
                Ok(())
            }
            Run::Bridge(_) if self.in_script && engine.commit_bytes() > 0 && settles(args) => {
                // It could be refused, and nothing undoes what the script has done.
                Err(Error::new("ERR messages are settled before the first change of a script"))
            }
            Run::Bridge(run) => {
                if let Some(wait) = engine.run_bridge(run, args, reply)
                    && may_block
                {
                    reply.truncate(mark);
                    engine.wait_at_queue(self.id, run, args, wait);
                }
                Ok(())
            }
            Run::Session(run) => run(&mut Call { session: self, engine, shared, args, reply, may_block }),
            Run::Container => Err(Error::WrongArity(command.spec.name.into())),
        };
        if self.asks {
            // It has not happened yet.
            return reply.truncate(mark);
        }
        if let Err(error) = result {
            reply.truncate(mark);
            reply.error(&error.to_string());
        }
        let failed = reply.since(mark).first() == Some(&b'-');
        if failed && !std::mem::take(&mut self.error_noted) {
            shared.observed.note_error(reply.since(mark));
        }
        for (name, refusal) in engine.take_refusals() {
            shared.observed.note_error(&refusal);
            if let Some(command) = TABLE.get(&name) {
                shared.observed.commands[command.index].fail();
            }
        }
        if engine.has_monitors() {
            self.show_to_monitors(engine, command, args);
        }
        self.clock = ticks::now();
        let taken = self.clock.saturating_sub(started);
        shared.observed.commands[command.index].count(taken, failed);
        if shared.observed.may_be_slow(taken) && !self.in_script {
            self.note_slow(engine, shared, command, args, taken);
        }
        if shared.observed.large_requests.concerns(args.encoded_len_max() as u64) && !self.in_script {
            self.note_request(engine, shared, command, args);
        }
        let written = reply.written().saturating_sub(len) as u64;
        if shared.observed.large_replies.concerns(written) {
            self.note_reply(engine, shared, command, args, written);
        }
    }
}

/// Blocks of long strings answered in one turn.
const LENT_MAX: usize = 256;
