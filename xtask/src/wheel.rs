//! The Python package with the server's binary in it: `target/wheel/leveret-…-py3-none-linux_x86_64.whl`, made by pip and
//! tried as a user has it, in a virtual environment that has nothing else.

use crate::build_release;
use crate::conformance::server::binary;
use crate::step::{output, root, target};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the fresh environment has to be able to do with nothing but the wheel: find the binary, start it, use it.
const TRIAL: &str = "
import leveret
from leveret.outbox import outbox
with leveret.Server() as server:
    client = server.redis()
    assert client.ping()
    with leveret.Queue(client=server.url) as queue:
        queue.put('item')
        assert queue.get(timeout=5) == 'item'
    with outbox(client) as tx:
        tx.set('key', 1)
    assert client.get('key') == b'1'
print(leveret.find_binary())
";

/// A test of somebody who has installed the wheel and pytest.
const FIXTURE_TRIAL: &str = "
def test_the_fixture(leveret_server):
    assert leveret_server.redis().ping()
";

/// Builds the wheel and tries it. `LEVERET_BINARY` is taken instead of a release build if it is set.
#[allow(clippy::print_stdout, reason = "this is a command-line tool")]
pub(crate) fn make() -> Result<()> {
    if std::env::var_os("LEVERET_BINARY").is_none() {
        build_release()?;
    }
    let folder = target().join("wheel");
    empty(&folder)?;
    let sources = staged(&folder, &binary()?)?;
    let python = environment(&folder.join("build-venv"))?;
    let mut build = Command::new(&python);
    build.args(["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]).arg(&folder).arg(&sources);
    output(build)?;
    let wheel = wheel_in(&folder)?;
    try_it(&folder, &wheel)?;
    for done in ["build-venv", "trial-venv", "sources", "trial"] {
        std::fs::remove_dir_all(folder.join(done)).with_context(|| done.to_owned())?;
    }
    println!("{} ({} bytes)", wheel.display(), std::fs::metadata(&wheel)?.len());
    Ok(())
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// A copy of the package with the stripped binary: setuptools writes beside what it builds.
fn staged(folder: &Path, binary: &Path) -> Result<PathBuf> {
    let sources = folder.join("sources");
    std::fs::create_dir_all(sources.join("bin"))?;
    let mut copy = Command::new("cp");
    copy.arg("-r");
    for part in ["pyproject.toml", "setup.py", "README.md", "src"] {
        copy.arg(root().join("python").join(part));
    }
    output({
        copy.arg(&sources);
        copy
    })?;
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(sources.join("bin/leveret")).arg(binary);
    output(strip).context("the program strip is needed (Debian: binutils)")?;
    Ok(sources)
}

/// A new virtual environment; gives its interpreter.
fn environment(venv: &Path) -> Result<PathBuf> {
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(venv);
    output(make).context("a Python 3 with venv is needed (Debian: python3-venv)")?;
    Ok(venv.join("bin/python"))
}

fn wheel_in(folder: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("leveret-") && name.ends_with(".whl") {
            // A wheel for any platform would be one without the binary.
            if !name.contains("-py3-none-linux_") {
                bail!("{name} is not a wheel of this platform");
            }
            return Ok(path);
        }
    }
    bail!("pip has made no wheel")
}

fn try_it(folder: &Path, wheel: &Path) -> Result<()> {
    let python = environment(&folder.join("trial-venv"))?;
    let bin = python.parent().context("an interpreter is in a folder")?.to_owned();
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "pytest"]).arg(wheel);
    output(install)?;
    let mut version = Command::new(bin.join("leveret"));
    version.arg("--version");
    let said = output(version)?;
    if !said.to_lowercase().contains(env!("CARGO_PKG_VERSION")) {
        bail!("leveret --version says {said}");
    }
    let trial = folder.join("trial");
    std::fs::create_dir_all(&trial)?;
    std::fs::write(trial.join("test_fixture.py"), FIXTURE_TRIAL)?;
    let mut run = Command::new(&python);
    run.args(["-c", TRIAL]).current_dir(&trial).env_remove("LEVERET_BINARY").env_remove("PYTHONPATH");
    let found = output(run)?;
    if Path::new(found.trim()) != bin.join("leveret") {
        bail!("the package starts {found} and not what the wheel has installed");
    }
    let mut pytest = Command::new(&python);
    pytest.args(["-m", "pytest", "-q"]).current_dir(&trial);
    pytest.env_remove("LEVERET_BINARY").env_remove("PYTHONPATH");
    let said = output(pytest)?;
    if !said.contains("1 passed") {
        bail!("the fixture: {said}");
    }
    Ok(())
}
