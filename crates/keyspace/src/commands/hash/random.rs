//! HRANDFIELD: fields at random, different ones or not.

use crate::command::{Group, Row, keys, read};
use crate::commands::{NO_COUNT, REPEATED_MAX, integer};
use crate::values::Hash;
use crate::{Args, Error, Reply, View};

pub(super) const ROW: Row = read("hrandfield", -2, Group::Hash, hrandfield)
    .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
    .since("6.2.0")
    .cost("O(N) where N is the number of fields returned")
    .tips(&["NONDETERMINISTIC_OUTPUT"])
    .says("Returns random fields of a hash.");

type Field = (Vec<u8>, Vec<u8>);

fn hrandfield(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut rng = fastrand::Rng::with_seed(view.seed);
    let with_values = match args.get(3) {
        None => false,
        Some(option) if args.len() == 4 && option.eq_ignore_ascii_case(b"withvalues") => true,
        Some(_) => return Err(Error::Syntax),
    };
    let count = args.get(2).map(integer).transpose()?;
    if count == Some(i64::MIN) {
        return Err(NO_COUNT);
    }
    if count.is_some_and(|count| with_values && count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(Error::new("ERR value is out of range"));
    }
    if count.is_some_and(|count| count < -REPEATED_MAX) {
        return Err(Error::new("ERR value is out of range"));
    }
    let hash = view.collection::<Hash>(&args[1])?;
    let Some(count) = count else {
        match hash.and_then(|hash| live(view, hash, &mut rng)) {
            Some((name, _)) => reply.bulk(&name),
            None => reply.null(),
        }
        return Ok(());
    };
    let picked = match hash {
        None => Vec::new(),
        Some(hash) if count < 0 => {
            let pick = |_| live(view, hash, &mut rng);
            (0..count.unsigned_abs()).map_while(pick).collect()
        }
        Some(hash) => different(view, hash, count as usize, &mut rng),
    };
    let nested = reply.version() == leveret_resp::Version::Resp3;
    reply.array(if with_values && !nested { picked.len() * 2 } else { picked.len() });
    for (name, value) in picked {
        if with_values && nested {
            reply.array(2);
        }
        reply.bulk(&name);
        if with_values {
            reply.bulk(&value);
        }
    }
    Ok(())
}

/// One field that is not overdue.
fn live(view: &View<'_>, hash: &Hash, rng: &mut fastrand::Rng) -> Option<Field> {
    if hash.live_count(view.now_ms) == 0 {
        return None;
    }
    loop {
        let field = hash.random(rng)?;
        if !field.is_overdue(view.now_ms) {
            return Some((field.name.to_vec(), field.value.to_vec()));
        }
    }
}

/// Up to `count` different fields: picked one by one while few are wanted, else all but some.
fn different(view: &View<'_>, hash: &Hash, count: usize, rng: &mut fastrand::Rng) -> Vec<Field> {
    let there = hash.live_count(view.now_ms);
    if count * 3 < there {
        let mut picked = std::collections::BTreeMap::new();
        while picked.len() < count
            && let Some((name, value)) = live(view, hash, rng)
        {
            picked.insert(name, value);
        }
        return picked.into_iter().collect();
    }
    let fields = hash.iter().filter(|field| !field.is_overdue(view.now_ms));
    let mut fields: Vec<Field> = fields.map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
    if count < fields.len() {
        rng.shuffle(&mut fields);
        fields.truncate(count);
    }
    fields
}
