//! CLIENT TRACKING: how a client that keeps what it has read hears of changes.

use super::client::switch;
use super::{CONNECTION, CONNECTION_BUSY, Function, session};
use crate::resp::session::Call;
use leveret_engine::Tracking;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, parse_integer};

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("client|tracking", -3, Group::Connection, CONNECTION, tracking)
        .since("6.0.0")
        .cost("O(1). Some options may introduce additional complexity.")
        .says("Says whether the connection hears of changes to keys that it has read."),
    session("client|caching", 3, Group::Connection, CONNECTION_BUSY, caching)
        .since("6.0.0")
        .says("Says whether what the next command reads is tracked."),
    session("client|getredir", 2, Group::Connection, CONNECTION_BUSY, getredir)
        .since("6.0.0")
        .says("Returns which connection hears of changes in place of this one."),
    session("client|trackinginfo", 2, Group::Connection, CONNECTION, trackinginfo)
        .since("6.2.0")
        .says("Returns how the connection hears of changes."),
];

/// The session that hears of changes in place of another: -1 if that does not track, 0 if it hears of them itself.
pub(super) fn redirect(tracking: Option<&Tracking>) -> i64 {
    tracking.map_or(-1, |tracking| tracking.redirect.unwrap_or(0) as i64)
}

fn tracking_options(call: &mut Call<'_, '_>) -> Result<Tracking, Error> {
    let (mut options, mut i) = (Tracking::default(), 3);
    while let Some(word) = call.args.get(i) {
        match (word.to_ascii_lowercase().as_slice(), call.args.get(i + 1)) {
            (b"redirect", Some(id)) => {
                if options.redirect.is_some() {
                    return Err(Error::new("ERR A client can only redirect to a single other client"));
                }
                let id = parse_integer(id).ok_or(Error::new("ERR Invalid client ID"))?;
                let id = u64::try_from(id).ok().filter(|id| call.engine.session(*id).is_some());
                let missing = Error::new("ERR The client ID you want redirect to does not exist");
                options.redirect = Some(id.ok_or(missing)?);
                i += 1;
            }
            (b"prefix", Some(prefix)) => {
                options.prefixes.push(prefix.into());
                i += 1;
            }
            (b"bcast", _) => options.broadcast = true,
            (b"optin", _) => options.opt_in = true,
            (b"optout", _) => options.opt_out = true,
            (b"noloop", _) => options.no_loop = true,
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    Ok(options)
}

/// What goes together, and what may be changed while tracking is on.
fn check_tracking(options: &Tracking, before: Option<&Tracking>) -> Result<(), Error> {
    if !options.broadcast && !options.prefixes.is_empty() {
        return Err(Error::new("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if before.is_some_and(|before| before.broadcast != options.broadcast) {
        return Err(Error::new(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    if options.broadcast && (options.opt_in || options.opt_out) {
        return Err(Error::new("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if options.opt_in && options.opt_out {
        return Err(Error::new("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if before.is_some_and(|before| (options.opt_in && before.opt_out) || (options.opt_out && before.opt_in)) {
        return Err(Error::new(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (i, prefix) in options.prefixes.iter().enumerate() {
        let text = |prefix: &[u8]| String::from_utf8_lossy(prefix).into_owned();
        let existing = before.into_iter().flat_map(|before| &before.prefixes);
        if let Some(other) = existing.filter(|other| *other != prefix).find(|other| overlap(prefix, other)) {
            return Err(Error::Other(
                format!("ERR Prefix '{}' overlaps with an existing prefix '{}'. Prefixes for a single client must not overlap.", text(prefix), text(other)).into(),
            ));
        }
        if let Some(other) = options.prefixes[..i].iter().find(|other| overlap(prefix, other)) {
            return Err(Error::Other(
                format!("ERR Prefix '{}' overlaps with another provided prefix '{}'. Prefixes for a single client must not overlap.", text(other), text(prefix)).into(),
            ));
        }
    }
    Ok(())
}

fn tracking(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let mut options = tracking_options(call)?;
    let on = switch(&call.args[2])?;
    let id = call.session.id;
    if on {
        let before = call.engine.session(id).and_then(|session| session.tracking.clone());
        check_tracking(&options, before.as_deref())?;
        for prefix in before.into_iter().flat_map(|before| before.prefixes) {
            if !options.prefixes.contains(&prefix) {
                options.prefixes.push(prefix);
            }
        }
        call.engine.track(id, options);
    } else {
        call.engine.stop_tracking(id);
    }
    call.session.tracks = on;
    call.reply.ok();
    Ok(())
}

fn caching(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let id = call.session.id;
    let tracking = call.engine.session(id).and_then(|session| session.tracking.as_deref_mut());
    let tracking = tracking.filter(|tracking| tracking.opt_in || tracking.opt_out).ok_or(Error::new(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))?;
    tracking.caching = match call.args[2].to_ascii_lowercase().as_slice() {
        b"yes" if tracking.opt_in => Some(true),
        b"no" if tracking.opt_out => Some(false),
        b"yes" => {
            return Err(Error::new(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        b"no" => {
            return Err(Error::new(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        _ => return Err(Error::Syntax),
    };
    call.reply.ok();
    Ok(())
}

fn getredir(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let id = call.session.id;
    let tracking = call.engine.session(id).and_then(|session| session.tracking.as_deref());
    call.reply.integer(redirect(tracking));
    Ok(())
}

fn trackinginfo(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let id = call.session.id;
    let tracking = call.engine.session(id).and_then(|session| session.tracking.as_deref());
    let flags: Vec<&str> = match tracking {
        None => vec!["off"],
        Some(tracking) => [
            (true, "on"),
            (tracking.broadcast, "bcast"),
            (tracking.opt_in, "optin"),
            (tracking.opt_in && tracking.caching == Some(true), "caching-yes"),
            (tracking.opt_out, "optout"),
            (tracking.opt_out && tracking.caching == Some(false), "caching-no"),
            (tracking.no_loop, "noloop"),
            (tracking.is_broken, "broken_redirect"),
        ]
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, name)| name)
        .collect(),
    };
    call.reply.map(3);
    call.reply.bulk(b"flags");
    call.reply.set(flags.len());
    flags.iter().for_each(|flag| call.reply.bulk(flag.as_bytes()));
    call.reply.bulk(b"redirect");
    call.reply.integer(redirect(tracking));
    call.reply.bulk(b"prefixes");
    let everything = [Box::default()];
    let prefixes = match tracking {
        Some(tracking) if tracking.broadcast && tracking.prefixes.is_empty() => &everything[..],
        Some(tracking) => &tracking.prefixes,
        None => &[],
    };
    call.reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| call.reply.bulk(prefix));
    Ok(())
}
