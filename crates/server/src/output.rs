//! What a connection is told: bytes, and long strings and bodies that are lent by whoever has them instead of being copied. The
//! first part of it has been sent, the next may leave, the rest waits until a position is as durable as was asked for.

use leveret_engine::Position;
use leveret_engine::keyspace::Lent;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

/// The output of one connection.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    /// What belongs between `bytes`.
    pub(crate) lent: Lent,
    /// Of `bytes`.
    sent: usize,
    /// Of what is lent: whole pieces, which are given back after each write, and bytes of the next.
    sent_pieces: (usize, usize),
    /// Up to where `bytes` may leave once a position has reached the level it waits for.
    held: VecDeque<(Position, usize)>,
    /// Up to where `bytes` may leave now, with everything lent that stands before.
    cleared: usize,
}

/// Sent bytes are dropped when there are more than this; an empty output larger than this is given back.
const KEPT_MAX: usize = 64 * 1024;
/// Pieces handed to the kernel in one call: as many as it takes.
const SLICES_MAX: usize = 1024;

impl Output {
    /// Bytes that have not left.
    #[inline]
    pub(crate) fn unsent(&self) -> usize {
        self.bytes.len() - self.sent + self.lent.len() - self.sent_pieces.1
    }

    /// Bytes of memory behind it.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.lent.len() - self.sent_pieces.1
    }

    /// What was written so far may leave when `position` is durable enough; `now` when it is already.
    pub(crate) fn gate(&mut self, position: Position, now: bool) {
        let end = self.bytes.len();
        match self.held.back() {
            None if now => self.cleared = end,
            // Nothing was written since the last gate.
            None if end == self.cleared => {}
            Some((_, last)) if *last == end => {}
            None | Some(_) => self.held.push_back((position, end)),
        }
    }

    /// Lets out what waited for `level`; true while something still waits.
    pub(crate) fn release(&mut self, level: Position) -> bool {
        while let Some(&(position, end)) = self.held.front() {
            if position > level {
                return true;
            }
            self.cleared = end;
            self.held.pop_front();
        }
        false
    }

    /// Writes what may leave, as far as the writer takes it; gives how many bytes that were.
    pub(crate) fn flush(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut written = 0;
        while self.sent < self.cleared {
            let result = if self.lent.is_empty() {
                write(&[IoSlice::new(self.bytes.get(self.sent..self.cleared).unwrap_or_default())])
            } else {
                write(&self.slices())
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    written += len;
                    self.advance(len);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.tidy();
        Ok(written)
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let (whole, mut part) = self.sent_pieces;
        let pieces = self.lent.pieces().get(whole..).unwrap_or_default();
        let mut slices = Vec::with_capacity(SLICES_MAX.min(2 * pieces.len() + 1));
        let mut at = self.sent;
        for piece in pieces {
            if piece.at() >= self.cleared {
                break;
            }
            if slices.len() + 2 > SLICES_MAX {
                return slices;
            }
            if at < piece.at() {
                slices.push(IoSlice::new(self.bytes.get(at..piece.at()).unwrap_or_default()));
                at = piece.at();
            }
            slices.push(IoSlice::new(piece.bytes().get(part..).unwrap_or_default()));
            part = 0;
        }
        slices.push(IoSlice::new(self.bytes.get(at..self.cleared).unwrap_or_default()));
        slices
    }

    /// So many bytes have left, from both in turn.
    fn advance(&mut self, mut len: usize) {
        while len > 0 {
            let (whole, part) = self.sent_pieces;
            match self.lent.pieces().get(whole) {
                Some(piece) if piece.at() == self.sent => {
                    let left = piece.bytes().len() - part;
                    self.sent_pieces = if len < left { (whole, part + len) } else { (whole + 1, 0) };
                    len -= left.min(len);
                }
                next => {
                    let end = next.map_or(self.bytes.len(), |piece| piece.at());
                    let step = len.min(end - self.sent);
                    self.sent += step;
                    len -= step;
                }
            }
        }
    }

    /// Drops what was sent.
    fn tidy(&mut self) {
        if self.sent_pieces.0 > 0 {
            self.lent.drop_first(self.sent_pieces.0);
            self.sent_pieces.0 = 0;
        }
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_MAX {
                self.bytes = Vec::new();
            }
            (self.sent, self.cleared) = (0, 0);
        } else if self.sent > KEPT_MAX && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.cleared -= self.sent;
            self.held.iter_mut().for_each(|(_, end)| *end -= self.sent);
            self.lent.move_back(self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Random writes, gates and a socket that takes as much as it likes: what arrives is what was written, and nothing
    /// before it may.
    #[test]
    fn everything_leaves_once_in_order_and_not_before_it_may() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut output, mut expected, mut arrived) = (Output::default(), Vec::new(), Vec::new());
            // For each gate its position and what had been written then.
            let (mut gates, mut level) = (VecDeque::new(), 0);
            for turn in 1..120 {
                for _ in 0..rng.usize(..4) {
                    let len = rng.usize(1..3000);
                    let piece: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
                    output.bytes.extend_from_slice(b"<");
                    expected.push(b'<');
                    if rng.bool() {
                        output.bytes.extend_from_slice(&piece);
                    } else {
                        let at = output.bytes.len();
                        output.lent.push(at, Arc::new(piece.clone()), 0..piece.len());
                        output.bytes.extend_from_slice(b">");
                    }
                    expected.extend_from_slice(&piece);
                    if output.lent.pieces().last().is_some_and(|last| last.at() + 1 == output.bytes.len()) {
                        expected.push(b'>');
                    }
                }
                output.gate(turn, turn <= level);
                gates.push_back((turn, expected.len()));
                if rng.bool() {
                    level = turn;
                }
                output.release(level);
                let mut room = rng.usize(..5000);
                let result = output.flush(|slices| {
                    let mut taken = 0;
                    for slice in slices {
                        let part = &slice[..slice.len().min(room)];
                        arrived.extend_from_slice(part);
                        room -= part.len();
                        taken += part.len();
                    }
                    if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
                });
                result.unwrap();
                let allowed = gates.iter().take_while(|(position, _)| *position <= level).last();
                assert!(arrived.len() <= allowed.map_or(0, |(_, len)| *len), "seed {seed}");
                assert_eq!(output.unsent(), expected.len() - arrived.len(), "seed {seed}");
            }
            output.release(u64::MAX);
            output
                .flush(|slices| {
                    slices.iter().for_each(|slice| arrived.extend_from_slice(slice));
                    Ok(slices.iter().map(|slice| slice.len()).sum())
                })
                .unwrap();
            assert!(arrived == expected, "seed {seed}");
        }
    }
}
