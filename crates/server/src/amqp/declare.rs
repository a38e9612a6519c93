//! `exchange.declare` and `queue.declare`. (AMQP 0-9-1 1.6.2.1, 1.7.2.1)

use crate::amqp::commands::COMMANDS;
use crate::amqp::permissions::Resource;
use crate::amqp::session::{AmqpSession, Outcome};
use crate::output::Output;
use leveret_amqp as amqp;
use leveret_amqp::{Method, ReplyCode};
use leveret_engine::accounts::Access;
use leveret_engine::broker::{self, VhostId};
use leveret_engine::{Engine, VHOST_LIMITS};
use std::borrow::Cow;

/// A name without ends of lines, which RabbitMQ leaves out where something is declared, bound or deleted.
pub(super) fn in_one_line(name: &[u8]) -> Cow<'_, [u8]> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    match name.iter().any(is_end) {
        false => Cow::Borrowed(name),
        true => Cow::Owned(name.iter().copied().filter(|byte| !is_end(byte)).collect()),
    }
}

impl AmqpSession {
    pub(super) fn exchange_declare(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        m: &amqp::ExchangeDeclare<'_>,
        out: &mut Output,
    ) -> Outcome {
        let m = &amqp::ExchangeDeclare { exchange: &in_one_line(m.exchange), ..*m };
        if m.passive {
            self.permit_any(engine, vhost, Resource::Exchange(m.exchange))?;
        }
        if !m.passive && !m.exchange.is_empty() {
            let exchange = Resource::Exchange(m.exchange);
            self.permit(engine, vhost, Access::Configure, exchange)?;
            if !engine.broker.has_exchange(vhost, m.exchange) {
                self.permit_leading(engine, vhost, exchange, m.arguments, b"alternate-exchange")?;
            }
        }
        if m.exchange == COMMANDS && m.passive {
            if !m.nowait {
                self.reply(number, 0, &Method::ExchangeDeclareOk(amqp::ExchangeDeclareOk {}), out);
            }
            return Ok(());
        }
        let declare = broker::ExchangeDeclare {
            name: m.exchange,
            kind: m.kind,
            passive: m.passive,
            durable: m.durable,
            auto_delete: m.auto_delete,
            internal: m.internal,
            arguments: m.arguments,
        };
        engine.on_broker(|txn| txn.exchange_declare(vhost, &declare))?;
        self.promise(m.durable && !m.passive);
        self.durable_reply(
            engine,
            number,
            m.nowait,
            &Method::ExchangeDeclareOk(amqp::ExchangeDeclareOk {}),
            out,
        );
        Ok(())
    }

    pub(super) fn queue_declare(
        &mut self,
        engine: &mut Engine,
        vhost: VhostId,
        number: u16,
        m: &amqp::QueueDeclare<'_>,
        out: &mut Output,
    ) -> Outcome {
        let name = in_one_line(m.queue);
        if m.passive && !name.starts_with(broker::REPLY_TO) {
            self.permit_any(engine, vhost, Resource::Queue(&name))?;
        }
        if !m.passive {
            // Which letters are behind the prefix does not matter.
            let named = if name.is_empty() { &b"amq.gen-0123456789abcdefghijkl"[..] } else { &name };
            let queue = Resource::Queue(named);
            check_queue_limit(engine, vhost, &name)?;
            self.permit(engine, vhost, Access::Configure, queue)?;
            if !engine.broker.has_queue(vhost, &name) {
                self.permit_leading(engine, vhost, queue, m.arguments, b"x-dead-letter-exchange")?;
            }
        }
        let declare = broker::QueueDeclare {
            name: &name,
            passive: m.passive,
            durable: m.durable,
            exclusive: m.exclusive,
            auto_delete: m.auto_delete,
            arguments: m.arguments,
        };
        let declared = engine.on_broker(|txn| txn.queue_declare(vhost, self.id, &declare))?;
        self.promise(m.durable && !m.passive);
        let ok = amqp::QueueDeclareOk {
            queue: &declared.name,
            message_count: declared.message_count as u32,
            consumer_count: declared.consumer_count as u32,
        };
        self.durable_reply(engine, number, m.nowait, &Method::QueueDeclareOk(ok), out);
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.last_queue = declared.name.to_vec().into();
        }
        Ok(())
    }
}

/// (RabbitMQ: limits of vhosts)
fn check_queue_limit(engine: &Engine, vhost: VhostId, name: &[u8]) -> Outcome {
    let vhost_name = String::from_utf8_lossy(engine.broker.vhost_name(vhost));
    let max = engine.parameters.limit(VHOST_LIMITS, &vhost_name, "max-queues");
    match max.filter(|max| engine.broker.queues_count(vhost) >= *max && !engine.broker.has_queue(vhost, name))
    {
        None => Ok(()),
        Some(max) => {
            let name = String::from_utf8_lossy(name);
            let text = format!(
                "cannot declare queue '{name}': queue limit in vhost '{vhost_name}' ({max}) is reached"
            );
            Err(broker::Exception::new(ReplyCode::PreconditionFailed, text).into())
        }
    }
}
