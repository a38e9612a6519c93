//! The other server of a migration, spoken to as a client. It is believed nothing but lines of bounded length.

use crate::shared::now_ms;
use leveret_engine::keyspace::Parcel;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Where keys go, and how.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db: i64,
    pub(crate) password: Option<Box<[u8]>>,
    /// Whose password it is, if not the default user's.
    pub(crate) user: Option<Box<[u8]>>,
    /// For each single step.
    pub(crate) timeout: Duration,
    /// What stands there under the same keys is replaced.
    pub(crate) replaces: bool,
}

/// Why a migration ended early; `Display` is what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// There is no such host, or it does not answer.
    Connecting,
    Writing,
    Reading,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broken::Connecting => "IOERR error or timeout connecting to the client",
            Broken::Writing => "IOERR error or timeout writing to target instance",
            Broken::Reading => "IOERR error or timeout reading to target instance",
        })
    }
}

/// Longer than any error that tells something.
const LINE_MAX: u64 = 16 * 1024;

/// A connection.
pub(super) struct Link {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

impl Link {
    /// Connects; `opened` gets the socket, by which somebody else may end this.
    pub(super) fn open(target: &Target, opened: impl FnOnce(TcpStream)) -> Result<Self, Broken> {
        let addresses =
            (target.host.as_str(), target.port).to_socket_addrs().map_err(|_| Broken::Connecting)?;
        let stream = connect(addresses, target.timeout)?;
        let for_writing = |_| Broken::Writing;
        stream.set_nodelay(true).map_err(for_writing)?;
        stream.set_read_timeout(Some(target.timeout)).map_err(for_writing)?;
        stream.set_write_timeout(Some(target.timeout)).map_err(for_writing)?;
        opened(stream.try_clone().map_err(for_writing)?);
        Ok(Self { stream: BufReader::new(stream), out: Vec::new() })
    }

    /// Logs in and chooses the database; gives what the other one has against it.
    pub(super) fn enter(&mut self, target: &Target) -> Result<Option<String>, Broken> {
        if let Some(password) = &target.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(target.user.as_deref());
            words.push(password);
            self.put(&words);
            self.write()?;
            if let Some(refusal) = self.read_refusal()? {
                return Ok(Some(refusal));
            }
        }
        self.put(&[b"SELECT", target.db.to_string().as_bytes()]);
        self.write()?;
        self.read_refusal()
    }

    /// Writes keys, to be answered one by one.
    pub(super) fn write_parcels(&mut self, parcels: &[Parcel], replace: bool) -> Result<(), Broken> {
        let now_ms = now_ms();
        for Parcel { key, payload, deadline } in parcels {
            // The clocks of two machines differ. What has no time left goes there, too, to be answered and to go.
            let ttl = deadline.map_or(0, |at| at.saturating_sub(now_ms).max(1)).to_string();
            let words: &[&[u8]] = &[b"RESTORE", key, ttl.as_bytes(), payload, b"REPLACE"];
            self.put(if replace { words } else { &words[..4] });
        }
        self.write()
    }

    /// The next answer, if it is an error.
    pub(super) fn read_refusal(&mut self) -> Result<Option<String>, Broken> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) | Err(_) => return Err(Broken::Reading),
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        Ok(text.strip_prefix('-').map(str::to_owned))
    }

    fn put(&mut self, words: &[&[u8]]) {
        self.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.out.extend_from_slice(word);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn write(&mut self) -> Result<(), Broken> {
        let written = self.stream.get_mut().write_all(&self.out);
        self.out.clear();
        written.map_err(|_| Broken::Writing)
    }
}

/// Redis notices only when it writes that somebody has refused the connection.
fn connect(addresses: impl Iterator<Item = SocketAddr>, timeout: Duration) -> Result<TcpStream, Broken> {
    let mut broken = Broken::Connecting;
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => broken = Broken::Writing,
            Err(_) => broken = Broken::Connecting,
        }
    }
    Err(broken)
}
