//! MIGRATE: what is to be carried where is understood here; the mover thread carries it, and the command is executed again then.

use super::{Function, session};
use crate::mover::{Migration, Target};
use crate::resp::session::Call;
use leveret_engine::Migrated;
use leveret_engine::keyspace::command::{Group, Row, keys, migrated_from, rest_keys};
use leveret_engine::keyspace::{Args, Error, category, flag, parse_integer};
use std::time::Duration;

pub(super) const ROWS: &[Row<Option<Function>>] = &[session("migrate", -6, Group::Generic, flag::WRITE, migrate)
    .also(category::DANGEROUS)
    .keys(&[
        keys(&["RW", "ACCESS", "DELETE"], 3, 0, 1),
        rest_keys(&["RW", "ACCESS", "DELETE", "INCOMPLETE"], "KEYS", 2),
    ])
    .since("2.6.0")
    .cost("This command actually executes a DUMP+DEL in the source instance, and a RESTORE in the target instance. See the pages of these commands for time complexity. Also an O(N) data transfer between the two instances is performed.")
    .tips(&["NONDETERMINISTIC_OUTPUT"])
    .says("Moves keys to another server.")];

/// When none is given, or one that is none.
const TIMEOUT: Duration = Duration::from_secs(1);

fn migrate(call: &mut Call<'_, '_>) -> Result<(), Error> {
    match call.engine.session(call.session.id).and_then(|session| session.migrated.take()) {
        Some(Migrated::Done) => call.reply.ok(),
        Some(Migrated::Nothing) => call.reply.simple("NOKEY"),
        Some(Migrated::Failed(why)) => return Err(Error::Other(why.into())),
        None => return begin(call),
    }
    Ok(())
}

fn begin(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let migration = understood(call.args, call.session.db)?;
    let now_ms = call.engine.now_ms();
    if !migration.keys.iter().any(|key| call.engine.keyspace.is_live(migration.from, key, now_ms)) {
        call.reply.simple("NOKEY");
        return Ok(());
    }
    if !call.may_block {
        // DEVIATION: in Redis everybody waits for it, so it does not matter where it stands.
        return Err(Error::new("ERR MIGRATE is not allowed inside a transaction or a script"));
    }
    call.engine.await_migration(call.session.id);
    call.session.asks = true;
    call.shared.mover.take(call.session.id, migration);
    Ok(())
}

fn understood(args: Args<'_>, from: u8) -> Result<Migration, Error> {
    let (mut copies, mut replaces, mut user, mut password) = (false, false, None, None);
    let mut keys: Vec<Box<[u8]>> = vec![args[3].into()];
    let mut i = 6;
    while let Some(word) = args.get(i) {
        match (word.to_ascii_uppercase().as_slice(), args.get(i + 1), args.get(i + 2)) {
            (b"COPY", ..) => copies = true,
            (b"REPLACE", ..) => replaces = true,
            (b"AUTH", Some(given), _) => {
                (user, password) = (None, Some(given.into()));
                i += 1;
            }
            (b"AUTH2", Some(name), Some(given)) => {
                (user, password) = (Some(name.into()), Some(given.into()));
                i += 2;
            }
            (b"KEYS", ..) => {
                let Some(first) = migrated_from(args) else {
                    return Err(Error::new(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                };
                keys = args.iter().skip(first).map(Into::into).collect();
                break;
            }
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    let timeout = parse_integer(&args[5]).ok_or(Error::NotInteger)?;
    let db = parse_integer(&args[4]).ok_or(Error::NotInteger)?;
    let target = Target {
        host: String::from_utf8_lossy(&args[1]).into_owned(),
        // Nobody listens at 0.
        port: parse_integer(&args[2]).and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        db,
        password,
        user,
        timeout: u64::try_from(timeout).ok().filter(|ms| *ms > 0).map_or(TIMEOUT, Duration::from_millis),
        replaces,
    };
    Ok(Migration { from, keys, target, copies })
}
