//! Messages on a channel: a publish as it arrives, what is delivered and got, and how it is settled.

use crate::amqp::channel::{Arriving, Channel};
use crate::amqp::session::{AmqpSession, Failure, Outcome};
use crate::shared::Shared;
use leveret_amqp as amqp;
use leveret_amqp::{ContentHeader, Method, ReplyCode};
use leveret_engine::broker::{self, Event, How, QueueId, VhostId};
use leveret_engine::{Engine, Position};

impl AmqpSession {
    pub(crate) fn publish(&mut self, number: u16, m: &amqp::BasicPublish<'_>) -> Outcome {
        if m.immediate {
            return Err(Failure::connection(ReplyCode::NotImplemented, "immediate=true"));
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.arriving = Some(Arriving {
                exchange: m.exchange.into(),
                routing_key: m.routing_key.into(),
                mandatory: m.mandatory,
                header: None,
                body: Vec::new(),
            });
        }
        Ok(())
    }

    pub(crate) fn content_header(
        &mut self,
        engine: &mut Engine,
        shared: &Shared,
        number: u16,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some(channel) = self.channels.get_mut(&number).filter(|channel| !channel.closing) else {
            return Ok(());
        };
        let header = ContentHeader::parse(payload)
            .map_err(|error| Failure::connection(error.reply_code(), error.to_string()))?;
        let Some(arriving) = channel.arriving.as_mut().filter(|arriving| arriving.header.is_none()) else {
            return Err(Failure::connection(
                ReplyCode::UnexpectedFrame,
                "expected method frame, got content header frame instead",
            ));
        };
        let (size, max) = (header.body_size, shared.settings.message_bytes_max);
        if size > max {
            channel.arriving = None;
            let text =
                format!("PRECONDITION_FAILED - message size {size} is larger than configured max size {max}");
            return Err(broker::Exception { code: 406, text, hard: false }.into());
        }
        arriving.header = Some((size, header.properties.raw().into()));
        arriving.body.reserve((size as usize).min(1024 * 1024));
        if size == 0 { self.complete(engine, number, out) } else { Ok(()) }
    }

    pub(crate) fn content_body(
        &mut self,
        engine: &mut Engine,
        number: u16,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some(channel) = self.channels.get_mut(&number).filter(|channel| !channel.closing) else {
            return Ok(());
        };
        let Some((arriving, size)) = channel
            .arriving
            .as_mut()
            .and_then(|a| a.header.as_ref().map(|(size, _)| *size).map(|size| (a, size)))
        else {
            return Err(Failure::connection(
                ReplyCode::UnexpectedFrame,
                "expected method frame, got content body frame instead",
            ));
        };
        arriving.body.extend_from_slice(payload);
        let len = arriving.body.len() as u64;
        if len > size {
            return Err(Failure::connection(
                ReplyCode::FrameError,
                format!("body of {len} bytes is longer than its header said ({size})"),
            ));
        }
        if len == size { self.complete(engine, number, out) } else { Ok(()) }
    }

    /// The whole message is there.
    fn complete(&mut self, engine: &mut Engine, number: u16, out: &mut Vec<u8>) -> Outcome {
        let vhost =
            self.vhost.ok_or_else(|| Failure::connection(ReplyCode::CommandInvalid, "no vhost is open"))?;
        let Some(Arriving { exchange, routing_key, mandatory, header: Some((_, properties)), body }) =
            self.channels.get_mut(&number).and_then(|channel| channel.arriving.take())
        else {
            return Ok(());
        };
        if let Some(user) = amqp::Properties::from_validated(&properties).user_id()
            && user != self.user.as_bytes()
        {
            let text = format!(
                "PRECONDITION_FAILED - user_id property set to '{}' but authenticated user was '{}'",
                String::from_utf8_lossy(user),
                self.user
            );
            return Err(broker::Exception { code: 406, text, hard: false }.into());
        }
        let message = broker::Message::new(exchange, routing_key, properties, body.into())?;
        let message = std::sync::Arc::new(message);
        let published = engine.on_broker(|txn| txn.publish(vhost, &message))?;
        if published.queues == 0 && mandatory {
            let returned = amqp::BasicReturn {
                reply_code: 312,
                reply_text: b"NO_ROUTE",
                exchange: &message.exchange,
                routing_key: &message.routing_key,
            };
            let frame_max = self.frame_max;
            self.send(number, 0, out, |out| {
                amqp::encode_content(
                    number,
                    &Method::BasicReturn(returned),
                    &message.properties,
                    &message.body,
                    frame_max,
                    out,
                );
            });
        }
        let position: Position = if published.durable { engine.position() } else { 0 };
        if let Some(confirms) = self.channels.get_mut(&number).and_then(|channel| channel.confirms.as_mut()) {
            confirms.push(position);
        }
        Ok(())
    }

    pub(crate) fn get(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        m: &amqp::BasicGet<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let queue = self.queue_name(number, m.queue)?;
        let Some(got) = engine.on_broker(|txn| txn.get(vhost, self.id, number, &queue, m.no_ack))? else {
            self.reply(number, 0, &Method::BasicGetEmpty(amqp::BasicGetEmpty { cluster_id: b"" }), out);
            return Ok(());
        };
        let entry = (!m.no_ack).then_some((got.queue, got.seq));
        let delivery_tag = self.channels.get_mut(&number).map_or(0, |channel| channel.tag(entry));
        let ok = amqp::BasicGetOk {
            delivery_tag,
            redelivered: got.redelivered,
            exchange: &got.message.exchange,
            routing_key: &got.message.routing_key,
            message_count: got.message_count as u32,
        };
        let frame_max = self.frame_max;
        self.send(number, 0, out, |out| {
            amqp::encode_content(
                number,
                &Method::BasicGetOk(ok),
                &got.message.properties,
                &got.message.body,
                frame_max,
                out,
            );
        });
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
        self.settle_entries(engine, number, &entries, how);
        Ok(())
    }

    fn settle_entries(&self, engine: &mut Engine, number: u16, entries: &[(QueueId, u64)], how: How) {
        engine.on_broker(|txn| {
            for &(queue, seq) in entries {
                txn.settle(self.id, number, queue, seq, how);
            }
        });
    }

    pub(crate) fn recover(&mut self, engine: &mut Engine, number: u16, requeue: bool) -> Outcome {
        if !requeue {
            return Err(Failure::connection(ReplyCode::NotImplemented, "requeue=false"));
        }
        let entries = self.channels.get_mut(&number).map(Channel::take_unacked).unwrap_or_default();
        self.settle_entries(engine, number, &entries, How::Requeue);
        Ok(())
    }

    /// Writes one event of the engine: a delivery gets its tag here.
    pub(crate) fn encode_event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Deliver { channel: number, consumer_tag, queue, seq, redelivered, no_ack, message } => {
                let Some(channel) = self.channels.get_mut(number).filter(|channel| !channel.closing) else {
                    return;
                };
                let delivery_tag = channel.tag((!no_ack).then_some((*queue, *seq)));
                let deliver = amqp::BasicDeliver {
                    consumer_tag,
                    delivery_tag,
                    redelivered: *redelivered,
                    exchange: &message.exchange,
                    routing_key: &message.routing_key,
                };
                let frame_max = self.frame_max;
                self.send(*number, 0, out, |out| {
                    amqp::encode_content(
                        *number,
                        &Method::BasicDeliver(deliver),
                        &message.properties,
                        &message.body,
                        frame_max,
                        out,
                    );
                });
            }
            Event::Cancel { channel, consumer_tag } => {
                let cancel = amqp::BasicCancel { consumer_tag, nowait: true };
                self.reply(*channel, 0, &Method::BasicCancel(cancel), out);
            }
        }
    }
}
