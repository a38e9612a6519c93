//! Import in two passes: the first reads the whole file and changes nothing, so a file that is damaged, or has what cannot be
//! kept, or would replace something, is refused before anything has happened. The second makes the keys, a commit each; a
//! large value is made in several. While it runs a file in the data directory says so, and a server that finds it does
//! not start: what is half there is never taken for the whole.

use super::{Failed, sync_folder_of, write_all};
use crate::recover::{Recovered, import_mark, recover};
use crate::resp::Scripts;
use crate::{Settings, now_ms};
use leveret_engine::Engine;
use leveret_engine::keyspace::rdb::{Failure, Item, Reader};
use leveret_engine::keyspace::{DATABASES, DbIndex, UnixMillis};
use leveret_wal::{Log, Tail};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Records beyond so many bytes are handed to the log.
const TAIL_BYTES: usize = 1024 * 1024;

/// What becomes of keys and libraries that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is imported if there is one of the same name.
    Refuse,
    /// Those of the same name are replaced.
    Replace,
    /// All go first, of every database.
    Flush,
}

/// How to import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportHow {
    /// What becomes of what is there already.
    pub existing: Existing,
    /// Keys whose values only a module understands are left out; else they are a reason to refuse.
    pub without_modules: bool,
}

/// What an import has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Version of the format.
    pub version: u16,
    /// Which server wrote the file, as it says.
    pub writer: Option<String>,
    /// Keys that are there now.
    pub keys: u64,
    /// Keys left out because their time is up.
    pub overdue: u64,
    /// Keys left out because they have no elements.
    pub empty: u64,
    /// Keys left out because a module would be needed.
    pub module_keys: u64,
    /// Modules whose data beside keys was left out.
    pub module_data: Vec<String>,
    /// Libraries of functions.
    pub libraries: u64,
}

/// Makes a snapshot's keys and libraries in a data directory that no server uses.
pub fn import(settings: &Settings, file: &Path, how: ImportHow) -> Result<Imported, Failed> {
    // Before anything is made: the file may not be there.
    open(file)?;
    let now_ms = now_ms();
    let Recovered { engine, log, .. } = recover(settings, 1)?;
    let mut import = Import { file, how, now_ms, engine, log, spare: Tail::default() };
    let libraries = import.check()?;
    let mark = import_mark(&settings.data_dir);
    let what = format!("the import of {}\n", file.display());
    let marked = write_all(&mark, |out| out.write_all(what.as_bytes())).and_then(|()| sync_folder_of(&mark));
    marked.map_err(|error| Failed::Io(format!("cannot write {}", mark.display()), error))?;
    let mut imported = Imported::default();
    if let Err(failed) = import.make(&libraries, &mut imported) {
        return Err(Failed::Half(Box::new(failed), imported.keys));
    }
    let unmarked = std::fs::remove_file(&mark).and_then(|()| sync_folder_of(&mark));
    unmarked.map_err(|error| Failed::Io(format!("cannot remove {}", mark.display()), error))?;
    Ok(imported)
}

fn open(file: &Path) -> Result<File, Failed> {
    File::open(file).map_err(|error| Failed::Io(format!("cannot read {}", file.display()), error))
}

/// A library's name and text.
type Library = (String, Arc<[u8]>);

struct Import<'a> {
    file: &'a Path,
    how: ImportHow,
    now_ms: UnixMillis,
    engine: Engine,
    log: Log,
    spare: Tail,
}

impl Import<'_> {
    fn reader(&self) -> Result<Reader<File>, Failed> {
        Reader::new(open(self.file)?).map_err(|failure| self.unreadable(failure))
    }

    fn unreadable(&self, failure: Failure) -> Failed {
        Failed::Snapshot(self.file.display().to_string(), failure)
    }

    fn refused(&self, offset: u64, reason: String) -> Failed {
        self.unreadable(Failure { offset, reason })
    }

    /// The first pass; gives the libraries, which are few and small.
    fn check(&self) -> Result<Vec<Library>, Failed> {
        let mut reader = self.reader()?;
        let (mut libraries, mut there) = (Vec::new(), 0u64);
        let mut first_there = String::new();
        loop {
            let offset = reader.offset();
            let Some(item) = reader.next_item().map_err(|failure| self.unreadable(failure))? else { break };
            match item {
                Item::Aux(..) | Item::ModuleData(_) => {}
                Item::Library(text) => libraries.push(self.library(offset, text, &libraries)?),
                Item::Key { db, name, deadline } => {
                    let comes = deadline.is_none_or(|at| at > self.now_ms);
                    if comes && self.engine.keyspace.is_live(db, &name, self.now_ms) {
                        there += 1;
                        if there == 1 {
                            first_there = format!("key '{}' of database {db}", name.escape_ascii());
                        }
                    }
                }
                Item::ModuleKey { db, name, module } => {
                    if !self.how.without_modules {
                        let name = name.escape_ascii();
                        let reason = format!(
                            "key '{name}' of database {db} has a value of the module type {module}, which is not known here; --without-modules leaves such keys out"
                        );
                        return Err(self.refused(offset, reason));
                    }
                }
            }
        }
        if there > 0 && self.how.existing == Existing::Refuse {
            return Err(Failed::Refused(format!(
                "{there} of the keys are there already, the first of them {first_there}; --replace replaces them, --flush removes all keys of all databases first. Nothing was changed"
            )));
        }
        Ok(libraries)
    }

    /// Libraries have to be understood, and may not have names of others. (Redis: FUNCTION LOAD)
    fn library(&self, offset: u64, text: Vec<u8>, before: &[Library]) -> Result<Library, Failed> {
        let text: Arc<[u8]> = Arc::from(text);
        let refused = |error: leveret_engine::keyspace::Error| {
            self.refused(offset, format!("a library of functions is refused: {error}"))
        };
        let scripts = Scripts::default();
        let mut interpreter = scripts.enter().map_err(refused)?;
        interpreter.follow(&self.engine.libraries);
        let (name, library) = interpreter.compile_library(&text).map_err(refused)?;
        let is_there = interpreter.libraries().contains_key(&name);
        if before.iter().any(|(other, _)| *other == name) || is_there && self.how.existing == Existing::Refuse
        {
            let reason = format!("the library of functions {name} is there already");
            return Err(self.refused(offset, reason));
        }
        let goes = |other: &str| match self.how.existing {
            Existing::Refuse => false,
            Existing::Replace => other == name,
            Existing::Flush => true,
        };
        interpreter.check_names(&library.functions, goes).map_err(refused)?;
        Ok((name, text))
    }

    /// The second pass.
    fn make(&mut self, libraries: &[Library], imported: &mut Imported) -> Result<(), Failed> {
        self.engine.enter(self.now_ms);
        if self.how.existing == Existing::Flush {
            for db in 0..DATABASES {
                self.engine.on_keyspace(db, |txn| txn.make_empty());
            }
            let names: Vec<String> = self.engine.libraries.iter().map(|(name, _)| name.to_owned()).collect();
            names.iter().for_each(|name| {
                self.engine.delete_library(name);
            });
        }
        for (name, text) in libraries {
            self.engine.put_library(name, text);
            imported.libraries += 1;
        }
        let mut reader = self.reader()?;
        imported.version = reader.version();
        loop {
            let offset = reader.offset();
            let Some(item) = reader.next_item().map_err(|failure| self.unreadable(failure))? else { break };
            match item {
                Item::Aux(name, value) if name == b"redis-ver" || name == b"valkey-ver" => {
                    let server = if name == b"redis-ver" { "Redis" } else { "Valkey" };
                    imported.writer = Some(format!("{server} {}", value.escape_ascii()));
                }
                Item::Aux(..) | Item::Library(_) => {}
                Item::ModuleData(name) => imported.module_data.push(name),
                Item::ModuleKey { .. } => imported.module_keys += 1,
                Item::Key { deadline: Some(at), .. } if at <= self.now_ms => imported.overdue += 1,
                Item::Key { db, name, deadline } => {
                    let made = self.key(&mut reader, offset, db, &name, deadline)?;
                    imported.keys += u64::from(made);
                    imported.empty += u64::from(!made);
                }
            }
        }
        self.write()?;
        self.log.syncer().sync().map_err(Failed::Log)?;
        Ok(())
    }

    /// Makes one key; false if nothing of it is left. What is wrong in the file leaves no half key behind.
    fn key(
        &mut self,
        reader: &mut Reader<File>,
        offset: u64,
        db: DbIndex,
        name: &[u8],
        deadline: Option<UnixMillis>,
    ) -> Result<bool, Failed> {
        if self.engine.keyspace.elements_count(db, name).is_some() {
            let is_live = self.engine.keyspace.is_live(db, name, self.now_ms);
            if is_live && self.how.existing != Existing::Replace {
                let reason = format!("key '{}' of database {db} is in the file twice", name.escape_ascii());
                return Err(self.refused(offset, reason));
            }
            self.engine.on_keyspace(db, |txn| txn.make_room(name));
        }
        match self.pieces(reader, db, name, deadline) {
            Ok(count) if self.engine.keyspace.elements_count(db, name).unwrap_or(0) == count => {
                Ok(self.engine.keyspace.elements_count(db, name).is_some())
            }
            // The log takes nothing more, not even that the key goes.
            Err(failed @ Failed::Log(_)) => Err(failed),
            result => {
                self.engine.on_keyspace(db, |txn| txn.make_room(name));
                self.write()?;
                result?;
                let reason = format!(
                    "the value of key '{}' of database {db} has something twice",
                    name.escape_ascii()
                );
                Err(self.refused(offset, reason))
            }
        }
    }

    /// Gives how many elements there were.
    fn pieces(
        &mut self,
        reader: &mut Reader<File>,
        db: DbIndex,
        name: &[u8],
        deadline: Option<UnixMillis>,
    ) -> Result<u64, Failed> {
        let mut count = 0;
        // One piece is ahead: the last one comes with the deadline, in the same commit.
        let mut next = reader.piece().map_err(|failure| self.unreadable(failure))?;
        while let Some(mut piece) = next {
            next = reader.piece().map_err(|failure| self.unreadable(failure))?;
            piece.drop_overdue(self.now_ms);
            count += piece.len() as u64;
            let deadline = deadline.filter(|_| next.is_none());
            self.engine.on_keyspace(db, |txn| {
                if !piece.is_empty() {
                    txn.build(name, &piece);
                }
                if let Some(at) = deadline {
                    txn.build_deadline(name, at);
                }
            });
            if self.engine.pending_bytes() > TAIL_BYTES {
                self.write()?;
            }
        }
        Ok(count)
    }

    fn write(&mut self) -> Result<(), Failed> {
        self.engine.take_tail(&mut self.spare);
        self.log.write(&mut self.spare).map_err(Failed::Log)?;
        drop(self.engine.take_garbage());
        Ok(())
    }
}
