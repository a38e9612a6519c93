//! `leveret import` and `leveret export`: snapshots of Redis and Valkey, while no server uses the directory.

use crate::config;
use anyhow::{Result, anyhow, bail};
use leveret_server::{Dialect, Existing, ImportHow, Settings};
use std::path::PathBuf;

const IMPORT_HELP: &str = "\
Usage: leveret import FILE --data-dir DIR [--replace | --flush] [--without-modules]

Makes the keys and functions of a snapshot (dump.rdb) of Redis up to 8.0 or Valkey up to 9 in a data directory that no server
uses. The whole file is checked first; what is refused changes nothing. Keys whose time is up are left out.

  --replace           replace keys and libraries of the same names; without it they are a reason to refuse
  --flush             remove all keys of all databases, and all libraries, first
  --without-modules   leave out keys whose values only a module understands; without it they are a reason to refuse
";

const EXPORT_HELP: &str = "\
Usage: leveret export FILE --data-dir DIR [--for oldest|valkey] [--replace]

Writes all keys and functions of a data directory that no server uses to a snapshot (dump.rdb). Exchanges, queues, messages,
users and settings are no part of it.

  --for oldest    what Redis 7.0, Valkey and everything later reads; when fields of hashes have deadlines, what Redis 7.4
                  and later reads [oldest]
  --for valkey    what Valkey 9.0 reads, fields with deadlines included
  --replace       replace FILE if it is there
";

/// The arguments: switches, the value of `--for`, the file, and what `leveret serve` would take.
struct Arguments {
    switches: Vec<String>,
    dialect: Option<String>,
    file: PathBuf,
    settings: Settings,
}

/// Takes apart what was given; `None` when help was asked for.
fn parse(args: &[String], known: &[&str], help: &str) -> Result<Option<Arguments>> {
    let (mut switches, mut dialect, mut file, mut rest) = (Vec::new(), None, None, Vec::new());
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => {
                print(help);
                return Ok(None);
            }
            "--for" if known.contains(&"--for") => {
                dialect = Some(args.next().cloned().ok_or_else(|| anyhow!("--for needs a value"))?);
            }
            switch if known.contains(&switch) => switches.push(arg.clone()),
            flag if flag.starts_with("--") => {
                rest.push(arg.clone());
                if !flag.contains('=') {
                    rest.extend(args.next().cloned());
                }
            }
            _ if file.is_none() => file = Some(PathBuf::from(arg)),
            other => bail!("'{other}' is one file too many"),
        }
    }
    let Some(file) = file else { bail!("which file?\n\n{help}") };
    Ok(Some(Arguments { switches, dialect, file, settings: config::read(&rest)? }))
}

impl Arguments {
    fn has(&self, switch: &str) -> bool {
        self.switches.iter().any(|given| given == switch)
    }
}

#[allow(clippy::print_stdout, reason = "this is what the person at the terminal reads")]
fn print(text: &str) {
    print!("{text}");
}

/// `leveret import`.
pub(crate) fn import(args: &[String]) -> Result<()> {
    let Some(given) = parse(args, &["--replace", "--flush", "--without-modules"], IMPORT_HELP)? else {
        return Ok(());
    };
    let existing = match (given.has("--replace"), given.has("--flush")) {
        (true, true) => bail!("--flush removes everything, so there is nothing left to --replace"),
        (true, false) => Existing::Replace,
        (false, true) => Existing::Flush,
        (false, false) => Existing::Refuse,
    };
    let how = ImportHow { existing, without_modules: given.has("--without-modules") };
    let done = leveret_server::import(&given.settings, &given.file, how)?;
    let mut text = format!(
        "{} keys and {} libraries of functions are in {} now (format version {}{}).\n",
        done.keys,
        done.libraries,
        given.settings.data_dir.display(),
        done.version,
        done.writer.map(|writer| format!(", written by {writer}")).unwrap_or_default()
    );
    let left_out = [
        (done.overdue, "keys were left out because their time is up"),
        (done.empty, "keys were left out because nothing is in them"),
        (done.module_keys, "keys were left out because only a module understands them"),
    ];
    for (count, what) in left_out.iter().filter(|(count, _)| *count > 0) {
        text += &format!("{count} {what}.\n");
    }
    for module in done.module_data {
        text += &format!("What the module {module} keeps beside keys was left out.\n");
    }
    print(&text);
    Ok(())
}

/// `leveret export`.
pub(crate) fn export(args: &[String]) -> Result<()> {
    let Some(given) = parse(args, &["--replace", "--for"], EXPORT_HELP)? else { return Ok(()) };
    let dialect = match given.dialect.as_deref() {
        None | Some("oldest") => Dialect::Oldest,
        Some("valkey") => Dialect::Valkey,
        Some(other) => bail!("--for is oldest or valkey, not '{other}'"),
    };
    let done = leveret_server::export(&given.settings, &given.file, dialect, given.has("--replace"))?;
    let mut text = format!(
        "{} keys and {} libraries of functions are in {} now: {} bytes, format version {}.\n",
        done.keys,
        done.libraries,
        given.file.display(),
        done.bytes,
        done.version
    );
    if done.overdue > 0 {
        text += &format!("{} keys were left out because their time is up.\n", done.overdue);
    }
    if dialect == Dialect::Oldest && done.version > 10 {
        text += "Fields of hashes have deadlines, so Redis 7.4 is the first that reads it; for Valkey there is --for valkey.\n";
    }
    print(&text);
    Ok(())
}
