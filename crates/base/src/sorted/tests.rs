//! Held against the standard library's map, and how much room is left over.

use super::blocks::{BLOCK_LEN, Block, SMALL_LEN};
use super::*;
use std::collections::{BTreeMap, VecDeque};

struct Pair(u64, u64);

impl Keyed for Pair {
    type Key = u64;

    fn key(&self) -> u64 {
        self.0
    }
}

fn check(sorted: &Sorted<Pair>, plain: &BTreeMap<u64, u64>) {
    assert_eq!(sorted.len(), plain.len());
    assert!(sorted.iter().map(|pair| (pair.0, pair.1)).eq(plain.iter().map(|(key, value)| (*key, *value))));
    assert_eq!(sorted.first().map(|pair| pair.0), plain.keys().next().copied());
    let Some(sorted) = &sorted.0 else { return assert!(plain.is_empty()) };
    assert!(
        sorted.last.is_empty() == plain.is_empty() && (!sorted.first.is_empty() || sorted.middle.is_empty())
    );
    let ends = [&sorted.first, &sorted.last];
    assert!(sorted.middle.values().chain(ends).all(|block| block.capacity() <= BLOCK_LEN));
    let mut limit = sorted.last.front().map_or(u64::MAX, |least| least.0);
    for (from, block) in sorted.middle.iter().rev() {
        assert!(block.front().is_some_and(|least| least.0 >= *from));
        assert!(block.back().is_some_and(|most| most.0 < limit));
        limit = *from;
    }
    assert!(sorted.first.back().is_none_or(|most| most.0 < limit));
}

#[test]
fn does_what_a_map_does() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut sorted, mut plain) = (Sorted::default(), BTreeMap::new());
        let (range, mut next) = (rng.u64(1..2000), 0);
        for round in 0..3000 {
            // It grows for a while, and then shrinks.
            let is_growing = round % 1500 < 900;
            let key = match seed % 3 {
                0 => rng.u64(..range),
                1 => {
                    next += rng.u64(..3);
                    next
                }
                _ => 3000 - round.min(3000),
            };
            match rng.u8(..10) {
                0..=6 if is_growing => {
                    let before = sorted.insert(Pair(key, round)).map(|pair| pair.1);
                    assert_eq!(before, plain.insert(key, round));
                }
                0..=4 => {
                    let part = 1 + rng.usize(..3);
                    let place = rng.usize(..=plain.len() / part);
                    let key = plain.keys().nth(place).copied().unwrap_or(key);
                    assert_eq!(sorted.remove(key).map(|pair| pair.1), plain.remove(&key));
                }
                5 => {
                    assert_eq!(sorted.pop_first().map(|pair| (pair.0, pair.1)), plain.pop_first());
                    sorted.iter_mut().for_each(|pair| pair.1 += 1);
                    plain.values_mut().for_each(|value| *value += 1);
                }
                6 | 7 => {
                    assert_eq!(sorted.get(key).map(|pair| pair.1), plain.get(&key).copied());
                    if let (Some(pair), Some(value)) = (sorted.get_mut(key), plain.get_mut(&key)) {
                        (pair.1, *value) = (round * 7, round * 7);
                    }
                }
                8 => {
                    let first = sorted.first_from(key).map(|pair| pair.0);
                    assert_eq!(first, plain.range(key..).next().map(|(key, _)| *key));
                    let from = sorted.range_from(key).map(|pair| (pair.0, pair.1));
                    assert!(from.eq(plain.range(key..).map(|(key, value)| (*key, *value))));
                }
                _ => {
                    let key = plain.keys().nth(rng.usize(..100)).copied().unwrap_or(0) + rng.u64(..2);
                    let later = plain.split_off(&(key + 1));
                    let taken = sorted.take_through(key).into_iter().map(|pair| (pair.0, pair.1));
                    assert!(taken.eq(std::mem::replace(&mut plain, later)));
                }
            }
            check(&sorted, &plain);
        }
        let all: Vec<_> = sorted.into_iter().map(|pair| pair.0).collect();
        assert!(all.into_iter().eq(plain.into_keys()), "seed {seed}");
    }
}

/// Places that there is room for.
fn room(sorted: &Sorted<u64>) -> usize {
    blocks(sorted).map(VecDeque::capacity).sum()
}

fn blocks(sorted: &Sorted<u64>) -> impl Iterator<Item = &Block<u64>> {
    let blocks = sorted.0.iter();
    blocks.flat_map(|blocks| blocks.middle.values().chain([&blocks.first, &blocks.last]))
}

#[test]
fn little_room_is_left_over() {
    const COUNT: usize = 100_000;
    let mut in_order = Sorted::default();
    in_order.extend(0..COUNT as u64);
    assert!(room(&in_order) <= COUNT + BLOCK_LEN);
    assert!(blocks(&in_order).count() <= COUNT / BLOCK_LEN + 1);

    let (mut rng, mut anyhow) = (fastrand::Rng::with_seed(0), Sorted::default());
    while anyhow.len() < COUNT {
        anyhow.insert(rng.u64(..));
    }
    assert!(room(&anyhow) <= COUNT * 6 / 5, "{} places", room(&anyhow));

    // A hole that is filled from its end.
    let mut backwards = Sorted::default();
    backwards.extend(0..BLOCK_LEN as u64);
    backwards.extend((1_000..=1_000 + COUNT as u64).rev());
    assert!(blocks(&backwards).count() <= COUNT / (BLOCK_LEN / 2) + 3);

    // One of a hundred stays, wherever it stands.
    let mut remove = |key| assert_eq!(in_order.remove(key), Some(key));
    (0..COUNT as u64).filter(|key| key % 100 != 7).for_each(&mut remove);
    assert!(room(&in_order) <= COUNT / 100 * SMALL_LEN + 2 * BLOCK_LEN);
    (0..COUNT as u64)
        .filter(|key| key % 100 == 7)
        .for_each(|key| assert_eq!(in_order.remove(key), Some(key)));
    assert!(in_order.is_empty() && blocks(&in_order).count() == 2 && room(&in_order) <= 2 * BLOCK_LEN);
}

#[test]
fn what_passes_leaves_nothing_behind() {
    // One stays for ever while others come and go.
    let mut sorted = Sorted::default();
    sorted.insert(0);
    for key in 1..200_000 {
        sorted.insert(key);
        let oldest = key.checked_sub(100).filter(|oldest| *oldest > 0);
        assert!(oldest.is_none_or(|oldest| sorted.remove(oldest).is_some()));
        assert!(blocks(&sorted).count() <= 6 && room(&sorted) <= 6 * BLOCK_LEN);
    }
}
