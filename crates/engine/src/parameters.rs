//! Settings that are data: named values of components, in a vhost or for all. (RabbitMQ: runtime parameters, limits)

use crate::engine::Engine;
use leveret_base::codec::{Malformed, Reader, put_bytes};
use leveret_broker::VhostId;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

/// The tags that belong to parameters.
pub(crate) const CHANGE_TAGS: std::ops::RangeInclusive<u8> = 0x90..=0x97;

pub(crate) const PUT: u8 = 0x90;
pub(crate) const DELETE: u8 = 0x91;

/// Component, vhost or user (empty for all), and name.
pub type ParameterKey = [String; 3];

/// Of these the values are numbers, which are looked at: at most so many, none if negative.
pub const VHOST_LIMITS: &str = "vhost-limits";
/// Likewise, for users.
pub const USER_LIMITS: &str = "user-limits";

/// All parameters; the values are JSON, which nobody here reads.
#[derive(Debug, Default)]
pub struct Parameters(BTreeMap<ParameterKey, String>);

impl Parameters {
    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ParameterKey, &str)> {
        self.0.iter().map(|(key, value)| (key, value.as_str()))
    }

    /// The value of one.
    pub fn get(&self, key: &ParameterKey) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// How many there may be, if that is limited.
    pub fn limit(&self, component: &str, of: &str, name: &str) -> Option<usize> {
        if self.0.is_empty() {
            return None;
        }
        let value = self.0.get(&[component.into(), of.into(), name.into()])?;
        usize::try_from(value.parse::<i64>().ok()?).ok()
    }

    pub(crate) fn apply(&mut self, tag: u8, fields: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut text = || String::from_utf8(fields.bytes()?.to_vec()).map_err(|_| Malformed);
        let key = [text()?, text()?, text()?];
        match tag {
            PUT => {
                let value = text()?;
                self.0.insert(key, value);
            }
            DELETE => {
                self.0.remove(&key);
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Hands all of them over to a checkpoint.
    pub(crate) fn hand_over(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|(key, value)| record(key, value, out));
    }

    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
        hasher.write(format!("{:?}", self.0).as_bytes());
        hasher.finish()
    }
}

fn record(key: &ParameterKey, value: &str, out: &mut Vec<u8>) {
    out.push(PUT);
    key.iter().for_each(|part| put_bytes(out, part.as_bytes()));
    put_bytes(out, value.as_bytes());
}

impl Engine {
    /// A parameter as it is from now on.
    pub fn put_parameter(&mut self, key: ParameterKey, value: String) {
        self.begin();
        record(&key, &value, self.changes());
        self.parameters.0.insert(key, value);
        self.end();
    }

    /// Deletes a parameter; false if there is none.
    pub fn delete_parameter(&mut self, key: &ParameterKey) -> bool {
        if self.parameters.0.remove(key).is_none() {
            return false;
        }
        self.begin();
        let out = self.changes();
        out.push(DELETE);
        key.iter().for_each(|part| put_bytes(out, part.as_bytes()));
        self.end();
        true
    }

    /// How many AMQP connections a vhost or a user has.
    pub fn links_count(&self, vhost: Option<VhostId>, user: Option<&str>) -> usize {
        let links = self.sessions.values().filter_map(|session| session.link.as_ref());
        links
            .filter(|link| vhost.is_none() || link.vhost == vhost)
            .filter(|link| user.is_none_or(|user| link.user == user))
            .count()
    }

    /// How many channels a user has.
    pub fn link_channels_count(&self, user: &str) -> usize {
        let links = self.sessions.values().filter_map(|session| session.link.as_ref());
        links.filter(|link| link.user == user).map(|link| link.channels.len()).sum()
    }
}
