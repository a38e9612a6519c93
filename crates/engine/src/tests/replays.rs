//! What is on a disk, read by another engine.

use crate::Engine;
use leveret_base::codec::Place;
use leveret_broker::Message;
use leveret_wal::faulty::FaultyDisk;
use leveret_wal::{Log, Options, Reader};
use std::sync::Arc;

/// Small, so that a run crosses many segments.
pub(super) const OPTIONS: Options = Options { segment_bytes: 16 * 1024 };

/// The state that the log on the disk gives up to a position.
pub(super) fn replayed(disk: &FaultyDisk, last: u64) -> Engine {
    replayed_with(disk, last, None).0
}

/// Likewise, with so many bytes of messages in memory; and a hand of the log for the others.
pub(super) fn replayed_with(disk: &FaultyDisk, last: u64, memory_bytes_max: Option<u64>) -> (Engine, Reader) {
    let mut engine = Engine::new(99, 1);
    engine.broker.memory_bytes_max = memory_bytes_max;
    let mut log = Log::open(Arc::new(disk.clone()), OPTIONS).expect("the log opens");
    restore(&mut log, &mut engine);
    let mut apply = |record: leveret_wal::Record<'_>| {
        if record.head.position <= last { engine.apply(&record) } else { Ok(()) }
    };
    log.replay(&mut apply).expect("the log replays");
    (engine, log.reader())
}

/// The message that lies there.
pub(super) fn read(reader: &mut Reader, place: Place) -> Option<Message> {
    let bytes = reader.read(place).expect("the log can be read")?;
    Some(Message::read(bytes, place).expect("a message lies there"))
}

/// The digest of a state of which the log has a part.
pub(super) fn digest(engine: &Engine, reader: &mut Reader) -> u64 {
    engine.digest_with(&mut |place| read(reader, place))
}

pub(super) fn restore(log: &mut Log, engine: &mut Engine) {
    let restored = log.restore(&mut |changes| engine.restore(changes)).expect("a checkpoint is whole");
    if let Some(head) = restored {
        engine.restored(head);
    }
}

/// Applies what the log on the disk has after an engine's position.
pub(super) fn replayed_from(disk: &FaultyDisk, engine: &mut Engine) {
    let mut log = Log::open(Arc::new(disk.clone()), OPTIONS).expect("the log opens");
    log.restore(&mut |_| Ok(())).expect("a checkpoint is whole");
    let after = engine.position();
    let mut apply = |record: leveret_wal::Record<'_>| {
        if record.head.position > after { engine.apply(&record) } else { Ok(()) }
    };
    log.replay(&mut apply).expect("the log replays");
}
