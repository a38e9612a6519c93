//! Commands that span both worlds. They run inside a commit: in `MULTI` it is the transaction's, so taking a message, the changes
//! of keys that come of it, what is published next and the acknowledgement are one record, or nothing.

mod leases;
mod publish;
mod queues;
mod scheduled;
mod show;

use crate::accounts::{Access, DEFAULT_USER};
use crate::engine::{Engine, refuse};
use leveret_broker::{Exception, QueueId, VhostId};
use leveret_keyspace::command::Group;
use leveret_keyspace::{Args, Error, Reply, Row, UnixMillis, flag, parse_integer};

pub use leases::{Settling, settles};
pub use publish::reply_key_at;

/// What a command waits for. It has written what it answers if it may not wait, or nothing comes.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Messages of this queue.
    pub queue: QueueId,
    /// Until when; `None` is for ever.
    pub deadline: Option<UnixMillis>,
    /// It would not wait if what stands first there were in memory.
    pub for_disk: bool,
}

/// What runs a bridge command.
pub type Function = fn(&mut Engine, Args<'_>, &mut Reply<'_>) -> Result<Option<Wait>, Error>;

const fn row(name: &'static str, arity: i16, flags: u32, run: Function) -> Row<Function> {
    Row::new(name, arity, Group::Amqp, flags, run)
}

/// The rows.
pub const ROWS: &[Row<Function>] = &[
    row("amqp.publish", -4, flag::WRITE | flag::DENYOOM, publish::publish)
        .since("7.4.0")
        .cost("O(N) where N is the number of queues that get the message.")
        .says("Publishes a message to an exchange; returns how many queues took it."),
    row("amqp.get", -2, flag::WRITE | flag::BLOCKING, leases::get)
        .since("7.4.0")
        .cost("O(N) where N is the number of messages.")
        .says("Takes messages from a queue, each under a lease; waits for the first one if asked to."),
    row("amqp.ack", -2, flag::WRITE | flag::FAST, leases::ack)
        .since("7.4.0")
        .cost("O(N) where N is the number of tokens.")
        .says(
            "Acknowledges messages by the tokens of their leases: all of them, or none if a lease is lost.",
        ),
    row("amqp.nack", -2, flag::WRITE | flag::FAST, leases::nack)
        .since("7.4.0")
        .cost("O(N) where N is the number of tokens.")
        .says("Gives messages back to their queues, or rejects them for good."),
    row("amqp.extend", 3, flag::WRITE | flag::FAST, leases::extend)
        .since("7.4.0")
        .cost("O(log N) where N is the number of leases of the queue.")
        .says("Makes a lease end so many milliseconds from now."),
    row("amqp.len", -2, flag::READONLY | flag::FAST, queues::len)
        .since("7.4.0")
        .cost("O(1)")
        .says("Returns how many messages of a queue are ready."),
    row("amqp.peek", -4, flag::READONLY, queues::peek)
        .since("7.4.0")
        .cost("O(S+N) where S is where to start and N is the number of messages.")
        .says("Returns ready messages of a queue without taking them."),
    row("amqp.scheduled", -1, flag::READONLY, scheduled::list)
        .since("7.4.0")
        .cost("O(N) where N is the number of messages that wait and are looked at.")
        .says("Returns messages that wait to be routed, in the order in which they are due."),
    row("amqp.cancel", 2, flag::WRITE | flag::FAST, scheduled::cancel)
        .since("7.4.0")
        .cost("O(log N) where N is the number of messages that wait.")
        .says("Takes a message back before it is routed."),
];

/// Whether a command only takes messages, or settles what was taken: that makes room, so it goes on where nothing can be written, as AMQP
/// consumers do.
pub fn consumes(name: &str) -> bool {
    matches!(name, "amqp.get" | "amqp.ack" | "amqp.nack" | "amqp.extend")
}

/// Refuses what is known to be wrong with a bridge command before anything is executed: what it says, what it names, and what its user may
/// not do. A transaction with such a one is refused as a whole.
pub fn check_bridge(engine: &mut Engine, args: Args<'_>) -> Result<(), Error> {
    match args[0].to_ascii_lowercase().as_slice() {
        b"amqp.publish" => publish::check(engine, args),
        b"amqp.get" => leases::check_get(engine, args),
        b"amqp.ack" | b"amqp.nack" | b"amqp.extend" => leases::check_held(engine, args),
        b"amqp.len" => queues::check_len(engine, args),
        b"amqp.peek" => queues::check_peek(engine, args),
        b"amqp.scheduled" => scheduled::check_list(engine, args),
        b"amqp.cancel" => scheduled::check_cancel(args),
        name => unreachable!("{} is no command of both worlds", String::from_utf8_lossy(name)),
    }
}

impl Engine {
    /// Runs one bridge command. Outside `begin`/`end` it is a commit of its own. What it wants to wait for comes back.
    pub fn run_bridge(&mut self, run: Function, args: Args<'_>, reply: &mut Reply<'_>) -> Option<Wait> {
        self.commands_count += 1;
        let mark = reply.mark();
        self.begin();
        let result = run(self, args, reply);
        self.end();
        result.unwrap_or_else(|error| {
            refuse(reply, mark, &error);
            None
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn refused(exception: Exception) -> Error {
    Error::Other(format!("ERR {}", exception.text).into())
}

fn vhost_named(engine: &Engine, name: &[u8]) -> Result<VhostId, Error> {
    engine.broker.vhost(name).ok_or(Error::new("ERR NOT_FOUND - no such vhost"))
}

fn queue_named(engine: &Engine, vhost: &[u8], name: &[u8]) -> Result<QueueId, Error> {
    let id = engine.broker.queue_id(vhost_named(engine, vhost)?, name);
    id.ok_or_else(|| {
        let (name, vhost) = (String::from_utf8_lossy(name), String::from_utf8_lossy(vhost));
        Error::Other(format!("ERR NOT_FOUND - no queue '{name}' in vhost '{vhost}'").into())
    })
}

/// The number behind an option's name.
fn number(value: Option<&[u8]>, least: i64) -> Result<i64, Error> {
    let number = parse_integer(value.ok_or(Error::Syntax)?).ok_or(Error::NotInteger)?;
    if number < least { Err(Error::NotInteger) } else { Ok(number) }
}

/// Refuses what the client's user may not do with an exchange or a queue: the same as over AMQP. `default` is nobody there; what it may do
/// is said by its rules alone.
fn permit(engine: &Engine, vhost: &[u8], access: Access, resource: (&str, &[u8])) -> Result<(), Error> {
    let Some(name) = actor(engine).filter(|name| *name != DEFAULT_USER) else { return Ok(()) };
    let (kind, resource) = resource;
    let vhost = String::from_utf8_lossy(vhost);
    if engine.accounts.user(name).is_some_and(|user| user.allows(&vhost, access, resource)) {
        return Ok(());
    }
    Err(not_permitted(access, (kind, resource), &vhost, name))
}

fn not_permitted(access: Access, resource: (&str, &[u8]), vhost: &str, user: &str) -> Error {
    let access = match access {
        Access::Configure => "configure",
        Access::Write => "write",
        Access::Read => "read",
    };
    let (kind, resource) = (resource.0, String::from_utf8_lossy(resource.1));
    let text =
        format!("NOPERM {access} access to {kind} '{resource}' in vhost '{vhost}' refused for user '{user}'");
    Error::Other(text.into())
}

/// The user whose command it is, if it is anybody's.
fn actor(engine: &Engine) -> Option<&str> {
    let session = engine.actor.and_then(|id| engine.session_seen(id))?;
    session.card.as_ref().map(|card| &*card.user)
}
