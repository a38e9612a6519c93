//! A non-blocking connection with its input and output. Readiness is edge-triggered, so a reader goes on until a read is
//! shorter than the room for it.

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// An answer of the handshake that takes longer ends the run.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Connects, still blocking: what precedes the load is simpler so.
pub(crate) fn connect(host: &str, port: u16) -> Result<std::net::TcpStream> {
    let mut refused = None;
    for address in (host, port).to_socket_addrs().with_context(|| format!("cannot resolve {host}"))? {
        match std::net::TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                return Ok(stream);
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Err(error).with_context(|| format!("cannot connect to {host} port {port}")),
        None => bail!("{host} has no address"),
    }
}

/// A connection of the load.
pub(crate) struct Socket {
    stream: TcpStream,
    input: Vec<u8>,
    /// Bytes of `input` before this one were consumed, those from `filled` on are room.
    start: usize,
    filled: usize,
    /// What is to be sent; bytes before `sent` have been.
    pub(crate) output: Vec<u8>,
    sent: usize,
}

impl Socket {
    /// Takes a connected stream over, with what was already read from it.
    pub(crate) fn new(stream: std::net::TcpStream, read: &[u8], input_bytes: usize) -> Result<Self> {
        stream.set_nonblocking(true)?;
        let mut input = vec![0; input_bytes.max(read.len())];
        input.get_mut(..read.len()).unwrap_or_default().copy_from_slice(read);
        let stream = TcpStream::from_std(stream);
        Ok(Self { stream, input, start: 0, filled: read.len(), output: Vec::new(), sent: 0 })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: usize) -> Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        Ok(registry.register(&mut self.stream, Token(token), both)?)
    }

    /// What has arrived and was not consumed.
    #[inline]
    pub(crate) fn received(&self) -> &[u8] {
        self.input.get(self.start..self.filled).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.filled, "only what has arrived can be consumed");
        if self.start == self.filled {
            self.start = 0;
            self.filled = 0;
        }
    }

    /// Reads once; true when there may be more to read. A peer that closes is an error: nobody has asked for it.
    #[inline]
    pub(crate) fn read(&mut self) -> Result<bool> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.filled == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
        loop {
            let room = self.input.get_mut(self.filled..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => bail!("the server has closed the connection"),
                Ok(bytes) => {
                    let full = bytes == room.len();
                    self.filled += bytes;
                    return Ok(full);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading"),
            }
        }
    }

    /// True when all output has left.
    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// Writes what the kernel takes; what has left makes room.
    #[inline]
    pub(crate) fn flush(&mut self) -> Result<()> {
        while let Some(rest @ [_, ..]) = self.output.get(self.sent..) {
            match self.stream.write(rest) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing"),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}
