//! Entry points for arbitrary bytes: none may panic, and what decodes must come back the same when it is encoded.

use crate::*;

/// Frames: all at once and byte by byte must find the same.
pub fn frames(data: &[u8]) {
    let _ = parse_protocol_header(data);
    assert_eq!(found(data, data.len().max(1)), found(data, 1), "feeding byte by byte finds other frames");
}

type Found = (Vec<(FrameKind, u16, Vec<u8>)>, Option<FrameError>);

fn found(data: &[u8], step: usize) -> Found {
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    for piece in data.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match parse(&buffer, FRAME_MIN_SIZE) {
                Ok(None) => break,
                Ok(Some((frame, used))) => {
                    frames.push((frame.kind, frame.channel, frame.payload.to_vec()));
                    buffer.drain(..used);
                }
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Method payloads.
pub fn methods(data: &[u8]) {
    let Ok(method) = Method::decode(data) else { return };
    let mut out = Vec::new();
    method.encode(7, &mut out);
    let (frame, used) = parse(&out, 0).expect("we write valid frames").expect("and whole ones");
    assert_eq!((frame.kind, frame.channel, used), (FrameKind::Method, 7, out.len()));
    assert_eq!(Method::decode(frame.payload), Ok(method));
    // Only the spare bits of an octet of bits may differ.
    assert_eq!(frame.payload.len(), data.len(), "{} has grown or shrunk", method.name());
}

/// The fields of a table.
pub fn tables(data: &[u8]) {
    let Ok(table) = Table::parse(data) else { return };
    assert_eq!(table.raw(), data);
    let mut rebuilt = TableBuf::new();
    for (name, value) in table.iter() {
        assert!(table.find(name).is_some(), "a field is not found by its name");
        rebuilt.push(name, value);
    }
    assert_eq!(rebuilt.as_table().iter().count(), table.iter().count());
    assert_eq!(rebuilt.as_table(), table, "rebuilt from its values it is another table");
    assert_eq!(Table::parse(rebuilt.as_table().raw()), Ok(table));
    let mut emptied = TableBuf::from(table);
    for (name, _) in table.iter() {
        emptied.remove(name);
    }
    assert!(emptied.as_table().is_empty(), "removing every name leaves {emptied:?}");
    let _ = format!("{table:?}");
}

/// Content header payloads.
pub fn properties(data: &[u8]) {
    let Ok(header) = ContentHeader::parse(data) else { return };
    let properties = header.properties;
    let values = PropertyValues::from(properties);
    let mut raw = Vec::new();
    values.encode(&mut raw);
    let again = Properties::parse(&raw).expect("we write valid properties");
    assert_eq!(PropertyValues::from(again), values);
    let mut out = Vec::new();
    encode_header(1, header.class_id, header.body_size, properties.raw(), &mut out);
    let (frame, _) = parse(&out, 0).expect("we write valid frames").expect("and whole ones");
    assert_eq!(frame.payload, data, "a header has changed in transit");
}
