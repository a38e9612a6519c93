//! One Lua state: its world is made by the prelude, scripts are kept compiled by the digest of their text. It knows neither the
//! engine nor a client; those are lent to it while something runs.

use super::api::native;
use super::broken;
use super::caller::{Caller, Rights};
use super::functions::Functions;
use super::header::{Flags, of_script};
use super::lent::Lent;
use super::raised::Raised;
use super::random::Random;
use super::running::{Kind, Running};
use super::values::{is_noted, to_reply};
use crate::resp::session::Call;
use leveret_engine::keyspace::{Args, Error};
use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, IntoLuaMulti, Lua, LuaOptions, StdLib, Table, Value, VmState};
use parking_lot::Mutex;
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) const PRELUDE_NAME: &str = "=prelude";

/// What scripts may hold; one that wants more fails. Redis has no limit but the machine's.
const LUA_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// How often it is asked whether to stop, in instructions: about a millisecond.
const HOOK_EVERY: u32 = 100_000;

/// Scripts that came by EVAL and are kept; the one that was used longest ago goes first. (Redis: LRU list of EVAL)
const EVAL_SCRIPTS_MAX: usize = 500;

/// The digest of a script in hexadecimal digits.
pub(crate) fn sha1_hex(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the functions of `redis.*` share with the server.
pub(super) struct State {
    /// Who runs what runs now.
    pub(super) lent: Lent,
    running: Arc<Running>,
    /// Replies are read as RESP3. (Redis: redis.setresp)
    pub(super) is_resp3: AtomicBool,
    pub(super) random: Mutex<Random>,
    /// Functions of the library that is being loaded.
    pub(super) registered: Mutex<Option<Vec<super::Function>>>,
    /// When it must have been loaded.
    deadline: Mutex<Option<Instant>>,
}

impl State {
    /// Why what runs is to end, if it is.
    pub(super) fn why_to_end(&self) -> Option<&'static str> {
        match self.running.killed_as() {
            Some(Kind::Script) => Some("Script killed by user with SCRIPT KILL."),
            Some(Kind::Function) => Some("Script killed by user with FUNCTION KILL."),
            None => {
                let is_late = self.deadline.lock().is_some_and(|deadline| Instant::now() > deadline);
                is_late.then_some("FUNCTION LOAD timeout")
            }
        }
    }

    /// Ends what is to end, and lets the other clients in if it has taken long.
    pub(super) fn look_around(&self) -> mlua::Result<()> {
        match self.why_to_end() {
            Some(why) => Err(mlua::Error::RuntimeError(why.into())),
            None => {
                self.lent.with(|caller| caller.serve_others());
                Ok(())
            }
        }
    }
}

/// A compiled script.
struct Script {
    function: Function,
    flags: Option<Flags>,
    text: Arc<[u8]>,
    /// It came by EVAL, so it may go for others.
    may_go: bool,
    used_at: u64,
}

/// How the command at hand is to be run: `EVAL script numkeys key … arg …`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) keys_count: usize,
    /// It may not write.
    pub(crate) read_only: bool,
}

/// A Lua state.
pub(crate) struct Interpreter {
    pub(super) lua: Lua,
    state: Arc<State>,
    environment: Table,
    pub(super) library_environment: Table,
    run: Function,
    run_function: Function,
    load_library: Function,
    globals: Table,
    scripts: HashMap<String, Script>,
    /// How many of them may go.
    passing_count: usize,
    /// Counts runs, so that it is known which script was used longest ago.
    clock: u64,
    pub(super) functions: Functions,
    running: Arc<Running>,
}

impl Interpreter {
    pub(super) fn new(running: Arc<Running>) -> mlua::Result<Self> {
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS, options)?;
        let state = Arc::new(State {
            lent: Lent::default(),
            running: running.clone(),
            is_resp3: AtomicBool::new(false),
            random: Mutex::new(Random::new(fastrand::u32(..))),
            registered: Mutex::default(),
            deadline: Mutex::default(),
        });
        lua.set_memory_limit(LUA_BYTES_MAX)?;
        let (native, constants) = native(&lua, &state)?;
        let world: Table = lua
            .load(include_str!("prelude.lua"))
            .set_name(PRELUDE_NAME)
            .set_mode(ChunkMode::Text)
            .call((native, constants))?;
        watch(&lua, &state)?;
        Ok(Self {
            environment: world.raw_get("environment")?,
            library_environment: world.raw_get("library_environment")?,
            run: world.raw_get("run")?,
            run_function: world.raw_get("run_function")?,
            load_library: world.raw_get("load_library")?,
            globals: lua.globals(),
            state,
            scripts: HashMap::new(),
            passing_count: 0,
            clock: 0,
            functions: Functions::default(),
            running,
            lua,
        })
    }

    /// Bytes that Lua has.
    pub(crate) fn bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// How many scripts are kept.
    pub(crate) fn scripts_count(&self) -> usize {
        self.scripts.len()
    }

    /// The text of a script. (Valkey: SCRIPT SHOW)
    pub(crate) fn text(&self, sha: &str) -> Option<&Arc<[u8]>> {
        self.scripts.get(sha).map(|script| &script.text)
    }

    /// What a script has said about itself, if it is kept and has said something.
    pub(crate) fn flags(&self, sha: &str) -> Option<Flags> {
        self.scripts.get(sha)?.flags
    }

    /// Keeps a script under its digest; gives how many went for it.
    pub(crate) fn load(&mut self, sha: &str, text: &[u8], may_go: bool) -> Result<usize, Error> {
        if let Some(script) = self.scripts.get_mut(sha) {
            if !may_go {
                self.passing_count -= usize::from(std::mem::take(&mut script.may_go));
            }
            return Ok(0);
        }
        let (flags, code) = of_script(text)?;
        let function = self.compile(code, "@user_script", &self.environment).map_err(|why| {
            Error::Other(format!("ERR Error compiling script (new function): {why}").into())
        })?;
        let script = Script { function, flags, text: text.into(), may_go, used_at: self.clock };
        self.scripts.insert(sha.to_owned(), script);
        self.passing_count += usize::from(may_go);
        Ok(if self.passing_count > EVAL_SCRIPTS_MAX { self.let_go(sha) } else { 0 })
    }

    /// Lets the script go that was used longest ago, but not this one.
    #[cold]
    fn let_go(&mut self, but: &str) -> usize {
        let passing = self.scripts.iter().filter(|(sha, script)| script.may_go && *sha != but);
        let Some(oldest) = passing.min_by_key(|(_, script)| script.used_at).map(|(sha, _)| sha.clone())
        else {
            return 0;
        };
        self.scripts.remove(&oldest);
        self.passing_count -= 1;
        1
    }

    pub(super) fn compile(&self, code: &[u8], name: &str, environment: &Table) -> Result<Function, String> {
        let chunk = self.lua.load(code).set_name(name).set_mode(ChunkMode::Text);
        chunk.set_environment(environment.clone()).into_function().map_err(|error| message(&error))
    }

    /// Runs a script that is kept.
    pub(crate) fn run_script(
        &mut self,
        call: &mut Call<'_, '_>,
        sha: &str,
        given: Given,
    ) -> Result<(), Error> {
        self.clock += 1;
        let script =
            self.scripts.get_mut(sha).ok_or(Error::new("NOSCRIPT No matching script. Please use EVAL."))?;
        script.used_at = self.clock;
        let (function, rights) = (script.function.clone(), rights(script.flags, given.read_only)?);
        let (keys, arguments) = self.tables(call.args, given.keys_count).map_err(|error| broken(&error))?;
        self.globals.raw_set("KEYS", keys).map_err(|error| broken(&error))?;
        self.globals.raw_set("ARGV", arguments).map_err(|error| broken(&error))?;
        let ended = self.lend(call, Kind::Script, sha, rights, &self.run, function);
        self.answer(call, sha, ended)
    }

    /// Runs a function of a library.
    pub(crate) fn run_function(
        &mut self,
        call: &mut Call<'_, '_>,
        name: &str,
        given: Given,
    ) -> Result<(), Error> {
        let function = self.functions.find(name).ok_or(Error::new("ERR Function not found"))?;
        let rights = rights(Some(function.flags), given.read_only)?;
        let (keys, arguments) = self.tables(call.args, given.keys_count).map_err(|error| broken(&error))?;
        let args = (function.callback.clone(), keys, arguments);
        let ended = self.lend(call, Kind::Function, name, rights, &self.run_function, args);
        self.answer(call, name, ended)
    }

    /// Runs the code of a library, which registers its functions.
    pub(super) fn load_library(&self, code: &[u8]) -> Result<Vec<super::Function>, Error> {
        let function = self
            .compile(code, "@user_function", &self.library_environment)
            .map_err(|why| Error::Other(format!("ERR Error compiling function: {why}").into()))?;
        *self.state.registered.lock() = Some(Vec::new());
        *self.state.deadline.lock() = Some(Instant::now() + LOAD_TIME_MAX);
        let ended = self.load_library.call::<(bool, Value)>(function);
        *self.state.deadline.lock() = None;
        self.watch_again();
        let registered = self.state.registered.lock().take().unwrap_or_default();
        match ended {
            Ok((true, _)) => Ok(registered),
            Ok((false, error)) => {
                let (text, _) = explained(&error);
                Err(Error::Other(format!("ERR Error registering functions: {text}").into()))
            }
            Err(error) => {
                Err(Error::Other(format!("ERR Error registering functions: {}", message(&error)).into()))
            }
        }
    }

    /// What stops a script at every line has done its work.
    fn watch_again(&self) {
        self.lua.remove_hook();
        if let Err(error) = watch(&self.lua, &self.state) {
            tracing::error!(%error, "scripts cannot be stopped any more");
        }
    }

    fn tables(&self, command: Args<'_>, keys_count: usize) -> mlua::Result<(Table, Table)> {
        let table = |from: usize, len: usize| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(len, 0)?;
            for (i, word) in command.iter().skip(from).take(len).enumerate() {
                table.raw_set(i + 1, self.lua.create_string(word)?)?;
            }
            Ok(table)
        };
        let arguments = 3 + keys_count;
        Ok((table(3, keys_count)?, table(arguments, command.len().saturating_sub(arguments))?))
    }

    /// Answers with what has been returned, or with what went wrong and where.
    fn answer(
        &self,
        call: &mut Call<'_, '_>,
        name: &str,
        ended: mlua::Result<(bool, Value)>,
    ) -> Result<(), Error> {
        let (succeeded, value) = ended.map_err(|error| broken(&error))?;
        // What a command has failed with was counted then.
        call.session.error_noted = is_noted(&value);
        if succeeded {
            to_reply(&value, self.state.is_resp3.load(Relaxed), call.reply);
            return Ok(());
        }
        let (text, place) = explained(&value);
        let place = place.map(|(source, line)| format!(", on {source}:{line}")).unwrap_or_default();
        Err(Error::Other(format!("{text} script: {name}{place}.").into()))
    }

    /// Lends the client and the engine to what is entered, as one commit.
    fn lend(
        &self,
        call: &mut Call<'_, '_>,
        kind: Kind,
        name: &str,
        rights: Rights,
        enter: &Function,
        args: impl IntoLuaMulti,
    ) -> mlua::Result<(bool, Value)> {
        self.running.begin(kind, name, call.args);
        self.state.is_resp3.store(false, Relaxed);
        let before = call.session.enter_script();
        call.engine.begin();
        let mut caller = Caller::new(call.session, call.engine, call.shared, rights);
        let ended = self.state.lent.lend(&mut caller, || enter.call::<(bool, Value)>(args));
        call.engine.end();
        call.session.leave_script(before);
        if self.running.end() {
            self.watch_again();
        }
        call.shared.scripts.lua_bytes.store(self.bytes(), Relaxed);
        ended
    }
}

/// Asks now and then whether to stop.
fn watch(lua: &Lua, state: &Arc<State>) -> mlua::Result<()> {
    let state = state.clone();
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(HOOK_EVERY), move |lua, _| {
        if let Some(why) = state.why_to_end() {
            // From now on at every line, whatever the script catches, until it has ended.
            lua.set_hook(HookTriggers::EVERY_LINE, move |_, debug| {
                let is_ours = debug.source().source.as_deref() == Some(PRELUDE_NAME);
                if is_ours { Ok(VmState::Continue) } else { Err(mlua::Error::RuntimeError(why.into())) }
            })?;
        }
        state.look_around().map(|()| VmState::Continue)
    })
}

/// A library that takes longer to load is refused. (Redis: LOAD_TIMEOUT_MS)
const LOAD_TIME_MAX: Duration = Duration::from_millis(500);

fn rights(flags: Option<Flags>, read_only: bool) -> Result<Rights, Error> {
    match flags {
        None => Ok(Rights { may_write: !read_only, declared: false }),
        Some(flags) => {
            let may_write = !flags.has(Flags::NO_WRITES);
            if may_write && read_only {
                return Err(Error::new("ERR Can not execute a script with write flag using *_ro command."));
            }
            Ok(Rights { may_write, declared: true })
        }
    }
}

/// The text of an error that the prelude has caught, and where it was.
fn explained(error: &Value) -> (String, Option<(String, i64)>) {
    let Value::Table(table) = error else { return ("ERR unknown error".into(), None) };
    let field = |name: &str| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
    let text = match field("err") {
        Value::String(text) => text.to_string_lossy(),
        _ => "ERR unknown error".into(),
    };
    let place = match (field("source"), field("line")) {
        (Value::String(source), Value::Integer(line)) => Some((source.to_string_lossy(), line)),
        _ => None,
    };
    (text, place)
}

/// What an error of the interpreter says, without where it was.
pub(super) fn message(error: &mlua::Error) -> String {
    match error {
        mlua::Error::RuntimeError(text) | mlua::Error::MemoryError(text) => text.clone(),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => message(cause),
        other => Raised::of(other).map_or_else(|| other.to_string(), |raised| raised.text().to_owned()),
    }
}
