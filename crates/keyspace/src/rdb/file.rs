//! A whole snapshot, read from front to end: who wrote it, libraries of functions, keys with their values in pieces. What is no
//! data of a key is told or skipped; what this server cannot keep is refused by name. A newer version of the format is read
//! as long as nothing unknown stands in it: numbers are never given twice, and the checksum at the end covers all.

use super::input::Input;
use super::read::{Family, Value};
use super::source::{End, Source};
use super::{BadFormat, Loaded, MODULE, MODULE_EARLY, VERSION_VALKEY};
use crate::{DATABASES, DbIndex, UnixMillis};
use std::fmt;
use std::io::Read;

const SLOT_IMPORT_OR_KEY_META: u8 = 243;
const SLOT_INFO: u8 = 244;
pub(super) const LIBRARY: u8 = 245;
const LIBRARY_EARLY: u8 = 246;
const MODULE_AUX: u8 = 247;
const IDLE: u8 = 248;
const FREQUENCY: u8 = 249;
pub(super) const AUX: u8 = 250;
pub(super) const RESIZE: u8 = 251;
pub(super) const DEADLINE_MS: u8 = 252;
const DEADLINE_SECONDS: u8 = 253;
pub(super) const SELECT: u8 = 254;
pub(super) const END: u8 = 255;

/// The first version with a checksum at the end.
const VERSION_CHECKSUM: u16 = 5;
/// Bytes of a value that are in memory at a time, beside its largest element.
const PIECE_BYTES: usize = 1024 * 1024;

/// Why a file cannot be read on, and where.
#[derive(Debug)]
pub struct Failure {
    /// How many bytes of the file come before.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Failure {}

/// What a file has next.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// Something about the file: `redis-ver`, `ctime`, …
    Aux(Vec<u8>, Vec<u8>),
    /// The text of a library of functions.
    Library(Vec<u8>),
    /// A key, of which [`Reader::piece`] gives the value.
    Key {
        /// Its database.
        db: DbIndex,
        /// Its name.
        name: Vec<u8>,
        /// When it goes.
        deadline: Option<UnixMillis>,
    },
    /// A key whose value only a module understands; it has been skipped.
    ModuleKey {
        /// Its database.
        db: DbIndex,
        /// Its name.
        name: Vec<u8>,
        /// The module's type.
        module: String,
    },
    /// What a module keeps beside keys; it has been skipped.
    ModuleData(String),
}

/// A part of a value.
#[derive(Debug)]
pub struct Piece(pub(crate) Loaded);

impl Piece {
    /// How many elements; a string is one.
    pub fn len(&self) -> usize {
        match &self.0 {
            Loaded::String(_) => 1,
            Loaded::List(elements) | Loaded::Set(elements) => elements.len(),
            Loaded::SortedSet(items) => items.len(),
            Loaded::Hash(fields) => fields.len(),
            Loaded::Entries(entries) => entries.len(),
            Loaded::Stream(stream) => stream.entries.len(),
        }
    }

    /// True for a collection of nothing. A stream may have no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out the fields of a hash whose time is up.
    pub fn drop_overdue(&mut self, now_ms: UnixMillis) {
        if let Loaded::Hash(fields) = &mut self.0 {
            fields.retain(|(.., deadline)| *deadline == 0 || *deadline > now_ms);
        }
    }
}

/// Reads a file.
pub struct Reader<R> {
    source: Source<R>,
    version: u16,
    family: Family,
    db: DbIndex,
    /// The key whose value is being read, for whoever reads why it cannot be.
    key: String,
    value: Option<Value>,
    is_through: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the first bytes: whose format it is, and which version.
    pub fn new(read: R) -> Result<Self, Failure> {
        let mut reader = Self {
            source: Source::new(read),
            version: 0,
            family: Family::Redis,
            db: 0,
            key: String::new(),
            value: None,
            is_through: false,
        };
        let head: [u8; 9] = reader.read("the first bytes", Input::array)?;
        let digits = match (&head[..5], &head[..6]) {
            (b"REDIS", _) => &head[5..],
            (_, b"VALKEY") => &head[6..],
            _ => return Err(reader.failure_at(0, "this is no snapshot of Redis or Valkey")),
        };
        let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        reader.version = match version {
            Some(version @ 1..) => version,
            Some(0) | None => return Err(reader.failure_at(0, "the version is not a number above 0")),
        };
        if reader.version >= VERSION_VALKEY {
            reader.family = Family::Valkey;
        }
        Ok(reader)
    }

    /// Which version of the format.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    fn failure_at(&self, offset: u64, reason: impl Into<String>) -> Failure {
        Failure { offset, reason: reason.into() }
    }

    /// Runs a read; what fails is told as what it was to be.
    fn read<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&mut Source<R>) -> Result<T, BadFormat>,
    ) -> Result<T, Failure> {
        let offset = self.source.offset();
        read(&mut self.source).map_err(|BadFormat| match self.source.take_end() {
            Some(End::Cut) => {
                let at = self.source.offset();
                self.failure_at(at, format!("the file ends in {what}, which begins at byte {offset}"))
            }
            Some(End::Io(error)) => {
                self.failure_at(self.source.offset(), format!("cannot read {what}: {error}"))
            }
            None => {
                let at = self.source.offset();
                let place = if at == offset { String::new() } else { format!(", read up to byte {at}") };
                self.failure_at(offset, format!("{what} is not as it should be{place}"))
            }
        })
    }

    /// What comes next; `None` behind the end, when the checksum has been compared. A value that has not been read is
    /// skipped.
    pub fn next_item(&mut self) -> Result<Option<Item>, Failure> {
        while self.piece()?.is_some() {}
        let mut deadline = None;
        while !self.is_through {
            let at = self.source.offset();
            let kind = self.read("a type", Input::byte)?;
            match kind {
                DEADLINE_SECONDS => {
                    let seconds = self.read("a deadline", |s| Ok(i32::from_le_bytes(s.array()?)))?;
                    deadline = Some(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
                }
                DEADLINE_MS => {
                    let ms = self.read("a deadline", |s| Ok(i64::from_le_bytes(s.array()?)))?;
                    // A time before 1970 is over.
                    deadline = Some(u64::try_from(ms).unwrap_or(0));
                }
                // How a key was used is no part of the data.
                FREQUENCY => {
                    self.read("a frequency", Input::byte)?;
                }
                IDLE => {
                    self.read("an idle time", Input::len)?;
                }
                SELECT => {
                    let db = self.read("the number of a database", Input::len)?;
                    self.db = match DbIndex::try_from(db) {
                        Ok(db) if db < DATABASES => db,
                        Ok(_) | Err(_) => {
                            let reason =
                                format!("database {db}: there are {DATABASES} here, numbered from 0");
                            return Err(self.failure_at(at, reason));
                        }
                    };
                }
                RESIZE => {
                    self.read("how many keys there are", |s| Ok((s.len()?, s.len()?)))?;
                }
                SLOT_INFO => {
                    self.read("how many keys a slot has", |s| Ok((s.len()?, s.len()?, s.len()?)))?;
                }
                SLOT_IMPORT_OR_KEY_META if self.family == Family::Redis => {
                    self.read("what modules know of a key", skip_key_meta)?;
                }
                SLOT_IMPORT_OR_KEY_META => {
                    return Err(self.failure_at(
                        at,
                        "slots were being moved to the server that wrote this; let the move end, and save again",
                    ));
                }
                AUX => {
                    let (name, value) =
                        self.read("something about the file", |s| Ok((s.string()?, s.string()?)))?;
                    return Ok(Some(Item::Aux(name, value)));
                }
                LIBRARY => {
                    return Ok(Some(Item::Library(self.read("a library of functions", Input::string)?)));
                }
                LIBRARY_EARLY => {
                    return Err(self.failure_at(
                        at,
                        "libraries of functions of a release candidate of Redis 7.0 are not read",
                    ));
                }
                MODULE_AUX => {
                    let name = self.read("data of a module", |s| {
                        let id = s.len()?;
                        // When it is to be loaded, as a number of its own.
                        let (kind, _when) = (s.len()?, s.len()?);
                        if kind != MODULE_UNSIGNED {
                            return Err(BadFormat);
                        }
                        skip_module(s)?;
                        Ok(module_name(id))
                    })?;
                    return Ok(Some(Item::ModuleData(name)));
                }
                END => self.end()?,
                kind => return self.key(at, kind, deadline).map(Some),
            }
        }
        Ok(None)
    }

    fn key(&mut self, at: u64, kind: u8, deadline: Option<UnixMillis>) -> Result<Item, Failure> {
        let (db, name) = (self.db, self.read("the name of a key", Input::string)?);
        let printed = name.escape_ascii().to_string();
        self.key = format!("key '{printed}' of database {db}");
        match kind {
            MODULE => {
                let what = format!("a module's value of {}", self.key);
                let module = self.read(&what, |s| {
                    let id = s.len()?;
                    skip_module(s)?;
                    Ok(module_name(id))
                })?;
                Ok(Item::ModuleKey { db, name, module })
            }
            MODULE_EARLY => {
                let reason = format!("{} has a value of a module of before Redis 4.0", self.key);
                Err(self.failure_at(at, reason))
            }
            kind => {
                let what = format!("the value of {}, of type {kind},", self.key);
                let family = self.family;
                if !is_known(family, kind) {
                    let reason = format!("{} has type {kind}, which is not known", self.key);
                    return Err(self.failure_at(at, reason));
                }
                self.value = Some(self.read(&what, |s| Value::begin(family, kind, s))?);
                Ok(Item::Key { db, name, deadline })
            }
        }
    }

    /// The next part of the current key's value; `None` behind the last.
    pub fn piece(&mut self) -> Result<Option<Piece>, Failure> {
        let Some(mut value) = self.value.take() else { return Ok(None) };
        let what = format!("the value of {}", self.key);
        let piece = self.read(&what, |s| value.piece(s, PIECE_BYTES))?;
        if piece.is_some() {
            self.value = Some(value);
        }
        Ok(piece.map(Piece))
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.is_through = true;
        let computed = self.source.checksum();
        if self.version >= VERSION_CHECKSUM {
            let at = self.source.offset();
            let stored = self.read("the checksum", |s| Ok(u64::from_le_bytes(s.array()?)))?;
            // Zero: the server was told to compute none. (Redis: rdbchecksum)
            if stored != 0 && stored != computed {
                let reason =
                    format!("the checksum of the file is {computed:016x}, and here stands {stored:016x}");
                return Err(self.failure_at(at, reason));
            }
        }
        if !self.source.is_at_end() {
            let at = self.source.offset();
            return Err(self.failure_at(
                at,
                "more follows behind the end: this may be an append-only file with commands behind the snapshot",
            ));
        }
        Ok(())
    }
}

fn is_known(family: Family, kind: u8) -> bool {
    match kind {
        0..=5 | 9..=21 => true,
        22 => true,
        23..=27 => family == Family::Redis,
        _ => false,
    }
}

const MODULE_END: u64 = 0;
const MODULE_SIGNED: u64 = 1;
const MODULE_UNSIGNED: u64 = 2;
const MODULE_FLOAT: u64 = 3;
const MODULE_DOUBLE: u64 = 4;
const MODULE_STRING: u64 = 5;

/// Reads what a module has written, each part of which says what it is.
fn skip_module(input: &mut impl Input) -> Result<(), BadFormat> {
    loop {
        match input.len()? {
            MODULE_END => return Ok(()),
            MODULE_SIGNED | MODULE_UNSIGNED => {
                input.len()?;
            }
            MODULE_FLOAT => {
                input.take(4)?;
            }
            MODULE_DOUBLE => {
                input.take(8)?;
            }
            MODULE_STRING => {
                input.string()?;
            }
            _ => return Err(BadFormat),
        }
    }
}

fn skip_key_meta(input: &mut impl Input) -> Result<(), BadFormat> {
    for _ in 0..input.len()? {
        input.take(4)?;
        skip_module(input)?;
    }
    Ok(())
}

/// Nine letters of six bits each, and ten bits of version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |i: u32| char::from(LETTERS[(id >> (58 - 6 * i) & 0x3f) as usize]);
    (0..9).map(letter).collect()
}
