//! What each method does on an open connection. A new method of the table does not compile until it is answered here.

use crate::amqp::channel::{Channel, Confirms};
use crate::amqp::declare::in_one_line;
use crate::amqp::handshake::Phase;
use crate::amqp::incoming::NO_HEADER;
use crate::amqp::permissions::Resource;
use crate::amqp::session::{AmqpSession, Failure, Outcome};
use crate::around::Around;
use crate::output::Output;
use leveret_amqp as amqp;
use leveret_amqp::{Method, ReplyCode};
use leveret_engine::accounts::Access;
use leveret_engine::broker::{self, How, VhostId};
use leveret_engine::{Engine, USER_LIMITS};

impl AmqpSession {
    pub(crate) fn method(
        &mut self,
        (engine, around): (&mut Engine, &Around<'_>),
        number: u16,
        method: Method<'_>,
        out: &mut Output,
    ) -> Outcome {
        if number == 0 {
            return self.connection_method(engine, &method, out);
        }
        if let Method::ChannelOpen(_) = method {
            return self.open_channel(engine, number, out);
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return Err(Failure::connection(ReplyCode::ChannelError, "expected 'channel.open'"));
        };
        if channel.closing {
            match method {
                Method::ChannelCloseOk(_) => drop(self.channels.remove(&number)),
                Method::ChannelClose(_) => {
                    Method::ChannelCloseOk(amqp::ChannelCloseOk {}).encode(number, &mut out.bytes);
                }
                // What was under way when we closed it is ignored. (AMQP 0-9-1 1.5.2.5)
                _ => {}
            }
            return Ok(());
        }
        let vhost =
            self.vhost.ok_or_else(|| Failure::connection(ReplyCode::CommandInvalid, "no vhost is open"))?;
        match method {
            Method::ChannelClose(_) => {
                let ok = Method::ChannelCloseOk(amqp::ChannelCloseOk {});
                self.close_channel(engine, number, &ok, out);
                Ok(())
            }
            Method::ChannelFlow(flow) if flow.active => {
                self.reply(number, 0, &Method::ChannelFlowOk(amqp::ChannelFlowOk { active: true }), out);
                Ok(())
            }
            Method::ChannelFlow(_) => Err(Failure::connection(ReplyCode::NotImplemented, "active=false")),
            Method::ChannelFlowOk(_) => Ok(()),
            Method::AccessRequest(_) => {
                self.reply(number, 0, &Method::AccessRequestOk(amqp::AccessRequestOk { ticket: 1 }), out);
                Ok(())
            }
            Method::ExchangeDeclare(m) => self.exchange_declare(engine, vhost, number, &m, out),
            Method::ExchangeDelete(m) => {
                let m = amqp::ExchangeDelete { exchange: &in_one_line(m.exchange), ..m };
                if !m.exchange.is_empty() {
                    self.permit(engine, vhost, Access::Configure, Resource::Exchange(m.exchange))?;
                }
                self.promise(engine.broker.is_exchange_durable(vhost, m.exchange).is_none());
                engine.on_broker(|txn| txn.exchange_delete(vhost, m.exchange, m.if_unused))?;
                self.durable_reply(
                    engine,
                    number,
                    m.nowait,
                    &Method::ExchangeDeleteOk(amqp::ExchangeDeleteOk {}),
                    out,
                );
                Ok(())
            }
            Method::ExchangeBind(m) => {
                let (destination, source) = (in_one_line(m.destination), in_one_line(m.source));
                let m = amqp::ExchangeBind { destination: &destination, source: &source, ..m };
                let ends = (Resource::Exchange(m.destination), m.source);
                self.permit_binding(engine, vhost, ends, m.routing_key)?;
                self.promise(is_durable_bind(engine, vhost, m.source, m.destination));
                engine.on_broker(|txn| {
                    txn.exchange_bind(vhost, m.destination, m.source, m.routing_key, m.arguments)
                })?;
                self.durable_reply(
                    engine,
                    number,
                    m.nowait,
                    &Method::ExchangeBindOk(amqp::ExchangeBindOk {}),
                    out,
                );
                Ok(())
            }
            Method::ExchangeUnbind(m) => {
                let (destination, source) = (in_one_line(m.destination), in_one_line(m.source));
                let m = amqp::ExchangeUnbind { destination: &destination, source: &source, ..m };
                let ends = (Resource::Exchange(m.destination), m.source);
                self.permit_binding(engine, vhost, ends, m.routing_key)?;
                self.promise(is_durable_bind(engine, vhost, m.source, m.destination));
                engine.on_broker(|txn| {
                    txn.exchange_unbind(vhost, m.destination, m.source, m.routing_key, m.arguments)
                })?;
                self.durable_reply(
                    engine,
                    number,
                    m.nowait,
                    &Method::ExchangeUnbindOk(amqp::ExchangeUnbindOk {}),
                    out,
                );
                Ok(())
            }
            Method::QueueDeclare(m) => self.queue_declare(engine, vhost, number, &m, out),
            Method::QueueBind(m) => {
                let queue = self.queue_name(number, &in_one_line(m.queue))?;
                let m = amqp::QueueBind { exchange: &in_one_line(m.exchange), ..m };
                let key =
                    if m.queue.is_empty() && m.routing_key.is_empty() { &*queue } else { m.routing_key };
                self.permit_binding(engine, vhost, (Resource::Queue(&queue), m.exchange), key)?;
                self.promise(is_durable_queue_bind(engine, vhost, &queue, m.exchange));
                engine
                    .on_broker(|txn| txn.queue_bind(vhost, self.id, &queue, m.exchange, key, m.arguments))?;
                self.durable_reply(engine, number, m.nowait, &Method::QueueBindOk(amqp::QueueBindOk {}), out);
                Ok(())
            }
            Method::QueueUnbind(m) => {
                let queue = self.queue_name(number, &in_one_line(m.queue))?;
                let m = amqp::QueueUnbind { exchange: &in_one_line(m.exchange), ..m };
                self.permit_binding(engine, vhost, (Resource::Queue(&queue), m.exchange), m.routing_key)?;
                self.promise(is_durable_queue_bind(engine, vhost, &queue, m.exchange));
                engine.on_broker(|txn| {
                    txn.queue_unbind(vhost, self.id, &queue, m.exchange, m.routing_key, m.arguments)
                })?;
                self.durable_reply(
                    engine,
                    number,
                    false,
                    &Method::QueueUnbindOk(amqp::QueueUnbindOk {}),
                    out,
                );
                Ok(())
            }
            Method::QueuePurge(m) => {
                let queue = self.queue_name(number, m.queue)?;
                self.permit(engine, vhost, Access::Read, Resource::Queue(&queue))?;
                self.promise(engine.broker.is_queue_logged(vhost, &queue) == Some(true));
                let message_count = engine.on_broker(|txn| txn.queue_purge(vhost, self.id, &queue))? as u32;
                self.durable_reply(
                    engine,
                    number,
                    m.nowait,
                    &Method::QueuePurgeOk(amqp::QueuePurgeOk { message_count }),
                    out,
                );
                Ok(())
            }
            Method::QueueDelete(m) => {
                let queue = self.queue_name(number, &in_one_line(m.queue))?;
                self.permit(engine, vhost, Access::Configure, Resource::Queue(&queue))?;
                // What is not there may be gone by somebody's deletion that the disk does not have yet.
                self.promise(engine.broker.is_queue_logged(vhost, &queue).is_none());
                let message_count = engine
                    .on_broker(|txn| txn.queue_delete(vhost, self.id, &queue, m.if_unused, m.if_empty))?
                    as u32;
                // Before its own consumers of the queue hear that they are over, as RabbitMQ does it: who waits for the reply does
                // not expect anything else.
                self.tell_durably(
                    engine,
                    number,
                    m.nowait,
                    &Method::QueueDeleteOk(amqp::QueueDeleteOk { message_count }),
                    out,
                );
                self.take_events(engine, out);
                Ok(())
            }
            Method::BasicQos(m) => self.qos(engine, number, &m, out),
            Method::BasicConsume(m) => self.consume(engine, vhost, number, &m, out),
            Method::BasicCancel(m) => {
                engine.on_broker(|txn| txn.cancel(self.id, number, m.consumer_tag));
                self.take_events(engine, out);
                if !m.nowait {
                    self.reply(
                        number,
                        0,
                        &Method::BasicCancelOk(amqp::BasicCancelOk { consumer_tag: m.consumer_tag }),
                        out,
                    );
                }
                Ok(())
            }
            // The decoder takes publishes with their content; what is left is one that interrupts another's.
            Method::BasicPublish(_) => Err(Failure::connection(ReplyCode::UnexpectedFrame, NO_HEADER)),
            Method::BasicGet(m) => self.get(engine, vhost, number, &m, out),
            Method::BasicAck(m) => self.settle(engine, number, m.delivery_tag, m.multiple, How::Ack),
            Method::BasicReject(m) => self.settle(
                engine,
                number,
                m.delivery_tag,
                false,
                if m.requeue { How::Requeue } else { How::Drop },
            ),
            Method::BasicNack(m) => self.settle(
                engine,
                number,
                m.delivery_tag,
                m.multiple,
                if m.requeue { How::Release } else { How::Drop },
            ),
            Method::BasicRecover(m) => {
                self.recover(engine, number, m.requeue)?;
                self.reply(number, 0, &Method::BasicRecoverOk(amqp::BasicRecoverOk {}), out);
                Ok(())
            }
            Method::BasicRecoverAsync(m) => self.recover(engine, number, m.requeue),
            Method::ConfirmSelect(m) => {
                if channel.tx.is_some() {
                    let text = "cannot switch from tx to confirm mode";
                    return Err(broker::Exception::new(ReplyCode::PreconditionFailed, text).into());
                }
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.confirms.get_or_insert_with(Confirms::default);
                }
                self.show_channel(engine, number);
                if !m.nowait {
                    self.reply(number, 0, &Method::ConfirmSelectOk(amqp::ConfirmSelectOk {}), out);
                }
                Ok(())
            }
            Method::TxSelect(_) => {
                self.tx_select(number, out)?;
                self.show_channel(engine, number);
                Ok(())
            }
            Method::TxCommit(_) => self.tx_commit((engine, around), vhost, number, out),
            Method::TxRollback(_) => self.tx_rollback(number, out),
            // Methods of a connection, and those that only a server sends.
            Method::ConnectionStart(_)
            | Method::ConnectionStartOk(_)
            | Method::ConnectionSecure(_)
            | Method::ConnectionSecureOk(_)
            | Method::ConnectionTune(_)
            | Method::ConnectionTuneOk(_)
            | Method::ConnectionOpen(_)
            | Method::ConnectionOpenOk(_)
            | Method::ConnectionClose(_)
            | Method::ConnectionCloseOk(_)
            | Method::ConnectionBlocked(_)
            | Method::ConnectionUnblocked(_)
            | Method::ConnectionUpdateSecret(_)
            | Method::ConnectionUpdateSecretOk(_)
            | Method::ChannelOpen(_)
            | Method::ChannelOpenOk(_)
            | Method::ChannelCloseOk(_)
            | Method::AccessRequestOk(_)
            | Method::ExchangeDeclareOk(_)
            | Method::ExchangeDeleteOk(_)
            | Method::ExchangeBindOk(_)
            | Method::ExchangeUnbindOk(_)
            | Method::QueueDeclareOk(_)
            | Method::QueueBindOk(_)
            | Method::QueueUnbindOk(_)
            | Method::QueuePurgeOk(_)
            | Method::QueueDeleteOk(_)
            | Method::BasicQosOk(_)
            | Method::BasicConsumeOk(_)
            | Method::BasicCancelOk(_)
            | Method::BasicReturn(_)
            | Method::BasicDeliver(_)
            | Method::BasicGetOk(_)
            | Method::BasicGetEmpty(_)
            | Method::BasicRecoverOk(_)
            | Method::TxSelectOk(_)
            | Method::TxCommitOk(_)
            | Method::TxRollbackOk(_)
            | Method::ConfirmSelectOk(_) => {
                Err(Failure::connection(ReplyCode::CommandInvalid, "unimplemented method"))
            }
        }
    }

    fn connection_method(&mut self, engine: &mut Engine, method: &Method<'_>, out: &mut Output) -> Outcome {
        match method {
            Method::ConnectionClose(_) => {
                self.give_back(engine);
                self.say_last(&Method::ConnectionCloseOk(amqp::ConnectionCloseOk {}), out);
                self.phase = Phase::Over;
                Ok(())
            }
            // Nothing expires that a new secret could prolong: passwords are checked when a connection opens.
            Method::ConnectionUpdateSecret(_) => {
                Method::ConnectionUpdateSecretOk(amqp::ConnectionUpdateSecretOk {}).encode(0, &mut out.bytes);
                Ok(())
            }
            _ => Err(Failure::connection(
                ReplyCode::ChannelError,
                "unexpected method in connection state running",
            )),
        }
    }

    fn open_channel(&mut self, engine: &mut Engine, number: u16, out: &mut Output) -> Outcome {
        if self.channels.contains_key(&number) {
            return Err(Failure::connection(ReplyCode::ChannelError, "second 'channel.open' seen"));
        }
        if number > self.channel_max {
            let text = format!(
                "number of channels opened ({}) has reached the negotiated channel_max ({})",
                self.channels.len(),
                self.channel_max
            );
            return Err(Failure::connection(ReplyCode::NotAllowed, text));
        }
        if let Some(max) = engine.parameters.limit(USER_LIMITS, &self.user, "max-channels")
            && engine.link_channels_count(&self.user) >= max
        {
            let text = format!(
                "number of channels opened for user '{}' has reached the maximum allowed user limit of ({max})",
                self.user
            );
            return Err(Failure::connection(ReplyCode::NotAllowed, text));
        }
        self.channels.insert(number, Channel::default());
        self.show_channel(engine, number);
        Method::ChannelOpenOk(amqp::ChannelOpenOk { channel_id: b"" }).encode(number, &mut out.bytes);
        Ok(())
    }

    /// The reply to a change of definitions: if anything was recorded, once the disk has it.
    pub(crate) fn durable_reply(
        &mut self,
        engine: &mut Engine,
        number: u16,
        nowait: bool,
        method: &Method<'_>,
        out: &mut Output,
    ) {
        self.take_events(engine, out);
        self.tell_durably(engine, number, nowait, method, out);
    }

    fn tell_durably(
        &mut self,
        engine: &Engine,
        number: u16,
        nowait: bool,
        method: &Method<'_>,
        out: &mut Output,
    ) {
        let position = engine.position();
        if !nowait {
            self.reply(number, if position > self.before { position } else { 0 }, method, out);
        }
    }

    /// What is durable waits for the disk even if another's method was the one that was recorded.
    pub(super) fn promise(&mut self, durable: bool) {
        if durable {
            self.before = 0;
        }
    }

    /// What the operation has put out for this very session leaves before its reply.
    fn take_events(&mut self, engine: &mut Engine, out: &mut Output) {
        if let Some(session) = engine.session(self.id) {
            self.events.append(&mut session.events);
        }
        self.encode_events(out);
    }

    /// The queue that a name means; an empty one is the last declared on the channel.
    pub(crate) fn queue_name(&self, number: u16, name: &[u8]) -> Result<Box<[u8]>, Failure> {
        if !name.is_empty() {
            return Ok(name.into());
        }
        let last = self.channels.get(&number).map(|channel| channel.last_queue.clone()).unwrap_or_default();
        if last.is_empty() {
            return Err(broker::Exception::new(ReplyCode::NotFound, "no previously declared queue").into());
        }
        Ok(last)
    }

    fn qos(&mut self, engine: &mut Engine, number: u16, m: &amqp::BasicQos, out: &mut Output) -> Outcome {
        if m.prefetch_size != 0 {
            return Err(Failure::connection(
                ReplyCode::NotImplemented,
                format!("prefetch_size!=0 ({})", m.prefetch_size),
            ));
        }
        if m.global {
            engine.on_broker(|txn| txn.set_channel_prefetch(self.id, number, m.prefetch_count));
        } else if let Some(channel) = self.channels.get_mut(&number) {
            channel.prefetch = m.prefetch_count;
        }
        self.show_channel(engine, number);
        if let Some(channel) = engine.link(self.id).and_then(|link| link.channels.get_mut(&number))
            && m.global
        {
            channel.global_prefetch_count = m.prefetch_count;
        }
        self.reply(number, 0, &Method::BasicQosOk(amqp::BasicQosOk {}), out);
        Ok(())
    }

    /// Lets others see how a channel stands.
    fn show_channel(&self, engine: &mut Engine, number: u16) {
        let (Some(channel), Some(link)) = (self.channels.get(&number), engine.link(self.id)) else { return };
        let shown = link.channels.entry(number).or_default();
        shown.confirm = channel.confirms.is_some();
        shown.transactional = channel.tx.is_some();
        shown.prefetch_count = channel.prefetch;
    }

    fn consume(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        m: &amqp::BasicConsume<'_>,
        out: &mut Output,
    ) -> Outcome {
        let queue = self.queue_name(number, m.queue)?;
        self.permit_read(engine, vhost, &queue)?;
        let prefetch = self.channels.get(&number).map_or(0, |channel| channel.prefetch);
        let consume = broker::Consume {
            session: self.id,
            channel: number,
            queue: &queue,
            tag: m.consumer_tag,
            no_ack: m.no_ack,
            exclusive: m.exclusive,
            no_local: m.no_local,
            prefetch,
            hears_cancel: self.hears_cancel,
            arguments: m.arguments,
        };
        let tag = engine.on_broker(|txn| txn.consume(vhost, &consume))?;
        if !m.nowait {
            // Before the first delivery, which waits in the engine until after this.
            self.reply(number, 0, &Method::BasicConsumeOk(amqp::BasicConsumeOk { consumer_tag: &tag }), out);
        }
        Ok(())
    }
}

fn is_durable_queue_bind(engine: &Engine, vhost: VhostId, queue: &[u8], exchange: &[u8]) -> bool {
    engine.broker.is_queue_logged(vhost, queue) == Some(true)
        && engine.broker.is_exchange_durable(vhost, exchange) == Some(true)
}

fn is_durable_bind(engine: &Engine, vhost: VhostId, source: &[u8], destination: &[u8]) -> bool {
    let is_durable = |name| engine.broker.is_exchange_durable(vhost, name) == Some(true);
    is_durable(source) && is_durable(destination)
}
