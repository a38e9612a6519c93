//! What whoever looks after a start says over AMQP: the queues that everybody uses, and what is in them.

use super::{SHAKEN, shake_hands};
use crate::ledger::{AGE_MS, Copy, Queue, RANKS, WIDTH};
use crate::relay::{self, STAGES};
use crate::runner;
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
    for stage in 0..STAGES {
        let (queue, arguments) = (relay::queue(stage), arguments([Queue::Classic, Queue::Quorum][stage % 2]));
        let declare = amqp::QueueDeclare {
            queue: queue.as_bytes(),
            durable: true,
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
fn get(wire: &mut Wire, queue: &str, count: u32) {
    let get = amqp::BasicGet { queue: queue.as_bytes(), ..Default::default() };
    // The last one is answered that there is no more.
    for _ in 0..=count {
        Method::from(get).encode(1, wire.out());
    }
}

/// What the queues have.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) copies: BTreeMap<Queue, Vec<Copy>>,
    /// Of each stage of the runners.
    pub(crate) relayed: [Vec<u32>; STAGES],
}

/// A queue that everybody uses, or one of the runners.
#[derive(Debug, Clone, Copy)]
enum Place {
    Queue(Queue),
    Stage(usize),
}

/// Reads what has arrived: what each queue has, once all of it was got. Nothing is settled.
#[derive(Default)]
pub(crate) struct Reading {
    answers: usize,
    asked: bool,
    counts: BTreeMap<String, u32>,
    found: Found,
    /// The queue that is being read last, and the message that is arriving.
    left: Vec<Place>,
    body: Option<(usize, Vec<u8>)>,
}

/// Goes on reading; `answers` come before anything is asked. Gives the queues' contents at the end.
pub(crate) fn read(wire: &mut Wire, reading: &mut Reading, answers: usize) -> Option<Found> {
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
        let places: Vec<Place> =
            Queue::ALL.into_iter().map(Place::Queue).chain((0..STAGES).map(Place::Stage)).collect();
        for place in &places {
            let name = match place {
                Place::Queue(queue) => queue.name().to_owned(),
                Place::Stage(stage) => relay::queue(*stage),
            };
            get(wire, &name, reading.counts.get(&name).copied().unwrap_or_default());
        }
        reading.left = places.into_iter().rev().collect();
    }
    (reading.asked && reading.left.is_empty()).then(|| std::mem::take(&mut reading.found))
}

impl Reading {
    fn method(&mut self, method: &Method<'_>) {
        match method {
            Method::BasicGetOk(_) => {}
            Method::BasicGetEmpty(_) => drop(self.left.pop()),
            Method::QueueDeclareOk(m) => {
                self.counts.insert(String::from_utf8_lossy(m.queue).into_owned(), m.message_count);
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
            match *self.left.last().expect("no more was asked for") {
                Place::Queue(queue) => {
                    self.found.copies.entry(queue).or_default().push(Copy::found(body, queue));
                }
                Place::Stage(stage) => self.found.relayed[stage].push(runner::number(body)),
            }
            self.body = None;
        }
    }
}
