//! What a client publishes, and what it does with a queue of its own.

use super::{Channel, FRAME_MAX};
use crate::amqp::Said;
use crate::amqp::estate::Deed;
use crate::amqp::talk::HOUSE;
use crate::ledger::{Certainty, Copy, Group, Queue, Step};
use crate::stage::Stage;
use leveret_amqp as amqp;
use leveret_amqp::{Method, PropertyValues, TableBuf, Value};

impl Channel {
    /// Does something with the client's own queue.
    pub(super) fn keep_house(
        &mut self,
        stage: &mut Stage<'_>,
        deed: Deed,
        queue: &[u8],
        by: Step,
        out: &mut Vec<u8>,
    ) -> Option<Vec<Said>> {
        stage.note(|| format!("{by:?} does {deed:?} with {}", String::from_utf8_lossy(queue)));
        let (method, answer): (Method<'_>, _) = match deed {
            Deed::Declare => {
                let declare = amqp::QueueDeclare { queue, durable: true, ..Default::default() };
                (declare.into(), "queue.declare-ok")
            }
            Deed::Purge => (amqp::QueuePurge { queue, ..Default::default() }.into(), "queue.purge-ok"),
            Deed::Bind => {
                let bind =
                    amqp::QueueBind { queue, exchange: HOUSE, routing_key: queue, ..Default::default() };
                (bind.into(), "queue.bind-ok")
            }
            Deed::Unbind => {
                let unbind =
                    amqp::QueueUnbind { queue, exchange: HOUSE, routing_key: queue, ..Default::default() };
                (unbind.into(), "queue.unbind-ok")
            }
            Deed::Delete => (amqp::QueueDelete { queue, ..Default::default() }.into(), "queue.delete-ok"),
            Deed::Publish => {
                let publish = amqp::BasicPublish { routing_key: queue, ..Default::default() };
                let mut properties = Vec::new();
                PropertyValues { delivery_mode: Some(2), ..Default::default() }.encode(&mut properties);
                let body = vec![b'o'; stage.rng.usize(..300)];
                amqp::encode_content(self.number, &publish.into(), &properties, &body, FRAME_MAX, out);
                self.published += 1;
                self.unconfirmed.insert(self.published, (by.1, Certainty::Synced, None));
                return Some(vec![Said::Own]);
            }
        };
        method.encode(self.number, out);
        self.wait(answer, by.1, Certainty::Synced, None);
        Some(vec![Said::Own])
    }

    pub(super) fn publish(
        &mut self,
        stage: &mut Stage<'_>,
        by: Step,
        out: &mut Vec<u8>,
    ) -> Option<Vec<Said>> {
        let rng = &mut *stage.rng;
        let (fanned, persistent) = (rng.u8(..6) == 0, rng.u8(..6) > 0);
        let padding = match rng.u8(..20) {
            0 => rng.usize(..10_000),
            1..=3 => rng.usize(..2000),
            _ => rng.usize(..100),
        };
        let delay_ms = (!self.is_tx && !fanned && rng.u8(..8) == 0).then(|| rng.u64(1..1500));
        let queues = match rng.u8(..8) {
            _ if delay_ms.is_some() => vec![Queue::Classic],
            _ if fanned => Queue::FANNED.to_vec(),
            // A transaction that it refuses would close the channel.
            0 if !self.is_tx => vec![Queue::Narrow],
            _ => vec![Queue::HOMES[rng.usize(..Queue::HOMES.len())]],
        };
        self.count += 1;
        // What is delayed has an order of its own.
        let source = if delay_ms.is_some() { self.source | 3 } else { self.source };
        let copies: Vec<Copy> =
            queues.into_iter().map(|queue| Copy { queue, source, number: self.count }).collect();
        let first = copies[0];
        stage.note(|| {
            format!("{by:?} publishes {copies:?}{}", if persistent { "" } else { ", not to be kept" })
        });
        let (exchange, routing_key): (&[u8], &[u8]) =
            if fanned { (b"fan", b"") } else { (b"", first.queue.name().as_bytes()) };
        let exchange = if delay_ms.is_some() { b"later" } else { exchange };
        let mut headers = TableBuf::new();
        if let Some(ms) = delay_ms {
            headers.push(b"x-delay", Value::SignedInt(ms as i32));
        }
        let publish = amqp::BasicPublish { exchange, routing_key, ..Default::default() };
        let values = PropertyValues {
            delivery_mode: Some(if persistent { 2 } else { 1 }),
            priority: Some(first.rank()),
            headers: delay_ms.map(|_| headers.as_table()),
            ..Default::default()
        };
        let mut properties = Vec::new();
        values.encode(&mut properties);
        amqp::encode_content(
            self.number,
            &publish.into(),
            &properties,
            &first.body(fanned, padding),
            FRAME_MAX,
            out,
        );
        if self.is_tx {
            self.tx.published.extend(copies.into_iter().map(|copy| (copy, persistent)));
            return Some(Vec::new());
        }
        self.published += 1;
        let is_kept = copies.iter().any(|copy| copy.queue.keeps(persistent));
        let certainty = if is_kept { Certainty::Synced } else { Certainty::Done };
        let may_be_refused = Some(first).filter(|copy| copy.queue == Queue::Narrow);
        self.unconfirmed.insert(self.published, (by.1, certainty, may_be_refused));
        copies.iter().for_each(|copy| stage.ledger.publish(*copy, persistent, stage.now_ms));
        if let Some(ms) = delay_ms {
            stage.ledger.delay(first, ms);
        }
        stage.ledger.group(Group { published: copies.clone(), settled: Vec::new(), by });
        // Of what may be refused only its own confirm says that it was not.
        let certain = copies.into_iter().filter(|copy| copy.queue != Queue::Narrow);
        Some(certain.map(Said::Published).collect())
    }
}
