//! What changes consist of.

use crate::exchange::{Binding, Destination};
use crate::policy::PolicyKey;
use crate::{ExchangeId, QueueId, VhostId};
use leveret_base::codec::{Malformed, Reader, put_bytes, put_varint};

pub(super) fn numbers(out: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    out.push(tag);
    numbers.iter().for_each(|number| put_varint(out, *number));
}

pub(super) fn strings(out: &mut Vec<u8>, strings: &[&[u8]]) {
    strings.iter().for_each(|string| put_bytes(out, string));
}

pub(super) fn record_binding(out: &mut Vec<u8>, tag: u8, source: ExchangeId, binding: &Binding) {
    let (kind, id) = match binding.destination {
        Destination::Queue(id) => (0, id.0),
        Destination::Exchange(id) => (1, id.0),
    };
    numbers(out, tag, &[source.0.into(), kind, id.into()]);
    strings(out, &[&binding.key, &binding.arguments]);
}

/// An id that leaves room for the next one.
pub(crate) fn id(fields: &mut Reader<'_>) -> Result<u32, Malformed> {
    fields.varint32().ok().filter(|id| *id < u32::MAX).ok_or(Malformed)
}

/// A number of a message that leaves room for the next one.
pub(crate) fn seq(fields: &mut Reader<'_>) -> Result<u64, Malformed> {
    fields.varint().ok().filter(|seq| *seq < u64::MAX).ok_or(Malformed)
}

pub(super) fn read_binding(fields: &mut Reader<'_>) -> Result<(ExchangeId, Binding), Malformed> {
    let source = ExchangeId(id(fields)?);
    let destination = match (fields.varint()?, fields.varint32()?) {
        (0, id) => Destination::Queue(QueueId(id)),
        (1, id) => Destination::Exchange(ExchangeId(id)),
        _ => return Err(Malformed),
    };
    Ok((source, Binding { destination, key: fields.bytes()?.into(), arguments: fields.bytes()?.into() }))
}

pub(super) fn short<'a>(fields: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    fields.bytes().and_then(|bytes| if bytes.len() <= 255 { Ok(bytes) } else { Err(Malformed) })
}

pub(super) fn text(fields: &mut Reader<'_>) -> Result<String, Malformed> {
    String::from_utf8(fields.bytes()?.to_vec()).map_err(|_| Malformed)
}

pub(super) fn policy_key(fields: &mut Reader<'_>) -> Result<PolicyKey, Malformed> {
    Ok((VhostId(id(fields)?), fields.varint()? != 0, text(fields)?.into()))
}
