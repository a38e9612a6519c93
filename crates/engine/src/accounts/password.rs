//! Passwords as they are kept: hashes, each with what made it. Its text says all of it.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// A hash of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// `$argon2id$…`
    Argon2(String),
    /// Without salt. (Redis: ACL SETUSER #)
    Sha256([u8; 32]),
    /// Four bytes of salt and the SHA-256 of salt and password. (RabbitMQ: rabbit_password_hashing_sha256)
    RabbitSha256([u8; 36]),
    /// Likewise with SHA-512. (RabbitMQ: rabbit_password_hashing_sha512)
    RabbitSha512([u8; 68]),
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongHash;

impl Password {
    /// A new password with a random salt. Takes long: not to be called by who holds the engine.
    pub fn new(password: &[u8], salt: [u8; 16]) -> Self {
        let hash = Argon2::default().hash_password_with_salt(password, &salt);
        let hash = hash.expect("any length a client can send is allowed");
        Password::Argon2(hash.to_string())
    }

    /// As Redis hashes it.
    pub fn sha256(password: &[u8]) -> Self {
        Password::Sha256(Sha256::digest(password).into())
    }

    /// As RabbitMQ hashes it by default.
    pub fn rabbit_sha256(salt: [u8; 4], password: &[u8]) -> Self {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&salt);
        bytes[4..].copy_from_slice(&Sha256::new_with_prefix(salt).chain_update(password).finalize());
        Password::RabbitSha256(bytes)
    }

    /// True when comparing takes long.
    pub fn is_slow(&self) -> bool {
        matches!(self, Password::Argon2(_))
    }

    /// True when it is the hash of this password.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Password::Argon2(text) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Password::Sha256(hash) => same(hash, &Sha256::digest(password)),
            Password::RabbitSha256(bytes) => {
                let (salt, hash) = bytes.split_at(4);
                same(hash, &Sha256::new_with_prefix(salt).chain_update(password).finalize())
            }
            Password::RabbitSha512(bytes) => {
                let (salt, hash) = bytes.split_at(4);
                same(hash, &Sha512::new_with_prefix(salt).chain_update(password).finalize())
            }
        }
    }

    /// From its text.
    pub fn parse(text: &str) -> Result<Self, WrongHash> {
        if text.starts_with("$argon2") {
            // What would take the memory of the machine is no password.
            let hash = PasswordHash::new(text).map_err(|_| WrongHash)?;
            let params = argon2::Params::try_from(&hash).map_err(|_| WrongHash)?;
            let bounded = params.m_cost() <= MEMORY_MAX_KIB && params.t_cost() <= PASSES_MAX;
            return if bounded && hash.hash.is_some() {
                Ok(Password::Argon2(text.into()))
            } else {
                Err(WrongHash)
            };
        }
        if let Some(hex) = text.strip_prefix("rabbit-sha256:") {
            return from_hex(hex).map(Password::RabbitSha256);
        }
        if let Some(hex) = text.strip_prefix("rabbit-sha512:") {
            return from_hex(hex).map(Password::RabbitSha512);
        }
        from_hex(text).map(Password::Sha256)
    }
}

/// Its text: Redis' hash in hexadecimal digits, argon2id's own form, RabbitMQ's with its name before it.
impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes): (&str, &[u8]) = match self {
            Password::Argon2(text) => return f.write_str(text),
            Password::Sha256(hash) => ("", hash),
            Password::RabbitSha256(bytes) => ("rabbit-sha256:", bytes),
            Password::RabbitSha512(bytes) => ("rabbit-sha512:", bytes),
        };
        f.write_str(name)?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Compares without telling by the time where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Lower case only, as Redis has it.
fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], WrongHash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(WrongHash),
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return Err(WrongHash);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

const MEMORY_MAX_KIB: u32 = 256 * 1024;
const PASSES_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    //! Each kind fits its own password, and its text gives it back.
    use super::{Password, WrongHash};

    #[test]
    fn every_kind_fits_and_has_a_text() {
        let rabbit_sha512 = Password::parse(&format!("rabbit-sha512:{}", "0".repeat(136)));
        assert!(!rabbit_sha512.expect("hexadecimal digits").verify(b"hare"));
        for password in [
            Password::new(b"hare", *b"salt of a spring"),
            Password::sha256(b"hare"),
            Password::rabbit_sha256(*b"salt", b"hare"),
        ] {
            assert!(password.verify(b"hare"), "{password}");
            assert!(!password.verify(b"rabbit"), "{password}");
            assert_eq!(Password::parse(&password.to_string()), Ok(password));
        }
    }

    #[test]
    fn what_rabbitmq_has_hashed_fits() {
        // The example of RabbitMQ's guide on passwords.
        let hash = "rabbit-sha256:908dc60aa5b924b3096b8897d65a3b5f80fa5db62a94b83122cdf4f8fead10d515d8f391";
        assert!(Password::parse(hash).expect("hexadecimal digits").verify(b"test12"));
        assert_eq!(Password::parse(&hash[..hash.len() - 2]), Err(WrongHash));
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let dear = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG";
        assert_eq!(Password::parse(dear), Err(WrongHash));
        assert_eq!(Password::parse("ABCDEF"), Err(WrongHash));
    }
}
