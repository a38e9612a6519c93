//! Side by side with Redis, Valkey and RabbitMQ: the same load, in turns, on the same core.
//! The trap: a peer that idles must not be measured by what the other one leaves behind, so CPU is each server's own.

mod disk;
mod held;
mod pause;
mod peer;
mod process;
mod rows;
mod slow_disk;
mod table;

use crate::build_release;
use crate::conformance::server::binary;
use crate::step::{output, root};
use anyhow::{Context, Result, bail};
use peer::{Kind, Peer};
use rows::{Load, ROWS, Row};
use std::process::Command;
use std::time::Duration;
use table::{Results, Sample};

const ROUNDS: usize = 3;
/// The server has one core and the load another.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
/// Where it is the disk that is measured.
const ALL_CORES: &str = "0,1";
const DOCUMENT: &str = "docs/benchmarks.md";

/// Measures the rows named, or all of them and then renews the document.
#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let (rounds, names) = match arguments {
        [flag, rounds, names @ ..] if flag == "--rounds" => (rounds.parse().context("--rounds")?, names),
        names => (ROUNDS, names),
    };
    let rows = chosen(names)?;
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("server and load need a core each");
    }
    build_release()?;
    let mut results = Results::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        measure(&rows, &mut results)?;
    }
    let table = table::render(&rows, &results);
    println!("{table}");
    if names.is_empty() {
        let path = root().join(DOCUMENT);
        let document = std::fs::read_to_string(&path)?;
        std::fs::write(path, table::replace(&document, &format!("{}\n{table}", heading(rounds)?))?)?;
        eprintln!("{DOCUMENT} is renewed");
    }
    match results.failures.len() {
        0 => Ok(()),
        failed => bail!("{failed} measurements failed:\n{}", results.failures.join("\n")),
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let find = |name: &String| {
        let row = ROWS.iter().find(|row| row.name == *name);
        row.with_context(|| {
            let all = ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
            format!("there is no row '{name}'; there are {all}")
        })
    };
    names.iter().map(find).collect()
}

/// One round: every row, the server and its peer in turns.
fn measure(rows: &[&'static Row], results: &mut Results) -> Result<()> {
    for group in [
        &[Kind::Leveret, Kind::Redis, Kind::Valkey, Kind::RabbitMq][..],
        &[Kind::LeveretAlways, Kind::RedisAlways],
    ] {
        let rows: Vec<&Row> = rows.iter().copied().filter(|row| group.contains(&row.ours)).collect();
        if rows.is_empty() {
            continue;
        }
        let mut peers = Vec::new();
        let is_needed =
            |kind: &&Kind| rows.iter().any(|row| row.sides().any(|side| side.parts().contains(*kind)));
        for kind in group.iter().filter(is_needed) {
            if kind.is_installed() {
                peers.push(Peer::start(*kind).with_context(|| format!("{kind:?}"))?);
            } else {
                results.missing(*kind);
            }
        }
        // What a server does right after its start is not its idling.
        std::thread::sleep(Duration::from_secs(1));
        for row in rows {
            for side in row.sides() {
                let find = |part: &Kind| peers.iter().find(|peer| peer.kind == *part);
                let parts: Option<Vec<&Peer>> = side.parts().iter().map(find).collect();
                let sampled = match parts.as_deref() {
                    None | Some([]) => continue,
                    Some([peer]) => sample(row, peer),
                    Some([redis, rabbitmq, ..]) => both("two", row, side, [redis, rabbitmq]),
                };
                match sampled {
                    Ok(sample) => {
                        eprintln!("  {}, {side:?}: {sample}", row.name);
                        results.add(row, side, sample);
                    }
                    Err(error) => results.failures.push(format!("{}, {side:?}: {error:#}", row.name)),
                }
            }
        }
    }
    Ok(())
}

fn sample(row: &Row, peer: &Peer) -> Result<Sample> {
    match row.load {
        Load::StartResp => peer.resp_after.map(Sample::of_ms).context("it does not speak RESP"),
        Load::StartAmqp => peer.amqp_after.map(Sample::of_ms).context("it does not speak AMQP"),
        Load::Idle => Ok(Sample::Scalar(peer.resident_bytes()? as f64 / 1e6)),
        Load::Memory { count, bytes, flags } => {
            let before = peer.resident_bytes()?;
            let (count_text, port) = (count.to_string(), peer.resp_port.to_string());
            let mut all = vec!["--sequential", "--pipeline", "64", "--requests", &count_text];
            all.extend(["--keyspace", &count_text]);
            all.extend(flags.split_whitespace());
            generator("resp", &port, &all)?;
            // The last of the log may still be on its way.
            std::thread::sleep(Duration::from_secs(1));
            let grown = peer.resident_bytes()?.saturating_sub(before);
            Ok(Sample::Scalar(grown as f64 / count as f64 - bytes as f64))
        }
        Load::StartAgain(left) => disk::start_again(peer.kind, left).map(Sample::Scalar),
        Load::GroupCommits { messages, flags, writes } => {
            disk::group_commits(peer.kind, messages, flags, writes).map(Sample::Scalar)
        }
        Load::Drain { count, size } => disk::drain(peer.kind, count, size).map(Sample::Scalar),
        Load::Pause(event) => pause::worst(peer, event).map(Sample::Scalar),
        Load::Resp { flags } => load(row, peer, "resp", peer.resp_port, "--requests", flags),
        Load::AmqpHeld { count, unit, flags } => {
            held::bytes_each(peer.kind, count, flags).map(|bytes| Sample::Scalar(bytes / unit))
        }
        Load::AmqpLatency { figure, flags } => {
            let all: Vec<&str> = flags.split_whitespace().collect();
            let report = generator("amqp", &peer.amqp_port.to_string(), &all)?;
            let us = report[figure].as_f64().with_context(|| format!("there is no {figure}"))?;
            Ok(Sample::Scalar(us / 1000.0))
        }
        Load::Amqp { flags } => load(row, peer, "amqp", peer.amqp_port, "--messages", flags),
        Load::Both { way, .. } => both(way, row, peer.kind, [peer, peer]),
    }
}

/// Both worlds at once, in one server or in two; gives what it has cost all of them.
fn both(way: &str, row: &Row, side: Kind, [resp, amqp]: [&Peer; 2]) -> Result<Sample> {
    let Load::Both { flags, .. } = row.load else { bail!("this row asks one server") };
    let ticks = || -> Result<u64> {
        let others = if resp.kind == amqp.kind { 0 } else { amqp.cpu_ticks()? };
        Ok(resp.cpu_ticks()? + others)
    };
    let (count, amqp_port) = (row.count(side), amqp.amqp_port.to_string());
    let count_text = count.to_string();
    let mut all = vec!["--messages", &count_text, "--way", way, "--amqp-port", &amqp_port];
    all.extend(flags.split_whitespace());
    let before = ticks()?;
    let report = generator("both", &resp.resp_port.to_string(), &all)?;
    let cpu_us = (ticks()? - before) as f64 * process::TICK_US / count as f64;
    let per_second = report["per_second"].as_f64().context("the load has printed no rate")?;
    Ok(Sample::Load { per_second, cpu_us })
}

/// Runs the generator and reads what it has cost the server.
fn load(row: &Row, peer: &Peer, what: &str, port: u16, count_flag: &str, flags: &str) -> Result<Sample> {
    let count = row.count(peer.kind);
    let count_text = count.to_string();
    let mut all = vec![count_flag, &count_text];
    all.extend(flags.split_whitespace());
    let before = peer.cpu_ticks()?;
    let report = generator(what, &port.to_string(), &all)?;
    let cpu_us = (peer.cpu_ticks()? - before) as f64 * process::TICK_US / count as f64;
    let per_second = report["per_second"].as_f64().context("the load has printed no rate")?;
    Ok(Sample::Load { per_second, cpu_us })
}

/// The load generator on its own core.
fn generator(what: &str, port: &str, flags: &[&str]) -> Result<serde_json::Value> {
    let mut command = process::pinned(LOAD_CORE)?;
    command.arg(binary()?).args(["bench", what, "--port", port, "--json"]).args(flags);
    let text = output(command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("the load has printed: {text}"))
}

/// Date, commit, machine and versions.
fn heading(rounds: usize) -> Result<String> {
    let run = |program: &str, args: &[&str]| -> Result<String> {
        let mut command = Command::new(program);
        command.args(args).current_dir(root());
        Ok(output(command)?.trim().to_owned())
    };
    let date = run("date", &["-u", "+%F"])?;
    let commit = run("git", &["log", "-1", "--format=%h, \"%s\""])?;
    let changed = if run("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        ""
    } else {
        ", with changes that were not committed"
    };
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "{date}, commit {commit}{changed}; {cores} cores, the server on one, the load (`leveret bench`) on the other; \
         {rounds} interleaved rounds, medians.\nLeveret with `--io-threads 1 --auto-aof-rewrite-percentage 0` and its log on beside {} and {} with \
         `--appendonly yes --auto-aof-rewrite-percentage 0 --save \"\"` and\n{} as it comes. RESP: 50 connections, \
         1,000,000 keys or elements, 64-byte values. AMQP: one producer, one consumer, one\nclassic queue, 64-byte bodies, at most \
         4,096 messages in flight. CPU is the server's own, user and system.\n",
        Kind::Redis.version(),
        Kind::Valkey.version(),
        Kind::RabbitMq.version(),
    ))
}
