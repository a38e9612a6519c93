//! Load for servers that speak AMQP 0-9-1, through one queue or through an exchange to several. Each message says who published it, which one it is and
//! when; so every run proves that all arrived, once, in the order of each publisher.

mod check;
mod consumer;
mod hold;
mod link;
mod message;
mod noise;
mod producer;
mod run;

pub(crate) use consumer::Deliveries;
pub(crate) use link::{CHANNEL, Link, refusal};
pub(crate) use message::{Template as Message, command};

use crate::bench::flags::{Flag, Flags, flag};
use anyhow::{Result, bail};

/// What the command line can say.
pub(crate) const FLAGS: &[Flag] = &[
    flag("host", "NAME", "127.0.0.1", "the server"),
    flag("port", "N", "5672", "its port"),
    flag("user", "NAME", "guest", "user"),
    flag("password", "TEXT", "guest", "password"),
    flag("vhost", "NAME", "/", "virtual host"),
    flag(
        "workload",
        "NAME",
        "publish-consume",
        "publish-consume, confirm (no consumers unless told), get; or what is made, and kept until standard input ends: \
         connections, queues (so many as there are messages), backlog (of messages that are in the queues); or drain (what \
         another's backlog has left in --queue)",
    ),
    flag("queue", "NAME", "leveret-bench-PID", "the queue"),
    flag("messages", "N", "100000", "messages of the run"),
    flag("size", "BYTES", "64", "size of a body, at least 16"),
    flag("producers", "N", "1", "publishing connections"),
    flag("consumers", "N", "1", "consuming connections"),
    flag("ack", "auto|manual", "auto", "who acknowledges"),
    flag("ack-every", "N", "16", "manual: one ack with 'multiple' for so many deliveries; 1: each by itself"),
    flag("prefetch", "N", "0", "basic.qos of each consumer; 0: no bound"),
    flag("queues", "N", "1", "queues that each message goes to, through a fanout exchange"),
    flag("bindings", "N", "0", "bindings of a topic exchange to the queue, of which each message takes one"),
    flag("rate", "N", "0", "messages a second that are published; 0: as many as the bounds allow"),
    flag("noise", "", "", "meanwhile others send what is no AMQP, never read, and never acknowledge"),
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
    Connections,
    Queues,
    Backlog,
    Drain,
}

impl Workload {
    const ALL: [(&'static str, Workload); 7] = [
        ("publish-consume", Workload::PublishConsume),
        ("confirm", Workload::Confirm),
        ("get", Workload::Get),
        ("connections", Workload::Connections),
        ("queues", Workload::Queues),
        ("backlog", Workload::Backlog),
        ("drain", Workload::Drain),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, workload)| *workload == self).map_or("", |(name, _)| name)
    }
}

/// What a run is.
pub(crate) struct Options {
    pub(crate) host: String,
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
    queues: usize,
    bindings: u64,
    rate: u64,
    noise: bool,
    confirm: bool,
    persistent: bool,
    durable: bool,
    in_flight: u64,
    pub(crate) queue: String,
}

impl Options {
    /// One durable queue whose consumers hold so many messages, for a load that has its own flags.
    pub(crate) fn of_queue(flags: &Flags, prefetch: u16) -> Result<Options> {
        let given = [
            ("host", flags.text("host")),
            ("port", flags.text("amqp-port")),
            ("user", flags.text("user")),
            ("password", flags.text("password")),
            ("vhost", flags.text("vhost")),
            ("size", flags.text("size")),
            ("prefetch", &prefetch.to_string()),
            ("ack", "manual"),
        ];
        let mut words: Vec<String> = given.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        words.push("--durable".into());
        Options::read(&Flags::parse(FLAGS, &words)?)
    }

    fn read(flags: &Flags) -> Result<Options> {
        let named = flags.text("workload");
        let workload = Workload::ALL.iter().find(|(name, _)| *name == named).map(|(_, workload)| *workload);
        let Some(workload) = workload else {
            bail!("--workload: '{named}' is none of {}", Workload::ALL.map(|(name, _)| name).join(", "))
        };
        let (queues, bindings) = (flags.positive("queues")?, flags.number("bindings")?);
        let manual_ack = match flags.text("ack") {
            "auto" => false,
            "manual" => true,
            other => bail!("--ack: '{other}' is neither auto nor manual"),
        };
        let consumers = match workload {
            Workload::Confirm if !flags.has("consumers") => 0,
            Workload::Confirm => flags.number("consumers")?,
            // Each queue needs one.
            Workload::PublishConsume | Workload::Get | Workload::Drain => {
                flags.positive::<usize>("consumers")?.max(queues)
            }
            Workload::Connections | Workload::Queues | Workload::Backlog => 0,
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
            queues,
            bindings,
            rate: flags.number("rate")?,
            noise: flags.has("noise"),
            confirm: match workload {
                Workload::PublishConsume => flags.has("confirm"),
                Workload::Drain => false,
                Workload::Confirm
                | Workload::Get
                | Workload::Connections
                | Workload::Queues
                | Workload::Backlog => true,
            },
            persistent: flags.has("persistent"),
            durable: flags.has("durable"),
            in_flight: flags.positive("in-flight")?,
            queue: flags.text("queue").replace("PID", &std::process::id().to_string()),
        };
        if options.size < message::STAMP_BYTES {
            bail!("--size is at least {}: publisher, number and time are in the body", message::STAMP_BYTES);
        }
        if options.bindings > 0 && options.queues > 1 {
            bail!("--bindings is for one queue, --queues for one binding each");
        }
        if workload == Workload::Get && options.queues > 1 {
            bail!("--workload get asks one queue");
        }
        Ok(options)
    }

    /// The exchange, which has the name of the load; the default one when it leads to one queue without further ado.
    fn exchange(&self) -> &str {
        if self.queues > 1 || self.bindings > 0 { &self.queue } else { "" }
    }

    /// The queue of a consumer.
    fn queue(&self, consumer: usize) -> String {
        if self.queues > 1 {
            format!("{}-{}", self.queue, consumer % self.queues)
        } else {
            self.queue.clone()
        }
    }

    /// What messages are published with: the binding in the middle takes them.
    fn routing_key(&self) -> String {
        if self.bindings > 0 { format!("key{}.is.it", self.bindings / 2) } else { self.queue.clone() }
    }

    fn publishes(&self) -> bool {
        self.workload != Workload::Drain
    }

    fn consumes(&self) -> bool {
        self.consumers > 0
    }

    fn test_name(&self) -> String {
        let mut name = self.workload.name().to_owned();
        let words = [
            (self.queues > 1, "fan-out"),
            (self.bindings > 0, "topic"),
            (self.noise, "beside noise"),
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

/// Runs the load and prints what it has measured.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let options = Options::read(flags)?;
    match options.workload {
        Workload::PublishConsume | Workload::Confirm | Workload::Get | Workload::Drain => {
            let noise = options.noise.then(|| noise::Noise::begin(&options)).transpose()?;
            let report = run::measure(&options);
            noise.map_or(Ok(()), noise::Noise::end)?;
            report?.print(flags);
            Ok(())
        }
        Workload::Connections => hold::connections(&options),
        Workload::Queues => hold::queues(&options),
        Workload::Backlog => hold::backlog(&options),
    }
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
        let fan_out = options("--queues 10").unwrap();
        assert_eq!((fan_out.consumers, fan_out.exchange()), (10, &*fan_out.queue));
        assert_eq!(fan_out.queue(9), format!("{}-9", fan_out.queue));
        let drain = options("--workload drain --queue hare").unwrap();
        assert_eq!((drain.consumers, drain.publishes(), &*drain.queue), (1, false, "hare"));
        let topic = options("--bindings 1000").unwrap();
        assert_eq!(
            (topic.consumers, topic.queue(3), &*topic.routing_key()),
            (1, topic.queue, "key500.is.it")
        );
        for bad in [
            "--queues 2 --bindings 2",
            "--queues 2 --workload get",
            "--queues 0",
            "--size 8",
            "--ack perhaps",
            "--workload nothing",
            "--consumers 0",
            "--ack-every 0",
        ] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }
}
