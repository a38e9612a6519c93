//! Entry points for arbitrary bytes: no input may panic, and feeding in pieces must find the same commands.

use crate::{Batch, Decoder, parse_reply, skip_reply};

/// Requests.
pub fn requests(data: &[u8]) {
    let whole = decoded(data, data.len().max(1));
    assert_eq!(whole, decoded(data, 1), "feeding byte by byte finds other commands");
}

fn decoded(data: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, bool) {
    let (mut decoder, mut batch, mut buffer, mut commands) =
        (Decoder::default(), Batch::default(), Vec::new(), Vec::new());
    for piece in data.chunks(step) {
        buffer.extend_from_slice(piece);
        batch.clear();
        let result = decoder.decode(&mut buffer, &mut batch);
        for i in 0..batch.len() {
            commands.push(batch.args(i, &buffer).iter().map(<[u8]>::to_vec).collect());
        }
        match result {
            Ok(consumed) => drop(buffer.drain(..consumed)),
            Err(_) => return (commands, true),
        }
    }
    (commands, false)
}

/// Replies.
pub fn replies(data: &[u8]) {
    let skipped = skip_reply(data);
    match parse_reply(data) {
        Ok(Some((_, used))) => assert_eq!(skipped, Ok(Some(used)), "skipping finds another end"),
        Ok(None) => assert!(!matches!(skipped, Ok(Some(_))), "skipping finds an end where there is none"),
        // It looks at values too, so it refuses more.
        Err(_) => {}
    }
}
