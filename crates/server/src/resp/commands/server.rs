//! The server as a whole: CONFIG and INFO.

use super::{Function, LOADING_STALE, container, session};
use crate::resp::session::Call;
use crate::settings::Fsync;
use crate::shared::{Shared, now_ms, resident_bytes};
use leveret_cluster::{Level, Levels};
use leveret_engine::Engine;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::event::class;
use leveret_engine::keyspace::{DATABASES, Error, flag, glob, parse_integer};
use std::sync::atomic::Ordering::Relaxed;

/// The Redis version whose behaviour clients may expect.
pub(super) const REDIS_VERSION: &str = "7.4.0";

const ADMIN: u32 = LOADING_STALE | flag::NOSCRIPT | flag::ADMIN;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("config", Group::Server, 0).since("2.0.0").cost("Depends on subcommand."),
    container("object", Group::Generic, 0).since("2.2.3").cost("Depends on subcommand."),
    session("config|get", -3, Group::Server, ADMIN, config_get)
        .since("2.0.0")
        .cost("O(N) when N is the number of configuration parameters provided")
        .says("Returns settings whose names match."),
    session("config|set", -4, Group::Server, ADMIN, config_set)
        .since("2.0.0")
        .cost("O(N) when N is the number of configuration parameters provided")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Changes settings while the server runs."),
    session("info", -1, Group::Server, LOADING_STALE | flag::SENTINEL, info)
        .also(leveret_engine::keyspace::category::DANGEROUS)
        .tips(&["NONDETERMINISTIC_OUTPUT", "REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:SPECIAL"])
        .says("Returns facts and figures about the server."),
];

type Setter = fn(&Shared, &mut Engine, &str) -> Result<(), String>;

/// A setting as CONFIG shows it, and how CONFIG SET changes it if that is possible.
struct Parameter {
    name: &'static str,
    get: fn(&Shared, &Engine) -> String,
    set: Option<Setter>,
}

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "appendfsync",
        get: |shared, _| shared.settings.fsync().name().into(),
        set: Some(|shared, _, value| {
            let fsync = Fsync::parse(value)
                .ok_or("argument(s) must be one of the following: everysec, always, no")?;
            shared.settings.set_fsync(fsync);
            Ok(())
        }),
    },
    Parameter { name: "appendonly", get: |_, _| "yes".into(), set: None },
    Parameter { name: "bind", get: |shared, _| shared.settings.bind.join(" "), set: None },
    Parameter {
        name: "busy-reply-threshold",
        get: |shared, _| shared.settings.busy_after_ms.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let ms = parse_integer(value.as_bytes()).and_then(|n| usize::try_from(n).ok());
            shared
                .settings
                .busy_after_ms
                .store(ms.ok_or("argument must be between 0 and 9223372036854775807 inclusive")?, Relaxed);
            Ok(())
        }),
    },
    Parameter {
        name: "client-output-buffer-limit",
        get: |shared, _| shared.settings.output_limits.read().to_string(),
        set: Some(|shared, _, value| Ok(shared.settings.output_limits.write().change(value)?)),
    },
    Parameter { name: "databases", get: |_, _| DATABASES.to_string(), set: None },
    Parameter { name: "dir", get: |shared, _| shared.settings.data_dir.display().to_string(), set: None },
    Parameter {
        name: "enable-debug-command",
        get: |shared, _| if shared.settings.enable_debug_command.load(Relaxed) { "yes" } else { "no" }.into(),
        set: None,
    },
    Parameter { name: "io-threads", get: |shared, _| shared.settings.io_threads.to_string(), set: None },
    Parameter {
        name: "maxclients",
        get: |shared, _| shared.settings.clients_max.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let max =
                parse_integer(value.as_bytes()).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            shared
                .settings
                .clients_max
                .store(max.ok_or("argument must be between 1 and 4294967295 inclusive")?, Relaxed);
            Ok(())
        }),
    },
    Parameter { name: "maxmemory", get: |_, _| "0".into(), set: None },
    Parameter { name: "maxmemory-policy", get: |_, _| "noeviction".into(), set: None },
    Parameter {
        name: "notify-keyspace-events",
        get: |_, engine| class::letters(engine.keyspace.watches.events()),
        set: Some(|_, engine, value| {
            let classes =
                class::parse(value).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
            engine.keyspace.watches.want_events(classes);
            Ok(())
        }),
    },
    Parameter { name: "port", get: |shared, _| shared.settings.resp_port.to_string(), set: None },
    Parameter {
        name: "proto-max-bulk-len",
        get: |shared, _| shared.settings.bulk_bytes_max.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let max = parse_integer(value.as_bytes())
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n >= 1024 * 1024);
            shared.settings.bulk_bytes_max.store(
                max.ok_or("argument must be between 1048576 and 9223372036854775807 inclusive")?,
                Relaxed,
            );
            Ok(())
        }),
    },
    Parameter {
        name: "requirepass",
        get: |shared, _| shared.settings.requirepass.read().clone(),
        set: Some(|shared, _, value| {
            *shared.settings.requirepass.write() = value.into();
            Ok(())
        }),
    },
    Parameter { name: "save", get: |_, _| String::new(), set: None },
    Parameter {
        name: "unixsocket",
        get: |shared, _| {
            shared.settings.unix_socket.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
        },
        set: None,
    },
];

fn config_get(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let wanted: Vec<&Parameter> = PARAMETERS
        .iter()
        .filter(|p| {
            call.args
                .iter()
                .skip(2)
                .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), p.name.as_bytes()))
        })
        .collect();
    call.reply.map(wanted.len());
    for parameter in wanted {
        call.reply.bulk(parameter.name.as_bytes());
        call.reply.bulk((parameter.get)(call.shared, call.engine).as_bytes());
    }
    Ok(())
}

fn config_set(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if !call.args.len().is_multiple_of(2) {
        return Err(Error::WrongArity("config|set".into()));
    }
    let mut changes = Vec::new();
    for i in (2..call.args.len()).step_by(2) {
        let name = String::from_utf8_lossy(&call.args[i]).to_lowercase();
        let value = String::from_utf8_lossy(&call.args[i + 1]).into_owned();
        let Some(parameter) = PARAMETERS.iter().find(|p| p.name == name) else {
            return Err(Error::Other(
                format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'").into(),
            ));
        };
        changes.push((parameter.name, parameter.set, value));
    }
    for (name, set, value) in changes {
        let failed = |why: &str| {
            Error::Other(
                format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into(),
            )
        };
        let set = set.ok_or_else(|| failed("can't set immutable config"))?;
        set(call.shared, call.engine, &value).map_err(|why| failed(&why))?;
    }
    call.reply.ok();
    Ok(())
}

fn info(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let wanted: Vec<String> =
        call.args.iter().skip(1).map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
    let all = wanted.is_empty()
        || wanted.iter().any(|name| matches!(name.as_str(), "all" | "default" | "everything"));
    let mut text = String::new();
    for (name, section) in sections(call) {
        if all || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
            if !text.is_empty() {
                text += "\r\n";
            }
            text += &format!("# {name}\r\n{section}");
        }
    }
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn sections(call: &mut Call<'_, '_>) -> Vec<(&'static str, String)> {
    let (shared, engine) = (call.shared, &*call.engine);
    let stats = &shared.stats;
    let uptime = shared.started.elapsed().as_secs();
    let line = |pairs: &[(&str, String)]| {
        pairs.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect::<String>()
    };
    let (hits, misses) = engine.keyspace.hits_and_misses();
    let memory = resident_bytes();
    let written = shared.levels.level(Level::Written);
    let synced = shared.levels.level(Level::Synced);
    let keyspace = (0..DATABASES).filter(|&db| engine.keyspace.len(db) > 0).map(|db| {
        format!(
            "db{db}:keys={},expires={},avg_ttl=0\r\n",
            engine.keyspace.len(db),
            engine.keyspace.with_deadline(db)
        )
    });
    vec![
        (
            "Server",
            line(&[
                ("redis_version", REDIS_VERSION.into()),
                ("server_name", "leveret".into()),
                ("leveret_version", env!("CARGO_PKG_VERSION").into()),
                ("redis_mode", "standalone".into()),
                ("os", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
                ("arch_bits", usize::BITS.to_string()),
                ("process_id", std::process::id().to_string()),
                ("tcp_port", shared.settings.resp_port.to_string()),
                ("server_time_usec", (now_ms() * 1000).to_string()),
                ("uptime_in_seconds", uptime.to_string()),
                ("uptime_in_days", (uptime / 86_400).to_string()),
                ("io_threads_active", u8::from(shared.settings.io_threads > 1).to_string()),
            ]),
        ),
        (
            "Clients",
            line(&[
                ("connected_clients", stats.resp_connections.load(Relaxed).to_string()),
                ("maxclients", shared.settings.clients_max.load(Relaxed).to_string()),
                ("total_blocking_keys", engine.awaited_keys_count().to_string()),
            ]),
        ),
        (
            "Memory",
            line(&[
                ("used_memory", memory.to_string()),
                ("used_memory_rss", memory.to_string()),
                ("maxmemory", "0".into()),
                ("maxmemory_policy", "noeviction".into()),
            ]),
        ),
        (
            "Persistence",
            line(&[
                ("loading", "0".into()),
                ("aof_enabled", "1".into()),
                ("log_position", engine.position().to_string()),
                ("log_written_position", written.to_string()),
                ("log_synced_position", synced.to_string()),
            ]),
        ),
        (
            "Stats",
            line(&[
                ("total_connections_received", stats.connections_accepted.load(Relaxed).to_string()),
                ("total_commands_processed", engine.commands_count.to_string()),
                ("total_net_input_bytes", stats.bytes_read.load(Relaxed).to_string()),
                ("total_net_output_bytes", stats.bytes_written.load(Relaxed).to_string()),
                ("expired_keys", engine.keyspace.expired_count.to_string()),
                ("evicted_keys", "0".into()),
                ("keyspace_hits", hits.to_string()),
                ("keyspace_misses", misses.to_string()),
            ]),
        ),
        ("Replication", line(&[("role", "master".into()), ("connected_slaves", "0".into())])),
        ("Cluster", line(&[("cluster_enabled", "0".into())])),
        ("Keyspace", keyspace.collect()),
    ]
}
