//! How a command is declared: one row of facts, built by const functions, and one function. The row feeds dispatch,
//! `COMMAND`, ACL categories and key extraction. A READONLY row gets a [`View`], a WRITE row a [`Txn`]: the flag
//! cannot lie, but where Redis itself says that a reader may write ([`noting`]). Crates above declare rows of their own with another kind of function.

use crate::{Args, Block, Error, Reply, Txn, View};

/// A read command's function.
pub type Read = fn(&View<'_>, Args<'_>, &mut Reply<'_>) -> Result<(), Error>;
/// A write command's function.
pub type Write = fn(&mut Txn<'_>, Args<'_>, &mut Reply<'_>) -> Result<(), Error>;

/// A read command's function that may have to wait. (Redis: XREAD)
pub type Wait = fn(&View<'_>, Args<'_>, &mut Reply<'_>) -> Result<Option<Block>, Error>;

/// What runs a command of the keyspace.
#[derive(Clone, Copy)]
pub enum Run {
    /// Shared access.
    Read(Read),
    /// Shared access, and perhaps nothing there yet.
    Wait(Wait),
    /// A transaction.
    Write(Write),
}

/// One row of a command table. `R` is what runs it.
#[derive(Clone, Copy)]
pub struct Row<R = Run> {
    /// The facts.
    pub spec: Spec,
    /// The function.
    pub run: R,
}

/// The facts about a command, as `COMMAND INFO` and `COMMAND DOCS` tell them.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Lower case; a subcommand is `config|get`.
    pub name: &'static str,
    /// Arguments with the name; negative is a minimum.
    pub arity: i16,
    /// `flag::*`, or-ed.
    pub flags: u32,
    /// `category::*` beyond what flags and group imply, or-ed.
    pub also: u32,
    /// Its group implies no category: containers, which do nothing by themselves, and a few others.
    pub apart: bool,
    /// What the command belongs to.
    pub group: Group,
    /// The first Redis version that had it.
    pub since: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Where the keys stand.
    pub keys: &'static [KeySpec],
    /// Hints for clients and proxies.
    pub tips: &'static [&'static str],
}

/// A command group; it implies an ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Redis' group names")]
pub enum Group {
    String,
    Bitmap,
    HyperLogLog,
    List,
    Hash,
    Set,
    SortedSet,
    Stream,
    Geo,
    Generic,
    Connection,
    Server,
    Transactions,
    Pubsub,
    Scripting,
    Cluster,
    /// The bridge to AMQP.
    Amqp,
}

impl Group {
    /// As `COMMAND DOCS` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::Hash => "hash",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::Geo => "geo",
            Group::Generic => "generic",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
            Group::Pubsub => "pubsub",
            Group::Scripting => "scripting",
            Group::Cluster => "cluster",
            Group::Amqp => "amqp",
        }
    }

    fn category(self) -> u32 {
        match self {
            Group::String => category::STRING,
            Group::Bitmap => category::BITMAP,
            Group::HyperLogLog => category::HYPERLOGLOG,
            Group::List => category::LIST,
            Group::Hash => category::HASH,
            Group::Set => category::SET,
            Group::SortedSet => category::SORTEDSET,
            Group::Stream => category::STREAM,
            Group::Geo => category::GEO,
            Group::Generic => category::KEYSPACE,
            Group::Connection => category::CONNECTION,
            Group::Server | Group::Cluster => 0,
            Group::Transactions => category::TRANSACTION,
            Group::Pubsub => category::PUBSUB,
            Group::Scripting => category::SCRIPTING,
            Group::Amqp => category::AMQP,
        }
    }
}

macro_rules! bits {
    ($(#[$meta:meta])* $module:ident: $($name:ident = $text:literal),+ $(,)?) => {
        $(#[$meta])*
        pub mod $module {
            bits!(@ 0u32; $($name,)+);
            /// Every bit with its name as Redis prints it.
            pub const NAMES: &[(u32, &str)] = &[$(($name, $text)),+];
        }
    };
    (@ $shift:expr; $name:ident, $($rest:ident,)*) => {
        #[allow(missing_docs)]
        pub const $name: u32 = 1 << $shift;
        bits!(@ $shift + 1; $($rest,)*);
    };
    (@ $shift:expr;) => {};
}

bits! {
    /// Command flags. (Redis: COMMAND)
    flag: WRITE = "write", READONLY = "readonly", DENYOOM = "denyoom", ADMIN = "admin", PUBSUB = "pubsub",
    NOSCRIPT = "noscript", BLOCKING = "blocking", LOADING = "loading", STALE = "stale",
    SKIP_MONITOR = "skip_monitor", FAST = "fast", NO_AUTH = "no_auth", MAY_REPLICATE = "may_replicate",
    NO_MULTI = "no_multi", ALLOW_BUSY = "allow_busy", ALL_DBS = "all_dbs", SENTINEL = "sentinel",
    SKIP_COMMANDLOG = "skip_commandlog",
    TOUCHES_ARBITRARY_KEYS = "touches_arbitrary_keys", PROTECTED = "protected",
    NO_ASYNC_LOADING = "no_async_loading", NO_MANDATORY_KEYS = "no_mandatory_keys", ASKING = "asking",
}

bits! {
    /// ACL categories.
    category: KEYSPACE = "@keyspace", READ = "@read", WRITE = "@write", STRING = "@string", LIST = "@list",
    PUBSUB = "@pubsub", ADMIN = "@admin", FAST = "@fast", SLOW = "@slow", BLOCKING = "@blocking",
    DANGEROUS = "@dangerous", CONNECTION = "@connection", TRANSACTION = "@transaction", AMQP = "@amqp",
    SCRIPTING = "@scripting", BITMAP = "@bitmap", HASH = "@hash", SET = "@set", SORTEDSET = "@sortedset",
    HYPERLOGLOG = "@hyperloglog", GEO = "@geo", STREAM = "@stream",
}

/// One range of keys among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// How the keys are used: RO, RW, OW, RM and what is done to them, as `COMMAND INFO` prints it.
    pub flags: &'static [&'static str],
    /// Where they begin: the index of the first key or of the number of keys.
    pub first: usize,
    /// How many there are.
    pub find: FindKeys,
}

/// How the end of a range of keys is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// Up to an argument.
    Range {
        /// Last key relative to the first; negative counts from the end (-1 is the last argument).
        last: i32,
        /// Distance between two keys.
        step: usize,
    },
    /// The argument at `first` says how many keys follow it.
    Counted {
        /// Distance between two keys.
        step: usize,
    },
    /// Half of the arguments behind a word, which is looked for from `first` on. (Redis: XREAD's STREAMS)
    Halved {
        /// The word.
        keyword: &'static str,
    },
    /// The argument behind a word, which is looked for from `first` on. (Redis: GEORADIUS' STORE)
    Behind {
        /// The word.
        keyword: &'static str,
    },
    /// Everything behind a word, which is looked for from the end on. (Redis: MIGRATE's KEYS)
    Rest {
        /// The word.
        keyword: &'static str,
        /// Where the search begins, counted from the end.
        from_end: usize,
    },
    /// The arguments do not tell without being understood. (Redis: SORT's BY and GET)
    Unknown,
}

/// Keys from `first` to `last` (relative), every `step` arguments.
pub const fn keys(flags: &'static [&'static str], first: usize, last: i32, step: usize) -> KeySpec {
    KeySpec { flags, first, find: FindKeys::Range { last, step } }
}

/// A number of keys at `first`, then the keys.
pub const fn counted_keys(flags: &'static [&'static str], first: usize) -> KeySpec {
    KeySpec { flags, first, find: FindKeys::Counted { step: 1 } }
}

/// A number of keys at `first`, then each key with its value.
pub const fn counted_pairs(flags: &'static [&'static str], first: usize) -> KeySpec {
    KeySpec { flags, first, find: FindKeys::Counted { step: 2 } }
}

/// Half of the arguments behind a word, which is looked for from `first` on.
pub const fn halved_keys(flags: &'static [&'static str], keyword: &'static str, first: usize) -> KeySpec {
    KeySpec { flags, first, find: FindKeys::Halved { keyword } }
}

/// A key behind a word, which is looked for from `first` on.
pub const fn key_behind(flags: &'static [&'static str], keyword: &'static str, first: usize) -> KeySpec {
    KeySpec { flags, first, find: FindKeys::Behind { keyword } }
}

/// Everything behind a word, which is looked for from the end on.
pub const fn rest_keys(flags: &'static [&'static str], keyword: &'static str, from_end: usize) -> KeySpec {
    KeySpec { flags, first: 0, find: FindKeys::Rest { keyword, from_end } }
}

/// Keys that only the command itself finds.
pub const fn unknown_keys(flags: &'static [&'static str]) -> KeySpec {
    KeySpec { flags, first: 0, find: FindKeys::Unknown }
}

impl Spec {
    /// A row of facts; the rest is added by the builders below.
    pub const fn new(name: &'static str, arity: i16, group: Group, flags: u32) -> Self {
        Spec {
            name,
            arity,
            flags,
            also: 0,
            apart: false,
            group,
            since: "1.0.0",
            complexity: "O(1)",
            summary: "",
            keys: &[],
            tips: &[],
        }
    }

    /// All ACL categories.
    pub fn categories(&self) -> u32 {
        // Whatever a script reads it may answer with something else. (Redis: `setImplicitACLCategories`)
        let reads = if self.group == Group::Scripting { 0 } else { category::READ };
        let group = if self.apart { 0 } else { self.group.category() };
        let implied = [
            (flag::WRITE, category::WRITE),
            (flag::READONLY, reads),
            (flag::ADMIN, category::ADMIN | category::DANGEROUS),
            (flag::PUBSUB, category::PUBSUB),
            (flag::FAST, category::FAST),
            (flag::BLOCKING, category::BLOCKING),
        ];
        let slow = if self.flags & flag::FAST == 0 { category::SLOW } else { 0 };
        implied
            .iter()
            .filter(|(flag, _)| self.flags & flag != 0)
            .fold(group | self.also | slow, |all, (_, c)| all | c)
    }

    /// True when so many arguments, the name included, are allowed.
    #[inline]
    pub fn takes(&self, args: usize) -> bool {
        if self.arity >= 0 { args == self.arity as usize } else { args >= self.arity.unsigned_abs() as usize }
    }

    /// The indexes of all keys among the arguments.
    pub fn key_positions(&self, args: Args<'_>) -> Vec<usize> {
        self.keys.iter().flat_map(|keys| self.positions_of(keys, args)).collect()
    }

    /// The indexes of one range of keys among the arguments.
    pub fn positions_of(&self, keys: &KeySpec, args: Args<'_>) -> Vec<usize> {
        let len = args.len();
        match keys.find {
            FindKeys::Range { .. } if self.name == "migrate" && migrated_from(args).is_some() => Vec::new(),
            FindKeys::Range { last, step } => {
                let last = if last >= 0 {
                    keys.first + last as usize
                } else {
                    len.saturating_sub(last.unsigned_abs() as usize)
                };
                (keys.first..=last).step_by(step).filter(|&i| i < len).collect()
            }
            FindKeys::Counted { step } => {
                let count = args.get(keys.first).and_then(crate::parse_integer).unwrap_or(0);
                let count = usize::try_from(count).unwrap_or(0);
                (keys.first + 1..len).step_by(step).take(count).collect()
            }
            FindKeys::Halved { keyword } => {
                let is_keyword = |i: &usize| args[*i].eq_ignore_ascii_case(keyword.as_bytes());
                let behind = (keys.first..len).find(is_keyword).map_or(len, |i| i + 1);
                (behind..behind + (len - behind) / 2).collect()
            }
            FindKeys::Behind { keyword } => behind(args, keyword, keys.first),
            FindKeys::Rest { .. } => migrated_from(args).map_or_else(Vec::new, |from| (from..len).collect()),
            FindKeys::Unknown if self.name == "sort" && keys.flags.contains(&"OW") => {
                stored_at(args).into_iter().collect()
            }
            FindKeys::Unknown => Vec::new(),
        }
    }
}

/// The arguments behind every such word: a command takes the last one, and none may be overlooked.
fn behind(args: Args<'_>, keyword: &str, first: usize) -> Vec<usize> {
    let (mut found, mut i) = (Vec::new(), first);
    while i + 1 < args.len() {
        if args[i].eq_ignore_ascii_case(keyword.as_bytes()) {
            i += 1;
            found.push(i);
        }
        i += 1;
    }
    found
}

/// Where the keys of MIGRATE begin, if they stand behind KEYS. (Redis: `migrateGetKeys`)
pub fn migrated_from(args: Args<'_>) -> Option<usize> {
    let mut i = 6;
    while let Some(word) = args.get(i) {
        i += match word.to_ascii_lowercase().as_slice() {
            b"auth" => 2,
            b"auth2" => 3,
            b"keys" if args[3].is_empty() => return Some(i + 1),
            _ => 1,
        };
    }
    None
}

/// Where the last STORE of SORT names its key.
fn stored_at(args: Args<'_>) -> Option<usize> {
    let (mut found, mut i) = (None, 2);
    while let Some(word) = args.get(i) {
        i += match word.to_ascii_lowercase().as_slice() {
            b"limit" => 3,
            b"by" | b"get" => 2,
            b"store" => {
                found = Some(i + 1).filter(|at| *at < args.len());
                2
            }
            _ => 1,
        };
    }
    found
}

macro_rules! builders {
    ($($(#[$meta:meta])* $name:ident($field:ident: $type:ty)),+ $(,)?) => {
        impl<R: Copy> Row<R> {
            $($(#[$meta])* pub const fn $name(mut self, $field: $type) -> Self {
                self.spec.$field = $field;
                self
            })+
        }
    };
}

builders! {
    /// Where the keys stand.
    keys(keys: &'static [KeySpec]),
    /// The first Redis version that had it; 1.0.0 unless said.
    since(since: &'static str),
    /// Time complexity; O(1) unless said.
    cost(complexity: &'static str),
    /// One sentence.
    says(summary: &'static str),
    /// ACL categories beyond the implied ones.
    also(also: u32),
    /// Hints for clients and proxies.
    tips(tips: &'static [&'static str]),
}

impl<R: Copy> Row<R> {
    /// A row with all its flags.
    pub const fn new(name: &'static str, arity: i16, group: Group, flags: u32, run: R) -> Self {
        Row { spec: Spec::new(name, arity, group, flags), run }
    }

    /// Adds flags.
    pub const fn flags(mut self, flags: u32) -> Self {
        self.spec.flags |= flags;
        self
    }

    /// Its group implies no ACL category.
    pub const fn apart(mut self) -> Self {
        self.spec.apart = true;
        self
    }

    /// Adds the flag FAST.
    pub const fn fast(self) -> Self {
        self.flags(flag::FAST)
    }
}

/// A READONLY row.
pub const fn read(name: &'static str, arity: i16, group: Group, run: Read) -> Row {
    Row::new(name, arity, group, flag::READONLY, Run::Read(run))
}

/// A READONLY row that may block.
pub const fn wait(name: &'static str, arity: i16, group: Group, run: Wait) -> Row {
    Row::new(name, arity, group, flag::READONLY | flag::BLOCKING, Run::Wait(run))
}

/// A READONLY row that may keep what it has found in the value, which then has to be replicated. (Redis: PFCOUNT)
pub const fn noting(name: &'static str, arity: i16, group: Group, run: Write) -> Row {
    Row::new(name, arity, group, flag::READONLY | flag::MAY_REPLICATE, Run::Write(run))
}

/// A WRITE row.
pub const fn write(name: &'static str, arity: i16, group: Group, run: Write) -> Row {
    Row::new(name, arity, group, flag::WRITE, Run::Write(run))
}
