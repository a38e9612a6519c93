//! Conversations of clients with a whole server but its sockets, as scripts in `tests/scripts`. The format is drawn
//! below; `UPDATE=1 cargo test -p leveret-server` rewrites the answers in place, and the diff is to be read before it is
//! committed. After each section the log is replayed, which must give the same state.
//!
//! ```text
//! # A comment.
//! a> SET k "v\n"                     a Redis client says something; each letter is a client
//! a> GET k ;; PING                   several commands in one piece
//! a< OK                              what any client is told then, in order
//! 1.1> queue.declare queue=q         a method on channel 1 of AMQP connection 1; both are opened when first used,
//! 1.1< queue.declare-ok queue=q      unless the connection's first line is on channel 0
//! 1.1> basic.publish routing_key=q priority=3 "body"
//! @ +5s                              time moves on; also `@ +10ms`
//! @ unsynced                         from now on nothing reaches the disk; `@ synced` ends it
//! @ debug                            DEBUG is allowed
//! @ memory 100                       so many bytes are in use
//! @ user ann pw / c.* w.* r.*        a user with a password and permissions in a vhost, and tags
//! @ topics ann / amq.topic w.* r.*   its topic permissions; also `@ vhost`, `@ delete-user`, `@ delete-vhost`
//! @ policy p ^q$ max-length=5       a policy of the first vhost, and what it says; without that it goes
//! @ alarm memory disk                what is short; `@ alarm none` ends it
//! @ credit 100                       what a publisher may publish before the disk has it
//! @ close 1                          a client is gone without a word
//! @ restart                          the server is killed and started again; all clients are gone
//! ---                                a fresh server; each file begins with one
//! ```

mod conversations;
mod delay_levels;
mod golden;
mod shown;
mod world;

use std::path::{Path, PathBuf};
use world::{Pieces, World};

fn scripts() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// True for a line that says what a client is told.
fn is_told(line: &str) -> bool {
    line.split_once("< ").is_some_and(|(who, _)| {
        !who.is_empty() && who.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.')
    })
}

/// The script as it should be, and each place where it is not.
fn play(name: &str, script: &str, pieces: Pieces) -> (String, String) {
    let (rewritten, differences, _) = play_in(World::new(pieces), name, script, pieces);
    (rewritten, differences)
}

/// Likewise with a server that is there already, until a fresh one is wanted; gives the last one.
fn play_in(mut world: World, name: &str, script: &str, pieces: Pieces) -> (String, String, World) {
    let (mut rewritten, mut differences) = (String::new(), String::new());
    let mut lines = script.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let place = format!("{name}:{}", number + 1);
        rewritten += &format!("{line}\n");
        let told = if line == "---" {
            world.check_replay(&place);
            world = World::new(pieces);
            continue;
        } else if let Some(what) = line.strip_prefix("@ ") {
            world.turn(what).unwrap_or_else(|| panic!("{place}: {line:?} is not understood"))
        } else if let Some((who, what)) = line.split_once("> ").filter(|_| !line.starts_with('#')) {
            world.say(who, what).unwrap_or_else(|why| panic!("{place}: {line}: {why}"))
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{place}: {line:?} is an answer to nothing");
            continue;
        };
        let mut expected = String::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| is_told(line)) {
            expected += &format!("{line}\n");
        }
        if told != expected {
            differences += &format!("\n{place}: {line}\nexpected:\n{expected}actual:\n{told}");
        }
        rewritten += &told;
    }
    world.check_replay(name);
    (rewritten, differences, world)
}

#[test]
fn clients_are_told_what_the_scripts_say() {
    let scripts = scripts();
    assert!(scripts.len() >= 5, "there are {} scripts only", scripts.len());
    let mut wrong = String::new();
    for (path, script) in scripts {
        let (rewritten, differences) = play(&path.to_string_lossy(), &script, Pieces::Whole);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, rewritten).unwrap();
        } else {
            wrong += &differences;
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nUPDATE=1 rewrites the expected answers");
}

#[test]
fn it_does_not_matter_in_which_pieces_something_is_said() {
    let played =
        scripts().into_iter().map(|(path, script)| play(&path.to_string_lossy(), &script, Pieces::Bytes));
    let wrong: String = played.map(|(_, differences)| differences).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_wrong_script_is_noticed_and_rewritten() {
    let right =
        "a> SET k v\na< OK\n\n# What is there.\n1.1> queue.declare queue=q\n1.1< queue.declare-ok queue=q\n";
    assert_eq!(play("right", right, Pieces::Whole), (right.to_owned(), String::new()));
    let wrong = right.replace("a< OK\n", "").replace("-ok queue=q", "-ok queue=r");
    let (rewritten, differences) = play("wrong", &wrong, Pieces::Whole);
    assert_eq!(rewritten, right);
    for part in ["wrong:1: a> SET k v\nexpected:\nactual:\na< OK", "wrong:4: 1.1> queue.declare"] {
        assert!(differences.contains(part), "{part:?} is not in {differences}");
    }
}
