//! What a Redis client says next.

use super::{RespClient, SOURCE};
use crate::ledger::{Copy, Queue};
use crate::model::{self, Bytes, Op};
use crate::stage::Stage;

impl RespClient {
    pub(super) fn choose(&self, stage: &mut Stage<'_>, number: u64) -> Op {
        let count = if stage.rng.u8(..5) > 0 { 1 } else { stage.rng.usize(1..6) };
        let mut ops: Vec<Op> = (0..count).map(|i| self.choose_one(stage, number, i as u32)).collect();
        // A message or a job has keys beside it that say whether it was published.
        if let [op] = &ops[..]
            && !matches!(op, Op::Publish(..) | Op::Give(_))
        {
            return ops.remove(0);
        }
        // It is not answered before the end, and waits for nothing there.
        ops.retain(|op| !matches!(op, Op::Wait));
        // What stands for the whole: is it there, then everything is.
        ops.push(Op::Set(0, self.text(number, 0)));
        ops.push(Op::Set(1, self.text(number, 0)));
        if stage.runs_scripts && stage.rng.bool() {
            // An error would end it in the middle.
            ops.retain(|op| !matches!(op, Op::Rename(..) | Op::Take));
            return Op::Script(ops);
        }
        Op::Multi(ops)
    }

    /// A text that says whose it is, and of which command.
    fn text(&self, number: u64, padding: usize) -> Bytes {
        let mut text = format!("{}.{number}.", self.id).into_bytes();
        text.resize(text.len() + padding, b'-');
        text
    }

    fn choose_one(&self, stage: &mut Stage<'_>, number: u64, place: u32) -> Op {
        let rng = &mut *stage.rng;
        let [key, other] = [0; 2].map(|_| rng.u8(..2));
        let left = rng.bool();
        let padding = match rng.u8(..40) {
            0 => rng.usize(..40_000),
            1..=4 => rng.usize(..3000),
            _ => rng.usize(..60),
        };
        let value = self.text(number, padding);
        // So many that a checkpoint takes several slices for them.
        let many = if rng.u8(..60) == 0 { 700 } else { 0 };
        let element = self.text(number, padding.min(if many > 0 { 10 } else { 4000 }));
        let member = format!("m{}", rng.u8(..40)).into_bytes();
        match rng.u8(..33) {
            0..=2 => Op::Set(key, value),
            3 => Op::SetUntil(key, value, stage.now_ms + rng.u64(..3000)),
            4 => Op::Forget(key),
            5 => Op::Append(0, self.text(number, padding.min(500))),
            6..=8 => Op::Increment(key, rng.i64(-3..9)),
            9..=10 => {
                let values = (0..rng.usize(1..4) + many)
                    .map(|i| [&element[..], i.to_string().as_bytes()].concat())
                    .collect();
                Op::Push { key, left, values }
            }
            11 => Op::Pop { key, left },
            12 => Op::Move(key, other),
            13 => Op::Add(
                0,
                (0..rng.usize(1..30) + many).map(|i| format!("s{}", i * 7 % 1000).into_bytes()).collect(),
            ),
            14 => Op::Remove(0, format!("s{}", rng.u16(..1000) / 7 * 7).into_bytes()),
            15..=16 => Op::HashSet(0, member, element),
            17 => Op::HashDelete(0, member),
            18 => Op::Score(0, member, rng.i64(-5..20)),
            19 => {
                let (kind, count) = model::KEYS[rng.usize(2..model::KEYS.len())];
                Op::Delete(kind, rng.u8(..count))
            }
            20 => Op::Rename(if left { "number" } else { "list" }, key, other),
            21 => Op::Get(key),
            22 => Op::Look(rng.usize(..stage.clients_count), key),
            23 => Op::Count,
            24 => {
                let queue = [Queue::Classic, Queue::Quorum, Queue::Letters][rng.usize(..3)];
                if stage.ledger.len() > stage.messages_max {
                    return Op::Get(key);
                }
                let copy = Copy { queue, source: SOURCE + self.id as u32, number: self.published + place };
                Op::Publish(copy, copy.body(false, padding.min(2000)))
            }
            25..=26 => Op::Record(0, (number + 1, u64::from(place)), element),
            28 => Op::Give(stage.shared.jobs.next()),
            29..=31 => Op::Take,
            27 => Op::Trim(0, rng.usize(1..20)),
            _ => Op::Wait,
        }
    }
}
