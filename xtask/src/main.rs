//! The one door to everything that is done with this repository: `cargo xtask run | test | ci | fix | …`.

mod bench;
mod conformance;
mod fuzz;
mod install;
mod peers;
mod sim;
mod step;
mod tidy;
mod wheel;

use anyhow::{Result, bail};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use step::{Steps, cargo, check, root, target};

const HELP: &str = "\
cargo xtask run [FLAGS]              build (release) and start the server on ./data
cargo xtask test                     everything CI runs; installs what it needs into target/
cargo xtask ci                       formatting, lints, tidy, licences, unit tests; changes no file of the repository
cargo xtask tidy                     what the compiler does not check
cargo xtask fix                      format and apply lint suggestions
cargo xtask conformance SUITE|short|all [--reference]
                                     other people's clients against the built binary, or against Debian's
                                     redis-server and rabbitmq-server
cargo xtask bench [--rounds N] [ROW …]  side by side with Redis, Valkey and RabbitMQ, those of `peers` or Debian's; all rows
                                     together renew docs/benchmarks.md
cargo xtask peers                    the newest Redis, Valkey and RabbitMQ for the benchmark, into target/peers (as root)
cargo xtask fuzz [TARGET] [--seconds N] [--seed N] [--replay FILE]
                                     one decoder or file format, or all of them
cargo xtask sim [SEED [--told]] [--seconds N|--crashes N] [--from SEED] [--minutes N] [--paged]
                                     the whole server in one thread, which crashes at any step: fresh seeds, or one again,
                                     a few lives long or so many minutes of its own time
cargo xtask wheel                    the Python package with the binary in it, into target/wheel, tried in a fresh environment
cargo xtask docs                     the API's pages, with warnings as errors
";

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("run") => run(rest),
        Some("test") => test(),
        Some("ci") => ci().finish(),
        Some("tidy") => tidy(),
        Some("fix") => fix(),
        Some("conformance") => conformance::main(rest),
        Some("bench") => bench::main(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("sim") => sim::run(rest),
        Some("peers") => peers::make(),
        Some("wheel") => wheel::make(),
        Some("docs") => docs(),
        Some(other) => Err(anyhow::anyhow!("there is no task '{other}'\n{HELP}")),
        None => {
            print!("{HELP}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn build_release() -> Result<()> {
    check(cargo(&["build", "--release", "--package", "leveret"]))
}

/// Becomes the server, so that signals reach it.
fn run(flags: &[String]) -> Result<()> {
    build_release()?;
    let mut server = Command::new(target().join("release/leveret"));
    server.args(["serve", "--data-dir", "./data"]).args(flags).current_dir(root());
    bail!("the server cannot be started: {}", server.exec())
}

/// Checks only; every step is run even when one before it has failed.
fn ci() -> Steps {
    let mut steps = Steps::default();
    steps.run("format", || check(cargo(&["fmt", "--all", "--check"])));
    steps.run("lints", || {
        check(cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    tidy::run(&mut steps);
    steps.run("licences, bans, sources", || {
        let mut deny = Command::new(install::cargo_deny()?);
        deny.args(["--log-level", "error", "check", "bans", "licenses", "sources"]).current_dir(root());
        check(deny)
    });
    if install::have("cargo-nextest") {
        steps.run("tests", || check(cargo(&["nextest", "run", "--workspace", "--status-level", "fail"])));
        // nextest leaves the examples in the documentation out.
        steps.run("examples in the documentation", || {
            check(cargo(&["test", "--quiet", "--workspace", "--doc"]))
        });
    } else {
        steps.run("tests", || check(cargo(&["test", "--quiet", "--workspace"])));
    }
    steps.run("fuzz targets, two seconds each", || fuzz::run(&["--seconds".into(), "2".into()]));
    steps
}

fn test() -> Result<()> {
    let mut steps = ci();
    steps.run("simulation, fresh seeds for two minutes", || sim::run(&["--seconds".into(), "120".into()]));
    steps.run("simulation, hardly any memory for messages, one minute", || {
        sim::run(&["--paged".into(), "--seconds".into(), "60".into()])
    });
    // A seed for each processor.
    steps.run("simulation, ten minutes of its own time", || {
        sim::run(&["--minutes", "10", "--crashes", "1"].map(str::to_owned))
    });
    steps.run("release build", build_release);
    steps.append(conformance::run("short", false));
    steps.finish()
}

fn tidy() -> Result<()> {
    let mut steps = Steps::default();
    tidy::run(&mut steps);
    steps.finish()
}

fn fix() -> Result<()> {
    check(cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"]))?;
    check(cargo(&["fmt", "--all"]))
}

fn docs() -> Result<()> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    check(command)
}
