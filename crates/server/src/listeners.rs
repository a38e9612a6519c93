//! The sockets that give connections. The first I/O thread accepts from them; who holds the engine may put others in place
//! of those for Redis clients (CONFIG SET port), hence the lock. The new ones are opened before the old ones are closed.

use crate::Settings;
use crate::connection::Stream;
use crate::serve::StartError;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The token of the first one; sessions have lower ones.
const FIRST: usize = usize::MAX / 2;

/// What is spoken on a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp,
    Amqp,
}

/// A socket that gives connections.
pub(crate) enum Listener {
    Tcp(TcpListener, Protocol),
    Unix(UnixListener),
}

/// All of them; what was closed leaves its place to the next one.
#[derive(Default)]
pub(crate) struct Listeners {
    /// Where the thread that accepts hears of connections.
    registry: Option<Registry>,
    sockets: Mutex<Vec<Option<Listener>>>,
}

/// Listens on a port of every address that the settings name.
pub(crate) fn bind(
    settings: &Settings,
    port: u16,
    protocol: Protocol,
) -> Result<(Vec<SocketAddr>, Vec<Listener>), StartError> {
    let (mut bound, mut listeners) = (Vec::new(), Vec::new());
    for host in settings.bind.iter().filter(|_| port != 0) {
        let failed = |error| StartError::Io(format!("cannot listen on {host} port {port}"), error);
        for address in (host.as_str(), port).to_socket_addrs().map_err(failed)? {
            match TcpListener::bind(address) {
                Ok(listener) => {
                    bound.push(address);
                    listeners.push(Listener::Tcp(listener, protocol));
                }
                // A machine without IPv6 is no reason not to start.
                Err(error) if address.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok((bound, listeners))
}

impl Listener {
    fn accept(&self) -> io::Result<(Stream, Protocol)> {
        match self {
            Listener::Tcp(listener, protocol) => {
                listener.accept().map(|(stream, _)| (tuned(stream), *protocol))
            }
            Listener::Unix(listener) => {
                listener.accept().map(|(stream, _)| (Stream::Unix(stream), Protocol::Resp))
            }
        }
    }
}

impl Listeners {
    /// None yet; the thread with this registry will accept.
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry: Some(registry), sockets: Mutex::default() }
    }

    /// Which of them a token means.
    pub(crate) fn index(token: usize) -> Option<usize> {
        token.checked_sub(FIRST)
    }

    /// Lets connections come from these, too.
    pub(crate) fn add(&self, listeners: Vec<Listener>) -> io::Result<()> {
        let mut sockets = self.sockets.lock();
        listeners.into_iter().try_for_each(|listener| self.place(&mut sockets, listener).map(drop))
    }

    /// Gives it a place, and says which.
    fn place(&self, sockets: &mut Vec<Option<Listener>>, mut listener: Listener) -> io::Result<usize> {
        let registry = self.registry.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let index = sockets.iter().position(Option::is_none).unwrap_or(sockets.len());
        let token = Token(FIRST + index);
        match &mut listener {
            Listener::Tcp(listener, _) => registry.register(listener, token, Interest::READABLE)?,
            Listener::Unix(listener) => registry.register(listener, token, Interest::READABLE)?,
        }
        match sockets.get_mut(index) {
            Some(free) => *free = Some(listener),
            None => sockets.push(Some(listener)),
        }
        Ok(index)
    }

    /// Redis clients find the server at another port from now on, or at none if it is 0. Those that are there stay.
    pub(crate) fn move_resp(&self, settings: &Settings, port: u16) -> Result<(), StartError> {
        let (_, new) = bind(settings, port, Protocol::Resp)?;
        let mut sockets = self.sockets.lock();
        let old: Vec<usize> = (0..sockets.len())
            .filter(|&i| matches!(sockets[i], Some(Listener::Tcp(_, Protocol::Resp))))
            .collect();
        let (mut placed, mut outcome) = (Vec::new(), Ok(()));
        for listener in new {
            match self.place(&mut sockets, listener) {
                Ok(index) => placed.push(index),
                Err(error) => outcome = Err(StartError::Io(format!("cannot watch port {port}"), error)),
            }
        }
        // A closed socket is watched no more.
        let gone = if outcome.is_ok() { old } else { placed };
        gone.into_iter().for_each(|i| sockets[i] = None);
        outcome
    }

    /// The next connection of one of them; of one that was closed meanwhile there is none.
    pub(crate) fn accept(&self, index: usize) -> io::Result<(Stream, Protocol)> {
        match self.sockets.lock().get(index) {
            Some(Some(listener)) => listener.accept(),
            Some(None) | None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// No more connections.
    pub(crate) fn close(&self) {
        self.sockets.lock().clear();
    }
}

fn tuned(stream: TcpStream) -> Stream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    Stream::Tcp(stream)
}
