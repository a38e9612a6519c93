//! The binary. `leveret serve` is the server, `leveret bench` the load; `leveret help` tells the rest.

mod allocator;
mod backup;
mod bench;
mod check;
mod config;
mod ctl;
mod log;
mod serve;
mod snapshot;
mod times;

use std::process::ExitCode;

const HELP: &str = "\
Leveret takes the place of Redis and RabbitMQ for unmodified clients.

Usage:
  leveret serve --data-dir DIR [--config FILE.toml] [--KEY VALUE …]
  leveret bench resp|amqp [--FLAG VALUE …]
  leveret log dump|verify|explain|repair --data-dir DIR [--FLAG …]
  leveret ctl VERB [ARG …]
  leveret import|export dump.rdb --data-dir DIR [--FLAG …]
  leveret backup --data-dir DIR --to BACKUPS [--FLAG …]
  leveret restore --from BACKUPS --data-dir DIR [--to-time TIME]
  leveret check --data-dir DIR | --config FILE.toml
  leveret help | version

`leveret serve --help` lists every key, `leveret bench --help` every kind of load,
`leveret ctl help` every verb.
";

#[allow(clippy::print_stdout, reason = "help and version are printed")]
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let result = match args.next().as_deref() {
        Some("serve") => serve::run(&args.collect::<Vec<_>>()),
        Some("bench") => bench::run(&args.collect::<Vec<_>>()),
        Some("ctl") => ctl::run(&args.collect::<Vec<_>>()),
        Some("log") => match log::run(&args.collect::<Vec<_>>()) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Some("import") => snapshot::import(&args.collect::<Vec<_>>()),
        Some("export") => snapshot::export(&args.collect::<Vec<_>>()),
        Some("backup") => backup::backup(&args.collect::<Vec<_>>()),
        Some("restore") => backup::restore(&args.collect::<Vec<_>>()),
        Some("check") => check::run(&args.collect::<Vec<_>>()),
        Some("version" | "--version" | "-V") => {
            println!("leveret {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => Err(anyhow::anyhow!("there is no command '{other}'; try 'leveret help'")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveret: {error:#}");
            ExitCode::FAILURE
        }
    }
}
