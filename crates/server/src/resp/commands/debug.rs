//! DEBUG: what test suites need to look inside and to hurry the server up. Off unless it is allowed.

use super::{Function, LOADING_STALE, session};
use crate::resp::session::Call;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, flag, glob, parse_integer};
use leveret_resp::Version;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const FLAGS: u32 = LOADING_STALE | flag::ADMIN | flag::NOSCRIPT | flag::PROTECTED;

pub(super) const ROWS: &[Row<Option<Function>>] = &[session("debug", -2, Group::Server, FLAGS, debug)
    .cost("Depends on subcommand.")
    .says("Looks inside, for test suites.")];

struct Sub {
    name: &'static str,
    /// Arguments with the two names; negative is a minimum.
    arity: i16,
    run: Function,
    says: &'static str,
}

const SUBS: &[Sub] = &[
    Sub {
        name: "CHANGE-REPL-ID",
        arity: 2,
        run: nothing,
        says: "Nobody replicates; there is nothing to change.",
    },
    Sub { name: "DICT-RESIZING", arity: 3, run: nothing, says: "Tables grow by segments at any time." },
    Sub { name: "DIGEST", arity: 2, run: digest, says: "A number that is equal for equal contents." },
    Sub { name: "DIGEST-VALUE", arity: -2, run: digest_value, says: "The same for single keys." },
    Sub { name: "ERROR", arity: 3, run: error, says: "Answers with an error." },
    Sub { name: "HELP", arity: 2, run: help, says: "Lists the subcommands." },
    Sub { name: "HTSTATS", arity: -3, run: htstats, says: "How many keys a database has." },
    Sub {
        name: "LOADAOF",
        arity: 2,
        run: reload,
        says: "Sends every value through the snapshot format and back.",
    },
    Sub { name: "OBJECT", arity: -3, run: object, says: "How a value is kept." },
    Sub {
        name: "PAUSE-CRON",
        arity: 3,
        run: |call| keep_overdue(call, |pause| pause != 0),
        says: "Whether overdue keys stay.",
    },
    Sub { name: "PROTOCOL", arity: 3, run: protocol, says: "A reply of each type." },
    Sub {
        name: "QUICKLIST-PACKED-THRESHOLD",
        arity: 3,
        run: nothing,
        says: "Chunks of lists have one size.",
    },
    Sub {
        name: "RELOAD",
        arity: -2,
        run: reload,
        says: "Sends every value through the snapshot format and back.",
    },
    Sub { name: "REPLYBUFFER", arity: -3, run: nothing, says: "Reply buffers grow as they are needed." },
    Sub {
        name: "SET-ACTIVE-EXPIRE",
        arity: 3,
        run: |call| keep_overdue(call, |active| active == 0),
        says: "Whether overdue keys go by themselves.",
    },
    Sub {
        name: "SET-DISABLE-DENY-SCRIPTS",
        arity: 3,
        run: let_scripts,
        says: "Whether scripts may call commands that are not meant for them.",
    },
    Sub { name: "SLEEP", arity: 3, run: sleep, says: "Holds everybody up for so many seconds." },
    Sub {
        name: "STRINGMATCH-LEN",
        arity: 4,
        run: stringmatch,
        says: "Matches a pattern with a long string.",
    },
];

fn debug(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if !call.shared.settings.enable_debug_command.load(Relaxed) {
        return Err(Error::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
        ));
    }
    let wanted = &call.args[1];
    let sub = SUBS.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(wanted));
    let count = call.args.len() as i16;
    let sub = sub.filter(|sub| if sub.arity < 0 { count >= -sub.arity } else { count == sub.arity });
    let Some(sub) = sub else {
        let wanted = String::from_utf8_lossy(wanted).into_owned();
        return Err(Error::Other(
            format!("ERR unknown subcommand or wrong number of arguments for '{wanted}'. Try DEBUG HELP.")
                .into(),
        ));
    };
    (sub.run)(call)
}

fn help(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.array(1 + 2 * SUBS.len());
    call.reply.simple("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for sub in SUBS {
        call.reply.simple(sub.name);
        call.reply.simple(&format!("    {}", sub.says));
    }
    Ok(())
}

/// It is so already.
fn nothing(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.ok();
    Ok(())
}

fn digest(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.simple(&format!("{:040x}", call.engine.keyspace.digest()));
    Ok(())
}

fn digest_value(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.array(call.args.len() - 2);
    for key in call.args.iter().skip(2) {
        let digest = call.engine.keyspace.digest_of(call.session.db, key).unwrap_or(0);
        call.reply.simple(&format!("{digest:040x}"));
    }
    Ok(())
}

fn error(call: &mut Call<'_, '_>) -> Result<(), Error> {
    Err(Error::Other(String::from_utf8_lossy(&call.args[2]).into_owned().into()))
}

fn htstats(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let db = parse_integer(&call.args[2]).ok_or(Error::NotInteger)?;
    let db = u8::try_from(db).ok().filter(|db| *db < leveret_engine::keyspace::DATABASES);
    let db = db.ok_or(Error::new("ERR Out of range database"))?;
    let keyspace = &call.engine.keyspace;
    let text = format!(
        "[Dictionary HT]\n number of elements: {}\n[Expires HT]\n number of elements: {}\n",
        keyspace.len(db),
        keyspace.with_deadline(db)
    );
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn object(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let found = call.engine.keyspace.describe(call.session.db, &call.args[2]);
    let (encoding, len) = found.ok_or(Error::NoSuchKey)?;
    call.reply.simple(&format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{len} lru:0 lru_seconds_idle:0"
    ));
    Ok(())
}

fn reload(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.engine.keyspace.reload();
    call.reply.ok();
    Ok(())
}

fn keep_overdue(call: &mut Call<'_, '_>, if_so: fn(i64) -> bool) -> Result<(), Error> {
    call.engine.keeps_overdue = if_so(parse_integer(&call.args[2]).ok_or(Error::NotInteger)?);
    call.reply.ok();
    Ok(())
}

fn let_scripts(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let all = parse_integer(&call.args[2]).ok_or(Error::NotInteger)? != 0;
    call.shared.scripts.may_all.store(all, std::sync::atomic::Ordering::Relaxed);
    call.reply.ok();
    Ok(())
}

fn sleep(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let seconds: f64 =
        std::str::from_utf8(&call.args[2]).ok().and_then(|s| s.parse().ok()).ok_or(Error::NotFloat)?;
    std::thread::sleep(Duration::try_from_secs_f64(seconds).map_err(|_| Error::NotFloat)?);
    call.reply.ok();
    Ok(())
}

fn stringmatch(call: &mut Call<'_, '_>) -> Result<(), Error> {
    /// It is to be hard, not to fill the memory.
    const LEN_MAX: usize = 64 * 1024 * 1024;
    let len =
        parse_integer(&call.args[2]).and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= LEN_MAX);
    let text = vec![b'x'; len.ok_or(Error::NotInteger)?];
    let started = Instant::now();
    let matches = glob::matches(&call.args[3], &text);
    tracing::debug!(matches, elapsed = ?started.elapsed(), "DEBUG STRINGMATCH-LEN");
    call.reply.ok();
    Ok(())
}

fn protocol(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let reply = &mut *call.reply;
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        // What Redis answers.
        b"double" => reply.double(3141.0 / 1000.0),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|i| reply.integer(i));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|i| reply.integer(i));
        }
        b"map" => {
            reply.map(3);
            for i in 0..3 {
                reply.integer(i);
                reply.boolean(i == 1);
            }
        }
        b"attrib" => {
            if reply.attribute(1) {
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if reply.version() == Version::Resp2 {
                return Err(Error::new("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
        }
        b"verbatim" => reply.verbatim("txt", "This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err(Error::new(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
