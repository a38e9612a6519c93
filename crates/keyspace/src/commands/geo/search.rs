//! Searching for members near a place: GEOSEARCH, and GEORADIUS as it was before.

use super::shape::{Extent, Shape, middle};
use super::{ACCESS, place, place_of, reply_distance, reply_place, unit};
use crate::command::{Group, Row, flag, key_behind, keys, read, write};
use crate::commands::{integer, sorted_set};
use crate::event;
use crate::geohash::Place;
use crate::number::parse_float;
use crate::values::{Element, SortedSet};
use crate::{Args, Error, Reply, Txn, View, parse_integer};

const STORED: &[&str] = &["OW", "UPDATE", "VARIABLE_FLAGS"];
const RADIUS_COST: &str = "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.";
const SEARCH_COST: &str = "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape";

pub(in crate::commands) const ROWS: &[Row] = &[
    read("geosearch", -7, Group::Geo, |view, args, reply| answer(view, args, SEARCH, reply))
        .keys(&[keys(ACCESS, 1, 0, 1)])
        .since("6.2.0")
        .cost(SEARCH_COST)
        .says("Returns the members inside a circle, a box or a polygon."),
    write("geosearchstore", -8, Group::Geo, |txn, args, reply| store(txn, args, SEARCH_STORE, reply))
        .flags(flag::DENYOOM)
        .keys(&[keys(&["OW", "UPDATE"], 1, 0, 1), keys(ACCESS, 2, 0, 1)])
        .since("6.2.0")
        .cost(SEARCH_COST)
        .says("Stores the members inside a circle, a box or a polygon."),
    write("georadius", -6, Group::Geo, |txn, args, reply| store(txn, args, AROUND_PLACE, reply))
        .flags(flag::DENYOOM)
        .keys(&[keys(ACCESS, 1, 0, 1), key_behind(STORED, "STORE", 6), key_behind(STORED, "STOREDIST", 6)])
        .since("3.2.0")
        .cost(RADIUS_COST)
        .says("Returns the members inside a circle around a place, or stores them."),
    read("georadius_ro", -6, Group::Geo, |view, args, reply| {
        answer(view, args, Kind { may_store: false, ..AROUND_PLACE }, reply)
    })
    .keys(&[keys(ACCESS, 1, 0, 1)])
    .since("3.2.10")
    .cost(RADIUS_COST)
    .says("Returns the members inside a circle around a place."),
    write("georadiusbymember", -5, Group::Geo, |txn, args, reply| store(txn, args, AROUND_MEMBER, reply))
        .flags(flag::DENYOOM)
        .keys(&[keys(ACCESS, 1, 0, 1), key_behind(STORED, "STORE", 5), key_behind(STORED, "STOREDIST", 5)])
        .since("3.2.0")
        .cost(RADIUS_COST)
        .says("Returns the members inside a circle around a member, or stores them."),
    read("georadiusbymember_ro", -5, Group::Geo, |view, args, reply| {
        answer(view, args, Kind { may_store: false, ..AROUND_MEMBER }, reply)
    })
    .keys(&[keys(ACCESS, 1, 0, 1)])
    .since("3.2.10")
    .cost(RADIUS_COST)
    .says("Returns the members inside a circle around a member."),
];

/// How a command is spelt.
#[derive(Clone, Copy)]
struct Kind {
    /// Where the key stands that is searched.
    key_at: usize,
    centre: Centre,
    may_store: bool,
}

/// Where the centre is said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Centre {
    /// Behind the key, with the radius.
    Place,
    Member,
    /// Among the options.
    Options,
}

const AROUND_PLACE: Kind = Kind { key_at: 1, centre: Centre::Place, may_store: true };
const AROUND_MEMBER: Kind = Kind { key_at: 1, centre: Centre::Member, may_store: true };
const SEARCH: Kind = Kind { key_at: 1, centre: Centre::Options, may_store: false };
const SEARCH_STORE: Kind = Kind { key_at: 2, centre: Centre::Options, may_store: true };

/// What is asked for.
#[derive(Default)]
struct Wanted<'a> {
    /// A member of a key that is missing has no place.
    centre: Option<Option<Place>>,
    from_member: bool,
    extent: Option<Extent>,
    /// Metres of the unit in which distances are told.
    metres: f64,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    descending: Option<bool>,
    count: Option<usize>,
    any: bool,
    store: Option<&'a [u8]>,
    store_distance: bool,
}

/// The centre that a member is.
fn centre_of(set: Option<&SortedSet>, member: &[u8]) -> Result<Option<Place>, Error> {
    let missing = Error::new("ERR could not decode requested zset member");
    set.map(|set| place_of(set, member).ok_or(missing)).transpose()
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>, kind: Kind, set: Option<&SortedSet>) -> Result<Self, Error> {
        let mut wanted = Self::default();
        let options_at = match kind.centre {
            Centre::Place => {
                wanted.centre = Some(Some(place(&args[2], &args[3])?));
                wanted.circle(&args[4], &args[5])?;
                6
            }
            Centre::Member => {
                wanted.centre = Some(centre_of(set, &args[2])?);
                wanted.extent = Some(Extent::Circle { radius: 0.0 });
                // Like Redis it looks at the radius only if there is a key.
                if set.is_some() {
                    wanted.circle(&args[3], &args[4])?;
                }
                5
            }
            Centre::Options => kind.key_at + 1,
        };
        if kind.key_at == 2 {
            wanted.store = args.get(1);
        }
        let mut i = options_at;
        while i < args.len() {
            i += wanted.option(args.from(i), kind, set)?;
        }
        wanted.check(&args[0], kind)?;
        Ok(wanted)
    }

    /// Takes one option; gives how many arguments it has.
    fn option(&mut self, args: Args<'a>, kind: Kind, set: Option<&SortedSet>) -> Result<usize, Error> {
        let is_search = kind.centre == Centre::Options;
        let stores_behind = kind.may_store && !is_search;
        let word = args.get(0).unwrap_or_default().to_ascii_uppercase();
        Ok(match (word.as_slice(), args.get(1), args.get(2), args.get(3)) {
            (b"WITHDIST", ..) => flagged(&mut self.with_distance),
            (b"WITHHASH", ..) => flagged(&mut self.with_hash),
            (b"WITHCOORD", ..) => flagged(&mut self.with_place),
            (b"ANY", ..) => flagged(&mut self.any),
            (b"ASC" | b"DESC", ..) => {
                self.descending = Some(word == b"DESC");
                1
            }
            (b"COUNT", Some(count), ..) => {
                let count = usize::try_from(integer(count)?).ok().filter(|count| *count > 0);
                self.count = Some(count.ok_or(Error::new("ERR COUNT must be > 0"))?);
                2
            }
            (b"STORE" | b"STOREDIST", Some(key), ..) if stores_behind => {
                self.store = Some(key);
                self.store_distance = word == b"STOREDIST";
                2
            }
            (b"STOREDIST", ..) if is_search && kind.may_store => flagged(&mut self.store_distance),
            // The same may be said again, but not in the other way.
            (b"FROMMEMBER", Some(member), ..)
                if is_search && !self.is_polygon() && (self.centre.is_none() || self.from_member) =>
            {
                self.from_member = true;
                self.centre = Some(centre_of(set, member)?);
                2
            }
            (b"FROMLONLAT", Some(longitude), Some(latitude), _)
                if is_search && !self.is_polygon() && !self.from_member =>
            {
                self.centre = Some(Some(place(longitude, latitude)?));
                3
            }
            (b"BYRADIUS", Some(radius), Some(unit), _)
                if is_search && matches!(self.extent, None | Some(Extent::Circle { .. })) =>
            {
                self.circle(radius, unit)?;
                3
            }
            (b"BYBOX", Some(width), Some(height), Some(name))
                if is_search && matches!(self.extent, None | Some(Extent::Box { .. })) =>
            {
                let number = |text, what| parse_float(text).ok_or(Error::new(what));
                let width = number(width, "ERR need numeric width")?;
                let height = number(height, "ERR need numeric height")?;
                if width < 0.0 || height < 0.0 {
                    return Err(Error::new("ERR height or width cannot be negative"));
                }
                self.metres = unit(name)?;
                self.extent = Some(Extent::Box { width: width * self.metres, height: height * self.metres });
                4
            }
            // It has a middle of its own.
            (b"BYPOLYGON", Some(count), Some(_), _)
                if is_search && self.extent.is_none() && self.centre.is_none() || self.is_polygon() =>
            {
                self.polygon(count, args.from(2))?
            }
            _ => return Err(Error::Syntax),
        })
    }

    fn is_polygon(&self) -> bool {
        matches!(self.extent, Some(Extent::Polygon(_)))
    }

    /// Takes so many corners; gives how many arguments the option has.
    fn polygon(&mut self, count: &[u8], corners: Args<'a>) -> Result<usize, Error> {
        let count = parse_integer(count).and_then(|count| i32::try_from(count).ok());
        let count = count.ok_or(Error::new("ERR invalid number of vertices"))?;
        let count = usize::try_from(count).ok().filter(|count| (3..=corners.len() / 2).contains(count));
        let count = count.ok_or(Error::new("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"))?;
        let corner = |i: usize| place(&corners[2 * i], &corners[2 * i + 1]);
        let corners: Vec<Place> = (0..count).map(corner).collect::<Result<_, _>>()?;
        self.metres = 1.0;
        self.centre = Some(Some(middle(&corners)));
        self.extent = Some(Extent::Polygon(corners));
        Ok(2 + 2 * count)
    }

    fn circle(&mut self, radius: &[u8], name: &[u8]) -> Result<(), Error> {
        let radius = parse_float(radius).ok_or(Error::new("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(Error::new("ERR radius cannot be negative"));
        }
        self.metres = unit(name)?;
        self.extent = Some(Extent::Circle { radius: radius * self.metres });
        Ok(())
    }

    /// Refuses what does not go together or is missing.
    fn check(&self, name: &[u8], kind: Kind) -> Result<(), Error> {
        let one_of = |what: &str| {
            let name = String::from_utf8_lossy(name);
            Err(Error::Other(format!("ERR exactly one of {what} can be specified for {name}").into()))
        };
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            return Err(Error::new(match kind.centre {
                Centre::Options => {
                    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
                Centre::Place | Centre::Member => {
                    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
            }));
        }
        if self.centre.is_none() {
            return one_of("FROMMEMBER or FROMLONLAT");
        }
        if self.extent.is_none() {
            return one_of("BYRADIUS and BYBOX");
        }
        if self.any && self.count.is_none() {
            return Err(Error::new("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The members inside, in the order that is wanted and as many.
    fn found<'s>(&self, set: Option<&'s SortedSet>) -> Vec<Found<'s>> {
        let (Some(set), Some(Some(centre)), Some(extent)) = (set, self.centre, &self.extent) else {
            return Vec::new();
        };
        let limit = self.count.unwrap_or(usize::MAX);
        let mut found = inside(set, &Shape { centre, extent }, if self.any { limit } else { usize::MAX });
        // The nearest so many have to be known as such.
        let forced = (self.count.is_some() && !self.any).then_some(false);
        if let Some(descending) = self.descending.or(forced) {
            found.sort_by(|a, b| {
                let order = a.distance.total_cmp(&b.distance);
                if descending { order.reverse() } else { order }
            });
        }
        found.truncate(limit);
        found
    }
}

fn flagged(option: &mut bool) -> usize {
    *option = true;
    1
}

/// A member inside the shape.
struct Found<'s> {
    member: Element<'s>,
    score: f64,
    place: Place,
    /// In metres.
    distance: f64,
}

/// The members inside a shape, cell by cell, at most so many.
fn inside<'s>(set: &'s SortedSet, shape: &Shape<'_>, count_max: usize) -> Vec<Found<'s>> {
    let mut found = Vec::new();
    for cell in shape.cells() {
        let (least, end) = cell.scores();
        let start = set.count_scores(|score| score < least);
        for (score, member) in set.range(start, set.len(), false).take_while(|(score, _)| *score < end) {
            if found.len() >= count_max {
                return found;
            }
            let place = Place::of_score(score);
            if let Some(distance) = shape.distance(place) {
                found.push(Found { member, score, place, distance });
            }
        }
    }
    found
}

fn answer(view: &View<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> Result<(), Error> {
    let set = view.collection::<SortedSet>(args.get(kind.key_at).unwrap_or_default())?;
    let wanted = Wanted::parse(args, kind, set)?;
    reply_found(&wanted, &wanted.found(set), reply);
    Ok(())
}

fn reply_found(wanted: &Wanted<'_>, found: &[Found<'_>], reply: &mut Reply<'_>) {
    let options = [wanted.with_distance, wanted.with_hash, wanted.with_place];
    let beside = options.into_iter().filter(|option| *option).count();
    reply.array(found.len());
    for item in found {
        if beside > 0 {
            reply.array(1 + beside);
        }
        reply.bulk(&item.member);
        if wanted.with_distance {
            reply_distance(reply, item.distance / wanted.metres);
        }
        if wanted.with_hash {
            reply.integer(item.score as i64);
        }
        if wanted.with_place {
            reply_place(reply, item.place);
        }
    }
}

/// Answers or stores, as it is said.
fn store(txn: &mut Txn<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> Result<(), Error> {
    let view = txn.view();
    let set = view.collection::<SortedSet>(args.get(kind.key_at).unwrap_or_default())?;
    let wanted = Wanted::parse(args, kind, set)?;
    let found = wanted.found(set);
    let Some(key) = wanted.store else {
        reply_found(&wanted, &found, reply);
        return Ok(());
    };
    let items: Vec<(f64, Vec<u8>)> = found
        .into_iter()
        .map(|item| {
            let score = if wanted.store_distance { item.distance / wanted.metres } else { item.score };
            (score, item.member.to_vec())
        })
        .collect();
    let event = match kind.centre {
        Centre::Options => event::GEO_SEARCH_STORE,
        Centre::Place | Centre::Member => event::GEO_RADIUS_STORE,
    };
    sorted_set::replace(txn, key, &items, event)?;
    reply.integer(items.len() as i64);
    Ok(())
}
