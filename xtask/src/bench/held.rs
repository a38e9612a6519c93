//! What things cost that are only there: the load makes them, says that it has, and keeps them until it is told to go.

use super::peer::{Kind, Peer};
use super::{LOAD_CORE, process};
use crate::conformance::server::binary;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

const SETTLING: Duration = Duration::from_secs(2);

/// Bytes of resident memory for each of `count` things that `leveret bench amqp` makes. On a server of its own: what
/// another load has left is given back when the allocator likes.
pub(super) fn bytes_each(kind: Kind, count: u64, flags: &str) -> Result<f64> {
    let peer = Peer::start(kind)?;
    std::thread::sleep(SETTLING);
    let before = peer.resident_bytes()?;
    let mut load = begin(&peer, count, flags)?;
    // The last of it may still be on its way.
    std::thread::sleep(SETTLING);
    let grown = peer.resident_bytes().map(|after| after.saturating_sub(before));
    drop(load.stdin.take());
    let status = load.wait()?;
    if !status.success() {
        bail!("the load has ended with {status}");
    }
    Ok(grown? as f64 / count as f64)
}

/// A load that has made its `count` things and keeps them until its input ends.
pub(super) fn begin(peer: &Peer, count: u64, flags: &str) -> Result<Child> {
    let mut command = process::pinned(LOAD_CORE)?;
    command
        .arg(binary()?)
        .args(["bench", "amqp", "--port", &peer.amqp_port.to_string()])
        .args(["--messages", &count.to_string()])
        .args(flags.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut load = command.spawn().context("cannot start the load")?;
    let mut said = BufReader::new(load.stdout.take().context("its output is piped")?).lines();
    let ready = said.next().transpose()?;
    if ready.as_deref() != Some("ready") {
        bail!("the load has said {ready:?} and ended with {}", load.wait()?);
    }
    Ok(load)
}
