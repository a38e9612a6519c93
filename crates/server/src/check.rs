//! What a start would find in settings and in a data directory, without changing a byte of it: everything is read as a server reads it,
//! and the messages as well that one reads when they are wanted.

use crate::Settings;
use crate::listeners::Listeners;
use crate::recover::{recover_from, refuse_half_import, refuse_half_restore};
use crate::serve::StartError;
use crate::shared::Shared;
use crate::snapshot::{Failed, refuse_missing};
use leveret_engine::Engine;
use leveret_engine::keyspace::DATABASES;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Ending, Held, Inspection, Log, Onlooker, Options, inspect_after, verify_held};
use rustix::fs::Access;
use std::path::Path;
use std::sync::Arc;

/// What is in the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub keys: usize,
    /// Databases with a key.
    pub databases: usize,
    pub libraries: usize,
    pub users: usize,
    pub vhosts: usize,
    pub exchanges: usize,
    pub queues: usize,
    pub messages: usize,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// A server has the directory and goes on writing.
    pub is_used: bool,
    /// The log and how it ends.
    pub inspection: Inspection,
    /// Messages that are not in memory after a start, so that it does not read them.
    pub held: Held,
    /// The state after it.
    pub counts: Counts,
}

/// What a server writes at this moment may look damaged; so often it is read again.
const LOOKS: usize = 3;

/// Gives every setting its value, as a start does, on a server without data and listeners. An error is the reason why none starts with
/// them.
pub fn check_settings(settings: Settings) -> Result<(), StartError> {
    let nothing = Arc::new(FaultyDisk::new(0));
    let in_memory = settings.message_bytes_in_memory();
    let recovered = recover_from(nothing, settings.segment_bytes, in_memory, 1, settings.io_threads)?;
    Shared::new(settings, recovered, Vec::new(), Listeners::default(), String::new()).configure()
}

/// Reads everything. An error is the reason why no server starts on it.
pub fn check(data_dir: &Path) -> Result<Checked, Failed> {
    refuse_missing(data_dir)?;
    refuse_half_import(data_dir)?;
    refuse_half_restore(data_dir)?;
    let what = format!("cannot read the data directory {}", data_dir.display());
    let busy = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ResourceBusy;
    let onlooker = match Onlooker::open(data_dir) {
        Err(error) if busy(&error) => Onlooker::beside(data_dir),
        opened => opened,
    };
    let onlooker = Arc::new(onlooker.map_err(|error| Failed::Io(what, error))?);
    let kept = leveret_wal::archived(data_dir);
    kept.map_err(|error| Failed::Io("cannot tell what is kept for backups".into(), error))?;
    if !onlooker.is_used() {
        refuse_unwritable(data_dir)?;
    }
    let mut checked = look(&onlooker)?;
    for _ in 1..LOOKS {
        if !onlooker.is_used() || !matches!(checked.inspection.ending, Ending::Damaged(_)) {
            break;
        }
        checked = look(&onlooker)?;
    }
    Ok(checked)
}

/// Nobody but who may write to all of it starts on a directory.
fn refuse_unwritable(data_dir: &Path) -> Result<(), Failed> {
    let refuse = |path: &Path, how: Access| {
        let failed = |error: rustix::io::Errno| {
            Failed::Io(format!("cannot write to {}", path.display()), error.into())
        };
        rustix::fs::access(path, how).map_err(failed)
    };
    refuse(data_dir, Access::WRITE_OK | Access::EXEC_OK)?;
    let unread = |error| Failed::Io(format!("cannot read the data directory {}", data_dir.display()), error);
    for entry in std::fs::read_dir(data_dir).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            refuse(&entry.path(), Access::READ_OK | Access::WRITE_OK)?;
        }
    }
    Ok(())
}

fn look(onlooker: &Arc<Onlooker>) -> Result<Checked, Failed> {
    // With no client there is nothing to guess.
    let mut engine = Engine::new(0, 1);
    let mut log = Log::open(onlooker.clone(), Options::default()).map_err(Failed::Log)?;
    let head = log.restore(&mut |changes| engine.restore(changes)).map_err(Failed::Log)?;
    if let Some(head) = head {
        engine.restored(head);
    }
    let inspection = inspect_after(onlooker.as_ref(), head, &mut engine).map_err(Failed::Log)?;
    let held = verify_held(onlooker.as_ref()).map_err(Failed::Log)?;
    Ok(Checked { is_used: onlooker.is_used(), inspection, held, counts: count(&engine) })
}

fn count(engine: &Engine) -> Counts {
    let lens = (0..DATABASES).map(|db| engine.keyspace.len(db));
    let [queues, exchanges, ready, unacked, _] = engine.broker.counts();
    Counts {
        keys: lens.clone().sum(),
        databases: lens.filter(|len| *len > 0).count(),
        libraries: engine.libraries.iter().len(),
        users: engine.accounts.users().count(),
        vhosts: engine.broker.vhosts().count(),
        exchanges,
        queues,
        messages: ready + unacked,
    }
}
