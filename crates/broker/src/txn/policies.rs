//! Policies come, change and go, and what they are for follows at once.

use super::Txn;
use crate::arguments::QueueArguments;
use crate::built_in::is_built_in;
use crate::change::Change;
use crate::policy::{Policy, PolicyKey};
use crate::{QueueId, VhostId};
use leveret_amqp::{Table, TableBuf};

impl Txn<'_> {
    /// Primitive: a policy, new or not.
    pub fn put_policy(&mut self, key: PolicyKey, policy: Policy) {
        Change::PolicyPut { key: &key, policy: &policy }.record(&mut self.changes);
        let vhost = key.0;
        self.broker.policies.insert(key, policy);
        self.follow_policies(vhost);
    }

    /// Primitive: a policy goes; false if there is none.
    pub fn delete_policy(&mut self, key: &PolicyKey) -> bool {
        if self.broker.policies.remove(key).is_none() {
            return false;
        }
        Change::PolicyDelete { key }.record(&mut self.changes);
        self.follow_policies(key.0);
        true
    }

    fn follow_policies(&mut self, vhost: VhostId) {
        for id in self.broker.queues_of(vhost) {
            self.follow_policies_of_queue(id);
        }
        for id in self.broker.exchanges_of(vhost) {
            // What changes must not depend on what policies say of exchanges by the way.
            let Some(exchange) = self.broker.exchanges.get(&id).filter(|_| !is_built_in(id)) else {
                continue;
            };
            let own = Table::from_validated(&exchange.arguments).find(b"alternate-exchange");
            let definition = self.broker.policies_of_exchange(exchange).definition();
            let by_policy = definition.as_table().find(b"alternate-exchange");
            let alternate = own.or(by_policy).and_then(|value| value.as_longstr()).map(Box::from);
            if let Some(exchange) = self.broker.exchanges.get_mut(&id) {
                exchange.alternate = alternate;
            }
        }
    }

    /// What a queue's arguments and policies mean together.
    pub(crate) fn follow_policies_of_queue(&mut self, id: QueueId) {
        let Some(queue) = self.broker.queues.get(&id) else { return };
        let with_policies = self.broker.arguments_with_policies(queue);
        let own = Table::from_validated(&queue.arguments);
        let arguments = with_policies.as_ref().map_or(own, TableBuf::as_table);
        let meaning = QueueArguments::of(arguments);
        let Some(queue) = self.broker.queues.get_mut(&id).filter(|queue| queue.meaning != meaning) else {
            return;
        };
        if queue.meaning.expires_ms != meaning.expires_ms {
            queue.expires_at = meaning.expires_ms.map(|ms| self.now_ms + ms);
        }
        queue.meaning = meaning;
        self.broker.note_due(id);
        self.broker.crowd(id);
    }
}
