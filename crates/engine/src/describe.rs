//! Records for people: each change of a record with its name and its fields. Nothing is applied. What is not in any table was
//! written by a newer version.

use crate::engine::KIND_COMMIT;
use leveret_base::codec::Reader;
use leveret_base::describe::Kind::{Byte, Bytes, Many, Secret};
use leveret_base::describe::{Described, Field, Row, describe};
use leveret_wal::Record;

const NAME: Field = ("name", Bytes);
const PERMISSIONS: Field =
    ("permissions", Many(&[("vhost", Bytes), ("configure", Bytes), ("write", Bytes), ("read", Bytes)]));
const TOPIC_PERMISSIONS: Field =
    ("topic_permissions", Many(&[("vhost", Bytes), ("exchange", Bytes), ("write", Bytes), ("read", Bytes)]));
const PARAMETER: [Field; 3] = [("component", Bytes), ("vhost", Bytes), NAME];

/// The changes of the engine's own.
const OWN: &[Row] = &[
    (
        crate::accounts::USER_PUT,
        "user put",
        &[
            NAME,
            ("tags", Many(&[("tag", Bytes)])),
            ("passwords", Many(&[("password", Secret)])),
            ("flags", Byte),
            ("rules", Bytes),
            PERMISSIONS,
            TOPIC_PERMISSIONS,
        ],
    ),
    (crate::accounts::USER_DELETE, "user delete", &[NAME]),
    (crate::parameters::PUT, "parameter put", &[PARAMETER[0], PARAMETER[1], PARAMETER[2], ("value", Bytes)]),
    (crate::parameters::DELETE, "parameter delete", &PARAMETER),
    (crate::libraries::PUT, "library put", &[NAME, ("text", Bytes)]),
    (crate::libraries::DELETE, "library delete", &[NAME]),
];

/// The changes of a record, in order.
pub fn describe_record<'a>(record: &Record<'a>) -> Result<Vec<Described<'a>>, String> {
    if record.head.kind != KIND_COMMIT {
        return Err(format!(
            "record kind {} is unknown: was this log written by a newer version?",
            record.head.kind
        ));
    }
    let (mut fields, mut changes) = (Reader::new(record.changes), Vec::new());
    while !fields.is_empty() {
        let tag = fields.byte().map_err(|error| error.to_string())?;
        let tables = [leveret_keyspace::CHANGE_NAMES, leveret_broker::CHANGE_NAMES, OWN];
        let described = tables.iter().find_map(|table| describe(table, tag, &mut fields));
        let described = described.ok_or_else(|| {
            format!("change {tag:#04x} is unknown: was this log written by a newer version?")
        })?;
        changes.push(described.map_err(|error| format!("{error} (tag {tag:#04x})"))?);
    }
    Ok(changes)
}
