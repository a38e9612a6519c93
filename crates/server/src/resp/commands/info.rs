//! INFO: facts and figures about the server, in Redis' sections and under its names.

use super::server::REDIS_VERSION;
use super::{Function, LOADING_STALE, session};
use crate::alarms::machine_bytes;
use crate::checkpointer::Why;
use crate::resp::session::Call;
use crate::resp::table::TABLE;
use crate::shared::{now_ms, resident_bytes};
use leveret_cluster::{Level, Levels};
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{DATABASES, Error, category, flag};
use leveret_engine::{EXPIRY_HZ, SubscriptionKind as Kind};
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

pub(super) const ROWS: &[Row<Option<Function>>] =
    &[session("info", -1, Group::Server, LOADING_STALE | flag::SENTINEL, info)
        .also(category::DANGEROUS)
        .tips(&["NONDETERMINISTIC_OUTPUT", "REQUEST_POLICY:ALL_SHARDS", "RESPONSE_POLICY:SPECIAL"])
        .says("Returns facts and figures about the server.")];

/// A section; those that are long come only when they are named.
struct Section {
    name: &'static str,
    by_default: bool,
    write: fn(&mut Call<'_, '_>, &mut Lines),
}

const SECTIONS: &[Section] = &[
    Section { name: "Server", by_default: true, write: server },
    Section { name: "Clients", by_default: true, write: clients },
    Section { name: "Memory", by_default: true, write: memory },
    Section { name: "Persistence", by_default: true, write: persistence },
    Section { name: "Stats", by_default: true, write: stats },
    Section { name: "Replication", by_default: true, write: replication },
    Section { name: "CPU", by_default: true, write: cpu },
    Section { name: "Modules", by_default: true, write: |_, _| {} },
    Section { name: "Commandstats", by_default: false, write: commandstats },
    Section { name: "Errorstats", by_default: true, write: errorstats },
    Section { name: "Latencystats", by_default: false, write: latencystats },
    Section { name: "Cluster", by_default: true, write: |_, lines| lines.add("cluster_enabled", 0) },
    Section { name: "Keyspace", by_default: true, write: keyspace },
];

/// `name:value`, a line each.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

fn info(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let wanted: Vec<String> =
        call.args.iter().skip(1).map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
    let is_said = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let all = is_said("all") || is_said("everything");
    let default = wanted.is_empty() || is_said("default");
    let mut text = String::new();
    for Section { name, by_default, write } in SECTIONS {
        if all || (default && *by_default) || is_said(&name.to_lowercase()) {
            let mut lines = Lines::default();
            write(call, &mut lines);
            if !text.is_empty() {
                text += "\r\n";
            }
            text += &format!("# {name}\r\n{}", lines.0);
        }
    }
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn server(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let shared = call.shared;
    let uptime = shared.started.elapsed().as_secs();
    lines.add("redis_version", REDIS_VERSION);
    lines.add("server_name", "leveret");
    lines.add("leveret_version", env!("CARGO_PKG_VERSION"));
    lines.add("redis_mode", "standalone");
    lines.add("os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    lines.add("arch_bits", usize::BITS);
    lines.add("multiplexing_api", if cfg!(target_os = "linux") { "epoll" } else { "kqueue" });
    lines.add("process_id", std::process::id());
    lines.add("run_id", &shared.run_id);
    lines.add("tcp_port", shared.ports().resp);
    lines.add("server_time_usec", now_ms() * 1000);
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / 86_400);
    lines.add("hz", EXPIRY_HZ);
    lines.add("configured_hz", EXPIRY_HZ);
    lines.add("executable", std::env::current_exe().unwrap_or_default().display());
    lines.add("config_file", "");
    lines.add("io_threads_active", u8::from(shared.settings.io_threads > 1));
}

fn clients(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let engine = &*call.engine;
    let cards = || engine.sessions().filter(|(_, session)| session.card.is_some());
    let count = |wanted: fn(&leveret_engine::Session) -> bool| cards().filter(|(_, s)| wanted(s)).count();
    lines.add("connected_clients", call.shared.stats.resp_connections.load(Relaxed));
    lines.add("cluster_connections", 0);
    lines.add("maxclients", call.shared.settings.clients_max.load(Relaxed));
    lines.add("blocked_clients", count(|session| session.is_blocked()));
    lines.add("tracking_clients", engine.tracking_counts()[0]);
    lines.add("pubsub_clients", count(|session| session.is_subscribed()));
    lines.add("watching_clients", count(|session| session.watched_count() > 0));
    let watched: usize = cards().map(|(_, session)| session.watched_count()).sum();
    lines.add("total_watched_keys", watched);
    lines.add("total_blocking_keys", engine.awaited_keys_count());
    lines.add("total_blocking_keys_on_nokey", engine.loss_awaited_keys_count());
}

fn memory(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let (shared, engine) = (call.shared, &*call.engine);
    let (used, resident) = (shared.used_bytes(engine.now_ms()), resident_bytes());
    let (peak, at_start) = (shared.memory.peak(), shared.memory.at_start);
    let max = shared.settings.memory_max.load(Relaxed) as u64;
    lines.add("used_memory", used);
    lines.add("used_memory_human", human(used));
    lines.add("used_memory_rss", resident);
    lines.add("used_memory_rss_human", human(resident));
    lines.add("used_memory_peak", peak);
    lines.add("used_memory_peak_human", human(peak));
    lines.add("used_memory_peak_perc", format_args!("{:.2}%", 100.0 * used as f64 / peak.max(1) as f64));
    lines.add("used_memory_startup", at_start);
    lines.add("used_memory_dataset", used.saturating_sub(at_start));
    let machine = machine_bytes();
    lines.add("allocator_allocated", (shared.settings.allocator.in_use)());
    lines.add("total_system_memory", machine);
    lines.add("total_system_memory_human", human(machine));
    let scripts = &shared.scripts;
    let (libraries, functions) = scripts.running.counts();
    lines.add("used_memory_vm_total", scripts.lua_bytes.load(Relaxed));
    lines.add("number_of_cached_scripts", scripts.scripts_count.load(Relaxed));
    lines.add("number_of_functions", functions);
    lines.add("number_of_libraries", libraries);
    lines.add("maxmemory", max);
    lines.add("maxmemory_human", human(max));
    lines.add("maxmemory_policy", engine.keyspace.eviction.policy.name());
    lines.add("mem_fragmentation_ratio", format_args!("{:.2}", resident as f64 / used.max(1) as f64));
    lines.add("mem_fragmentation_bytes", resident as i64 - used as i64);
    // All of it counts.
    lines.add("mem_not_counted_for_evict", 0);
    lines.add("lazyfree_pending_objects", shared.reaper.pending());
    lines.add("mem_allocator", shared.settings.allocator.name);
}

/// As Redis prints sizes for people.
fn human(bytes: u64) -> String {
    let units = ["B", "K", "M", "G", "T"];
    let power = (bytes.max(1).ilog2() / 10).min(4);
    match power {
        0 => format!("{bytes}B"),
        _ => format!("{:.2}{}", bytes as f64 / 1024f64.powi(power as i32), units[power as usize]),
    }
}

fn persistence(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let (levels, checkpointer) = (&call.shared.levels, &call.shared.checkpointer);
    let (report, doing, asked) = (checkpointer.report(), checkpointer.doing(), checkpointer.asked());
    let [logged, base] = checkpointer.sizes();
    let status = if report.has_failed { "err" } else { "ok" };
    let running = checkpointer.began_ms().map(|began_ms| now_ms().saturating_sub(began_ms) / 1000);
    // Redis prints -1 for what there is none of.
    let seconds = |is_there: bool, seconds: u64| if is_there { seconds as i64 } else { -1 };
    let is_full = call.shared.settings.alarms.is_full();
    lines.add("loading", 0);
    lines.add("async_loading", 0);
    lines.add("rdb_changes_since_last_save", call.engine.position().saturating_sub(report.position));
    lines.add("rdb_bgsave_in_progress", u8::from(doing == Some(Why::Save)));
    lines.add("rdb_last_save_time", report.at_ms / 1000);
    lines.add("rdb_last_bgsave_status", status);
    lines.add("rdb_last_bgsave_time_sec", seconds(report.count > 0 || report.has_failed, report.seconds));
    lines.add("rdb_current_bgsave_time_sec", seconds(doing == Some(Why::Save), running.unwrap_or(0)));
    lines.add("rdb_saves", report.count);
    lines.add("aof_enabled", 1);
    lines.add("aof_rewrite_in_progress", u8::from(doing == Some(Why::Rewrite)));
    lines.add("aof_rewrite_scheduled", u8::from(asked == Some(Why::Rewrite)));
    lines.add("aof_last_rewrite_time_sec", seconds(report.count > 0 || report.has_failed, report.seconds));
    lines.add("aof_current_rewrite_time_sec", seconds(doing == Some(Why::Rewrite), running.unwrap_or(0)));
    lines.add("aof_last_bgrewrite_status", status);
    lines.add("aof_last_write_status", if is_full { "err" } else { "ok" });
    lines.add("aof_current_size", logged + base);
    lines.add("aof_base_size", base);
    lines.add("log_position", call.engine.position());
    lines.add("log_written_position", levels.level(Level::Written));
    lines.add("log_synced_position", levels.level(Level::Synced));
}

fn stats(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let (stats, engine) = (&call.shared.stats, &*call.engine);
    let (hits, misses) = engine.keyspace.hits_and_misses();
    let [_, keys, items, prefixes] = engine.tracking_counts();
    let errors: u64 = call.shared.observed.errors.lock().values().sum();
    lines.add("total_connections_received", stats.connections_accepted.load(Relaxed));
    lines.add("total_commands_processed", engine.commands_count);
    let rates = call.shared.rates.per_second();
    lines.add("instantaneous_ops_per_sec", rates.commands.round());
    lines.add("total_net_input_bytes", stats.bytes_read.load(Relaxed));
    lines.add("total_net_output_bytes", stats.bytes_written.load(Relaxed));
    lines.add("instantaneous_input_kbps", format_args!("{:.2}", rates.read / 1024.0));
    lines.add("instantaneous_output_kbps", format_args!("{:.2}", rates.written / 1024.0));
    lines.add("rejected_connections", stats.connections_rejected.load(Relaxed));
    lines.add("expired_keys", engine.keyspace.expired_count);
    lines.add("expired_subkeys", engine.keyspace.expired_fields_count);
    lines.add("evicted_keys", engine.keyspace.eviction.evicted_count);
    lines.add("evicted_scripts", call.shared.scripts.evicted_count.load(Relaxed));
    lines.add("evicted_clients", stats.clients_evicted.load(Relaxed));
    lines.add("migrate_cached_sockets", 0);
    lines.add("keyspace_hits", hits);
    lines.add("keyspace_misses", misses);
    lines.add("pubsub_channels", engine.names_count(Kind::Topic));
    lines.add("pubsub_patterns", engine.names_count(Kind::Pattern));
    lines.add("pubsubshard_channels", engine.names_count(Kind::Shard));
    lines.add("total_forks", 0);
    lines.add("tracking_total_keys", keys);
    lines.add("tracking_total_items", items);
    lines.add("tracking_total_prefixes", prefixes);
    lines.add("lazyfreed_objects", call.shared.reaper.freed());
    lines.add("total_error_replies", errors);
}

fn replication(call: &mut Call<'_, '_>, lines: &mut Lines) {
    lines.add("role", "master");
    lines.add("connected_slaves", 0);
    lines.add("master_failover_state", "no-failover");
    lines.add("master_replid", &call.shared.run_id);
    lines.add("master_repl_offset", call.engine.position());
    lines.add("second_repl_offset", -1);
    lines.add("repl_backlog_active", 0);
}

fn cpu(_: &mut Call<'_, '_>, lines: &mut Lines) {
    // User and system time, in ticks of a hundredth of a second, behind the name in parentheses.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let seconds = |i: usize| fields.get(i).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    lines.add("used_cpu_sys", format_args!("{:.6}", seconds(12)));
    lines.add("used_cpu_user", format_args!("{:.6}", seconds(11)));
    lines.add("used_cpu_sys_children", format_args!("{:.6}", seconds(14)));
    lines.add("used_cpu_user_children", format_args!("{:.6}", seconds(13)));
}

fn commandstats(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let observed = &call.shared.observed;
    for command in TABLE.by_name() {
        let counters = &observed.commands[command.index];
        let (calls, rejected) = (counters.calls.load(Relaxed), counters.rejected.load(Relaxed));
        if calls == 0 && rejected == 0 {
            continue;
        }
        let micros = observed.micros(counters.ticks.load(Relaxed));
        lines.add(
            &format!("cmdstat_{}", command.spec.name),
            format_args!(
                "calls={calls},usec={},usec_per_call={:.2},rejected_calls={rejected},failed_calls={}",
                micros as u64,
                micros / calls.max(1) as f64,
                counters.failed.load(Relaxed)
            ),
        );
    }
}

fn errorstats(call: &mut Call<'_, '_>, lines: &mut Lines) {
    for (word, count) in &*call.shared.observed.errors.lock() {
        lines.add(&format!("errorstat_{word}"), format_args!("count={count}"));
    }
}

fn latencystats(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let observed = &call.shared.observed;
    for command in TABLE.by_name() {
        let counters = &observed.commands[command.index];
        let counts: Vec<u64> = counters.by_ticks.iter().map(|count| u64::from(count.load(Relaxed))).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            continue;
        }
        // The upper end of the power of two in which the call lies that so many were not slower than.
        let percentile = |share: f64| {
            let wanted = (total as f64 * share).ceil() as u64;
            let mut sum = 0;
            let power = counts.iter().position(|count| {
                sum += count;
                sum >= wanted
            });
            observed.micros(2u64.saturating_pow(power.unwrap_or(0) as u32 + 1))
        };
        lines.add(
            &format!("latency_percentiles_usec_{}", command.spec.name),
            format_args!(
                "p50={:.3},p99={:.3},p99.9={:.3}",
                percentile(0.5),
                percentile(0.99),
                percentile(0.999)
            ),
        );
    }
}

fn keyspace(call: &mut Call<'_, '_>, lines: &mut Lines) {
    let (keyspace, now_ms) = (&call.engine.keyspace, call.engine.now_ms());
    for db in (0..DATABASES).filter(|&db| keyspace.len(db) > 0) {
        lines.add(
            &format!("db{db}"),
            format_args!(
                "keys={},expires={},avg_ttl={}",
                keyspace.len(db),
                keyspace.with_deadline(db),
                keyspace.mean_ttl(db, now_ms)
            ),
        );
    }
}
