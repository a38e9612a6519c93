//! Every method, field, property and reply code of the specification's file is declared, as it is there, and no other.

use crate::methods::ROWS;
use crate::properties::PROPERTIES;
use crate::{Method, ReplyCode};
use serde_json::Value as Json;
use std::collections::BTreeMap;

fn specification() -> Json {
    serde_json::from_str(include_str!("../../data/amqp-rabbitmq-0.9.1.json")).expect("the file is JSON")
}

fn text(json: &Json) -> String {
    json.as_str().expect("a text").to_owned()
}

fn number(json: &Json) -> u16 {
    json.as_u64().and_then(|number| number.try_into().ok()).expect("a small number")
}

/// As our fields are called.
fn rust_name(json: &Json) -> String {
    if json == "type" { "kind".into() } else { text(json).replace('-', "_") }
}

/// Names and types of arguments or properties, domains resolved.
fn fields(list: &Json, domains: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let resolve = |field: &Json| match field.get("type") {
        Some(kind) => text(kind),
        None => domains[&text(&field["domain"])].clone(),
    };
    list.as_array().expect("a list").iter().map(|field| (rust_name(&field["name"]), resolve(field))).collect()
}

fn domains(specification: &Json) -> BTreeMap<String, String> {
    let pairs = specification["domains"].as_array().expect("a list");
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[test]
fn methods_are_those_of_the_specification() {
    let specification = specification();
    let domains = domains(&specification);
    let flag = |method: &Json, name: &str| method.get(name).is_some_and(|flag| flag == true);
    let mut expected = BTreeMap::new();
    for class in specification["classes"].as_array().expect("a list") {
        for method in class["methods"].as_array().expect("a list") {
            let name = format!("{}.{}", text(&class["name"]), text(&method["name"]));
            let facts = (
                name,
                flag(method, "synchronous"),
                flag(method, "content"),
                fields(&method["arguments"], &domains),
            );
            expected.insert((number(&class["id"]), number(&method["id"])), facts);
        }
    }
    let owned =
        |fields: &[(&str, &str)]| fields.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let declared: BTreeMap<_, _> = ROWS
        .iter()
        .map(|row| (row.ids, (row.name.to_owned(), row.sync, row.content, owned(row.fields))))
        .collect();
    assert_eq!(declared.len(), ROWS.len(), "an id is declared twice");
    assert_eq!(declared, expected);
}

/// The smallest payload of each method decodes, answers for itself as its row says, and is encoded alike.
#[test]
fn methods_answer_as_their_rows_say() {
    for row in ROWS {
        let mut payload = [row.ids.0.to_be_bytes(), row.ids.1.to_be_bytes()].concat();
        let mut bits = 0;
        for (_, kind) in row.fields {
            if *kind == "bit" {
                payload.extend(vec![0; usize::from(bits % 8 == 0)]);
                bits += 1;
                continue;
            }
            bits = 0;
            let len = match *kind {
                "octet" | "shortstr" => 1,
                "short" => 2,
                "long" | "longstr" | "table" => 4,
                "longlong" | "timestamp" => 8,
                other => panic!("{other} is no type"),
            };
            payload.extend(vec![0; len]);
        }
        let method = Method::decode(&payload).unwrap_or_else(|error| panic!("{}: {error}", row.name));
        assert_eq!((method.class_id(), method.method_id()), row.ids);
        assert_eq!(
            (method.name(), method.is_synchronous(), method.has_content()),
            (row.name, row.sync, row.content)
        );
        let mut out = Vec::new();
        method.encode(3, &mut out);
        assert_eq!(out.get(7..out.len() - 1), Some(&payload[..]), "{}", row.name);
    }
}

#[test]
fn properties_are_those_of_the_specification() {
    let specification = specification();
    let classes = specification["classes"].as_array().expect("a list");
    let basic = classes.iter().find(|class| class["name"] == "basic").expect("there is basic");
    let declared: Vec<_> = PROPERTIES.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(declared, fields(&basic["properties"], &domains(&specification)));
}

#[test]
fn reply_codes_are_those_of_the_specification() {
    let specification = specification();
    let mut expected = BTreeMap::new();
    for constant in specification["constants"].as_array().expect("a list") {
        let (name, code) = (text(&constant["name"]).replace('-', "_"), number(&constant["value"]));
        if code >= 200 && !name.starts_with("FRAME_E") || name == "FRAME_ERROR" {
            expected.insert(code, (name, constant.get("class").is_some_and(|class| class == "hard-error")));
        }
    }
    expected.retain(|_, (name, _)| name != "FRAME_MIN_SIZE");
    let declared: BTreeMap<_, _> =
        ReplyCode::ALL.iter().map(|code| (code.code(), (code.name().to_owned(), code.is_hard()))).collect();
    assert_eq!(declared, expected);
}
