//! Doing something only if a string is what the client takes it for: locks and optimistic updates in one command.
//! (Valkey: DELIFEQ, SET IFEQ; Redis 8: DELEX, DIGEST, SET IFEQ|IFNE|IFDEQ|IFDNE)

use crate::command::{Group, Row, keys, read, write};
use crate::view::Text;
use crate::{Args, Error, Reply, Txn, View};
use twox_hash::XxHash3_64;

pub(in crate::commands) const ROWS: &[Row] = &[
    write("delifeq", 3, Group::String, delifeq)
        .fast()
        .keys(&[keys(&["RM", "DELETE"], 1, 0, 1)])
        .since("9.0.0")
        .says("Removes a key if its string value is equal to one."),
    write("delex", -2, Group::String, delex)
        .fast()
        .keys(&[keys(&["RM", "DELETE"], 1, 0, 1)])
        .since("8.4.0")
        .says("Removes a key, or only if its string value or the digest of it is, or is not, equal to one."),
    read("digest", 2, Group::String, digest)
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("8.4.0")
        .cost("O(N) where N is the length of the string.")
        .says("Returns the XXH3 digest of a string value, 16 hexadecimal characters."),
];

/// What a string must be.
#[derive(Clone, Copy)]
pub(super) enum Condition<'a> {
    Is(&'a [u8]),
    IsNot(&'a [u8]),
    HasDigest(u64),
    HasNotDigest(u64),
}

impl<'a> Condition<'a> {
    /// The option at `args[*i]`, if it is one; moves on to its last word.
    pub(super) fn parse(args: Args<'a>, i: &mut usize) -> Result<Option<Self>, Error> {
        let of = |at: usize| args.get(at).ok_or(Error::Syntax);
        let condition = match args[*i].to_ascii_uppercase().as_slice() {
            b"IFEQ" => Condition::Is(of(*i + 1)?),
            b"IFNE" => Condition::IsNot(of(*i + 1)?),
            b"IFDEQ" => Condition::HasDigest(parse_digest(of(*i + 1)?)?),
            b"IFDNE" => Condition::HasNotDigest(parse_digest(of(*i + 1)?)?),
            _ => return Ok(None),
        };
        *i += 1;
        Ok(Some(condition))
    }

    /// A missing key is not equal to anything.
    pub(super) fn holds(self, text: Option<Text<'_>>) -> bool {
        let value = text.map(Text::to_bytes);
        let is = |wanted: &[u8]| value.as_deref() == Some(wanted);
        let has = |digest| value.as_deref().map(XxHash3_64::oneshot) == Some(digest);
        match self {
            Condition::Is(wanted) => is(wanted),
            Condition::IsNot(wanted) => !is(wanted),
            Condition::HasDigest(digest) => has(digest),
            Condition::HasNotDigest(digest) => !has(digest),
        }
    }
}

fn parse_digest(text: &[u8]) -> Result<u64, Error> {
    let refused = Error::new("ERR digest must be exactly 16 hexadecimal characters");
    if text.len() != 16 || !text.iter().all(u8::is_ascii_hexdigit) {
        return Err(refused);
    }
    std::str::from_utf8(text).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(refused)
}

fn delete_if(
    txn: &mut Txn<'_>,
    key: &[u8],
    condition: Condition<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let text = txn.string(key)?;
    let holds = text.is_some() && condition.holds(text);
    if holds {
        txn.delete(key);
    }
    reply.integer(i64::from(holds));
    Ok(())
}

fn delifeq(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    delete_if(txn, &args[1], Condition::Is(&args[2]), reply)
}

fn delex(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() == 2 {
        let existed = txn.delete(&args[1]);
        reply.integer(i64::from(existed));
        return Ok(());
    }
    if args.len() != 4 {
        return Err(Error::WrongArity("delex".into()));
    }
    let condition = Condition::parse(args, &mut 2)?.ok_or(Error::Syntax)?;
    delete_if(txn, &args[1], condition, reply)
}

fn digest(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match view.string(&args[1])? {
        Some(text) => reply.bulk(format!("{:016x}", XxHash3_64::oneshot(&text.to_bytes())).as_bytes()),
        None => reply.null(),
    }
    Ok(())
}
