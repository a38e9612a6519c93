//! Bytes that are sent again and again, with another key each time.

use leveret_resp::encode_command;

/// Where the digits go.
const DIGITS: &[u8] = b"000000000000";

/// Which keys.
pub(super) struct Keys {
    random: fastrand::Rng,
    count: u64,
}

impl Keys {
    pub(super) fn new(count: u64) -> Self {
        Self { random: fastrand::Rng::new(), count }
    }

    #[inline]
    fn pick(&mut self) -> u64 {
        self.random.u64(..self.count)
    }
}

/// Something that has a key in it.
pub(super) struct Keyed {
    bytes: Vec<u8>,
    at: usize,
}

impl Keyed {
    /// The key is where its digits are.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let at = bytes.windows(DIGITS.len()).position(|window| window == DIGITS).unwrap_or(bytes.len());
        Self { bytes, at }
    }

    /// Appends it with the next key.
    #[inline]
    pub(super) fn append(&self, keys: &mut Keys, out: &mut Vec<u8>) {
        let start = out.len() + self.at;
        out.extend_from_slice(&self.bytes);
        let mut rest = keys.pick();
        for digit in out.get_mut(start..start + DIGITS.len()).unwrap_or_default().iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

/// The command that every worker executes, with its key still to come.
pub(super) fn set(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &[b"SET", &[b"key:", DIGITS].concat(), &vec![b'x'; size]]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_in_its_place() {
        let keyed = Keyed::new(set(16));
        let mut out = b"before".to_vec();
        keyed.append(&mut Keys { random: fastrand::Rng::with_seed(1), count: 1 }, &mut out);
        assert_eq!(out, b"before*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$16\r\nxxxxxxxxxxxxxxxx\r\n");
        let mut keys = Keys { random: fastrand::Rng::with_seed(1), count: u64::MAX };
        out.clear();
        keyed.append(&mut keys, &mut out);
        assert!(out.starts_with(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:") && out[23..35] != *DIGITS, "{out:?}");
    }
}
