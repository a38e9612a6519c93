//! `leveret serve`: start, say where, wait for a signal, stop cleanly.

use crate::allocator::ALLOCATOR;
use crate::config::{self, KEYS};
use anyhow::{Context, Result, anyhow};
use leveret_console::Console;
use leveret_server::Server;
use rustix::process::{Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Runs the server until SIGTERM or SIGINT.
pub(crate) fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print_help();
        return Ok(());
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // Before any thread exists, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let mut settings = config::read(args)?;
    settings.allocator = ALLOCATOR;
    settings.stop = || {
        if let Err(error) = signal_hook::low_level::raise(SIGTERM) {
            tracing::error!(%error, "the process cannot be stopped by SHUTDOWN");
        }
    };
    raise_file_limit();
    let server = leveret_server::start(settings).map_err(|error| anyhow!("{error}"))?;
    let console = match leveret_console::start(server.shared.clone()) {
        Ok(console) => console,
        Err(error) => {
            server.stop();
            return Err(error).context("HTTP");
        }
    };
    greet(&server, &console);
    if let Some(signal) = signals.forever().next() {
        tracing::info!(signal, "stopping");
    }
    // The kernel takes memory back at once; freeing ten million keys one by one takes a second.
    std::mem::forget(server.shared.clone());
    if server.stop() {
        console.stop();
        tracing::info!("stopped; everything is on disk");
    } else {
        tracing::warn!(
            "stopped while a script ran; what it has done is dropped, everything that was answered is on disk"
        );
    }
    Ok(())
}

/// Every connection is an open file, and the limit that shells begin with is 1,024. (Redis: adjustOpenFilesLimit)
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, files = ?limit.current, "the number of open files limits the connections");
    }
}

#[allow(clippy::print_stdout, reason = "this is what the person at the terminal reads")]
fn greet(server: &Server, console: &Console) {
    let settings = &server.shared.settings;
    let recovered = &server.recovered;
    if let Some(cut) = &recovered.cut {
        match cut.kept.is_empty() {
            true => tracing::warn!(
                ?cut,
                "the log had an unfinished end, which was never confirmed; it was cut there"
            ),
            false => tracing::warn!(
                ?cut,
                "the log cannot be read on there; what stands behind is not known to have been synced, and was cut and kept"
            ),
        }
    }
    for notice in &recovered.noticed {
        tracing::warn!("{notice}");
    }
    if !recovered.damaged.is_empty() {
        let files = &recovered.damaged;
        tracing::error!(
            ?files,
            "these files with messages are damaged; what can be read of them is, and queues wait for the rest: see 'leveret log verify'"
        );
    }
    let checkpoint = server.restored.map_or(0, |head| head.position);
    tracing::info!(checkpoint, records = recovered.records, "recovered");
    println!("Leveret {} is ready. Data: {}", env!("CARGO_PKG_VERSION"), settings.data_dir.display());
    for address in &server.addresses.resp {
        println!("  redis://{address}");
    }
    for address in &server.addresses.amqp {
        println!("  amqp://guest:guest@{address}/");
    }
    for address in &console.addresses {
        println!("  http://{address}/metrics");
    }
    if let Some(path) = &settings.unix_socket {
        println!("  unix://{}", path.display());
    }
    if let Some(address) = server.addresses.resp.first() {
        println!();
        println!("  import redis");
        println!("  r = redis.Redis(port={})", address.port());
        println!("  r.set(\"hare\", \"quick\"); print(r.get(\"hare\"))");
    }
}

#[allow(clippy::print_stdout, reason = "help is printed")]
fn print_help() {
    println!("Usage: leveret serve [--config FILE.toml] [--KEY VALUE …]\n");
    println!(
        "Each key is also a key of the file and an environment variable (data-dir: LEVERET_DATA_DIR).\n"
    );
    for key in KEYS {
        println!("  --{} {}\n        {}", key.name, key.value, key.help);
    }
    println!("\nEvery name that Redis' CONFIG SET takes here is a key, too: --slowlog-max-len 200.");
}
