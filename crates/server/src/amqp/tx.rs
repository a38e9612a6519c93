//! Channels in transaction mode: publishes and acknowledgements are gathered, and a commit does all of them in one commit
//! of the log. (AMQP 0-9-1 1.9)

use crate::amqp::channel::Held;
use crate::amqp::session::{AmqpSession, Failure, Outcome};
use leveret_amqp as amqp;
use leveret_amqp::{Method, ReplyCode};
use leveret_engine::Engine;
use leveret_engine::broker::{Exception, How, Message, VhostId};
use std::sync::Arc;

/// What waits for `tx.commit`.
#[derive(Default)]
pub(crate) struct Tx {
    publishes: Vec<(bool, Arc<Message>)>,
    settled: Vec<(Held, How)>,
    pub(crate) bytes: u64,
}

/// Bytes that the open transactions of a connection may gather, if one message may not have more.
const GATHERED_MAX: u64 = 64 * 1024 * 1024;

fn refused(text: &str) -> Failure {
    Exception::new(ReplyCode::PreconditionFailed, text).into()
}

impl AmqpSession {
    pub(crate) fn tx_select(&mut self, number: u16, out: &mut Vec<u8>) -> Outcome {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        if channel.confirms.is_some() {
            return Err(refused("cannot switch from confirm to tx mode"));
        }
        channel.tx.get_or_insert_default();
        self.reply(number, 0, &Method::TxSelectOk(amqp::TxSelectOk {}), out);
        Ok(())
    }

    /// What was gathered; the channel begins anew.
    fn take_tx(&mut self, number: u16) -> Result<Tx, Failure> {
        let tx = self.channels.get_mut(&number).and_then(|channel| channel.tx.as_deref_mut());
        let tx = tx.map(std::mem::take).ok_or_else(|| refused("channel is not transactional"))?;
        self.tx_bytes -= tx.bytes;
        Ok(tx)
    }

    /// A publish waits; what would be refused is refused now.
    pub(crate) fn tx_publish(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        mandatory: bool,
        message: &Arc<Message>,
    ) -> Outcome {
        engine.on_broker(|txn| txn.check_publish(vhost, message))?;
        let Some(tx) = self.channels.get_mut(&number).and_then(|channel| channel.tx.as_deref_mut()) else {
            return Ok(());
        };
        let size = message.size() as u64;
        let (bytes, max) = (self.tx_bytes + size, self.message_bytes_max.max(GATHERED_MAX));
        if bytes > max {
            let text =
                format!("transactions of {bytes} bytes are larger than the {max} that a connection may have");
            return Err(refused(&text));
        }
        tx.bytes += size;
        self.tx_bytes = bytes;
        tx.publishes.push((mandatory, message.clone()));
        Ok(())
    }

    pub(crate) fn tx_commit(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let tx = self.take_tx(number)?;
        // All of it or nothing. (RabbitMQ does what it can, and then says the same.)
        let mut messages = tx.publishes.iter().map(|(_, message)| message);
        if engine.on_broker(|txn| txn.would_reject(vhost, &mut messages)) {
            return Err(refused("partial tx completion"));
        }
        let (mut unroutable, mut rejected) = (Vec::new(), false);
        engine.on_broker(|txn| {
            for (mandatory, message) in &tx.publishes {
                // An exchange that has gone since routes nowhere.
                let published = txn.publish(vhost, message).ok();
                let (queues, durable) = published.map_or((0, false), |p| (p.queues, p.durable));
                self.credit.published(queues, if durable { message.size() } else { 0 });
                if *mandatory && published.is_none_or(|published| published.queues == 0) {
                    unroutable.push(message);
                }
                rejected |= published.is_some_and(|published| published.rejected);
            }
            for ((_, (queue, seq)), how) in &tx.settled {
                txn.settle(self.id, number, *queue, *seq, *how);
            }
        });
        unroutable.into_iter().for_each(|message| self.return_message(number, message, out));
        if rejected {
            return Err(refused("partial tx completion"));
        }
        self.durable_reply(engine, number, false, &Method::TxCommitOk(amqp::TxCommitOk {}), out);
        Ok(())
    }

    pub(crate) fn tx_rollback(&mut self, number: u16, out: &mut Vec<u8>) -> Outcome {
        let tx = self.take_tx(number)?;
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.unsettle(tx.settled.into_iter().map(|(held, _)| held));
        }
        self.reply(number, 0, &Method::TxRollbackOk(amqp::TxRollbackOk {}), out);
        Ok(())
    }

    /// Settles what a method names: now, or with the transaction.
    pub(crate) fn settle_held(&mut self, engine: &mut Engine, number: u16, held: Vec<Held>, how: How) {
        if let Some(tx) = self.channels.get_mut(&number).and_then(|channel| channel.tx.as_deref_mut()) {
            tx.settled.extend(held.into_iter().map(|held| (held, how)));
            return;
        }
        engine.on_broker(|txn| {
            for (_, (queue, seq)) in held {
                txn.settle(self.id, number, queue, seq, how);
            }
        });
    }
}
