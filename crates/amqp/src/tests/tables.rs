//! Tables: every field type, what is refused, what is equal, what a builder changes and what it leaves.

use crate::*;

/// One field of each type, with its bytes and its name in refusals.
const FIELDS: &[(&[u8], Value<'static>, &str)] = &[
    (b"t\x02", Value::Bool(true), "bool"),
    (b"b\xff", Value::Byte(-1), "byte"),
    (b"B\xff", Value::UnsignedByte(255), "unsignedbyte"),
    (b"s\xff\xfe", Value::Short(-2), "short"),
    (b"u\xff\xfe", Value::UnsignedShort(65534), "unsignedshort"),
    (b"I\xff\xff\xff\xfd", Value::SignedInt(-3), "signedint"),
    (b"i\xff\xff\xff\xfd", Value::UnsignedInt(4_294_967_293), "unsignedint"),
    (b"l\xff\xff\xff\xff\xff\xff\xff\xfc", Value::Long(-4), "long"),
    (b"L\xff\xff\xff\xff\xff\xff\xff\xfc", Value::Long(-4), "long"),
    (b"f\x3f\xc0\x00\x00", Value::Float(1.5), "float"),
    (b"d\x3f\xf8\x00\x00\x00\x00\x00\x00", Value::Double(1.5), "double"),
    (b"D\x02\x00\x00\x01\x3a", Value::Decimal { scale: 2, value: 314 }, "decimal"),
    (b"S\x00\x00\x00\x02hi", Value::LongStr(b"hi"), "longstr"),
    (b"x\x00\x00\x00\x02hi", Value::Binary(b"hi"), "binary"),
    (b"T\x00\x00\x00\x00\x65\x53\xf1\x00", Value::Timestamp(1_700_000_000), "timestamp"),
    (b"V", Value::Void, "void"),
];

fn nested(letter: u8, depth: usize) -> Vec<u8> {
    let mut fields = Vec::new();
    for level in 0..depth {
        let name: &[u8] = if letter == b'F' || level + 1 == depth { b"\x01n" } else { b"" };
        let len = (fields.len() as u32).to_be_bytes();
        fields = [name, &[letter], &len, &fields].concat();
    }
    fields
}

#[test]
fn every_type_of_rabbitmq() {
    for (bytes, value, name) in FIELDS {
        let field = [b"\x01k", *bytes].concat();
        let table = Table::parse(&field).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(table.find(b"k"), Some(*value), "{name}");
        assert_eq!(table.find(b"k").map(|value| value.type_name()), Some(*name));
        assert_eq!(table.find(b"K"), None);
        assert_eq!(table.raw(), field, "{name} has changed in transit");
        for cut in 1..field.len() {
            assert_eq!(Table::parse(&field[..cut]), Err(DecodeError::Malformed), "{name} cut at {cut}");
        }
        let mut built = TableBuf::new();
        built.push(b"k", *value);
        let canonical = *bytes != b"t\x02" && bytes.first() != Some(&b'L');
        assert_eq!(built.as_table().raw() == field, canonical, "{name} is written otherwise");
        assert_eq!(built.as_table(), table);
    }
}

#[test]
fn unknown_types_and_depth_are_refused() {
    for letter in 0..=255u8 {
        let field = [&b"\x00"[..], &[letter], &[0; 8]].concat();
        let known = b"tbBsuIilLfdDSxTVFA".contains(&letter);
        let accepted = (0..=8).any(|len| Table::parse(&field[..2 + len]).is_ok());
        assert_eq!(accepted, known, "type {letter}");
    }
    for letter in *b"FA" {
        assert!(Table::parse(&nested(letter, DEPTH_MAX)).is_ok());
        assert_eq!(Table::parse(&nested(letter, DEPTH_MAX + 1)), Err(DecodeError::Malformed));
        assert_eq!(Table::parse(&nested(letter, 10_000)), Err(DecodeError::Malformed));
    }
    // A nested length that reaches beyond its table.
    assert!(Table::parse(b"\x01nF\x00\x00\x00\x01").is_err());
    assert!(Table::parse(b"\x01nS\xff\xff\xff\xffabc").is_err());
}

#[test]
fn equality_is_that_of_values() {
    let equal = |a: Value<'_>, b: Value<'_>| {
        let there = a == b;
        assert_eq!(b == a, there, "{a:?} and {b:?} disagree");
        there
    };
    assert!(equal(Value::Byte(5), Value::Long(5)) && equal(Value::UnsignedInt(5), Value::SignedInt(5)));
    assert!(!equal(Value::UnsignedByte(255), Value::Byte(-1)));
    assert!(
        equal(Value::Float(1.5), Value::Double(1.5))
            && equal(Value::Double(f64::NAN), Value::Float(f32::NAN))
    );
    assert!(!equal(Value::Long(1), Value::Double(1.0)) && !equal(Value::Long(1), Value::Bool(true)));
    let decimal = |scale, value| Value::Decimal { scale, value };
    assert!(equal(decimal(1, 10), decimal(0, 1)) && equal(decimal(255, 0), decimal(0, 0)));
    assert!(!equal(decimal(1, 10), decimal(0, 10)) && !equal(decimal(0, 1), Value::Long(1)));
    assert!(!equal(Value::LongStr(b"a"), Value::Binary(b"a")) && !equal(Value::Timestamp(1), Value::Long(1)));

    let table = |fields: &[(&[u8], Value<'_>)]| {
        let mut table = TableBuf::new();
        for (name, value) in fields {
            table.push(name, *value);
        }
        table
    };
    let (one, two) = (Value::SignedInt(1), Value::Long(2));
    assert_eq!(table(&[(b"a", one), (b"b", two)]), table(&[(b"b", Value::Byte(2)), (b"a", Value::Short(1))]));
    assert_ne!(table(&[(b"a", one), (b"b", two)]), table(&[(b"a", one)]));
    assert_ne!(table(&[(b"a", one)]), table(&[(b"b", one)]));
    assert_ne!(
        table(&[(b"a", one), (b"a", two)]),
        table(&[(b"a", two), (b"a", one)]),
        "the first one counts"
    );
    let (inner, other) = (table(&[(b"a", one), (b"b", two)]), table(&[(b"b", two), (b"a", one)]));
    let wrapped = |inner: &TableBuf| table(&[(b"t", Value::Table(inner.as_table()))]);
    assert_eq!(wrapped(&inner), wrapped(&other));
    let mut array = ArrayBuf::new();
    array.push(one).push(two);
    let mut reversed = ArrayBuf::new();
    reversed.push(two).push(one);
    assert_ne!(Value::Array(array.as_array()), Value::Array(reversed.as_array()));
}

/// Two equal trees of 65,536 leaves, all fields of one name, the leaves of different widths. Were values compared while
/// sorting, each level would double the work and this test would not end.
#[test]
fn comparing_deep_tables_is_linear() {
    let build = |leaf: Value<'_>| {
        let mut tree = TableBuf::new();
        tree.push(b"a", leaf);
        for _ in 0..16 {
            let mut parent = TableBuf::new();
            parent.push(b"a", Value::Table(tree.as_table())).push(b"a", Value::Table(tree.as_table()));
            tree = parent;
        }
        tree
    };
    let (bytes, longs) = (build(Value::Byte(5)), build(Value::Long(5)));
    assert_eq!(bytes, longs);
    assert_ne!(bytes, build(Value::Byte(6)));
}

#[test]
fn builders_leave_other_bytes_alone() {
    let original = b"\x01at\x02\x01bL\x00\x00\x00\x00\x00\x00\x00\x05\x01at\x00";
    let mut table = TableBuf::from(Table::parse(original).unwrap());
    assert!(!table.remove(b"none"));
    assert_eq!(table.as_table().raw(), original);
    table.set(b"a", Value::Void);
    assert_eq!(table.as_table().raw(), b"\x01bL\x00\x00\x00\x00\x00\x00\x00\x05\x01aV");
    assert!(table.remove(b"a") && table.remove(b"b") && table.as_table().is_empty());
}

#[test]
fn values_as_what_they_are() {
    assert_eq!(Value::UnsignedInt(u32::MAX).as_integer(), Some(4_294_967_295));
    assert_eq!((Value::Bool(true).as_integer(), Value::Timestamp(1).as_integer()), (None, None));
    assert_eq!(Value::LongStr(b"x").as_longstr(), Some(&b"x"[..]));
    assert_eq!((Value::Binary(b"x").as_longstr(), Value::Bool(false).as_bool()), (None, Some(false)));
    assert_eq!(Value::Float(0.5).as_float(), Some(0.5));
}
