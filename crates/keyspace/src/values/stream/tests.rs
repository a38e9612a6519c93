//! Against a plain vector, and copies that must not change.

use super::*;

type Plain = Vec<(EntryId, Vec<Vec<u8>>)>;

fn shown<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Plain {
    let fields =
        |entry: Entry<'_>| entry.fields().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
    entries.map(|entry| (entry.id, fields(entry))).collect()
}

fn between(plain: &Plain, from: EntryId, to: EntryId) -> Plain {
    plain.iter().filter(|(id, _)| (from..=to).contains(id)).cloned().collect()
}

fn random_fields(rng: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let value = |rng: &mut fastrand::Rng| match rng.u8(..5) {
        0 => rng.i64(-300..300).to_string().into_bytes(),
        1 if rng.u8(..20) == 0 => vec![b'y'; rng.usize(..9000)],
        _ => vec![b'x'; rng.usize(..20)],
    };
    match rng.u8(..4) {
        0 => (0..rng.usize(1..4) * 2).map(|_| value(rng)).collect(),
        _ => [&b"name"[..], &value(rng), b"17", &value(rng)].iter().map(|part| part.to_vec()).collect(),
    }
}

#[test]
fn a_stream_does_what_a_vector_does() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut stream, mut plain, mut last) = (Stream::default(), Plain::new(), EntryId::ZERO);
        let mut kept: Vec<(Stream, Plain)> = Vec::new();
        for _ in 0..600 {
            let some_id = |rng: &mut fastrand::Rng, plain: &Plain| match plain.len() {
                0 => EntryId::ZERO,
                len => plain[rng.usize(..len)].0,
            };
            match rng.u8(..20) {
                0..=12 => {
                    last = match rng.u8(..3) {
                        0 => {
                            let distance = 1 << rng.u8(..40);
                            EntryId { ms: last.ms + distance, seq: rng.u64(..3) }
                        }
                        1 => EntryId { seq: last.seq + rng.u64(1..300), ..last },
                        _ => last.next().unwrap(),
                    };
                    let fields = random_fields(&mut rng);
                    stream.add(last, fields.iter().map(Vec::as_slice));
                    plain.push((last, fields));
                }
                13..=15 => {
                    let id = some_id(&mut rng, &plain);
                    let before = plain.len();
                    plain.retain(|(other, _)| *other != id);
                    assert_eq!(stream.remove(id), plain.len() < before, "seed {seed}");
                }
                16 => {
                    let id = some_id(&mut rng, &plain[..plain.len() / 5].to_vec());
                    stream.remove_through(id);
                    plain.retain(|(other, _)| *other > id);
                }
                17 => kept.push((stream.clone(), plain.clone())),
                _ => {
                    let (from, to) = (some_id(&mut rng, &plain), some_id(&mut rng, &plain));
                    let to = if rng.bool() { to } else { EntryId::MAX };
                    let mut expected = between(&plain, from, to);
                    assert_eq!(shown(stream.range(from, to)), expected, "seed {seed}");
                    expected.reverse();
                    assert_eq!(shown(stream.range_back(from, to)), expected, "seed {seed}");
                }
            }
            assert_eq!(stream.len(), plain.len() as u64, "seed {seed}");
            assert_eq!(stream.last_entry_id(), plain.last().map(|(id, _)| *id), "seed {seed}");
            assert!(stream.blocks.iter().all(|block| block.len() > 0));
        }
        assert_eq!(shown(stream.iter()), plain, "seed {seed}");
        for (stream, plain) in kept {
            assert_eq!(shown(stream.iter()), plain, "seed {seed}: a copy has changed");
        }
    }
}

#[test]
fn a_trim_takes_what_is_not_to_be_kept() {
    let mut stream = Stream::default();
    for ms in 1..=1000 {
        stream.add(EntryId { ms, seq: 0 }, [&b"f"[..], b"v"].into_iter());
    }
    let end = |ms: u64| Some((ms, EntryId { ms, seq: 0 }));
    assert_eq!(stream.blocks_count(), 10);
    assert_eq!(stream.trim_end(Keep::Last(945), true, 0), end(55));
    assert_eq!(stream.trim_end(Keep::Last(945), false, 0), None);
    assert_eq!(stream.trim_end(Keep::Last(750), false, 0), end(200));
    assert_eq!(stream.trim_end(Keep::Last(750), false, 150), end(100));
    assert_eq!(stream.trim_end(Keep::Last(0), false, 0), end(1000));
    assert_eq!(stream.trim_end(Keep::Last(1000), true, 0), None);
    assert_eq!(stream.trim_end(Keep::From(EntryId { ms: 301, seq: 0 }), false, 0), end(300));
    assert_eq!(stream.trim_end(Keep::From(EntryId { ms: 303, seq: 0 }), true, 0), end(302));
    assert_eq!(stream.trim_end(Keep::From(EntryId::MAX), true, 0), end(1000));
}

#[test]
fn entries_with_the_same_names_take_little() {
    let mut stream = Stream::default();
    for ms in 0..10_000u64 {
        let value = ms.to_string();
        let fields = [&b"sensor-id"[..], value.as_bytes(), b"temperature", b"19.8"];
        stream.add(EntryId { ms: 1_700_000_000_000 + ms * 7, seq: 1 }, fields.into_iter());
    }
    // Of which the values themselves are about seven.
    let each = stream.bytes() / 10_000;
    assert!(each < 18, "an entry takes {each} bytes");
}
