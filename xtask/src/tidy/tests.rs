//! Each check sees what it is there for: a good sample passes, a bad one is reported.

use super::{Source, crates, documents, files};
use serde_json::{Value, json};

fn package(name: &str, uses: &[&str]) -> Value {
    let dependencies: Vec<Value> = uses.iter().map(|name| json!({"name": name, "kind": null})).collect();
    json!({"name": name, "source": null, "dependencies": dependencies, "targets": [{"kind": ["lib"]}]})
}

fn foreign(name: &str, kind: &str) -> Value {
    json!({"name": name, "source": "elsewhere", "dependencies": [], "targets": [{"kind": [kind]}]})
}

fn world(packages: &[Value]) -> Value {
    json!({"packages": packages})
}

fn file(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn an_edge_goes_down_only() {
    let good = world(&[package("leveret-engine", &["leveret-broker", "leveret-base"])]);
    assert!(crates::floors(&good).is_empty());
    for (from, to) in [
        ("leveret-base", "leveret-engine"),
        ("leveret-keyspace", "leveret-broker"),
        ("leveret-broker", "mio"),
        ("leveret-server", "tokio"),
        ("leveret-engine", "xtask"),
    ] {
        assert_eq!(crates::floors(&world(&[package(from, &[to])])).len(), 1, "{from} → {to}");
    }
    assert_eq!(crates::floors(&world(&[package("leveret-attic", &[])])).len(), 1);
}

#[test]
fn the_lower_floors_generate_nothing() {
    let with = |kind, user| world(&[package(user, &["maker"]), foreign("maker", kind)]);
    assert!(crates::generators(&with("lib", "leveret-wal")).is_empty());
    assert!(crates::generators(&with("custom-build", "leveret-server")).is_empty());
    assert_eq!(crates::generators(&with("custom-build", "leveret-wal")).len(), 1);
    assert_eq!(crates::generators(&with("proc-macro", "leveret-engine")).len(), 1);
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(600));
    let check = |text: &str, ratchet: &[(String, usize)]| files::wrong(&[file("a.rs", text)], ratchet);
    let known = |length| vec![("a.rs".to_owned(), length)];
    assert!(check("//! Short.\n", &[]).is_empty());
    assert_eq!(check("fn f() {}\n", &[]).len(), 1);
    assert_eq!(check(&long, &[]).len(), 1);
    assert!(check(&long, &known(601)).is_empty());
    assert_eq!(check(&long, &known(600)).len(), 1, "it has grown");
    assert_eq!(check(&long, &known(602)).len(), 1, "it has shrunk and nobody said so");
    let longest = format!("//! Long.\n{}", "fn f() {}\n".repeat(1000));
    assert_eq!(check(&longest, &known(1001)).len(), 1, "longer than anything may be");
    assert_eq!(files::wrong(&[file("b.rs", "//! B.\n")], &known(600)).len(), 1, "listed but not there");
}

#[test]
fn files_finish_what_they_begin() {
    for word in [["to", "do!()"].concat(), ["unimple", "mented!()"].concat(), ["#[ig", "nore]"].concat()] {
        assert_eq!(files::wrong(&[file("a.rs", &format!("//! A.\n{word}\n"))], &[]).len(), 1, "{word}");
    }
    let block = ["unsafe", " { f() }"].concat();
    assert_eq!(files::wrong(&[file("a.rs", &format!("//! A.\n{block}\n"))], &[]).len(), 1);
    assert!(files::wrong(&[file("a.rs", &format!("//! A.\n// SAFETY: sound.\n{block}\n"))], &[]).is_empty());
}

#[test]
fn a_dependency_has_its_line() {
    let metadata = world(&[package("leveret-base", &["bytes", "leveret-base"])]);
    assert!(documents::dependencies(&metadata, "| `bytes` | a | b | c |").is_empty());
    assert_eq!(documents::dependencies(&metadata, "").len(), 1);
    assert_eq!(documents::dependencies(&metadata, "| `bytes` | a |  | c |").len(), 1);
    assert_eq!(
        documents::dependencies(&metadata, "| `bytes` | a | b | c |\n| `gone` | a | b | c |").len(),
        1
    );
}

#[test]
fn a_deviation_is_listed() {
    let marked = [file("crates/x/src/a.rs", &["//! A.\n// DEVIATION", ": other.\n"].concat())];
    assert!(documents::deviations(&marked, "| `crates/x/src/a.rs` | … |").is_empty());
    assert_eq!(documents::deviations(&marked, "").len(), 1);
    assert_eq!(documents::deviations(&[], "| `crates/x/src/gone.rs` |").len(), 1);
}
