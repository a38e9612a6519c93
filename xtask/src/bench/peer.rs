//! A server under load: started on a core of its own with an empty directory, asked until it answers, stopped by its
//! number when it goes out of scope.

use super::{SERVER_CORE, process};
use crate::conformance::server::{RABBITMQ, binary, free_port, rabbitmq};
use crate::peers;
use crate::step::{output, target};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(90);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Leveret,
    Redis,
    Valkey,
    RabbitMq,
    LeveretAlways,
    RedisAlways,
    /// Both at once, for what Leveret does by itself.
    RedisAndRabbitMq,
}

/// The words that start a program: the newest one if `cargo xtask peers` has brought it, else Debian's.
fn words(name: &str, installed: &str) -> Option<Vec<String>> {
    peers::program(name).or_else(|| Path::new(installed).exists().then(|| vec![installed.to_owned()]))
}

impl Kind {
    fn package(self) -> Option<&'static str> {
        match self {
            Kind::Leveret | Kind::LeveretAlways => None,
            Kind::Redis | Kind::RedisAlways => Some("redis-server"),
            Kind::Valkey => Some("valkey-server"),
            Kind::RabbitMq => Some("rabbitmq-server"),
            Kind::RedisAndRabbitMq => None,
        }
    }

    /// The processes that it is.
    pub(super) fn parts(self) -> &'static [Kind] {
        match self {
            Kind::Leveret => &[Kind::Leveret],
            Kind::Redis => &[Kind::Redis],
            Kind::Valkey => &[Kind::Valkey],
            Kind::RabbitMq => &[Kind::RabbitMq],
            Kind::LeveretAlways => &[Kind::LeveretAlways],
            Kind::RedisAlways => &[Kind::RedisAlways],
            Kind::RedisAndRabbitMq => &[Kind::Redis, Kind::RabbitMq],
        }
    }

    /// The words that start it, if it is there.
    fn words(self) -> Option<Vec<String>> {
        match self {
            Kind::Leveret | Kind::LeveretAlways => Some(vec![binary().ok()?.display().to_string()]),
            Kind::Redis | Kind::RedisAlways => words("redis-server", "/usr/bin/redis-server"),
            Kind::Valkey => words("valkey-server", "/usr/bin/valkey-server"),
            Kind::RabbitMq => words(RABBITMQ, RABBITMQ),
            Kind::RedisAndRabbitMq => None,
        }
    }

    pub(super) fn is_installed(self) -> bool {
        self.words().is_some()
    }

    /// Debian's package and its version.
    pub(super) fn version(self) -> String {
        let Some(package) = self.package() else { return "Leveret".to_owned() };
        let mut query = match peers::folder() {
            Some(root) => {
                let mut query = Command::new("chroot");
                query.arg(root).arg("dpkg-query");
                query
            }
            None => Command::new("dpkg-query"),
        };
        query.args(["-W", "-f", "${Version}", package]);
        let version = output(query).unwrap_or_else(|_| "(not installed)".to_owned());
        let version = version.split_once(':').map_or(version.as_str(), |(_, version)| version);
        let version = version.split_once('-').map_or(version, |(version, _)| version);
        format!("Debian's {package} {version}")
    }

    fn speaks_resp(self) -> bool {
        self != Kind::RabbitMq
    }

    fn speaks_amqp(self) -> bool {
        matches!(self, Kind::Leveret | Kind::LeveretAlways | Kind::RabbitMq)
    }
}

/// A running server.
pub(super) struct Peer {
    pub(super) kind: Kind,
    /// Settings of Leveret's that are not those of all rows.
    settings: &'static [&'static str],
    /// What it may run on.
    cores: &'static str,
    children: Vec<Child>,
    /// The one that is measured.
    pid: u32,
    dir: PathBuf,
    pub(super) resp_port: u16,
    pub(super) amqp_port: u16,
    /// Of Leveret's `/metrics`.
    pub(super) http_port: u16,
    /// From its start until the first answer.
    pub(super) resp_after: Option<Duration>,
    pub(super) amqp_after: Option<Duration>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself; then there is nothing left to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Peer {
    /// Starts it and waits until it answers.
    pub(super) fn start(kind: Kind) -> Result<Peer> {
        Self::start_on(SERVER_CORE, kind, &[])
    }

    /// Likewise on these cores, and with further settings, if it is Leveret.
    pub(super) fn start_on(
        cores: &'static str,
        kind: Kind,
        settings: &'static [&'static str],
    ) -> Result<Peer> {
        let (resp_port, amqp_port, http_port) = (free_port()?, free_port()?, free_port()?);
        let name = format!("{kind:?}-{}-{resp_port}", std::process::id());
        let dir = match peers::folder().filter(|_| kind.package().is_some()) {
            Some(root) => root.join("tmp").join(name),
            None => target().join("bench").join(name),
        };
        std::fs::create_dir_all(&dir)?;
        let mut peer = Peer {
            kind,
            settings,
            cores,
            children: Vec::new(),
            pid: 0,
            dir,
            resp_port,
            amqp_port,
            http_port,
            resp_after: None,
            amqp_after: None,
        };
        peer.start_again()?;
        Ok(peer)
    }

    /// Starts it on what its directory has, and waits until it answers.
    pub(super) fn start_again(&mut self) -> Result<()> {
        let command = self.command()?;
        let started = Instant::now();
        self.pid = self.spawn(command, "server.log")?;
        if self.kind.speaks_resp() {
            let (question, answer) = (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n");
            self.resp_after = Some(self.wait(self.resp_port, question, answer, started)?);
        }
        if self.kind.speaks_amqp() {
            // A method frame on channel 0 begins the answer.
            self.amqp_after =
                Some(self.wait(self.amqp_port, b"AMQP\x00\x00\x09\x01", &[1, 0, 0], started)?);
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(&mut self) -> Result<()> {
        output({
            let mut command = Command::new("kill");
            command.arg(self.pid.to_string());
            command
        })?;
        for child in self.children.drain(..).rev() {
            let mut child = child;
            if child.id() == self.pid {
                child.wait()?;
            } else {
                child.kill()?;
            }
        }
        Ok(())
    }

    /// Where it has its files.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where Leveret has its log.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&mut self) -> Result<Command> {
        let words = self.kind.words().context("it is not installed")?;
        let always = matches!(self.kind, Kind::LeveretAlways | Kind::RedisAlways);
        let fsync = if always { "always" } else { "everysec" };
        match self.kind {
            Kind::Leveret | Kind::LeveretAlways => {
                let mut command = process::pinned(self.cores)?;
                command.args(&words);
                command.args(["serve", "--bind", "127.0.0.1", "--io-threads", "1", "--appendfsync", fsync]);
                command.args(["--auto-aof-rewrite-percentage", "0"]);
                command.args(["--http-port", &self.http_port.to_string()]);
                command.args(["--resp-port", &self.resp_port.to_string()]);
                command.args(["--amqp-port", &self.amqp_port.to_string()]);
                command.arg("--data-dir").arg(self.data_dir()).args(self.settings);
                Ok(command)
            }
            Kind::Redis | Kind::Valkey | Kind::RedisAlways => {
                let mut command = process::pinned(self.cores)?;
                command.args(&words);
                command.args(["--bind", "127.0.0.1", "--port", &self.resp_port.to_string(), "--save", ""]);
                command.args(["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]);
                command.args(["--appendfsync", fsync, "--dir"]).arg(self.inner_dir());
                Ok(command)
            }
            Kind::RabbitMq => {
                peers::name_machine()?;
                let (epmd, rabbitmq) = rabbitmq(&self.dir, &self.inner_dir(), self.amqp_port)?;
                let mut started = Command::new("env");
                if let Some(root) = peers::folder() {
                    started = Command::new("chroot");
                    started.arg(root);
                }
                started.arg(epmd.get_program()).args(epmd.get_args());
                self.spawn(started, "epmd.log")?;
                let mut command = process::pinned(self.cores)?;
                command.args(&words);
                for (name, value) in rabbitmq.get_envs() {
                    command.env(name, value.unwrap_or_default());
                }
                Ok(command)
            }
            Kind::RedisAndRabbitMq => bail!("its parts are started"),
        }
    }

    /// The number of the process; `prlimit` and `taskset` become what they start.
    fn spawn(&mut self, mut command: Command, log: &str) -> Result<u32> {
        let log = File::create(self.dir.join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let pid = child.id();
        self.children.push(child);
        Ok(pid)
    }

    /// Asks until the answer begins as it should: the time since the start.
    fn wait(&mut self, port: u16, question: &[u8], answer: &[u8], started: Instant) -> Result<Duration> {
        loop {
            if ask(port, question, answer.len()).is_ok_and(|bytes| bytes == answer) {
                return Ok(started.elapsed());
            }
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("it ended with {status}\n{}", self.log());
                }
            }
            if started.elapsed() > START_MAX {
                bail!("it does not answer on port {port}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Its folder as it sees it itself.
    fn inner_dir(&self) -> PathBuf {
        let root = peers::folder().unwrap_or_default();
        self.dir.strip_prefix(root).map_or_else(|_| self.dir.clone(), |inner| Path::new("/").join(inner))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    pub(super) fn cpu_ticks(&self) -> Result<u64> {
        process::cpu_ticks(self.pid)
    }

    pub(super) fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.pid)
    }
}

fn ask(port: u16, question: &[u8], answer_bytes: usize) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(question)?;
    let mut answer = vec![0; answer_bytes];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
