//! What a server is told before it starts and, where Redis allows it, while it runs.

use crate::alarms::{machine_bytes, part_of};
use crate::output_limits::bytes;
use crate::{Alarms, Allocator, OutputLimits, PlacementBy, Policy};
use leveret_engine::Engine;
use leveret_engine::accounts::{DEFAULT_USER, Password};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};

/// When answers of the RESP side leave. (Redis: `appendfsync`)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// After the sync of what they saw.
    Always,
    /// When the kernel has it; synced every second.
    Everysec,
    /// When the kernel has it; synced when the kernel likes.
    No,
}

impl Fsync {
    /// From Redis' name.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "always" => Some(Fsync::Always),
            "everysec" => Some(Fsync::Everysec),
            "no" => Some(Fsync::No),
            _ => None,
        }
    }

    /// Redis' name.
    pub fn name(self) -> &'static str {
        match self {
            Fsync::Always => "always",
            Fsync::Everysec => "everysec",
            Fsync::No => "no",
        }
    }
}

/// A setting with another value than in the file.
#[derive(Debug)]
pub struct Change {
    /// Its name.
    pub name: &'static str,
    /// A name that the file may still use.
    pub old_name: Option<&'static str>,
    /// What it is now.
    pub value: String,
}

/// The file that the settings came from, and what writes changed ones into it. (Redis: CONFIG REWRITE)
#[derive(Debug, Clone)]
pub struct SettingsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Gives settings of the file other values.
    pub change: fn(&Path, &[Change]) -> std::io::Result<()>,
}

/// All settings of one server.
#[derive(Debug)]
pub struct Settings {
    /// Where the log lies.
    pub data_dir: PathBuf,
    /// Addresses to listen on, names or numbers.
    pub bind: Vec<String>,
    /// 0 turns a listener off. CONFIG SET may have changed it since; `Shared::ports` knows.
    pub resp_port: u16,
    /// See `resp_port`.
    pub amqp_port: u16,
    /// See `resp_port`.
    pub http_port: u16,
    /// Listen for RESP here as well.
    pub unix_socket: Option<PathBuf>,
    /// I/O threads.
    pub io_threads: usize,
    /// What decides which I/O thread serves a RESP connection.
    pub placement: PlacementBy,
    /// Bytes of one log segment.
    pub segment_bytes: u64,
    /// The password of RESP's default user; empty needs none. (Redis: `requirepass`)
    pub requirepass: parking_lot::RwLock<String>,
    /// When AMQP publishers are blocked. (RabbitMQ: vm_memory_high_watermark, disk_free_limit)
    pub alarms: Alarms,
    /// New users may use all channels. (Redis: acl-pubsub-default)
    pub acl_all_channels: AtomicBool,
    /// Refusals that are kept. (Redis: acllog-max-len)
    pub acl_log_max: AtomicUsize,
    /// Users that may come from this machine only. (RabbitMQ: loopback_users)
    pub loopback_users: Vec<String>,
    /// `DEBUG` is allowed. (Redis: `enable-debug-command`)
    pub enable_debug_command: AtomicBool,
    /// Redis: `proto-max-bulk-len`.
    pub bulk_bytes_max: AtomicUsize,
    /// Redis: `maxclients`.
    pub clients_max: AtomicUsize,
    /// Redis clients hear that the server is busy when the engine cannot be entered for so long.
    /// (Redis: `busy-reply-threshold`)
    pub busy_after_ms: AtomicUsize,
    /// Redis: `client-output-buffer-limit`.
    pub output_limits: parking_lot::RwLock<OutputLimits>,
    /// Above this keys go, or commands that need memory are refused; 0 is no limit. (Redis: `maxmemory`)
    pub memory_max: AtomicUsize,
    /// What messages in queues may have of it, as it is set: a part of `memory_max`, or without that of the machine's memory, or
    /// bytes. What is more, is only on disk; 0 is no limit.
    pub message_memory: parking_lot::RwLock<String>,
    /// How long one command or turn goes on with it, from 0 to 100. (Redis: `maxmemory-eviction-tenacity`)
    pub eviction_tenacity: AtomicUsize,
    /// Which keys go then, at the start; the keyspace knows from then on. (Redis: `maxmemory-policy`)
    pub policy: Policy,
    /// What can be asked about memory.
    pub allocator: Allocator,
    /// Redis clients that are idle for longer are closed; 0 is never. (Redis: `timeout`)
    pub idle_seconds_max: AtomicUsize,
    /// What all Redis clients may hold together: bytes, or a negative percentage of `memory_max`; 0 is no limit.
    /// (Redis: `maxmemory-clients`)
    pub clients_limit: AtomicI64,
    /// What one Redis client may send before it is executed. (Redis: `client-query-buffer-limit`)
    pub input_bytes_max: AtomicUsize,
    /// Writes are refused without so many replicas, and there are none yet. (Redis: `min-replicas-to-write`)
    pub replicas_to_write: AtomicUsize,
    /// Redis: `tracking-table-max-keys`.
    pub tracked_keys_max: AtomicUsize,
    /// Largest AMQP message body. (RabbitMQ: `max_message_size`)
    pub message_bytes_max: u64,
    /// What one AMQP connection may publish for good before the disk has it; then it waits for the disk.
    pub publisher_bytes_max: usize,
    /// Settings without a field here, by the names that CONFIG SET takes; taken when the server starts.
    pub more: Vec<(String, String)>,
    /// None when there is no file.
    pub file: Option<SettingsFile>,
    /// Names of the settings that CONFIG SET has changed since.
    pub(crate) changed: parking_lot::Mutex<BTreeSet<&'static str>>,
    /// Asks the process to stop, as a signal does. (Redis: SHUTDOWN)
    pub stop: fn(),
    fsync: AtomicU8,
}

impl Settings {
    /// The defaults for a data directory.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            bind: vec!["127.0.0.1".into(), "::1".into()],
            resp_port: 6379,
            amqp_port: 5672,
            http_port: 15672,
            unix_socket: None,
            io_threads: std::thread::available_parallelism().map_or(1, usize::from),
            placement: PlacementBy::Address,
            segment_bytes: 64 * 1024 * 1024,
            requirepass: parking_lot::RwLock::default(),
            alarms: Alarms::default(),
            acl_all_channels: AtomicBool::new(false),
            acl_log_max: AtomicUsize::new(128),
            loopback_users: vec!["guest".into()],
            enable_debug_command: AtomicBool::new(false),
            bulk_bytes_max: AtomicUsize::new(512 * 1024 * 1024),
            clients_max: AtomicUsize::new(10_000),
            busy_after_ms: AtomicUsize::new(5000),
            output_limits: parking_lot::RwLock::default(),
            memory_max: AtomicUsize::new(0),
            message_memory: parking_lot::RwLock::new("0.4".into()),
            eviction_tenacity: AtomicUsize::new(crate::memory::TENACITY),
            policy: Policy::NO_EVICTION,
            allocator: Allocator::default(),
            idle_seconds_max: AtomicUsize::new(0),
            clients_limit: AtomicI64::new(0),
            input_bytes_max: AtomicUsize::new(1024 * 1024 * 1024),
            replicas_to_write: AtomicUsize::new(0),
            tracked_keys_max: AtomicUsize::new(1_000_000),
            message_bytes_max: 128 * 1024 * 1024,
            publisher_bytes_max: 16 * 1024 * 1024,
            more: Vec::new(),
            file: None,
            changed: parking_lot::Mutex::default(),
            stop: || {},
            fsync: AtomicU8::new(1),
        }
    }

    /// Bytes that all Redis clients may hold together; 0 is no limit.
    #[inline]
    pub(crate) fn client_bytes_max(&self) -> usize {
        match self.clients_limit.load(Ordering::Relaxed) {
            bytes if bytes >= 0 => bytes as usize,
            percent => self.memory_max.load(Ordering::Relaxed) / 100 * percent.unsigned_abs() as usize,
        }
    }

    /// Bytes of messages in queues that may be in memory; `None` is no limit.
    pub(crate) fn message_bytes_in_memory(&self) -> Option<u64> {
        let whole = match self.memory_max.load(Ordering::Relaxed) {
            0 => machine_bytes(),
            max => max as u64,
        };
        part_of(whole, &self.message_memory.read()).ok().filter(|bytes| *bytes > 0)
    }

    /// Changes how many those are.
    pub fn set_message_memory(&self, text: &str) -> Result<(), &'static str> {
        part_of(0, text)?;
        *self.message_memory.write() = text.into();
        Ok(())
    }

    /// Changes what all Redis clients may hold together: bytes, or a percentage of `maxmemory` as in `5%`.
    pub(crate) fn set_clients_limit(&self, text: &str) -> Result<(), &'static str> {
        let limit = match text.strip_suffix('%').map(str::parse::<i64>) {
            Some(Ok(percent)) if percent > 100 => {
                return Err("percentage argument must be less or equal to 100");
            }
            Some(percent) => percent.ok().filter(|percent| *percent >= 0).map(|percent| -percent),
            None => bytes(text).and_then(|bytes| i64::try_from(bytes).ok()),
        };
        let limit = limit.ok_or("argument must be a memory or percent value")?;
        self.clients_limit.store(limit, Ordering::Relaxed);
        Ok(())
    }

    /// The password of Redis clients that name no user. Data says nothing of it. An empty one is no password when `always`.
    pub(crate) fn apply_requirepass(&self, engine: &mut Engine, always: bool) {
        let password = self.requirepass.read();
        if password.is_empty() && !always {
            return;
        }
        engine.accounts.overlay(DEFAULT_USER, |user| {
            let passwords = (!password.is_empty()).then(|| Password::sha256(password.as_bytes()));
            user.passwords = passwords.into_iter().collect();
            if let Some(acl) = &mut user.acl {
                acl.nopass = password.is_empty();
            }
        });
    }

    /// When RESP answers leave.
    #[inline]
    pub fn fsync(&self) -> Fsync {
        match self.fsync.load(Ordering::Relaxed) {
            0 => Fsync::Always,
            1 => Fsync::Everysec,
            _ => Fsync::No,
        }
    }

    /// Changes when RESP answers leave, from the next turn on.
    pub fn set_fsync(&self, fsync: Fsync) {
        self.fsync.store(fsync as u8, Ordering::Relaxed);
    }
}
