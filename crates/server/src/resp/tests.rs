//! The command table against the facts of `data/resp-commands.json`.

use crate::resp::table::TABLE;
use leveret_engine::keyspace::command::{FindKeys, KeySpec};
use leveret_engine::keyspace::flag;
use serde_json::{Value, json};

fn facts() -> Vec<Value> {
    let data: Value =
        serde_json::from_str(include_str!("../../data/resp-commands.json")).expect("the data is JSON");
    data["commands"].as_array().cloned().expect("the data has commands")
}

fn names(value: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

/// A range of keys as the data writes it.
fn shown(keys: &KeySpec) -> Value {
    let index = json!({ "index": { "pos": keys.first } });
    let mut flags = keys.flags.to_vec();
    flags.sort_unstable();
    match keys.find {
        FindKeys::Range { last, step } => {
            json!([index, { "range": { "lastkey": last, "step": step, "limit": 0 } }, flags])
        }
        FindKeys::Counted { step } => {
            json!([index, { "keynum": { "keynumidx": 0, "firstkey": 1, "step": step } }, flags])
        }
        FindKeys::Halved { keyword } => json!([
            { "keyword": { "keyword": keyword, "startfrom": keys.first } },
            { "range": { "lastkey": -1, "step": 1, "limit": 2 } },
            flags
        ]),
        FindKeys::Behind { keyword } => {
            let keyword = json!({ "keyword": { "keyword": keyword, "startfrom": keys.first } });
            json!([keyword, { "range": { "lastkey": 0, "step": 1, "limit": 0 } }, flags])
        }
        FindKeys::Rest { keyword, from_end } => {
            let keyword = json!({ "keyword": { "keyword": keyword, "startfrom": -(from_end as i64) } });
            json!([keyword, { "range": { "lastkey": -1, "step": 1, "limit": 0 } }, flags])
        }
        FindKeys::Unknown => json!([{ "unknown": null }, { "unknown": null }, flags]),
    }
}

#[test]
fn the_table_agrees_with_the_data() {
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for fact in facts() {
        let name = fact["name"].as_str().unwrap_or_default();
        let Some(command) = TABLE.get(name.as_bytes()) else { continue };
        compared += 1;
        let spec = &command.spec;
        if fact["arity"].as_i64() != Some(i64::from(spec.arity)) {
            wrong.push(format!("{name}: arity {} instead of {}", spec.arity, fact["arity"]));
        }
        let mut flags: Vec<String> = flag::NAMES
            .iter()
            .filter(|(bit, _)| spec.flags & bit != 0)
            .map(|(_, name)| name.to_uppercase())
            .collect();
        flags.sort();
        if flags != names(&fact["flags"]) {
            wrong.push(format!("{name}: flags {flags:?} instead of {}", fact["flags"]));
        }
        let keys: Vec<Value> = spec.keys.iter().map(shown).collect();
        let published = fact["keys"].as_array().cloned().unwrap_or_default();
        let expected: Vec<Value> = published
            .iter()
            .map(|keys| json!([keys["begin_search"], keys["find_keys"], names(&keys["flags"])]))
            .collect();
        if keys != expected {
            wrong.push(format!("{name}: keys {keys:?} instead of {expected:?}"));
        }
        if spec.since != fact["since"].as_str().unwrap_or_default() {
            wrong.push(format!("{name}: since {} instead of {}", spec.since, fact["since"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 60, "only {compared} commands were compared");
}
