//! Commands about the session and the server, one file a group. A row without a function has subcommands only.

mod acl;
mod client;
mod cluster;
mod commandlog;
mod config;
mod connection;
mod debug;
mod functions;
mod info;
mod introspection;
mod migrate;
mod observing;
mod pubsub;
mod saving;
mod scripting;
mod server;
mod tracking;
mod transactions;

pub(crate) use client::own_line as client_line;
pub(crate) use config::configure;
pub use config::is_setting;
pub(crate) use functions::tell_stats;
pub(crate) use server::REDIS_VERSION;

use crate::resp::session::Call;
use crate::resp::table::TABLE;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, flag};

/// What runs a session command.
pub(super) type Function = fn(&mut Call<'_, '_>) -> Result<(), Error>;

/// All rows of the session.
pub(super) const TABLES: &[&[Row<Option<Function>>]] = &[
    acl::ROWS,
    client::ROWS,
    cluster::ROWS,
    commandlog::ROWS,
    config::ROWS,
    connection::ROWS,
    debug::ROWS,
    functions::ROWS,
    info::ROWS,
    introspection::ROWS,
    migrate::ROWS,
    observing::ROWS,
    pubsub::ROWS,
    saving::ROWS,
    scripting::ROWS,
    server::ROWS,
    tracking::ROWS,
    transactions::ROWS,
];

const fn session(
    name: &'static str,
    arity: i16,
    group: Group,
    flags: u32,
    run: Function,
) -> Row<Option<Function>> {
    Row::new(name, arity, group, flags, Some(run))
}

const fn container(name: &'static str, group: Group, flags: u32) -> Row<Option<Function>> {
    Row::new(name, -2, group, flags, None).apart()
}

const LOADING_STALE: u32 = flag::LOADING | flag::STALE;
/// Commands about the connection.
const CONNECTION: u32 = LOADING_STALE | flag::NOSCRIPT | flag::SENTINEL;
/// Those that are executed while another command holds everybody up.
const CONNECTION_BUSY: u32 = CONNECTION | flag::ALLOW_BUSY;

/// The subcommands of a container, each with what it does.
fn help(call: &mut Call<'_, '_>, container: &str) -> Result<(), Error> {
    let subs = TABLE.subs(&container.to_lowercase());
    let mut lines = vec![format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for command in subs {
        let name = command.spec.name.split_once('|').map_or("", |(_, sub)| sub);
        lines.push(name.to_uppercase());
        lines.push(format!("    {}", command.spec.summary));
    }
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}
