//! Recorded changes as replay reads them: any bytes may stand in a record whose checksum is right. Each is applied or
//! refused, and two states that were given the same changes have the same contents.

use leveret_base::codec::{Malformed, Reader};
use leveret_broker::Broker;
use leveret_keyspace::Keyspace;

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
