//! The table against the standard library's, and what a scan promises.

use super::*;
use std::collections::{HashMap, HashSet};

impl Addressed for Box<u64> {
    fn address(&self) -> *const u8 {
        (&raw const **self).cast()
    }
}

fn hash_of(key: u64) -> u64 {
    // A mixer good enough for a test (splitmix64's finish).
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn insert(table: &mut Table<Box<u64>>, key: u64) {
    table.insert_unique(hash_of(key), Box::new(key), |item| hash_of(**item));
}

#[test]
fn a_bucket_is_a_cache_line() {
    assert_eq!(size_of::<Bucket<Box<u64>>>(), 64);
}

#[test]
fn agrees_with_a_plain_map() {
    let (mut table, mut model, mut state) = (Table::<Box<u64>>::default(), HashMap::new(), 7u64);
    for _ in 0..200_000 {
        state = hash_of(state);
        let key = state % 30_000;
        let found = table.find(hash_of(key), |item| **item == key).is_some();
        assert_eq!(found, model.contains_key(&key));
        if state >> 32 & 3 != 0 {
            if !found {
                insert(&mut table, key);
                model.insert(key, ());
            }
        } else {
            assert_eq!(table.remove(hash_of(key), |item| **item == key).is_some(), found);
            model.remove(&key);
        }
        assert_eq!(table.len(), model.len());
    }
    let items: HashSet<u64> = table.iter().map(|item| **item).collect();
    assert_eq!(items, model.keys().copied().collect());
}

#[test]
fn a_scan_sees_what_stays_while_the_table_grows_and_shrinks() {
    let mut table = Table::<Box<u64>>::default();
    (0..5_000).for_each(|key| insert(&mut table, key));
    let (mut seen, mut cursor, mut extra) = (HashSet::new(), 0, 10_000u64);
    loop {
        cursor = table.scan(
            cursor,
            10,
            |item| hash_of(**item),
            |item| {
                seen.insert(**item);
            },
        );
        if cursor == 0 {
            break;
        }
        for _ in 0..50 {
            insert(&mut table, extra);
            extra += 1;
        }
        let gone = extra - 25;
        table.remove(hash_of(gone), |item| **item == gone);
    }
    assert!((0..5_000).all(|key| seen.contains(&key)));
}

#[test]
fn equal_hashes_cost_only_time() {
    let mut table = Table::<Box<u64>>::default();
    for key in 0..600u64 {
        table.insert_unique(42, Box::new(key), |_| 42);
    }
    assert!((0..600u64).all(|key| table.find(42, |item| **item == key).is_some()));
    let mut seen = 0;
    let mut cursor = 0;
    loop {
        cursor = table.scan(cursor, 1_000, |_| 42, |_| seen += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, 600);
}

#[test]
fn random_items_are_fair() {
    let mut table = Table::<Box<u64>>::default();
    (0..1_000).for_each(|key| insert(&mut table, key));
    let (mut counts, mut state) = (vec![0u32; 1_000], 1u64);
    for _ in 0..200_000 {
        let item = table.random(|n| {
            state = hash_of(state);
            (state % n as u64) as usize
        });
        counts[**item.expect("the table is not empty") as usize] += 1;
    }
    // The mean is 200 and the deviation about 14.
    assert!(
        counts.iter().all(|&n| (110..=300).contains(&n)),
        "{:?}",
        (counts.iter().min(), counts.iter().max())
    );
}
