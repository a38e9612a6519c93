//! The tool itself: inputs follow from the seed and differ, and a planted mistake is found, kept and named.

use crate::mutate::Mutator;
use crate::targets::{TARGETS, Target};
use crate::{Arguments, corpus, fuzz};

#[test]
fn inputs_follow_from_the_seed_and_differ() {
    let seeds = [b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec(), vec![7; 3000]];
    let inputs = |seed| {
        let mut mutator = Mutator::new(&seeds, &[b"word"], seed);
        (0..1000).map(|_| mutator.next().to_vec()).collect::<Vec<_>>()
    };
    let mut found = inputs(1);
    assert_eq!(found, inputs(1));
    assert_ne!(found, inputs(2));
    found.sort();
    found.dedup();
    assert!(found.len() > 900, "only {} of 1000 inputs differ", found.len());
}

#[test]
fn every_target_has_seeds_and_survives_them() {
    for target in TARGETS {
        let seeds = corpus(target).unwrap();
        seeds.iter().for_each(|seed| (target.run)(seed));
        assert!(seeds.iter().any(|seed| !seed.is_empty()), "{} begins with nothing", target.name);
    }
}

#[test]
fn a_planted_mistake_is_found_kept_and_named() {
    let run =
        |input: &[u8]| assert!(!input.windows(2).any(|pair| pair == [0xff, 0xff]), "the planted mistake");
    let planted = Target { name: "planted", corpus: "crates/resp/corpus/requests", dictionary: &[], run };
    let found = std::env::temp_dir().join(format!("leveret-fuzz-{}", std::process::id()));
    let arguments =
        Arguments { targets: Vec::new(), seconds: 60, seed: 0, replay: None, found: found.clone() };
    let advice = fuzz(&planted, &arguments).unwrap().expect("the mistake is not found");
    let path = advice.split_once("cargo xtask fuzz planted --replay ").expect("the command is named").1;
    assert!(std::panic::catch_unwind(|| run(&std::fs::read(path).unwrap())).is_err(), "the input is another");
    std::fs::remove_dir_all(found).unwrap();
}

#[test]
fn what_is_applied_can_be_told() {
    let mut told = 0;
    for target in TARGETS.iter().filter(|target| target.name.ends_with("-changes")) {
        for changes in corpus(target).unwrap() {
            let head = leveret_wal::Head { kind: 1, partition: 0, term: 0, position: 1, time_ms: 1 };
            let record = leveret_wal::Record { head, changes: &changes };
            if leveret_engine::Engine::new(1, 1).apply(&record).is_ok() {
                told += leveret_engine::describe_record(&record).expect("it was applied").len();
            }
        }
    }
    assert!(told >= 60, "only {told} changes were told");
}
