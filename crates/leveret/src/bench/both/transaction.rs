//! A worker that speaks AMQP: each message is a transaction of a command as a message, a publish and an acknowledgement.

use super::key::{Keyed, set};
use super::{Course, Options, Worker};
use crate::bench::amqp::{CHANNEL, Deliveries, Link, Message, command, refusal};
use crate::bench::socket::Socket;
use anyhow::{Context, Result};
use leveret_amqp::{BasicAck, Method, TxCommit, parse};
use mio::Registry;
use std::collections::VecDeque;

pub(super) struct Transaction {
    socket: Socket,
    deliveries: Deliveries,
    command: Keyed,
    message: Message,
    /// When the messages were taken whose commits are under way.
    working: VecDeque<u64>,
}

impl Transaction {
    pub(super) fn open(options: &Options) -> Result<Self> {
        let mut link = Link::open(&options.amqp)?;
        link.tx_select()?;
        link.consume(&options.amqp, &options.amqp.queue)?;
        let message = Message::new("", &options.amqp.queue, options.size, true, link.frame_max);
        let command = Keyed::new(command("leveret.commands", &set(options.size), link.frame_max));
        let (socket, deliveries) = (link.into_socket()?, Deliveries::default());
        Ok(Self { socket, deliveries, command, message, working: VecDeque::new() })
    }

    fn read(&mut self, course: &mut Course) -> Result<()> {
        let mut used = 0;
        let Self { socket, deliveries, command, message, working } = self;
        while let Some((frame, bytes)) = parse(socket.received().get(used..).unwrap_or_default(), 0)? {
            used += bytes;
            if let Some(tag) = deliveries.frame(frame, |method| match method {
                Method::TxCommitOk(_) => {
                    course.ends(working.pop_front().context("a commit that was not asked for")?);
                    Ok(())
                }
                other => Err(refusal(other)),
            })? && course.begins()
            {
                working.push_back(course.clock.ns());
                let out = &mut socket.output;
                command.append(&mut course.keys, out);
                message.append_numbered(tag, out);
                Method::from(BasicAck { delivery_tag: tag, multiple: false }).encode(CHANNEL, out);
                Method::from(TxCommit {}).encode(CHANNEL, out);
            }
        }
        socket.consume(used);
        socket.flush()
    }
}

impl Worker for Transaction {
    fn register(&mut self, registry: &Registry, token: usize) -> Result<()> {
        self.socket.register(registry, token)
    }

    fn begin(&mut self, course: &mut Course) -> Result<()> {
        self.read(course)
    }

    fn socket(&mut self, _: usize) -> &mut Socket {
        &mut self.socket
    }

    fn heard(&mut self, _: usize, course: &mut Course) -> Result<()> {
        self.read(course)
    }
}
