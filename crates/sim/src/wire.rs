//! A connection as a client and the network have it: what was said and has not left, what has arrived and was not looked at. The
//! network takes pieces of any size at any time.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// A client's end of a connection.
pub(crate) struct Wire {
    socket: UnixStream,
    out: Vec<u8>,
    /// What has arrived; whoever understands it drains it.
    pub(crate) input: Vec<u8>,
    /// The server has closed it.
    pub(crate) is_over: bool,
    /// The client says nothing more.
    is_shut: bool,
}

/// The largest piece that travels at once.
const PIECE_MAX: usize = 8192;

impl Wire {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket, out: Vec::new(), input: Vec::new(), is_over: false, is_shut: false }
    }

    /// Where what the client says is appended.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The client says nothing more; what has left arrives, the rest does not.
    pub(crate) fn shut(&mut self) {
        self.is_shut = true;
        self.out.clear();
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Everything that can travel does.
    pub(crate) fn carry_all(&mut self) {
        self.give(usize::MAX);
        while self.take(PIECE_MAX) {}
    }

    /// A piece travels in each direction.
    pub(crate) fn carry(&mut self, rng: &mut fastrand::Rng) {
        let [give, take] = [0; 2].map(|_| match rng.u8(..4) {
            0 => rng.usize(..4),
            1 => rng.usize(..40),
            _ => PIECE_MAX,
        });
        self.give(give);
        self.take(take);
    }

    fn give(&mut self, len_max: usize) {
        let len = len_max.min(self.out.len());
        if len == 0 || self.is_shut {
            return;
        }
        match self.socket.write(&self.out[..len]) {
            Ok(sent) => drop(self.out.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // What is to be read will end.
            Err(_) => self.is_shut = true,
        }
    }

    /// True when there may be more.
    fn take(&mut self, len_max: usize) -> bool {
        if len_max == 0 || self.is_over {
            return false;
        }
        let mut piece = [0; PIECE_MAX];
        match self.socket.read(&mut piece[..len_max.min(PIECE_MAX)]) {
            Ok(0) => self.is_over = true,
            Ok(len) => {
                self.input.extend_from_slice(&piece[..len]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.is_over = true,
        }
        false
    }
}
