//! Declaring, binding and deleting. (AMQP 0-9-1 1.6, 1.7)

use super::{Txn, locked};
use crate::arguments::{
    EXCHANGE_EQUIVALENT, check_equivalence, check_queue_arguments, exchange_arguments, queue_equivalent,
    queue_properties,
};
use crate::built_in::{RESERVED, is_own_source};
use crate::exception::{Exception, shown};
use crate::exchange::{Binding, Destination, Kind};
use crate::{ExchangeId, QueueId, SessionId, VhostId};
use leveret_amqp::{ReplyCode, Table, TableBuf, Value};
use std::sync::Arc;

/// `exchange.declare`.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the method")]
pub struct ExchangeDeclare<'a> {
    pub name: &'a [u8],
    pub kind: &'a [u8],
    pub passive: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Table<'a>,
}

/// `queue.declare`.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of the method")]
pub struct QueueDeclare<'a> {
    pub name: &'a [u8],
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: Table<'a>,
}

/// `queue.declare-ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The queue's name, generated if none was given.
    pub name: Arc<[u8]>,
    /// Ready messages.
    pub message_count: usize,
    /// Consumers.
    pub consumer_count: usize,
}

impl QueueDeclare<'_> {
    /// Refuses what cannot be declared in any vhost.
    pub fn check(&self, vhost: &str) -> Result<(), Exception> {
        queue_properties(vhost, self)?;
        check_queue_arguments(vhost, self.name, self.arguments)
    }
}

impl ExchangeDeclare<'_> {
    /// Refuses what cannot be declared in any vhost.
    pub fn check(&self, vhost: &str) -> Result<(), Exception> {
        exchange_arguments(vhost, self.name, kind_of(self.kind)?, self.arguments)
    }
}

fn kind_of(name: &[u8]) -> Result<Kind, Exception> {
    Kind::parse(name)
        .ok_or_else(|| Exception::precondition(format!("unknown exchange type '{}'", shown(name))))
}

impl Txn<'_> {
    fn reserved(&self, what: &str, name: &[u8]) -> Result<(), Exception> {
        if name.starts_with(b"amq.") {
            let text = format!("{what} name '{}' contains reserved prefix 'amq.*'", shown(name));
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        if what == "exchange" && name.starts_with(RESERVED) {
            let text = format!("{what} name '{}' contains reserved prefix 'leveret.*'", shown(name));
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        Ok(())
    }

    fn not_the_default(&self, name: &[u8]) -> Result<(), Exception> {
        if name.is_empty() {
            return Err(Exception::new(
                ReplyCode::AccessRefused,
                "operation not permitted on the default exchange",
            ));
        }
        Ok(())
    }

    /// Declares an exchange, or checks one. (AMQP 0-9-1 1.6.2.1)
    pub fn exchange_declare(
        &mut self,
        vhost: VhostId,
        declare: &ExchangeDeclare<'_>,
    ) -> Result<(), Exception> {
        let ExchangeDeclare { name, kind, durable, auto_delete, internal, arguments, .. } = *declare;
        self.not_the_default(name)?;
        if declare.passive {
            return self.exchange_id(vhost, name).map(|_| ());
        }
        let kind = kind_of(kind)?;
        if let Ok(id) = self.exchange_id(vhost, name) {
            return self.check_exchange(id, name, vhost, kind, declare);
        }
        self.reserved("exchange", name)?;
        exchange_arguments(&self.vhost_name(vhost), name, kind, arguments)?;
        let id = ExchangeId(self.broker.next_exchange);
        self.add_exchange(vhost, id, name, kind, durable, auto_delete, internal, arguments.raw());
        Ok(())
    }

    fn check_exchange(
        &self,
        id: ExchangeId,
        name: &[u8],
        vhost: VhostId,
        kind: Kind,
        declare: &ExchangeDeclare<'_>,
    ) -> Result<(), Exception> {
        let Some(exchange) = self.broker.exchanges.get(&id) else { return Ok(()) };
        let what = format!("exchange '{}' in vhost '{}'", shown(name), self.vhost_name(vhost));
        let pairs = [
            ("type", kind.name().to_owned(), exchange.kind.name().to_owned()),
            ("durable", declare.durable.to_string(), exchange.durable.to_string()),
            ("auto_delete", declare.auto_delete.to_string(), exchange.auto_delete.to_string()),
            ("internal", declare.internal.to_string(), exchange.internal.to_string()),
        ];
        equal_fields(&what, &pairs)?;
        check_equivalence(
            &what,
            Table::from_validated(&exchange.arguments),
            declare.arguments,
            EXCHANGE_EQUIVALENT.iter().copied(),
        )
    }

    /// Deletes an exchange; a missing one is fine. (AMQP 0-9-1 1.6.2.3)
    pub fn exchange_delete(&mut self, vhost: VhostId, name: &[u8], if_unused: bool) -> Result<(), Exception> {
        self.not_the_default(name)?;
        let vhost_name = self.vhost_name(vhost);
        if name.starts_with(b"amq.") || name.starts_with(RESERVED) {
            let text =
                format!("deletion of system exchange '{}' in vhost '{vhost_name}' not allowed", shown(name));
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let Ok(id) = self.exchange_id(vhost, name) else { return Ok(()) };
        let in_use = self.broker.exchanges.get(&id).is_some_and(|exchange| !exchange.is_unused());
        if if_unused && in_use {
            return Err(Exception::precondition(format!(
                "exchange '{}' in vhost '{vhost_name}' in use",
                shown(name)
            )));
        }
        self.remove_exchange(id);
        Ok(())
    }

    /// Declares a queue, or checks one. (AMQP 0-9-1 1.7.2.1)
    pub fn queue_declare(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        declare: &QueueDeclare<'_>,
    ) -> Result<Declared, Exception> {
        if let Some(replies) = self.declare_replies(declare.name, &self.vhost_name(vhost)) {
            return replies;
        }
        if declare.passive {
            return self.queue_for(vhost, session, declare.name).map(declared);
        }
        let typed = self.with_default_type(vhost, declare);
        let arguments = typed.as_ref().map_or(declare.arguments, TableBuf::as_table);
        let declare = &QueueDeclare { arguments, ..*declare };
        if let Some(id) = self.find_queue(vhost, declare.name).filter(|_| !declare.name.is_empty()) {
            return self.check_queue(id, vhost, session, declare);
        }
        self.reserved("queue", declare.name)?;
        let vhost_name = self.vhost_name(vhost);
        queue_properties(&vhost_name, declare)?;
        check_queue_arguments(&vhost_name, declare.name, declare.arguments)?;
        let name = if declare.name.is_empty() { self.generated(b"amq.gen-") } else { declare.name.to_vec() };
        let id = QueueId(self.broker.next_queue);
        let owner = declare.exclusive.then_some(session);
        self.add_queue(
            vhost,
            id,
            &name,
            declare.durable,
            owner,
            declare.auto_delete,
            declare.arguments.raw(),
        );
        Ok(Declared { name: name.into(), message_count: 0, consumer_count: 0 })
    }

    /// The arguments with the vhost's type of queues, if the declaration names none and that type can be so.
    fn with_default_type(&self, vhost: VhostId, declare: &QueueDeclare<'_>) -> Option<TableBuf> {
        let default_type = self.broker.vhosts.get(&vhost)?.about.default_queue_type.as_bytes();
        let lasting = declare.durable && !declare.exclusive && !declare.auto_delete;
        let fits = default_type == b"classic" || lasting;
        if default_type.is_empty() || !fits || declare.arguments.find(b"x-queue-type").is_some() {
            return None;
        }
        let mut arguments = TableBuf::new();
        for (name, value) in declare.arguments.iter() {
            arguments.push(name, value);
        }
        arguments.push(b"x-queue-type", Value::LongStr(default_type));
        Some(arguments)
    }

    fn check_queue(
        &mut self,
        id: QueueId,
        vhost: VhostId,
        session: SessionId,
        declare: &QueueDeclare<'_>,
    ) -> Result<Declared, Exception> {
        let vhost_name = self.vhost_name(vhost);
        if self.broker.queues.get(&id).is_some_and(|queue| declare.exclusive != queue.exclusive.is_some()) {
            return Err(locked(declare.name, &vhost_name));
        }
        let queue = self.queue_for(vhost, session, declare.name)?;
        let what = format!("queue '{}' in vhost '{vhost_name}'", shown(declare.name));
        let mut pairs = vec![("auto_delete", declare.auto_delete.to_string(), queue.auto_delete.to_string())];
        // An exclusive queue goes with its connection anyway; RabbitMQ does not compare there.
        if !declare.exclusive {
            pairs.insert(0, ("durable", declare.durable.to_string(), queue.durable.to_string()));
        }
        equal_fields(&what, &pairs)?;
        check_equivalence(
            &what,
            Table::from_validated(&queue.arguments),
            declare.arguments,
            queue_equivalent(queue.meaning.kind),
        )?;
        Ok(declared(queue))
    }

    /// A name nobody has, as RabbitMQ generates them: 22 characters behind the prefix.
    pub(crate) fn generated(&mut self, prefix: &[u8]) -> Vec<u8> {
        let mut name = prefix.to_vec();
        name.extend((0..22).map(|_| self.broker.rng.alphanumeric() as u8));
        name
    }

    /// Deletes a queue; a missing one is fine. Gives how many messages went. (AMQP 0-9-1 1.7.2.9)
    pub fn queue_delete(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        name: &[u8],
        if_unused: bool,
        if_empty: bool,
    ) -> Result<usize, Exception> {
        if self.find_queue(vhost, name).is_none() {
            return Ok(0);
        }
        let vhost_name = self.vhost_name(vhost);
        let queue = self.queue_for(vhost, session, name)?;
        if queue.stream.is_some() {
            // Whoever reads it and whatever is in it. (RabbitMQ: streams)
            let id = queue.id;
            self.remove_queue(id);
            return Ok(0);
        }
        let (id, count) = (queue.id, queue.ready.len());
        let refuse = |why: &str| {
            Exception::precondition(format!("queue '{}' in vhost '{vhost_name}' {why}", shown(name)))
        };
        if if_unused && !queue.consumers.is_empty() {
            return Err(refuse("in use"));
        }
        if if_empty && count > 0 {
            return Err(refuse("not empty"));
        }
        self.remove_queue(id);
        Ok(count)
    }

    /// Binds a queue. (AMQP 0-9-1 1.7.2.3)
    pub fn queue_bind(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        queue: &[u8],
        exchange: &[u8],
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Exception> {
        self.not_the_default(exchange)?;
        let id = self.queue_for(vhost, session, queue)?.id;
        self.bind(vhost, exchange, Destination::Queue(id), key, arguments)
    }

    /// Binds an exchange to another. (RabbitMQ: exchange to exchange bindings)
    pub fn exchange_bind(
        &mut self,
        vhost: VhostId,
        destination: &[u8],
        source: &[u8],
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Exception> {
        self.not_the_default(source)?;
        self.not_the_default(destination)?;
        let id = self.exchange_id(vhost, destination)?;
        if is_own_source(id) {
            let text = format!(
                "binding of system exchange '{}' in vhost '{}' to another exchange not allowed",
                shown(destination),
                self.vhost_name(vhost)
            );
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        self.bind(vhost, source, Destination::Exchange(id), key, arguments)
    }

    fn bind(
        &mut self,
        vhost: VhostId,
        source: &[u8],
        destination: Destination,
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Exception> {
        let id = self.exchange_id(vhost, source)?;
        if let Some(exchange) = self.broker.exchanges.get(&id) {
            exchange.check_binding(key, arguments)?;
        }
        let new = Binding { destination, key: key.into(), arguments: sorted(arguments) };
        if self.add_binding(id, &new) {
            self.pass_history(id, destination);
        }
        Ok(())
    }

    /// Removes a binding of a queue. What is not there, be it the queue or the exchange, is not bound, which is fine.
    /// (AMQP 0-9-1 1.7.2.5; RabbitMQ: idempotent since 3.2)
    pub fn queue_unbind(
        &mut self,
        vhost: VhostId,
        session: SessionId,
        queue: &[u8],
        exchange: &[u8],
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Exception> {
        self.not_the_default(exchange)?;
        if self.find_queue(vhost, queue).is_some() {
            let id = self.queue_for(vhost, session, queue)?.id;
            self.unbind(vhost, exchange, Destination::Queue(id), key, arguments);
        }
        Ok(())
    }

    /// Likewise a binding between exchanges.
    pub fn exchange_unbind(
        &mut self,
        vhost: VhostId,
        destination: &[u8],
        source: &[u8],
        key: &[u8],
        arguments: Table<'_>,
    ) -> Result<(), Exception> {
        self.not_the_default(source)?;
        if let Ok(id) = self.exchange_id(vhost, destination) {
            self.unbind(vhost, source, Destination::Exchange(id), key, arguments);
        }
        Ok(())
    }

    fn unbind(
        &mut self,
        vhost: VhostId,
        source: &[u8],
        destination: Destination,
        key: &[u8],
        arguments: Table<'_>,
    ) {
        if let Ok(id) = self.exchange_id(vhost, source) {
            let gone = Binding { destination, key: key.into(), arguments: sorted(arguments) };
            self.remove_binding(id, &gone);
        }
    }
}

/// A binding's arguments mean the same in every order. (RabbitMQ: `rabbit_misc:sort_field_table`)
fn sorted(arguments: Table<'_>) -> Box<[u8]> {
    let mut fields: Vec<_> = arguments.iter().collect();
    if fields.is_sorted_by_key(|(name, _)| *name) {
        return arguments.raw().into();
    }
    fields.sort_by_key(|(name, _)| *name);
    let mut sorted = TableBuf::new();
    for (name, value) in fields {
        sorted.push(name, value);
    }
    sorted.as_table().raw().into()
}

fn declared(queue: &mut crate::queue::Queue) -> Declared {
    Declared {
        name: queue.name.clone(),
        message_count: queue.ready_counts().0,
        // RabbitMQ does not count those of a stream.
        consumer_count: if queue.stream.is_some() { 0 } else { queue.consumers.len() },
    }
}

fn equal_fields(what: &str, pairs: &[(&str, String, String)]) -> Result<(), Exception> {
    match pairs.iter().find(|(_, received, current)| received != current) {
        None => Ok(()),
        Some((name, received, current)) => Err(Exception::precondition(format!(
            "inequivalent arg '{name}' for {what}: received '{received}' but current is '{current}'"
        ))),
    }
}
