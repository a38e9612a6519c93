//! The one command table: the rows of the keyspace, of the engine's bridge to AMQP and of the session, under one roof.
//! It feeds dispatch and `COMMAND`.

use crate::resp::commands;
use crate::resp::session::Call;
use hashbrown::HashMap;
use leveret_engine::keyspace::{self, Args, Error, Row, Spec};
use leveret_engine::{BRIDGE_ROWS, BridgeFunction};
use std::sync::LazyLock;

/// What runs a command.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// A command of the keyspace.
    Keyspace(keyspace::Run),
    /// A command that spans keyspace and broker; runs inside a commit.
    Bridge(BridgeFunction),
    /// A command about the session, the server or publish/subscribe.
    Session(fn(&mut Call<'_, '_>) -> Result<(), Error>),
    /// Has subcommands only.
    Container,
}

/// A row of the table as it is used.
#[derive(Clone, Copy)]
pub(crate) struct Command {
    /// The facts.
    pub(crate) spec: Spec,
    /// The function.
    pub(crate) run: Run,
    /// Its place among the counters.
    pub(crate) index: usize,
}

/// Every command by its lower-case name; a subcommand by `config|get`.
pub(crate) struct Table {
    by_name: HashMap<&'static [u8], Command, foldhash::fast::FixedState>,
}

/// The table.
pub(crate) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut by_name: HashMap<_, Command, _> = HashMap::default();
    let mut add = |spec: Spec, run| {
        let index = by_name.len();
        by_name.insert(spec.name.as_bytes(), Command { spec, run, index });
    };
    for row in keyspace::commands::TABLES.iter().copied().flatten() {
        add(row.spec, Run::Keyspace(row.run));
    }
    for Row { spec, run } in BRIDGE_ROWS {
        add(*spec, Run::Bridge(*run));
    }
    for Row { spec, run } in commands::TABLES.iter().copied().flatten() {
        add(*spec, run.map_or(Run::Container, Run::Session));
    }
    Table { by_name }
});

/// Longer than any name.
const NAME_MAX: usize = 64;

impl Table {
    /// All commands and subcommands.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Command> {
        self.by_name.values()
    }

    /// Likewise, by name.
    pub(crate) fn by_name(&self) -> Vec<&Command> {
        let mut commands: Vec<&Command> = self.iter().collect();
        commands.sort_by_key(|command| command.spec.name);
        commands
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The command of this name, in any case; `config|get` names a subcommand.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Command> {
        let mut lower = [0; NAME_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower)
    }

    /// The subcommand `sub` of a container.
    pub(crate) fn get_sub(&self, container: &Command, sub: &[u8]) -> Option<&Command> {
        let mut name = Vec::with_capacity(NAME_MAX);
        name.extend_from_slice(container.spec.name.as_bytes());
        name.push(b'|');
        name.extend_from_slice(sub);
        self.get(&name)
    }

    /// The subcommands of a container, by name.
    pub(crate) fn subs(&self, container: &str) -> Vec<&Command> {
        let prefix = format!("{container}|");
        self.by_name().into_iter().filter(|command| command.spec.name.starts_with(&prefix)).collect()
    }
}

/// The command that the arguments name and suit, or the refusal.
pub(crate) fn find(args: Args<'_>) -> Result<&'static Command, Error> {
    let command = named(args)?;
    if !command.spec.takes(args.len()) {
        return Err(Error::WrongArity(command.spec.name.into()));
    }
    Ok(command)
}

/// The command that the arguments name, or the refusal.
pub(crate) fn named(args: Args<'_>) -> Result<&'static Command, Error> {
    let name = args.get(0).unwrap_or_default();
    let command = TABLE.get(name).filter(|_| !name.contains(&b'|')).ok_or_else(|| unknown(args))?;
    match (command.run, args.get(1)) {
        (Run::Container, Some(sub)) => TABLE.get_sub(command, sub).ok_or_else(|| unknown_sub(name, sub)),
        // The one container that does something by itself.
        (Run::Session(_), Some(sub)) if command.spec.name == "command" => {
            TABLE.get_sub(command, sub).ok_or_else(|| unknown_sub(name, sub))
        }
        (Run::Container | Run::Keyspace(_) | Run::Bridge(_) | Run::Session(_), _) => Ok(command),
    }
}

/// At most 128 bytes of each are repeated to the client. (Redis: `commandCheckExistence`)
#[cold]
fn unknown(args: Args<'_>) -> Error {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..128).unwrap_or(bytes)).into_owned();
    let mut beginning = String::new();
    for arg in args.iter().skip(1) {
        if beginning.len() >= 128 {
            break;
        }
        beginning += &format!("'{}' ", text(arg));
    }
    let name = text(args.get(0).unwrap_or_default());
    Error::Other(format!("ERR unknown command '{name}', with args beginning with: {beginning}").into())
}

#[cold]
fn unknown_sub(name: &[u8], sub: &[u8]) -> Error {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..128).unwrap_or(bytes)).into_owned();
    let (name, sub) = (text(name), text(sub));
    Error::Other(format!("ERR unknown subcommand '{sub}'. Try {} HELP.", name.to_uppercase()).into())
}
