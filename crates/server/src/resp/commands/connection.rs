//! The connection: handshake, authentication, database.

use super::{CONNECTION_BUSY, Function, LOADING_STALE, session};
use crate::resp::session::{Answering, Call, Entered};
use leveret_engine::accounts::DEFAULT_USER;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{DATABASES, Error, flag, parse_integer};
use leveret_resp::Version;

const PARTING: u32 = LOADING_STALE | flag::NOSCRIPT | flag::ALLOW_BUSY | flag::FAST | flag::NO_AUTH;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("hello", -1, Group::Connection, CONNECTION_BUSY | flag::FAST | flag::NO_AUTH, hello)
        .since("6.0.0")
        .says("Shakes hands: protocol version, authentication, name."),
    session("auth", -2, Group::Connection, CONNECTION_BUSY | flag::FAST | flag::NO_AUTH, auth)
        .cost("O(N) where N is the number of passwords defined for the user")
        .says("Authenticates the connection."),
    session("select", 2, Group::Connection, LOADING_STALE | flag::FAST | flag::ALLOW_BUSY, select)
        .says("Changes the database of the connection."),
    session("ping", -1, Group::Connection, flag::FAST | flag::SENTINEL, ping)
        .says("Answers PONG, or its argument."),
    session("echo", 2, Group::Connection, flag::LOADING | flag::STALE | flag::FAST, echo)
        .says("Answers its argument."),
    session("quit", -1, Group::Connection, PARTING, quit).says("Closes the connection."),
    session("reset", 1, Group::Connection, PARTING, reset)
        .since("6.2.0")
        .says("Gives the connection its first state back."),
];

fn auth(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let (user, password) = match call.args.len() {
        2 if has_nopass(call) => {
            return Err(Error::new(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            ));
        }
        2 => (&b"default"[..], call.args.get(1).unwrap_or_default()),
        3 => (call.args.get(1).unwrap_or_default(), call.args.get(2).unwrap_or_default()),
        _ => return Err(Error::Syntax),
    };
    if call.enter(user, password)? == Entered::Yes {
        call.reply.ok();
    }
    Ok(())
}

fn has_nopass(call: &Call<'_, '_>) -> bool {
    let acl = call.engine.accounts.user(DEFAULT_USER).and_then(|user| user.acl.as_ref());
    acl.is_some_and(|acl| acl.nopass)
}

fn hello(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let mut version = call.session.version;
    let (mut name, mut login) = (None, None);
    if let Some(wanted) = call.args.get(1) {
        version = match parse_integer(wanted) {
            Some(2) => Version::Resp2,
            Some(3) => Version::Resp3,
            Some(_) => return Err(Error::new("NOPROTO unsupported protocol version")),
            None => return Err(Error::new("ERR Protocol version is not an integer or out of range")),
        };
    }
    let mut i = 2;
    while let Some(option) = call.args.get(i) {
        let (first, second) = (call.args.get(i + 1), call.args.get(i + 2));
        match (option.to_ascii_uppercase().as_slice(), first, second) {
            (b"AUTH", Some(user), Some(password)) => {
                login = Some((user, password));
                i += 3;
            }
            (b"SETNAME", Some(wanted), _) => {
                name = Some(checked_name(wanted)?);
                i += 2;
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(Error::Other(format!("ERR Syntax error in HELLO option '{option}'").into()));
            }
        }
    }
    if let Some((user, password)) = login
        && call.enter(user, password)? == Entered::Later
    {
        return Ok(());
    }
    if !call.session.authenticated {
        return Err(Error::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let (Some(name), Some(card)) = (name, call.card()) {
        card.name = name;
    }
    set_version(call, version);
    let reply = &mut *call.reply;
    reply.set_version(version);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(super::server::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if version == Version::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(call.session.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn set_version(call: &mut Call<'_, '_>, version: Version) {
    call.session.version = version;
    call.engine.set_version(call.session.id, version);
}

fn select(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let index = parse_integer(&call.args[1]).ok_or(Error::NotInteger)?;
    call.session.db = u8::try_from(index).ok().filter(|db| *db < DATABASES).ok_or(Error::DbOutOfRange)?;
    call.reply.ok();
    Ok(())
}

fn ping(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if call.args.len() > 2 {
        return Err(Error::WrongArity("ping".into()));
    }
    let listens = call.engine.session(call.session.id).is_some_and(|s| s.is_subscribed());
    if listens && call.session.version == Version::Resp2 {
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(call.args.get(1).unwrap_or_default());
        return Ok(());
    }
    match call.args.get(1) {
        Some(text) => call.reply.bulk(text),
        None => call.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.bulk(&call.args[1]);
    Ok(())
}

fn quit(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.quitting = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.multi = None;
    call.engine.unwatch(call.session.id);
    call.engine.unsubscribe_all(call.session.id);
    call.engine.stop_tracking(call.session.id);
    (call.session.tracks, call.session.unnoticed, call.session.stays) = (false, false, false);
    call.session.db = 0;
    call.session.answering = Answering::On;
    if let Some(card) = call.card() {
        card.name.clear();
        card.user = DEFAULT_USER.into();
        (card.no_evict, card.no_touch) = (false, false);
    }
    call.session.become_user(DEFAULT_USER.into());
    call.session.authenticated = !call.engine.accounts.needs_login();
    set_version(call, Version::Resp2);
    call.reply.set_version(Version::Resp2);
    call.reply.simple("RESET");
    Ok(())
}

pub(super) fn checked_name(name: &[u8]) -> Result<String, Error> {
    if !name.iter().all(|b| (b'!'..=b'~').contains(b)) {
        return Err(Error::new("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}
