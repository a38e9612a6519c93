//! Unmodified clients and other people's suites against the built binary. A suite is one row of the table; it gets a
//! server of its own with a fresh data directory and the addresses by environment variables.
//! The trap: a suite that ran nothing looks like one that found nothing, so each row says how much must have run.

mod expected;
mod probe;
mod pytest;
mod redis_tools;
mod results;
pub(crate) mod server;

use crate::install::python;
use crate::step::{Steps, output, root};
use anyhow::{Context, Result, bail};
use server::Server;
use std::process::Command;

/// One suite.
struct Suite {
    name: &'static str,
    kind: Kind,
    /// The fewest checks, tests or cases that must have run.
    checks_min: usize,
    /// Long, or not yet steady: not part of `cargo xtask test`.
    on_demand: bool,
}

/// How a suite is run.
enum Kind {
    /// A program under `conformance/python`, which ends its output with "N checks passed".
    Program,
    /// Likewise, but it starts and kills the server itself.
    Killer,
    /// Likewise, beside Debian's redis-server, which is not installed for it: the package starts a server of its own.
    BesideRedis,
    /// A program under `conformance/amqp` that prints a line per case, to be compared with RabbitMQ's lines.
    Probe { reference: &'static str },
    /// The tests of a package's source distribution.
    Pytest(pytest::Package),
    /// Debian's redis-cli and redis-benchmark.
    RedisTools,
}

const SUITES: &[Suite] = &[
    Suite { name: "resp_commands", kind: Kind::Program, checks_min: 190, on_demand: false },
    Suite { name: "amqp_methods", kind: Kind::Program, checks_min: 40, on_demand: false },
    Suite { name: "serve", kind: Kind::Killer, checks_min: 60, on_demand: false },
    Suite { name: "kill_nine", kind: Kind::Killer, checks_min: 1000, on_demand: false },
    Suite { name: "redis_differential", kind: Kind::BesideRedis, checks_min: 20_000, on_demand: false },
    Suite { name: "redis-tools", kind: Kind::RedisTools, checks_min: 15, on_demand: false },
    Suite {
        name: "amqp-errors",
        kind: Kind::Probe { reference: "amqp-errors-rabbitmq-4.3.6.txt" },
        checks_min: 80,
        on_demand: false,
    },
    Suite {
        name: "amqp-behaviour",
        kind: Kind::Probe { reference: "amqp-behaviour-rabbitmq-4.3.6.txt" },
        checks_min: 20,
        on_demand: true,
    },
    Suite {
        name: "py-amqp",
        kind: Kind::Pytest(pytest::Package {
            requirement: "amqp==5.4.2",
            args: &["t/integration", "-k", "not default_certs and not tls"],
            env: &[("RABBITMQ_HOST", "127.0.0.1"), ("RABBITMQ_5672_TCP", "{amqp}")],
        }),
        checks_min: 48,
        on_demand: false,
    },
    Suite { name: "celery_app", kind: Kind::Killer, checks_min: 2000, on_demand: false },
];

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
    if name == "all" && !reference {
        steps.run("conformance: docs/conformance.md", || results::write(&results));
    }
    steps
}

/// What a suite needs from outside and cannot get.
fn missing(suite: &Suite) -> Result<()> {
    match suite.kind {
        Kind::RedisTools => crate::install::program("redis-benchmark", "redis-tools"),
        Kind::BesideRedis if !crate::install::have("redis-server") => {
            bail!("there is no redis-server to compare with: install the Debian package redis-server")
        }
        Kind::BesideRedis => python().map(|_| ()),
        Kind::Program | Kind::Killer | Kind::Probe { .. } | Kind::Pytest(_) => python().map(|_| ()),
    }
}

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn run_suite(suite: &Suite, reference: bool) -> Result<usize> {
    let run = |server: Option<&Server>| -> Result<usize> {
        match &suite.kind {
            Kind::Program | Kind::Killer | Kind::BesideRedis => program(suite.name, server),
            Kind::Probe { reference } => {
                probe::run(suite.name, reference, server.context("a probe needs a server")?)
            }
            Kind::Pytest(package) => {
                pytest::run(suite.name, package, server.context("a suite needs a server")?)
            }
            Kind::RedisTools => redis_tools::run(server.context("the tools need a server")?),
        }
    };
    let ran = match (&suite.kind, reference) {
        (Kind::Killer | Kind::BesideRedis, true) => {
            bail!("this suite kills the server it starts; there is no reference for it")
        }
        (Kind::Killer | Kind::BesideRedis, false) => run(None)?,
        (Kind::Program | Kind::Probe { .. } | Kind::Pytest(_) | Kind::RedisTools, _) => {
            let mut server =
                if reference { Server::reference(suite.name)? } else { Server::leveret(suite.name)? };
            run(Some(&server)).inspect_err(|_| server.show_log())?
        }
    };
    if ran < suite.checks_min {
        bail!("only {ran} checks ran; at least {} are expected", suite.checks_min);
    }
    println!("{}: {ran} checks", suite.name);
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
    let text = output(command)?;
    print!("{text}");
    text.lines()
        .rev()
        .find_map(|line| line.strip_suffix(" checks passed")?.rsplit(' ').next()?.parse().ok())
        .context("the program did not say how many checks it made")
}
