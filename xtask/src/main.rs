//! The one door to everything that is done with this repository: `cargo xtask run | test | ci | fix | conformance`.

mod conformance;
mod step;
mod tidy;

use anyhow::{Result, bail};
use std::process::ExitCode;
use step::{Steps, cargo, root};

const HELP: &str = "\
cargo xtask run [FLAGS]           build (release) and start the server on ./data
cargo xtask test                  everything CI runs; installs what it needs into target/
cargo xtask ci                    formatting, lints, tidy, unit tests; writes nothing
cargo xtask fix                   format and apply lint suggestions
cargo xtask conformance NAME|short|all
                                  other people's clients against the built binary
";

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("run") => run(&args),
        Some("test") => test(),
        Some("ci") => ci().finish(),
        Some("fix") => fix(),
        Some("conformance") => conformance::run(args.get(1).map_or("all", String::as_str)).finish(),
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

fn build_release() -> Result<()> {
    step::check(cargo(&["build", "--release", "--package", "leveret"]))
}

fn run(args: &[String]) -> Result<()> {
    build_release()?;
    let mut server = std::process::Command::new(root().join("target/release/leveret"));
    server.args(["serve", "--data-dir", "data"]).args(args.iter().skip(1)).current_dir(root());
    let status = server.status()?;
    if !status.success() {
        bail!("the server ended with {status}");
    }
    Ok(())
}

/// Checks only; every step is run even when one before it has failed.
fn ci() -> Steps {
    let mut steps = Steps::default();
    steps.run("format", || step::check(cargo(&["fmt", "--all", "--check"])));
    steps.run("lints", || {
        step::check(cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    tidy::run(&mut steps);
    steps.run("unit tests", || step::check(cargo(&["test", "--quiet", "--workspace"])));
    steps
}

fn test() -> Result<()> {
    let mut steps = ci();
    steps.run("release build", build_release);
    steps.append(conformance::run("short"));
    steps.finish()
}

fn fix() -> Result<()> {
    step::check(cargo(&["fmt", "--all"]))?;
    step::check(cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ]))
}
