//! `leveret bench`: load for any server that speaks RESP or AMQP 0-9-1, from one thread, with every answer examined.
//! An error, a message lost, doubled or out of order ends the run: a figure is printed for correct runs only.

mod amqp;
mod both;
mod flags;
mod report;
mod resp;
mod socket;

use anyhow::{Result, bail};
use flags::Flags;

/// Runs `leveret bench …`.
#[allow(clippy::print_stdout, reason = "help and results are printed")]
pub(crate) fn run(args: &[String]) -> Result<()> {
    let asks_for_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("resp") if !asks_for_help => resp::run(&Flags::parse(resp::FLAGS, rest)?),
        Some("amqp") if !asks_for_help => amqp::run(&Flags::parse(amqp::FLAGS, rest)?),
        Some("both") if !asks_for_help => both::run(&Flags::parse(both::FLAGS, rest)?),
        None | Some("resp" | "amqp" | "both" | "--help" | "-h" | "help") => {
            println!("Usage: leveret bench resp|amqp|both [--FLAG VALUE …]\n");
            println!("Load for any compatible server. It ends at the first answer that is wrong.\n");
            println!("leveret bench resp\n{}", flags::help(resp::FLAGS));
            println!("  Tests: {}\n", resp::test_names());
            println!("leveret bench amqp\n{}", flags::help(amqp::FLAGS));
            println!("leveret bench both\n{}", flags::help(both::FLAGS));
            Ok(())
        }
        Some(other) => bail!("there is no load '{other}'; 'leveret bench --help' tells which there are"),
    }
}
