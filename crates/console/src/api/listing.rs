//! Lists: filtered, sorted, by pages and columns. (RabbitMQ: management API, pagination)

use super::{Asked, Refusal, Told};
use leveret_engine::broker::Pattern;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

const PAGE_SIZE: usize = 100;
const PAGE_SIZE_MAX: usize = 500;

/// What a dotted path leads to.
fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, part| value.get(part).unwrap_or(&Value::Null))
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Null, Value::Null) => Ordering::Equal,
        // What is not there comes first.
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
    }
}

impl Asked {
    /// Answers with a list.
    pub(super) fn list(&self, mut rows: Vec<Value>) -> Result<Told, Refusal> {
        let total = rows.len();
        if let Some(name) = self.query("name").filter(|name| !name.is_empty()) {
            let name_of =
                |row: &Value| row.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if self.query("use_regex") == Some("true") {
                let pattern =
                    Pattern::new(name).map_err(|why| Refusal::bad(format!("invalid regex: {why}")))?;
                rows.retain(|row| pattern.is_match(name_of(row).as_bytes()));
            } else {
                rows.retain(|row| name_of(row).contains(name));
            }
        }
        if let Some(by) = self.query("sort").filter(|by| !by.is_empty()) {
            rows.sort_by(|a, b| compare(at(a, by), at(b, by)));
            if self.query("sort_reverse") == Some("true") {
                rows.reverse();
            }
        }
        let Some(page) = self.query("page") else {
            return Ok(Told::json(Value::Array(self.with_columns(rows))));
        };
        let number = |name: &str, value: &str| {
            let number = value.parse::<usize>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| Refusal::bad(format!("the value of '{name}' is no number above 0: {value}")))
        };
        let page = number("page", page)?;
        let size = self.query("page_size").map_or(Ok(PAGE_SIZE), |size| number("page_size", size))?;
        if size > PAGE_SIZE_MAX {
            return Err(Refusal::bad(format!("page_size is at most {PAGE_SIZE_MAX}")));
        }
        let filtered = rows.len();
        let pages = filtered.div_ceil(size).max(1);
        if page > pages {
            let text = format!("Page out of range, page: {page} page size: {size}, len: {filtered}");
            return Err(Refusal::page(text));
        }
        let rows: Vec<Value> = rows.into_iter().skip((page - 1) * size).take(size).collect();
        Ok(Told::json(json!({
            "filtered_count": filtered,
            "item_count": rows.len(),
            "items": self.with_columns(rows),
            "page": page,
            "page_count": pages,
            "page_size": size,
            "total_count": total,
        })))
    }

    /// One object.
    pub(super) fn one(&self, row: Value) -> Told {
        Told::json(self.with_columns(vec![row]).pop().unwrap_or(Value::Null))
    }

    fn with_columns(&self, rows: Vec<Value>) -> Vec<Value> {
        let Some(columns) = self.query("columns").filter(|columns| !columns.is_empty()) else { return rows };
        let columns: Vec<&str> = columns.split(',').collect();
        rows.iter().map(|row| only(row, &columns)).collect()
    }
}

/// An object with some of its fields only.
fn only(row: &Value, columns: &[&str]) -> Value {
    let mut object = Map::new();
    for column in columns {
        let value = at(row, column);
        if value.is_null() {
            continue;
        }
        match column.split_once('.') {
            None => {
                object.insert((*column).into(), value.clone());
            }
            Some((first, rest)) => {
                let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
                if let (Value::Object(inner), Value::Object(more)) = (inner, only(&row[first], &[rest])) {
                    inner.extend(more);
                }
            }
        }
    }
    Value::Object(object)
}
