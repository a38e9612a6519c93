//! Channels in transaction mode: publishes and acknowledgements are gathered, and a commit does all of them in one commit
//! of the log. (AMQP 0-9-1 1.9)

use crate::amqp::channel::Held;
use crate::amqp::commands::Planned;
use crate::amqp::session::{AmqpSession, Failure, Outcome};
use crate::around::Around;
use crate::output::Output;
use leveret_amqp as amqp;
use leveret_amqp::{Method, ReplyCode};
use leveret_engine::Engine;
use leveret_engine::broker::{Exception, How, Message, VhostId};
use std::sync::Arc;

/// What waits for `tx.commit`.
#[derive(Default)]
pub(crate) struct Tx {
    publishes: Vec<(bool, Arc<Message>)>,
    commands: Vec<Planned>,
    settled: Vec<(Held, How)>,
    pub(crate) bytes: u64,
}

/// Bytes that the open transactions of a connection may gather, if one message may not have more.
const GATHERED_MAX: u64 = 64 * 1024 * 1024;

impl Tx {
    /// What is settled with it.
    pub(crate) fn settled_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.settled.iter_mut().map(|(held, _)| held)
    }
}

fn refused(text: &str) -> Failure {
    Exception::new(ReplyCode::PreconditionFailed, text).into()
}

impl AmqpSession {
    pub(crate) fn tx_select(&mut self, number: u16, out: &mut Output) -> Outcome {
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

    // DEVIATION: it is routed with the commit.
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
        tx.publishes.push((mandatory, message.clone()));
        self.gather(number, size)
    }

    /// A command waits; what can be known to be wrong with it is refused already.
    pub(crate) fn tx_command(&mut self, number: u16, size: u64, planned: Planned) -> Outcome {
        let Some(tx) = self.channels.get_mut(&number).and_then(|channel| channel.tx.as_deref_mut()) else {
            return Ok(());
        };
        tx.commands.push(planned);
        self.gather(number, size)
    }

    /// So many bytes more wait; more than a connection may have is a mistake of the channel, which ends with all it has gathered.
    fn gather(&mut self, number: u16, size: u64) -> Outcome {
        let Some(tx) = self.channels.get_mut(&number).and_then(|channel| channel.tx.as_deref_mut()) else {
            return Ok(());
        };
        let (bytes, max) = (self.tx_bytes + size, self.message_bytes_max.max(GATHERED_MAX));
        if bytes > max {
            let text =
                format!("transactions of {bytes} bytes are larger than the {max} that a connection may have");
            return Err(refused(&text));
        }
        tx.bytes += size;
        self.tx_bytes = bytes;
        Ok(())
    }

    pub(crate) fn tx_commit(
        &mut self,
        (engine, around): (&mut Engine, &Around<'_>),
        vhost: VhostId,
        number: u16,
        out: &mut Output,
    ) -> Outcome {
        let tx = self.take_tx(number)?;
        // All of it or nothing. (RabbitMQ does what it can, and then says the same.)
        let mut messages = tx.publishes.iter().map(|(_, message)| message);
        if engine.on_broker(|txn| txn.would_reject(vhost, &mut messages)) {
            return Err(refused("partial tx completion"));
        }
        // Commands first: as long as nothing is changed a refused one refuses all.
        engine.begin();
        let mut failure = None;
        for planned in &tx.commands {
            let refusal = self.execute_planned(engine, around, planned);
            failure = failure.or(refusal);
            if let Some(refusal) = &failure
                && engine.commit_bytes() == 0
            {
                let refusal = refused(refusal);
                engine.end();
                return Err(refusal);
            }
        }
        let (mut unroutable, mut rejected) = (Vec::new(), false);
        engine.on_broker(|txn| {
            for (mandatory, message) in &tx.publishes {
                // An exchange that has gone since routes nowhere.
                let published = txn.publish(vhost, message).ok();
                let (queues, durable, told) =
                    published.map_or((0, false, false), |p| (p.queues, p.durable, p.told));
                self.credit.published(queues, if durable { message.size() } else { 0 });
                if *mandatory && queues == 0 {
                    unroutable.push((message, told));
                }
                rejected |= published.is_some_and(|published| published.rejected);
            }
            for &(Held { queue, seq, .. }, how) in &tx.settled {
                txn.settle(self.id, number, queue, seq, how);
            }
        });
        engine.end();
        for (message, told) in unroutable {
            if !(told && engine.is_listened_to(message.routing_key())) {
                self.return_message(number, message, out);
            }
        }
        if let Some(refusal) = failure {
            // What came before it stands, as in Redis.
            return Err(refused(&format!("partial tx completion: {refusal}")));
        }
        if rejected {
            return Err(refused("partial tx completion"));
        }
        self.durable_reply(engine, number, false, &Method::TxCommitOk(amqp::TxCommitOk {}), out);
        Ok(())
    }

    pub(crate) fn tx_rollback(&mut self, number: u16, out: &mut Output) -> Outcome {
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
            for Held { queue, seq, .. } in held {
                txn.settle(self.id, number, queue, seq, how);
            }
        });
    }
}
