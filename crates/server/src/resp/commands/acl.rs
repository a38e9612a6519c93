//! ACL: users as Redis clients see and change them. Users are data of the log; there is no ACL file.

use super::{Function, LOADING_STALE, container, help, session};
use crate::doorkeeper::salt;
use crate::resp::acl::{Draft, History, Rules, Selector, Where, category_bit};
use crate::resp::session::Call;
use crate::resp::table::{TABLE, find};
use leveret_engine::accounts::{DEFAULT_USER, Errand, Finding, Keep, Password, User};
use leveret_engine::keyspace::command::{Group, Row, category};
use leveret_engine::keyspace::{ArgsBuf, Error, Reply, flag, parse_integer};
use leveret_engine::{Session, SessionId, SubscriptionKind as Kind};
use std::sync::Arc;

const OPEN: u32 = LOADING_STALE | flag::NOSCRIPT | flag::SENTINEL;
const ADMIN: u32 = OPEN | flag::ADMIN;
const ALL_NODES: &[&str] = &["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"];

const fn row(name: &'static str, arity: i16, flags: u32, run: Function) -> Row<Option<Function>> {
    session(name, arity, Group::Server, flags, run).since("6.0.0")
}

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("acl", Group::Server, flag::SENTINEL).since("6.0.0").cost("Depends on subcommand."),
    row("acl|cat", -2, OPEN, cat)
        .cost("O(1) since the categories and commands are a fixed set.")
        .says("Lists the categories of commands, or the commands of one."),
    row("acl|deluser", -3, ADMIN, deluser)
        .cost("O(1) amortized time considering the typical user.")
        .tips(ALL_NODES)
        .says("Deletes users and closes their connections."),
    row("acl|dryrun", -4, ADMIN, dryrun)
        .since("7.0.0")
        .cost("O(1).")
        .says("Says whether a user may execute a command, without executing it."),
    row("acl|genpass", -2, OPEN, genpass).says("Makes a password that nobody can guess."),
    row("acl|getuser", 3, ADMIN, getuser)
        .cost("O(N). Where N is the number of password, command and pattern rules that the user has.")
        .says("Returns what a user may do."),
    row("acl|list", 2, ADMIN, list)
        .cost("O(N). Where N is the number of configured users.")
        .says("Returns the rules of all users."),
    row("acl|load", 2, ADMIN, no_file)
        .cost("O(N). Where N is the number of configured users.")
        .says("Refuses: there is no ACL file."),
    row("acl|log", -2, ADMIN, log)
        .cost("O(N) with N being the number of entries shown.")
        .says("Returns what was refused of late."),
    row("acl|save", 2, ADMIN, no_file)
        .cost("O(N). Where N is the number of configured users.")
        .tips(ALL_NODES)
        .says("Refuses: there is no ACL file."),
    row("acl|setuser", -3, ADMIN, setuser)
        .cost("O(N). Where N is the number of rules provided.")
        .tips(ALL_NODES)
        .says("Makes or changes a user, one rule after the other."),
    row("acl|users", 2, ADMIN, users)
        .cost("O(N). Where N is the number of configured users.")
        .says("Returns the names of all users."),
    row("acl|whoami", 2, OPEN, whoami).says("Returns the user of the connection."),
    row("acl|help", 2, LOADING_STALE | flag::SENTINEL, |call| help(call, "ACL"))
        .says("Lists the subcommands."),
];

fn failed<T>(text: String) -> Result<T, Error> {
    Err(Error::Other(text.into()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cat(call: &mut Call<'_, '_>) -> Result<(), Error> {
    match (call.args.get(2), call.args.len()) {
        (None, _) => {
            call.reply.array(category::NAMES.len());
            category::NAMES.iter().for_each(|(_, name)| call.reply.bulk(&name.as_bytes()[1..]));
        }
        (Some(wanted), 3) => {
            let Some(bit) = category_bit(&text(wanted).to_lowercase()) else {
                return failed(format!("ERR Unknown category '{}'", text(wanted)));
            };
            let mut commands = TABLE.by_name();
            commands.retain(|command| command.spec.categories() & bit != 0);
            call.reply.array(commands.len());
            commands.iter().for_each(|command| call.reply.bulk(command.spec.name.as_bytes()));
        }
        _ => {
            return Err(Error::new(
                "ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
            ));
        }
    }
    Ok(())
}

fn deluser(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if call.args.iter().skip(2).any(|name| name == DEFAULT_USER.as_bytes()) {
        return Err(Error::new("ERR The 'default' user cannot be removed"));
    }
    let mut count = 0;
    for name in call.args.iter().skip(2).map(text) {
        let has_rules = call.engine.accounts.user(&name).is_some_and(|user| user.acl.is_some());
        if !has_rules || !call.engine.delete_user(&name) {
            continue;
        }
        count += 1;
        if call.session.user == name {
            // It hears of it first.
            call.session.quitting = true;
            if let Some(card) = call.card() {
                card.user.clear();
            }
        }
        call.engine.force_close_user(&name, &format!("user '{name}' was deleted"));
    }
    call.reply.integer(count);
    Ok(())
}

fn dryrun(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let name = text(&call.args[2]);
    let Some(user) = call.engine.accounts.user(&name).filter(|user| user.acl.is_some()) else {
        return failed(format!("ERR User '{name}' not found"));
    };
    let inner: ArgsBuf = call.args.iter().skip(3).collect();
    let args = inner.as_args();
    let command = match find(args) {
        Ok(command) => command,
        Err(Error::WrongArity(name)) => return Err(Error::WrongArity(name)),
        Err(_) => return failed(format!("ERR Command '{}' not found", text(&args[0]))),
    };
    let Some(rules) = call.shared.acl.of(user) else {
        call.reply.ok();
        return Ok(());
    };
    match rules.check(command, args) {
        Ok(()) => call.reply.ok(),
        Err(denied) => call.reply.bulk(denied.told_about(&name, args).as_bytes()),
    }
    Ok(())
}

fn genpass(call: &mut Call<'_, '_>) -> Result<(), Error> {
    const BITS_MAX: i64 = 4096;
    let bits = match call.args.get(2) {
        None => 256,
        Some(bits) => parse_integer(bits).ok_or(Error::NotInteger)?,
    };
    if !(1..=BITS_MAX).contains(&bits) || call.args.len() > 3 {
        return failed(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to {BITS_MAX}"
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut hex = String::new();
    while hex.len() < digits {
        salt().iter().for_each(|byte| hex += &format!("{byte:02x}"));
    }
    call.reply.bulk(&hex.as_bytes()[..digits]);
    Ok(())
}

/// Users that have rules.
fn with_rules<'a>(call: &'a Call<'_, '_>) -> Vec<&'a Arc<User>> {
    call.engine.accounts.users().filter(|user| user.acl.is_some()).collect()
}

fn users(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let names: Vec<String> = with_rules(call).iter().map(|user| user.name.clone()).collect();
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

fn list(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let line = |user: &&Arc<User>| {
        let acl = user.acl.clone().unwrap_or_default();
        let passwords: String = user.passwords.iter().map(|password| format!("#{password} ")).collect();
        format!(
            "user {} {} {}{passwords}{}",
            user.name,
            if acl.on { "on" } else { "off" },
            if acl.nopass { "nopass " } else { "" },
            acl.rules
        )
    };
    let lines: Vec<String> = with_rules(call).iter().map(line).collect();
    call.reply.array(lines.len());
    lines.iter().for_each(|line| call.reply.bulk(line.as_bytes()));
    Ok(())
}

fn getuser(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let name = text(&call.args[2]);
    let user = call.engine.accounts.user(&name).cloned();
    let Some((user, acl)) = user.and_then(|user| Some((user.clone(), user.acl.clone()?))) else {
        call.reply.null();
        return Ok(());
    };
    let rules = Rules::parse(&acl.rules).unwrap_or_default();
    let reply = &mut *call.reply;
    reply.map(6);
    reply.bulk(b"flags");
    let flags = [Some(if acl.on { "on" } else { "off" }), acl.nopass.then_some("nopass")];
    reply.set(flags.iter().flatten().count());
    flags.iter().flatten().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords.len());
    user.passwords.iter().for_each(|password| reply.bulk(password.to_string().as_bytes()));
    tell_selector(reply, &rules.root);
    reply.bulk(b"selectors");
    reply.array(rules.others.len());
    for selector in &rules.others {
        reply.map(3);
        tell_selector(reply, selector);
    }
    Ok(())
}

fn tell_selector(reply: &mut Reply<'_>, selector: &Selector) {
    let parts = [
        ("commands", selector.commands_text()),
        ("keys", selector.keys_text()),
        ("channels", selector.channels_text()),
    ];
    for (name, text) in parts {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
}

fn no_file(_: &mut Call<'_, '_>) -> Result<(), Error> {
    Err(Error::new(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
    ))
}

fn whoami(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.bulk(call.session.user.as_bytes());
    Ok(())
}

/// Rules with what was written in several arguments between parentheses put together.
fn merged(call: &Call<'_, '_>) -> Result<Vec<String>, Error> {
    let mut rules: Vec<String> = Vec::new();
    let mut open: Option<String> = None;
    for arg in call.args.iter().skip(3) {
        let Ok(arg) = std::str::from_utf8(arg) else {
            return failed(format!("ERR Error in ACL SETUSER modifier '{}': Syntax error", text(arg)));
        };
        let rule = match open.take() {
            Some(beginning) => format!("{beginning} {arg}"),
            None => arg.to_owned(),
        };
        if rule.starts_with('(') && !rule.ends_with(')') {
            open = Some(rule);
        } else {
            rules.push(rule);
        }
    }
    match open {
        None => Ok(rules),
        Some(rule) => {
            let first = rule.split(' ').next().unwrap_or_default();
            failed(format!("ERR Unmatched parenthesis in acl selector starting at '{first}'."))
        }
    }
}

/// Passwords in one command: each takes long.
const PASSWORDS_MAX: usize = 64;

fn setuser(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let name = std::str::from_utf8(&call.args[2]).ok();
    let name = name.filter(|name| !name.contains(|c: char| c.is_ascii_whitespace() || c == '\0'));
    let name = name.ok_or(Error::new("ERR Usernames can't contain spaces or null characters"))?.to_owned();
    let rules = merged(call)?;
    let user = call.engine.accounts.user(&name).cloned();
    let passwords: Vec<(bool, Box<[u8]>)> = rules
        .iter()
        .filter(|rule| rule.starts_with(['>', '<']))
        .map(|rule| (rule.starts_with('>'), rule.as_bytes()[1..].into()))
        .collect();
    let mut kept: Vec<Option<Password>> = Vec::new();
    if !passwords.is_empty() {
        match call.engine.session(call.session.id).and_then(|session| session.finding.take()) {
            Some(Finding::Kept(found)) if found.len() == passwords.len() => kept = found,
            _ if passwords.len() > PASSWORDS_MAX => {
                return Err(Error::new("ERR too many passwords in one command"));
            }
            _ => return call.ask(Errand::Keep(Keep { user, passwords })),
        }
    }
    let all_channels = call.shared.settings.acl_all_channels.load(std::sync::atomic::Ordering::Relaxed);
    let mut draft = Draft::new(&name, user.as_deref(), all_channels);
    let mut kept = kept.into_iter();
    for rule in &rules {
        let password = if rule.starts_with(['>', '<']) { kept.next().flatten() } else { None };
        if let Err(why) = draft.apply(rule, password) {
            return failed(format!("ERR Error in ACL SETUSER modifier '{rule}': {why}"));
        }
    }
    call.engine.put_user(draft.finish());
    drop_deaf(call, &name);
    call.reply.ok();
    Ok(())
}

/// Closes the connections of a user that listen to what it may not hear any more.
fn drop_deaf(call: &mut Call<'_, '_>, name: &str) {
    let Some(rules) = call.engine.accounts.user(name).and_then(|user| call.shared.acl.of(user)) else {
        return;
    };
    let may_hear = |session: &Session| {
        let of_kind = |kind: Kind| session.subscriptions(kind).map(move |name| (name, kind == Kind::Pattern));
        let mut all = [Kind::Topic, Kind::Pattern, Kind::Shard].into_iter().flat_map(of_kind);
        all.all(|(name, is_pattern)| {
            rules.selectors().any(|selector| selector.allows_channel(name, is_pattern))
        })
    };
    let is_its = |session: &Session| session.card.as_ref().is_some_and(|card| card.user == name);
    let deaf = |(id, session): (SessionId, &Session)| (is_its(session) && !may_hear(session)).then_some(id);
    let ids: Vec<SessionId> = call.engine.sessions().filter_map(deaf).collect();
    for id in ids {
        if id == call.session.id {
            call.session.quitting = true;
        } else {
            call.engine.kill(id);
        }
    }
}

fn log(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let wanted = match call.args.get(2) {
        Some(word) if word.eq_ignore_ascii_case(b"reset") && call.args.len() == 3 => {
            *call.shared.acl_history.lock() = History::default();
            call.reply.ok();
            return Ok(());
        }
        None => 10,
        Some(count) => usize::try_from(parse_integer(count).ok_or(Error::NotInteger)?).unwrap_or(0),
    };
    let entries: Vec<_> = call.shared.acl_history.lock().entries.iter().take(wanted).cloned().collect();
    let now_ms = call.engine.now_ms();
    let reply = &mut *call.reply;
    reply.array(entries.len());
    for entry in &entries {
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        let place = match entry.place {
            Where::Toplevel => "toplevel",
            Where::Multi => "multi",
            Where::Script => "lua",
        };
        for (name, value) in [("reason", entry.reason.as_bytes()), ("context", place.as_bytes())] {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
        reply.bulk(b"object");
        reply.bulk(&entry.object);
        reply.bulk(b"username");
        reply.bulk(entry.username.as_bytes());
        reply.bulk(b"age-seconds");
        reply.double(now_ms.saturating_sub(entry.created_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.client_info.as_bytes());
        reply.bulk(b"entry-id");
        reply.integer(entry.id as i64);
        reply.bulk(b"timestamp-created");
        reply.integer(entry.created_ms as i64);
        reply.bulk(b"timestamp-last-updated");
        reply.integer(entry.updated_ms as i64);
    }
    Ok(())
}
