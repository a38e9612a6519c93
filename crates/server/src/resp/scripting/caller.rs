//! redis.call: a command on behalf of the client that runs the script, with its rights and in its database.

use super::raised::Raised;
use super::values::to_lua;
use crate::alarms::DISK_FULL;
use crate::around::Around;
use crate::memory::Room;
use crate::resp::acl::Where;
use crate::resp::session::RespSession;
use crate::resp::table::{Command, find, named};
use leveret_engine::keyspace::{Args, ArgsBuf, Error, Reply, flag};
use leveret_engine::{Engine, consumes};
use leveret_resp::{DoubleText, Version};
use mlua::{Lua, MultiValue, Value};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What a script may do beside what its user may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    pub(super) may_write: bool,
    /// It said that it needs memory, or that it does not; then it was asked before it began.
    pub(super) declared: bool,
}

/// Who runs a script, while it runs.
pub(super) struct Caller<'a> {
    pub(super) session: &'a mut RespSession,
    pub(super) engine: &'a mut Engine,
    pub(super) shared: &'a Around<'a>,
    pub(super) rights: Rights,
    /// Something was written that would be half done if the script ended here.
    pub(super) wrote: bool,
    /// The other clients are let in when it runs for longer than this.
    served_after: Duration,
    args: ArgsBuf,
    reply: Vec<u8>,
}

/// While a script runs for too long the others are served this often.
const SERVED_EVERY: Duration = Duration::from_millis(10);

/// A script that changes more than this is refused further commands: a commit is one record.
const COMMIT_BYTES_MAX: usize = 512 * 1024 * 1024;

impl<'a> Caller<'a> {
    pub(super) fn new(
        session: &'a mut RespSession,
        engine: &'a mut Engine,
        shared: &'a Around<'a>,
        rights: Rights,
    ) -> Self {
        Self {
            session,
            engine,
            shared,
            rights,
            wrote: false,
            served_after: Duration::ZERO,
            args: ArgsBuf::default(),
            reply: Vec::new(),
        }
    }

    /// Lets the other clients in, if this has taken so long that they are to be told.
    pub(super) fn serve_others(&mut self) {
        let limit = Duration::from_millis(self.shared.settings.busy_after_ms.load(Relaxed) as u64);
        if self.shared.scripts.running.is_longer_than(limit.max(self.served_after)) {
            self.shared.serve_others(self.engine);
            self.served_after = self.shared.scripts.running.elapsed() + SERVED_EVERY;
        }
        if self.shared.scripts.running.is_ending() {
            // The process may end without this script, but not without what was executed before it.
            self.shared.write_meanwhile(self.engine);
        }
    }

    /// Executes the command: its reply, or its error.
    pub(super) fn call(&mut self, lua: &Lua, args: &MultiValue, version: Version) -> mlua::Result<Value> {
        if let Err(error) = self.take_args(args).and_then(|()| self.execute(version)) {
            let text = error.to_string();
            self.shared.observed.note_error(format!("-{text}").as_bytes());
            return Err(Raised::Reply(text).into());
        }
        if let Some(error) = self.reply.strip_prefix(b"-") {
            return Err(Raised::Reply(String::from_utf8_lossy(error).trim_end().to_owned()).into());
        }
        to_lua(lua, &mut self.reply.as_slice())
    }

    /// True when the user may execute the command. (Redis: redis.acl_check_cmd)
    pub(super) fn may(&mut self, args: &MultiValue) -> Result<bool, String> {
        if args.is_empty() {
            return Err("Please specify at least one argument for this redis.acl_check_cmd() call".into());
        }
        self.take_args(args).map_err(|_| "redis.acl_check_cmd() require a valid command name".to_owned())?;
        let args = std::mem::take(&mut self.args);
        let command = named(args.as_args())
            .map_err(|_| "Invalid command passed to redis.acl_check_cmd()".to_owned())?;
        Ok(self.session.permit(self.engine, self.shared, command, args.as_args()).is_ok())
    }

    fn take_args(&mut self, args: &MultiValue) -> Result<(), Error> {
        self.args.clear();
        if args.is_empty() {
            return Err(Error::new("ERR Please specify at least one argument for this redis lib call"));
        }
        for arg in args {
            match arg {
                Value::String(text) => self.args.push(&text.as_bytes()),
                Value::Integer(number) => self.args.push(number.to_string().as_bytes()),
                // There is one zero only.
                Value::Number(number) => self.args.push(DoubleText::new(*number + 0.0).as_bytes()),
                _ => {
                    return Err(Error::new(
                        "ERR Lua redis lib command arguments must be strings or integers",
                    ));
                }
            }
        }
        Ok(())
    }

    fn execute(&mut self, version: Version) -> Result<(), Error> {
        let args = std::mem::take(&mut self.args);
        let done = self.execute_args(&args, version);
        self.args = args;
        done
    }

    fn execute_args(&mut self, args: &ArgsBuf, version: Version) -> Result<(), Error> {
        let args = args.as_args();
        let command = find(args).map_err(|error| match error {
            Error::WrongArity(_) => Error::new("ERR Wrong number of args calling Redis command from script"),
            _ => Error::new("ERR Unknown Redis command called from script"),
        })?;
        if let Err(refusal) = self.admit(command, args) {
            self.shared.observed.commands[command.index].reject();
            return Err(refusal);
        }
        if command.spec.flags & flag::WRITE != 0 {
            if !self.shared.scripts.running.may_write() {
                return Err(Error::new("ERR the script was killed; this command was not executed"));
            }
            self.wrote = true;
        }
        self.reply.clear();
        let mut reply = Reply::new(&mut self.reply, version);
        self.session.run(self.engine, self.shared, command, args, &mut reply, false);
        Ok(())
    }

    fn admit(&mut self, command: &Command, args: Args<'_>) -> Result<(), Error> {
        self.check(command, args)?;
        let Err(denied) = self.session.permit(self.engine, self.shared, command, args) else { return Ok(()) };
        let refusal = self.session.refused(self.engine, self.shared, args, denied, Where::Script);
        let text = refusal.to_string();
        let why = text.strip_prefix("NOPERM ").unwrap_or(&text);
        Err(Error::Other(format!("ERR ACL failure in script: {why}").into()))
    }

    fn check(&mut self, command: &Command, args: Args<'_>) -> Result<(), Error> {
        let flags = command.spec.flags;
        if flags & flag::NOSCRIPT != 0 && !self.shared.scripts.may_all.load(Relaxed) {
            return Err(Error::new("ERR This Redis command is not allowed from script"));
        }
        if matches!(command.spec.name, "xread" | "xreadgroup") && waits(args) {
            let name = command.spec.name;
            let text = format!("ERR {name} command is not allowed with BLOCK option from scripts");
            return Err(Error::Other(text.into()));
        }
        if !self.rights.may_write && flags & (flag::WRITE | flag::MAY_REPLICATE) != 0 {
            return Err(Error::new("ERR Write commands are not allowed from read-only scripts."));
        }
        // One that has begun to write may go on.
        if !self.rights.declared && !self.wrote {
            if flags & flag::WRITE != 0 && self.shared.settings.replicas_to_write.load(Relaxed) > 0 {
                return Err(Error::new("NOREPLICAS Not enough good replicas to write."));
            }
            let is_full = self.shared.settings.alarms.is_full();
            if is_full && flags & flag::WRITE != 0 && !consumes(command.spec.name) {
                return Err(DISK_FULL);
            }
            if flags & flag::DENYOOM != 0 && self.shared.room(self.engine) == Room::None {
                return Err(Error::new("OOM command not allowed when used memory > 'maxmemory'."));
            }
        }
        if flags & flag::WRITE != 0 && self.engine.commit_bytes() > COMMIT_BYTES_MAX {
            return Err(Error::new("ERR the script has changed too much; this command was not executed"));
        }
        Ok(())
    }
}

/// True when there is BLOCK among the options of XREAD or XREADGROUP, which end with STREAMS.
fn waits(args: Args<'_>) -> bool {
    let options = args.iter().take_while(|word| !word.eq_ignore_ascii_case(b"streams"));
    options.clone().any(|word| word.eq_ignore_ascii_case(b"block"))
}
