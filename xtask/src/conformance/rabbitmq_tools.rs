//! Debian's amqp-tools, the command line of rabbitmq-c: declare, publish, get, consume and delete, and what they say when they
//! are refused.

use super::server::Server;
use anyhow::{Context, Result, bail};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Program and arguments, standard input, how it ends, and what it says on either output.
type Case = (&'static [&'static str], &'static str, i32, &'static str);

const CASES: &[Case] = &[
    (&["amqp-declare-queue", "-d", "-q", "tools"], "", 0, "tools\n"),
    (&["amqp-publish", "-r", "tools", "-p", "-C", "text/plain", "-H", "key: value", "-b", "one"], "", 0, ""),
    (&["amqp-publish", "-r", "tools", "-l"], "two\nthree\nfour\n", 0, ""),
    (&["amqp-get", "-q", "tools"], "", 0, "one"),
    (&["amqp-consume", "-q", "tools", "-c", "2", "-p", "1", "cat"], "", 0, "two\nthree\n"),
    (&["amqp-consume", "-q", "tools", "-A", "-c", "1", "cat"], "", 0, "four\n"),
    (&["amqp-publish", "-r", "tools"], "as a whole\nof two lines\n", 0, ""),
    (&["amqp-get", "-q", "tools"], "", 0, "as a whole\nof two lines\n"),
    // Nothing is there.
    (&["amqp-get", "-q", "tools"], "", 2, ""),
    (
        &["amqp-get", "-q", "nobody"],
        "",
        1,
        "basic.get: server channel error 404, message: NOT_FOUND - no queue 'nobody' in vhost '/'\n",
    ),
    (
        &["amqp-publish", "-e", "nowhere", "-r", "x", "-b", "lost"],
        "",
        1,
        "closing channel: server channel error 404, message: NOT_FOUND - no exchange 'nowhere' in vhost '/'\n",
    ),
    (&["amqp-publish", "-r", "tools", "-b", "left"], "", 0, ""),
    (
        &["amqp-delete-queue", "-q", "tools", "--if-empty"],
        "",
        1,
        "queue.delete: server channel error 406, message: PRECONDITION_FAILED - queue 'tools' in vhost '/' not empty\n",
    ),
    (&["amqp-delete-queue", "-q", "tools", "--if-unused"], "", 0, "1\n"),
    (&["amqp-delete-queue", "-q", "tools"], "", 0, "0\n"),
    (
        &["amqp-declare-queue", "--password=wrong", "-q", "x"],
        "",
        1,
        "logging in to AMQP server: server connection error 403, message: ACCESS_REFUSED - Login was refused using \
         authentication mechanism PLAIN. For details see the broker logfile.\n",
    ),
    (
        &["amqp-get", "--vhost=nowhere", "-q", "x"],
        "",
        1,
        "logging in to AMQP server: server connection error 530, message: NOT_ALLOWED - vhost nowhere not found\n",
    ),
];

/// Runs all of it; gives the number of checks.
pub(super) fn run(server: &Server) -> Result<usize> {
    for (line, input, code, says) in CASES {
        let child = spawn(server, line)?;
        let said = said(child, input)?;
        if said != (Some(*code), (*says).to_owned()) {
            bail!("{line:?} ended like this: {said:?}");
        }
    }
    Ok(CASES.len() + bound(server)?)
}

fn spawn(server: &Server, line: &[&str]) -> Result<std::process::Child> {
    let (program, args) = line.split_first().context("a line begins with a program")?;
    let mut command = Command::new(program);
    command.args(["--server", "localhost", "--port", &server.amqp_port.to_string()]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// How it ends and what it says when it has read its input.
fn said(mut child: std::process::Child, input: &str) -> Result<(Option<i32>, String)> {
    child.stdin.take().context("standard input is piped")?.write_all(input.as_bytes())?;
    let done = child.wait_with_output()?;
    let text = [done.stdout, done.stderr].concat();
    Ok((done.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

/// A queue of the consumer's own, bound to an exchange. It says its name when it is there; what is published is retried,
/// as nobody says when it is bound.
fn bound(server: &Server) -> Result<usize> {
    let line = ["amqp-consume", "-e", "amq.topic", "-r", "tools.#", "-x", "-c", "1", "cat"];
    let mut consumer = spawn(server, &line)?;
    for _ in 0..100 {
        let publish =
            spawn(server, &["amqp-publish", "-e", "amq.topic", "-r", "tools.bound", "-b", "to all"])?;
        said(publish, "")?;
        if consumer.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    if consumer.try_wait()?.is_none() {
        consumer.kill()?;
    }
    let (code, text) = said(consumer, "")?;
    if code != Some(0) || !text.starts_with("to allServer provided queue name: amq.gen-") {
        bail!("{line:?} ended like this: {code:?} {text:?}");
    }
    Ok(2)
}
