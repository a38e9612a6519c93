//! The exchange `leveret.commands`: a message to it is a command of Redis' protocol, executed with the rights of the connection's user;
//! inside `tx` in the same commit as the publishes and acknowledgements. It is in each vhost, is not declared, and has no bindings.

use crate::amqp::session::{AmqpSession, Failure};
use crate::around::Around;
use crate::resp::{Command, Denied, RespSession, Run, find};
use leveret_amqp::{Properties, ReplyCode};
use leveret_engine::accounts::DEFAULT_USER;
use leveret_engine::broker::{Exception, Message, ReplyKey};
use leveret_engine::keyspace::{ArgsBuf, DATABASES, Reply};
use leveret_engine::{Engine, reply_key};
use leveret_resp::{Batch, Decoder, Version};
use std::sync::atomic::Ordering::Relaxed;

/// Its name.
pub(crate) const COMMANDS: &[u8] = b"leveret.commands";

/// The header that says which database is meant.
const DATABASE: &[u8] = b"database";

/// A command that may be executed.
pub(crate) struct Planned {
    command: &'static Command,
    args: ArgsBuf,
    db: u8,
}

fn refused(text: &str) -> Failure {
    Exception::new(ReplyCode::PreconditionFailed, text).into()
}

impl AmqpSession {
    /// Who executes commands for this connection: a session of Redis' protocol without a socket.
    fn hands(&mut self, engine: &Engine, around: &Around<'_>) -> Box<RespSession> {
        let bulk_bytes_max = around.settings.bulk_bytes_max.load(Relaxed);
        let mut hands =
            self.hands.take().unwrap_or_else(|| Box::new(RespSession::new(self.id, false, bulk_bytes_max)));
        // A user without rules for keys is there what everybody is who has no password.
        let has_rules = engine.accounts.user(&self.user).is_some_and(|user| user.acl.is_some());
        let name = if has_rules || engine.accounts.needs_login() { &self.user } else { DEFAULT_USER };
        if hands.user != name {
            hands.become_user(name.to_owned());
        }
        hands
    }

    /// The command of a message, if it may be executed: it is one, of the keyspace, with the right number of arguments, and the user
    /// may execute it on these keys.
    pub(crate) fn plan(
        &mut self,
        engine: &mut Engine,
        around: &Around<'_>,
        message: &Message,
    ) -> Result<Planned, Failure> {
        let headers = Properties::from_validated(message.properties()).headers();
        let database = headers.and_then(|headers| headers.find(DATABASE));
        let db = match database.map(|value| value.as_integer()) {
            None => 0,
            Some(Some(db)) if (0..i64::from(DATABASES)).contains(&db) => db as u8,
            Some(_) => return Err(refused("the header 'database' is no database")),
        };
        let args = parse(message.body(), around.settings.bulk_bytes_max.load(Relaxed))?;
        let mut hands = self.hands(engine, around);
        hands.db = db;
        let room = around.room(engine);
        let admitted = hands.admit(engine, around, room, args.as_args());
        self.hands = Some(hands);
        let command = admitted.map_err(|error| refused(&error.to_string()))?;
        if !matches!(command.run, Run::Keyspace(_)) {
            let text =
                format!("ERR '{}' is not executed for a message: it is not about keys", command.spec.name);
            return Err(refused(&text));
        }
        Ok(Planned { command, args, db })
    }

    /// Where the reply to a message is to be kept, if its user may set that key.
    pub(crate) fn reply_key(
        &mut self,
        engine: &mut Engine,
        around: &Around<'_>,
        message: &Message,
    ) -> Result<Option<ReplyKey>, Failure> {
        let Some(at) = reply_key(message, engine.now_ms())? else { return Ok(None) };
        let args: ArgsBuf = [&b"SET"[..], &at.key, b""].into_iter().collect();
        let command = find(args.as_args()).map_err(|error| refused(&error.to_string()))?;
        let mut hands = self.hands(engine, around);
        hands.db = at.db;
        let permitted = hands.permit(engine, around, command, args.as_args());
        self.hands = Some(hands);
        let denied = |denied: Denied| Exception::new(ReplyCode::AccessRefused, denied.text());
        permitted.map_err(denied)?;
        Ok(Some(at))
    }

    /// Executes a command; gives what it was refused with.
    pub(crate) fn execute_planned(
        &mut self,
        engine: &mut Engine,
        around: &Around<'_>,
        planned: &Planned,
    ) -> Option<String> {
        let mut bytes = Vec::new();
        let mut hands = self.hands(engine, around);
        hands.db = planned.db;
        let actor = engine.actor.replace(self.id);
        let mut reply = Reply::new(&mut bytes, Version::Resp2);
        hands.run(engine, around, planned.command, planned.args.as_args(), &mut reply, false);
        engine.actor = actor;
        self.hands = Some(hands);
        let refusal = bytes.strip_prefix(b"-")?;
        Some(String::from_utf8_lossy(refusal).trim_end().to_owned())
    }
}

/// One command and nothing else: an array as clients send it, or a line.
fn parse(body: &[u8], bulk_bytes_max: usize) -> Result<ArgsBuf, Failure> {
    let mut decoder = Decoder::default();
    decoder.limits.bulk_bytes_max = bulk_bytes_max;
    let (mut batch, mut input) = (Batch::default(), body.to_vec());
    if !body.starts_with(b"*") && !body.ends_with(b"\n") {
        input.extend_from_slice(b"\r\n");
    }
    let consumed = decoder.decode(&mut input, &mut batch).map_err(|error| refused(&error.to_string()))?;
    if batch.len() != 1 || consumed != input.len() {
        return Err(refused("the body is not one command of Redis' protocol"));
    }
    Ok(batch.args(0, &input).into())
}
