//! `leveret check`: would this binary start, with these settings and on this data directory? Everything is read as a server reads it, and
//! nothing is changed.

use crate::config;
use crate::times::utc;
use anyhow::{Result, anyhow, bail};
use leveret_server::{Checked, Counts};
use leveret_wal::{Ending, FORMATS, Held};
use std::io::Write;

const HELP: &str = "\
Usage: leveret check --data-dir DIR [--config FILE.toml] [--KEY VALUE …]
       leveret check --config FILE.toml [--KEY VALUE …]

Reads the settings as a start would: file, environment and flags, with every value. Ports and addresses are not tried.

Then, if a data directory is named by a flag, or no file, it reads checkpoint and log with this binary as a start would, to the
last change, and changes nothing; before an upgrade, with the new binary, also beside a running server of the old one. It takes as much
memory as a server with this data.

It ends with 0 when this binary can start so, and otherwise with 1 and the reason; also when it can, but messages that wait in
queues cannot be read.
";

fn tell(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// `leveret check`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return tell(HELP.trim_end());
    }
    let settings = config::read(args)?;
    let data_dir = settings.data_dir.clone();
    let file = settings.file.as_ref().map(|file| file.path.display().to_string());
    leveret_server::check_settings(settings).map_err(|error| anyhow!("{error}"))?;
    if let Some(file) = file {
        tell(&format!("it can start with {file}"))?;
    }
    if config::is_given(args, "config") && !config::is_given(args, "data-dir") {
        return tell(&format!("what is in {0} was not read; --data-dir {0} does that", data_dir.display()));
    }
    let [segments, blocks, checkpoints] = FORMATS;
    tell(&format!(
        "leveret {} reads segments of format {segments}, blocks of format {blocks}, checkpoints of format {checkpoints}",
        env!("CARGO_PKG_VERSION")
    ))?;
    let checked = match leveret_server::check(&data_dir) {
        Ok(checked) => checked,
        Err(error) => bail!("it cannot start on {}: {error}", data_dir.display()),
    };
    tell_state(&checked)?;
    match &checked.inspection.ending {
        Ending::Whole => {}
        Ending::Torn(_) if checked.is_used => tell("a server is writing to it")?,
        Ending::Torn(place) => tell(&format!(
            "its end is torn in {} at byte {} ({}): a start cuts that, which was never confirmed",
            place.file, place.offset, place.reason
        ))?,
        Ending::Damaged(place) => bail!(
            "it cannot start on {}: {} is damaged at byte {}: {}; see 'leveret log repair'",
            data_dir.display(),
            place.file,
            place.offset,
            place.reason
        ),
    }
    refuse_damage(&checked.held)?;
    tell(&format!("it can start on {}", data_dir.display()))
}

/// What is damaged and what is missing of the files before the checkpoint, each with what that means.
pub(crate) fn held_damage(held: &Held) -> Vec<String> {
    let mut said: Vec<String> = held
        .missing
        .iter()
        .map(|what| format!("the checkpoint is not whole: {what}; a server refuses to start"))
        .collect();
    said.extend(held.damage.iter().map(|(file, offset, reason)| {
        format!("{file} is damaged at byte {offset}: {reason}; a server starts, and queues with messages from there that cannot be read wait for them")
    }));
    said
}

/// A server starts without messages that cannot be read, but nobody gets them.
pub(crate) fn refuse_damage(held: &Held) -> Result<()> {
    match held_damage(held).into_iter().next() {
        Some(damage) => bail!("{damage}"),
        None => Ok(()),
    }
}

/// What was read, and what it amounts to.
pub(crate) fn tell_state(checked: &Checked) -> Result<()> {
    let inspection = &checked.inspection;
    if let Some(head) = inspection.checkpoint {
        tell(&format!("read: a checkpoint of position {}, made {}", head.position, utc(head.time_ms)))?;
    }
    let summary = &inspection.summary;
    let mut text = format!("read: {} segments, {} records", inspection.segments, summary.records);
    if summary.records > 0 {
        let last = utc(summary.last_time_ms);
        text += &format!(
            ", positions {} to {}, the last of {last}",
            summary.first_position, summary.last_position
        );
    }
    tell(&text)?;
    for notice in &summary.noticed {
        tell(&format!("noticed: {notice}"))?;
    }
    if checked.held.files > 0 {
        let Held { files, messages, .. } = checked.held;
        tell(&format!("read: {files} files for {messages} messages in queues that only they have"))?;
    }
    let Counts { keys, databases, libraries, users, vhosts, exchanges, queues, messages } = checked.counts;
    tell(&format!(
        "{keys} keys in {databases} databases, {libraries} libraries; {vhosts} vhosts, {exchanges} exchanges, {queues} queues, {messages} messages; {users} users"
    ))
}
