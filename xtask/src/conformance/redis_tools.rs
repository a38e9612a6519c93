//! Debian's redis-tools: the command line with arguments, inline and in bulk, and the benchmark as a load that must not
//! fail. The trap: redis-benchmark ends with success even when the server answered errors, so its output is read.

use super::server::Server;
use crate::step::output;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

const BENCHMARK: &str = "ping,set,get,incr,lpush,rpush,lpop,rpop,mset";
const BULK: usize = 10_000;

/// Runs all of it; gives the number of checks.
pub(super) fn run(server: &Server) -> Result<usize> {
    let port = server.resp_port.to_string();
    Ok(command_line(&port)? + inline(&port)? + bulk(&port)? + benchmark(&port)?)
}

fn cli(port: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new("redis-cli");
    command.args(["-p", port]).args(args);
    Ok(output(command)?.trim_end().to_owned())
}

fn equal(got: &str, expected: &str) -> Result<()> {
    if got != expected { bail!("got {got:?} instead of {expected:?}") } else { Ok(()) }
}

fn command_line(port: &str) -> Result<usize> {
    let conversation: &[(&[&str], &str)] = &[
        (&["ping"], "PONG"),
        (&["set", "hare", "quick"], "OK"),
        (&["get", "hare"], "quick"),
        (&["-3", "hello"], ""),
        (&["rpush", "list", "a", "b"], "2"),
        (&["lrange", "list", "0", "-1"], "a\nb"),
        (&["incr", "hare"], "ERR value is not an integer or out of range"),
        (&["-n", "9", "exists", "hare"], "0"),
        (&["-r", "3", "incr", "thrice"], "1\n2\n3"),
    ];
    for (args, expected) in conversation {
        let got = cli(port, args)?;
        match *args {
            // It differs in every connection; that it names its protocol is enough.
            ["-3", "hello"] if got.contains("proto") => {}
            _ => equal(&got, expected).with_context(|| format!("redis-cli {args:?}"))?,
        }
    }
    Ok(conversation.len())
}

/// Commands as plain lines, as a person types them through telnet.
fn inline(port: &str) -> Result<usize> {
    let answers = fed(port, &[], b"SET 'inline key' \"a\\x41\"\nGET \"inline key\"\nDEL 'inline key'\n")?;
    equal(answers.trim_end(), "OK\naA\n1")?;
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", port.parse()?))?;
    socket.write_all(b"PING\r\nECHO \"two words\"\r\n\r\nQUIT\r\n")?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut socket, &mut text)?;
    equal(&text, "+PONG\r\n$9\r\ntwo words\r\n+OK\r\n")?;
    Ok(2)
}

fn fed(port: &str, args: &[&str], input: &[u8]) -> Result<String> {
    let mut child = Command::new("redis-cli")
        .args(["-p", port])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("standard input is piped")?.write_all(input)?;
    Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
}

/// `redis-cli --pipe`: ten thousand commands, raw.
fn bulk(port: &str) -> Result<usize> {
    let mut commands = String::new();
    for i in 0..BULK {
        let key = format!("bulk:{i}");
        write!(
            commands,
            "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{i}\r\n",
            key.len(),
            i.to_string().len()
        )?;
    }
    let answer = fed(port, &["--pipe"], commands.as_bytes())?;
    if !answer.contains(&format!("errors: 0, replies: {BULK}")) {
        bail!("redis-cli --pipe said {answer}");
    }
    equal(&cli(port, &["get", &format!("bulk:{}", BULK - 1)])?, &(BULK - 1).to_string())?;
    Ok(2)
}

#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
fn benchmark(port: &str) -> Result<usize> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", port, "-q", "-e", "-n", "20000", "-P", "16", "-t", BENCHMARK]);
    let text = output(command)?;
    let results: Vec<&str> =
        text.split(['\r', '\n']).filter(|line| line.contains("requests per second")).collect();
    println!("{}", results.join("\n"));
    if text.to_lowercase().contains("err") || results.len() < 10 {
        bail!("redis-benchmark said {text}");
    }
    Ok(results.len())
}
