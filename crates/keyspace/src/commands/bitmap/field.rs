//! BITFIELD: integers of any width up to 64 bits inside a string, read, set and added to, with a choice of what happens
//! when one overflows.

use super::bit_offset;
use crate::command::{Group, Row, flag, keys, read, write};
use crate::commands::integer;
use crate::event;
use crate::view::Text;
use crate::{Args, Error, Reply, STRING_MAX, Txn, View};

pub(in crate::commands) const ROWS: &[Row] = &[
    write("bitfield", -2, Group::Bitmap, bitfield)
        .flags(flag::DENYOOM)
        .keys(&[keys(&["RW", "UPDATE", "ACCESS", "VARIABLE_FLAGS"], 1, 0, 1)])
        .since("3.2.0")
        .cost("O(1) for each subcommand specified")
        .says("Reads and changes integers of any width inside a string value."),
    read("bitfield_ro", -2, Group::Bitmap, bitfield_ro)
        .fast()
        .keys(&[keys(&["RO", "ACCESS"], 1, 0, 1)])
        .since("6.0.0")
        .cost("O(1) for each subcommand specified")
        .says("Reads integers of any width inside a string value."),
];

/// An integer's kind, as `i16` or `u5`.
#[derive(Clone, Copy)]
struct Kind {
    signed: bool,
    bits: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Option<Self> {
        let (sign, width) = text.split_first()?;
        let signed = match sign {
            b'i' => true,
            b'u' => false,
            _ => return None,
        };
        let bits = crate::parse_integer(width).and_then(|bits| u32::try_from(bits).ok())?;
        (bits >= 1 && bits <= if signed { 64 } else { 63 }).then_some(Self { signed, bits })
    }

    fn limits(self) -> (i128, i128) {
        if self.signed {
            (-(1i128 << (self.bits - 1)), (1i128 << (self.bits - 1)) - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        }
    }

    /// The lowest bits as an integer of this kind.
    fn wrap(self, value: i128) -> i128 {
        let low = value & ((1i128 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) & 1 == 1 { low - (1i128 << self.bits) } else { low }
    }
}

/// What happens to a result that does not fit.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn fit(self, kind: Kind, value: i128) -> Option<i128> {
        let (least, most) = kind.limits();
        if (least..=most).contains(&value) {
            return Some(value);
        }
        match self {
            Overflow::Wrap => Some(kind.wrap(value)),
            Overflow::Saturate => Some(value.clamp(least, most)),
            Overflow::Fail => None,
        }
    }
}

enum What {
    Get,
    Set(i64),
    Add(i64),
}

struct Operation {
    kind: Kind,
    offset: usize,
    what: What,
    overflow: Overflow,
}

fn operations(args: Args<'_>) -> Result<Vec<Operation>, Error> {
    let (mut operations, mut overflow, mut i) = (Vec::new(), Overflow::Wrap, 2);
    while let Some(word) = args.get(i) {
        let word = word.to_ascii_uppercase();
        if word == b"OVERFLOW" {
            overflow = match args.get(i + 1).ok_or(Error::Syntax)?.to_ascii_uppercase().as_slice() {
                b"WRAP" => Overflow::Wrap,
                b"SAT" => Overflow::Saturate,
                b"FAIL" => Overflow::Fail,
                _ => return Err(Error::new("ERR Invalid OVERFLOW type specified")),
            };
            i += 2;
            continue;
        }
        let width = match word.as_slice() {
            b"GET" => 3,
            b"SET" | b"INCRBY" => 4,
            _ => return Err(Error::Syntax),
        };
        if i + width > args.len() {
            return Err(Error::Syntax);
        }
        let kind = Kind::parse(&args[i + 1]).ok_or(Error::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        // `#3` counts in integers of this kind.
        let offset = match args[i + 2].strip_prefix(b"#") {
            None => bit_offset(&args[i + 2])?,
            Some(count) => bit_offset(count)?
                .checked_mul(kind.bits as usize)
                .filter(|offset| offset >> 3 < STRING_MAX)
                .ok_or(Error::new("ERR bit offset is not an integer or out of range"))?,
        };
        let what = match word.as_slice() {
            b"GET" => What::Get,
            b"SET" => What::Set(integer(&args[i + 3])?),
            _ => What::Add(integer(&args[i + 3])?),
        };
        operations.push(Operation { kind, offset, what, overflow });
        i += width;
    }
    Ok(operations)
}

/// The bytes that hold so many bits from an offset on; what lies behind the end is zero.
fn window(text: Option<Text<'_>>, offset: usize, bits: u32) -> Vec<u8> {
    let (first, last) = (offset >> 3, (offset + bits as usize - 1) >> 3);
    let len = text.map_or(0, Text::len);
    let mut bytes =
        text.map_or(Vec::new(), |text| text.range(first.min(len), (last + 1).min(len)).into_owned());
    bytes.resize(last - first + 1, 0);
    bytes
}

fn load(bytes: &[u8], offset: usize, kind: Kind) -> i128 {
    let whole = bytes.iter().fold(0u128, |whole, byte| whole << 8 | u128::from(*byte));
    let behind = bytes.len() * 8 - (offset & 7) - kind.bits as usize;
    kind.wrap((whole >> behind) as i128)
}

fn store(bytes: &mut [u8], offset: usize, kind: Kind, value: i128) {
    let behind = bytes.len() * 8 - (offset & 7) - kind.bits as usize;
    let mask = ((1u128 << kind.bits) - 1) << behind;
    let whole = bytes.iter().fold(0u128, |whole, byte| whole << 8 | u128::from(*byte));
    let mut whole = whole & !mask | (value as u128) << behind & mask;
    for byte in bytes.iter_mut().rev() {
        *byte = whole as u8;
        whole >>= 8;
    }
}

fn bitfield(txn: &mut Txn<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operations = operations(args)?;
    let before = txn.string(&args[1])?.map_or(0, Text::len);
    // The string is made as long as any write needs before the first of them, as Redis does it.
    let writes = operations.iter().filter(|operation| !matches!(operation.what, What::Get));
    let needed =
        writes.map(|operation| ((operation.offset + operation.kind.bits as usize - 1) >> 3) + 1).max();
    if let Some(needed) = needed.filter(|needed| *needed > before) {
        if needed > STRING_MAX {
            return Err(Error::StringTooLong);
        }
        txn.announced_as(event::SET_BIT);
        txn.set_range(&args[1], needed - 1, &[0]);
    }
    reply.array(operations.len());
    for Operation { kind, offset, what, overflow } in operations {
        let mut bytes = window(txn.string(&args[1])?, offset, kind.bits);
        let old = load(&bytes, offset, kind);
        let (answer, new) = match what {
            What::Get => (Some(old), None),
            What::Set(value) => {
                let fitting = overflow.fit(kind, i128::from(value));
                (fitting.map(|_| old), fitting)
            }
            What::Add(by) => {
                let fitting = overflow.fit(kind, old + i128::from(by));
                (fitting, fitting)
            }
        };
        match answer {
            Some(answer) => reply.integer(answer as i64),
            None => reply.null(),
        }
        if let Some(new) = new.filter(|new| *new != old) {
            store(&mut bytes, offset, kind, new);
            txn.announced_as(event::SET_BIT);
            txn.set_range(&args[1], offset >> 3, &bytes);
        }
    }
    Ok(())
}

fn bitfield_ro(view: &View<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operations = operations(args)?;
    if operations.iter().any(|operation| !matches!(operation.what, What::Get)) {
        return Err(Error::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let text = view.string(&args[1])?;
    reply.array(operations.len());
    for Operation { kind, offset, .. } in operations {
        reply.integer(load(&window(text, offset, kind.bits), offset, kind) as i64);
    }
    Ok(())
}
