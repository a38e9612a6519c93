//! Replies that stay: whoever asks may name a key under which the reply is kept, too. The address for the reply then says so itself, and
//! nothing is remembered until it comes, if ever: the address is sealed with a secret that is in the log, so that it is good after a
//! restart, and nobody can make one for another key.

use crate::{Message, Txn};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use leveret_base::codec::{Reader, put_varint};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Where a reply is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyKey {
    /// The number of a database.
    pub db: u8,
    /// At most [`REPLY_KEY_MAX`] bytes.
    pub key: Box<[u8]>,
    /// For how long; `None` is for ever.
    pub ttl_ms: Option<u64>,
}

/// A reply that has come and is to be kept.
#[derive(Debug, Clone)]
pub struct KeptReply {
    /// Where.
    pub at: ReplyKey,
    /// Its body is the value.
    pub message: Arc<Message>,
}

/// Bytes of a key, so that an address is a short string of AMQP in any case.
pub const REPLY_KEY_MAX: usize = 95;

/// Bytes of the seal.
const SEAL_LEN: usize = 16;

pub(crate) type Secret = [u8; 32];

/// Nested, as HMAC does it: from one seal none of a longer text follows.
fn seal(secret: &Secret, sealed: &[u8]) -> [u8; SEAL_LEN] {
    let inner = Sha256::new_with_prefix(secret).chain_update(b"reply").chain_update(sealed).finalize();
    let outer = Sha256::new_with_prefix(secret).chain_update(b"key").chain_update(inner).finalize();
    std::array::from_fn(|at| outer[at])
}

impl ReplyKey {
    /// As it stands in an address.
    fn sealed(&self, secret: &Secret) -> String {
        let mut bytes = vec![self.db];
        put_varint(&mut bytes, self.ttl_ms.unwrap_or(0));
        bytes.extend_from_slice(&self.key);
        let seal = seal(secret, &bytes);
        BASE64.encode([&seal[..], &bytes].concat())
    }

    /// What an address says, if it is one that was given.
    fn unsealed(secret: &Secret, text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (said, bytes) = bytes.split_at_checked(SEAL_LEN)?;
        if said != seal(secret, bytes) {
            return None;
        }
        let mut fields = Reader::new(bytes);
        let (db, ttl_ms) = (fields.byte().ok()?, fields.varint().ok()?);
        let key = bytes.get(bytes.len() - fields.left()..)?.into();
        Some(Self { db, key, ttl_ms: (ttl_ms > 0).then_some(ttl_ms) })
    }
}

impl Txn<'_> {
    /// What is to stand at the end of an address, so that its reply is kept.
    pub(crate) fn seal_reply_key(&mut self, key: &ReplyKey) -> String {
        if self.broker.reply_secret.is_none() {
            let hash = Sha256::new_with_prefix(self.broker.secret).chain_update(b"replies that stay");
            self.set_reply_secret(hash.finalize().into());
        }
        key.sealed(&self.broker.reply_secret.expect("it was set above"))
    }

    /// Where a reply to an address with this end is kept.
    pub(crate) fn unseal_reply_key(&self, text: &str) -> Option<ReplyKey> {
        ReplyKey::unsealed(self.broker.reply_secret.as_ref()?, text)
    }

    /// Primitive: what addresses are sealed with, for ever.
    pub(crate) fn set_reply_secret(&mut self, secret: Secret) {
        crate::change::Change::ReplySecret(&secret).record(&mut self.changes);
        self.broker.reply_secret = Some(secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sealed_here_is_no_key() {
        let (secret, other) = ([7; 32], [8; 32]);
        for ttl_ms in [None, Some(1), Some(u64::MAX)] {
            for key in [&b""[..], b"answer:7", &[0xff; REPLY_KEY_MAX]] {
                let at = ReplyKey { db: 15, key: key.into(), ttl_ms };
                let text = at.sealed(&secret);
                assert!(
                    text.len() <= 163,
                    "{} characters do not fit behind the rest of an address",
                    text.len()
                );
                assert_eq!(ReplyKey::unsealed(&secret, &text), Some(at));
                assert_eq!(ReplyKey::unsealed(&other, &text), None);
                for end in 0..text.len() {
                    assert_eq!(ReplyKey::unsealed(&secret, &text[..end]), None);
                }
                for at in 0..text.len() {
                    let mut wrong = text.clone().into_bytes();
                    wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
                    let wrong = String::from_utf8(wrong).expect("letters are text");
                    assert_eq!(ReplyKey::unsealed(&secret, &wrong), None, "{wrong}");
                }
            }
        }
    }
}
