//! A connection with one channel, opened call by call while it still blocks; then it becomes a socket of the load.

use super::Options;
use crate::bench::socket::{Socket, connect};
use anyhow::{Context, Result, anyhow, bail};
use leveret_amqp::{
    BasicConsume, BasicQos, ChannelOpen, ConfirmSelect, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk,
    ExchangeDeclare, ExchangeDelete, FrameKind, Method, PROTOCOL_HEADER, QueueBind, QueueDeclare,
    QueueDelete, TableBuf, TxSelect, Value, parse,
};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The channel that everything happens on.
pub(crate) const CHANNEL: u16 = 1;
const FRAME_MAX: u32 = 131_072;
const INPUT_BYTES: usize = 256 * 1024;

/// What the client can understand.
const CAPABILITIES: &[&str] = &[
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "publisher_confirms",
];

/// An open connection that still blocks.
pub(crate) struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    pub(crate) frame_max: u32,
}

impl Link {
    /// Connects, authenticates and opens the channel.
    pub(crate) fn open(options: &Options) -> Result<Link> {
        let stream = connect(&options.host, options.port)?;
        let mut link = Link { stream, input: Vec::new(), frame_max: FRAME_MAX };
        link.stream.write_all(&PROTOCOL_HEADER)?;
        link.answer(|method| matches!(method, Method::ConnectionStart(_)).then_some(()))?;
        let mut capabilities = TableBuf::new();
        for name in CAPABILITIES {
            capabilities.push(name.as_bytes(), Value::Bool(true));
        }
        let mut properties = TableBuf::new();
        properties.push(b"product", Value::LongStr(b"leveret bench"));
        properties.push(b"capabilities", Value::Table(capabilities.as_table()));
        let response = format!("\0{}\0{}", options.user, options.password);
        link.send(
            0,
            ConnectionStartOk {
                client_properties: properties.as_table(),
                mechanism: b"PLAIN",
                response: response.as_bytes(),
                locale: b"en_US",
            },
        )?;
        let (channel_max, frame_max) = link.answer(|method| match method {
            Method::ConnectionTune(tune) => Some((tune.channel_max, tune.frame_max)),
            _ => None,
        })?;
        if frame_max != 0 {
            link.frame_max = frame_max.min(FRAME_MAX);
        }
        // No heartbeats: the load itself shows that both sides are there.
        link.send(0, ConnectionTuneOk { channel_max, frame_max: link.frame_max, heartbeat: 0 })?;
        link.send(
            0,
            ConnectionOpen { virtual_host: options.vhost.as_bytes(), capabilities: b"", insist: false },
        )?;
        link.answer(|method| matches!(method, Method::ConnectionOpenOk(_)).then_some(()))?;
        link.send(CHANNEL, ChannelOpen::default())?;
        link.answer(|method| matches!(method, Method::ChannelOpenOk(_)).then_some(()))?;
        Ok(link)
    }

    /// The queues, and the exchange that leads to them.
    pub(crate) fn declare(&mut self, options: &Options) -> Result<()> {
        let exchange = options.exchange().as_bytes();
        if !exchange.is_empty() {
            let kind = if options.bindings > 0 { &b"topic"[..] } else { b"fanout" };
            let durable = options.durable;
            self.send(CHANNEL, ExchangeDeclare { exchange, kind, durable, ..Default::default() })?;
            self.answer(|method| matches!(method, Method::ExchangeDeclareOk(_)).then_some(()))?;
        }
        for index in 0..options.queues {
            let queue = options.queue(index);
            self.declare_queue(&queue, options.durable).map(drop)?;
            if options.queues > 1 {
                self.bind(exchange, &queue, "")?;
            }
        }
        (0..options.bindings).try_for_each(|i| self.bind(exchange, &options.queue, &format!("key{i}.*.#")))
    }

    /// A queue; tells how many messages are ready in it.
    pub(crate) fn declare_queue(&mut self, name: &str, durable: bool) -> Result<u64> {
        self.send(CHANNEL, QueueDeclare { queue: name.as_bytes(), durable, ..Default::default() })?;
        self.answer(|method| match method {
            Method::QueueDeclareOk(ok) => Some(u64::from(ok.message_count)),
            _ => None,
        })
    }

    fn bind(&mut self, exchange: &[u8], queue: &str, key: &str) -> Result<()> {
        let (queue, routing_key) = (queue.as_bytes(), key.as_bytes());
        self.send(CHANNEL, QueueBind { queue, exchange, routing_key, ..Default::default() })?;
        self.answer(|method| matches!(method, Method::QueueBindOk(_)).then_some(()))
    }

    /// Deletes all of it and tells how many messages were ready.
    pub(crate) fn delete(&mut self, options: &Options) -> Result<u64> {
        let mut left = 0;
        for index in 0..options.queues {
            left += self.delete_queue(&options.queue(index))?;
        }
        let exchange = options.exchange().as_bytes();
        if !exchange.is_empty() {
            self.send(CHANNEL, ExchangeDelete { exchange, ..Default::default() })?;
            self.answer(|method| matches!(method, Method::ExchangeDeleteOk(_)).then_some(()))?;
        }
        Ok(left)
    }

    /// Deletes a queue and tells how many messages were ready in it.
    pub(crate) fn delete_queue(&mut self, name: &str) -> Result<u64> {
        self.send(CHANNEL, QueueDelete { queue: name.as_bytes(), ..Default::default() })?;
        self.answer(|method| match method {
            Method::QueueDeleteOk(ok) => Some(u64::from(ok.message_count)),
            _ => None,
        })
    }

    pub(crate) fn confirm_select(&mut self) -> Result<()> {
        self.send(CHANNEL, ConfirmSelect::default())?;
        self.answer(|method| matches!(method, Method::ConfirmSelectOk(_)).then_some(()))
    }

    pub(crate) fn tx_select(&mut self) -> Result<()> {
        self.send(CHANNEL, TxSelect {})?;
        self.answer(|method| matches!(method, Method::TxSelectOk(_)).then_some(()))
    }

    pub(crate) fn consume(&mut self, options: &Options, queue: &str) -> Result<()> {
        if options.prefetch > 0 {
            self.send(CHANNEL, BasicQos { prefetch_count: options.prefetch, ..Default::default() })?;
            self.answer(|method| matches!(method, Method::BasicQosOk(_)).then_some(()))?;
        }
        let queue = queue.as_bytes();
        self.send(CHANNEL, BasicConsume { queue, no_ack: !options.manual_ack, ..Default::default() })?;
        self.answer(|method| matches!(method, Method::BasicConsumeOk(_)).then_some(()))
    }

    /// Sends bytes, whatever they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// From now on a write that nobody takes is given up after so long.
    pub(crate) fn give_up_writing_after(&mut self, time: std::time::Duration) -> Result<()> {
        Ok(self.stream.set_write_timeout(Some(time))?)
    }

    /// Becomes part of the load; what has arrived already goes with it.
    pub(crate) fn into_socket(self) -> Result<Socket> {
        Socket::new(self.stream, &self.input, INPUT_BYTES)
    }

    fn send<'a>(&mut self, channel: u16, method: impl Into<Method<'a>>) -> Result<()> {
        let mut out = Vec::new();
        method.into().encode(channel, &mut out);
        Ok(self.stream.write_all(&out)?)
    }

    /// Waits for the next method, which must be the one that `wanted` takes.
    fn answer<T>(&mut self, wanted: impl FnOnce(&Method<'_>) -> Option<T>) -> Result<T> {
        loop {
            let Some((frame, used)) = parse(&self.input, 0)? else {
                let mut room = [0; 4096];
                let bytes = self.stream.read(&mut room).context("waiting for the server's answer")?;
                if bytes == 0 {
                    bail!("the server has closed the connection: wrong password or vhost?");
                }
                self.input.extend_from_slice(room.get(..bytes).unwrap_or_default());
                continue;
            };
            if frame.kind == FrameKind::Heartbeat {
                self.input.drain(..used);
                continue;
            }
            let method = Method::decode(frame.payload).map_err(|error| anyhow!("{error}"))?;
            let answer = wanted(&method).ok_or_else(|| refusal(&method))?;
            self.input.drain(..used);
            return Ok(answer);
        }
    }
}

/// What is wrong with a method that nobody waits for.
#[cold]
pub(crate) fn refusal(method: &Method<'_>) -> anyhow::Error {
    let (scope, code, text) = match method {
        Method::ConnectionClose(close) => ("connection", close.reply_code, close.reply_text),
        Method::ChannelClose(close) => ("channel", close.reply_code, close.reply_text),
        other => return anyhow!("the server has sent {other:?}"),
    };
    anyhow!("the server has closed the {scope}: {code} {}", String::from_utf8_lossy(text))
}
