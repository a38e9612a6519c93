//! One table of configuration keys. Each is a flag, a `LEVERET_…` variable and a key of the TOML file; flags win over
//! variables, variables over the file. Redis' names are accepted where they mean the same.

use anyhow::{Context, Result, anyhow, bail};
use leveret_server::{Change, Fsync, PlacementBy, Policy, Settings, SettingsFile, bytes, is_setting};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use toml_edit::DocumentMut;

/// A key, what it means and what sets it.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    /// None leaves it to what CONFIG SET would do.
    set: Option<fn(&mut Settings, &str) -> Result<()>>,
}

fn port(text: &str) -> Result<u16> {
    text.parse().map_err(|_| anyhow!("'{text}' is not a port (0 to 65535; 0 turns the listener off)"))
}

fn yes_or_no(text: &str) -> Result<bool> {
    match text {
        "yes" | "true" | "local" => Ok(true),
        "no" | "false" => Ok(false),
        other => bail!("'{other}' is neither yes nor no"),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| anyhow!("'{text}' is not a number"))
}

/// Every key.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "data-dir",
        value: "DIR",
        help: "where the log lies; made if it is missing (Redis: dir)",
        set: Some(|s, v| {
            s.data_dir = v.into();
            Ok(())
        }),
    },
    Key {
        name: "bind",
        value: "ADDR …",
        help: "addresses to listen on [127.0.0.1 ::1]",
        set: Some(|s, v| {
            s.bind = v.split_whitespace().map(str::to_owned).collect();
            Ok(())
        }),
    },
    Key {
        name: "resp-port",
        value: "N",
        help: "Redis protocol [6379] (Redis: port)",
        set: Some(|s, v| {
            s.resp_port = port(v)?;
            Ok(())
        }),
    },
    Key {
        name: "amqp-port",
        value: "N",
        help: "AMQP 0-9-1 [5672]",
        set: Some(|s, v| {
            s.amqp_port = port(v)?;
            Ok(())
        }),
    },
    Key {
        name: "http-port",
        value: "N",
        help: "HTTP: /health and /metrics [15672]",
        set: Some(|s, v| {
            s.http_port = port(v)?;
            Ok(())
        }),
    },
    Key {
        name: "unixsocket",
        value: "PATH",
        help: "Redis protocol on a Unix socket as well",
        set: Some(|s, v| {
            s.unix_socket = Some(PathBuf::from(v));
            Ok(())
        }),
    },
    Key {
        name: "appendfsync",
        value: "always|everysec|no",
        help: "when answers to Redis clients leave: after the disk has it, or when the kernel has it, synced every second [everysec]",
        set: Some(|s, v| {
            s.set_fsync(Fsync::parse(v).ok_or_else(|| anyhow!("'{v}' is none of always, everysec, no"))?);
            Ok(())
        }),
    },
    Key {
        name: "requirepass",
        value: "PASSWORD",
        help: "password of Redis clients [none]",
        set: Some(|s, v| {
            *s.requirepass.get_mut() = v.into();
            Ok(())
        }),
    },
    Key {
        name: "loopback-users",
        value: "NAME …|none",
        help: "users that may come over AMQP and HTTP from this machine only [guest] (RabbitMQ: loopback_users)",
        set: Some(|s, v| {
            let names = v.split_whitespace().filter(|name| *name != "none");
            s.loopback_users = names.map(str::to_owned).collect();
            Ok(())
        }),
    },
    Key {
        name: "maxclients",
        value: "N",
        help: "Redis clients at a time [10000]",
        set: Some(|s, v| {
            s.clients_max.store(number(v)?, Ordering::Relaxed);
            Ok(())
        }),
    },
    Key {
        name: "maxmemory",
        value: "BYTES",
        help: "above this keys go as maxmemory-policy says, or commands that need memory are refused; units as in 100mb; 0 is no limit [0]",
        set: Some(|s, v| {
            let bytes = bytes(v).ok_or_else(|| anyhow!("'{v}' is not a number of bytes such as 100mb"))?;
            s.memory_max.store(bytes, Ordering::Relaxed);
            Ok(())
        }),
    },
    Key {
        name: "message-memory",
        value: "PART|BYTES",
        help: "what messages in queues may have of maxmemory, or without that of the machine's memory; what is more, only the disk has; 0 is no limit [0.4]",
        set: Some(|s, v| s.set_message_memory(v).map_err(|why| anyhow!("{why}"))),
    },
    Key {
        name: "maxmemory-policy",
        value: "POLICY",
        help: "which keys go: allkeys- or volatile- with lru, lfu or random, volatile-ttl, or noeviction [noeviction]",
        set: Some(|s, v| {
            s.policy = Policy::parse(v).ok_or_else(|| anyhow!("'{v}' is none of {}", Policy::names()))?;
            Ok(())
        }),
    },
    Key {
        name: "proto-max-bulk-len",
        value: "BYTES",
        help: "longest argument of a command [536870912]",
        set: Some(|s, v| {
            s.bulk_bytes_max.store(number(v)?, Ordering::Relaxed);
            Ok(())
        }),
    },
    Key {
        name: "busy-reply-threshold",
        value: "MS",
        help: "Redis clients hear -BUSY when one command holds the server up for so long [5000]",
        set: Some(|s, v| {
            s.busy_after_ms.store(number(v)?, Ordering::Relaxed);
            Ok(())
        }),
    },
    Key {
        name: "client-output-buffer-limit",
        value: "CLASS HARD SOFT SECONDS …",
        help: "cut off Redis clients for whom more bytes wait; classes normal, replica, pubsub [normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60]",
        set: Some(|s, v| s.output_limits.get_mut().change(v).map_err(|why| anyhow!(why))),
    },
    Key {
        name: "client-query-buffer-limit",
        value: "BYTES",
        help: "cut off Redis clients that send more before it can be executed; units as in 1gb [1gb]",
        set: None,
    },
    Key {
        name: "maxmemory-clients",
        value: "BYTES|PERCENT%",
        help: "close the largest Redis clients when all together hold more, for instance 5% of maxmemory; 0 is no limit [0]",
        set: None,
    },
    Key {
        name: "timeout",
        value: "SECONDS",
        help: "close Redis clients that are idle for longer; 0 is never [0]",
        set: None,
    },
    Key {
        name: "enable-debug-command",
        value: "yes|no",
        help: "allow DEBUG [no]",
        set: Some(|s, v| {
            s.enable_debug_command.store(yes_or_no(v)?, Ordering::Relaxed);
            Ok(())
        }),
    },
    Key {
        name: "io-threads",
        value: "N",
        help: "event loops [one a core]",
        set: Some(|s, v| {
            s.io_threads = number::<usize>(v)?.max(1);
            Ok(())
        }),
    },
    Key {
        name: "resp-placement",
        value: "address|connection",
        help: "which event loop serves a Redis client: one for all connections of an address, so that what it sends on one is executed before what it sends on another later, as Redis does it; or the emptiest [address]",
        set: Some(|s, v| {
            s.placement = match v {
                "address" => PlacementBy::Address,
                "connection" => PlacementBy::Connection,
                other => bail!("'{other}' is neither address nor connection"),
            };
            Ok(())
        }),
    },
    Key {
        name: "log-segment-bytes",
        value: "BYTES",
        help: "size of one file of the log [67108864]",
        set: Some(|s, v| {
            s.segment_bytes = number(v)?;
            if s.segment_bytes < 4096 {
                bail!("a segment has at least 4096 bytes")
            }
            Ok(())
        }),
    },
];

/// Redis' names for the same thing.
const ALIASES: &[(&str, &str)] = &[("dir", "data-dir"), ("port", "resp-port")];

/// A key's own name, however it is spelt.
fn known_as(name: &str) -> String {
    let name = name.replace('_', "-");
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| (*name).to_owned())
}

/// True when there is a flag of that name.
pub(crate) fn is_given(args: &[String], name: &str) -> bool {
    let flags = args.iter().filter_map(|arg| arg.strip_prefix("--"));
    flags.map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name)).any(|flag| known_as(flag) == name)
}

fn set(settings: &mut Settings, name: &str, value: &str, from: &str) -> Result<()> {
    let name = known_as(name);
    let name = name.as_str();
    match KEYS.iter().find(|key| key.name == name) {
        Some(Key { set: Some(set), .. }) => {
            set(settings, value).with_context(|| format!("{from}: {name}"))?;
        }
        _ if is_setting(name) => settings.more.push((name.to_owned(), value.to_owned())),
        _ => bail!("{from}: there is no key '{name}'; 'leveret serve --help' lists all"),
    }
    Ok(())
}

/// Settings from file, environment and flags.
pub(crate) fn read(args: &[String]) -> Result<Settings> {
    let mut flags: Vec<(String, Vec<String>)> = Vec::new();
    for arg in args {
        match (arg.strip_prefix("--"), flags.last_mut()) {
            (Some(name), _) => match name.split_once('=') {
                Some((name, value)) => flags.push((name.into(), vec![value.into()])),
                None => flags.push((name.into(), Vec::new())),
            },
            (None, Some((_, values))) => values.push(arg.clone()),
            (None, None) => bail!("'{arg}' is not a flag; flags begin with --"),
        }
    }
    let mut settings = Settings::new(PathBuf::from("data"));
    let file = match flags.iter().find(|(name, _)| name == "config").map(|(_, values)| values.as_slice()) {
        None => None,
        Some([path]) => Some(path.clone()),
        Some(_) => bail!("--config needs one file"),
    };
    if let Some(path) = file.or_else(|| std::env::var("LEVERET_CONFIG").ok()) {
        read_file(&mut settings, &path)?;
        settings.file = Some(SettingsFile { path: path.into(), change: change_file });
    }
    for (variable, value) in std::env::vars_os() {
        let Some(variable) = variable.to_str() else { continue };
        let name = variable.strip_prefix("LEVERET_").unwrap_or_default().replace('_', "-").to_lowercase();
        if is_setting(&name) || KEYS.iter().any(|key| key.name == name) {
            let value = value.to_str().with_context(|| format!("{variable} is not UTF-8"))?;
            set(&mut settings, &name, value, variable)?;
        }
    }
    for (name, values) in flags.iter().filter(|(name, _)| name != "config") {
        if values.is_empty() {
            bail!("--{name} needs a value");
        }
        set(&mut settings, name, &values.join(" "), "command line")?;
    }
    Ok(settings)
}

/// Gives keys other values and leaves everything else as it is; the new file takes the place of the old one in one step.
fn change_file(path: &Path, changes: &[Change]) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mut document: DocumentMut = std::fs::read_to_string(&path)?.parse().map_err(io::Error::other)?;
    for Change { name, old_name, value } in changes {
        let spellings = [Some(*name), *old_name].into_iter().flatten();
        let mut spellings = spellings.flat_map(|name| [name.to_owned(), name.replace('-', "_")]);
        let key = spellings.find(|key| document.contains_key(key)).unwrap_or_else(|| (*name).to_owned());
        let mut new = toml_edit::Value::from(value);
        if let Some(old) = document.get(&key).and_then(toml_edit::Item::as_value) {
            // A comment behind it stays.
            *new.decor_mut() = old.decor().clone();
        }
        document[&key] = toml_edit::Item::Value(new);
    }
    let mut new = path.clone().into_os_string();
    new.push(".new");
    let mut file = std::fs::File::create(&new)?;
    // It may hold a password.
    file.set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.write_all(document.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn read_file(settings: &mut Settings, path: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let table: toml::Table = text.parse().with_context(|| format!("{path} is not TOML"))?;
    for (name, value) in &table {
        let value = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => if *flag { "yes" } else { "no" }.into(),
            toml::Value::Array(items) => {
                let words: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
                words.with_context(|| format!("{path}: {name} is not a list of texts"))?.join(" ")
            }
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
                bail!("{path}: {name} is not a key with a plain value")
            }
        };
        set(settings, name, &value, path)?;
    }
    Ok(())
}
