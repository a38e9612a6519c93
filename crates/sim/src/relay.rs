//! Messages that runners of both protocols pass on from stage to stage, with keys beside them. Each pass is one commit: it takes from
//! one queue, publishes to the next, marks the message and counts. So wherever a crash cuts the log, a message is in one queue
//! or done, its mark says where, and the counters are the sum of the marks.

use crate::ledger::{Certainty, Crash};
use std::collections::{BTreeMap, BTreeSet};

/// Queues that a message goes through.
pub(crate) const STAGES: usize = 3;

/// The queue of a stage.
pub(crate) fn queue(stage: usize) -> String {
    format!("relay{stage}")
}

/// What is appended to with each pass.
pub(crate) fn mark_of(number: u32) -> String {
    format!("mark:{number}")
}

/// What is counted up with each pass.
pub(crate) fn counter(stage: usize) -> String {
    format!("passed:{stage}")
}

/// What a mark is after so many passes.
pub(crate) fn mark(passes: usize) -> Vec<u8> {
    (b'0'..).take(passes).collect()
}

/// How far a message has come: 0 is not published, 1 is in the first queue, and so on.
pub(crate) type Steps = usize;

/// Passed by the last stage.
const DONE: Steps = STAGES + 1;

/// Who holds a message at a step.
#[derive(Debug, Clone, Copy)]
struct Hold {
    steps: Steps,
    runner: usize,
    /// Until then nobody else may have it; `u64::MAX` as long as a connection lives.
    until_ms: u64,
}

#[derive(Debug, Default)]
struct Baton {
    /// As far as somebody has said that it shall come.
    said: Steps,
    /// As far as it has come at least: for this server, for the kernel, for the disk.
    floors: [Steps; 3],
    hold: Option<Hold>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Relay {
    batons: BTreeMap<u32, Baton>,
    last: u32,
    /// Those that are done, and that the disk has for certain.
    finished: u64,
    /// The sum of the counters after the last crash.
    passes: u64,
}

impl Relay {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.batons.values().filter(|baton| baton.floors[0] < DONE).count()
    }

    /// How often a message was passed on, as far as it has lasted.
    pub(crate) fn passes(&self) -> u64 {
        self.passes
    }

    /// A new one, which is about to be published.
    pub(crate) fn next(&mut self) -> u32 {
        self.last += 1;
        self.batons.insert(self.last, Baton { said: 1, ..Baton::default() });
        self.last
    }

    /// It was refused.
    pub(crate) fn never(&mut self, number: u32) {
        let baton = self.batons.remove(&number);
        let seen = baton.map_or(0, |baton| baton.floors[0]);
        assert_eq!(seen, 0, "message {number} was seen and was never published");
    }

    fn baton(&mut self, number: u32) -> &mut Baton {
        self.batons
            .get_mut(&number)
            .unwrap_or_else(|| panic!("message {number} was never published, or done"))
    }

    /// Somebody says that it shall come so far.
    pub(crate) fn said(&mut self, number: u32, steps: Steps) {
        let baton = self.baton(number);
        baton.said = baton.said.max(steps);
    }

    /// It has come so far.
    pub(crate) fn learn(&mut self, number: u32, steps: Steps, certainty: Certainty) {
        let baton = self.baton(number);
        assert!(
            steps <= baton.said,
            "message {number} has come to {steps}, and nobody has said so: {baton:?}"
        );
        for floor in &mut baton.floors[..=certainty as usize] {
            *floor = (*floor).max(steps);
        }
    }

    /// A runner gets it from the queue of a stage.
    pub(crate) fn taken(
        &mut self,
        number: u32,
        stage: usize,
        (runner, until_ms): (usize, u64),
        now_ms: u64,
        certainty: Certainty,
    ) {
        let steps = stage + 1;
        self.learn(number, steps, certainty);
        let baton = self.baton(number);
        assert_eq!(baton.floors[0], steps, "message {number} comes again at stage {stage}: {baton:?}");
        if let Some(hold) = baton.hold.filter(|hold| hold.steps == steps) {
            assert!(
                now_ms >= hold.until_ms,
                "message {number} is taken twice at stage {stage}: {hold:?} at {now_ms}"
            );
        }
        baton.hold = Some(Hold { steps, runner, until_ms });
    }

    /// It is held until then at least.
    pub(crate) fn extended(&mut self, number: u32, runner: usize, until_ms: u64) {
        let hold = self.batons.get_mut(&number).and_then(|baton| baton.hold.as_mut());
        if let Some(hold) = hold.filter(|hold| hold.runner == runner) {
            hold.until_ms = until_ms;
        }
    }

    /// Whoever held it may not any more.
    pub(crate) fn released(&mut self, number: u32, runner: usize) {
        if let Some(baton) = self.batons.get_mut(&number) {
            baton.hold.take_if(|hold| hold.runner == runner);
        }
    }

    /// Those that may have a mark.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.batons.keys().copied()
    }

    /// What is there after a crash: a mark of each of `numbers`, what each queue has, and each counter.
    pub(crate) fn crashed(
        &mut self,
        marks: &[Vec<u8>],
        places: &[Vec<u32>; STAGES],
        counters: &[u64],
        crash: Crash,
    ) {
        let mut stages: BTreeMap<u32, usize> = BTreeMap::new();
        for (stage, numbers) in places.iter().enumerate() {
            for number in numbers {
                let other = stages.insert(*number, stage);
                assert!(
                    other.is_none(),
                    "message {number} is twice there after {crash:?}: {other:?} and {stage}"
                );
                assert!(
                    self.batons.contains_key(number),
                    "message {number} is at stage {stage} after {crash:?}, and was never published, or done"
                );
            }
        }
        let mut passed = [self.finished; STAGES];
        let mut finished = BTreeSet::new();
        for ((number, baton), found) in self.batons.iter_mut().zip(marks) {
            let stage = stages.get(number).copied();
            let text = String::from_utf8_lossy(found);
            assert!(
                *found == mark(stage.unwrap_or(STAGES)) || found.is_empty() && stage.is_none(),
                "message {number} is at stage {stage:?} after {crash:?} and its mark is {text:?}: {baton:?}"
            );
            // Without a place and a mark it never was.
            let steps = stage.map_or(if found.is_empty() { 0 } else { DONE }, |stage| stage + 1);
            let floor = baton.floors[crash.spares() as usize];
            assert!(
                (floor..=baton.said).contains(&steps),
                "message {number} has come to {steps} after {crash:?}: {baton:?}"
            );
            passed.iter_mut().take(steps.saturating_sub(1)).for_each(|count| *count += 1);
            *baton = Baton { said: steps, floors: [steps; 3], hold: None };
            if steps == 0 || steps == DONE {
                finished.insert(*number);
                self.finished += u64::from(steps == DONE);
            }
        }
        assert_eq!(
            counters, passed,
            "messages were counted otherwise than they were passed on, after {crash:?}"
        );
        self.passes = passed.iter().sum();
        self.batons.retain(|number, _| !finished.contains(number));
    }
}
