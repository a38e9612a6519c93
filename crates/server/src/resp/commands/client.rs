//! CLIENT: what connections are there, and what is done to them.

use super::connection::checked_name;
use super::tracking::redirect;
use super::{CONNECTION, CONNECTION_BUSY, Function, LOADING_STALE, container, help, session};
use crate::resp::session::{Answering, Call};
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, flag, parse_integer};
use leveret_engine::{Card, Engine, Pause, Session, SessionId, SubscriptionKind as Kind};
use leveret_resp::Version;

const ADMIN: u32 = CONNECTION | flag::ADMIN;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("client", Group::Connection, flag::SENTINEL).since("2.4.0").cost("Depends on subcommand."),
    session("client|id", 2, Group::Connection, CONNECTION_BUSY, id)
        .since("5.0.0")
        .says("Returns the number of the connection."),
    session("client|getname", 2, Group::Connection, CONNECTION_BUSY, getname)
        .since("2.6.9")
        .says("Returns the name of the connection."),
    session("client|setname", 3, Group::Connection, CONNECTION_BUSY, setname)
        .since("2.6.9")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Names the connection."),
    session("client|setinfo", 4, Group::Connection, CONNECTION_BUSY, setinfo)
        .since("7.2.0")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Tells which client library is in use."),
    session("client|capa", -3, Group::Connection, LOADING_STALE | flag::NOSCRIPT | flag::ALLOW_BUSY, capa)
        .since("8.0.0")
        .says("Tells what the client can do; nothing depends on it."),
    session("client|info", 2, Group::Connection, CONNECTION, info)
        .since("6.2.0")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns facts about the connection."),
    session("client|list", -2, Group::Connection, ADMIN, list)
        .since("2.4.0")
        .cost("O(N) where N is the number of client connections")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns facts about the connections."),
    session("client|kill", -3, Group::Connection, ADMIN, kill)
        .since("2.4.0")
        .cost("O(N) where N is the number of client connections")
        .says("Closes connections."),
    session("client|pause", -3, Group::Connection, ADMIN, pause)
        .since("3.0.0")
        .says("Holds commands back for a time."),
    session("client|unpause", 2, Group::Connection, ADMIN, unpause)
        .since("6.2.0")
        .cost("O(N) Where N is the number of paused clients")
        .says("Ends a pause."),
    session("client|reply", 3, Group::Connection, CONNECTION_BUSY | flag::NO_MULTI, reply)
        .since("3.2.0")
        .says("Says whether commands are answered."),
    session("client|no-evict", 3, Group::Connection, ADMIN | flag::ALLOW_BUSY, no_evict)
        .since("7.0.0")
        .says("Says whether the connection may be closed when memory is short."),
    session(
        "client|no-touch",
        3,
        Group::Connection,
        LOADING_STALE | flag::NOSCRIPT | flag::ALLOW_BUSY,
        no_touch,
    )
    .since("7.2.0")
    .says("Says whether commands of the connection count as use of the keys."),
    session("client|unblock", -3, Group::Connection, ADMIN, unblock)
        .since("5.0.0")
        .cost("O(log N) where N is the number of client connections")
        .says("Ends the wait of a blocked connection."),
    session("client|help", 2, Group::Connection, LOADING_STALE | flag::SENTINEL, |call| help(call, "CLIENT"))
        .since("5.0.0")
        .says("Lists the subcommands."),
];

fn id(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.integer(call.session.id as i64);
    Ok(())
}

fn getname(call: &mut Call<'_, '_>) -> Result<(), Error> {
    match call.card().map(|card| card.name.clone()).filter(|name| !name.is_empty()) {
        None => call.reply.null(),
        Some(name) => call.reply.bulk(name.as_bytes()),
    }
    Ok(())
}

fn setname(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let name = checked_name(&call.args[2])?;
    if let Some(card) = call.card() {
        card.name = name;
    }
    call.reply.ok();
    Ok(())
}

/// The one capability there is, `redirect`, is for replicas that send writes to their primary; others are not known.
/// (Valkey: CLIENT CAPA)
fn capa(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.ok();
    Ok(())
}

fn setinfo(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let option = &call.args[2];
    let value = &call.args[3];
    let is_name = option.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !option.eq_ignore_ascii_case(b"lib-ver") {
        let option = String::from_utf8_lossy(option);
        return Err(Error::Other(format!("ERR Unrecognized option '{option}'").into()));
    }
    if !value.iter().all(|b| (b'!'..=b'~').contains(b)) {
        let option = String::from_utf8_lossy(option).to_lowercase();
        return Err(Error::Other(
            format!("ERR {option} cannot contain spaces, newlines or special characters.").into(),
        ));
    }
    let value = String::from_utf8_lossy(value).into_owned();
    if let Some(card) = call.card() {
        *(if is_name { &mut card.lib_name } else { &mut card.lib_version }) = value;
    }
    call.reply.ok();
    Ok(())
}

/// What kind of client it is. (Redis: CLIENT LIST TYPE)
fn kind_of(session: &Session) -> &'static str {
    if session.is_subscribed() { "pubsub" } else { "normal" }
}

fn line(id: SessionId, session: &Session, card: &Card, now_ms: u64) -> String {
    let flags: String = [
        (session.is_subscribed(), 'P'),
        (card.queued.is_some(), 'x'),
        (session.is_blocked(), 'b'),
        (session.tracking.is_some(), 't'),
        (session.tracking.as_ref().is_some_and(|tracking| tracking.is_broken), 'R'),
        (session.tracking.as_ref().is_some_and(|tracking| tracking.broadcast), 'B'),
        (card.over_unix_socket, 'U'),
        (card.no_evict, 'e'),
        (card.no_touch, 'T'),
    ]
    .into_iter()
    .filter(|(is_set, _)| *is_set)
    .map(|(_, letter)| letter)
    .collect();
    let count = |kind| session.count(kind);
    format!(
        "id={id} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} watch={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem=0 tot-mem={} events=r cmd={} user={} redir={} resp={} lib-name={} lib-ver={}\n",
        card.address,
        card.local_address,
        card.name,
        now_ms.saturating_sub(card.since_ms) / 1000,
        now_ms.saturating_sub(card.seen_ms) / 1000,
        if flags.is_empty() { "N" } else { &flags },
        card.db,
        count(Kind::Topic),
        count(Kind::Pattern),
        count(Kind::Shard),
        card.queued.map_or(-1, |queued| queued as i64),
        session.watched_count(),
        card.input_bytes,
        session.pushed.len(),
        card.input_bytes + session.pushed.len(),
        if card.last_command.is_empty() { "NULL" } else { card.last_command },
        card.user,
        redirect(session.tracking.as_deref()),
        if session.version == Version::Resp3 { 3 } else { 2 },
        card.lib_name,
        card.lib_version,
    )
}

/// Facts about those of the Redis clients that are wanted, oldest first.
fn lines(engine: &Engine, wanted: impl Fn(SessionId, &Session, &Card) -> bool) -> String {
    let mut found: Vec<_> = engine
        .sessions()
        .filter_map(|(id, session)| Some((id, session, session.card.as_deref()?)))
        .filter(|(id, session, card)| wanted(*id, session, card))
        .collect();
    found.sort_unstable_by_key(|(id, ..)| *id);
    found.into_iter().map(|(id, session, card)| line(id, session, card, engine.now_ms())).collect()
}

/// Facts about one client.
pub(crate) fn own_line(engine: &Engine, own: SessionId) -> String {
    let session = engine.session_seen(own);
    let card = session.and_then(|session| Some((session, session.card.as_deref()?)));
    card.map(|(session, card)| line(own, session, card, engine.now_ms())).unwrap_or_default()
}

fn info(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.show(call.engine);
    let text = own_line(call.engine, call.session.id);
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn checked_type(name: &[u8]) -> Result<&'static str, Error> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok("normal"),
        b"pubsub" => Ok("pubsub"),
        b"master" => Ok("master"),
        b"replica" | b"slave" => Ok("replica"),
        _ => Err(Error::Other(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(name)).into())),
    }
}

fn list(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.show(call.engine);
    let args = call.args;
    let text = match args.get(2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => lines(call.engine, |_, _, _| true),
        Some(b"type") if args.len() == 4 => {
            let wanted = checked_type(&args[3])?;
            lines(call.engine, |_, session, _| kind_of(session) == wanted)
        }
        Some(b"id") if args.len() > 3 => {
            let ids = args.iter().skip(3).map(client_id).collect::<Result<Vec<_>, _>>()?;
            lines(call.engine, |id, _, _| ids.contains(&id))
        }
        Some(_) => return Err(Error::Syntax),
    };
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn client_id(bytes: &[u8]) -> Result<SessionId, Error> {
    let id = parse_integer(bytes).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or(Error::new("ERR Invalid client ID"))
}

/// Which clients are to be closed.
#[derive(Default)]
struct Victims {
    id: Option<SessionId>,
    kind: Option<&'static str>,
    user: Option<String>,
    address: Option<String>,
    local_address: Option<String>,
    age_ms: Option<u64>,
    spare_self: bool,
}

impl Victims {
    fn parse(call: &Call<'_, '_>) -> Result<Self, Error> {
        let mut victims = Victims { spare_self: true, ..Victims::default() };
        let mut i = 2;
        while let Some(filter) = call.args.get(i) {
            let value = call.args.get(i + 1).ok_or(Error::Syntax)?;
            let text = || String::from_utf8_lossy(value).into_owned();
            match filter.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                    victims.id = Some(id.ok_or(Error::new("ERR client-id should be greater than 0"))?);
                }
                b"type" => victims.kind = Some(checked_type(value)?),
                b"addr" => victims.address = Some(text()),
                b"laddr" => victims.local_address = Some(text()),
                b"user" if call.engine.accounts.user(&text()).is_some_and(|user| user.acl.is_some()) => {
                    victims.user = Some(text());
                }
                b"user" => {
                    return Err(Error::Other(format!("ERR No such user '{}'", text()).into()));
                }
                b"maxage" => {
                    let age = parse_integer(value)
                        .ok_or(Error::new("ERR maxage is not an integer or out of range"))?;
                    let age = u64::try_from(age).ok().filter(|age| *age > 0);
                    let age = age.ok_or(Error::new("ERR maxage should be greater than 0"))?;
                    victims.age_ms = Some(age.saturating_mul(1000));
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => victims.spare_self = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => victims.spare_self = false,
                _ => return Err(Error::Syntax),
            }
            i += 2;
        }
        Ok(victims)
    }

    fn contain(&self, own: SessionId, id: SessionId, session: &Session, card: &Card, now_ms: u64) -> bool {
        self.id.is_none_or(|wanted| wanted == id)
            && self.kind.is_none_or(|wanted| wanted == kind_of(session))
            && self.address.as_ref().is_none_or(|wanted| *wanted == card.address)
            && self.local_address.as_ref().is_none_or(|wanted| *wanted == card.local_address)
            && self.user.as_ref().is_none_or(|wanted| *wanted == card.user)
            && self.age_ms.is_none_or(|age| now_ms.saturating_sub(card.since_ms) >= age)
            && !(self.spare_self && id == own)
    }
}

fn kill(call: &mut Call<'_, '_>) -> Result<(), Error> {
    // The old form: an address, which must be there.
    let is_old = call.args.len() == 3;
    let victims = if is_old {
        let address = String::from_utf8_lossy(&call.args[2]).into_owned();
        Victims { address: Some(address), ..Victims::default() }
    } else {
        Victims::parse(call)?
    };
    let (own, now_ms) = (call.session.id, call.engine.now_ms());
    let ids: Vec<SessionId> = call
        .engine
        .sessions()
        .filter(|(id, session)| {
            session.card.as_ref().is_some_and(|card| victims.contain(own, *id, session, card, now_ms))
        })
        .map(|(id, _)| id)
        .collect();
    if is_old && ids.is_empty() {
        return Err(Error::new("ERR No such client"));
    }
    for &id in ids.iter().filter(|id| **id != own) {
        call.engine.kill(id);
    }
    // Its answer still leaves.
    call.session.quitting |= ids.contains(&own);
    if is_old {
        call.reply.ok();
    } else {
        call.reply.integer(ids.len() as i64);
    }
    Ok(())
}

fn pause(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let what = match call.args.get(3) {
        None => Pause::All,
        Some(word) if word.eq_ignore_ascii_case(b"all") => Pause::All,
        Some(word) if word.eq_ignore_ascii_case(b"write") => Pause::Writes,
        Some(_) => return Err(Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let ms =
        parse_integer(&call.args[2]).ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Error::TimeoutNegative)?;
    let until = call.engine.now_ms().checked_add(ms).filter(|until| i64::try_from(*until).is_ok());
    call.engine.pause(what, until.ok_or(Error::TimeoutOutOfRange)?);
    call.reply.ok();
    Ok(())
}

fn unpause(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.engine.unpause();
    call.reply.ok();
    Ok(())
}

fn reply(call: &mut Call<'_, '_>) -> Result<(), Error> {
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            call.session.answering = Answering::On;
            call.reply.ok();
        }
        b"off" => call.session.answering = Answering::Off,
        b"skip" => {
            call.session.answering = match call.session.answering {
                Answering::On => Answering::SkipOne,
                // This command is skipped itself.
                Answering::SkipOne | Answering::SkipTwo => Answering::SkipTwo,
                Answering::Off => Answering::Off,
            };
        }
        _ => return Err(Error::Syntax),
    }
    Ok(())
}

/// ON or OFF.
pub(super) fn switch(word: &[u8]) -> Result<bool, Error> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Error::Syntax),
    }
}

fn no_evict(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.stays = switch(&call.args[2])?;
    switch_card(call, |card| &mut card.no_evict)
}

fn no_touch(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.session.unnoticed = switch(&call.args[2])?;
    switch_card(call, |card| &mut card.no_touch)
}

fn switch_card(call: &mut Call<'_, '_>, of: fn(&mut Card) -> &mut bool) -> Result<(), Error> {
    let on = switch(&call.args[2])?;
    if let Some(card) = call.card() {
        *of(card) = on;
    }
    call.reply.ok();
    Ok(())
}

fn unblock(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let with_error = match call.args.get(3) {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"timeout") => false,
        Some(word) if word.eq_ignore_ascii_case(b"error") => true,
        Some(_) => {
            return Err(Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = parse_integer(&call.args[2]).ok_or(Error::NotInteger)?;
    let error: Option<&[u8]> = with_error.then_some(b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    let was_blocked = u64::try_from(id).is_ok_and(|id| call.engine.unblock(id, error));
    call.reply.integer(i64::from(was_blocked));
    Ok(())
}
