//! The seed corpus of every decoder, then thousands of seeded mutations of it. Whole random values make the round trip.

use crate::*;
use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

fn mutate(rng: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = rng.choice(seeds).expect("the corpus is not empty").clone();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=data.len());
        match rng.u8(..5) {
            0 if at < data.len() => data[at] ^= 1 << rng.u8(..8),
            1 if at < data.len() => drop(data.remove(at)),
            2 => data.insert(at, rng.u8(..)),
            3 => data.truncate(at),
            _ => data.splice(at..at, rng.choice(seeds).expect("not empty").clone()).for_each(drop),
        }
    }
    data
}

fn exercise(target: &str, seed: u64, run: fn(&[u8])) {
    let seeds = corpus(target);
    seeds.iter().for_each(|data| run(data));
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..5_000).for_each(|_| run(&mutate(&mut rng, &seeds)));
}

#[test]
fn frames() {
    exercise("frames", 1, fuzz::frames);
}

#[test]
fn methods() {
    for seed in corpus("methods") {
        assert!(Method::decode(&seed).is_ok(), "a seed does not decode: {seed:?}");
    }
    exercise("methods", 2, fuzz::methods);
}

#[test]
fn tables() {
    for seed in corpus("tables") {
        assert!(Table::parse(&seed).is_ok(), "a seed does not decode: {seed:?}");
    }
    exercise("tables", 3, fuzz::tables);
}

#[test]
fn properties() {
    for seed in corpus("properties") {
        assert!(ContentHeader::parse(&seed).is_ok(), "a seed does not decode: {seed:?}");
    }
    exercise("properties", 4, fuzz::properties);
}

fn random_table(rng: &mut fastrand::Rng, depth: usize) -> TableBuf {
    let mut table = TableBuf::new();
    for _ in 0..rng.usize(..6) {
        let name: Vec<u8> = (0..rng.usize(..5)).map(|_| rng.u8(..)).collect();
        let bytes: Vec<u8> = (0..rng.usize(..300)).map(|_| rng.u8(..)).collect();
        let inner = if depth > 0 { random_table(rng, depth - 1) } else { TableBuf::new() };
        let mut array = ArrayBuf::new();
        array.push(Value::Table(inner.as_table())).push(Value::LongStr(&bytes));
        table.push(
            &name,
            match rng.u8(..8) {
                0 => Value::Long(rng.i64(..)),
                1 => Value::Double(f64::from_bits(rng.u64(..))),
                2 => Value::Decimal { scale: rng.u8(..), value: rng.u32(..) },
                3 => Value::Array(array.as_array()),
                4 => Value::Table(inner.as_table()),
                5 => Value::Bool(rng.bool()),
                6 => Value::Short(rng.i16(..)),
                _ => Value::LongStr(&bytes),
            },
        );
    }
    table
}

#[test]
fn random_tables_and_properties_come_back() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..2_000 {
        let table = random_table(&mut rng, 3);
        fuzz::tables(table.as_table().raw());
        assert_eq!(Table::parse(table.as_table().raw()), Ok(table.as_table()));
        let text: Vec<u8> = (0..rng.usize(..256)).map(|_| rng.u8(..)).collect();
        let mut maybe = |text: &'_ [u8]| if rng.bool() { Some(text.len() as u64) } else { None };
        let some = |there: Option<u64>| there.map(|_| &text[..]);
        let values = PropertyValues {
            content_type: some(maybe(&text)),
            content_encoding: some(maybe(&text)),
            headers: maybe(&text).map(|_| table.as_table()),
            delivery_mode: maybe(&text).map(|len| len as u8),
            priority: maybe(&text).map(|len| len as u8),
            correlation_id: some(maybe(&text)),
            reply_to: some(maybe(&text)),
            expiration: some(maybe(&text)),
            message_id: some(maybe(&text)),
            timestamp: maybe(&text).map(|len| len << 40),
            kind: some(maybe(&text)),
            user_id: some(maybe(&text)),
            app_id: some(maybe(&text)),
            cluster_id: some(maybe(&text)),
        };
        let mut raw = Vec::new();
        values.encode(&mut raw);
        assert_eq!(PropertyValues::from(Properties::parse(&raw).unwrap()), values);
        let mut header = Vec::new();
        encode_header(1, 60, 5, &raw, &mut header);
        fuzz::properties(&header[7..header.len() - 1]);
    }
}
