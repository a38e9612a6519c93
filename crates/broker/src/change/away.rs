//! A message as a change, read by whoever has the log's bytes; and what stands in a checkpoint in its place.

use super::{LETTER, MESSAGE, REKEYED_LETTER, short};
use crate::Message;
use crate::body::Away;
use leveret_base::codec::{Malformed, Place, Reader, put_varint};

pub(super) fn message(tag: u8, fields: &mut Reader<'_>) -> Result<Message, Malformed> {
    let (exchange, routing_key) = (short(fields)?, short(fields)?);
    let (properties, body) = (fields.bytes()?, fields.bytes()?);
    let mut message = Message::new(exchange, routing_key, properties, body).map_err(|_| Malformed)?;
    message.died = tag != MESSAGE;
    message.is_rekeyed = tag == REKEYED_LETTER;
    Ok(message)
}

impl Message {
    /// The message that lies there: `changes` are those of its commit from its own on.
    pub fn read(changes: &[u8], place: Place) -> Result<Message, Malformed> {
        let mut fields = Reader::new(changes);
        match fields.byte()? {
            tag @ (MESSAGE | LETTER | REKEYED_LETTER) => {
                let message = message(tag, &mut fields)?;
                message.lies_at(place);
                Ok(message)
            }
            _ => Err(Malformed),
        }
    }
}

/// How many bytes the change takes that stands first, if it is a message.
pub fn message_len(changes: &[u8]) -> Option<usize> {
    let mut fields = Reader::new(changes);
    fields.byte().ok().filter(|tag| matches!(*tag, MESSAGE | LETTER | REKEYED_LETTER))?;
    for _ in 0..4 {
        fields.bytes().ok()?;
    }
    Some(changes.len() - fields.left())
}

impl Away {
    pub(super) fn record(&self, out: &mut Vec<u8>) {
        let Away { place: Place { position, offset }, body_len, priority, persistent } = *self;
        let numbers = [position, offset.into(), body_len.into(), priority.into(), persistent.into()];
        numbers.into_iter().for_each(|number| put_varint(out, number));
    }

    pub(crate) fn read(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let place = Place { position: fields.varint()?, offset: fields.varint32()? };
        if place.run().is_some() {
            return Err(Malformed);
        }
        let body_len = fields.varint32()?;
        let priority = u8::try_from(fields.varint()?).map_err(|_| Malformed)?;
        Ok(Self { place, body_len, priority, persistent: fields.varint()? != 0 })
    }
}
