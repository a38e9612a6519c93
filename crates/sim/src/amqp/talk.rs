//! What whoever looks after a start says over AMQP: the queues that everybody uses, and what is in them.

use super::{SHAKEN, shake_hands};
use crate::ledger::{AGE_MS, Copy, Queue, RANKS, WIDTH};
use crate::wire::Wire;
use leveret_amqp as amqp;
use leveret_amqp::{FrameKind, Method, TableBuf, Value};
use std::collections::BTreeMap;

/// What clients bind their own queues to.
pub(super) const HOUSE: &[u8] = b"house";

/// Says everything that opens a connection with a channel and makes the queues. Gives how many answers come.
pub(crate) fn declare(wire: &mut Wire) -> usize {
    let out = wire.out();
    shake_hands(out);
    Method::from(amqp::ChannelOpen::default()).encode(1, out);
    let mut answers = SHAKEN.len() + 1;
    for queue in Queue::ALL {
        let arguments = arguments(queue);
        let declare = amqp::QueueDeclare {
            queue: queue.name().as_bytes(),
            durable: queue != Queue::Passing,
            arguments: arguments.as_table(),
            ..Default::default()
        };
        Method::from(declare).encode(1, out);
        answers += 1;
    }
    let declare =
        amqp::ExchangeDeclare { exchange: b"fan", kind: b"fanout", durable: true, ..Default::default() };
    Method::from(declare).encode(1, out);
    for queue in Queue::FANNED {
        let bind = amqp::QueueBind { queue: queue.name().as_bytes(), exchange: b"fan", ..Default::default() };
        Method::from(bind).encode(1, out);
    }
    let declare =
        amqp::ExchangeDeclare { exchange: HOUSE, kind: b"direct", durable: true, ..Default::default() };
    Method::from(declare).encode(1, out);
    let mut table = TableBuf::new();
    table.push(b"x-delayed-type", Value::LongStr(b"direct"));
    let declare = amqp::ExchangeDeclare {
        exchange: b"later",
        kind: b"x-delayed-message",
        durable: true,
        arguments: table.as_table(),
        ..Default::default()
    };
    Method::from(declare).encode(1, out);
    let queue = Queue::Classic.name().as_bytes();
    let bind = amqp::QueueBind { queue, exchange: b"later", routing_key: queue, ..Default::default() };
    Method::from(bind).encode(1, out);
    answers + 4 + Queue::FANNED.len()
}

fn arguments(queue: Queue) -> TableBuf {
    let mut table = TableBuf::new();
    match queue {
        Queue::Classic | Queue::Dead | Queue::Passing => {}
        Queue::Quorum => {
            table.push(b"x-queue-type", Value::LongStr(b"quorum"));
            table.push(b"x-delivery-limit", Value::SignedInt(-1));
        }
        Queue::Letters | Queue::Aging => {
            table.push(b"x-dead-letter-exchange", Value::LongStr(b""));
            table.push(b"x-dead-letter-routing-key", Value::LongStr(b"dead"));
            if queue == Queue::Aging {
                table.push(b"x-message-ttl", Value::SignedInt(AGE_MS as i32));
            }
        }
        Queue::Narrow => {
            table.push(b"x-max-length", Value::SignedInt(WIDTH));
            table.push(b"x-overflow", Value::LongStr(b"reject-publish"));
        }
        Queue::Ranked => {
            table.push(b"x-max-priority", Value::SignedInt(RANKS as i32));
        }
    }
    table
}

/// Asks for all messages of a queue that has so many.
fn get(wire: &mut Wire, queue: Queue, count: u32) {
    let get = amqp::BasicGet { queue: queue.name().as_bytes(), ..Default::default() };
    // The last one is answered that there is no more.
    for _ in 0..=count {
        Method::from(get).encode(1, wire.out());
    }
}

/// Reads what has arrived: what each queue has, once all of it was got. Nothing is settled.
#[derive(Default)]
pub(crate) struct Reading {
    answers: usize,
    asked: bool,
    counts: BTreeMap<Queue, u32>,
    found: BTreeMap<Queue, Vec<Copy>>,
    /// The queue that is being read, and the message that is arriving.
    left: Vec<Queue>,
    body: Option<(usize, Vec<u8>)>,
}

/// Goes on reading; `answers` come before anything is asked. Gives the queues' contents at the end.
pub(crate) fn read(
    wire: &mut Wire,
    reading: &mut Reading,
    answers: usize,
) -> Option<BTreeMap<Queue, Vec<Copy>>> {
    let input = std::mem::take(&mut wire.input);
    let mut at = 0;
    while let Some((frame, len)) = amqp::parse(&input[at..], 0).expect("the server speaks AMQP") {
        at += len;
        match frame.kind {
            FrameKind::Method => {
                let method = Method::decode(frame.payload).expect("the server sends methods that exist");
                reading.method(&method);
            }
            FrameKind::Header => {
                let header =
                    amqp::ContentHeader::parse(frame.payload).expect("the server sends whole headers");
                reading.body = Some((header.body_size as usize, Vec::new()));
            }
            FrameKind::Body => reading.piece(frame.payload),
            FrameKind::Heartbeat => {}
        }
    }
    wire.input = input;
    wire.input.drain(..at);
    if reading.answers == answers && !reading.asked {
        reading.asked = true;
        reading.left = Queue::ALL.into_iter().rev().collect();
        for queue in Queue::ALL {
            get(wire, queue, reading.counts.get(&queue).copied().unwrap_or_default());
        }
    }
    (reading.asked && reading.left.is_empty()).then(|| std::mem::take(&mut reading.found))
}

impl Reading {
    fn method(&mut self, method: &Method<'_>) {
        match method {
            Method::BasicGetOk(_) => {}
            Method::BasicGetEmpty(_) => drop(self.left.pop()),
            Method::QueueDeclareOk(m) => {
                let queue = Queue::named(&String::from_utf8_lossy(m.queue)).expect("it was declared");
                self.counts.insert(queue, m.message_count);
                self.answers += 1;
            }
            Method::ChannelClose(m) => panic!("whoever looks after a start is refused: {m:?}"),
            Method::ConnectionClose(m) => panic!("whoever looks after a start is refused: {m:?}"),
            _ => self.answers += 1,
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        let Some((size, body)) = &mut self.body else { panic!("a body comes without a header") };
        body.extend_from_slice(piece);
        if body.len() == *size {
            let queue = *self.left.last().expect("no more was asked for");
            self.found.entry(queue).or_default().push(Copy::found(body, queue));
            self.body = None;
        }
    }
}
