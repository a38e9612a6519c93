//! Against a sorted vector, and one form against the other.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// The model's order is that of the set: scores are a decimal and never negative zero.
fn ordered(plain: &BTreeMap<Vec<u8>, i64>) -> Vec<(i64, &Vec<u8>)> {
    let mut order: Vec<(i64, &Vec<u8>)> = plain.iter().map(|(name, score)| (*score, name)).collect();
    order.sort();
    order
}

fn check_ranges(
    set: &SortedSet,
    plain: &BTreeMap<Vec<u8>, i64>,
    unit: f64,
    rng: &mut fastrand::Rng,
    seed: u64,
) {
    let order = ordered(plain);
    let (start, end) = (rng.usize(..=order.len()), rng.usize(..=order.len() + 3));
    let items = |items: Items<'_>| items.map(|(score, name)| (score, name.to_vec())).collect::<Vec<_>>();
    let mut expected: Vec<(f64, Vec<u8>)> = order
        .iter()
        .take(end)
        .skip(start)
        .map(|(score, name)| (*score as f64 / unit, (*name).clone()))
        .collect();
    assert_eq!(items(set.range(start, end, false)), expected, "seed {seed}");
    expected.reverse();
    assert_eq!(items(set.range(start, end, true)), expected, "seed {seed}");
    let bound = order.get(start).map_or(0, |(score, _)| *score);
    let below = order.iter().filter(|(score, _)| *score < bound).count();
    assert_eq!(set.count_scores(|score| score < bound as f64 / unit), below);
}

#[test]
fn a_sorted_set_does_what_a_sorted_vector_does() {
    // Miri takes a thousand times as long, and the large form is what has something to hide from it.
    let (seeds, steps) = if cfg!(miri) { (2, 1500) } else { (80, 2500) };
    let mut encodings = BTreeMap::<&str, usize>::new();
    for seed in 0..seeds {
        let (mut rng, hasher) = (fastrand::Rng::with_seed(seed), FixedState::with_seed(seed));
        let (mut set, mut plain) = (SortedSet::default(), BTreeMap::<Vec<u8>, i64>::new());
        if cfg!(miri) {
            set = SortedSet(Compact::large(Ordered::new(hasher.clone())));
        }
        let names = [20, 100, 3000][rng.usize(..3)];
        let (scores, unit) = (rng.i64(1..5000), [1.0, 10.0, 1000.0, 3.0][rng.usize(..4)]);
        // Some only grow, and some shrink from time to time.
        let shrinks = rng.bool();
        let prefix = ["m", "", "-", "0"][rng.usize(..4)];
        for step in 0..steps {
            let member = format!("{prefix}{}", rng.usize(..names)).into_bytes();
            let removes = shrinks && step % 1000 > 600;
            match rng.u8(..6) {
                0..=2 if removes => {
                    let (first, last) = (set.range(0, 1, false).next(), set.range(0, set.len(), true).next());
                    let Some((_, name)) = (if rng.bool() { first } else { last }) else { continue };
                    let name = name.to_vec();
                    assert_eq!(set.remove(&name), plain.remove(&name).is_some());
                }
                0..=2 => {
                    let score = rng.i64(-scores..scores);
                    let is_new = plain.insert(member.clone(), score).is_none();
                    assert_eq!(set.put(score as f64 / unit, &member, &hasher), is_new);
                }
                3 => assert_eq!(set.remove(&member), plain.remove(&member).is_some()),
                _ if step % 50 == 0 => {
                    let rank = ordered(&plain).iter().position(|(_, name)| **name == member);
                    assert_eq!(set.rank(&member).map(|(rank, _)| rank), rank, "seed {seed}");
                    check_ranges(&set, &plain, unit, &mut rng, seed);
                }
                _ => {
                    let score = plain.get(&member).map(|score| *score as f64 / unit);
                    assert_eq!(set.score(&member), score);
                }
            }
            assert_eq!(set.len(), plain.len());
        }
        *encodings.entry(set.encoding()).or_default() += 1;
        let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
        loop {
            cursor = set.scan(cursor, 7, |_, member| {
                scanned.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(scanned.iter().eq(plain.keys()), "seed {seed}");
        assert!(set.random(&mut rng).is_none_or(|(_, member)| plain.contains_key(&*member)));
    }
    let both = encodings.values().all(|count| *count > 10) && encodings.len() == 2;
    assert!(both || cfg!(miri), "{encodings:?}");
}

#[test]
fn both_forms_are_equal_to_the_last_bit() {
    let scores = [0.1 + 0.2, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1.5, 5e-324, 12.0];
    let member = |i: usize| if i.is_multiple_of(2) { format!("{i}") } else { format!("member {i}") };
    let hasher = FixedState::with_seed(1);
    let (mut small, mut large) =
        (SortedSet::default(), SortedSet(Compact::large(Ordered::new(hasher.clone()))));
    for (i, score) in scores.iter().cycle().take(100).enumerate() {
        small.put(*score, member(i).as_bytes(), &hasher);
        large.put(*score, member(i).as_bytes(), &hasher);
    }
    assert_eq!((small.encoding(), large.encoding()), ("listpack", "skiplist"));
    let parts = |set: &SortedSet| {
        let mut all = Vec::new();
        set.parts(&mut |part| all.push(part.to_vec()));
        all
    };
    assert_eq!(parts(&small), parts(&large));
    assert!((0..101).all(|i| small.rank(member(i).as_bytes()) == large.rank(member(i).as_bytes())));
}
