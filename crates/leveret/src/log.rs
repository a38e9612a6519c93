//! `leveret log`: what is in the log of a data directory, whether it is whole, and what to do when it is not. But for `explain`,
//! which reads heads only, no server may use the directory meanwhile: half a block that is being written looks like damage.

use crate::check::held_damage;
use crate::config;
use crate::times::utc;
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use leveret_engine::{Described, DescribedValue, describe_record};
use leveret_wal::{
    Disk, Ending, Explained, Gap, Held, Inspection, Onlooker, Place, Record, Why, explain, gaps, inspect,
    repair, stand_in, verify_held,
};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
Usage: leveret log dump   --data-dir DIR [--json] [--full] [--from POSITION] [--to POSITION]
       leveret log verify --data-dir DIR
       leveret log explain --data-dir DIR
       leveret log repair --data-dir DIR [--yes]

On a data directory that no server uses, but for explain. Dump, verify and explain change nothing in it.

  dump      a line for each change: position, time, what it is, its fields; long strings are shortened without --full,
            and --json prints one object a line with everything. Passwords are not shown.
  verify    reads every byte; tells segments, records and how the log ends. It ends with 0 when the log is whole, 3 when its
            end is torn (what a crash leaves, not known to have been synced; a server that starts cuts it), 4 when it is damaged.
  explain   tells of every file why it is still there; also beside a running server.
  repair    tells what would be lost by cutting a damaged log where it cannot be read on; with --yes it cuts it there, and keeps
            what it has cut in files beside, which end in .cut-at-OFFSET and .cut, and a number if there are such already.
            Where a file with messages is missing, --yes puts an empty one in its place.
";

/// Of `verify`.
const TORN: u8 = 3;
const DAMAGED: u8 = 4;
/// Longer strings are shortened.
const SHOWN: usize = 120;

/// Runs `leveret log VERB`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let (verb, args) = match args.split_first() {
        Some((verb, args)) if verb != "--help" && verb != "-h" => (verb.as_str(), args),
        Some(_) | None => {
            write!(std::io::stdout(), "{HELP}")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let known: &[&str] = match verb {
        "dump" => &["--json", "--full", "--from", "--to"],
        "verify" | "explain" => &[],
        "repair" => &["--yes"],
        other => bail!("there is no 'log {other}'\n\n{HELP}"),
    };
    let (mut given, mut rest, mut args) = (Vec::new(), Vec::new(), args.iter());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            flag @ ("--from" | "--to") if known.contains(&flag) => {
                let value = args.next().ok_or_else(|| anyhow!("{flag} needs a position"))?;
                given.push((
                    flag,
                    value.parse().map_err(|_| anyhow!("{flag} needs a position, not '{value}'"))?,
                ));
            }
            flag if known.contains(&flag) => given.push((flag, 0u64)),
            _ => rest.push(arg.clone()),
        }
    }
    let dir = config::read(&rest)?.data_dir;
    if !dir.is_dir() {
        bail!("there is no data directory {}", dir.display());
    }
    let has = |flag| given.iter().any(|(name, _)| *name == flag);
    let number = |flag| given.iter().find(|(name, _)| *name == flag).map(|(_, value)| *value);
    match verb {
        "dump" => {
            let how = How { json: has("--json"), full: has("--full") };
            dump(&dir, how, number("--from").unwrap_or(0)..=number("--to").unwrap_or(u64::MAX))
        }
        "verify" => verify(&dir),
        "explain" => tell_why(&dir),
        _ => mend(&dir, has("--yes")),
    }
}

/// How changes are printed.
#[derive(Clone, Copy)]
struct How {
    json: bool,
    full: bool,
}

fn onlooker(dir: &Path) -> Result<Onlooker> {
    Onlooker::open(dir).with_context(|| format!("cannot read the data directory {}", dir.display()))
}

fn dump(dir: &Path, how: How, wanted: std::ops::RangeInclusive<u64>) -> Result<ExitCode> {
    let onlooker = onlooker(dir)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    // Who reads only the first lines is satisfied.
    let mut closed = false;
    let inspection = inspect(&onlooker, &mut |record| {
        if !closed && wanted.contains(&record.head.position) {
            let changes = describe_record(&record)?;
            closed = changes.iter().try_for_each(|change| print(&mut out, &record, change, how)).is_err();
        }
        Ok(())
    })?;
    if !closed && out.flush().is_ok() {
        tell_ending(&inspection.ending);
    }
    Ok(code(&inspection.ending))
}

fn print(out: &mut impl Write, record: &Record<'_>, change: &Described<'_>, how: How) -> std::io::Result<()> {
    let (position, time_ms) = (record.head.position, record.head.time_ms);
    if how.json {
        let mut object = serde_json::Map::new();
        object.insert("position".into(), position.into());
        object.insert("time_ms".into(), time_ms.into());
        object.insert("change".into(), change.name.into());
        object.insert("fields".into(), to_json(&change.fields));
        return writeln!(out, "{}", serde_json::Value::Object(object));
    }
    write!(out, "{position} {} {}", utc(time_ms), change.name)?;
    for (name, value) in &change.fields {
        write!(out, " {name}={}", to_text(value, how))?;
    }
    writeln!(out)
}

fn to_json(fields: &[(&'static str, DescribedValue<'_>)]) -> serde_json::Value {
    let value = |value: &DescribedValue<'_>| match value {
        DescribedValue::Number(number) => json!(number),
        DescribedValue::Entry(ms, seq) => json!(format!("{ms}-{seq}")),
        // JSON has no infinity.
        DescribedValue::Score(score) if score.is_infinite() => json!(score.to_string()),
        DescribedValue::Score(score) => json!(score),
        DescribedValue::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
        },
        DescribedValue::Hidden(len) => json!({ "hidden_bytes": len }),
        DescribedValue::Many(many) => many
            .iter()
            .map(|fields| match fields.as_slice() {
                [(_, DescribedValue::Many(_))] | [] | [_, _, ..] => to_json(fields),
                [single] => to_json(std::slice::from_ref(single))[single.0].take(),
            })
            .collect(),
    };
    fields
        .iter()
        .map(|(name, field)| ((*name).to_owned(), value(field)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn to_text(value: &DescribedValue<'_>, how: How) -> String {
    match value {
        DescribedValue::Number(number) => number.to_string(),
        DescribedValue::Entry(ms, seq) => format!("{ms}-{seq}"),
        DescribedValue::Score(score) => score.to_string(),
        DescribedValue::Bytes(bytes) if how.full || bytes.len() <= SHOWN => {
            format!("\"{}\"", bytes.escape_ascii())
        }
        DescribedValue::Bytes(bytes) => {
            let shown = bytes.get(..SHOWN).unwrap_or_default();
            format!("\"{}\"… ({} bytes)", shown.escape_ascii(), bytes.len())
        }
        DescribedValue::Hidden(len) => format!("({len} bytes, not shown)"),
        DescribedValue::Many(many) => {
            let most = if how.full { usize::MAX } else { 20 };
            let mut texts: Vec<String> = many
                .iter()
                .take(most)
                .map(|fields| {
                    fields.iter().map(|(_, value)| to_text(value, how)).collect::<Vec<_>>().join(":")
                })
                .collect();
            if many.len() > most {
                texts.push(format!("… ({} in all)", many.len()));
            }
            format!("[{}]", texts.join(" "))
        }
    }
}

fn code(ending: &Ending) -> ExitCode {
    match ending {
        Ending::Whole => ExitCode::SUCCESS,
        Ending::Torn(_) => ExitCode::from(TORN),
        Ending::Damaged(_) => ExitCode::from(DAMAGED),
    }
}

fn tell_ending(ending: &Ending) {
    let (what, place) = match ending {
        Ending::Whole => return,
        Ending::Torn(place) => ("torn", place),
        Ending::Damaged(place) => ("damaged", place),
    };
    eprintln!("the log is {what} in {} at byte {}: {}", place.file, place.offset, place.reason);
}

fn tell(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn tell_summary(inspection: &Inspection) -> Result<()> {
    let summary = &inspection.summary;
    if let Some(checkpoint) = inspection.checkpoint {
        tell(&format!("a checkpoint of position {}, made {}", checkpoint.position, utc(checkpoint.time_ms)))?;
    }
    tell(&format!("{} segments, {} records, {} bytes", inspection.segments, summary.records, summary.bytes))?;
    if summary.records > 0 {
        let (first, last) = (summary.first_position, summary.last_position);
        tell(&format!("positions {first} to {last}, the last of {}", utc(summary.last_time_ms)))?;
    }
    summary.noticed.iter().try_for_each(|notice| tell(notice))
}

fn verify(dir: &Path) -> Result<ExitCode> {
    let onlooker = onlooker(dir)?;
    let inspection = inspect(&onlooker, &mut |record| describe_record(&record).map(|_| ()))?;
    tell_summary(&inspection)?;
    let held = verify_held(&onlooker)?;
    if held.files > 0 {
        let Held { files, messages, .. } = held;
        tell(&format!("{files} files before it, for {messages} messages in queues that only they have"))?;
    }
    let damage = held_damage(&held);
    damage.iter().try_for_each(|damage| tell(damage))?;
    match &inspection.ending {
        Ending::Whole if damage.is_empty() => tell("the log is whole")?,
        Ending::Whole => tell("what comes after the checkpoint is whole")?,
        Ending::Torn(place) => {
            tell_place(place, "torn")?;
            tell(&format!("a server that starts cuts this{}", never_confirmed(place)))?;
        }
        Ending::Damaged(place) => {
            tell_place(place, "damaged")?;
            tell("a server refuses to start; 'leveret log repair' cuts it there")?;
        }
    }
    Ok(if !damage.is_empty() { ExitCode::from(DAMAGED) } else { code(&inspection.ending) })
}

/// A line for each file: its name, its size, and why it is there.
fn tell_why(dir: &Path) -> Result<ExitCode> {
    // Heads of files do not change, so a server may go on.
    let onlooker =
        Onlooker::beside(dir).with_context(|| format!("cannot read the data directory {}", dir.display()))?;
    for Explained { file, bytes, why } in explain(&onlooker)? {
        let why = match why {
            Why::Newest(position) => format!("the state at position {position}; a start begins with it"),
            Why::Older(position) => format!("the state at position {position}; the next start removes it"),
            Why::InCheckpoint => {
                "everything in it is in the checkpoint; the next start removes it".to_owned()
            }
            Why::ForArchive => {
                "everything in it is in the checkpoint; it stays until 'leveret backup' has it".to_owned()
            }
            Why::Holds { messages, bytes } => format!(
                "only it has {messages} messages that wait in queues, about {bytes} bytes; it goes with them, or a later checkpoint copies what is left"
            ),
            Why::After(first, last) => {
                format!(
                    "positions {first} to {last}, which no checkpoint has; the next checkpoint makes it unnecessary"
                )
            }
            Why::Last(first) => format!("from position {first} on; it is the one that is written to"),
            Why::Unreadable => "its head cannot be read: see 'leveret log verify'".to_owned(),
        };
        tell(&format!("{file}  {bytes} bytes  {why}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_place(place: &Place, what: &str) -> Result<()> {
    tell(&format!("the log is {what} in {} at byte {}: {}", place.file, place.offset, place.reason))?;
    match &place.end {
        Some((file, offset)) => tell(&format!("its last whole record ends in {file} at byte {offset}"))?,
        None if place.begins_anew.is_some() => tell("nothing can be read that comes after the checkpoint")?,
        None => tell("no record can be read")?,
    }
    let mut behind = format!("{} bytes stand behind that", place.bytes_behind);
    if !place.segments_behind.is_empty() {
        behind += &format!(", {} more segments among them", place.segments_behind.len());
    }
    if let Some(last) = place.last_behind {
        behind += &format!("; positions up to {last} can be made out there");
    }
    tell(&behind)
}

fn mend(dir: &Path, yes: bool) -> Result<ExitCode> {
    let disk = Disk::open(dir).with_context(|| format!("cannot use the data directory {}", dir.display()))?;
    let inspection = inspect(&disk, &mut |record| describe_record(&record).map(|_| ()))?;
    tell_summary(&inspection)?;
    let damage = held_damage(&verify_held(&disk)?);
    damage.iter().try_for_each(|damage| tell(damage))?;
    let missing = gaps(&disk)?;
    let place = match &inspection.ending {
        Ending::Whole | Ending::Torn(_) if !missing.is_empty() => {
            return replace_missing(&disk, &missing, yes);
        }
        Ending::Whole if damage.is_empty() => {
            tell("the log is whole; there is nothing to repair")?;
            return Ok(ExitCode::SUCCESS);
        }
        Ending::Torn(place) if damage.is_empty() => {
            tell_place(place, "torn")?;
            tell(&format!(
                "there is nothing to repair: a server that starts cuts this{}",
                never_confirmed(place)
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        Ending::Whole | Ending::Torn(_) => {
            tell("cutting helps nothing there: put the files back from a copy. Nothing was changed")?;
            return Ok(ExitCode::from(DAMAGED));
        }
        Ending::Damaged(place) => place,
    };
    tell_place(place, "damaged")?;
    let last = inspection.summary.last_position;
    let lost = lost(place, last);
    if !yes {
        tell(&format!("cutting it there loses {lost}; --yes does it. Nothing was changed"))?;
        return Ok(ExitCode::from(DAMAGED));
    }
    let kept = repair(&disk, place)?;
    let kept = match kept.as_slice() {
        [] => "Nothing had to be cut".to_owned(),
        kept => format!("What was cut is kept in {}", kept.join(", ")),
    };
    tell(&format!("cut: the log ends with position {last} now. It has lost {lost}. {kept}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Files with messages that are not there may not come back.
fn replace_missing(disk: &Disk, missing: &[Gap], yes: bool) -> Result<ExitCode> {
    for Gap { messages, positions: (first, last), .. } in missing {
        tell(&format!(
            "{messages} messages of positions {first} to {last} are missing, counted once for each queue that they wait in"
        ))?;
    }
    if !yes {
        tell(
            "put the files back from a copy. If there is none, --yes puts empty files in their place: a server starts then, and these queues wait there until they are purged. Nothing was changed",
        )?;
        return Ok(ExitCode::from(DAMAGED));
    }
    let names = stand_in(disk, missing)?;
    tell(&format!(
        "a server starts now; for what is missing stands {}, to be removed by whoever puts it back",
        names.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of a torn end.
fn never_confirmed(place: &Place) -> &'static str {
    match place.last_behind {
        None => ": it was never confirmed",
        Some(_) => ", and keeps it beside: it is not known to have been synced",
    }
}

/// What a repair loses.
fn lost(place: &Place, last: u64) -> String {
    let commits = format!("every commit after position {last}");
    match place.messages {
        0 => commits,
        count => format!(
            "{commits}, and {count} messages of before, counted once for each queue that they wait in, which stops there"
        ),
    }
}
