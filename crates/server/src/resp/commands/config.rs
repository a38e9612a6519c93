//! CONFIG: settings that clients see and change.

mod checkpoints;
mod command_log;
mod fixed;
mod messages;

use super::{Function, LOADING_STALE, container, help, session};
use crate::output_limits::bytes;
use crate::resp::session::Call;
use crate::settings::{Change, Fsync};
use crate::shared::Shared;
use leveret_engine::Engine;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::event::class;
use leveret_engine::keyspace::{DATABASES, Error, LIMITS, Limit, Policy, flag, glob, parse_integer};
use std::sync::atomic::Ordering::Relaxed;

const ADMIN: u32 = LOADING_STALE | flag::NOSCRIPT | flag::ADMIN;

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    container("config", Group::Server, 0).since("2.0.0").cost("Depends on subcommand."),
    session("config|get", -3, Group::Server, ADMIN, config_get)
        .since("2.0.0")
        .cost("O(N) when N is the number of configuration parameters provided")
        .says("Returns settings whose names match."),
    session("config|set", -4, Group::Server, ADMIN, config_set)
        .since("2.0.0")
        .cost("O(N) when N is the number of configuration parameters provided")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Changes settings while the server runs."),
    session("config|resetstat", 2, Group::Server, ADMIN, resetstat)
        .since("2.0.0")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Sets the counters of INFO to zero."),
    session("config|rewrite", 2, Group::Server, ADMIN, rewrite)
        .since("2.8.0")
        .tips(&["REQUEST_POLICY:ALL_NODES", "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Writes settings that were changed into the configuration file."),
    session("config|help", 2, Group::Server, LOADING_STALE, |call| help(call, "CONFIG"))
        .since("5.0.0")
        .says("Lists the subcommands."),
];

type Setter = fn(&Shared, &mut Engine, &str) -> Result<(), String>;

/// A setting as CONFIG shows it, and how CONFIG SET changes it if that is possible.
struct Parameter {
    name: &'static str,
    get: fn(&Shared, &Engine) -> String,
    set: Option<Setter>,
}

/// One name that CONFIG knows.
#[derive(Clone, Copy)]
enum Setting {
    Parameter(&'static Parameter),
    Limit(&'static Limit),
}

/// All names, old ones too.
fn settings() -> impl Iterator<Item = (&'static str, Setting)> {
    let limits = LIMITS.iter().map(|limit| (limit.name, Setting::Limit(limit)));
    let parameters = PARAMETERS.iter().chain(command_log::PARAMETERS).chain(checkpoints::PARAMETERS);
    let parameters = parameters.chain(messages::PARAMETERS).chain(fixed::PARAMETERS);
    let parameters = parameters.map(|parameter| (parameter.name, Setting::Parameter(parameter)));
    limits.chain(parameters).flat_map(|(name, setting)| {
        let old_names = OLD_NAMES.iter().filter(move |(_, new)| *new == name).map(|(old, _)| *old);
        old_names.chain([name]).map(move |name| (name, setting))
    })
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Setting::Parameter(parameter) => parameter.name,
            Setting::Limit(limit) => limit.name,
        }
    }

    fn get(self, shared: &Shared, engine: &Engine) -> String {
        match self {
            Setting::Parameter(parameter) => (parameter.get)(shared, engine),
            Setting::Limit(limit) => limit.get().to_string(),
        }
    }

    fn set(self, shared: &Shared, engine: &mut Engine, value: &str) -> Result<(), String> {
        match self {
            Setting::Parameter(Parameter { set: Some(set), .. }) => set(shared, engine, value),
            // What it is already it may be told to be.
            Setting::Parameter(_) if self.get(shared, engine) == value => Ok(()),
            Setting::Parameter(_) => Err("can't set immutable config".into()),
            Setting::Limit(limit) => {
                limit.set(number(value, limit.least, i64::MAX)?);
                Ok(())
            }
        }
    }
}

/// True when CONFIG knows the name.
pub fn is_setting(name: &str) -> bool {
    settings().any(|(known, _)| known == name)
}

/// Gives a setting its value before the server has clients.
pub(crate) fn configure(shared: &Shared, name: &str, value: &str) -> Result<(), String> {
    let (_, setting) = settings().find(|(known, _)| *known == name).ok_or("there is no such setting")?;
    setting.set(shared, &mut shared.engine.lock(), value)
}

/// Names that Redis and Valkey still take.
const OLD_NAMES: &[(&str, &str)] = &[
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
    ("lua-time-limit", "busy-reply-threshold"),
    ("min-slaves-to-write", "min-replicas-to-write"),
    ("slaveof", "replicaof"),
    ("slowlog-log-slower-than", "commandlog-execution-slower-than"),
    ("slowlog-max-len", "commandlog-slow-execution-max-len"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
];

/// Found by their whole names only. (Redis: HIDDEN_CONFIG)
const HIDDEN: &[&str] = &["key-load-delay", "rdb-key-save-delay"];

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "acl-pubsub-default",
        get: |shared, _| {
            let all = shared.settings.acl_all_channels.load(Relaxed);
            if all { "allchannels" } else { "resetchannels" }.into()
        },
        set: Some(|shared, _, value| {
            let all = match value.to_ascii_lowercase().as_str() {
                "allchannels" => true,
                "resetchannels" => false,
                _ => {
                    return Err("argument(s) must be one of the following: allchannels, resetchannels".into());
                }
            };
            shared.settings.acl_all_channels.store(all, Relaxed);
            Ok(())
        }),
    },
    Parameter { name: "aclfile", get: |_, _| String::new(), set: None },
    Parameter {
        name: "acllog-max-len",
        get: |shared, _| shared.settings.acl_log_max.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let max = number(value, 0, i64::MAX)?;
            shared.settings.acl_log_max.store(max, Relaxed);
            shared.acl_history.lock().entries.truncate(max);
            Ok(())
        }),
    },
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
            shared.settings.busy_after_ms.store(number(value, 0, i64::MAX)?, Relaxed);
            Ok(())
        }),
    },
    Parameter {
        name: "client-query-buffer-limit",
        get: |shared, _| shared.settings.input_bytes_max.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            let max = bytes(value).ok_or("argument must be a memory value")?;
            if max < 1024 * 1024 {
                return Err("argument must be between 1048576 and 9223372036854775807 inclusive".into());
            }
            shared.settings.input_bytes_max.store(max, Relaxed);
            Ok(())
        }),
    },
    Parameter {
        name: "client-output-buffer-limit",
        get: |shared, _| shared.settings.output_limits.read().to_string(),
        set: Some(|shared, _, value| Ok(shared.settings.output_limits.write().change(value)?)),
    },
    Parameter { name: "daemonize", get: |_, _| "no".into(), set: None },
    Parameter { name: "databases", get: |_, _| DATABASES.to_string(), set: None },
    Parameter { name: "dir", get: |shared, _| shared.settings.data_dir.display().to_string(), set: None },
    Parameter {
        name: "disk-free-limit",
        get: |shared, _| shared.settings.alarms.disk_min().to_string(),
        set: Some(|shared, _, value| {
            shared.settings.alarms.set_disk(value)?;
            shared.watch_resources();
            Ok(())
        }),
    },
    Parameter {
        name: "enable-debug-command",
        get: |shared, _| if shared.settings.enable_debug_command.load(Relaxed) { "yes" } else { "no" }.into(),
        set: None,
    },
    Parameter { name: "key-load-delay", get: |_, _| "0".into(), set: None },
    Parameter { name: "rdb-key-save-delay", get: |_, _| "0".into(), set: None },
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
    Parameter {
        name: "latency-monitor-threshold",
        get: |shared, _| shared.observed.latency_after.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            shared.observed.latency_after.store(number(value, 0, i64::MAX)?, Relaxed);
            shared.observed.settle();
            Ok(())
        }),
    },
    Parameter {
        name: "lfu-decay-time",
        get: |_, engine| engine.keyspace.eviction.lfu_decay_minutes.to_string(),
        set: Some(|_, engine, value| {
            engine.keyspace.eviction.lfu_decay_minutes = number(value, 0, i32::MAX.into())?;
            Ok(())
        }),
    },
    Parameter {
        name: "lfu-log-factor",
        get: |_, engine| engine.keyspace.eviction.lfu_log_factor.to_string(),
        set: Some(|_, engine, value| {
            engine.keyspace.eviction.lfu_log_factor = number(value, 0, i32::MAX.into())?;
            Ok(())
        }),
    },
    Parameter {
        name: "maxmemory",
        get: |shared, _| shared.settings.memory_max.load(Relaxed).to_string(),
        set: Some(|shared, engine, value| {
            let bytes = bytes(value).ok_or("argument must be a memory value")?;
            shared.settings.memory_max.store(bytes, Relaxed);
            // Messages may have a part of it.
            engine.broker.memory_bytes_max = shared.settings.message_bytes_in_memory();
            shared.used_bytes(engine.now_ms());
            shared.memory.evicting.store(true, Relaxed);
            Ok(())
        }),
    },
    Parameter {
        name: "maxmemory-clients",
        get: |shared, _| match shared.settings.clients_limit.load(Relaxed) {
            percent if percent < 0 => format!("{}%", -percent),
            bytes => bytes.to_string(),
        },
        set: Some(|shared, _, value| {
            shared.settings.set_clients_limit(value)?;
            shared.wake_all();
            Ok(())
        }),
    },
    Parameter {
        name: "maxmemory-eviction-tenacity",
        get: |shared, _| shared.settings.eviction_tenacity.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            shared.settings.eviction_tenacity.store(number(value, 0, 100)?, Relaxed);
            Ok(())
        }),
    },
    Parameter {
        name: "maxmemory-policy",
        get: |_, engine| engine.keyspace.eviction.policy.name().into(),
        set: Some(|_, engine, value| {
            let policy = Policy::parse(value)
                .ok_or_else(|| format!("argument(s) must be one of the following: {}", Policy::names()))?;
            engine.keyspace.set_policy(policy);
            Ok(())
        }),
    },
    Parameter {
        name: "maxmemory-samples",
        get: |_, engine| engine.keyspace.eviction.samples.to_string(),
        set: Some(|_, engine, value| {
            engine.keyspace.eviction.samples = number(value, 1, 64)?;
            Ok(())
        }),
    },
    Parameter {
        name: "min-replicas-to-write",
        get: |shared, _| shared.settings.replicas_to_write.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            shared.settings.replicas_to_write.store(number(value, 0, i32::MAX.into())?, Relaxed);
            Ok(())
        }),
    },
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
    Parameter {
        name: "port",
        get: |shared, _| shared.ports().resp.to_string(),
        set: Some(|shared, _, value| {
            shared.set_resp_port(number(value, 0, u16::MAX.into())?).map_err(|error| {
                tracing::warn!("the port stays as it is: {error}");
                "Unable to listen on this port. Check server logs.".into()
            })
        }),
    },
    Parameter {
        name: "proto-max-bulk-len",
        get: |shared, _| shared.settings.bulk_bytes_max.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            shared.settings.bulk_bytes_max.store(number(value, 1024 * 1024, i64::MAX)?, Relaxed);
            Ok(())
        }),
    },
    Parameter { name: "replicaof", get: |_, _| String::new(), set: None },
    Parameter {
        name: "requirepass",
        get: |shared, _| shared.settings.requirepass.read().clone(),
        set: Some(|shared, engine, value| {
            *shared.settings.requirepass.write() = value.into();
            shared.settings.apply_requirepass(engine, true);
            Ok(())
        }),
    },
    Parameter { name: "save", get: |_, _| String::new(), set: None },
    Parameter {
        name: "timeout",
        get: |shared, _| shared.settings.idle_seconds_max.load(Relaxed).to_string(),
        set: Some(|shared, _, value| {
            shared.settings.idle_seconds_max.store(number(value, 0, i32::MAX.into())?, Relaxed);
            shared.wake_all();
            Ok(())
        }),
    },
    Parameter {
        name: "tracking-table-max-keys",
        get: |shared, _| shared.settings.tracked_keys_max.load(Relaxed).to_string(),
        set: Some(|shared, engine, value| {
            let keys_max = number(value, 0, i64::MAX)?;
            shared.settings.tracked_keys_max.store(keys_max, Relaxed);
            engine.forget_beyond(keys_max);
            Ok(())
        }),
    },
    Parameter {
        name: "unixsocket",
        get: |shared, _| {
            shared.settings.unix_socket.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
        },
        set: None,
    },
    Parameter {
        name: "vm-memory-high-watermark",
        get: |shared, _| shared.settings.alarms.memory_text(),
        set: Some(|shared, _, value| {
            shared.settings.alarms.set_memory(value)?;
            shared.watch_resources();
            Ok(())
        }),
    },
];

fn config_get(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let is_wanted = |name: &str| {
        let is_hidden = HIDDEN.contains(&name);
        call.args.iter().skip(2).any(|pattern| match is_hidden {
            true => pattern.eq_ignore_ascii_case(name.as_bytes()),
            false => glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()),
        })
    };
    let wanted: Vec<_> = settings().filter(|(name, _)| is_wanted(name)).collect();
    call.reply.map(wanted.len());
    for (name, setting) in wanted {
        let value = setting.get(call.shared, call.engine);
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn config_set(call: &mut Call<'_, '_>) -> Result<(), Error> {
    if !call.args.len().is_multiple_of(2) {
        return Err(Error::WrongArity("config|set".into()));
    }
    let mut changes = Vec::new();
    for i in (2..call.args.len()).step_by(2) {
        let wanted = String::from_utf8_lossy(&call.args[i]).to_lowercase();
        let value = String::from_utf8_lossy(&call.args[i + 1]).into_owned();
        let Some((name, setting)) = settings().find(|(name, _)| *name == wanted) else {
            return Err(Error::Other(
                format!("ERR Unknown option or number of arguments for CONFIG SET - '{wanted}'").into(),
            ));
        };
        if changes.iter().any(|(other, _, _)| *other == name) {
            return Err(refused(name, "duplicate parameter"));
        }
        changes.push((name, setting, value));
    }
    // All or nothing. A port that was left may be somebody else's at once: it is changed when nothing else can fail.
    changes.sort_by_key(|(name, ..)| *name == "port");
    let before: Vec<String> =
        changes.iter().map(|(_, setting, _)| setting.get(call.shared, call.engine)).collect();
    for (i, (name, setting, value)) in changes.iter().enumerate() {
        if let Err(why) = setting.set(call.shared, call.engine, value) {
            for ((_, setting, _), value) in changes[..i].iter().zip(&before).rev() {
                // It was so a moment ago.
                let _ = setting.set(call.shared, call.engine, value);
            }
            return Err(refused(name, &why));
        }
    }
    let changed = changes.iter().map(|(_, setting, _)| setting.name());
    call.shared.settings.changed.lock().extend(changed);
    call.reply.ok();
    Ok(())
}

/// The file is written while nobody else is served: it is small, and this is asked for by people.
fn rewrite(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let shared = call.shared;
    let file = shared.settings.file.as_ref();
    let file = file.ok_or(Error::new("ERR The server is running without a config file"))?;
    let changed = shared.settings.changed.lock();
    let changes: Vec<Change> = settings()
        .filter(|(name, setting)| *name == setting.name() && changed.contains(name))
        .map(|(name, setting)| Change {
            name,
            old_name: match name {
                "port" => Some("resp-port"),
                _ => OLD_NAMES.iter().find(|(_, new)| *new == name).map(|(old, _)| *old),
            },
            value: setting.get(shared, call.engine),
        })
        .collect();
    match (file.change)(&file.path, &changes) {
        Ok(()) => call.reply.ok(),
        Err(error) => {
            tracing::warn!(%error, "{} cannot be rewritten", file.path.display());
            return Err(Error::Other(format!("ERR Rewriting config file: {error}").into()));
        }
    }
    Ok(())
}

fn refused(name: &str, why: &str) -> Error {
    Error::Other(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into())
}

/// A number within its limits, or Redis' refusal.
fn number<T: TryFrom<i64>>(value: &str, least: i64, most: i64) -> Result<T, String> {
    let number = parse_integer(value.as_bytes()).ok_or("argument couldn't be parsed into an integer")?;
    let number = Some(number).filter(|number| (least..=most).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

fn resetstat(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.shared.observed.reset();
    let stats = &call.shared.stats;
    for counter in [&stats.connections_accepted, &stats.bytes_read, &stats.bytes_written] {
        counter.store(0, Relaxed);
    }
    call.shared.reaper.reset_count();
    call.engine.commands_count = 0;
    call.engine.keyspace.reset_counts();
    call.reply.ok();
    Ok(())
}
