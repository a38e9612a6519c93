//! MULTI, EXEC and optimistic locking. EXEC is one commit: one record, whatever it spans.

use super::{Function, LOADING_STALE, session};
use crate::resp::acl::{Where, Why};
use crate::resp::session::{Call, Multi, exec_abort};
use crate::resp::table::Run;
use leveret_engine::keyspace::command::{Group, Row, keys};
use leveret_engine::keyspace::{Error, flag};
use leveret_engine::{Settling, check_bridge};

const COMMON: u32 = LOADING_STALE | flag::NOSCRIPT | flag::FAST | flag::ALLOW_BUSY;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("multi", 1, Group::Transactions, COMMON | flag::NO_MULTI, multi)
        .since("1.2.0")
        .says("Starts a transaction."),
    session("exec", 1, Group::Transactions, LOADING_STALE | flag::NOSCRIPT | flag::SKIP_COMMANDLOG, exec)
        .since("1.2.0")
        .cost("Depends on commands in the transaction")
        .says("Executes all commands of a transaction as one commit."),
    session("discard", 1, Group::Transactions, COMMON, discard)
        .since("2.0.0")
        .cost("O(N), when N is the number of queued commands")
        .says("Drops a transaction."),
    session("watch", -2, Group::Transactions, COMMON | flag::NO_MULTI, watch)
        .keys(&[keys(&["RO"], 1, -1, 1)])
        .since("2.2.0")
        .cost("O(1) for every key.")
        .says("Makes the next EXEC depend on keys staying unchanged."),
    session("unwatch", 1, Group::Transactions, COMMON, unwatch)
        .since("2.2.0")
        .says("Forgets all watched keys."),
];

fn multi(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if call.session.multi.is_some() {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    call.session.multi = Some(Multi::default());
    call.reply.ok();
    Ok(())
}

fn exec(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let multi = call.session.multi.take().ok_or(Error::new("ERR EXEC without MULTI"))?;
    let touched = call.engine.unwatch(call.session.id);
    if multi.refused {
        return Err(Error::new("EXECABORT Transaction discarded because of previous errors."));
    }
    if touched {
        call.reply.null_array();
        return Ok(());
    }
    // What can be known to be wrong before anything is executed refuses all; what was taken under a lease that is over is somebody
    // else's by now.
    let mut settling = Settling::default();
    for (command, args) in &multi.queue {
        let Run::Bridge(_) = command.run else { continue };
        if let Some(token) = settling.lost_lease(call.engine, args.as_args()) {
            let token = String::from_utf8_lossy(token);
            let text = format!("EXECABORT Transaction discarded because the lease '{token}' is over.");
            return Err(Error::Other(text.into()));
        }
        if let Err(error) = check_bridge(call.engine, args.as_args()) {
            return Err(Error::Other(exec_abort(&error).into()));
        }
    }
    call.reply.array(multi.queue.len());
    call.engine.begin();
    for (command, args) in &multi.queue {
        if call.engine.commit_bytes() > COMMIT_BYTES_MAX {
            // What was executed stands, as with any other command that fails inside.
            call.reply.error("ERR the transaction has changed too much; this command was not executed");
            continue;
        }
        if let Err(denied) = call.session.permit(call.engine, call.shared, command, args.as_args()) {
            call.session.refused(call.engine, call.shared, args.as_args(), denied, Where::Multi);
            let why = match denied.why {
                Why::Command => "no permission to execute the command or subcommand",
                Why::Key => "no permission to touch the specified keys",
                Why::Channel => {
                    "no permission to access one of the channels used as arguments to the command"
                }
            };
            call.reply.error(&format!("NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {why}"));
            continue;
        }
        call.session.run(call.engine, call.shared, command, args.as_args(), call.reply, false);
    }
    call.engine.end();
    Ok(())
}

/// A commit is one record, which a reader has to hold as a whole. One command adds at most about a gigabyte to it.
const COMMIT_BYTES_MAX: usize = 512 * 1024 * 1024;

fn discard(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.multi.take().ok_or(Error::new("ERR DISCARD without MULTI"))?;
    call.engine.unwatch(call.session.id);
    call.reply.ok();
    Ok(())
}

fn watch(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if call.session.multi.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    for key in call.args.iter().skip(1) {
        call.engine.watch(call.session.id, call.session.db, key);
    }
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.engine.unwatch(call.session.id);
    call.reply.ok();
    Ok(())
}
