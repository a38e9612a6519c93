//! `leveret ctl`: what `rabbitmqctl` does for RabbitMQ, over the management API of a running server.

mod api;
mod verbs;

use anyhow::{Result, bail};
use api::Api;
use serde_json::Value;
use std::io::Write;
use verbs::VERBS;

/// What stands before and between the arguments of a verb.
#[derive(Default)]
struct Options {
    url: Option<String>,
    user: Option<String>,
    password: Option<String>,
    vhost: Option<String>,
    quiet: bool,
    json: bool,
    /// Of single verbs: `--apply-to queues`.
    named: Vec<(String, String)>,
}

/// Flags without a value.
const SWITCHES: [&str; 4] = ["quiet", "no-table-headers", "silent", "json"];

/// A verb with its arguments, as it is run.
struct Call {
    api: Api,
    vhost: String,
    args: Vec<String>,
    options: Options,
}

impl Call {
    fn arg(&self, i: usize) -> &str {
        self.args.get(i).map_or("", String::as_str)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.named.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Prints a line for the person at the terminal.
    fn say(&self, line: &str) {
        if !self.options.quiet && !self.options.json {
            put(line);
        }
    }

    /// Prints rows with these columns between tabs, as `rabbitmqctl` does.
    fn print_rows(&self, rows: &Value, columns: &[&str]) {
        if self.options.json {
            put(&rows.to_string());
            return;
        }
        if !self.options.quiet {
            put(&columns.join("\t"));
        }
        for row in rows.as_array().into_iter().flatten() {
            let cells: Vec<String> = columns.iter().map(|column| cell(&row[*column])).collect();
            put(&cells.join("\t"));
        }
    }
}

/// Prints a line. Who reads only the first ones is satisfied.
fn put(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(cell).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Runs a verb.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let (options, mut args) = parse(args)?;
    if args.is_empty() || args[0] == "help" {
        print_help();
        return Ok(());
    }
    let name = args.remove(0);
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        bail!("there is no '{name}'; 'leveret ctl help' lists what there is");
    };
    let (least, most) = verb.args_count();
    if args.len() < least || args.len() > most {
        bail!("usage: leveret ctl {} {}", verb.name, verb.args);
    }
    let api = Api::new(
        options.url.clone().or_else(|| std::env::var("LEVERET_HTTP_URL").ok()),
        options.user.as_deref().unwrap_or("guest"),
        options.password.as_deref().unwrap_or("guest"),
    );
    let vhost = options.vhost.clone().unwrap_or_else(|| "/".into());
    (verb.run)(&Call { api, vhost, args, options })
}

fn parse(args: &[String]) -> Result<(Options, Vec<String>)> {
    let (mut options, mut rest) = (Options::default(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let name = match arg.as_str() {
            "-p" => "vhost",
            "-q" | "-s" => "quiet",
            "--" => {
                rest.extend(args.by_ref().cloned());
                break;
            }
            other => match other.strip_prefix("--") {
                Some(name) => name,
                None => {
                    rest.push(other.to_owned());
                    continue;
                }
            },
        };
        let (name, given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        if SWITCHES.contains(&name) {
            (options.quiet, options.json) = (options.quiet || name != "json", options.json || name == "json");
            continue;
        }
        let value = given.or_else(|| args.next().cloned());
        let Some(value) = value else { bail!("--{name} needs a value") };
        match name {
            "url" => options.url = Some(value),
            "user" => options.user = Some(value),
            "password" => options.password = Some(value),
            "vhost" => options.vhost = Some(value),
            "formatter" => options.json = value == "json",
            _ => options.named.push((name.to_owned(), value)),
        }
    }
    Ok((options, rest))
}

fn print_help() {
    put(
        "Usage: leveret ctl [--url URL] [--user NAME] [--password TEXT] [-p VHOST] [--json] [-q] VERB [ARG …]\n",
    );
    put(
        "Asks the management API of a running server; http://127.0.0.1:15672 (LEVERET_HTTP_URL) and guest unless told.\n",
    );
    for verb in VERBS {
        put(&format!("  {} {}\n        {}", verb.name, verb.args, verb.help));
    }
}
