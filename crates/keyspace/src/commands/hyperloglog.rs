//! HyperLogLog: adding elements, counting them, merging. What the string under the key means is in `crate::hyperloglog`.

mod debug;

use crate::command::{Group, Row, flag, keys, noting, write};
use crate::commands::arguments;
use crate::entry::Entry;
use crate::event;
use crate::hyperloglog::{self as hll, REGISTERS};
use crate::values::limits::HLL_SPARSE;
use crate::view::Text;
use crate::{Args, Error, Reply, Txn};
use std::borrow::Cow;

pub(super) use debug::ROWS as DEBUG_ROWS;

pub(super) const ROWS: &[Row] = &[
    write("pfadd", -2, Group::HyperLogLog, pfadd)
        .flags(flag::DENYOOM)
        .fast()
        .keys(&[keys(&["RW", "INSERT"], 1, 0, 1)])
        .since("2.8.9")
        .cost("O(1) to add every element.")
        .says("Adds elements to a HyperLogLog, which is created if it is missing."),
    noting("pfcount", -2, Group::HyperLogLog, pfcount)
        .keys(&[keys(&["RW", "ACCESS"], 1, -1, 1)])
        .since("2.8.9")
        .cost("O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.")
        .says("Returns about how many different elements HyperLogLogs have seen together."),
    write("pfmerge", -2, Group::HyperLogLog, pfmerge)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "ACCESS", "INSERT"], 1, 0, 1), keys(&["RO", "ACCESS"], 2, -1, 1)])
        .since("2.8.9")
        .cost("O(N) to merge N HyperLogLogs, but with high constant times.")
        .says("Adds to a HyperLogLog what others have seen."),
];

/// The value under a key.
fn stored<'v>(text: Option<Text<'v>>) -> Result<Option<Cow<'v, [u8]>>, Error> {
    let Some(text) = text else { return Ok(None) };
    let bytes = text.to_bytes();
    hll::check(&bytes)?;
    Ok(Some(bytes))
}

/// Registers of a dense one that are overwritten one by one; with more of them the value is written anew.
const SINGLE_MAX: usize = 256;

fn pfadd(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let places = || arguments(args, 2).map(hll::place);
    let before = stored(txn.string(&args[1])?)?;
    let is_new = before.is_none();
    if let Some(bytes) = before.as_deref().filter(|bytes| !hll::is_sparse(bytes)) {
        let raised: Vec<_> =
            places().filter(|(index, count)| hll::raised_bytes(bytes, *index, *count).is_some()).collect();
        if raised.len() <= SINGLE_MAX {
            drop(before);
            raise_one_by_one(txn, &args[1], &raised)?;
            reply.integer(i64::from(!raised.is_empty()));
            return Ok(());
        }
    }
    let mut after = before.map_or_else(hll::empty, Cow::into_owned);
    let mut changed = is_new;
    for (index, count) in places() {
        changed |= hll::raise(&mut after, index, count, HLL_SPARSE.size())?;
    }
    if changed {
        store(txn, &args[1], after)?;
    }
    reply.integer(i64::from(changed));
    Ok(())
}

fn raise_one_by_one(txn: &mut Txn<'_>, key: &[u8], raised: &[(usize, u8)]) -> Result<(), Error> {
    if raised.is_empty() {
        return Ok(());
    }
    txn.announced_as(event::NOTHING);
    for (index, count) in raised {
        let bytes = txn.string(key)?.map_or(Cow::Borrowed(&b""[..]), Text::to_bytes);
        // An element before may have been the same or a greater one.
        let Some((at, pair, len)) = hll::raised_bytes(&bytes, *index, *count) else { continue };
        drop(bytes);
        txn.set_range(key, at, pair.get(..len).unwrap_or_default());
    }
    let stale = txn.string(key)?.map_or(hll::STALE, |text| {
        text.range(hll::STALE_AT, hll::STALE_AT + 1).first().copied().unwrap_or(0) | hll::STALE
    });
    txn.set_range(key, hll::STALE_AT, &[stale]);
    txn.announce(event::HYPERLOGLOG_ADD, key);
    Ok(())
}

/// Stores a value that has changed. Of a sparse one only the piece that differs is recorded.
fn store(txn: &mut Txn<'_>, key: &[u8], mut after: Vec<u8>) -> Result<(), Error> {
    hll::set_stale(&mut after);
    let deadline = txn.view().find(key).and_then(Entry::deadline);
    txn.announced_as(event::NOTHING);
    match txn.string(key)?.map(Text::to_bytes) {
        Some(before) if before.len() < hll::DENSE_BYTES && after.len() < hll::DENSE_BYTES => {
            let same = |pair: &(&u8, &u8)| pair.0 == pair.1;
            let start = before.iter().zip(&after).take_while(same).count();
            let least = before.len().min(after.len()) - start;
            let behind = before.iter().rev().zip(after.iter().rev()).take(least).take_while(same).count();
            let removed = before.len() - behind - start;
            drop(before);
            let piece = after.get(start..after.len() - behind).unwrap_or_default();
            txn.splice(key, start, removed, piece);
        }
        // A new string is written into, not set: Redis tells the difference. (OBJECT ENCODING)
        None => txn.set_range(key, 0, &after),
        Some(_) => txn.put(key, &after, deadline),
    }
    txn.announce(event::HYPERLOGLOG_ADD, key);
    Ok(())
}

/// Like Redis it keeps what it has counted in the value, which clients see by GET.
fn pfcount(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() > 2 {
        let mut histogram = hll::Histogram::default();
        merged(txn, args, 1)?.0.iter().for_each(|value| histogram.add(*value, 1));
        reply.integer(histogram.estimate() as i64);
        return Ok(());
    }
    let Some(bytes) = stored(txn.view().string(&args[1])?)? else {
        reply.integer(0);
        return Ok(());
    };
    let cached = hll::cached(&bytes);
    let cardinality = cached.map_or_else(|| hll::count(&bytes), Ok)?;
    drop(bytes);
    if cached.is_none() {
        txn.announced_as(event::NOTHING);
        txn.set_range(&args[1], hll::CACHE_AT, &cardinality.to_le_bytes());
    }
    reply.integer(cardinality as i64);
    Ok(())
}

/// The registers of several keys together, and whether one of them is dense.
fn merged(txn: &Txn<'_>, args: Args<'_>, from: usize) -> Result<(Box<[u8; REGISTERS]>, bool), Error> {
    let (mut registers, mut any_dense) = (Box::new([0; REGISTERS]), false);
    for key in arguments(args, from) {
        if let Some(bytes) = stored(txn.view().string(key)?)? {
            any_dense |= !hll::is_sparse(&bytes);
            hll::merge(&mut registers, &bytes)?;
        }
    }
    Ok((registers, any_dense))
}

fn pfmerge(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (registers, any_dense) = merged(txn, args, 1)?;
    let mut after = stored(txn.string(&args[1])?)?.map_or_else(hll::empty, Cow::into_owned);
    if any_dense && hll::is_sparse(&after) {
        hll::to_dense(&mut after)?;
    }
    for (index, count) in registers.iter().enumerate().filter(|(_, count)| **count > 0) {
        hll::raise(&mut after, index, *count, HLL_SPARSE.size())?;
    }
    store(txn, &args[1], after)?;
    reply.ok();
    Ok(())
}
