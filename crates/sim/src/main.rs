//! The whole single server in one thread, with seeded time, disk, network and clients, that crashes at any step and is held
//! against plain models of what its clients were told. `cargo xtask sim`.

mod amqp;
mod check;
mod disk;
mod fortune;
mod ledger;
mod model;
mod resp;
mod stage;
mod wire;
mod world;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seed: u64 = args.first().and_then(|a| a.parse().ok()).unwrap_or(1);
    let count: u64 = args.get(1).and_then(|a| a.parse().ok()).unwrap_or(1);
    let started = Instant::now();
    let mut crashes = 0;
    for seed in seed..seed + count {
        eprintln!("seed {seed}");
        let outcome = world::run(seed, args.get(2).is_some());
        crashes += outcome.crashes;
        println!("{seed} {outcome:?}");
    }
    println!("{crashes} crashes in {:?}", started.elapsed());
    ExitCode::SUCCESS
}
