//! DUMP and RESTORE: values as payloads that Redis understands, and its payloads as values.

use crate::command::{Group, Row, category, flag, keys, read, write};
use crate::commands::integer;
use crate::event;
use crate::rdb::{self, Loaded, LoadedEntry, LoadedStream, Piece};
use crate::txn::Delivery;
use crate::values::{End, EntryId};
use crate::{Args, By, Error, Reply, Txn, UnixMillis, View};
use std::collections::BTreeMap;

pub(super) const ROWS: &[Row] = &[
    read("dump", 2, Group::Generic, dump)
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("2.6.0")
        .cost("O(1) to access the key and additional O(N*M) to serialize it, where N is the number of objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).")
        .tips(&["NONDETERMINISTIC_OUTPUT"])
        .says("Returns the value under a key in the format of a snapshot."),
    write("restore", -4, Group::Generic, restore)
        .flags(flag::DENYOOM)
        .also(category::DANGEROUS)
        .keys(&[keys(&["OW", "UPDATE"], 1, 0, 1)])
        .since("2.6.0")
        .cost(RESTORE_COST)
        .says("Makes a key from what DUMP has returned."),
    write("restore-asking", -4, Group::Server, restore)
        .flags(flag::DENYOOM | flag::ASKING)
        .also(category::DANGEROUS | category::KEYSPACE)
        .keys(&[keys(&["OW", "UPDATE"], 1, 0, 1)])
        .since("3.0.0")
        .cost(RESTORE_COST)
        .says("Likewise, between the nodes of a cluster."),
];

const RESTORE_COST: &str = "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).";

fn dump(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match view.look_up(&args[1]) {
        Some(entry) => reply.bulk(&rdb::dump(entry, view.now_ms)),
        None => reply.null(),
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    replace: bool,
    /// The time to live is a Unix time.
    absolute: bool,
    /// How the key was used, as the other server has told.
    used: Option<Used>,
}

enum Used {
    IdleSeconds(u64),
    Counter(u32),
}

fn options(args: Args<'_>) -> Result<Options, Error> {
    let (mut options, mut i) = (Options::default(), 4);
    while let Some(word) = args.get(i) {
        match (word.to_ascii_uppercase().as_slice(), args.get(i + 1)) {
            (b"REPLACE", _) => options.replace = true,
            (b"ABSTTL", _) => options.absolute = true,
            (b"IDLETIME", Some(seconds)) if !matches!(options.used, Some(Used::Counter(_))) => {
                let seconds = u64::try_from(integer(seconds)?)
                    .map_err(|_| Error::new("ERR Invalid IDLETIME value, must be >= 0"))?;
                options.used = Some(Used::IdleSeconds(seconds));
                i += 1;
            }
            (b"FREQ", Some(number)) if !matches!(options.used, Some(Used::IdleSeconds(_))) => {
                let counter = u8::try_from(integer(number)?)
                    .map_err(|_| Error::new("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
                options.used = Some(Used::Counter(counter.into()));
                i += 1;
            }
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    Ok(options)
}

fn restore(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = options(args)?;
    let key = &args[1];
    if !options.replace && txn.view().find(key).is_some() {
        return Err(Error::new("BUSYKEY Target key name already exists."));
    }
    let ttl = integer(&args[2])?;
    let ttl = u64::try_from(ttl).map_err(|_| Error::new("ERR Invalid TTL value, must be >= 0"))?;
    let (family, body) =
        rdb::verified(&args[3]).ok_or(Error::new("ERR DUMP payload version or checksum are wrong"))?;
    let loaded = rdb::load(family, body).map_err(|_| Error::new("ERR Bad data format"))?;
    let at = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        ttl => Some(txn.now_ms.checked_add(ttl).ok_or(Error::InvalidExpire("restore"))?),
    };
    if at.is_some_and(|at| at <= txn.now_ms) {
        txn.delete(key);
    } else {
        txn.clear(key);
        txn.announced_as(event::NOTHING);
        build(txn, key, &loaded);
        if at.is_some() {
            txn.set_deadline(key, at);
        }
        let now_ms = txn.now_ms;
        txn.set_clock(key, |eviction| match (&options.used, eviction.policy.by) {
            (Some(Used::Counter(counter)), By::Lfu) => Some(eviction.used_often(now_ms, *counter)),
            (Some(Used::IdleSeconds(seconds)), By::Lru | By::Random | By::Ttl) => {
                Some(eviction.idle(*seconds, now_ms))
            }
            (Some(_), _) | (None, _) => None,
        });
        txn.announce(event::RESTORE, key);
    }
    reply.ok();
    Ok(())
}

/// Replaces a value by what its payload says.
pub(crate) fn rebuild(txn: &mut Txn<'_>, key: &[u8], deadline: Option<UnixMillis>, payload: &[u8]) {
    let loaded = rdb::verified(payload).and_then(|(family, body)| rdb::load(family, body).ok());
    if let Some(loaded) = loaded {
        txn.clear(key);
        build(txn, key, &loaded);
        if deadline.is_some() {
            txn.set_deadline(key, deadline);
        }
    }
}

/// For an import, which makes a key of one piece after the other.
impl Txn<'_> {
    /// Adds a part to the value under the key. The caller has removed what stood there before the first.
    pub fn build(&mut self, key: &[u8], piece: &Piece) {
        build(self, key, &piece.0);
    }

    /// Gives the key that has been built its deadline.
    pub fn build_deadline(&mut self, key: &[u8], deadline: UnixMillis) {
        self.set_deadline(key, Some(deadline));
    }

    /// Removes whatever stands under the key, overdue or not; true if something did.
    pub fn make_room(&mut self, key: &[u8]) -> bool {
        self.delete(key)
    }

    /// Removes all keys of the database.
    pub fn make_empty(&mut self) {
        self.flush();
    }
}

fn build(txn: &mut Txn<'_>, key: &[u8], loaded: &Loaded) {
    match loaded {
        Loaded::String(bytes) => txn.put(key, bytes, None),
        Loaded::List(elements) => txn.list_push(End::Right, key, elements.iter().map(Vec::as_slice)),
        Loaded::Set(members) => {
            txn.set_add(key, members.iter().map(Vec::as_slice));
        }
        Loaded::SortedSet(items) => {
            let items: Vec<(f64, &[u8])> = items.iter().map(|(score, member)| (*score, &**member)).collect();
            txn.sorted_set_put(key, &items);
        }
        Loaded::Entries(entries) => add_entries(txn, key, entries),
        Loaded::Stream(stream) => build_stream(txn, key, stream),
        Loaded::Hash(fields) => {
            let parts: Vec<&[u8]> = fields.iter().flat_map(|(name, value, _)| [&**name, &**value]).collect();
            txn.hash_set(key, false, parts.iter().copied());
            let mut by_deadline: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
            for (name, _, deadline) in fields.iter().filter(|(.., deadline)| *deadline > 0) {
                by_deadline.entry(*deadline).or_default().push(name);
            }
            for (deadline, names) in by_deadline {
                txn.hash_deadline(key, deadline, names.iter().copied());
            }
        }
    }
}

fn add_entries(txn: &mut Txn<'_>, key: &[u8], entries: &[LoadedEntry]) {
    for (id, fields) in entries {
        txn.stream_add(key, *id, fields.iter().map(|field| field.as_slice()));
    }
}

fn build_stream(txn: &mut Txn<'_>, key: &[u8], stream: &LoadedStream) {
    add_entries(txn, key, &stream.entries);
    txn.stream_set_ids(key, stream.last, stream.added_count, stream.deleted_max);
    for group in &stream.groups {
        txn.stream_group(key, &group.name, group.last, group.read_count);
        for consumer in &group.consumers {
            let delivery = |id: &EntryId| {
                let (at_ms, count) = group.pending.get(id).copied().unwrap_or_default();
                Delivery { id: *id, at_ms, count }
            };
            let (names, seen_ms) = ((&*group.name, &*consumer.name), consumer.seen_ms);
            let pending: Vec<Delivery> = consumer.pending.iter().map(delivery).collect();
            if let Some(active_ms) = consumer.active_ms {
                txn.stream_deliver(key, names, active_ms, true, &[]);
            }
            txn.stream_deliver(key, names, seen_ms, false, &pending);
        }
    }
}
