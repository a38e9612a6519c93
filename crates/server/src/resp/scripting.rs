//! Scripts and functions: Lua 5.1 beside the engine, entered by whoever holds it, one script at a time. A script is one commit: what
//! it has changed is in one record. (Redis: EVAL, FCALL)

mod api;
mod caller;
mod functions;
mod header;
mod interpreter;
mod lent;
mod libraries;
mod raised;
mod random;
mod running;
mod values;

pub(crate) use functions::{Function, Library};
pub(crate) use header::of_library;
pub(crate) use interpreter::{Given, Interpreter, sha1_hex};
pub(crate) use running::{Kind, Running};

use crate::resp::table::Command;
use leveret_engine::Libraries;
use leveret_engine::keyspace::command::Group;
use leveret_engine::keyspace::{Args, Error, flag};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Everything about scripts that threads share.
#[derive(Default)]
pub(crate) struct Scripts {
    /// Made when it is first needed.
    interpreter: Mutex<Option<Interpreter>>,
    /// What is running now.
    pub(crate) running: Arc<Running>,
    /// Commands that are not meant for scripts may be called by them. (Redis: DEBUG SET-DISABLE-DENY-SCRIPTS)
    pub(crate) may_all: AtomicBool,
    /// For INFO: scripts kept, bytes of Lua, scripts that have gone for others.
    pub(crate) scripts_count: AtomicUsize,
    pub(crate) lua_bytes: AtomicUsize,
    pub(crate) evicted_count: AtomicU64,
}

/// The interpreter, while nobody else has it.
pub(crate) struct Entered<'a>(MutexGuard<'a, Option<Interpreter>>);

impl Scripts {
    /// The interpreter. The caller holds the engine, so it is free unless the caller itself is a script.
    pub(crate) fn enter(&self) -> Result<Entered<'_>, Error> {
        let mut interpreter =
            self.interpreter.try_lock().ok_or(Error::new("ERR a script cannot run another one"))?;
        if interpreter.is_none() {
            *interpreter = Some(Interpreter::new(self.running.clone()).map_err(|error| broken(&error))?);
        }
        Ok(Entered(interpreter))
    }

    /// The flags of a command; if it runs something that has said what it does, those that follow from that. (Redis: getCommandFlags)
    pub(crate) fn flags_of(&self, libraries: &Libraries, command: &Command, args: Args<'_>) -> u32 {
        let flags = command.spec.flags;
        if flags & flag::NO_MANDATORY_KEYS == 0 || command.spec.group != Group::Scripting {
            return flags;
        }
        let what = args.get(1).unwrap_or_default();
        let name = || String::from_utf8_lossy(what);
        let declared = match command.spec.name {
            "eval" | "eval_ro" => header::of_script(what).ok().and_then(|(flags, _)| flags),
            "fcall" | "fcall_ro" => self.enter().ok().and_then(|mut interpreter| {
                interpreter.follow(libraries);
                interpreter.function_flags(&name())
            }),
            _ => {
                self.entered_before().and_then(|interpreter| interpreter.flags(&name().to_ascii_lowercase()))
            }
        };
        declared.map_or(flags, |declared| declared.of_command(flags))
    }

    /// Whether there is one already.
    pub(crate) fn entered_before(&self) -> Option<Entered<'_>> {
        self.interpreter.try_lock().filter(|interpreter| interpreter.is_some()).map(Entered)
    }

    /// Drops the interpreter and with it all scripts; functions come back from the engine when they are needed.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut interpreter =
            self.interpreter.try_lock().ok_or(Error::new("ERR a script cannot run another one"))?;
        *interpreter = None;
        drop(interpreter);
        self.scripts_count.store(0, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

impl std::ops::Deref for Entered<'_> {
    type Target = Interpreter;

    fn deref(&self) -> &Interpreter {
        self.0.as_ref().expect("it is made before it is entered")
    }
}

impl std::ops::DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Interpreter {
        self.0.as_mut().expect("it is made before it is entered")
    }
}

/// The interpreter itself does not do what it should, for lack of memory.
fn broken(error: &mlua::Error) -> Error {
    Error::Other(format!("ERR {}", interpreter::message(error)).into())
}
