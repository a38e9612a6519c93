//! A file holds all there is, however it comes in; what is cut or changed is refused, with the place.

use super::{Dialect, Failure, Item, Reader, export};
use crate::values::End;
use crate::{DbIndex, Keyspace, Txn};
use leveret_base::codec::Changes;
use std::io::Read;

const NOW_MS: u64 = 1_000_000;

fn txn(keyspace: &mut Keyspace, db: DbIndex) -> Txn<'_> {
    Txn::new(keyspace, db, NOW_MS, Changes::off())
}

fn filled(with_field_deadlines: bool) -> Keyspace {
    let mut keyspace = Keyspace::new(1);
    let texts: Vec<Vec<u8>> = (-40..40).map(|i: i32| i.pow(5).to_string().into_bytes()).collect();
    let long = vec![b'x'; 17_000];
    let mut first = txn(&mut keyspace, 0);
    first.put(b"number", b"-77", None);
    first.put(b"text\xff\0", &long, Some(NOW_MS + 5));
    first.put(b"overdue", b"1", Some(NOW_MS));
    first.list_push(End::Right, b"list", texts.iter().map(Vec::as_slice));
    first.set_add(b"set", texts.iter().map(Vec::as_slice));
    let scores: Vec<(f64, &[u8])> = texts.iter().map(|text| (text.len() as f64 / 3.0, &**text)).collect();
    first.sorted_set_put(b"sorted set", &scores);
    let mut last = txn(&mut keyspace, 15);
    last.hash_set(b"hash", false, texts.iter().map(Vec::as_slice));
    if with_field_deadlines {
        last.hash_deadline(b"hash", NOW_MS + 9, std::iter::once(&*texts[0]));
        last.hash_deadline(b"hash", NOW_MS - 9, std::iter::once(&*texts[2]));
    }
    for i in 1..120u64 {
        let id = crate::values::EntryId { ms: i, seq: i };
        last.stream_add(b"stream", id, [&b"field"[..], &long[..i as usize]].into_iter());
    }
    last.stream_group(b"stream", b"group", crate::values::EntryId { ms: 7, seq: 7 }, Some(7));
    last.stream_deliver(b"stream", (b"group", b"reader"), NOW_MS - 1, true, &[]);
    keyspace
}

fn exported(keyspace: &Keyspace, dialect: Dialect) -> Vec<u8> {
    let mut bytes = Vec::new();
    let libraries = [&b"#!lua name=one"[..]];
    let done = export(keyspace, libraries.into_iter(), dialect, NOW_MS, &mut |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    });
    assert_eq!(done.unwrap().bytes, bytes.len() as u64);
    bytes
}

fn read(read: impl Read) -> Result<(Keyspace, usize), Failure> {
    let (mut keyspace, mut others) = (Keyspace::new(2), 0);
    let mut reader = Reader::new(read)?;
    while let Some(item) = reader.next_item()? {
        let Item::Key { db, name, deadline } = item else {
            others += 1;
            continue;
        };
        while let Some(mut piece) = reader.piece()? {
            piece.drop_overdue(NOW_MS);
            txn(&mut keyspace, db).build(&name, &piece);
        }
        if let Some(at) = deadline {
            txn(&mut keyspace, db).build_deadline(&name, at);
        }
    }
    Ok((keyspace, others))
}

/// Gives a byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = into.len().min(1);
        self.0.read(&mut into[..len])
    }
}

#[test]
fn what_is_written_is_read() {
    for (dialect, version) in [(Dialect::Oldest, "REDIS0012"), (Dialect::Valkey, "VALKEY080")] {
        let mut keyspace = filled(true);
        let bytes = exported(&keyspace, dialect);
        assert!(bytes.starts_with(version.as_bytes()));
        let (copy, others) = read(&*bytes).unwrap();
        assert_eq!(others, 3, "who wrote it, when, and a library");
        // What is overdue is left out.
        txn(&mut keyspace, 0).make_room(b"overdue");
        let overdue = (-38i32).pow(5).to_string().into_bytes();
        txn(&mut keyspace, 15).hash_delete(b"hash", std::iter::once(&*overdue));
        assert_eq!(copy.digest(), keyspace.digest());
        assert_eq!(read(Trickle(&bytes)).unwrap().0.digest(), copy.digest());
    }
    assert!(exported(&filled(false), Dialect::Oldest).starts_with(b"REDIS0010"));
}

#[test]
fn what_is_cut_or_changed_is_refused_with_its_place() {
    let bytes = exported(&filled(true), Dialect::Oldest);
    let places = (0..bytes.len()).filter(|i| *i < 40 || i % 211 == 0 || *i > bytes.len() - 40);
    for at in places {
        let cut = read(&bytes[..at]).err().expect("a file without its end is refused");
        assert_eq!(cut.offset.min(at as u64), cut.offset, "{cut}");
        assert!(cut.reason.contains("the file ends in"), "{cut}");
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            let failure = read(&*changed).err().expect("a changed file is refused");
            assert!(failure.offset <= bytes.len() as u64 && !failure.reason.is_empty());
        }
    }
}

#[test]
fn a_length_is_not_believed_before_its_bytes_are_there() {
    let head = b"REDIS0010\x00\x01k";
    for len in [
        &b"\x80\x1f\xff\xff\xff"[..],
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xc3\x0a\x80\x1f\xff\xff\xff",
    ] {
        let failure = read(&*[head, len, b"short"].concat()).err().expect("it is refused");
        assert!(failure.to_string().starts_with("at byte 1"), "{failure}");
    }
}
