//! Unmodified clients against the built binary. Each program gets the addresses by environment variables and a server
//! of its own with a fresh data directory; programs that restart the server get the binary's path.

use crate::step::{Steps, check, root};
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A program under `conformance/python`, and whether it starts the server itself.
struct Program {
    name: &'static str,
    starts_server: bool,
    /// Long, or not yet steady: not part of `cargo xtask test`.
    on_demand: bool,
}

const PROGRAMS: &[Program] = &[
    Program { name: "resp_commands", starts_server: false, on_demand: false },
    Program { name: "amqp_methods", starts_server: false, on_demand: false },
    Program { name: "kill_nine", starts_server: true, on_demand: false },
    Program { name: "celery_app", starts_server: true, on_demand: true },
];

/// Runs one program, or all.
pub(crate) fn run(name: &str) -> Steps {
    let mut steps = Steps::default();
    let wanted: Vec<&Program> = PROGRAMS
        .iter()
        .filter(|program| program.name == name || name == "all" || (name == "short" && !program.on_demand))
        .collect();
    if wanted.is_empty() {
        steps.run("conformance", || bail!("there is no program '{name}'"));
    }
    if let Err(error) = python() {
        for program in wanted {
            steps.skip(
                &format!("conformance: {}", program.name),
                &format!("no Python environment: {error:#}"),
            );
        }
        return steps;
    }
    for program in wanted {
        steps.run(&format!("conformance: {}", program.name), || run_program(program));
    }
    if matches!(name, "all" | "short" | "redis-cli") {
        redis_tools(&mut steps);
    }
    steps
}

/// The virtual environment with the clients, made when it is missing or its list has changed.
fn python() -> Result<PathBuf> {
    let (venv, list) = (root().join("target/venv"), root().join("conformance/requirements.txt"));
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements.stamp"));
    let wanted = std::fs::read_to_string(&list)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    check({
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(&venv);
        command
    })?;
    check({
        let mut command = Command::new(&python);
        command.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&list);
        command
    })?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn binary() -> PathBuf {
    root().join("target/release/leveret")
}

/// A server that is stopped when it goes out of scope.
struct Running {
    child: Child,
    dir: PathBuf,
    resp_port: u16,
    amqp_port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn start_server(name: &str) -> Result<Running> {
    let dir = root().join(format!("target/conformance/{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let (resp_port, amqp_port) = (free_port()?, free_port()?);
    let log = std::fs::File::create(dir.join("server.log"))?;
    let child = Command::new(binary())
        .args(["serve", "--bind", "127.0.0.1", "--resp-port", &resp_port.to_string()])
        .args(["--amqp-port", &amqp_port.to_string(), "--data-dir"])
        .arg(dir.join("data"))
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("the server cannot be started")?;
    let mut running = Running { child, dir, resp_port, amqp_port };
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", resp_port)).is_err() {
        let ended = running.child.try_wait()?;
        if ended.is_some() || started.elapsed() > Duration::from_secs(20) {
            let log = std::fs::read_to_string(running.dir.join("server.log")).unwrap_or_default();
            bail!("the server did not start: {log}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

fn run_program(program: &Program) -> Result<()> {
    let script = root().join(format!("conformance/python/{}.py", program.name));
    let mut command = Command::new(python()?);
    command.arg(script).env("LEVERET_BINARY", binary()).env("PYTHONDONTWRITEBYTECODE", "1");
    if program.starts_server {
        return check(command);
    }
    let server = start_server(program.name)?;
    command.env("LEVERET_RESP_PORT", server.resp_port.to_string());
    command.env("LEVERET_AMQP_PORT", server.amqp_port.to_string());
    check(command).inspect_err(|_| {
        eprintln!("{}", std::fs::read_to_string(server.dir.join("server.log")).unwrap_or_default());
    })
}

/// Debian's redis-tools: the command line, bulk loading, and the benchmark as a load that must not fail.
fn redis_tools(steps: &mut Steps) {
    let name = "conformance: redis-cli and redis-benchmark";
    if !have("redis-benchmark") && !install("redis-tools") {
        return steps.skip(name, "the Debian package redis-tools is missing and cannot be installed (run: apt-get install redis-tools)");
    }
    steps.run(name, || {
        let server = start_server("redis-tools")?;
        let port = server.resp_port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port, "set", "hare", "quick"]).output()?;
        if output.stdout != b"OK\n" {
            bail!("redis-cli set answered {:?}", String::from_utf8_lossy(&output.stdout));
        }
        check({
            let mut command = Command::new("redis-benchmark");
            command.args([
                "-p",
                &port,
                "-q",
                "-n",
                "20000",
                "-P",
                "16",
                "-t",
                "ping,set,get,incr,lpush,rpush,lpop,rpop,mset",
            ]);
            command
        })
    });
}

fn have(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn install(package: &str) -> bool {
    if !is_root() {
        return false;
    }
    let apt = |args: &[&str]| {
        Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    apt(&["update", "-qq"]) && apt(&["install", "-y", "-qq", "--no-install-recommends", package])
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
