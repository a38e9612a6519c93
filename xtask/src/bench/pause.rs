//! The worst pause: what a client that asks `PING` again and again waits at most while something large happens to the server.

use super::generator;
use super::peer::Peer;
use anyhow::{Context, Result, bail};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::io::{BufWriter, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The keyspace grows to so many keys, which stay.
    Growth(u64),
    /// All keys are written down in the background.
    Checkpoint,
    /// A set of so many members is deleted.
    Deletion(u64),
    /// So many keys expire in the same second.
    Expiry(u64),
    /// Clients send what is no command, and one asks for much and reads nothing.
    Misuse,
}

const TIMEOUT: Duration = Duration::from_secs(120);
/// Before a server is asked again how far it is.
const SHORT_PAUSE: Duration = Duration::from_millis(200);
/// Between two questions.
const PERIOD: Duration = Duration::from_micros(100);
/// How long clients misbehave.
const MISUSE: Duration = Duration::from_secs(3);

/// Milliseconds that a question took at most, or all but one in ten thousand of them.
pub(super) fn worst(peer: &Peer, event: Event) -> Result<f64> {
    let port = peer.resp_port;
    let act: Box<dyn FnOnce() -> Result<()>> = match event {
        Event::Growth(keys) => Box::new(move || generate(port, "set", keys)),
        Event::Checkpoint => Box::new(move || {
            ask(port, "BGSAVE")?;
            wait_for_checkpoint(port)
        }),
        Event::Deletion(members) => {
            generate(port, "sadd", members)?;
            Box::new(move || {
                ask(port, "DEL myset")?;
                // What is left of it goes in the background.
                std::thread::sleep(SHORT_PAUSE);
                Ok(())
            })
        }
        Event::Expiry(keys) => {
            let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 2 + keys / 100_000;
            fill(port, keys, at)?;
            Box::new(move || {
                let due = UNIX_EPOCH + Duration::from_secs(at);
                std::thread::sleep(
                    due.duration_since(SystemTime::now()).context("the keys are due already")?,
                );
                let since = Instant::now();
                while ask(port, "DBSIZE")? != ":0" {
                    if since.elapsed() > TIMEOUT {
                        bail!("keys are left long after they were due");
                    }
                    std::thread::sleep(SHORT_PAUSE);
                }
                Ok(())
            })
        }
        Event::Misuse => {
            // The list is asked for as a whole.
            ask(port, "FLUSHALL")?;
            generate(port, "rpush", 100_000)?;
            Box::new(move || misuse(port))
        }
    };
    let done = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let done = done.clone();
        move || waits(port, &done)
    });
    let acted = act();
    done.store(true, Ordering::Relaxed);
    let mut waits = asking.join().map_err(|_| anyhow::anyhow!("the one who asks has stopped"))??;
    acted?;
    waits.sort_unstable();
    let place = match event {
        // The one longest of a hundred thousand answers is the machine's: its own housekeeping takes either core for some
        // milliseconds now and then, whichever server runs there.
        Event::Growth(_) | Event::Checkpoint => waits.len() - waits.len() / 10_000,
        Event::Deletion(_) | Event::Expiry(_) | Event::Misuse => {
            ask(port, "FLUSHALL")?;
            waits.len()
        }
    };
    let wait = waits.get(place.saturating_sub(1)).context("nobody has asked")?;
    Ok(wait.as_secs_f64() * 1000.0)
}

/// Until nothing is being written down in the background.
pub(super) fn wait_for_checkpoint(port: u16) -> Result<()> {
    let since = Instant::now();
    loop {
        std::thread::sleep(SHORT_PAUSE);
        let told = info(port, "persistence")?;
        if ["rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]
            .iter()
            .all(|line| told.contains(line))
        {
            return Ok(());
        }
        if since.elapsed() > TIMEOUT {
            bail!("it is not written down in time");
        }
    }
}

fn generate(port: u16, test: &str, count: u64) -> Result<()> {
    let (count, port) = (count.to_string(), port.to_string());
    // One client, which sleeps while it is served: who asks shares its core.
    let flags = ["--clients", "1", "--pipeline", "64", "--sequential", "--tests", test];
    let counts = ["--keyspace", &count, "--requests", &count];
    generator("resp", &port, &[&flags[..], &counts[..]].concat()).map(drop)
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// A section of INFO.
pub(super) fn info(port: u16, section: &str) -> Result<String> {
    let mut stream = connect(port)?;
    stream.write_all(format!("INFO {section}\r\nQUIT\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// One line of an answer.
pub(super) fn ask(port: u16, command: &str) -> Result<String> {
    let mut stream = connect(port)?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

/// How long each question took, until the kernel had the answer: the machine may keep whoever asks from its processor for
/// milliseconds, which is none of the server's business.
fn waits(port: u16, done: &AtomicBool) -> Result<Vec<Duration>> {
    let mut stream = connect(port)?;
    setsockopt(&stream, ReceiveTimestampns, &true)?;
    let (mut waits, mut room) = (Vec::new(), nix::cmsg_space!(TimeSpec));
    while !done.load(Ordering::Relaxed) {
        let asked = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME)?);
        stream.write_all(b"PING\r\n")?;
        let (mut answer, mut had, mut came) = ([0; 7], 0, None);
        while let Some(rest) = answer.get_mut(had..).filter(|rest| !rest.is_empty()) {
            let mut parts = [IoSliceMut::new(rest)];
            let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty())?;
            if message.bytes == 0 {
                bail!("the server has closed the connection");
            }
            had += message.bytes;
            for part in message.cmsgs()? {
                if let ControlMessageOwned::ScmTimestampns(at) = part {
                    came = Some(Duration::from(at));
                }
            }
        }
        // The kernel begins to take the time a little after it is asked to. A clock that is set meanwhile may make it nothing.
        waits.extend(came.map(|came| came.saturating_sub(asked)));
        std::thread::sleep(PERIOD);
    }
    Ok(waits)
}

/// Keys that all expire at one second.
fn fill(port: u16, keys: u64, at: u64) -> Result<()> {
    let stream = connect(port)?;
    let mut answers = stream.try_clone()?;
    let reading = std::thread::spawn(move || -> Result<()> {
        let mut left = keys * b"+OK\r\n".len() as u64;
        let mut room = vec![0; 64 * 1024];
        while left > 0 {
            let read = answers.read(&mut room)?;
            if read == 0 || room.first() == Some(&b'-') {
                bail!("the keys were not taken");
            }
            left = left.saturating_sub(read as u64);
        }
        Ok(())
    });
    let mut commands = BufWriter::new(stream);
    for i in 0..keys {
        write!(commands, "SET due:{i} v EXAT {at}\r\n")?;
    }
    commands.flush()?;
    reading.join().map_err(|_| anyhow::anyhow!("the one who reads has stopped"))?
}

fn misuse(port: u16) -> Result<()> {
    let mut deaf = connect(port)?;
    // It asks for some hundred megabytes, as far as it is listened to.
    deaf.set_write_timeout(Some(Duration::from_millis(100)))?;
    let _ = deaf.write_all("LRANGE mylist 0 -1\r\n".repeat(100).as_bytes());
    let until = Instant::now() + MISUSE;
    let mut rng = fastrand::Rng::with_seed(1);
    while Instant::now() < until {
        for beginning in ["*1000000\r\n$3\r\n", "*-5\r\n", "*3\r\n$-9\r\n", "$$$", "GET \"", ""] {
            let mut stream = connect(port)?;
            let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(4096).collect();
            // It may be cut off before it has said everything.
            let _ = stream.write_all(beginning.as_bytes()).and_then(|()| stream.write_all(&noise));
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    Ok(())
}
