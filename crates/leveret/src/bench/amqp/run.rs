//! The loop of one run: connections opened, load sent within its bounds until all has come back, the queue deleted and
//! its length compared with what should be left.

use super::check::Arrivals;
use super::consumer::Consumer;
use super::link::Link;
use super::message::Template;
use super::producer::Producer;
use super::{Options, Workload};
use crate::bench::report::{Clock, Latencies, Report};
use anyhow::{Context, Result, bail};
use mio::{Events, Poll};
use std::time::{Duration, Instant};

/// Without progress for so long the run has failed.
const STALL_MAX: Duration = Duration::from_secs(60);

struct Load<'a> {
    options: &'a Options,
    poll: Poll,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// What has arrived of each queue.
    arrivals: Vec<Arrivals>,
    clock: Clock,
    delivered: Latencies,
    confirmed: Latencies,
}

/// Runs it; the queues are deleted even when it fails.
pub(crate) fn measure(options: &Options) -> Result<Report> {
    measure_then(options, || Ok(()))
}

/// Likewise, and does something before the queues are deleted.
pub(crate) fn measure_then(options: &Options, then: impl FnOnce() -> Result<()>) -> Result<Report> {
    let mut control = Link::open(options)?;
    control.declare(options)?;
    let run = Load::open(options).and_then(Load::run);
    let run = run.and_then(|report| then().map(|()| report));
    let left = control.delete(options);
    let report = run?;
    let expected = if options.consumes() { 0 } else { options.messages * options.queues as u64 };
    let left = left?;
    if left != expected {
        bail!("{left} messages were left in the queue instead of {expected}");
    }
    Ok(report)
}

/// Messages of each publisher; the first ones take what cannot be divided.
fn shares(messages: u64, producers: usize) -> Vec<u64> {
    let producers = producers as u64;
    (0..producers).map(|index| messages / producers + u64::from(index < messages % producers)).collect()
}

impl<'a> Load<'a> {
    fn open(options: &'a Options) -> Result<Load<'a>> {
        let poll = Poll::new()?;
        let (mut producers, mut consumers) = (Vec::new(), Vec::new());
        let shares = shares(options.messages, options.producers);
        let published = if options.publishes() { &shares[..] } else { &[] };
        for (index, share) in published.iter().enumerate() {
            let mut link = Link::open(options)?;
            if options.confirm {
                link.confirm_select()?;
            }
            let (exchange, key) = (options.exchange(), options.routing_key());
            let template = Template::new(exchange, &key, options.size, options.persistent, link.frame_max);
            let mut socket = link.into_socket()?;
            socket.register(poll.registry(), index)?;
            let unconfirmed_max = options.confirm.then_some(options.in_flight);
            producers.push(Producer::new(socket, template, index, *share, unconfirmed_max));
        }
        for index in 0..options.consumers {
            let mut link = Link::open(options)?;
            if options.workload != Workload::Get {
                link.consume(options, &options.queue(index))?;
            }
            let mut socket = link.into_socket()?;
            socket.register(poll.registry(), producers.len() + index)?;
            let ack_every = if options.manual_ack { options.ack_every } else { 0 };
            consumers.push(Consumer::new(socket, options.size, ack_every, options.producers));
        }
        let (delivered, confirmed) = (Latencies::new()?, Latencies::new()?);
        let arrivals = (0..options.queues).map(|_| Arrivals::new(&shares)).collect();
        let clock = Clock::start();
        Ok(Load { options, poll, producers, consumers, arrivals, clock, delivered, confirmed })
    }

    fn run(mut self) -> Result<Report> {
        let (options, mut began) = (self.options, self.clock.ns());
        let gets = options.workload == Workload::Get;
        if gets {
            self.until(|load| load.all_confirmed(), |load| load.publish(u64::MAX))?;
            began = self.clock.ns();
            let mut asked = 0;
            self.until(|load| load.all_arrived(), |load| load.get(&mut asked))?;
        } else if !options.publishes() {
            self.until(|load| load.all_arrived(), |_| Ok(()))?;
        } else {
            self.until(
                |load| load.all_confirmed() && load.all_arrived(),
                |load| load.publish(load.queue_room().min(load.due())),
            )?;
        }
        let elapsed = Duration::from_nanos(self.clock.ns() - began);
        // Behind the answer to a channel's end all its acknowledgements have been dealt with.
        for consumer in &mut self.consumers {
            consumer.close()?;
        }
        self.until(|load| load.consumers.iter().all(Consumer::is_closed), |_| Ok(()))?;
        let mut latencies = Vec::new();
        // What another has published says nothing of this run's clock.
        if options.consumes() && options.publishes() {
            latencies.push((if gets { "get" } else { "deliver" }, self.delivered));
        }
        if options.confirm && !gets {
            latencies.push(("confirm", self.confirmed));
        }
        let (test, operations) = (options.test_name(), options.messages);
        Ok(Report { test, operations, elapsed, latencies, counts: Vec::new() })
    }

    /// Turns of the loop: act, wait, read; until `done`.
    fn until(
        &mut self,
        done: impl Fn(&Self) -> bool,
        mut act: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut events = Events::with_capacity(256);
        let (mut progress, mut seen) = (Instant::now(), 0);
        // What came with the last answer of the handshake raises no event.
        for (index, consumer) in self.consumers.iter_mut().enumerate() {
            let arrivals = &mut self.arrivals[index % self.options.queues];
            consumer.examine(self.clock, arrivals, &mut self.delivered)?;
            consumer.socket.flush()?;
        }
        let wait = Duration::from_millis(if self.options.rate > 0 { 1 } else { 1000 });
        loop {
            act(self)?;
            if done(self) {
                return Ok(());
            }
            self.poll.poll(&mut events, Some(wait))?;
            for event in &events {
                self.ready(event.token().0, event.is_readable())?;
            }
            let now = self.arrived()
                + self.producers.iter().map(|producer| producer.confirmed() + producer.sent).sum::<u64>();
            if now > seen {
                (progress, seen) = (Instant::now(), now);
            } else if progress.elapsed() > STALL_MAX {
                self.give_up()?;
            }
        }
    }

    #[cold]
    fn give_up(&self) -> Result<()> {
        let blocked = self.producers.iter().find_map(|producer| producer.blocked.as_deref());
        let sent: u64 = self.producers.iter().map(|producer| producer.sent).sum();
        bail!(
            "nothing has moved for {} s: {sent} of {} messages sent, {} confirmed, {} delivered{}",
            STALL_MAX.as_secs(),
            self.options.messages,
            self.producers.iter().map(Producer::confirmed).sum::<u64>(),
            self.arrived(),
            blocked
                .map(|reason| format!("; the server has blocked publishers: {reason}"))
                .unwrap_or_default(),
        )
    }

    fn ready(&mut self, token: usize, readable: bool) -> Result<()> {
        let Self { producers, consumers, clock, arrivals, delivered, confirmed, options, .. } = self;
        match token.checked_sub(producers.len()) {
            None => {
                let producer = producers.get_mut(token).context("an event of an unknown connection")?;
                producer.socket.flush()?;
                if readable { producer.receive(*clock, confirmed) } else { Ok(()) }
            }
            Some(index) => {
                let consumer = consumers.get_mut(index).context("an event of an unknown connection")?;
                consumer.socket.flush()?;
                let arrivals = &mut arrivals[index % options.queues];
                if readable { consumer.receive(*clock, arrivals, delivered) } else { Ok(()) }
            }
        }
    }

    /// Messages that may be published before the queue is longer than allowed.
    fn queue_room(&self) -> u64 {
        if !self.options.consumes() {
            return u64::MAX;
        }
        let sent: u64 = self.producers.iter().map(|producer| producer.sent).sum();
        // The queue that is furthest behind counts.
        let arrived = self.arrivals.iter().map(|arrivals| arrivals.count).min().unwrap_or(0);
        self.options.in_flight.saturating_sub(sent - arrived)
    }

    /// Messages that are due by now, at the rate that was asked for.
    fn due(&self) -> u64 {
        if self.options.rate == 0 {
            return u64::MAX;
        }
        let sent: u64 = self.producers.iter().map(|producer| producer.sent).sum();
        let due = u128::from(self.clock.ns()) * u128::from(self.options.rate) / 1_000_000_000;
        (due as u64).saturating_sub(sent)
    }

    /// Deliveries of all queues.
    fn arrived(&self) -> u64 {
        self.arrivals.iter().map(|arrivals| arrivals.count).sum()
    }

    fn publish(&mut self, mut queue_room: u64) -> Result<()> {
        for producer in &mut self.producers {
            // At a rate each message leaves when it is due.
            let in_flight = if self.options.rate > 0 { 1 } else { self.options.in_flight };
            let count = producer.room(queue_room, in_flight);
            if count > 0 {
                let before = producer.sent;
                producer.publish(count, self.clock)?;
                queue_room -= producer.sent - before;
            }
        }
        Ok(())
    }

    fn get(&mut self, asked: &mut u64) -> Result<()> {
        for consumer in &mut self.consumers {
            if consumer.is_idle() && *asked < self.options.messages {
                consumer.get(&self.options.queue, self.clock.ns())?;
                *asked += 1;
            }
        }
        Ok(())
    }

    fn all_confirmed(&self) -> bool {
        self.producers.iter().map(Producer::confirmed).sum::<u64>() == self.options.messages
    }

    fn all_arrived(&self) -> bool {
        !self.options.consumes() || self.arrivals.iter().all(|of| of.count == self.options.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        assert_eq!(shares(10, 3), [4, 3, 3]);
        assert_eq!(shares(2, 3), [1, 1, 0]);
    }
}
