//! The whole single server in one thread, with seeded time, disk, network and clients of both protocols, that crashes at any
//! step and is held against plain models of what its clients were told. A seed is a run, byte for byte.
//! `cargo xtask sim`; what it looks for, and the faults it was seen to find, are in `docs/decisions/2026-11-27-sim.md`.

mod amqp;
mod check;
mod disk;
mod fortune;
mod jobs;
mod ledger;
mod model;
mod relay;
mod resp;
mod run;
mod runner;
mod stage;
#[cfg(test)]
mod tests;
mod wire;
mod world;

use run::{Plan, Until};
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
leveret-sim SEED [--minutes N] [--told] [--paged]
                                     runs one seed again; --told prints everything that happens
leveret-sim [--seconds N|--crashes N] [--from SEED] [--threads N] [--minutes N] [--paged]
                                     runs fresh seeds, or those from one on, until one fails; a minute if nothing is said;
                                     with --minutes each lasts so long in its own time, not a few lives;
                                     --paged leaves two servers in three little memory for messages
";

/// Without more being said.
const SECONDS: u64 = 60;

fn main() -> ExitCode {
    match plan(std::env::args().skip(1)) {
        Ok(plan) if run::run(&plan) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}\n{HELP}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut args: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan {
        seed: fastrand::u64(..1 << 48),
        until: Until::Time(Duration::from_secs(SECONDS)),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        minutes: None,
        is_told: false,
    };
    while let Some(arg) = args.next() {
        let mut number = |name: &str| {
            let text = args.next().ok_or_else(|| format!("{name} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{text:?} is no number"))
        };
        match arg.as_str() {
            "--told" => plan.is_told = true,
            "--paged" => fortune::PAGED.store(true, std::sync::atomic::Ordering::Relaxed),
            "--seconds" => plan.until = Until::Time(Duration::from_secs(number("--seconds")?)),
            "--crashes" => plan.until = Until::Crashes(number("--crashes")?),
            "--minutes" => plan.minutes = Some(number("--minutes")?),
            "--from" => plan.seed = number("--from")?,
            "--threads" => plan.threads = number("--threads")?.max(1) as usize,
            seed => {
                plan.seed = seed.parse().map_err(|_| format!("{seed:?} is no seed"))?;
                plan.until = Until::Once;
            }
        }
    }
    Ok(plan)
}
