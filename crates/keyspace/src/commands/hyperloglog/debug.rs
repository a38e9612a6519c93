//! PFDEBUG and PFSELFTEST: looking into a HyperLogLog, and trying the arithmetic.

use super::stored;
use crate::command::{Group, Row, Run, category, flag, keys, write};
use crate::entry::Entry;
use crate::event;
use crate::hyperloglog::{self as hll, REGISTERS};
use crate::values::limits::HLL_SPARSE;
use crate::{Args, Error, Reply, Txn, View};
use std::borrow::Cow;

pub(in crate::commands) const ROWS: &[Row] = &[
    write("pfdebug", 3, Group::HyperLogLog, pfdebug)
        .flags(flag::DENYOOM | flag::ADMIN)
        .keys(&[keys(&["RW", "ACCESS"], 2, 0, 1)])
        .since("2.8.9")
        .cost("N/A")
        .says("Shows the registers or the encoding of a HyperLogLog, or makes it dense."),
    Row::new("pfselftest", 1, Group::HyperLogLog, flag::ADMIN, Run::Read(pfselftest))
        .also(category::HYPERLOGLOG)
        .since("2.8.9")
        .cost("N/A")
        .says("Tries the registers and the estimates of HyperLogLogs."),
];

fn pfdebug(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let bytes = stored(txn.string(&args[2])?)?.ok_or(Error::new("ERR The specified key does not exist"))?;
    let is_sparse = hll::is_sparse(&bytes);
    match args[1].to_ascii_lowercase().as_slice() {
        b"getreg" => {
            let mut registers = Box::new([0; REGISTERS]);
            hll::merge(&mut registers, &bytes)?;
            make_dense(txn, &args[2])?;
            reply.array(REGISTERS);
            registers.iter().for_each(|value| reply.integer(i64::from(*value)));
        }
        b"decode" if !is_sparse => return Err(Error::new("ERR HLL encoding is not sparse")),
        b"decode" => reply.bulk(hll::decoded(&bytes)?.as_bytes()),
        b"encoding" => reply.simple(if is_sparse { "sparse" } else { "dense" }),
        b"todense" => {
            make_dense(txn, &args[2])?;
            reply.integer(i64::from(is_sparse));
        }
        _ => {
            let name = String::from_utf8_lossy(&args[1]);
            return Err(Error::Other(format!("ERR Unknown PFDEBUG subcommand '{name}'").into()));
        }
    }
    Ok(())
}

/// Makes a sparse one dense; nobody is told.
fn make_dense(txn: &mut Txn<'_>, key: &[u8]) -> Result<(), Error> {
    let Some(mut bytes) = stored(txn.string(key)?)?.map(Cow::into_owned) else { return Ok(()) };
    if hll::is_sparse(&bytes) {
        hll::to_dense(&mut bytes)?;
        let deadline = txn.view().find(key).and_then(Entry::deadline);
        txn.announced_as(event::NOTHING);
        txn.put(key, &bytes, deadline);
    }
    Ok(())
}

/// Elements that are counted. Redis takes ten times as many, but nobody else is served meanwhile.
const TRIED: u64 = 1_000_000;

fn pfselftest(view: &View<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut rng = fastrand::Rng::with_seed(view.seed);
    let failed = |what: String| Error::Other(format!("TESTFAILED {what}").into());
    let (mut bytes, mut registers) = (hll::empty(), Box::new([0u8; REGISTERS]));
    for _ in 0..REGISTERS {
        let (index, value) = (rng.usize(..REGISTERS), rng.u8(1..64));
        hll::raise(&mut bytes, index, value, HLL_SPARSE.size())?;
        registers[index] = registers[index].max(value);
    }
    let mut read = Box::new([0u8; REGISTERS]);
    hll::merge(&mut read, &bytes)?;
    if let Some(index) = (0..REGISTERS).find(|&i| read[i] != registers[i]) {
        let (read, written) = (read[index], registers[index]);
        return Err(failed(format!("Register {index} should be {written} but is {read}")));
    }
    let (mut sparse, mut dense, salt) = (hll::empty(), hll::empty(), rng.u64(..));
    hll::to_dense(&mut dense)?;
    let mut checkpoint = 1;
    for n in 1..=TRIED {
        let (index, value) = hll::place(&(n ^ salt).to_le_bytes());
        hll::raise(&mut dense, index, value, 0)?;
        hll::raise(&mut sparse, index, value, HLL_SPARSE.size())?;
        if n != checkpoint {
            continue;
        }
        let (estimate, other) = (hll::count(&dense)?, hll::count(&sparse)?);
        if estimate != other {
            return Err(failed(format!("dense/sparse disagree: {estimate} and {other} for {n}")));
        }
        // Six standard errors; of ten elements one may be missed.
        let error_max = match n {
            10 => 1,
            n => (1.04 / (REGISTERS as f64).sqrt() * 6.0 * n as f64).ceil() as u64,
        };
        if estimate.abs_diff(n) > error_max {
            return Err(failed(format!("Too big error. card:{n} abserr:{}", estimate.abs_diff(n))));
        }
        checkpoint *= 10;
    }
    reply.ok();
    Ok(())
}
