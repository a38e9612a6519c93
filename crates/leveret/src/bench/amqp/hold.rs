//! What is made and then kept until standard input ends, so that somebody can look at what it costs the server:
//! connections, queues, messages. It says `ready` when all of it is there.

use super::Options;
use super::link::Link;
use super::run;
use anyhow::Result;
use std::io::{Read, Write};

/// Open connections with one channel each, on which nothing happens.
pub(crate) fn connections(options: &Options) -> Result<()> {
    let links: Result<Vec<Link>> = (0..options.messages).map(|_| Link::open(options)).collect();
    let links = links?;
    keep()?;
    drop(links);
    Ok(())
}

/// Empty queues that nobody consumes from.
pub(crate) fn queues(options: &Options) -> Result<()> {
    let mut control = Link::open(options)?;
    let name = |i: u64| format!("{}-{i}", options.queue);
    (0..options.messages).try_for_each(|i| control.declare_queue(&name(i), options.durable).map(drop))?;
    keep()?;
    (0..options.messages).try_for_each(|i| control.delete_queue(&name(i)).map(drop))
}

/// Messages that have been confirmed and that nobody takes.
pub(crate) fn backlog(options: &Options) -> Result<()> {
    run::measure_then(options, keep).map(drop)
}

#[allow(clippy::print_stdout, reason = "whoever looks waits for it")]
fn keep() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
