//! Data directories as earlier versions have left them: each must still be read, and answers are what they were. `written.txt` is
//! what was said to the server that has written one, `read.txt` what is asked of it. They are never written again: a new format
//! gets a folder of its own with the next number, and so does what is added to one; `UPDATE=1` makes what is missing in it.

use super::play_in;
use super::world::{Pieces, World};
use std::path::{Path, PathBuf};

fn folders() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The data directory in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names =
        names.filter(|name| [".segment", ".checkpoint", ".bodies"].iter().any(|end| name.ends_with(end)));
    names.map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

fn make(folder: &Path) {
    let (rewritten, _, mut world) =
        play_in(World::new(Pieces::Whole), "written", &text(folder, "written.txt"), Pieces::Whole);
    std::fs::write(folder.join("written.txt"), rewritten).unwrap();
    for (name, bytes) in world.files() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    world = World::found(&files(folder));
    let (rewritten, ..) = play_in(world, "read", &text(folder, "read.txt"), Pieces::Whole);
    std::fs::write(folder.join("read.txt"), rewritten).unwrap();
    std::fs::write(folder.join("counts.txt"), counts(folder)).unwrap();
}

/// What is found, and how many of its messages are known by name. Whoever computes the digest otherwise removes the file and makes
/// it anew, when the answers are the same.
fn state(folder: &Path) -> String {
    let mut world = World::found(&files(folder));
    format!("digest {:016x}, {} messages away\n", world.digest(), world.away_count())
}

#[test]
fn what_earlier_versions_have_written_is_read() {
    let folders = folders();
    assert!(!folders.is_empty());
    for folder in folders {
        if std::env::var_os("UPDATE").is_some() && files(&folder).is_empty() {
            make(&folder);
        }
        if std::env::var_os("UPDATE").is_some() && !folder.join("state.txt").exists() {
            std::fs::write(folder.join("state.txt"), state(&folder)).unwrap();
        }
        let found = files(&folder);
        for kind in [".segment", ".checkpoint"] {
            assert!(found.iter().any(|(name, _)| name.ends_with(kind)), "{}: no {kind}", folder.display());
        }
        let name = folder.display().to_string();
        let (_, differences, _) =
            play_in(World::found(&found), &name, &text(&folder, "read.txt"), Pieces::Whole);
        assert!(differences.is_empty(), "{differences}");
        assert_eq!(counts(&folder), text(&folder, "counts.txt"), "{name}");
        assert_eq!(state(&folder), text(&folder, "state.txt"), "{name}");
    }
}

/// What `leveret check` counts in a copy.
fn counts(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_string_lossy();
    let copy = std::env::temp_dir().join(format!("leveret-golden-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir(&copy).unwrap();
    for (name, bytes) in files(folder) {
        std::fs::write(copy.join(name), bytes).unwrap();
    }
    let checked = crate::check(&copy).unwrap();
    std::fs::remove_dir_all(&copy).unwrap();
    assert_eq!(checked.inspection.ending, leveret_wal::Ending::Whole);
    format!("{:?}\n", checked.counts)
}
