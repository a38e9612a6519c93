//! Load for servers that speak AMQP 0-9-1, through one queue. Each message says who published it, which one it is and
//! when; so every run proves that all arrived, once, in the order of each publisher.

mod check;
mod consumer;
mod link;
mod message;
mod producer;
mod run;

use crate::bench::flags::{Flag, Flags, flag};
use anyhow::{Result, bail};

/// What the command line can say.
pub(crate) const FLAGS: &[Flag] = &[
    flag("host", "NAME", "127.0.0.1", "the server"),
    flag("port", "N", "5672", "its port"),
    flag("user", "NAME", "guest", "user"),
    flag("password", "TEXT", "guest", "password"),
    flag("vhost", "NAME", "/", "virtual host"),
    flag("workload", "NAME", "publish-consume", "publish-consume, confirm (no consumers unless told), get"),
    flag("messages", "N", "100000", "messages of the run"),
    flag("size", "BYTES", "64", "size of a body, at least 16"),
    flag("producers", "N", "1", "publishing connections"),
    flag("consumers", "N", "1", "consuming connections"),
    flag("ack", "auto|manual", "auto", "who acknowledges"),
    flag("ack-every", "N", "16", "manual: one ack with 'multiple' for so many deliveries; 1: each by itself"),
    flag("prefetch", "N", "0", "basic.qos of each consumer; 0: no bound"),
    flag("confirm", "", "", "publisher confirms"),
    flag("persistent", "", "", "delivery mode 2"),
    flag("durable", "", "", "a durable queue"),
    flag(
        "in-flight",
        "N",
        "4096",
        "most messages published and not delivered, or not confirmed (each publisher)",
    ),
    flag("json", "", "", "one line of JSON"),
    flag("csv", "", "", "two lines of CSV"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    PublishConsume,
    Confirm,
    Get,
}

struct Options {
    host: String,
    port: u16,
    user: String,
    password: String,
    vhost: String,
    workload: Workload,
    messages: u64,
    size: usize,
    producers: usize,
    consumers: usize,
    manual_ack: bool,
    ack_every: u64,
    prefetch: u16,
    confirm: bool,
    persistent: bool,
    durable: bool,
    in_flight: u64,
    queue: String,
}

impl Options {
    fn read(flags: &Flags) -> Result<Options> {
        let workload = match flags.text("workload") {
            "publish-consume" => Workload::PublishConsume,
            "confirm" => Workload::Confirm,
            "get" => Workload::Get,
            other => bail!("--workload: '{other}' is none of publish-consume, confirm, get"),
        };
        let manual_ack = match flags.text("ack") {
            "auto" => false,
            "manual" => true,
            other => bail!("--ack: '{other}' is neither auto nor manual"),
        };
        let consumers = match workload {
            Workload::Confirm if !flags.has("consumers") => 0,
            Workload::Confirm => flags.number("consumers")?,
            Workload::PublishConsume | Workload::Get => flags.positive("consumers")?,
        };
        let (prefetch, ack_every) = (flags.number("prefetch")?, flags.positive("ack-every")?);
        let options = Options {
            host: flags.text("host").into(),
            port: flags.number("port")?,
            user: flags.text("user").into(),
            password: flags.text("password").into(),
            vhost: flags.text("vhost").into(),
            workload,
            messages: flags.positive("messages")?,
            size: flags.number("size")?,
            producers: flags.positive("producers")?,
            consumers,
            manual_ack,
            // A consumer that waits for more than it may hold would wait for ever.
            ack_every: if prefetch == 0 { ack_every } else { ack_every.min(u64::from(prefetch)) },
            prefetch,
            confirm: workload != Workload::PublishConsume || flags.has("confirm"),
            persistent: flags.has("persistent"),
            durable: flags.has("durable"),
            in_flight: flags.positive("in-flight")?,
            queue: format!("leveret-bench-{}", std::process::id()),
        };
        if options.size < message::STAMP_BYTES {
            bail!("--size is at least {}: publisher, number and time are in the body", message::STAMP_BYTES);
        }
        Ok(options)
    }

    fn consumes(&self) -> bool {
        self.consumers > 0
    }

    fn test_name(&self) -> String {
        let mut name = flag_of(self.workload).to_owned();
        let words = [
            (self.consumes(), if self.manual_ack { "manual-ack" } else { "auto-ack" }),
            (self.confirm, "confirmed"),
            (self.persistent, "persistent"),
            (self.durable, "durable"),
        ];
        for (_, word) in words.iter().filter(|(said, _)| *said) {
            name = format!("{name} {word}");
        }
        name
    }
}

fn flag_of(workload: Workload) -> &'static str {
    match workload {
        Workload::PublishConsume => "publish-consume",
        Workload::Confirm => "confirm",
        Workload::Get => "get",
    }
}

/// Runs the load and prints what it has measured.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let options = Options::read(flags)?;
    run::measure(&options)?.print(flags);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        Options::read(&Flags::parse(FLAGS, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?)
    }

    #[test]
    fn options_agree_with_each_other() {
        assert_eq!(options("").unwrap().test_name(), "publish-consume auto-ack");
        let confirm = options("--workload confirm --persistent").unwrap();
        assert_eq!((confirm.consumers, confirm.confirm), (0, true));
        assert_eq!(confirm.test_name(), "confirm confirmed persistent");
        assert_eq!(options("--prefetch 5 --ack-every 16").unwrap().ack_every, 5);
        for bad in ["--size 8", "--ack perhaps", "--workload nothing", "--consumers 0", "--ack-every 0"] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }
}
