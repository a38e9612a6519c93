//! The mover thread carries keys to other servers, one migration after the other, while everybody else goes on. It holds the
//! engine only to take keys and to remove those that have arrived. (Redis: MIGRATE)

mod target;

pub(crate) use target::Target;

use crate::backlog::Backlog;
use crate::shared::Shared;
use leveret_engine::keyspace::{DbIndex, Parcel};
use leveret_engine::{Migrated, SessionId, Travelling};
use parking_lot::Mutex;
use std::net::{Shutdown, TcpStream};
use target::{Broken, Link};

/// Keys and where they are to go.
#[derive(Debug)]
pub(crate) struct Migration {
    pub(crate) from: DbIndex,
    pub(crate) keys: Vec<Box<[u8]>>,
    pub(crate) target: Target,
    /// They stay here as well.
    pub(crate) copies: bool,
}

/// What is to be carried: at most one migration for each connection.
#[derive(Default)]
pub(crate) struct Mover {
    migrations: Backlog<(SessionId, Migration)>,
    /// Where the thread is talking to.
    socket: Mutex<Option<TcpStream>>,
}

/// Taken from the engine and sent at once: the other server's answers to so many have room on their way.
const KEYS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// What has been taken from here so far.
#[derive(Default)]
struct Load {
    travelling: Vec<Travelling>,
    /// Which of them the other server has.
    arrived: Vec<bool>,
    /// What it said about the first one that it has not.
    refusal: Option<String>,
}

impl Mover {
    /// Leaves it to the thread.
    pub(crate) fn take(&self, id: SessionId, migration: Migration) {
        self.migrations.extend(vec![(id, migration)]);
    }

    /// The thread ends as soon as it notices; what it has not finished stays here.
    pub(crate) fn stop(&self) {
        self.migrations.stop();
        if let Some(socket) = &*self.socket.lock() {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn talks_to(&self, socket: Option<TcpStream>) {
        *self.socket.lock() = socket;
    }
}

impl Shared {
    /// The thread.
    pub(crate) fn move_keys(&self) {
        while let Some((id, migration)) = self.mover.migrations.next() {
            let migrated = self.carry(&migration);
            self.mover.talks_to(None);
            let Some(migrated) = migrated else { return };
            if self.visit(|engine| engine.end_migration(id, migrated)).is_none() {
                return;
            }
        }
    }

    /// `None` when the server is stopping.
    fn carry(&self, migration: &Migration) -> Option<Migrated> {
        let mut load = Load::default();
        let sent = self.send(migration, &mut load);
        let Load { travelling, arrived, refusal } = load;
        let nothing = travelling.is_empty();
        let goes = |i: usize| !migration.copies && arrived.get(i).copied().unwrap_or(false);
        let (changed, _) = self.visit(|engine| engine.unpack(travelling, goes))?;
        Some(match (sent, refusal, changed.first()) {
            (_, Some(refusal), _) => {
                Migrated::Failed(format!("ERR Target instance replied with error: {refusal}"))
            }
            (Err(broken), None, _) => Migrated::Failed(broken.to_string()),
            (Ok(()), None, Some(key)) => Migrated::Failed(changed_meanwhile(key)),
            (Ok(()), None, None) if nothing => Migrated::Nothing,
            (Ok(()), None, None) => Migrated::Done,
        })
    }

    fn send(&self, migration: &Migration, load: &mut Load) -> Result<(), Broken> {
        let mut link = Link::open(&migration.target, |socket| self.mover.talks_to(Some(socket)))?;
        if let Some(refusal) = link.enter(&migration.target)? {
            load.refusal = Some(refusal);
            return Ok(());
        }
        let mut keys = migration.keys.iter();
        loop {
            let parcels = self.pack(migration.from, &mut keys, load);
            if parcels.is_empty() {
                return Ok(());
            }
            link.write_parcels(&parcels, migration.target.replaces)?;
            for _ in &parcels {
                let refusal = link.read_refusal()?;
                load.arrived.push(refusal.is_none());
                load.refusal = load.refusal.take().or(refusal);
            }
        }
    }

    /// Takes the next keys that are there.
    fn pack<'a>(
        &self,
        from: DbIndex,
        keys: &mut impl Iterator<Item = &'a Box<[u8]>>,
        load: &mut Load,
    ) -> Vec<Parcel> {
        let (mut parcels, mut bytes) = (Vec::new(), 0);
        let _ = self.visit(|engine| {
            for key in keys {
                let Some((parcel, travelling)) = engine.pack(from, key) else { continue };
                bytes += parcel.payload.len();
                parcels.push(parcel);
                load.travelling.push(travelling);
                if parcels.len() >= KEYS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                    break;
                }
            }
        });
        parcels
    }
}

// DEVIATION: in Redis nobody can change anything meanwhile, because everybody waits.
fn changed_meanwhile(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key.get(..128).unwrap_or(key)).into_owned();
    format!(
        "ERR the key '{key}' was changed while it was on its way: it stays here as it is now, and the target instance has what it was; migrate it again with REPLACE"
    )
}
