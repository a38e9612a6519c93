//! What the server has seen of its commands: MONITOR, SLOWLOG, LATENCY.

use super::{Function, LOADING_STALE, commandlog, container, help, session};
use crate::observed::{Counters, Samples};
use crate::resp::session::Call;
use crate::resp::table::TABLE;
use crate::shared::now_ms;
use leveret_engine::keyspace::command::{Group, Row};
use leveret_engine::keyspace::{Error, flag};
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

const ADMIN: u32 = LOADING_STALE | flag::ADMIN;
const LATENCY: u32 = ADMIN | flag::NOSCRIPT;
const ALL_NODES: &str = "REQUEST_POLICY:ALL_NODES";
const SPECIAL: &[&str] = &["NONDETERMINISTIC_OUTPUT", ALL_NODES, "RESPONSE_POLICY:SPECIAL"];

pub(super) const ROWS: &[Row<Option<Function>>] = &[
    session("monitor", 1, Group::Server, LATENCY, monitor).says("Shows all commands that are executed."),
    container("slowlog", Group::Server, 0).since("2.2.12").cost("Depends on subcommand."),
    session("slowlog|get", -2, Group::Server, ADMIN, slowlog_get)
        .since("2.2.12")
        .cost("O(N) where N is the number of entries returned")
        .tips(&[ALL_NODES, "NONDETERMINISTIC_OUTPUT"])
        .says("Returns commands that took long."),
    session("slowlog|len", 2, Group::Server, ADMIN, slowlog_len)
        .since("2.2.12")
        .tips(&[ALL_NODES, "RESPONSE_POLICY:AGG_SUM", "NONDETERMINISTIC_OUTPUT"])
        .says("Returns how many commands are noted as slow."),
    session("slowlog|reset", 2, Group::Server, ADMIN, slowlog_reset)
        .since("2.2.12")
        .cost("O(N) where N is the number of entries in the slowlog")
        .tips(&[ALL_NODES, "RESPONSE_POLICY:ALL_SUCCEEDED"])
        .says("Forgets the slow commands."),
    session("slowlog|help", 2, Group::Server, LOADING_STALE, |call| help(call, "SLOWLOG"))
        .since("6.2.0")
        .says("Lists the subcommands."),
    container("latency", Group::Server, 0).since("2.8.13").cost("Depends on subcommand."),
    session("latency|latest", 2, Group::Server, LATENCY, latest)
        .since("2.8.13")
        .tips(SPECIAL)
        .says("Returns the latest latency of each kind."),
    session("latency|history", 3, Group::Server, LATENCY, history)
        .since("2.8.13")
        .tips(SPECIAL)
        .says("Returns the latencies of a kind."),
    session("latency|reset", -2, Group::Server, LATENCY, reset)
        .since("2.8.13")
        .tips(&[ALL_NODES, "RESPONSE_POLICY:AGG_SUM"])
        .says("Forgets latencies."),
    session("latency|graph", 3, Group::Server, LATENCY, graph)
        .since("2.8.13")
        .tips(SPECIAL)
        .says("Draws the latencies of a kind."),
    session("latency|doctor", 2, Group::Server, LATENCY, doctor)
        .since("2.8.13")
        .tips(SPECIAL)
        .says("Tells in words what latencies were met."),
    session("latency|histogram", -2, Group::Server, LATENCY, histogram)
        .since("7.0.0")
        .cost("O(N) where N is the number of commands with latency information being retrieved.")
        .tips(SPECIAL)
        .says("Returns how long commands took, by powers of two."),
    session("latency|help", 2, Group::Server, LOADING_STALE, |call| help(call, "LATENCY"))
        .since("2.8.13")
        .says("Lists the subcommands."),
];

fn monitor(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.engine.monitor(call.session.id);
    call.reply.ok();
    Ok(())
}

fn slowlog_get(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let count = match call.args.get(2) {
        None => 10,
        Some(_) if call.args.len() > 3 => {
            let sub = String::from_utf8_lossy(&call.args[1]).into_owned();
            let text =
                format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try SLOWLOG HELP.");
            return Err(Error::Other(text.into()));
        }
        Some(text) => commandlog::count(text)?,
    };
    commandlog::reply_entries(&call.shared.observed.slow, count, call.reply);
    Ok(())
}

fn slowlog_len(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.reply.integer(call.shared.observed.slow.len() as i64);
    Ok(())
}

fn slowlog_reset(call: &mut Call<'_, '_>) -> Result<(), Error> {
    call.shared.observed.slow.forget();
    call.reply.ok();
    Ok(())
}

fn latest(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let latencies = call.shared.observed.latencies();
    call.reply.array(latencies.len());
    for (kind, samples) in &latencies {
        let (second, ms) = samples.recent.back().copied().unwrap_or_default();
        call.reply.array(4);
        call.reply.bulk(kind.as_bytes());
        call.reply.integer(second as i64);
        call.reply.integer(ms as i64);
        call.reply.integer(samples.max_ms as i64);
    }
    Ok(())
}

fn of_kind(call: &Call<'_, '_>) -> Option<Samples> {
    let kind = String::from_utf8_lossy(&call.args[2]).into_owned();
    call.shared.observed.latencies().remove(&*kind)
}

fn history(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let samples = of_kind(call).unwrap_or_default();
    call.reply.array(samples.recent.len());
    for (second, ms) in samples.recent {
        call.reply.array(2);
        call.reply.integer(second as i64);
        call.reply.integer(ms as i64);
    }
    Ok(())
}

fn reset(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let wanted: Vec<&[u8]> = call.args.iter().skip(2).collect();
    let count =
        call.shared.observed.forget_latencies(|kind| wanted.is_empty() || wanted.contains(&kind.as_bytes()));
    call.reply.integer(count as i64);
    Ok(())
}

/// A column for each latency, from the oldest to the newest, with its age below.
fn graph(call: &mut Call<'_, '_>) -> Result<(), Error> {
    /// Rows, and as many columns as fit into a terminal.
    const HEIGHT: u64 = 4;
    const WIDTH: usize = 80;
    let kind = String::from_utf8_lossy(&call.args[2]).into_owned();
    let Some(samples) = of_kind(call) else {
        return Err(Error::Other(format!("ERR No samples available for event '{kind}'").into()));
    };
    let skipped = samples.recent.len().saturating_sub(WIDTH);
    let shown: Vec<(u64, u64)> = samples.recent.into_iter().skip(skipped).collect();
    let (low, high) = shown.iter().fold((u64::MAX, 0), |(low, high), (_, ms)| (low.min(*ms), high.max(*ms)));
    let mut text = format!("{kind} - high {high} ms, low {low} ms (all time high {} ms)\n", samples.max_ms);
    text += &"-".repeat(WIDTH);
    text.push('\n');
    for row in (0..HEIGHT).rev() {
        let line: String = shown
            .iter()
            .map(|(_, ms)| {
                let height = if high == low { HEIGHT } else { (ms - low) * HEIGHT / (high - low) };
                match height {
                    _ if height > row => '#',
                    _ if row == 0 => '_',
                    _ => ' ',
                }
            })
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let now = now_ms() / 1000;
    let ages: Vec<Vec<char>> =
        shown.iter().map(|(second, _)| age(now.saturating_sub(*second)).chars().collect()).collect();
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        let line: String = ages.iter().map(|age| age.get(row).copied().unwrap_or(' ')).collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn doctor(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let observed = &call.shared.observed;
    let mut text = String::new();
    let after = observed.latency_after.load(Relaxed);
    let latencies = observed.latencies();
    if after == 0 {
        text += "Latencies are not watched. \"CONFIG SET latency-monitor-threshold <milliseconds>\" has those noted that take longer.\n";
    } else if latencies.is_empty() {
        let _ = writeln!(text, "Nothing has taken {after} ms or longer.");
    }
    for (i, (kind, samples)) in latencies.iter().enumerate() {
        let count = samples.recent.len().max(1) as u64;
        let mean = samples.recent.iter().map(|(_, ms)| ms).sum::<u64>() / count;
        let _ = writeln!(
            text,
            "{}. {kind}: {} latency spikes (average {mean}ms, worst all time {}ms).",
            i + 1,
            samples.recent.len(),
            samples.max_ms
        );
    }
    if latencies.keys().any(|kind| kind.ends_with("command")) {
        text += "Which commands were slow is in SLOWLOG GET.\n";
    }
    call.reply.verbatim("txt", &text);
    Ok(())
}

/// Calls of a command by the next power of two of microseconds, each with all that were faster.
fn by_micros(call: &Call<'_, '_>, counters: &Counters) -> Vec<(u64, u64)> {
    let (mut sum, mut buckets) = (0, Vec::<(u64, u64)>::new());
    for (power, bucket) in counters.by_ticks.iter().enumerate() {
        let count = u64::from(bucket.load(Relaxed));
        if count == 0 {
            continue;
        }
        sum += count;
        let micros = call.shared.observed.micros(2u64.saturating_pow(power as u32 + 1)).max(1.0) as u64;
        let micros = micros.next_power_of_two();
        match buckets.last_mut() {
            Some((last, total)) if *last == micros => *total = sum,
            Some(_) | None => buckets.push((micros, sum)),
        }
    }
    buckets
}

fn histogram(call: &mut Call<'_, '_>) -> Result<(), Error> {
    let names: Vec<&[u8]> = call.args.iter().skip(2).collect();
    let mut commands = Vec::new();
    for name in &names {
        if let Some(command) = TABLE.get(name) {
            commands.push(command);
            commands.extend(TABLE.subs(command.spec.name));
        }
    }
    if names.is_empty() {
        commands = TABLE.by_name();
    }
    let counters = |index: usize| &call.shared.observed.commands[index];
    commands.retain(|command| counters(command.index).calls.load(Relaxed) > 0);
    call.reply.map(commands.len());
    for command in commands {
        let counters = counters(command.index);
        let buckets = by_micros(call, counters);
        call.reply.bulk(command.spec.name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.integer(counters.calls.load(Relaxed) as i64);
        call.reply.bulk(b"histogram_usec");
        call.reply.map(buckets.len());
        for (micros, count) in buckets {
            call.reply.integer(micros as i64);
            call.reply.integer(count as i64);
        }
    }
    Ok(())
}
