//! One client of a keyspace of its own, with time and randomness that follow from the script alone. After every commit
//! the recorded changes are applied to a second keyspace, which must have the same contents then.

use leveret_base::codec::{Changes, Reader};
use leveret_keyspace::{
    Args, ArgsBuf, DbIndex, Error, Keyspace, Policy, Reply, Row, Run, Txn, UnixMillis, View, commands,
};
use leveret_resp::{Batch, Decoder, Version};

/// When every script begins: in the year 2033.
pub(crate) const START_MS: UnixMillis = 2_000_000_000_000;

/// A blocking command's wish: which keys, and for how many milliseconds.
pub(crate) type Waits = (Vec<Box<[u8]>>, Option<u64>);

/// What a request led to.
pub(crate) struct Answered {
    /// The command, as its row names it.
    pub(crate) name: String,
    /// RESP2.
    pub(crate) reply: Vec<u8>,
    /// What was recorded.
    pub(crate) changes: Vec<u8>,
    /// What the command wants to wait for.
    pub(crate) waits: Option<Waits>,
}

/// The client, its keyspace and the copy.
pub(crate) struct Session {
    pub(crate) keyspace: Keyspace,
    copy: Keyspace,
    db: DbIndex,
    pub(crate) now_ms: UnixMillis,
    requests: u64,
}

impl Session {
    pub(crate) fn new() -> Self {
        // The seeds differ: contents must not depend on the order in the tables.
        Self { keyspace: Keyspace::new(1), copy: Keyspace::new(2), db: 0, now_ms: START_MS, requests: 0 }
    }

    /// `+5s`, `+10ms`, `db 1` or `policy allkeys-lfu`.
    pub(crate) fn turn(&mut self, what: &str) -> Option<()> {
        if let Some(db) = what.strip_prefix("db ") {
            self.db = db.parse().ok()?;
            return Some(());
        }
        if let Some(name) = what.strip_prefix("policy ") {
            self.keyspace.set_policy(Policy::parse(name)?);
            return Some(());
        }
        let amount = what.strip_prefix('+')?;
        let (digits, unit_ms) = match amount.strip_suffix("ms") {
            Some(digits) => (digits, 1),
            None => (amount.strip_suffix('s')?, 1_000),
        };
        self.now_ms += digits.parse::<u64>().ok()? * unit_ms;
        Some(())
    }

    /// A request as an inline command.
    pub(crate) fn request(&mut self, line: &str) -> Answered {
        let (mut bytes, mut batch) = (format!("{line}\r\n").into_bytes(), Batch::default());
        Decoder::default().decode(&mut bytes, &mut batch).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(batch.len(), 1, "{line:?} is not one request");
        self.run(batch.args(0, &bytes))
    }

    /// A request made of its arguments.
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> Answered {
        let args: ArgsBuf = args.iter().copied().collect();
        self.run(args.as_args())
    }

    pub(crate) fn run(&mut self, args: Args<'_>) -> Answered {
        self.requests += 1;
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        let row = row(&name).unwrap_or_else(|| panic!("there is no row for {name}"));
        let (mut out, mut changes, mut waits) = (Vec::new(), Vec::new(), None);
        let mut reply = Reply::new(&mut out, Version::Resp2);
        let result = if !row.spec.takes(args.len()) {
            Err(Error::WrongArity(row.spec.name.into()))
        } else {
            match row.run {
                Run::Read(read) => {
                    read(&View::new(&self.keyspace, self.db, self.now_ms, self.requests), args, &mut reply)
                }
                Run::Wait(wait) => {
                    let view = View::new(&self.keyspace, self.db, self.now_ms, self.requests);
                    wait(&view, args, &mut reply).map(|block| waits = block)
                }
                Run::Write(write) => {
                    let changes = Changes::on(&mut changes);
                    let mut txn = Txn::new(&mut self.keyspace, self.db, self.now_ms, changes);
                    let result = write(&mut txn, args, &mut reply);
                    waits = txn.take_block();
                    result
                }
            }
        };
        if let Err(error) = result {
            reply.truncate(0);
            reply.error(&error.to_string());
            assert!(changes.is_empty(), "{name} was refused and has changed something");
        }
        self.replay(&name, &changes);
        let now_ms = self.now_ms;
        let waits = waits.map(|block| (block.keys, block.deadline.map(|at| at - now_ms)));
        Answered { name, reply: out, changes, waits }
    }

    /// A slice of the active expiry.
    pub(crate) fn expire(&mut self, visits: usize) {
        let mut changes = Vec::new();
        Txn::new(&mut self.keyspace, self.db, self.now_ms, Changes::on(&mut changes)).expire_slice(visits);
        self.replay("the active expiry", &changes);
    }

    fn replay(&mut self, what: &str, changes: &[u8]) {
        let mut fields = Reader::new(changes);
        while !fields.is_empty() {
            let tag = fields.byte().unwrap();
            self.copy.apply(tag, &mut fields).unwrap_or_else(|error| panic!("{what}: {error}: {changes:?}"));
        }
        assert_eq!(self.copy.digest(), self.keyspace.digest(), "replay of {what} gives other contents");
    }
}

fn row(name: &str) -> Option<&'static Row> {
    commands::TABLES.iter().flat_map(|table| table.iter()).find(|row| row.spec.name == name)
}
