//! A seed is a run, byte for byte; and some of them, every time.

use crate::world;

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 7, 45] {
        let (first, second) = (world::run(seed, None, false), world::run(seed, None, false));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.events > 50 && first.crashes > 2, "too little happens: {first:?}");
    }
}

#[test]
fn other_seeds_are_other_runs_and_nothing_is_wrong_in_them() {
    let outcomes: Vec<_> = (100..120).map(|seed| world::run(seed, None, false)).collect();
    let mut digests: Vec<u64> = outcomes.iter().map(|outcome| outcome.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), outcomes.len(), "two seeds are the same run");
    assert!(outcomes.iter().map(|outcome| outcome.checkpoints).sum::<u64>() > 50, "{outcomes:?}");
    assert!(outcomes.iter().map(|outcome| outcome.passes).sum::<u64>() > 50, "{outcomes:?}");
}
