//! Messages on a channel: a publish as it arrives, what is delivered and got, and how it is settled.

use crate::amqp::channel::{Channel, Held};
use crate::amqp::commands::COMMANDS;
use crate::amqp::session::{AmqpSession, Failure, Outcome};
use crate::around::Around;
use crate::output::Output;
use leveret_amqp as amqp;
use leveret_amqp::{Method, ReplyCode};
use leveret_engine::broker::{self, Event, Got, How, VhostId};
use leveret_engine::{Engine, Position};
use std::ops::Range;
use std::sync::Arc;

/// A body of so many bytes is sent from where it lies: copying a shorter one costs less than telling the kernel of it.
const LENT_FROM: usize = if cfg!(any(test, feature = "sim")) { 8 } else { 1024 };

impl AmqpSession {
    /// A whole message on a channel; one that is closing or was never opened takes none.
    pub(crate) fn publish(
        &mut self,
        (engine, around): (&mut Engine, &Around<'_>),
        number: u16,
        mandatory: bool,
        message: &Arc<broker::Message>,
        out: &mut Output,
    ) -> Outcome {
        let vhost =
            self.vhost.ok_or_else(|| Failure::connection(ReplyCode::CommandInvalid, "no vhost is open"))?;
        let addressed = match message.wants_reply() && self.is_open(number) {
            true => {
                let key = self.reply_key(engine, around, message)?;
                Some(engine.on_broker(|txn| txn.address_reply(self.id, number, message, key.as_ref()))?)
            }
            false => None,
        };
        let message = addressed.as_ref().unwrap_or(message);
        match self.channels.get(&number) {
            Some(channel) if channel.closing => return Ok(()),
            Some(channel) if channel.tx.is_some() => {
                self.permit_publish(engine, vhost, message)?;
                if message.exchange() == COMMANDS {
                    let planned = self.plan(engine, around, message)?;
                    return self.tx_command(number, message.size() as u64, planned);
                }
                return self.tx_publish(engine, vhost, number, mandatory, message);
            }
            Some(_) => {}
            None => return Err(Failure::connection(ReplyCode::ChannelError, "expected 'channel.open'")),
        }
        self.permit_publish(engine, vhost, message)?;
        if message.exchange() == COMMANDS {
            return self.command(engine, around, number, message);
        }
        let (published, heard) = engine.publish(vhost, message)?;
        if published.queues == 0 && heard == 0 && mandatory {
            self.return_message(number, message, out);
        }
        let position: Position = if published.durable { engine.position() } else { 0 };
        self.credit.published(published.queues, if published.durable { message.size() } else { 0 });
        if let Some(confirms) = self.channels.get_mut(&number).and_then(|channel| channel.confirms.as_mut()) {
            confirms.push(position, published.rejected);
        }
        Ok(())
    }

    /// A command is a commit of its own here; its confirm waits for the disk.
    #[cold]
    fn command(
        &mut self,
        engine: &mut Engine,
        around: &Around<'_>,
        number: u16,
        message: &broker::Message,
    ) -> Outcome {
        let planned = self.plan(engine, around, message)?;
        if let Some(refusal) = self.execute_planned(engine, around, &planned) {
            return Err(broker::Exception::new(ReplyCode::PreconditionFailed, refusal).into());
        }
        let position = engine.position();
        if let Some(confirms) = self.channels.get_mut(&number).and_then(|channel| channel.confirms.as_mut()) {
            confirms.push(position, false);
        }
        Ok(())
    }

    /// Back to its publisher: no queue takes it.
    pub(crate) fn return_message(&self, number: u16, message: &broker::Message, out: &mut Output) {
        let stripped = message.without_bcc();
        let message = stripped.as_ref().unwrap_or(message);
        let returned = amqp::BasicReturn {
            reply_code: 312,
            reply_text: b"NO_ROUTE",
            exchange: message.exchange(),
            routing_key: message.routing_key(),
        };
        // At once, as its confirm: a reply that waits for the disk holds neither of them back.
        amqp::encode_content(
            number,
            &Method::BasicReturn(returned),
            message.properties(),
            message.body(),
            self.frame_max,
            &mut out.bytes,
        );
    }

    pub(crate) fn get(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        m: &amqp::BasicGet<'_>,
        out: &mut Output,
    ) -> Outcome {
        let queue = self.queue_name(number, m.queue)?;
        self.permit_read(engine, vhost, &queue)?;
        let got = match engine.on_broker(|txn| txn.get_or_fetch(vhost, self.id, number, &queue, m.no_ack))? {
            Got::Message(got) => got,
            Got::Empty => {
                self.reply(number, 0, &Method::BasicGetEmpty(amqp::BasicGetEmpty { cluster_id: b"" }), out);
                return Ok(());
            }
            Got::OnDisk => {
                self.get_later();
                return Ok(());
            }
        };
        let entry = (!m.no_ack).then_some((got.queue, got.seq));
        let delivery_tag = self.channels.get_mut(&number).map_or(0, |channel| channel.tag(entry));
        let ok = amqp::BasicGetOk {
            delivery_tag,
            redelivered: got.redelivered,
            exchange: got.message.exchange(),
            routing_key: got.message.routing_key(),
            message_count: got.message_count as u32,
        };
        self.send_message(number, &Method::BasicGetOk(ok), got.message.properties(), &got.message, out);
        Ok(())
    }

    pub(crate) fn settle(
        &mut self,
        engine: &mut Engine,
        number: u16,
        tag: u64,
        multiple: bool,
        how: How,
    ) -> Outcome {
        // Deliveries that the engine has put out get their tags first.
        let entries = self.channels.get_mut(&number).and_then(|channel| channel.settle(tag, multiple));
        let Some(entries) = entries else {
            let text = format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
            return Err(broker::Exception { code: 406, text, hard: false }.into());
        };
        self.settle_held(engine, number, entries, how);
        Ok(())
    }

    pub(crate) fn recover(&mut self, engine: &mut Engine, number: u16, requeue: bool) -> Outcome {
        if !requeue {
            return Err(Failure::connection(ReplyCode::NotImplemented, "requeue=false"));
        }
        let entries = self.channels.get_mut(&number).map(Channel::take_unacked).unwrap_or_default();
        // What the transaction has acknowledged is not there to come back; the rest does at once.
        engine.on_broker(|txn| {
            for Held { queue, seq, .. } in entries {
                txn.settle(self.id, number, queue, seq, How::Release);
            }
        });
        Ok(())
    }

    /// Sends a message on a channel, behind whatever waits there; a long body from where it lies.
    fn send_message(
        &mut self,
        number: u16,
        method: &Method<'_>,
        properties: &[u8],
        message: &Arc<broker::Message>,
        out: &mut Output,
    ) {
        let (body, frame_max) = (message.body(), self.frame_max);
        let waits = self.channels.get(&number).is_some_and(|channel| !channel.held.is_empty());
        if waits || body.len() < LENT_FROM {
            return self.send(number, 0, out, |out| {
                amqp::encode_content(number, method, properties, body, frame_max, out);
            });
        }
        let (Output { bytes, lent, .. }, start) = (out, message.body_start());
        let lend = |at, part: Range<usize>| {
            lent.push(at, message.clone(), start + part.start..start + part.end);
        };
        amqp::encode_content_around(number, method, properties, body.len(), frame_max, bytes, lend);
    }

    /// Writes one event of the engine: a delivery gets its tag here.
    pub(crate) fn encode_event(&mut self, event: Event, out: &mut Output) {
        match event {
            Event::Deliver {
                channel: number,
                consumer_tag,
                queue,
                seq,
                redelivered,
                no_ack,
                stream_offset,
                message,
            } => {
                self.delivered_bytes += message.size();
                let Some(channel) = self.channels.get_mut(&number).filter(|channel| !channel.closing) else {
                    return;
                };
                let delivery_tag = channel.tag((!no_ack).then_some((queue, seq)));
                let deliver = amqp::BasicDeliver {
                    consumer_tag: &consumer_tag,
                    delivery_tag,
                    redelivered,
                    exchange: message.exchange(),
                    routing_key: message.routing_key(),
                };
                let in_stream = stream_offset.map(|offset| message.properties_in_stream(offset));
                let properties = in_stream.as_deref().unwrap_or(message.properties());
                self.send_message(number, &Method::BasicDeliver(deliver), properties, &message, out);
            }
            // It was for a wait that is over.
            Event::Fetched => {}
            Event::Released { channel, queue, seqs } => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.release_held(queue, &seqs);
                }
            }
            Event::TimedOut { channel, timeout_ms } => self.timed_out(channel, timeout_ms, out),
            // It would not know what to do with it.
            Event::Cancel { .. } if !self.hears_cancel => {}
            Event::Cancel { channel, consumer_tag } => {
                let cancel = amqp::BasicCancel { consumer_tag: &consumer_tag, nowait: true };
                self.reply(channel, 0, &Method::BasicCancel(cancel), out);
            }
        }
    }
}
