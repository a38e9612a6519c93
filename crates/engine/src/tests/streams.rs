//! Streams: the place of a message in a long one, and what is done in slices.

use super::{declare, publish, ready_and_held};
use crate::{Engine, SessionId};
use leveret_amqp::{PropertyValues, TableBuf, Value};
use leveret_broker::{ApplyTo, Consume, Event, Message, Pattern, Policy, VhostId};
use std::sync::Arc;

const STREAM: (&str, Value<'_>) = ("x-queue-type", Value::LongStr(b"stream"));

fn consume(engine: &mut Engine, session: SessionId, arguments: &[(&str, Value<'_>)]) {
    let mut table = TableBuf::new();
    for (name, value) in arguments {
        table.push(name.as_bytes(), *value);
    }
    let consume = Consume {
        session,
        channel: 1,
        queue: b"s",
        tag: b"",
        no_ack: false,
        exclusive: false,
        no_local: false,
        hears_cancel: true,
        prefetch: 1,
        arguments: table.as_table(),
    };
    engine.on_broker(|txn| txn.consume(VhostId(0), &consume)).expect("the stream is there");
}

/// Offsets and bodies of what has come to a session since.
fn delivered(engine: &mut Engine, session: SessionId) -> Vec<(u64, String)> {
    let events = std::mem::take(&mut engine.session(session).expect("it is open").events);
    let of_stream = events.into_iter().filter_map(|event| match event {
        Event::Deliver { stream_offset, message, .. } => {
            Some((stream_offset?, String::from_utf8_lossy(message.body()).into_owned()))
        }
        Event::Cancel { .. } | Event::Released { .. } | Event::TimedOut { .. } | Event::Fetched => None,
    });
    of_stream.collect()
}

/// Ticks until nothing is to be done at once; gives how many it took.
fn tick_all(engine: &mut Engine) -> usize {
    let mut ticks = 0;
    while engine.next_deadline().is_some_and(|at| at <= engine.now_ms()) {
        engine.tick();
        ticks += 1;
    }
    ticks
}

#[test]
fn every_offset_of_a_long_stream_is_found() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    // Segments of several blocks, and the last block of each is not full.
    let segment = ("x-stream-max-segment-size-bytes", Value::Long(10_000));
    declare(&mut engine, session, b"s", &[STREAM, segment]);
    (0..9000).for_each(|i| publish(&mut engine, "s", &i.to_string()));
    for offset in (0..9000).step_by(511).chain([1023, 1024, 1025, 8999]) {
        let reader = engine.open_session(0);
        consume(&mut engine, reader, &[("x-stream-offset", Value::Long(offset))]);
        assert_eq!(delivered(&mut engine, reader), [(offset as u64, offset.to_string())]);
    }
}

/// A policy says how many bytes streams keep.
fn limit(engine: &mut Engine, bytes_max: i64) {
    let mut definition = TableBuf::new();
    definition.push(b"max-length-bytes", Value::Long(bytes_max));
    let policy = Policy {
        pattern: Pattern::new("s").expect("it is valid"),
        apply_to: ApplyTo::Streams,
        priority: 0,
        definition: definition.as_table().raw().into(),
    };
    engine.on_broker(|txn| txn.put_policy((VhostId(0), false, "p".into()), policy));
}

#[test]
fn of_a_stream_the_policy_says_more_than_its_arguments() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    let small = [("x-stream-max-segment-size-bytes", Value::Long(1)), ("x-max-length-bytes", Value::Long(0))];
    declare(&mut engine, session, b"s", &[STREAM, small[0], small[1]]);
    limit(&mut engine, 1000);
    (0..5).for_each(|i| publish(&mut engine, "s", &i.to_string()));
    assert_eq!(ready_and_held(&engine), [5, 0]);
    assert!(engine.on_broker(|txn| txn.delete_policy(&(VhostId(0), false, "p".into()))));
    assert_eq!(ready_and_held(&engine), [1, 0]);
}

#[test]
fn old_segments_leave_in_slices() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    declare(&mut engine, session, b"s", &[STREAM, ("x-stream-max-segment-size-bytes", Value::Long(1))]);
    (0..2500).for_each(|i| publish(&mut engine, "s", &i.to_string()));
    limit(&mut engine, 0);
    assert_eq!(ready_and_held(&engine), [1500, 0]);
    assert_eq!(tick_all(&mut engine), 2);
    assert_eq!(ready_and_held(&engine), [1, 0]);
    consume(&mut engine, session, &[("x-stream-offset", Value::LongStr(b"first"))]);
    assert_eq!(delivered(&mut engine, session), [(2499, "2499".to_owned())]);
}

#[test]
fn who_wants_little_of_a_stream_holds_nobody_up() {
    let mut engine = Engine::new(1, 1);
    let session = engine.open_session(0);
    declare(&mut engine, session, b"s", &[STREAM]);
    (0..25_000).for_each(|i| publish(&mut engine, "s", &i.to_string()));
    let (mut headers, mut properties) = (TableBuf::new(), Vec::new());
    headers.push(b"x-stream-filter-value", Value::LongStr(b"red"));
    let headers = Some(headers.as_table());
    PropertyValues { headers, ..PropertyValues::default() }.encode(&mut properties);
    let red = Arc::new(Message::new(b"", b"s", &properties, b"red").expect("it is valid"));
    engine.on_broker(|txn| txn.publish(VhostId(0), &red)).expect("the stream is there");
    let wants = ("x-stream-filter", Value::LongStr(b"red"));
    consume(&mut engine, session, &[("x-stream-offset", Value::LongStr(b"first")), wants]);
    assert_eq!(delivered(&mut engine, session), []);
    assert_eq!(tick_all(&mut engine), 2);
    assert_eq!(delivered(&mut engine, session), [(25_000, "red".to_owned())]);
}
