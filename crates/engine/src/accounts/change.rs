//! The changes of users as bytes; the tags are part of the log's format and are never reused. A user is recorded whole.

use super::{Accounts, Acl, Password, Pattern, Permissions, TopicPermissions, User};
use crate::engine::Engine;
use leveret_base::codec::{Malformed, Reader, put_bytes, put_varint};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// The tags that belong to accounts.
pub const CHANGE_TAGS: std::ops::RangeInclusive<u8> = 0x80..=0x8f;

pub(crate) const USER_PUT: u8 = 0x80;
pub(crate) const USER_DELETE: u8 = 0x81;

impl Engine {
    /// A user as it is from now on, new or not.
    pub fn put_user(&mut self, user: User) {
        self.begin();
        let out = self.changes();
        out.push(USER_PUT);
        record(&user, out);
        self.accounts.put(user);
        self.end();
    }

    /// Deletes a user; false if there is none.
    pub fn delete_user(&mut self, name: &str) -> bool {
        if !self.accounts.delete(name) {
            return false;
        }
        self.begin();
        let out = self.changes();
        out.push(USER_DELETE);
        put_bytes(out, name.as_bytes());
        self.end();
        true
    }
}

impl Accounts {
    fn put(&mut self, user: User) {
        self.users.insert(user.name.clone(), Arc::new(user));
        self.generation += 1;
    }

    fn delete(&mut self, name: &str) -> bool {
        self.generation += 1;
        self.users.remove(name).is_some()
    }

    /// Applies one recorded change whose tag has been read: replay.
    pub(crate) fn apply(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        match tag {
            USER_PUT => self.put(read(fields)?),
            USER_DELETE => {
                self.delete(&text(fields)?);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Hands all users over to a checkpoint, which is read by somebody who has some from the beginning.
    pub(crate) fn hand_over(&self, out: &mut Vec<u8>) {
        for name in Accounts::default().users.keys().filter(|name| !self.users.contains_key(*name)) {
            out.push(USER_DELETE);
            put_bytes(out, name.as_bytes());
        }
        for user in self.users.values() {
            out.push(USER_PUT);
            record(user, out);
        }
    }

    /// A number that is equal for equal users.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
        let mut bytes = Vec::new();
        for user in self.users.values() {
            bytes.clear();
            record(user, &mut bytes);
            hasher.write(&bytes);
        }
        hasher.finish()
    }
}

fn record(user: &User, out: &mut Vec<u8>) {
    put_bytes(out, user.name.as_bytes());
    put_texts(out, user.tags.iter());
    put_texts(out, user.passwords.iter().map(Password::to_string));
    let acl = user.acl.as_ref();
    let flags = acl.map_or(0, |acl| 1 | u8::from(acl.on) << 1 | u8::from(acl.nopass) << 2);
    out.push(flags);
    put_bytes(out, acl.map_or("", |acl| &acl.rules).as_bytes());
    put_varint(out, user.permissions.len() as u64);
    for (vhost, Permissions { configure, write, read }) in &user.permissions {
        let texts = [vhost, configure.as_str(), write.as_str(), read.as_str()];
        texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
    }
    put_varint(out, user.topic_permissions.len() as u64);
    for ((vhost, exchange), TopicPermissions { write, read }) in &user.topic_permissions {
        let texts = [vhost, exchange, write.as_str(), read.as_str()];
        texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
    }
}

fn read(fields: &mut Reader<'_>) -> Result<User, Malformed> {
    let name = text(fields)?;
    let tags = texts(fields)?;
    let passwords = texts(fields)?.iter().map(|text| Password::parse(text)).collect::<Result<_, _>>();
    let (flags, rules) = (fields.byte()?, text(fields)?);
    let acl = (flags & 1 != 0).then_some(Acl { on: flags & 2 != 0, nopass: flags & 4 != 0, rules });
    let mut user = User { name, tags, passwords: passwords.map_err(|_| Malformed)?, acl, ..User::default() };
    for _ in 0..fields.varint()? {
        let vhost = text(fields)?;
        let (configure, write, read) = (pattern(fields)?, pattern(fields)?, pattern(fields)?);
        user.permissions.insert(vhost, Permissions { configure, write, read });
    }
    for _ in 0..fields.varint()? {
        let place = (text(fields)?, text(fields)?);
        let (write, read) = (pattern(fields)?, pattern(fields)?);
        user.topic_permissions.insert(place, TopicPermissions { write, read });
    }
    Ok(user)
}

fn put_texts<T: AsRef<str>>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = T>) {
    put_varint(out, texts.len() as u64);
    texts.for_each(|text| put_bytes(out, text.as_ref().as_bytes()));
}

fn text(fields: &mut Reader<'_>) -> Result<String, Malformed> {
    String::from_utf8(fields.bytes()?.to_vec()).map_err(|_| Malformed)
}

fn texts(fields: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    (0..fields.varint()?).map(|_| text(fields)).collect()
}

fn pattern(fields: &mut Reader<'_>) -> Result<Pattern, Malformed> {
    Pattern::new(&text(fields)?).map_err(|_| Malformed)
}
