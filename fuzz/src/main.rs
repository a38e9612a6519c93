//! Mutates the seed corpora of the decoders and file formats, and runs each target on the results for some seconds.
//! Stable Rust and no instrumentation: what replaces coverage is seeds that reach deep and mutations that know what
//! lengths, checksums and line ends look like. Started by `cargo xtask fuzz`.

#![allow(clippy::print_stdout, reason = "this is a command-line tool")]

mod mutate;
mod targets;
#[cfg(test)]
mod tests;

use mutate::Mutator;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

/// However slow the machine is: so many inputs are run.
const EXECUTIONS_MIN: u64 = 2_000;

/// Between two looks at the clock.
const BATCH: u64 = 100;

struct Arguments {
    targets: Vec<&'static Target>,
    seconds: u64,
    seed: u64,
    replay: Option<PathBuf>,
    /// Where inputs that panic are written.
    found: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        targets: TARGETS.iter().collect(),
        seconds: 5,
        seed: 0,
        replay: None,
        found: PathBuf::from("target/fuzz"),
    };
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seconds" => arguments.seconds = number(&value()?)?,
            "--seed" => arguments.seed = number(&value()?)?,
            "--replay" => arguments.replay = Some(PathBuf::from(value()?)),
            "--found" => arguments.found = PathBuf::from(value()?),
            name => arguments.targets.retain(|target| target.name == name),
        }
    }
    if arguments.targets.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        return Err(format!("there is no such target; there are {}", names.join(", ")));
    }
    if arguments.replay.is_some() && arguments.targets.len() != 1 {
        return Err("--replay needs the name of one target".to_owned());
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if let (Some(path), [target]) = (&arguments.replay, arguments.targets.as_slice()) {
        // A panic is left alone: it says where.
        (target.run)(&read(path)?);
        println!("{}: {} is survived", target.name, path.display());
        return Ok(());
    }
    let found =
        arguments.targets.iter().map(|target| fuzz(target, arguments)).collect::<Result<Vec<_>, _>>()?;
    let failed: Vec<_> = found.into_iter().flatten().collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Runs one target; gives what to do about the first input that panicked.
fn fuzz(target: &Target, arguments: &Arguments) -> Result<Option<String>, String> {
    let seeds = corpus(target)?;
    let mut mutator = Mutator::new(&seeds, target.dictionary, arguments.seed);
    let (until, mut executions) = (Instant::now() + Duration::from_secs(arguments.seconds), 0);
    for seed in &seeds {
        executions += 1;
        if panics(target, seed) {
            return keep(target, seed, arguments).map(Some);
        }
    }
    while executions < EXECUTIONS_MIN || Instant::now() < until {
        for _ in 0..BATCH {
            executions += 1;
            let input = mutator.next();
            if panics(target, input) {
                return keep(target, input, arguments).map(Some);
            }
        }
    }
    println!("{}: {executions} executions from {} seeds", target.name, seeds.len());
    Ok(None)
}

fn panics(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err()
}

fn corpus(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target.corpus);
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: there is no seed", folder.display()));
    }
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the input down and says how it is run again.
fn keep(target: &Target, input: &[u8], arguments: &Arguments) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = arguments.found.join(format!("{}-{:016x}", target.name, hasher.finish()));
    let failed = |error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&arguments.found).map_err(failed)?;
    std::fs::write(&path, input).map_err(failed)?;
    Ok(format!("{} panics; again: cargo xtask fuzz {} --replay {}", target.name, target.name, path.display()))
}
