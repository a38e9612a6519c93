//! Geo: places as members of sorted sets, whose scores are cells of `crate::geohash`. Searching is in `search.rs`.

mod search;
mod shape;

use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::{arguments, sorted_set};
use crate::geohash::Place;
use crate::number::parse_float;
use crate::values::SortedSet;
use crate::{Args, Error, Reply, Txn, View};

pub(super) use search::ROWS as SEARCH_ROWS;

const ACCESS: &[&str] = &["RO", "ACCESS"];

pub(super) const ROWS: &[Row] = &[
    write("geoadd", -5, Group::Geo, geoadd)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "UPDATE"], 1, 0, 1)])
        .since("3.2.0")
        .cost("O(log(N)) for each item added, where N is the number of elements in the sorted set.")
        .says("Adds members with their places to a sorted set, which is created if it is missing."),
    read("geodist", -4, Group::Geo, geodist)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("3.2.0")
        .says("Returns how far it is from one member to another."),
    read("geohash", -2, Group::Geo, geohash)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("3.2.0")
        .cost("O(1) for each member requested.")
        .says("Returns the places of members as geohash strings."),
    read("geopos", -2, Group::Geo, geopos)
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("3.2.0")
        .cost("O(1) for each member requested.")
        .says("Returns the longitudes and latitudes of members."),
];

/// A longitude and a latitude.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, Error> {
    let number = |text| parse_float(text).ok_or(Error::NotFloat);
    let (longitude, latitude) = (number(longitude)?, number(latitude)?);
    Place::new(longitude, latitude).ok_or_else(|| {
        Error::Other(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into())
    })
}

/// How many metres a unit has.
fn unit(name: &[u8]) -> Result<f64, Error> {
    match name.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(Error::new("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// The place of a member.
fn place_of(set: &SortedSet, member: &[u8]) -> Option<Place> {
    set.score(member).map(Place::of_score)
}

/// Four digits behind the point, rounded after scaling as Redis does, which is not always what printing would round to.
fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    const SCALE: i64 = 10_000;
    let scaled = (distance * SCALE as f64).round_ties_even() as i64;
    reply.bulk(format!("{}.{:04}", scaled / SCALE, scaled % SCALE).as_bytes());
}

/// With as many digits as 17 behind the point show. (Redis: `addReplyHumanLongDouble`)
fn reply_place(reply: &mut Reply<'_>, place: Place) {
    reply.array(2);
    for degrees in [place.longitude, place.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_text(if text == "-0" { "0" } else { text });
    }
}

fn geoadd(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (mut options, mut at) = (sorted_set::Options::default(), 2);
    while let Some(word) = args.get(at) {
        match word.to_ascii_uppercase().as_slice() {
            b"NX" => options.nx = true,
            b"XX" => options.xx = true,
            b"CH" => options.ch = true,
            _ => break,
        }
        at += 1;
    }
    if at >= args.len() || !(args.len() - at).is_multiple_of(3) || (options.nx && options.xx) {
        return Err(Error::Syntax);
    }
    let items = (at..args.len())
        .step_by(3)
        .map(|i| Ok((place(&args[i], &args[i + 1])?.score(), args.get(i + 2).unwrap_or_default())))
        .collect::<Result<Vec<_>, Error>>()?;
    sorted_set::add(txn, &args[1], &options, items, reply)
}

fn geodist(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let metres = match args.get(4) {
        None => 1.0,
        Some(name) if args.len() == 5 => unit(name)?,
        Some(_) => return Err(Error::Syntax),
    };
    let set = view.collection::<SortedSet>(&args[1])?;
    match set.and_then(|set| Some((place_of(set, &args[2])?, place_of(set, &args[3])?))) {
        Some((from, to)) => reply_distance(reply, from.distance(to) / metres),
        None => reply.null(),
    }
    Ok(())
}

fn geohash(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<SortedSet>(&args[1])?;
    reply.array(args.len() - 2);
    for member in arguments(args, 2) {
        match set.and_then(|set| place_of(set, member)) {
            Some(place) => reply.bulk(&place.text()),
            None => reply.null(),
        }
    }
    Ok(())
}

fn geopos(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<SortedSet>(&args[1])?;
    reply.array(args.len() - 2);
    for member in arguments(args, 2) {
        match set.and_then(|set| place_of(set, member)) {
            Some(place) => reply_place(reply, place),
            None => reply.null_array(),
        }
    }
    Ok(())
}
