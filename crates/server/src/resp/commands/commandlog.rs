//! COMMANDLOG: the commands that took long, and those with long requests or answers. (Valkey: COMMANDLOG)

use super::{Function, LOADING_STALE, container, help, session};
use crate::command_log::CommandLog;
use crate::resp::session::Call;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, Reply, flag, parse_integer};

const ADMIN: u32 = LOADING_STALE | flag::ADMIN;
const ALL_NODES: &str = "REQUEST_POLICY:ALL_NODES";

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("commandlog", Group::Server, 0).since("8.1.0").cost("Depends on subcommand."),
    session("commandlog|get", 4, Group::Server, ADMIN, get)
        .since("8.1.0")
        .cost("O(N) where N is the number of entries returned")
        .tips(&[ALL_NODES, "NONDETERMINISTIC_OUTPUT"])
        .says("Returns commands that were slow or large."),
    session("commandlog|len", 3, Group::Server, ADMIN, len)
        .since("8.1.0")
        .tips(&[ALL_NODES, "RESPONSE_POLICY:AGG_SUM", "NONDETERMINISTIC_OUTPUT"])
        .says("Returns how many commands are noted as slow or large."),
    session("commandlog|reset", 3, Group::Server, ADMIN, reset)
        .since("8.1.0")
        .cost("O(N) where N is the number of entries in the commandlog")
        .tips(&[ALL_NODES, "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Forgets the slow or large commands."),
    session("commandlog|help", 2, Group::Server, LOADING_STALE, |call| help(call, "COMMANDLOG"))
        .since("8.1.0")
        .says("Lists the subcommands."),
];

/// The log that `args[at]` names.
fn log<'c>(call: &Call<'c, '_>, at: usize) -> Result<&'c CommandLog, Error> {
    let observed = &call.shared.observed;
    match call.args[at].to_ascii_lowercase().as_slice() {
        b"slow" => Ok(&observed.slow),
        b"large-request" => Ok(&observed.large_requests),
        b"large-reply" => Ok(&observed.large_replies),
        _ => Err(Error::new("ERR type should be one of the following: slow, large-request, large-reply")),
    }
}

/// How many are wanted; -1 is all.
pub(super) fn count(text: &[u8]) -> Result<usize, Error> {
    let count = parse_integer(text).filter(|count| *count >= -1);
    let count = count.ok_or(Error::new("ERR count should be greater than or equal to -1"))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn get(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let count = count(&call.args[2])?;
    reply_entries(log(call, 3)?, count, call.reply);
    Ok(())
}

/// The newest so many commands of a log.
pub(super) fn reply_entries(log: &CommandLog, count: usize, reply: &mut Reply<'_>) {
    let entries = log.entries();
    let count = count.min(entries.len());
    reply.array(count);
    for entry in entries.iter().take(count) {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer((entry.at_ms / 1000) as i64);
        reply.integer(entry.amount as i64);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(entry.address.as_bytes());
        reply.bulk(entry.name.as_bytes());
    }
}

fn len(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let len = log(call, 2)?.len();
    call.reply.integer(len as i64);
    Ok(())
}

fn reset(call: &mut Call<'_, '_>) -> Result<(), Error> {
    log(call, 2)?.forget();
    call.reply.ok();
    Ok(())
}
