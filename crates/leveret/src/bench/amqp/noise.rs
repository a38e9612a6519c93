//! Clients that misbehave beside the one that is measured: what is no AMQP, connections that stop halfway, publishers that
//! never read what they are told, consumers that never acknowledge. The server may cut any of them off.

use super::link::Link;
use super::message::{Stamp, Template};
use super::{Options, Workload};
use crate::bench::socket::connect;
use anyhow::{Result, anyhow};
use leveret_amqp::PROTOCOL_HEADER;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client waits for somebody who does not listen any more.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of each piece of noise.
const NOISE_BYTES: usize = 4096;
/// What the one that never reads publishes before it takes a rest.
const BURST: usize = 1000;

/// The noise, until it ends.
pub(crate) struct Noise {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Noise {
    /// Begins, with a queue of its own.
    pub(crate) fn begin(options: &Options) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let options = Arc::new(Options {
            workload: Workload::Confirm,
            queue: format!("{}-noise", options.queue),
            queues: 1,
            bindings: 0,
            manual_ack: true,
            prefetch: 0,
            durable: false,
            host: options.host.clone(),
            user: options.user.clone(),
            password: options.password.clone(),
            vhost: options.vhost.clone(),
            ..*options
        });
        let mut control = Link::open(&options)?;
        control.declare(&options)?;
        let spawn = |act: fn(&Options, &AtomicBool) -> Result<()>| {
            let (options, over) = (options.clone(), over.clone());
            std::thread::spawn(move || act(&options, &over))
        };
        let mut threads = vec![spawn(malformed), spawn(halfway), spawn(deaf), spawn(greedy)];
        let (over_too, options) = (over.clone(), options.clone());
        // The queue goes when nobody uses it any more.
        threads.push(std::thread::spawn(move || {
            while !over_too.load(Ordering::Relaxed) {
                std::thread::sleep(PATIENCE);
            }
            std::thread::sleep(PATIENCE * 3);
            control.delete(&options).map(drop)
        }));
        Ok(Self { over, threads })
    }

    /// Ends it; an error if there was none.
    pub(crate) fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("somebody who made noise has stopped"))??;
        }
        Ok(())
    }
}

/// Frames of no type, of no size, without an end, of unknown methods, and noise.
fn malformed(options: &Options, over: &AtomicBool) -> Result<()> {
    let beginnings: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x09\x00\x00\x00\x00\x00\x00\xce",
        b"\x01\x00\x01\xff\xff\xff\xff",
        b"\x01\x00\x01\x00\x00\x00\x04\x00\x0a\x00\x0a\x00",
        b"\x01\x00\x01\x00\x00\x00\x04\x03\xe7\x03\xe7\xce",
        b"\x01\x00\x01\x00\x00\x00\x05\x00\x3c\x00\x28\x00\xce\x03\x00\x01\x00\x00\x00\x01x\xce",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    while !over.load(Ordering::Relaxed) {
        for beginning in beginnings {
            let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(NOISE_BYTES).collect();
            let bytes = [beginning, &noise].concat();
            if random.bool() {
                let mut link = Link::open(options)?;
                link.give_up_writing_after(PATIENCE)?;
                // It may be cut off before it has said everything.
                let _ = link.send_raw(&bytes);
            } else {
                let mut stream = connect(&options.host, options.port)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let _ = stream.write_all(&bytes);
                let _ = stream.read(&mut [0; 512]);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Connections that say a part of what they have to say and then nothing.
fn halfway(options: &Options, over: &AtomicBool) -> Result<()> {
    let mut kept = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let mut stream = connect(&options.host, options.port)?;
        let said = kept.len() % (PROTOCOL_HEADER.len() + 1);
        let _ = stream.write_all(PROTOCOL_HEADER.get(..said).unwrap_or_default());
        kept.push(stream);
        if kept.len() > 200 {
            kept.clear();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Publishes with confirms, and reads none of them; again and again, as it is cut off or not listened to.
fn deaf(options: &Options, over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        let mut link = Link::open(options)?;
        link.confirm_select()?;
        link.give_up_writing_after(PATIENCE)?;
        let template = Template::new("", &options.queue, 64, false, link.frame_max);
        let mut burst = Vec::new();
        (0..BURST).for_each(|_| template.append(Stamp { ns: 1, producer: 0, number: 0 }, &mut burst));
        for _ in 0..20 {
            if over.load(Ordering::Relaxed) || link.send_raw(&burst).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Consumes everything that the deaf one publishes, and acknowledges nothing.
fn greedy(options: &Options, over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        let mut link = Link::open(options)?;
        link.consume(options, &options.queue)?;
        let until = std::time::Instant::now() + PATIENCE * 5;
        while std::time::Instant::now() < until && !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}
