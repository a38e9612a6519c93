//! One socket with its session: reading into the session, writing what the gate has let through.

use crate::OutputLimits;
use crate::output::Output;
use crate::placement;
use crate::session::Session;
use leveret_engine::{Engine, Position};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Write};
use std::net::IpAddr;

/// A TCP or Unix stream.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => registry.register(stream, token, interest),
            Stream::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Appends to the spare room of `into`, which is not zeroed before.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let room = rustix::buffer::spare_capacity(into);
        let result = match self {
            Stream::Tcp(stream) => rustix::io::read(&*stream, room),
            Stream::Unix(stream) => rustix::io::read(&*stream, room),
        };
        result.map_err(io::Error::from)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Stream::Tcp(stream), [slice]) => stream.write(slice),
            (Stream::Unix(stream), [slice]) => stream.write(slice),
            (Stream::Tcp(stream), slices) => stream.write_vectored(slices),
            (Stream::Unix(stream), slices) => stream.write_vectored(slices),
        }
    }

    /// Where the peer is; all of this machine is one place.
    pub(crate) fn origin(&self) -> IpAddr {
        placement::origin(match self {
            Stream::Tcp(stream) => stream.peer_addr().ok().map(|address| address.ip()),
            Stream::Unix(_) => None,
        })
    }

    /// Both ends' addresses as Redis prints them.
    pub(crate) fn addresses(&self) -> (String, String) {
        let text =
            |address: io::Result<std::net::SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        match self {
            Stream::Tcp(stream) => (text(stream.peer_addr()), text(stream.local_addr())),
            Stream::Unix(_) => ("unix:0".into(), "unix:0".into()),
        }
    }
}

/// What a read left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The socket has no more now.
    Drained,
    /// It may have more.
    More,
    /// The peer is gone.
    Closed,
}

/// One connection of an I/O thread.
pub(crate) struct Connection {
    stream: Stream,
    /// Where the peer is, when that has decided which thread serves it.
    pub(crate) placed_by: Option<IpAddr>,
    pub(crate) session: Session,
    pub(crate) out: Output,
    /// Close when everything is sent.
    pub(crate) closing: bool,
    /// When it began to have more to read than its class may have for long.
    over_since_ms: Option<u64>,
    /// Bytes that it held when that was looked at last.
    pub(crate) weighed: usize,
    /// It is in the list of this turn.
    pub(crate) listed: bool,
    /// Something waits for a sync.
    pub(crate) holding: bool,
    /// The last commit that its answers tell of; other connections' may come between.
    pub(crate) last_commit: Position,
    /// The socket may have more to read.
    pub(crate) readable: bool,
    writable: bool,
    /// The peer will send nothing more: read until the end is seen, because no event will come again.
    pub(crate) ending: bool,
    /// The end was seen: what came before it is still executed and answered.
    pub(crate) ended: bool,
}

/// One read, and what a session may have unexecuted.
const READ_BYTES: usize = 64 * 1024;
/// With more than this unsent nothing more is executed: the client has to read first.
pub(crate) const OUT_MAX: usize = 4 * 1024 * 1024;

impl Connection {
    pub(crate) fn new(stream: Stream, placed_by: Option<IpAddr>, session: Session) -> Self {
        Self {
            stream,
            placed_by,
            session,
            out: Output::default(),
            closing: false,
            over_since_ms: None,
            weighed: 0,
            listed: false,
            last_commit: 0,
            holding: false,
            readable: true,
            writable: true,
            ending: false,
            ended: false,
        }
    }

    /// True when there is room for the answers of more input. Without that it may still be kept: some clients write everything
    /// before they begin to read, and would wait for us as we for them.
    pub(crate) fn may_read(&self) -> bool {
        let has_room = self.waiting_bytes() <= OUT_MAX;
        let reads = if has_room { !self.session.has_work() } else { self.session.keeps_input() };
        reads && !self.closing && !self.ended && !self.session.is_in_flow()
    }

    /// True when something has arrived that can be looked at now.
    pub(crate) fn may_decode(&self) -> bool {
        self.session.is_undecoded() && !self.session.has_work()
    }

    /// Bytes that have not left, or may not yet.
    fn waiting_bytes(&self) -> usize {
        let held = match &self.session {
            Session::Resp(_) => 0,
            Session::Amqp(session) => session.held_bytes(),
        };
        self.out.unsent() + held
    }

    /// True when something can be executed and there is room for its answers.
    pub(crate) fn may_execute(&self) -> bool {
        self.session.may_execute() && self.waiting_bytes() <= OUT_MAX
    }

    /// True when the client lets too much pile up.
    pub(crate) fn is_hopeless(&mut self, limits: &OutputLimits, now_ms: u64) -> bool {
        let limit = match &self.session {
            Session::Resp(session) if session.monitors() => limits.replica,
            Session::Resp(session) if session.is_subscribed() => limits.pubsub,
            Session::Resp(_) => limits.normal,
            // Bounded by the windows of its channels.
            Session::Amqp(_) => return false,
        };
        limit.is_passed(self.out.unsent(), now_ms, &mut self.over_since_ms)
    }

    /// Reads once; gives the bytes read, too.
    pub(crate) fn read(&mut self) -> (Reading, usize) {
        let input = self.session.input();
        // A value that is arriving in pieces gets larger reads.
        input.reserve(if input.len() >= READ_BYTES { READ_BYTES * 8 } else { READ_BYTES / 4 });
        let room = input.capacity() - input.len();
        let result = self.stream.read(input);
        let read = *result.as_ref().unwrap_or(&0);
        let reading = match result {
            Ok(0) => Reading::Closed,
            Ok(read) if read < room => Reading::Drained,
            Ok(_) => Reading::More,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Reading::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Reading::More,
            Err(_) => Reading::Closed,
        };
        (reading, read)
    }

    /// True when consumers can be served again because what they were sent has left.
    pub(crate) fn wants_report(&self) -> bool {
        match &self.session {
            Session::Resp(_) => false,
            Session::Amqp(session) => session.wants_report(self.out.unsent()),
        }
    }

    /// Tells the engine of it.
    pub(crate) fn report(&mut self, engine: &mut Engine) {
        if self.wants_report()
            && let Session::Amqp(session) = &mut self.session
        {
            session.report(engine);
        }
    }

    pub(crate) fn set_writable(&mut self) {
        self.writable = true;
    }

    /// Sends what may leave; false when the connection is over. Gives the bytes sent, too.
    pub(crate) fn flush(&mut self) -> (bool, usize) {
        let Self { stream, out, writable, .. } = self;
        if !*writable {
            return (true, 0);
        }
        let result = out.flush(|slices| {
            let result = stream.write_vectored(slices);
            *writable &= !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            result
        });
        match result {
            Ok(sent) => (!self.is_done() || self.out.unsent() > 0, sent),
            Err(_) => (false, 0),
        }
    }

    /// True when nothing more will come out.
    pub(crate) fn is_done(&self) -> bool {
        (self.closing || self.ended && !self.session.is_unfinished()) && !self.session.is_leaving()
    }
}
