//! Exchanges that keep the last messages for what is bound to them later. They are routed to it as if they came now, oldest
//! first. After a restart an exchange that is durable still has those that are persistent.

use super::{Published, Txn};
use crate::change::Change;
use crate::exchange::{Destination, Recent, is_unkept};
use crate::{ExchangeId, Message};
use std::sync::Arc;

impl Txn<'_> {
    /// These exchanges keep a message; `recorded` says whether the log has it. True when it has it now.
    pub(super) fn keep_in(
        &mut self,
        exchanges: &[ExchangeId],
        message: &Arc<Message>,
        mut recorded: bool,
    ) -> bool {
        if exchanges.is_empty() || is_unkept(message.headers()) {
            return recorded;
        }
        for id in exchanges {
            let kept = message.persistent && self.broker.is_logged(Destination::Exchange(*id));
            if kept && !recorded {
                Change::Message(message).record(&mut self.changes);
                recorded = true;
            }
            let Some(history) = self.broker.history(*id) else { continue };
            if history.is_full() {
                self.forget_oldest(*id);
            }
            self.keep_recent(*id, message, kept);
        }
        recorded
    }

    /// Primitive: an exchange keeps a message. The caller has recorded the message itself.
    pub(crate) fn keep_recent(&mut self, id: ExchangeId, message: &Arc<Message>, kept: bool) {
        let Some(history) = self.broker.history(id) else { return };
        history.push(Recent { message: message.clone(), kept });
        if kept {
            Change::RecentKept { exchange: id }.record(&mut self.changes);
        }
    }

    /// Primitive: an exchange forgets the oldest message that it keeps.
    pub(crate) fn forget_oldest(&mut self, id: ExchangeId) {
        let gone = self.broker.history(id).and_then(|history| history.pop());
        if gone.is_some_and(|gone| gone.kept) {
            Change::RecentForgotten { exchange: id }.record(&mut self.changes);
        }
    }

    // DEVIATION: RabbitMQ hands the newest on first where an exchange is bound to another.
    /// What an exchange keeps goes to what has just been bound to it.
    pub(super) fn pass_history(&mut self, id: ExchangeId, to: Destination) {
        let Some(history) = self.broker.history(id) else { return };
        // The log may not keep the old ones.
        let copies: Vec<Message> = history.iter().map(|recent| (*recent.message).clone()).collect();
        for message in copies.into_iter().map(Arc::new) {
            match to {
                Destination::Queue(_) => {
                    self.deliver_seen(&[to], &message, false);
                }
                Destination::Exchange(id) => {
                    self.pass_on(id, &message);
                }
            }
        }
    }

    /// A message that was routed once goes on from an exchange.
    pub(crate) fn pass_on(&mut self, id: ExchangeId, message: &Arc<Message>) -> Published {
        let mut route = std::mem::take(&mut self.broker.route);
        route.clear();
        let mut published = Published::default();
        if self.route_from(id, message, &mut route).is_ok() {
            let recorded = self.stop_over(message);
            published = self.deliver_seen(&route, message, recorded);
        }
        self.broker.route = route;
        published
    }

    /// The exchanges that a message has been routed through keep it, or let it wait; true when the log has it.
    pub(super) fn stop_over(&mut self, message: &Arc<Message>) -> bool {
        let delaying = std::mem::take(&mut self.broker.delaying);
        let recorded = self.delay_in(&delaying, message);
        let keeping = std::mem::take(&mut self.broker.keeping);
        self.keep_in(&keeping, message, recorded)
    }
}
