//! SORT and SORT_RO: the elements of a list, set or sorted set in an order that they or other keys say. The trap: the keys
//! that BY and GET name are known only once the elements are.

use crate::command::{Group, Row, category, flag, keys, read, unknown_keys, write};
use crate::commands::{check_stored, integer};
use crate::entry::{Entry, Value};
use crate::event;
use crate::number::{compare_scores, parse_float};
use crate::values::{Element, End, Hash, Object};
use crate::view::text_of;
use crate::{Args, Error, Reply, Txn, View};
use std::borrow::Cow;
use std::cmp::Ordering;

const COST: &str = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).";
const COLLECTIONS: u32 = category::LIST | category::SET | category::SORTEDSET | category::DANGEROUS;

pub(super) const ROWS: &[Row] = &[
    write("sort", -2, Group::Generic, sort)
        .flags(flag::DENYOOM)
        .apart()
        .also(COLLECTIONS)
        .keys(&[
            keys(&["RO", "ACCESS"], 1, 0, 1),
            unknown_keys(&["RO", "ACCESS"]),
            unknown_keys(&["OW", "UPDATE"]),
        ])
        .cost(COST)
        .says("Sorts the elements of a list, set or sorted set, and stores them if asked to."),
    read("sort_ro", -2, Group::Generic, sort_ro)
        .apart()
        .also(COLLECTIONS)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1), unknown_keys(&["RO", "ACCESS"])])
        .since("7.0.0")
        .cost(COST)
        .says("Returns the sorted elements of a list, set or sorted set."),
];

/// What is asked for.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// Offset and count; a negative count is all.
    limit: Option<(i64, i64)>,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

fn options<'a>(args: Args<'a>, may_store: bool) -> Result<Options<'a>, Error> {
    let (mut options, mut i) = (Options::default(), 2);
    while let Some(word) = args.get(i) {
        let (first, second) = (args.get(i + 1), args.get(i + 2));
        i += match (word.to_ascii_uppercase().as_slice(), first, second) {
            (b"ASC", ..) => {
                options.descending = false;
                1
            }
            (b"DESC", ..) => {
                options.descending = true;
                1
            }
            (b"ALPHA", ..) => {
                options.alpha = true;
                1
            }
            (b"LIMIT", Some(offset), Some(count)) => {
                options.limit = Some((integer(offset)?, integer(count)?));
                3
            }
            (b"STORE", Some(to), _) if may_store => {
                options.store = Some(to);
                2
            }
            (b"BY", Some(pattern), _) => {
                options.by = Some(pattern);
                2
            }
            (b"GET", Some(pattern), _) => {
                options.get.push(pattern);
                2
            }
            _ => return Err(Error::Syntax),
        };
    }
    Ok(options)
}

fn sort(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = options(args, true)?;
    let Some(to) = options.store else {
        answer(&sorted(&txn.view(), &args[1], &options)?, reply);
        return Ok(());
    };
    let elements: Vec<Vec<u8>> = sorted(&txn.view(), &args[1], &options)?
        .into_iter()
        .map(Option::unwrap_or_default)
        .map(Cow::into_owned)
        .collect();
    check_stored(elements.iter().map(Vec::as_slice))?;
    if elements.is_empty() {
        txn.delete(to);
    } else {
        txn.clear(to);
        txn.announced_as(event::SORT_STORE);
        txn.list_push(End::Right, to, elements.iter().map(Vec::as_slice));
    }
    reply.integer(elements.len() as i64);
    Ok(())
}

fn sort_ro(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    answer(&sorted(view, &args[1], &options(args, false)?)?, reply);
    Ok(())
}

fn answer(elements: &[Option<Cow<'_, [u8]>>], reply: &mut Reply<'_>) {
    reply.array(elements.len());
    for element in elements {
        match element {
            Some(element) => reply.bulk(element),
            None => reply.null(),
        }
    }
}

/// What an element is compared by.
enum Weight<'a> {
    /// By number, and by its bytes among equals.
    Number(f64),
    /// By text; what has none comes first.
    Text(Option<Cow<'a, [u8]>>),
}

impl Weight<'_> {
    fn compare(&self, own: &[u8], other: &Weight<'_>, others: &[u8]) -> Ordering {
        match (self, other) {
            (Weight::Number(a), Weight::Number(b)) => compare_scores(*a, *b).then_with(|| own.cmp(others)),
            (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
            (Weight::Number(_), Weight::Text(_)) | (Weight::Text(_), Weight::Number(_)) => Ordering::Equal,
        }
    }
}

/// The result, an entry for each element or for each GET of each element.
fn sorted<'a>(
    view: &View<'a>,
    key: &[u8],
    options: &Options<'_>,
) -> Result<Vec<Option<Cow<'a, [u8]>>>, Error> {
    // A pattern without a star sorts nothing.
    let mut unsorted = options.by.is_some_and(|by| !by.contains(&b'*'));
    let (mut by, mut alpha) = (options.by.filter(|_| !unsorted), options.alpha);
    let value = view.look_up(key).map(Entry::value);
    if let (true, Some(_), Some(Value::Object(Object::Set(_)))) = (unsorted, options.store, value) {
        // What is stored must not depend on how the set is kept.
        (unsorted, by, alpha) = (false, None, true);
    }
    let elements = match value {
        None => Vec::new(),
        Some(Value::Object(Object::List(list))) => list.iter(End::Left).map(Element::into_cow).collect(),
        Some(Value::Object(Object::Set(set))) => set.iter().map(Element::into_cow).collect(),
        Some(Value::Object(Object::SortedSet(set))) => {
            let mut members: Vec<Cow<'a, [u8]>> = set.iter().map(|(_, member)| member.into_cow()).collect();
            if unsorted && options.descending {
                members.reverse();
            }
            members
        }
        Some(
            Value::Bytes(_)
            | Value::Integer(_)
            | Value::Object(Object::Blob(_) | Object::Hash(_) | Object::Stream(_)),
        ) => {
            return Err(Error::WrongType);
        }
    };
    let elements = if unsorted { elements } else { in_order(view, elements, by, alpha, options.descending)? };
    let (offset, count) = options.limit.unwrap_or((0, -1));
    let offset = usize::try_from(offset).unwrap_or(0);
    let limited = elements.into_iter().skip(offset).take(usize::try_from(count).unwrap_or(usize::MAX));
    if options.get.is_empty() {
        return Ok(limited.map(Some).collect());
    }
    let mut got = Vec::new();
    for element in limited {
        for pattern in &options.get {
            got.push(look_up(view, pattern, &element).map(|value| Cow::Owned(value.into_owned())));
        }
    }
    Ok(got)
}

fn in_order<'a>(
    view: &View<'_>,
    mut elements: Vec<Cow<'a, [u8]>>,
    by: Option<&[u8]>,
    alpha: bool,
    descending: bool,
) -> Result<Vec<Cow<'a, [u8]>>, Error> {
    let weight = |element| {
        let text = match by {
            Some(pattern) => look_up(view, pattern, element),
            None => Some(Cow::Borrowed(element)),
        };
        Ok(match (alpha, text) {
            (true, text) => Weight::Text(text),
            (false, None) => Weight::Number(0.0),
            (false, Some(text)) => Weight::Number(
                number(&text).ok_or(Error::new("ERR One or more scores can't be converted into double"))?,
            ),
        })
    };
    let weights = elements.iter().map(|element| weight(element)).collect::<Result<Vec<_>, _>>()?;
    let mut order: Vec<usize> = (0..elements.len()).collect();
    order.sort_by(|&a, &b| {
        let order = weights[a].compare(&elements[a], &weights[b], &elements[b]);
        if descending { order.reverse() } else { order }
    });
    drop(weights);
    Ok(order.into_iter().map(|i| std::mem::take(&mut elements[i])).collect())
}

/// Nothing is zero, and white space in front does not count. (C: strtod)
fn number(text: &[u8]) -> Option<f64> {
    if text.is_empty() { Some(0.0) } else { parse_float(text.trim_ascii_start()) }
}

/// What a pattern names for an element: the string under a key, or with `->` a field of the hash there; `#` is the element.
fn look_up<'v>(view: &View<'v>, pattern: &[u8], element: &'v [u8]) -> Option<Cow<'v, [u8]>> {
    if pattern == b"#" {
        return Some(Cow::Borrowed(element));
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (prefix, rest) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = rest.windows(2).position(|two| two == b"->").filter(|arrow| arrow + 2 < rest.len());
    let (postfix, field) = match arrow {
        Some(arrow) => (&rest[..arrow], Some(&rest[arrow + 2..])),
        None => (rest, None),
    };
    let entry = view.look_up(&[prefix, element, postfix].concat())?;
    match (field, entry.value()) {
        (Some(field), Value::Object(Object::Hash(hash))) => found(hash, field, view.now_ms),
        (Some(_), _) => None,
        (None, _) => Some(text_of(entry).ok()?.to_bytes()),
    }
}

fn found<'h>(hash: &'h Hash, field: &[u8], now_ms: crate::UnixMillis) -> Option<Cow<'h, [u8]>> {
    hash.find_live(field, now_ms).map(|field| field.value.into_cow())
}
