//! What others may know of AMQP connections, and how they are ended. (RabbitMQ: connections and channels of the management API)

use crate::accounts::{Errand, Finding, User};
use crate::engine::Engine;
use crate::parameters::{ParameterKey, USER_LIMITS};
use crate::session::SessionId;
use leveret_broker::VhostId;
use std::collections::BTreeMap;

/// An open AMQP connection.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names are those of the management API")]
pub struct Link {
    pub user: String,
    pub vhost: Option<VhostId>,
    pub address: String,
    pub local_address: String,
    pub auth_mechanism: String,
    /// A table of AMQP.
    pub client_properties: Box<[u8]>,
    pub frame_max: u32,
    pub channel_max: u16,
    pub heartbeat: u16,
    pub since_ms: u64,
    pub channels: BTreeMap<u16, LinkChannel>,
    /// Nothing is read from it until others have caught up with what it has published.
    pub flows: bool,
    /// When that began or ended last.
    pub flowed_ms: u64,
    /// It has something to publish while memory or disk space is short.
    pub blocked: bool,
}

/// One of its channels.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are those of the management API")]
pub struct LinkChannel {
    pub confirm: bool,
    pub transactional: bool,
    pub prefetch_count: u16,
    pub global_prefetch_count: u16,
}

impl Engine {
    /// The link of a session, if it is an open AMQP connection.
    pub fn link(&mut self, id: SessionId) -> Option<&mut Link> {
        self.sessions.get_mut(&id)?.link.as_deref_mut()
    }

    /// Ends a connection: AMQP clients are told why. (AMQP 0-9-1: connection-forced)
    pub fn force_close(&mut self, id: SessionId, why: &str) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match session.link {
            Some(_) => session.forced = Some(why.into()),
            None => session.killed = true,
        }
        session.mark_dirty(id, &mut self.dirty);
    }

    /// Ends all connections of a user, of both protocols.
    pub fn force_close_user(&mut self, name: &str, why: &str) {
        let is_its = |id: &SessionId| {
            let session = self.sessions.get(id);
            session.is_some_and(|session| {
                session.link.as_ref().is_some_and(|link| link.user == name)
                    || session.card.as_ref().is_some_and(|card| card.user == name)
            })
        };
        let mut ids: Vec<SessionId> = self.sessions.keys().copied().filter(is_its).collect();
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.force_close(id, why));
    }

    /// Deletes a vhost with everything in it; its connections end and nobody has permissions there any more.
    pub fn delete_vhost(&mut self, id: VhostId) {
        let name = String::from_utf8_lossy(self.broker.vhost_name(id)).into_owned();
        self.begin();
        self.on_broker(|txn| txn.vhost_delete(id));
        let has_any = |user: &User| {
            user.permissions.contains_key(&name)
                || user.topic_permissions.keys().any(|(vhost, _)| *vhost == name)
        };
        let users: Vec<User> =
            self.accounts.users().filter(|user| has_any(user)).map(|user| (**user).clone()).collect();
        let of_vhost = |key: &&ParameterKey| key[0] != USER_LIMITS && key[1] == name;
        let parameters: Vec<ParameterKey> =
            self.parameters.iter().map(|(key, _)| key).filter(of_vhost).cloned().collect();
        for key in parameters {
            self.delete_parameter(&key);
        }
        for mut user in users {
            user.permissions.remove(&name);
            user.topic_permissions.retain(|(vhost, _), _| *vhost != name);
            self.put_user(user);
        }
        self.end();
        let is_there = |(id_of, link): (SessionId, Option<VhostId>)| (link == Some(id)).then_some(id_of);
        let links = self
            .sessions
            .iter()
            .map(|(id, session)| (*id, session.link.as_ref().and_then(|link| link.vhost)));
        let mut ids: Vec<SessionId> = links.filter_map(is_there).collect();
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.force_close(id, &format!("vhost '{name}' is deleted")));
    }

    /// The session goes on when the errand is done, by somebody who does not hold the engine.
    pub fn ask(&mut self, id: SessionId, errand: Errand) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.asked = true;
            session.finding = None;
            self.errands.push((id, errand));
        }
    }

    /// Errands that sessions wait for.
    pub fn take_errands(&mut self) -> Vec<(SessionId, Errand)> {
        std::mem::take(&mut self.errands)
    }

    /// An errand is done: the session goes on.
    pub fn found(&mut self, id: SessionId, errand: &Errand, finding: Finding) {
        if let (Errand::Check(check), Finding::Login(Some(fits))) = (errand, &finding) {
            self.accounts.remember(check, fits);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.asked = false;
            session.finding = Some(finding);
            session.mark_dirty(id, &mut self.dirty);
        }
    }
}
