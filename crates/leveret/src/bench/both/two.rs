//! A worker of two servers: for each message a command to Redis and a confirmed publish to RabbitMQ at once, and the acknowledgement when
//! both have answered. Nothing holds them together when one of the three fails.

use super::key::{Keyed, set};
use super::{Course, Options, Worker};
use crate::bench::amqp::{CHANNEL, Deliveries, Link, Message, refusal};
use crate::bench::socket::{Socket, connect};
use anyhow::{Context, Result, bail};
use leveret_amqp::{BasicAck, Method, parse};
use mio::Registry;
use std::collections::VecDeque;

const INPUT_BYTES: usize = 16 * 1024;
const OK: &[u8] = b"+OK\r\n";

/// A message that is being worked on.
struct Work {
    tag: u64,
    since_ns: u64,
    /// The message that it becomes is confirmed.
    confirmed: bool,
}

pub(super) struct Two {
    redis: Socket,
    rabbitmq: Socket,
    deliveries: Deliveries,
    command: Keyed,
    message: Message,
    works: VecDeque<Work>,
    /// How many were worked on before those, and how many commands were answered.
    before: u64,
    answered: u64,
}

impl Two {
    pub(super) fn open(options: &Options) -> Result<Self> {
        let mut link = Link::open(&options.amqp)?;
        link.confirm_select()?;
        link.consume(&options.amqp, &options.amqp.queue)?;
        let message = Message::new("", &options.amqp.queue, options.size, true, link.frame_max);
        let redis = Socket::new(connect(&options.amqp.host, options.resp_port)?, &[], INPUT_BYTES)?;
        Ok(Self {
            redis,
            rabbitmq: link.into_socket()?,
            deliveries: Deliveries::default(),
            command: Keyed::new(set(options.size)),
            message,
            works: VecDeque::new(),
            before: 0,
            answered: 0,
        })
    }

    fn read_rabbitmq(&mut self, course: &mut Course) -> Result<()> {
        let mut used = 0;
        let Self { rabbitmq, redis, deliveries, command, message, works, before, .. } = self;
        while let Some((frame, bytes)) = parse(rabbitmq.received().get(used..).unwrap_or_default(), 0)? {
            used += bytes;
            let delivered = deliveries.frame(frame, |method| match method {
                Method::BasicAck(ack) => confirm(works, *before, ack),
                other => Err(refusal(other)),
            })?;
            if let Some(tag) = delivered
                && course.begins()
            {
                works.push_back(Work { tag, since_ns: course.clock.ns(), confirmed: false });
                command.append(&mut course.keys, &mut redis.output);
                message.append_numbered(tag, &mut rabbitmq.output);
            }
        }
        rabbitmq.consume(used);
        self.settle(course)
    }

    fn read_redis(&mut self, course: &mut Course) -> Result<()> {
        let mut used = 0;
        let input = self.redis.received();
        while let Some(answer) = input.get(used..used + OK.len()) {
            if answer != OK {
                bail!("the server answered {}", String::from_utf8_lossy(input));
            }
            used += OK.len();
            self.answered += 1;
        }
        self.redis.consume(used);
        self.settle(course)
    }

    /// Acknowledges what both have answered, in order.
    fn settle(&mut self, course: &mut Course) -> Result<()> {
        while self.before < self.answered
            && self.works.front().is_some_and(|work| work.confirmed)
            && let Some(work) = self.works.pop_front()
        {
            let ack = BasicAck { delivery_tag: work.tag, multiple: false };
            Method::from(ack).encode(CHANNEL, &mut self.rabbitmq.output);
            course.ends(work.since_ns);
            self.before += 1;
        }
        self.redis.flush()?;
        self.rabbitmq.flush()
    }
}

/// A confirm, of one message or of all before it.
fn confirm(works: &mut VecDeque<Work>, before: u64, ack: &BasicAck) -> Result<()> {
    let last = ack.delivery_tag.checked_sub(before + 1).context("a confirm comes twice")? as usize;
    let first = if ack.multiple { 0 } else { last };
    if last >= works.len() {
        bail!("message {} is confirmed and was not published", ack.delivery_tag);
    }
    works.range_mut(first..=last).for_each(|work| work.confirmed = true);
    Ok(())
}

impl Worker for Two {
    fn register(&mut self, registry: &Registry, token: usize) -> Result<()> {
        self.rabbitmq.register(registry, token)?;
        self.redis.register(registry, token + 1)
    }

    fn begin(&mut self, course: &mut Course) -> Result<()> {
        self.read_rabbitmq(course)
    }

    fn socket(&mut self, which: usize) -> &mut Socket {
        if which == 0 { &mut self.rabbitmq } else { &mut self.redis }
    }

    fn heard(&mut self, which: usize, course: &mut Course) -> Result<()> {
        if which == 0 { self.read_rabbitmq(course) } else { self.read_redis(course) }
    }
}
