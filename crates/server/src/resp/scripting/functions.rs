//! Libraries of functions as they are run: compiled from the texts that the engine keeps, anew when those have changed.
//! (Redis: FUNCTION, FCALL)

use super::api::refusing;
use super::header::{Flags, is_name, of_library};
use super::interpreter::{Interpreter, State};
use super::libraries::Outcome;
use leveret_engine::Libraries;
use leveret_engine::keyspace::Error;
use mlua::{Lua, MultiValue, Table, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One function.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) flags: Flags,
    pub(super) callback: mlua::Function,
}

/// A library that is compiled.
pub(crate) struct Library {
    pub(crate) text: Arc<[u8]>,
    pub(crate) functions: Vec<Function>,
}

/// All libraries by name, and which of them has which function.
#[derive(Default)]
pub(crate) struct Functions {
    libraries: BTreeMap<String, Library>,
    /// Their names in small letters, because they are found in any case.
    by_name: HashMap<String, Function>,
    /// Of the texts that these were compiled from.
    generation: u64,
}

impl Functions {
    pub(super) fn find(&self, name: &str) -> Option<&Function> {
        self.by_name.get(&name.to_ascii_lowercase())
    }

    fn index(&mut self) {
        let all = self.libraries.values().flat_map(|library| &library.functions);
        self.by_name = all.map(|function| (function.name.to_ascii_lowercase(), function.clone())).collect();
    }
}

impl Interpreter {
    /// Compiles what has changed since the last time.
    pub(crate) fn follow(&mut self, libraries: &Libraries) {
        if self.functions.generation == libraries.generation() {
            return;
        }
        let mut before = std::mem::take(&mut self.functions.libraries);
        for (name, text) in libraries.iter() {
            let library = match before.remove(name).filter(|library| library.text == *text) {
                Some(library) => Some(library),
                None => self.compile_library(text).map(|(_, library)| library).map_err(|error| {
                    tracing::error!(%error, library = name, "a library that was loaded before is not understood");
                }).ok(),
            };
            self.functions.libraries.extend(library.map(|library| (name.to_owned(), library)));
        }
        self.functions.index();
        self.functions.generation = libraries.generation();
    }

    /// All libraries, by name.
    pub(crate) fn libraries(&self) -> &BTreeMap<String, Library> {
        &self.functions.libraries
    }

    /// How many functions there are.
    pub(crate) fn functions_count(&self) -> usize {
        self.functions.by_name.len()
    }

    /// What a function says about itself.
    pub(crate) fn function_flags(&self, name: &str) -> Option<Flags> {
        self.functions.find(name).map(|function| function.flags)
    }

    /// A library and its name; it is not kept.
    pub(crate) fn compile_library(&self, text: &Arc<[u8]>) -> Result<(String, Library), Error> {
        let (name, code) = of_library(text)?;
        let functions = self.load_library(code)?;
        if functions.is_empty() {
            return Err(Error::new("ERR No functions registered"));
        }
        Ok((name, Library { text: text.clone(), functions }))
    }

    /// Refuses functions that others than the libraries left out have.
    pub(crate) fn check_names(
        &self,
        functions: &[Function],
        without: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let others = self.functions.libraries.iter().filter(|(name, _)| !without(name));
        for other in others.flat_map(|(_, library)| &library.functions) {
            if functions.iter().any(|function| function.name.eq_ignore_ascii_case(&other.name)) {
                return Err(Error::Other(format!("ERR Function {} already exists", other.name).into()));
            }
        }
        Ok(())
    }
}

/// `redis.register_function(name, callback)` or `redis.register_function{function_name=…, callback=…, flags=…, description=…}`.
pub(super) fn register(lua: &Lua, state: &Arc<State>) -> mlua::Result<mlua::Function> {
    let state = state.clone();
    refusing(lua, move |_, args| {
        let Some(registered) = &mut *state.registered.lock() else {
            return Ok(Err("redis.register_function can only be called on FUNCTION LOAD command".into()));
        };
        Ok(understand(args).and_then(|function| add(registered, function)))
    })
}

fn add(registered: &mut Vec<Function>, function: Function) -> Outcome {
    if !is_name(function.name.as_bytes()) {
        return Err("Library names can only contain letters, numbers, or underscores(_) and must be at least one character long".into());
    }
    if registered.iter().any(|other| other.name.eq_ignore_ascii_case(&function.name)) {
        return Err("Function already exists in the library".into());
    }
    registered.push(function);
    Ok(Vec::new())
}

fn understand(args: &MultiValue) -> Result<Function, String> {
    match (args.front(), args.get(1)) {
        (Some(Value::Table(named)), None) => understand_named(named),
        (Some(_), None) => Err("calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).".into()),
        (Some(name), Some(callback)) if args.len() == 2 => {
            let Value::Function(callback) = callback else {
                return Err("second argument to redis.register_function must be a function".into());
            };
            let name = super::libraries::bytes_of(Some(name))
                .ok_or("first argument to redis.register_function must be a string")?;
            Ok(Function {
                name: String::from_utf8_lossy(&name).into_owned(),
                description: None,
                flags: Flags::default(),
                callback: callback.clone(),
            })
        }
        _ => Err("wrong number of arguments to redis.register_function".into()),
    }
}

fn understand_named(named: &Table) -> Result<Function, String> {
    let (mut name, mut callback, mut description, mut flags) = (None, None, None, Flags::default());
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let Value::String(key) = key else {
            return Err("named argument key given to redis.register_function is not a string".into());
        };
        match (&*key.as_bytes(), value) {
            (b"function_name", Value::String(text)) => name = Some(text.to_string_lossy()),
            (b"function_name", _) => {
                return Err("function_name argument given to redis.register_function must be a string".into());
            }
            (b"description", Value::String(text)) => description = Some(text.as_bytes().to_vec()),
            (b"description", _) => {
                return Err("description argument given to redis.register_function must be a string".into());
            }
            (b"callback", Value::Function(function)) => callback = Some(function),
            (b"callback", _) => {
                return Err("callback argument given to redis.register_function must be a function".into());
            }
            (b"flags", Value::Table(names)) => flags = flags_of(&names)?,
            (b"flags", _) => {
                return Err(
                    "flags argument to redis.register_function must be a table representing function flags"
                        .into(),
                );
            }
            _ => return Err("unknown argument given to redis.register_function".into()),
        }
    }
    let name = name.ok_or("redis.register_function must get a function name argument")?;
    let callback = callback.ok_or("redis.register_function must get a callback argument")?;
    Ok(Function { name, description, flags, callback })
}

fn flags_of(names: &Table) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for i in 1..=names.raw_len() {
        let named = match names.raw_get::<Value>(i) {
            Ok(Value::String(name)) => Flags::named(&name.as_bytes()),
            Ok(_) | Err(_) => None,
        };
        flags = flags.with(named.ok_or("unknown flag given")?);
    }
    Ok(flags)
}
