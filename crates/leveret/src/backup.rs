//! `leveret backup` and `leveret restore`: copies of a data directory, made while a server uses it or not, and any point of
//! them back.

use crate::config;
use crate::times::{parse_duration, parse_time, utc};
use anyhow::{Result, anyhow, bail};
use leveret_server::{BackupHow, KeepLog, bytes};
use leveret_wal::{Backup, DamagedList, Onlooker, Until};
use std::io::Write;
use std::path::{Path, PathBuf};

const BACKUP_HELP: &str = "\
Usage: leveret backup --data-dir DIR --to DIR [--point-in-time [--log-max BYTES]] [--keep DURATION]
       leveret backup --data-dir DIR --forget

Adds to a directory of backups what it does not have yet, on the machine of the data directory and by somebody who may read
that; a running server goes on. Everything that was confirmed before the command began is in it.

  --to DIR          where the backups are; made if it is missing
  --point-in-time   from now on the server keeps what it has written until a backup has it, so that any point between two
                    backups can be restored. Said once, it holds until --forget
  --log-max BYTES   it keeps so much at most, and then the oldest goes nevertheless; units as in 10gb [10gb]
  --keep DURATION   afterwards remove what no point of this last time needs: 30d, 12h, 90m
  --forget          the server keeps nothing for backups any more
";

const RESTORE_HELP: &str = "\
Usage: leveret restore --from DIR --data-dir DIR [--to-time TIME | --to-position N]
       leveret restore --from DIR --list

Makes a data directory, which must be empty or missing, from backups. All checksums are compared and everything is read as a server
would; nothing in the backups is changed.

  --to-time TIME      everything that was committed up to then: 2026-11-27T10:00:00Z, or milliseconds since 1970
  --to-position N     everything up to and with this position ('leveret log dump' tells them)
  --list              tells what backups there are
";

/// Kept for an archive unless told otherwise.
const LOG_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// What was given: flags with their values, and what `leveret serve` would take.
struct Arguments {
    given: Vec<(String, String)>,
    rest: Vec<String>,
}

/// Takes apart what was given; `None` when help was asked for.
fn parse(args: &[String], switches: &[&str], valued: &[&str], help: &str) -> Result<Option<Arguments>> {
    let mut parsed = Arguments { given: Vec::new(), rest: Vec::new() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        if name == "--help" || name == "-h" {
            tell(help.trim_end())?;
            return Ok(None);
        } else if switches.contains(&name) && value.is_none() {
            parsed.given.push((name.to_owned(), String::new()));
        } else if valued.contains(&name) {
            let value =
                value.or_else(|| args.next().cloned()).ok_or_else(|| anyhow!("{name} needs a value"))?;
            parsed.given.push((name.to_owned(), value));
        } else if name.starts_with("--") {
            parsed.rest.push(arg.clone());
            if value.is_none() {
                parsed.rest.extend(args.next().cloned());
            }
        } else {
            bail!("'{arg}' is not understood\n\n{help}");
        }
    }
    Ok(Some(parsed))
}

impl Arguments {
    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn data_dir(&self) -> Result<PathBuf> {
        Ok(config::read(&self.rest)?.data_dir)
    }
}

fn tell(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// `leveret backup`.
pub(crate) fn backup(args: &[String]) -> Result<()> {
    let valued = ["--to", "--log-max", "--keep"];
    let Some(given) = parse(args, &["--point-in-time", "--forget"], &valued, BACKUP_HELP)? else {
        return Ok(());
    };
    let data_dir = given.data_dir()?;
    if given.has("--forget") {
        if given.given.len() > 1 {
            bail!("--forget stands by itself");
        }
        return match leveret_server::forget(&data_dir)? {
            Some(archive) => tell(&format!("nothing is kept for the backups in {archive} any more")),
            None => tell("nothing was kept for backups"),
        };
    }
    let Some(to) = given.value("--to") else { bail!("--to says where the backups are\n\n{BACKUP_HELP}") };
    let log_max = match given.value("--log-max") {
        Some(text) => {
            bytes(text).ok_or_else(|| anyhow!("'{text}' is not a number of bytes such as 10gb"))? as u64
        }
        None => LOG_MAX,
    };
    let keep_log = match (given.has("--point-in-time"), given.has("--log-max")) {
        (true, _) => KeepLog::UpTo(log_max),
        (false, true) => bail!("--log-max belongs to --point-in-time"),
        (false, false) => KeepLog::AsBefore,
    };
    let keep = given.value("--keep").map(|text| {
        parse_duration(text).ok_or_else(|| anyhow!("'{text}' is not a duration such as 30d, 12h or 90m"))
    });
    let how = BackupHow { keep_log, keep_ms: keep.transpose()? };
    let (made, pruned) = leveret_server::backup(&data_dir, Path::new(to), how)?;
    warn_of_damaged(&leveret_wal::backups(&Onlooker::open(Path::new(to))?)?.damaged);
    tell(&format!("{}; {} files, {} bytes were copied", shown(&made.backup), made.files, made.bytes))?;
    if let Some(position) = made.gap_after {
        eprintln!(
            "the log has lost what came right after position {position} before this backup was made: points between {position} and {} cannot be restored{}",
            made.backup.checkpoint().unwrap_or(made.backup.position),
            if keep_log == KeepLog::AsBefore { "; with --point-in-time the server keeps it" } else { "" }
        );
    }
    if pruned.backups > 0 {
        tell(&format!("{} old backups and {} files of theirs were removed", pruned.backups, pruned.files))?;
    }
    Ok(())
}

/// A backup in one line.
fn shown(backup: &Backup) -> String {
    let Backup { number, taken_ms, position, .. } = backup;
    let checkpoint = match backup.checkpoint() {
        Some(position) => format!(", from the state at {position} on"),
        None => String::new(),
    };
    format!(
        "backup {number} of {}: up to position {position}{checkpoint}, {} bytes",
        utc(*taken_ms),
        backup.bytes()
    )
}

/// `leveret restore`.
pub(crate) fn restore(args: &[String]) -> Result<()> {
    let valued = ["--from", "--to-time", "--to-position"];
    let Some(given) = parse(args, &["--list"], &valued, RESTORE_HELP)? else { return Ok(()) };
    let Some(from) = given.value("--from").map(PathBuf::from) else {
        bail!("--from says where the backups are\n\n{RESTORE_HELP}");
    };
    if given.has("--list") {
        return list(&from);
    }
    let until = match (given.value("--to-time"), given.value("--to-position")) {
        (None, None) => Until::End,
        (Some(text), None) => Until::Time(parse_time(text).ok_or_else(|| {
            anyhow!(
                "'{text}' is no time such as 2026-11-27T10:00:00Z, and no number of milliseconds since 1970"
            )
        })?),
        (None, Some(text)) => {
            Until::Position(text.parse().map_err(|_| anyhow!("'{text}' is not a position"))?)
        }
        (Some(_), Some(_)) => bail!("--to-time or --to-position, not both"),
    };
    let data_dir = given.data_dir()?;
    let restored = leveret_server::restore(&from, &data_dir, until)?;
    warn_of_damaged(&leveret_wal::backups(&Onlooker::open(&from)?)?.damaged);
    let what = match restored.checkpoint {
        Some(checkpoint) => format!("the state at position {checkpoint}"),
        None => "no checkpoint".to_owned(),
    };
    tell(&format!(
        "{what} and {} segments, {} bytes were copied to {}",
        restored.segments,
        restored.bytes,
        data_dir.display()
    ))?;
    let (last, last_time_ms) = restored.last;
    if restored.position == 0 {
        tell("nothing had been committed then: the directory is empty")?;
    } else {
        tell(&format!("restored up to position {}, committed {}", restored.position, utc(restored.time_ms)))?;
    }
    if restored.position < last {
        tell(&format!(
            "left out: positions {} to {last}, the last of {}",
            restored.position + 1,
            utc(last_time_ms)
        ))?;
    }
    let checked = leveret_server::check(&data_dir)?;
    crate::check::tell_state(&checked)?;
    crate::check::refuse_damage(&checked.held)
}

fn list(from: &Path) -> Result<()> {
    if !from.is_dir() {
        bail!("there is no directory {}", from.display());
    }
    let listed = leveret_wal::backups(&Onlooker::open(from)?)?;
    if listed.whole.is_empty() && listed.damaged.is_empty() {
        bail!("there is no backup in {}", from.display());
    }
    let mut before: Option<&Backup> = None;
    for backup in &listed.whole {
        if let Some(before) = before.filter(|_| !backup.continues) {
            let (from, to) = (before.position, backup.checkpoint().unwrap_or(backup.position));
            tell(&format!("  points between {from} and {to} cannot be restored"))?;
        }
        tell(&shown(backup))?;
        before = Some(backup);
    }
    warn_of_damaged(&listed.damaged);
    Ok(())
}

/// What cannot be read is left out, and said.
fn warn_of_damaged(damaged: &[DamagedList]) {
    for DamagedList { error, .. } in damaged {
        eprintln!("{error}: this backup is left out, and nothing old is removed while it is there");
    }
}
