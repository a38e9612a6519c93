//! Requests: arrays of bulk strings and inline commands, pipelined and in pieces. The decoder remembers what it has
//! seen of an unfinished command, so a value that arrives in a thousand reads is not scanned a thousand times.
//! (Redis: networking, `processMultibulkBuffer`)

use crate::args::{Batch, Range};
use std::fmt;

/// What a client may send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Arguments of one command. Those that are announced cost nothing before they come.
    pub args_max: usize,
    /// Bytes of one argument. (Redis: `proto-max-bulk-len`)
    pub bulk_bytes_max: usize,
    /// Bytes of one inline command or of one length line.
    pub inline_bytes_max: usize,
    /// Before `AUTH`, Redis takes 10 arguments of 16 KiB only.
    pub authenticated: bool,
    /// Commands found in one call. At this bound the caller executes, drains and calls again without having read:
    /// with 1 a pipelined `AUTH` counts for what comes behind it.
    pub commands_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            args_max: i32::MAX as usize,
            bulk_bytes_max: 512 * 1024 * 1024,
            inline_bytes_max: 64 * 1024,
            authenticated: true,
            commands_max: usize::MAX,
        }
    }
}

/// Places for ranges that an idle connection keeps.
pub(crate) const RANGES_KEPT: usize = 1024;

const ARGS_MAX_UNAUTHENTICATED: usize = 10;
const BULK_MAX_UNAUTHENTICATED: usize = 16 * 1024;

/// What ends the connection; `Display` is Redis' text, without `ERR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the texts below say what each is")]
pub enum ProtocolError {
    InvalidMultibulkLength,
    InvalidBulkLength,
    ExpectedDollar(u8),
    TooBigInline,
    TooBigMultibulkCount,
    TooBigBulkCount,
    UnbalancedQuotes,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::ExpectedDollar(got) => {
                return write!(f, "expected '$', got '{}'", char::from(*got));
            }
            ProtocolError::TooBigInline => "too big inline request",
            ProtocolError::TooBigMultibulkCount => "too big mbulk count string",
            ProtocolError::TooBigBulkCount => "too big bulk count string",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// The state of one connection's request stream.
#[derive(Default)]
pub struct Decoder {
    /// What the client may send.
    pub limits: Limits,
    /// Progress inside an unfinished command, relative to its first byte: what was parsed, how many arguments are
    /// missing, the length of the argument that is arriving.
    parsed: usize,
    missing: Option<usize>,
    bulk_len: Option<usize>,
    ranges: Vec<Range>,
    /// Bytes of an inline command that hold no newline.
    searched: usize,
}

/// What one step found.
enum Step {
    /// A whole command ends at this offset from its first byte.
    Command(usize),
    /// An empty line or array ends there: nothing to do.
    Nothing(usize),
    /// The rest has not arrived.
    More,
}

impl Decoder {
    /// Appends every whole command at the start of `input` to `batch` and gives how many bytes they took. After the
    /// batch is executed the caller drains those bytes; what is left is the start of an unfinished command. Inline
    /// commands may rewrite their own bytes (quotes), hence `&mut`. On an error the commands before it are in `batch`.
    pub fn decode(&mut self, input: &mut [u8], batch: &mut Batch) -> Result<usize, ProtocolError> {
        let (mut consumed, mut found) = (0, 0);
        while found < self.limits.commands_max
            && let Some(&first) = input.get(consumed)
        {
            let command = input.get_mut(consumed..).unwrap_or_default();
            let step = if first == b'*' { self.multibulk(command)? } else { self.inline(command)? };
            match step {
                Step::More => break,
                Step::Nothing(len) => consumed += len,
                Step::Command(len) => {
                    let first = batch.ranges.len();
                    batch
                        .ranges
                        .extend(self.ranges.iter().map(|r| Range { start: r.start + consumed, len: r.len }));
                    batch.close_command(first);
                    consumed += len;
                    found += 1;
                }
            }
            self.forget();
        }
        Ok(consumed)
    }

    #[cfg(test)]
    pub(crate) fn ranges_kept(&self) -> usize {
        self.ranges.capacity()
    }

    fn forget(&mut self) {
        self.parsed = 0;
        self.missing = None;
        self.bulk_len = None;
        self.searched = 0;
        self.ranges.clear();
        self.ranges.shrink_to(RANGES_KEPT);
    }

    fn multibulk(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => {
                let Some((count, next)) = self.length_line(input, ProtocolError::TooBigMultibulkCount)?
                else {
                    return Ok(Step::More);
                };
                let count = count.ok_or(ProtocolError::InvalidMultibulkLength)?;
                if count > self.limits.args_max as i64 {
                    return Err(ProtocolError::InvalidMultibulkLength);
                }
                if count > ARGS_MAX_UNAUTHENTICATED as i64 && !self.limits.authenticated {
                    return Err(ProtocolError::UnauthenticatedMultibulkLength);
                }
                if count <= 0 {
                    return Ok(Step::Nothing(next));
                }
                self.parsed = next;
                count as usize
            }
        };
        while missing > 0 {
            self.missing = Some(missing);
            let len = match self.bulk_len {
                Some(len) => len,
                None => {
                    match input.get(self.parsed) {
                        None => return Ok(Step::More),
                        Some(b'$') => {}
                        Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
                    }
                    let Some((len, next)) = self.length_line(input, ProtocolError::TooBigBulkCount)? else {
                        return Ok(Step::More);
                    };
                    let len = len
                        .and_then(|len| usize::try_from(len).ok())
                        .ok_or(ProtocolError::InvalidBulkLength)?;
                    if len > self.limits.bulk_bytes_max {
                        return Err(ProtocolError::InvalidBulkLength);
                    }
                    if len > BULK_MAX_UNAUTHENTICATED && !self.limits.authenticated {
                        return Err(ProtocolError::UnauthenticatedBulkLength);
                    }
                    self.parsed = next;
                    self.bulk_len = Some(len);
                    len
                }
            };
            // The two bytes behind the argument are taken unseen, as Redis does.
            if input.len() < self.parsed + len + 2 {
                return Ok(Step::More);
            }
            self.ranges.push(Range { start: self.parsed, len });
            self.parsed += len + 2;
            self.bulk_len = None;
            missing -= 1;
        }
        Ok(Step::Command(self.parsed))
    }

    /// Reads `*12\r\n` or `$12\r\n` at `self.parsed`: the number, if it is one, and the offset behind the line.
    #[inline]
    fn length_line(
        &self,
        input: &[u8],
        too_big: ProtocolError,
    ) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        let line = input.get(self.parsed + 1..).unwrap_or_default();
        let (mut value, mut digits) = (0i64, 0);
        for (i, &byte) in line.iter().enumerate() {
            match byte {
                b'0'..=b'9' if digits < 18 => {
                    value = value * 10 + i64::from(byte - b'0');
                    digits += 1;
                }
                b'\r' => {
                    if line.len() < i + 2 {
                        return Ok(None);
                    }
                    let canonical = i == 1 || i > 1 && line.first() != Some(&b'0');
                    return Ok(Some((canonical.then_some(value), self.parsed + i + 3)));
                }
                _ => return self.odd_length_line(input, too_big),
            }
        }
        self.odd_length_line(input, too_big)
    }

    /// The slow way: signs, rubbish, or a line that goes on.
    #[cold]
    fn odd_length_line(
        &self,
        input: &[u8],
        too_big: ProtocolError,
    ) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        let line = input.get(self.parsed + 1..).unwrap_or_default();
        let Some(end) = line.iter().position(|&b| b == b'\r') else {
            return if line.len() > self.limits.inline_bytes_max { Err(too_big) } else { Ok(None) };
        };
        if line.len() < end + 2 {
            return Ok(None);
        }
        let text = line.get(..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        // Only as it would be written: no `+1`, `-0` or `01`.
        let number = text.parse().ok().filter(|number: &i64| number.to_string() == text);
        Ok(Some((number, self.parsed + end + 3)))
    }

    fn inline(&mut self, input: &mut [u8]) -> Result<Step, ProtocolError> {
        let unsearched = input.get(self.searched..).unwrap_or_default();
        let Some(end) = unsearched.iter().position(|&b| b == b'\n').map(|i| i + self.searched) else {
            self.searched = input.len();
            return if input.len() > self.limits.inline_bytes_max {
                Err(ProtocolError::TooBigInline)
            } else {
                Ok(Step::More)
            };
        };
        let line = input.get_mut(..end).unwrap_or_default();
        match line {
            [line @ .., b'\r'] => self.split_inline(line)?,
            line => self.split_inline(line)?,
        }
        Ok(if self.ranges.is_empty() { Step::Nothing(end + 1) } else { Step::Command(end + 1) })
    }

    /// Splits at blanks. A quoted argument is unquoted in place: what it means is never longer than how it is spelt.
    fn split_inline(&mut self, line: &mut [u8]) -> Result<(), ProtocolError> {
        let mut i = 0;
        loop {
            while line.get(i).is_some_and(|b| b.is_ascii_whitespace()) {
                i += 1;
            }
            if i >= line.len() {
                return Ok(());
            }
            let (start, mut out) = (i, i);
            let mut quote = None;
            loop {
                let Some(&byte) = line.get(i) else {
                    if quote.is_some() {
                        return Err(ProtocolError::UnbalancedQuotes);
                    }
                    break;
                };
                let (meaning, len) = match quote {
                    None if byte.is_ascii_whitespace() => break,
                    None if byte == b'"' || byte == b'\'' => {
                        quote = Some(byte);
                        i += 1;
                        continue;
                    }
                    Some(open) if byte == open => {
                        // A closing quote must be followed by a blank or nothing.
                        if line.get(i + 1).is_some_and(|b| !b.is_ascii_whitespace()) {
                            return Err(ProtocolError::UnbalancedQuotes);
                        }
                        quote = None;
                        i += 1;
                        continue;
                    }
                    Some(b'"') if byte == b'\\' => escape(line.get(i..).unwrap_or_default()),
                    Some(b'\'') if byte == b'\\' && line.get(i + 1) == Some(&b'\'') => (b'\'', 2),
                    None | Some(_) => (byte, 1),
                };
                // A meaning is never longer than its spelling, so `out` is behind `i`.
                if let Some(place) = line.get_mut(out) {
                    *place = meaning;
                }
                out += 1;
                i += len;
            }
            self.ranges.push(Range { start, len: out - start });
        }
    }
}

/// What a backslash and its followers mean inside double quotes, and how many bytes they are.
fn escape(text: &[u8]) -> (u8, usize) {
    let hex = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    match *text {
        [_, b'x', high, low, ..] if hex(high).is_some() && hex(low).is_some() => {
            (hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0), 4)
        }
        [_, b'n', ..] => (b'\n', 2),
        [_, b'r', ..] => (b'\r', 2),
        [_, b't', ..] => (b'\t', 2),
        [_, b'b', ..] => (8, 2),
        [_, b'a', ..] => (7, 2),
        [_, other, ..] => (other, 2),
        [..] => (b'\\', 1),
    }
}
