//! Replies, written straight into a connection's output, in the version the client has asked for. What RESP2 lacks
//! is written as Redis writes it there. (Redis: HELLO)

use crate::double::DoubleText;
use crate::lent::Lent;
use std::sync::Arc;

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// The version a connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Writes replies.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    lent: Option<&'a mut Lent>,
    version: Version,
}

impl<'a> Reply<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, version: Version) -> Self {
        Self { out, lent: None, version }
    }

    /// Appends to `out`; long strings are not copied but lent.
    pub fn lending(out: &'a mut Vec<u8>, lent: &'a mut Lent, version: Version) -> Self {
        Self { out, lent: Some(lent), version }
    }

    /// The version being written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Goes on in another version: `HELLO` answers in the one it has chosen.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// What was written since the mark.
    pub fn since(&self, mark: usize) -> &[u8] {
        self.out.get(mark..).unwrap_or_default()
    }

    /// Bytes written so far: a mark for `truncate`.
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// Bytes written so far, with those that are not copied: the difference of two is the length of a reply.
    #[inline]
    pub fn written(&self) -> usize {
        self.out.len() + self.lent.as_ref().map_or(0, |lent| lent.len())
    }

    /// Takes back what was written since the mark: a refusal replaces half a reply.
    pub fn truncate(&mut self, mark: usize) {
        self.out.truncate(mark);
        if let Some(lent) = &mut self.lent {
            lent.truncate_at(mark);
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn number(&mut self, kind: u8, number: i64) {
        // Most lengths and counts have one digit or two.
        match number {
            0..=9 => self.out.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']),
            10..=99 => {
                let (tens, ones) = (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8);
                self.out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
            }
            _ => {
                let (digits, start) = digits(number);
                self.line(kind, digits.get(start..).unwrap_or_default());
            }
        }
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string, without line breaks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// Likewise, of any bytes; line breaks become blanks.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        self.out.push(b'+');
        self.out.extend(text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error with its prefix (`ERR …`); line breaks become blanks.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.out.extend(text.bytes().map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.number(b':', value);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string of blocks, which are lent where that is possible.
    pub fn bulk_blocks(&mut self, len: usize, blocks: &[Arc<Vec<u8>>]) {
        self.number(b'$', len as i64);
        match &mut self.lent {
            Some(lent) => {
                let at = self.out.len();
                blocks.iter().for_each(|bytes| lent.push(at, bytes.clone(), 0..bytes.len()));
            }
            None => blocks.iter().for_each(|bytes| self.out.extend_from_slice(bytes)),
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        let (digits, start) = digits(value);
        self.bulk(digits.get(start..).unwrap_or_default());
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// No array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::Resp2 => b"*-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// An array; `len` replies follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.number(b'*', len as i64);
    }

    /// A map; `len` pairs of replies follow.
    pub fn map(&mut self, len: usize) {
        match self.version {
            Version::Resp2 => self.number(b'*', 2 * len as i64),
            Version::Resp3 => self.number(b'%', len as i64),
        }
    }

    /// A set; `len` replies follow.
    pub fn set(&mut self, len: usize) {
        self.number(if self.version == Version::Resp2 { b'*' } else { b'~' }, len as i64);
    }

    /// An out-of-band message; `len` replies follow.
    pub fn push(&mut self, len: usize) {
        self.number(if self.version == Version::Resp2 { b'*' } else { b'>' }, len as i64);
    }

    /// A float, as short as it can be and still come back as the same.
    pub fn double(&mut self, value: f64) {
        let text = DoubleText::new(value);
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// A float whose digits are chosen by whoever calls.
    pub fn double_text(&mut self, digits: &str) {
        match self.version {
            Version::Resp2 => self.bulk(digits.as_bytes()),
            Version::Resp3 => self.line(b',', digits.as_bytes()),
        }
    }

    /// A truth value.
    pub fn boolean(&mut self, value: bool) {
        match self.version {
            Version::Resp2 => self.integer(i64::from(value)),
            Version::Resp3 => self.line(b'#', if value { b"t" } else { b"f" }),
        }
    }

    /// An integer of any size, in decimal digits.
    pub fn big_number(&mut self, digits: &str) {
        match self.version {
            Version::Resp2 => self.bulk(digits.as_bytes()),
            Version::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Attributes of the reply that follows them: `len` pairs. RESP2 has none; there the pairs must not be written,
    /// hence the answer.
    #[must_use = "in RESP2 the pairs must not be written"]
    pub fn attribute(&mut self, len: usize) -> bool {
        if self.version == Version::Resp3 {
            self.number(b'|', len as i64);
        }
        self.version == Version::Resp3
    }

    /// Text with its format, three letters such as `txt`.
    pub fn verbatim(&mut self, format: &str, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => {
                self.number(b'=', (text.len() + 4) as i64);
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// The digits of a number, with its sign, at the end of the buffer from the offset on.
#[inline]
fn digits(number: i64) -> ([u8; 20], usize) {
    let (mut digits, mut start, mut rest) = ([0u8; 20], 20, number.unsigned_abs());
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        digits[start] = b'-';
    }
    (digits, start)
}

/// Writes a command as clients do: an array of bulk strings.
pub fn encode_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    let mut reply = Reply::new(out, Version::Resp2);
    reply.array(args.len());
    args.iter().for_each(|arg| reply.bulk(arg));
}
