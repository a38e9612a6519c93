//! A connection with one channel, opened call by call while it still blocks; then it becomes a socket of the load.

use super::Options;
use crate::bench::socket::{Socket, connect};
use anyhow::{Context, Result, anyhow, bail};
use leveret_amqp::{
    BasicConsume, BasicQos, ChannelOpen, ConfirmSelect, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk,
    FrameKind, Method, PROTOCOL_HEADER, QueueDeclare, QueueDelete, TableBuf, Value, parse,
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

    pub(crate) fn declare(&mut self, options: &Options) -> Result<()> {
        let queue = options.queue.as_bytes();
        self.send(CHANNEL, QueueDeclare { queue, durable: options.durable, ..Default::default() })?;
        self.answer(|method| matches!(method, Method::QueueDeclareOk(_)).then_some(()))
    }

    /// Deletes the queue and tells how many messages were ready in it.
    pub(crate) fn delete(&mut self, options: &Options) -> Result<u64> {
        self.send(CHANNEL, QueueDelete { queue: options.queue.as_bytes(), ..Default::default() })?;
        self.answer(|method| match method {
            Method::QueueDeleteOk(ok) => Some(u64::from(ok.message_count)),
            _ => None,
        })
    }

    pub(crate) fn confirm_select(&mut self) -> Result<()> {
        self.send(CHANNEL, ConfirmSelect::default())?;
        self.answer(|method| matches!(method, Method::ConfirmSelectOk(_)).then_some(()))
    }

    pub(crate) fn consume(&mut self, options: &Options) -> Result<()> {
        if options.prefetch > 0 {
            self.send(CHANNEL, BasicQos { prefetch_count: options.prefetch, ..Default::default() })?;
            self.answer(|method| matches!(method, Method::BasicQosOk(_)).then_some(()))?;
        }
        let queue = options.queue.as_bytes();
        self.send(CHANNEL, BasicConsume { queue, no_ack: !options.manual_ack, ..Default::default() })?;
        self.answer(|method| matches!(method, Method::BasicConsumeOk(_)).then_some(()))
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
