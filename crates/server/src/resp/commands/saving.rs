//! Checkpoints on demand. What Redis calls a snapshot and a rewritten append only file is the same here: the state written
//! down, so that the log before it may go.

use super::{Function, LOADING_STALE, session};
use crate::checkpointer::Why;
use crate::resp::session::Call;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, category, flag};

const SAVING: u32 = flag::ADMIN | flag::NOSCRIPT | flag::NO_ASYNC_LOADING;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("save", 1, Group::Server, SAVING | flag::NO_MULTI, save)
        .cost("O(N) where N is the total number of keys in all databases")
        .says("Makes a checkpoint and answers when it is on disk."),
    session("bgsave", -1, Group::Server, SAVING, bgsave).says("Makes a checkpoint in the background."),
    session("bgrewriteaof", 1, Group::Server, SAVING, bgrewriteaof)
        .says("Makes a checkpoint in the background, so that the log before it goes."),
    session("lastsave", 1, Group::Server, LOADING_STALE | flag::FAST, lastsave)
        .also(category::ADMIN | category::DANGEROUS)
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns when the last checkpoint was made."),
];

const IN_PROGRESS: Error = Error::new("ERR Background save already in progress");

// DEVIATION: Redis serves nobody until it is done.
/// Others go on meanwhile.
fn save(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let checkpointer = &call.shared.checkpointer;
    if checkpointer.doing() == Some(Why::Save) || checkpointer.asked() == Some(Why::Save) {
        return Err(IN_PROGRESS);
    }
    checkpointer.ask_later(Why::Save);
    call.engine.wait_for_checkpoint(call.session.id, call.args);
    Ok(())
}

fn bgsave(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let schedule = match call.args.len() {
        1 => false,
        2 if call.args[1].eq_ignore_ascii_case(b"schedule") => true,
        _ => return Err(Error::Syntax),
    };
    let checkpointer = &call.shared.checkpointer;
    if checkpointer.ask(Why::Save) {
        call.reply.simple("Background saving started");
    } else if schedule {
        checkpointer.ask_later(Why::Save);
        call.reply.simple("Background saving scheduled");
    } else if checkpointer.doing() == Some(Why::Rewrite) {
        return Err(Error::new(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
        ));
    } else {
        return Err(IN_PROGRESS);
    }
    Ok(())
}

fn bgrewriteaof(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let checkpointer = &call.shared.checkpointer;
    if checkpointer.ask(Why::Rewrite) {
        call.reply.simple("Background append only file rewriting started");
    } else if checkpointer.doing() == Some(Why::Rewrite) {
        return Err(Error::new("ERR Background append only file rewriting already in progress"));
    } else {
        checkpointer.ask_later(Why::Rewrite);
        call.reply.simple("Background append only file rewriting scheduled");
    }
    Ok(())
}

fn lastsave(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.integer((call.shared.checkpointer.report().at_ms / 1000) as i64);
    Ok(())
}
