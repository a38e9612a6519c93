//! Messages that a checkpoint has by name only, as it writes them down for the log: where each lies, and about how many bytes
//! it has. The trap: an entry of each queue has a name of its own, so one message may be named many times.

use leveret_base::codec::{Malformed, Name, Place, Reader, put_varint};

/// A block of names: each by its distance from the one before, as they mostly lie one behind the other.
pub(crate) fn encode(names: &[Name]) -> Vec<u8> {
    let (mut bytes, mut before) = (Vec::with_capacity(names.len() * 5), 0);
    for Name { place: Place { position, offset }, bytes: len } in names {
        let distance = position.wrapping_sub(before) as i64;
        // Small numbers of either sign are short.
        put_varint(&mut bytes, ((distance << 1) ^ (distance >> 63)) as u64);
        put_varint(&mut bytes, (*offset).into());
        put_varint(&mut bytes, (*len).into());
        before = *position;
    }
    bytes
}

/// Gives the names of a block.
pub(crate) fn decode(bytes: &[u8], each: &mut dyn FnMut(Name)) -> Result<(), Malformed> {
    let (mut fields, mut position) = (Reader::new(bytes), 0u64);
    while !fields.is_empty() {
        let distance = fields.varint()?;
        let distance = (distance >> 1) as i64 ^ -((distance & 1) as i64);
        position = position.wrapping_add(distance as u64);
        let (offset, bytes) = (fields.varint32()?, fields.varint32()?);
        each(Name { place: Place { position, offset }, bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use leveret_base::codec::{Name, Place};

    #[test]
    fn names_come_back_as_they_were() {
        let mut random = fastrand::Rng::with_seed(1);
        let positions = [0, 1, 5, 4, u64::MAX, 0, u64::MAX - 1, 1 << 63].into_iter();
        let names: Vec<Name> = positions
            .chain((0..1000).map(|_| fastrand::Rng::with_seed(7).u64(..)))
            .map(|position| Name { place: Place { position, offset: random.u32(..) }, bytes: random.u32(..) })
            .collect();
        let (bytes, mut read) = (encode(&names), Vec::new());
        decode(&bytes, &mut |name| read.push(name)).expect("it was made above");
        assert_eq!(read, names);
        assert!(decode(&bytes[..bytes.len() - 1], &mut |_| ()).is_err());
        let near: Vec<Name> =
            (1..100).map(|position| Name { place: Place { position, offset: 9 }, bytes: 99 }).collect();
        assert_eq!(encode(&near).len(), 3 * near.len(), "a backlog costs little");
    }
}
