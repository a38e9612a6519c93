//! All methods of AMQP 0-9-1 and RabbitMQ's additions in one declared table: a struct per method, the enum over them,
//! decoding and encoding come from its rows. A new row does not compile until every `match` on `Method` answers it.
//! The fields are named as in the specification, `type` is `kind`. (AMQP 0-9-1, 1.4 to 1.9)

use crate::frame::{FrameKind, frame};
use crate::read::Reader;
use crate::write::Writer;
use crate::{DecodeError, Table};

macro_rules! field_type {
    (bit) => { bool };
    (octet) => { u8 };
    (short) => { u16 };
    (long) => { u32 };
    (longlong) => { u64 };
    (shortstr) => { &'a [u8] };
    (longstr) => { &'a [u8] };
    (table) => { Table<'a> };
}

#[cfg(any(test, feature = "text"))]
macro_rules! field_value {
    (bit $value:expr) => {
        crate::Value::Bool($value)
    };
    (octet $value:expr) => {
        crate::Value::UnsignedByte($value)
    };
    (short $value:expr) => {
        crate::Value::UnsignedShort($value)
    };
    (long $value:expr) => {
        crate::Value::UnsignedInt($value)
    };
    (longlong $value:expr) => {
        crate::Value::Timestamp($value)
    };
    (timestamp $value:expr) => {
        crate::Value::Timestamp($value)
    };
    (shortstr $value:expr) => {
        crate::Value::LongStr($value)
    };
    (longstr $value:expr) => {
        crate::Value::LongStr($value)
    };
    (table $value:expr) => {
        crate::Value::Table($value)
    };
}
#[cfg(any(test, feature = "text"))]
pub(crate) use field_value;

macro_rules! flag {
    (sync: $($flag:ident)*) => { false $(|| flag!(@is_sync $flag))* };
    (content: $($flag:ident)*) => { false $(|| flag!(@has_content $flag))* };
    (@is_sync sync) => { true };
    (@is_sync content) => { false };
    (@has_content sync) => { false };
    (@has_content content) => { true };
}

/// What the table says of one method: class, id, name, synchronous, with content, fields with their types.
#[cfg(any(test, feature = "text"))]
#[allow(dead_code, reason = "the tests compare all of it with the specification")]
pub(crate) struct Row {
    pub(crate) ids: (u16, u16),
    pub(crate) name: &'static str,
    pub(crate) sync: bool,
    pub(crate) content: bool,
    pub(crate) fields: &'static [(&'static str, &'static str)],
}

macro_rules! methods {
    ($($class:literal $id:literal $wire:literal $name:ident $(<$life:lifetime>)? [$($flag:ident)*]
        { $($field:ident: $kind:ident),* })*) => {
        $(
            #[doc = concat!("`", $wire, "`")]
            #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
            #[allow(missing_docs, reason = "the fields are the specification's")]
            pub struct $name $(<$life>)? { $(pub $field: field_type!($kind)),* }

            impl<'a> From<$name $(<$life>)?> for Method<'a> {
                #[inline]
                fn from(method: $name $(<$life>)?) -> Self {
                    Method::$name(method)
                }
            }
        )*

        /// Any method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the variants are the specification's methods")]
        pub enum Method<'a> { $($name($name $(<$life>)?)),* }

        impl<'a> Method<'a> {
            /// Reads the payload of a method frame. Fields borrow from it; bytes left over are refused.
            #[inline]
            pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(payload);
                let (class, method) = (reader.short()?, reader.short()?);
                let decoded = match (class, method) {
                    $(($class, $id) => Method::$name($name { $($field: reader.$kind()?),* }),)*
                    _ => return Err(DecodeError::UnknownMethod { class, method }),
                };
                reader.end()?;
                Ok(decoded)
            }

            /// Appends the whole method frame.
            #[inline]
            pub fn encode(&self, channel: u16, out: &mut Vec<u8>) {
                frame(FrameKind::Method, channel, out, |out| {
                    let mut writer = Writer::new(out);
                    match self {
                        $(Method::$name($name { $($field),* }) => {
                            writer.short($class);
                            writer.short($id);
                            $(writer.$kind(*$field);)*
                        })*
                    }
                });
            }

            /// The class's number.
            pub fn class_id(&self) -> u16 {
                match self { $(Method::$name(_) => $class),* }
            }

            /// The method's number within its class.
            pub fn method_id(&self) -> u16 {
                match self { $(Method::$name(_) => $id),* }
            }

            /// Class and method as written in RabbitMQ's texts: `queue.declare`.
            pub fn name(&self) -> &'static str {
                match self { $(Method::$name(_) => $wire),* }
            }

            /// True when a header frame must follow.
            pub fn has_content(&self) -> bool {
                match self { $(Method::$name(_) => flag!(content: $($flag)*)),* }
            }

            /// True when the peer has to answer, unless the method says `nowait`.
            pub fn is_synchronous(&self) -> bool {
                match self { $(Method::$name(_) => flag!(sync: $($flag)*)),* }
            }
        }

        #[cfg(any(test, feature = "text"))]
        impl<'a> Method<'a> {
            /// Every field with its value, in the order of the wire.
            pub(crate) fn fields(&self) -> Vec<(&'static str, crate::Value<'a>)> {
                match self {
                    $(Method::$name($name { $($field),* }) => {
                        vec![$((stringify!($field), field_value!($kind *$field))),*]
                    })*
                }
            }
        }

        #[cfg(any(test, feature = "text"))]
        pub(crate) const ROWS: &[Row] = &[$(Row {
            ids: ($class, $id),
            name: $wire,
            sync: flag!(sync: $($flag)*),
            content: flag!(content: $($flag)*),
            fields: &[$((stringify!($field), stringify!($kind))),*],
        }),*];
    };
}

#[rustfmt::skip]
methods! {
    10 10 "connection.start" ConnectionStart<'a> [sync] {
        version_major: octet, version_minor: octet, server_properties: table, mechanisms: longstr,
        locales: longstr
    }
    10 11 "connection.start-ok" ConnectionStartOk<'a> [] {
        client_properties: table, mechanism: shortstr, response: longstr, locale: shortstr
    }
    10 20 "connection.secure" ConnectionSecure<'a> [sync] { challenge: longstr }
    10 21 "connection.secure-ok" ConnectionSecureOk<'a> [] { response: longstr }
    10 30 "connection.tune" ConnectionTune [sync] { channel_max: short, frame_max: long, heartbeat: short }
    10 31 "connection.tune-ok" ConnectionTuneOk [] { channel_max: short, frame_max: long, heartbeat: short }
    10 40 "connection.open" ConnectionOpen<'a> [sync] {
        virtual_host: shortstr, capabilities: shortstr, insist: bit
    }
    10 41 "connection.open-ok" ConnectionOpenOk<'a> [] { known_hosts: shortstr }
    10 50 "connection.close" ConnectionClose<'a> [sync] {
        reply_code: short, reply_text: shortstr, class_id: short, method_id: short
    }
    10 51 "connection.close-ok" ConnectionCloseOk [] {}
    10 60 "connection.blocked" ConnectionBlocked<'a> [] { reason: shortstr }
    10 61 "connection.unblocked" ConnectionUnblocked [] {}
    10 70 "connection.update-secret" ConnectionUpdateSecret<'a> [sync] {
        new_secret: longstr, reason: shortstr
    }
    10 71 "connection.update-secret-ok" ConnectionUpdateSecretOk [] {}

    20 10 "channel.open" ChannelOpen<'a> [sync] { out_of_band: shortstr }
    20 11 "channel.open-ok" ChannelOpenOk<'a> [] { channel_id: longstr }
    20 20 "channel.flow" ChannelFlow [sync] { active: bit }
    20 21 "channel.flow-ok" ChannelFlowOk [] { active: bit }
    20 40 "channel.close" ChannelClose<'a> [sync] {
        reply_code: short, reply_text: shortstr, class_id: short, method_id: short
    }
    20 41 "channel.close-ok" ChannelCloseOk [] {}

    30 10 "access.request" AccessRequest<'a> [sync] {
        realm: shortstr, exclusive: bit, passive: bit, active: bit, write: bit, read: bit
    }
    30 11 "access.request-ok" AccessRequestOk [] { ticket: short }

    40 10 "exchange.declare" ExchangeDeclare<'a> [sync] {
        ticket: short, exchange: shortstr, kind: shortstr, passive: bit, durable: bit, auto_delete: bit,
        internal: bit, nowait: bit, arguments: table
    }
    40 11 "exchange.declare-ok" ExchangeDeclareOk [] {}
    40 20 "exchange.delete" ExchangeDelete<'a> [sync] {
        ticket: short, exchange: shortstr, if_unused: bit, nowait: bit
    }
    40 21 "exchange.delete-ok" ExchangeDeleteOk [] {}
    40 30 "exchange.bind" ExchangeBind<'a> [sync] {
        ticket: short, destination: shortstr, source: shortstr, routing_key: shortstr, nowait: bit,
        arguments: table
    }
    40 31 "exchange.bind-ok" ExchangeBindOk [] {}
    40 40 "exchange.unbind" ExchangeUnbind<'a> [sync] {
        ticket: short, destination: shortstr, source: shortstr, routing_key: shortstr, nowait: bit,
        arguments: table
    }
    40 51 "exchange.unbind-ok" ExchangeUnbindOk [] {}

    50 10 "queue.declare" QueueDeclare<'a> [sync] {
        ticket: short, queue: shortstr, passive: bit, durable: bit, exclusive: bit, auto_delete: bit,
        nowait: bit, arguments: table
    }
    50 11 "queue.declare-ok" QueueDeclareOk<'a> [] {
        queue: shortstr, message_count: long, consumer_count: long
    }
    50 20 "queue.bind" QueueBind<'a> [sync] {
        ticket: short, queue: shortstr, exchange: shortstr, routing_key: shortstr, nowait: bit,
        arguments: table
    }
    50 21 "queue.bind-ok" QueueBindOk [] {}
    50 30 "queue.purge" QueuePurge<'a> [sync] { ticket: short, queue: shortstr, nowait: bit }
    50 31 "queue.purge-ok" QueuePurgeOk [] { message_count: long }
    50 40 "queue.delete" QueueDelete<'a> [sync] {
        ticket: short, queue: shortstr, if_unused: bit, if_empty: bit, nowait: bit
    }
    50 41 "queue.delete-ok" QueueDeleteOk [] { message_count: long }
    50 50 "queue.unbind" QueueUnbind<'a> [sync] {
        ticket: short, queue: shortstr, exchange: shortstr, routing_key: shortstr, arguments: table
    }
    50 51 "queue.unbind-ok" QueueUnbindOk [] {}

    60 10 "basic.qos" BasicQos [sync] { prefetch_size: long, prefetch_count: short, global: bit }
    60 11 "basic.qos-ok" BasicQosOk [] {}
    60 20 "basic.consume" BasicConsume<'a> [sync] {
        ticket: short, queue: shortstr, consumer_tag: shortstr, no_local: bit, no_ack: bit, exclusive: bit,
        nowait: bit, arguments: table
    }
    60 21 "basic.consume-ok" BasicConsumeOk<'a> [] { consumer_tag: shortstr }
    60 30 "basic.cancel" BasicCancel<'a> [sync] { consumer_tag: shortstr, nowait: bit }
    60 31 "basic.cancel-ok" BasicCancelOk<'a> [] { consumer_tag: shortstr }
    60 40 "basic.publish" BasicPublish<'a> [content] {
        ticket: short, exchange: shortstr, routing_key: shortstr, mandatory: bit, immediate: bit
    }
    60 50 "basic.return" BasicReturn<'a> [content] {
        reply_code: short, reply_text: shortstr, exchange: shortstr, routing_key: shortstr
    }
    60 60 "basic.deliver" BasicDeliver<'a> [content] {
        consumer_tag: shortstr, delivery_tag: longlong, redelivered: bit, exchange: shortstr,
        routing_key: shortstr
    }
    60 70 "basic.get" BasicGet<'a> [sync] { ticket: short, queue: shortstr, no_ack: bit }
    60 71 "basic.get-ok" BasicGetOk<'a> [content] {
        delivery_tag: longlong, redelivered: bit, exchange: shortstr, routing_key: shortstr,
        message_count: long
    }
    60 72 "basic.get-empty" BasicGetEmpty<'a> [] { cluster_id: shortstr }
    60 80 "basic.ack" BasicAck [] { delivery_tag: longlong, multiple: bit }
    60 90 "basic.reject" BasicReject [] { delivery_tag: longlong, requeue: bit }
    60 100 "basic.recover-async" BasicRecoverAsync [] { requeue: bit }
    60 110 "basic.recover" BasicRecover [sync] { requeue: bit }
    60 111 "basic.recover-ok" BasicRecoverOk [] {}
    60 120 "basic.nack" BasicNack [] { delivery_tag: longlong, multiple: bit, requeue: bit }

    90 10 "tx.select" TxSelect [sync] {}
    90 11 "tx.select-ok" TxSelectOk [] {}
    90 20 "tx.commit" TxCommit [sync] {}
    90 21 "tx.commit-ok" TxCommitOk [] {}
    90 30 "tx.rollback" TxRollback [sync] {}
    90 31 "tx.rollback-ok" TxRollbackOk [] {}

    85 10 "confirm.select" ConfirmSelect [sync] { nowait: bit }
    85 11 "confirm.select-ok" ConfirmSelectOk [] {}
}

impl<'a> BasicPublish<'a> {
    /// Reads the payload of its method frame. RabbitMQ does not ask for UTF-8 here: a routing key may be any bytes.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let (class, method) = (reader.short()?, reader.short()?);
        if (class, method) != (60, 40) {
            return Err(DecodeError::UnknownMethod { class, method });
        }
        let publish = BasicPublish {
            ticket: reader.short()?,
            exchange: reader.shortstr_unchecked()?,
            routing_key: reader.shortstr_unchecked()?,
            mandatory: reader.bit()?,
            immediate: reader.bit()?,
        };
        reader.end()?;
        Ok(publish)
    }
}
