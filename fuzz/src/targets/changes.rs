//! Recorded changes as replay reads them: any bytes may stand in a record whose checksum is right. Each is applied or
//! refused, and two states that were given the same changes have the same contents.

use leveret_base::codec::{Malformed, Reader};
use leveret_broker::Broker;
use leveret_engine::Engine;
use leveret_keyspace::Keyspace;
use leveret_wal::{Head, Record};

/// Changes of keys.
pub(crate) fn keyspace(data: &[u8]) {
    let (mut one, mut other) = (Keyspace::new(1), Keyspace::new(2));
    let ends = each(data, |tag, fields| one.apply(tag, fields));
    assert_eq!(
        ends,
        each(data, |tag, fields| other.apply(tag, fields)),
        "the hash seed decides what is refused"
    );
    assert_eq!(one.digest(), other.digest(), "the hash seed decides what is there");
}

/// Changes of exchanges, queues and messages.
pub(crate) fn broker(data: &[u8]) {
    let mut broker = Broker::new(1);
    let _ = each(data, |tag, fields| broker.apply(tag, fields));
    broker.after_replay(1);
}

/// Changes of users, parameters and everything else, as they stand in one record.
pub(crate) fn engine(data: &[u8]) {
    let head = Head { kind: 1, partition: 0, term: 0, position: 1, time_ms: 1 };
    let apply = |seed| {
        let mut engine = Engine::new(seed, 1);
        let ends = engine.apply(&Record { head, changes: data });
        engine.after_replay(1);
        (ends.is_ok(), engine.digest())
    };
    assert_eq!(apply(1), apply(2), "the seed decides what is there");
}

fn each(
    data: &[u8],
    mut apply: impl FnMut(u8, &mut Reader<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Reader::new(data);
    while !fields.is_empty() {
        let tag = fields.byte()?;
        apply(tag, &mut fields)?;
    }
    Ok(())
}
