//! A worker that speaks Redis' protocol: each message is one `MULTI` … `EXEC` with its lease in it, and what it takes next comes with the
//! same round trip.

use super::key::{Keyed, set};
use super::{Course, Options, Worker};
use crate::bench::socket::{Socket, connect};
use anyhow::{Context, Result, bail};
use leveret_resp::{encode_command, parse_reply, skip_reply};
use mio::Registry;

const INPUT_BYTES: usize = 16 * 1024;
/// What a message is answered: `MULTI`, three commands, and `EXEC` with their answers.
const DONE: &[u8] = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:1\r\n:1\r\n";

pub(super) struct Exec {
    socket: Socket,
    /// From `MULTI` to the publish.
    before: Keyed,
    take: Vec<u8>,
    /// Messages whose answer is to come, and when they were taken.
    working: usize,
    since_ns: u64,
    /// What was asked for has not come.
    takes: bool,
    /// Messages that go back at the end.
    returning: usize,
    tokens: Vec<Vec<u8>>,
}

impl Exec {
    pub(super) fn open(options: &Options) -> Result<Self> {
        let queue = options.amqp.queue.as_bytes();
        let mut before = Vec::new();
        encode_command(&mut before, &[b"MULTI"]);
        before.extend_from_slice(&set(options.size));
        encode_command(&mut before, &[b"AMQP.PUBLISH", b"", queue, &vec![b'x'; options.size]]);
        let (mut take, count) = (Vec::new(), options.pipeline.to_string());
        encode_command(&mut take, &[b"AMQP.GET", queue, b"COUNT", count.as_bytes(), b"BLOCK", b"0"]);
        let stream = connect(&options.amqp.host, options.resp_port)?;
        Ok(Self {
            socket: Socket::new(stream, &[], INPUT_BYTES)?,
            before: Keyed::new(before),
            take,
            working: 0,
            since_ns: 0,
            takes: false,
            returning: 0,
            tokens: Vec::new(),
        })
    }

    fn read(&mut self, course: &mut Course) -> Result<()> {
        let mut used = 0;
        let input = self.socket.received();
        while let Some(rest @ [_, ..]) = input.get(used..) {
            if self.working > 0 {
                let Some(answer) = rest.get(..DONE.len()) else { break };
                if answer != DONE {
                    bail!("the server answered {}", String::from_utf8_lossy(answer));
                }
                used += DONE.len();
                self.working -= 1;
                course.ends(self.since_ns);
                continue;
            }
            let Some(bytes) = skip_reply(rest)? else { break };
            let reply = rest.get(..bytes).unwrap_or_default();
            used += bytes;
            if self.returning > 0 && reply == b":1\r\n" {
                self.returning -= 1;
                continue;
            }
            if !self.takes {
                bail!("the server answered {:?}", parse_reply(reply)?);
            }
            tokens(reply, &mut self.tokens)?;
            self.takes = false;
        }
        self.socket.consume(used);
        if self.working == 0 && !self.takes {
            self.work(course);
        }
        self.socket.flush()
    }

    /// Passes on what it has taken, and takes more as long as there is something to do.
    fn work(&mut self, course: &mut Course) {
        let out = &mut self.socket.output;
        self.since_ns = course.clock.ns();
        for token in self.tokens.drain(..) {
            if course.begins() {
                self.before.append(&mut course.keys, out);
                encode_command(out, &[b"AMQP.ACK", &token]);
                encode_command(out, &[b"EXEC"]);
                self.working += 1;
            } else {
                encode_command(out, &[b"AMQP.NACK", &token]);
                self.returning += 1;
            }
        }
        if course.unbegun > 0 {
            out.extend_from_slice(&self.take);
            self.takes = true;
        }
    }
}

/// The tokens of the messages in an answer.
fn tokens(reply: &[u8], tokens: &mut Vec<Vec<u8>>) -> Result<()> {
    // Each message is an array of six, of which only the first element is looked at.
    let end = reply.iter().position(|byte| *byte == b'\n').context("an answer without a line")? + 1;
    let mut at = end;
    while at < reply.len() {
        let message = reply.get(at..).unwrap_or_default();
        let Some(first) = message.strip_prefix(b"*6\r\n") else {
            bail!("the server answered {:?}", parse_reply(reply)?);
        };
        let length = first.iter().position(|byte| *byte == b'\n').context("a token has a length")? + 1;
        let whole = skip_reply(first)?.context("a token is whole")?;
        tokens.push(first.get(length..whole - 2).context("a token is a string")?.to_vec());
        at += skip_reply(message)?.context("a message is whole")?;
    }
    if reply.first() != Some(&b'*') {
        bail!("the server answered {:?}", parse_reply(reply)?);
    }
    Ok(())
}

impl Worker for Exec {
    fn register(&mut self, registry: &Registry, token: usize) -> Result<()> {
        self.socket.register(registry, token)
    }

    fn begin(&mut self, course: &mut Course) -> Result<()> {
        self.work(course);
        self.socket.flush()
    }

    fn socket(&mut self, _: usize) -> &mut Socket {
        &mut self.socket
    }

    fn heard(&mut self, _: usize, course: &mut Course) -> Result<()> {
        self.read(course)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found() {
        let message = |token: &str| {
            format!("*6\r\n${}\r\n{token}\r\n$1\r\n\n\r\n$0\r\n\r\n$1\r\nq\r\n:0\r\n*0\r\n", token.len())
        };
        let reply = format!("*2\r\n{}{}", message("a-1"), message("b-22"));
        let mut found = Vec::new();
        tokens(reply.as_bytes(), &mut found).unwrap();
        assert_eq!(found, [b"a-1".to_vec(), b"b-22".to_vec()]);
        assert!(tokens(b"-ERR no\r\n", &mut found).unwrap_err().to_string().contains("no"));
    }
}
