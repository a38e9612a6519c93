//! FUNCTION: there are no libraries of functions yet, and these say so.

use super::{Function, LOADING_STALE, container, help, session};
use crate::resp::session::Call;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, flag};

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("function", Group::Scripting, 0).since("7.0.0").cost("Depends on subcommand."),
    session("function|flush", -2, Group::Scripting, flag::NOSCRIPT | flag::WRITE, flush)
        .since("7.0.0")
        .cost("O(N) where N is the number of functions deleted")
        .tips(&["REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Removes all libraries; there are none yet."),
    session("function|list", -2, Group::Scripting, flag::NOSCRIPT, list)
        .since("7.0.0")
        .cost("O(N) where N is the number of functions")
        .tips(&["NONDETERMINISTIC_OUTPUT_ORDER"])
        .says("Returns the libraries; there are none yet."),
    session("function|help", 2, Group::Scripting, LOADING_STALE, |call| help(call, "FUNCTION"))
        .since("7.0.0")
        .says("Lists the subcommands."),
];

fn flush(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if call.args.len() > 3 || call.args.get(2).is_some_and(|word| !is_mode(word)) {
        return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    call.reply.ok();
    Ok(())
}

fn list(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.array(0);
    Ok(())
}
