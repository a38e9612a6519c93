//! What the commands answer, as scripts: `string.txt` and so on beside this file, and a plain model against random
//! commands. The format of a script is drawn below; `UPDATE=1 cargo test -p leveret-keyspace --test scripts` rewrites
//! the answers in place, and the diff is to be read before it is committed.
//!
//! ```text
//! # A comment. A blank line, or any line that begins a new thing, ends an answer.
//! > SET k "a\xff\r\n" EX 10     a request, quoted as an inline command
//! OK                            its answer, printed as redis-cli prints it
//! >~ KEYS *                     a request whose array has no order: it is printed sorted
//! @ +5s                         time moves on; also `@ +10ms`
//! @ policy allkeys-lfu          this decides which keys go when memory is short
//! @ db 1                        the requests that follow go to this database
//! @ changes                     what requests record is printed as well, until the next `---`:
//! = put "k" "v"                 one change of the commit
//! ---                           a fresh keyspace; each file begins with one
//! ```
//!
//! A blocking command that finds nothing is printed as `(waits 5000 ms for "q", then) (nil array)`.

mod answer;
mod change;
mod model;
mod session;
mod stream_model;

use session::Session;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a script differs from what happened.
struct Difference {
    line: usize,
    request: String,
    expected: String,
    actual: String,
}

/// How a command was answered anywhere: with success, with the refusal of its arity.
#[derive(Default, Clone, Copy)]
struct Seen {
    success: bool,
    wrong_arity: bool,
}

/// What playing a script gives.
#[derive(Default)]
struct Outcome {
    differences: Vec<Difference>,
    /// The script with the answers that were given.
    rewritten: String,
    requests: usize,
    seen: BTreeMap<String, Seen>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Every script with its name.
fn scripts() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// True for lines that are no part of an answer.
fn begins_something(line: &str) -> bool {
    line.is_empty() || ["> ", ">~ ", "@ ", "# ", "---"].iter().any(|mark| line.starts_with(mark))
}

fn play(script: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut session, mut changes_shown) = (Session::new(), false);
    let mut lines = script.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        outcome.rewritten.push_str(line);
        outcome.rewritten.push('\n');
        if line == "---" {
            (session, changes_shown) = (Session::new(), false);
        } else if line == "@ changes" {
            changes_shown = true;
        } else if let Some(what) = line.strip_prefix("@ ") {
            session.turn(what).unwrap_or_else(|| panic!("line {}: {line:?} is not understood", number + 1));
        } else if let Some((request, sorted)) = request(line) {
            let mut expected = String::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| !begins_something(line)) {
                expected += line;
                expected.push('\n');
            }
            let answered = session.request(request);
            let mut actual = answer::print(&answered.reply, answered.waits.as_ref(), sorted);
            if changes_shown {
                actual += &change::print(&answered.changes);
            }
            outcome.requests += 1;
            let seen = outcome.seen.entry(answered.name).or_default();
            seen.success |= !answered.reply.starts_with(b"-");
            seen.wrong_arity |= answered.reply.starts_with(b"-ERR wrong number of arguments");
            outcome.rewritten += &actual;
            if actual != expected {
                let request = request.to_owned();
                outcome.differences.push(Difference { line: number + 1, request, expected, actual });
            }
        } else {
            assert!(begins_something(line), "line {}: {line:?} is an answer to nothing", number + 1);
        }
    }
    outcome
}

fn request(line: &str) -> Option<(&str, bool)> {
    let sorted = line.strip_prefix(">~ ").map(|request| (request, true));
    sorted.or_else(|| line.strip_prefix("> ").map(|request| (request, false)))
}

/// Plays a script and gives every difference as text.
fn check(name: &str, script: &str) -> String {
    play(script)
        .differences
        .iter()
        .map(|Difference { line, request, expected, actual }| {
            format!("\n{name}:{line}: {request}\nexpected:\n{expected}actual:\n{actual}")
        })
        .collect()
}

#[test]
fn commands_answer_as_the_scripts_say() {
    let scripts = scripts();
    assert!(!scripts.is_empty(), "there is no script");
    if std::env::var_os("UPDATE").is_some() {
        for (path, script) in &scripts {
            std::fs::write(path, play(script).rewritten).unwrap();
        }
        return;
    }
    let wrong: String = scripts.iter().map(|(path, script)| check(&path.to_string_lossy(), script)).collect();
    assert!(wrong.is_empty(), "{wrong}\nUPDATE=1 rewrites the expected answers");
}

#[test]
fn every_row_has_a_script() {
    let (mut seen, mut requests) = (BTreeMap::<String, Seen>::new(), 0);
    for (_, script) in scripts() {
        let outcome = play(&script);
        requests += outcome.requests;
        for (name, here) in outcome.seen {
            let before = seen.entry(name).or_default();
            *before = Seen {
                success: before.success || here.success,
                wrong_arity: before.wrong_arity || here.wrong_arity,
            };
        }
    }
    for row in leveret_keyspace::commands::TABLES.iter().flat_map(|table| table.iter()) {
        let seen = seen.get(row.spec.name).copied().unwrap_or_default();
        assert!(seen.success, "no script shows {} succeed", row.spec.name);
        // With the minimum -1 no number of arguments is wrong.
        assert!(seen.wrong_arity || row.spec.arity == -1, "no script gives {} a wrong arity", row.spec.name);
    }
    assert!(requests > 300, "the scripts have {requests} requests only");
}

#[test]
fn a_wrong_script_is_noticed_and_rewritten() {
    let right = "> SET k v\nOK\n\n# What is there.\n> GET k\n\"v\"\n@ changes\n> DEL k\n(integer) 1\n= delete \"k\"\n";
    assert_eq!(check("right", right), "");
    let wrong = right.replace("OK", "NO").replace("\"v\"\n", "").replace("= delete", "= put");
    let found = check("wrong", &wrong);
    for part in ["wrong:1: SET k v\nexpected:\nNO\nactual:\nOK", "wrong:5:", "wrong:7:"] {
        assert!(found.contains(part), "{part:?} is not in {found}");
    }
    assert_eq!(play(&wrong).rewritten, right);
}
