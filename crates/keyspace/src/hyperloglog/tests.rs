//! Both encodings beside plain registers, strings from a real Redis, and strings that lie.

use super::*;

const SPARSE_MAX: usize = 3000;

fn plain(bytes: &[u8]) -> [u8; REGISTERS] {
    let mut registers = [0; REGISTERS];
    merge(&mut registers, bytes).expect("it is whole");
    registers
}

#[test]
fn both_encodings_are_the_same_registers() {
    for (seed, sparse_max) in [(1, SPARSE_MAX), (2, 0), (3, 100_000)] {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut bytes, mut registers) = (empty(), [0u8; REGISTERS]);
        for step in 0..4000 {
            // Neighbours with few values, so that runs are split and joined.
            let (index, count) = (rng.usize(..REGISTERS) & 0x3f0f, rng.u8(1..5));
            let raised = raise(&mut bytes, index, count, sparse_max).expect("it is whole");
            assert_eq!(raised, registers[index] < count, "seed {seed}, step {step}");
            registers[index] = registers[index].max(count);
            assert!(check(&bytes).is_ok());
        }
        assert_eq!(plain(&bytes), registers, "seed {seed}");
        assert_eq!(is_sparse(&bytes), seed != 2, "seed {seed}");
        let mut dense = bytes.clone();
        if is_sparse(&bytes) {
            to_dense(&mut dense).expect("it is whole");
        }
        assert_eq!((dense.len(), plain(&dense)), (DENSE_BYTES, registers), "seed {seed}");
        assert_eq!(count(&bytes), count(&dense), "seed {seed}");
    }
}

#[test]
fn the_last_register_and_the_highest_value_have_their_place() {
    let mut bytes = empty();
    for (index, count) in [(REGISTERS - 1, 32), (REGISTERS - 1, 33), (0, 51), (1, 63), (REGISTERS - 1, 51)] {
        assert_eq!(raise(&mut bytes, index, count, SPARSE_MAX), Ok(true));
        assert_eq!(plain(&bytes)[index], count);
    }
    assert!(!is_sparse(&bytes) && bytes.len() == DENSE_BYTES);
    assert_eq!(raise(&mut bytes, 1, 62, SPARSE_MAX), Ok(false));
}

#[test]
fn estimates_stay_within_six_standard_errors() {
    let mut bytes = empty();
    for n in 1..=300_000u64 {
        let (index, to) = place(&n.to_le_bytes());
        raise(&mut bytes, index, to, SPARSE_MAX).expect("it is whole");
        if [10, 100, 1000, 10_000, 100_000, 300_000].contains(&n) {
            let estimate = count(&bytes).expect("it is whole");
            let error = estimate.abs_diff(n) as f64 / n as f64;
            assert!(error < 6.0 * 1.04 / (REGISTERS as f64).sqrt(), "{estimate} instead of {n}");
        }
    }
}

#[test]
fn what_is_no_whole_value_is_refused() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut refused = 0;
    for _ in 0..2000 {
        let mut bytes = empty();
        for _ in 0..rng.usize(..30) {
            raise(&mut bytes, rng.usize(..REGISTERS), rng.u8(1..33), SPARSE_MAX).expect("it is whole");
        }
        match rng.u8(..3) {
            0 => bytes.truncate(rng.usize(..bytes.len())),
            1 => {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            _ => bytes.extend((0..rng.usize(1..9)).map(|_| rng.u8(..))),
        }
        if check(&bytes).is_err() {
            refused += 1;
            continue;
        }
        // None of these may panic, and both ways of reading it agree.
        let counted = count(&bytes);
        assert_eq!(counted.is_err(), merge(&mut [0; REGISTERS], &bytes).is_err());
        refused += usize::from(counted.is_err());
        let _ = (decoded(&bytes), raise(&mut bytes, rng.usize(..REGISTERS), rng.u8(1..52), SPARSE_MAX));
    }
    assert!(refused > 500, "only {refused} were refused");
}
