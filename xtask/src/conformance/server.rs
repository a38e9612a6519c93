//! A server for one suite, stopped when the suite is over: ours, or Debian's redis-server and rabbitmq-server beside each
//! other as the reference that a program must pass as well.

use crate::step::{output, target};
use anyhow::{Context, Result, bail};
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::BuildHasher;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Debian's script; the one on the path changes the user first.
pub(crate) const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const START_MAX: Duration = Duration::from_secs(90);

/// A running server, or the two references.
pub(super) struct Server {
    children: Vec<Child>,
    dir: PathBuf,
    pub(super) resp_port: u16,
    pub(super) amqp_port: u16,
    /// The reference has none.
    pub(super) http_port: u16,
    reference: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself; then there is nothing left to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The binary under test: `LEVERET_BINARY`, or what `cargo build --release` makes.
pub(crate) fn binary() -> Result<PathBuf> {
    let path =
        std::env::var_os("LEVERET_BINARY").map_or_else(|| target().join("release/leveret"), PathBuf::from);
    if !path.exists() {
        bail!("{} is not there: cargo build --release --package leveret", path.display());
    }
    Ok(path)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    // None that the kernel gives to clients: nobody takes it before the server listens on it.
    let mut ports = (0..1000).map(|_| 15_000 + (RandomState::new().hash_one(()) % 17_000) as u16);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(free).context("there is no free port")
}

/// The commands that start RabbitMQ's name server and RabbitMQ itself, all of whose files are in `dir`, which is `seen` by it.
pub(crate) fn rabbitmq(dir: &Path, seen: &Path, amqp_port: u16) -> Result<(Command, Command)> {
    let epmd_port = free_port()?.to_string();
    let mut epmd = Command::new("epmd");
    epmd.args(["-port", &epmd_port, "-address", "127.0.0.1"]);
    std::fs::write(dir.join("enabled_plugins"), "[].\n")?;
    let dir = seen;
    let enabled = dir.join("enabled_plugins");
    let mut rabbitmq = Command::new(RABBITMQ);
    rabbitmq
        .env("HOME", dir)
        .env("ERL_EPMD_PORT", &epmd_port)
        .env("RABBITMQ_NODENAME", format!("reference{amqp_port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", amqp_port.to_string())
        .env("RABBITMQ_DIST_PORT", free_port()?.to_string())
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", &enabled)
        .env("RABBITMQ_CONFIG_FILE", dir.join("none"))
        // Without a shell between us and it, so that it can be stopped by its own number.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env("RABBITMQ_SERVER_START_ARGS", "-noinput");
    Ok((epmd, rabbitmq))
}

impl Server {
    /// Starts our binary on free ports with a fresh data directory.
    pub(super) fn leveret(suite: &str) -> Result<Server> {
        Server::leveret_with(suite, &[])
    }

    /// Likewise, on a Unix socket as well.
    pub(super) fn leveret_on(suite: &str, socket: &Path) -> Result<Server> {
        Server::leveret_with(suite, &["--unixsocket".as_ref(), socket.as_ref()])
    }

    fn leveret_with(suite: &str, options: &[&OsStr]) -> Result<Server> {
        let mut server = Server::nothing_yet(suite, false)?;
        let mut command = Command::new(binary()?);
        command.args(["serve", "--bind", "127.0.0.1", "--enable-debug-command", "yes"]);
        command.args([
            "--resp-port",
            &server.resp_port.to_string(),
            "--amqp-port",
            &server.amqp_port.to_string(),
            "--http-port",
            &server.http_port.to_string(),
        ]);
        command.arg("--data-dir").arg(server.dir.join("data")).args(options);
        server.spawn(command, "server.log")?;
        server.wait(server.resp_port)?;
        server.wait(server.amqp_port)?;
        server.wait(server.http_port)?;
        Ok(server)
    }

    /// Starts redis-server and rabbitmq-server.
    pub(super) fn reference(suite: &str) -> Result<Server> {
        Server::reference_with(suite, &[])
    }

    /// Likewise, redis-server on a Unix socket as well.
    pub(super) fn reference_on(suite: &str, socket: &Path) -> Result<Server> {
        Server::reference_with(suite, &["--unixsocket".as_ref(), socket.as_ref()])
    }

    fn reference_with(suite: &str, redis_options: &[&OsStr]) -> Result<Server> {
        let mut server = Server::nothing_yet(suite, true)?;
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--port", &server.resp_port.to_string(), "--save", ""]);
        redis.args(["--appendonly", "yes", "--enable-debug-command", "yes", "--dir"]).arg(&server.dir);
        redis.args(redis_options);
        server.spawn(redis, "redis.log")?;
        let (epmd, rabbitmq) = rabbitmq(&server.dir, &server.dir, server.amqp_port)?;
        server.spawn(epmd, "epmd.log")?;
        server.spawn(rabbitmq, "rabbitmq.log")?;
        server.wait(server.resp_port)?;
        server.wait(server.amqp_port)?;
        Ok(server)
    }

    fn nothing_yet(suite: &str, reference: bool) -> Result<Server> {
        let dir = target().join(format!("conformance/{suite}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let [resp_port, amqp_port, http_port] = [free_port()?, free_port()?, free_port()?];
        Ok(Server { children: Vec::new(), dir, resp_port, amqp_port, http_port, reference })
    }

    fn spawn(&mut self, mut command: Command, log: &str) -> Result<()> {
        let log = File::create(self.dir.join(log))?;
        let name = command.get_program().to_owned();
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.children
            .push(command.spawn().with_context(|| format!("cannot start {}", Path::new(&name).display()))?);
        Ok(())
    }

    /// Waits until somebody listens.
    fn wait(&mut self, port: u16) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("the server ended with {status}\n{}", self.log());
                }
            }
            if started.elapsed() > START_MAX {
                bail!("nobody listens on port {port}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Tells a client program where the server is.
    pub(super) fn tell(&self, command: &mut Command) {
        command.env("LEVERET_RESP_PORT", self.resp_port.to_string());
        command.env("LEVERET_AMQP_PORT", self.amqp_port.to_string());
        command.env("LEVERET_HTTP_PORT", self.http_port.to_string());
        if self.reference {
            command.env("LEVERET_REFERENCE", "1");
        }
    }

    /// What it has printed.
    fn log(&self) -> String {
        let mut tail = Command::new("sh");
        tail.arg("-c").arg("tail -n 60 \"$0\"/*.log").arg(&self.dir);
        output(tail).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Shows what it has printed, and whether it has ended by itself: something has failed.
    pub(super) fn show_log(&mut self) {
        eprintln!("{}", self.log());
        for child in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                eprintln!("the server has ended by itself: {status}");
            }
        }
    }
}
