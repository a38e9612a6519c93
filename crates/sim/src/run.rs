//! Runs seeds, on all processors, and says which one fails.

use crate::world::{self, Outcome};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// One seed.
    Once,
    Time(Duration),
    Crashes(u64),
}

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) until: Until,
    pub(crate) threads: usize,
    /// A seed lasts so long in its own time, not a few lives.
    pub(crate) minutes: Option<u64>,
    /// Everything that happens is printed.
    pub(crate) is_told: bool,
}

/// The sum of what came of the seeds.
#[derive(Default)]
struct Sum {
    seeds: AtomicU64,
    crashes: AtomicU64,
    steps: AtomicU64,
    events: AtomicU64,
    checkpoints: AtomicU64,
    passes: AtomicU64,
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// True when nothing was wrong.
#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
pub(crate) fn run(plan: &Plan) -> bool {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let what = payload.downcast_ref::<String>().map(String::as_str);
        let what = what.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("seed {}: {what}\n  at {place}", SEED.get());
    }));
    if plan.until == Until::Once {
        let Some(outcome) = run_seed(plan, plan.seed) else { return false };
        let Outcome { crashes, steps, events, checkpoints, passes, digest } = outcome;
        println!(
            "seed {}: {crashes} crashes, {steps} steps, {checkpoints} checkpoints, {passes} passes, {events} events with digest {digest:016x}",
            plan.seed
        );
        return true;
    }
    let (started, sum) = (Instant::now(), Sum::default());
    let (next, is_over) = (AtomicU64::new(plan.seed), AtomicBool::new(false));
    println!("seeds from {} on", plan.seed);
    let is_due = || match plan.until {
        Until::Once => true,
        Until::Time(time) => started.elapsed() >= time,
        Until::Crashes(count) => sum.crashes.load(Relaxed) >= count,
    };
    let is_right = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(|| {
                while !is_over.load(Relaxed) && !is_due() {
                    let seed = next.fetch_add(1, Relaxed);
                    match run_seed(plan, seed) {
                        Some(outcome) => sum.add(&outcome),
                        None => {
                            let minutes = plan.minutes.map(|minutes| format!(" --minutes {minutes}"));
                            println!(
                                "seed {seed} fails: cargo xtask sim {seed}{}",
                                minutes.unwrap_or_default()
                            );
                            is_right.store(false, Relaxed);
                            is_over.store(true, Relaxed);
                        }
                    }
                }
            });
        }
    });
    sum.print(started.elapsed());
    is_right.load(Relaxed)
}

/// `None` when something is wrong; that was said already.
fn run_seed(plan: &Plan, seed: u64) -> Option<Outcome> {
    SEED.set(seed);
    catch_unwind(AssertUnwindSafe(|| world::run(seed, plan.minutes, plan.is_told))).ok()
}

impl Sum {
    fn add(&self, outcome: &Outcome) {
        let Outcome { crashes, steps, events, checkpoints, passes, digest: _ } = *outcome;
        self.seeds.fetch_add(1, Relaxed);
        self.crashes.fetch_add(crashes, Relaxed);
        self.steps.fetch_add(steps, Relaxed);
        self.events.fetch_add(events, Relaxed);
        self.checkpoints.fetch_add(checkpoints, Relaxed);
        self.passes.fetch_add(passes, Relaxed);
    }

    #[allow(clippy::print_stdout, reason = "this is a command-line tool")]
    fn print(&self, time: Duration) {
        let [seeds, crashes, steps, events, checkpoints, passes] =
            [&self.seeds, &self.crashes, &self.steps, &self.events, &self.checkpoints, &self.passes]
                .map(|n| n.load(Relaxed));
        let seconds = time.as_secs_f64();
        println!(
            "{crashes} crashes of {seeds} seeds in {seconds:.1} s ({:.0} a second): {steps} steps, {events} events, {checkpoints} checkpoints, {passes} passes",
            crashes as f64 / seconds
        );
    }
}
