//! Unmodified clients and other people's suites against the built binary. A suite is one row of the table in `suites.rs`;
//! it gets a server of its own with a fresh data directory and the addresses by environment variables.
//! The trap: a suite that ran nothing looks like one that found nothing, so each row says how much must have run.

mod crate_tests;
mod debian_source;
mod expected;
mod hiredis;
mod probe;
mod pytest;
mod rabbitmq_tools;
mod redis_tcl;
mod redis_tools;
mod results;
pub(crate) mod server;
mod suites;

use crate::install::python;
use crate::step::{Steps, output, root};
use anyhow::{Context, Result, bail};
use server::Server;
use std::process::Command;
use suites::{Kind, SUITES, Suite};

/// What a suite did. What has not passed was expected to fail.
#[derive(Clone, Copy)]
struct Ran {
    executed: usize,
    passed: usize,
}

impl Ran {
    /// Everything passed.
    fn whole(executed: usize) -> Self {
        Self { executed, passed: executed }
    }
}

/// `cargo xtask conformance SUITE|short|all [--reference]`.
pub(crate) fn main(args: &[String]) -> Result<()> {
    let reference = args.iter().any(|arg| arg == "--reference");
    let name = args.iter().find(|arg| !arg.starts_with("--")).map_or("all", String::as_str);
    run(name, reference).finish()
}

/// Runs one suite, the short ones or all.
pub(crate) fn run(name: &str, reference: bool) -> Steps {
    let mut steps = Steps::default();
    let wanted: Vec<&Suite> = SUITES
        .iter()
        .filter(|suite| suite.name == name || name == "all" || (name == "short" && !suite.on_demand))
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        steps.run("conformance", || bail!("there is no suite '{name}'; there are {}", names.join(", ")));
        return steps;
    }
    let mut results = Vec::new();
    for suite in wanted {
        let step = format!("conformance: {}", suite.name);
        match missing(suite) {
            Ok(()) => steps.run(&step, || {
                let ran = run_suite(suite, reference);
                results.push((suite.name, ran.as_ref().map_or(None, |ran| Some(*ran))));
                ran.map(|_| ())
            }),
            Err(why) => steps.skip(&step, &format!("{why:#}")),
        }
    }
    if name != "short" && !reference {
        steps.run("conformance: docs/conformance.md", || results::write(&results));
    }
    steps
}

/// What a suite needs from outside and cannot get.
fn missing(suite: &Suite) -> Result<()> {
    match suite.kind {
        Kind::RedisTools => crate::install::program("redis-benchmark", "redis-tools"),
        Kind::RabbitmqTools => crate::install::program("amqp-publish", "amqp-tools"),
        Kind::RedisTcl => crate::install::program("tclsh", "tcl"),
        Kind::CrateTests(_) => Ok(()),
        Kind::Hiredis => hiredis::install(),
        Kind::BesideRedis if !crate::install::have("redis-server") => {
            bail!("there is no redis-server to compare with: install the Debian package redis-server")
        }
        Kind::Mounter if !crate::install::is_root() => bail!("only root may mount a file system"),
        Kind::BesideRedis | Kind::Mounter => python().map(|_| ()),
        Kind::Program | Kind::Killer | Kind::Probe { .. } | Kind::Pytest(_) => python().map(|_| ()),
        Kind::OurPackage => pytest::cases_of_python(),
    }
}

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn run_suite(suite: &Suite, reference: bool) -> Result<Ran> {
    let run = |server: Option<&Server>| -> Result<Ran> {
        match &suite.kind {
            Kind::Program | Kind::Killer | Kind::Mounter | Kind::BesideRedis => {
                program(suite.name, server).map(Ran::whole)
            }
            Kind::Probe { reference } => {
                probe::run(suite.name, reference, server.context("a probe needs a server")?)
            }
            Kind::Pytest(package) => {
                pytest::run(suite.name, package, server.context("a suite needs a server")?)
            }
            Kind::OurPackage => pytest::ours(suite.name),
            Kind::CrateTests(package) => {
                crate_tests::run(suite.name, package, server.context("a suite needs a server")?)
            }
            Kind::RedisTcl => redis_tcl::run(suite.name, reference),
            Kind::Hiredis => hiredis::run(suite.name, reference),
            Kind::RedisTools => redis_tools::run(server.context("the tools need a server")?).map(Ran::whole),
            Kind::RabbitmqTools => {
                rabbitmq_tools::run(server.context("the tools need a server")?).map(Ran::whole)
            }
        }
    };
    let ran = match (&suite.kind, reference) {
        (Kind::Killer | Kind::Mounter | Kind::BesideRedis | Kind::CrateTests(_) | Kind::OurPackage, true) => {
            bail!("this suite starts a server of ours; there is no reference for it")
        }
        (Kind::Killer | Kind::Mounter | Kind::BesideRedis | Kind::OurPackage, false)
        | (Kind::RedisTcl | Kind::Hiredis, _) => run(None)?,
        (
            Kind::Program
            | Kind::Probe { .. }
            | Kind::Pytest(_)
            | Kind::CrateTests(_)
            | Kind::RedisTools
            | Kind::RabbitmqTools,
            _,
        ) => {
            let mut server =
                if reference { Server::reference(suite.name)? } else { Server::leveret(suite.name)? };
            run(Some(&server)).inspect_err(|_| server.show_log())?
        }
    };
    let Ran { executed, passed } = ran;
    if executed < suite.checks_min {
        bail!("only {executed} checks ran; at least {} are expected", suite.checks_min);
    }
    println!("{}: {executed} checks, {passed} passed, the others as expected", suite.name);
    Ok(ran)
}

/// Runs a program; gives the number of checks it says it made.
#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn program(name: &str, server: Option<&Server>) -> Result<usize> {
    let mut command = Command::new(python()?);
    command.arg(root().join(format!("conformance/python/{name}.py")));
    command.env("LEVERET_BINARY", server::binary()?).env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(server) = server {
        server.tell(&mut command);
    }
    if let Some(peers) = crate::peers::folder() {
        command.env("LEVERET_PEERS", peers);
    }
    let text = output(command)?;
    print!("{text}");
    text.lines()
        .rev()
        .find_map(|line| line.strip_suffix(" checks passed")?.rsplit(' ').next()?.parse().ok())
        .context("the program did not say how many checks it made")
}
