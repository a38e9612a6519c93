//! A whole server with sockets, whose engine somebody holds for too long, or a script.

use leveret_server::{Server, Settings};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

fn ask(stream: &mut TcpStream, command: &[u8]) -> String {
    stream.write_all(command).unwrap();
    let mut answer = [0; 512];
    let len = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

/// A server on a free port, in a folder of its own.
fn start(name: &str) -> (Server, PathBuf, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = std::env::temp_dir().join(format!("leveret-{name}-{}", std::process::id()));
    let mut settings = Settings::new(directory.clone());
    settings.bind = vec!["127.0.0.1".into()];
    (settings.resp_port, settings.amqp_port) = (port, 0);
    settings.busy_after_ms.store(50, Ordering::Relaxed);
    (leveret_server::start(settings).unwrap(), directory, port)
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// Asks until the answer begins with one of these.
fn ask_until(stream: &mut TcpStream, command: &[u8], beginnings: &[&str]) -> String {
    loop {
        let answer = ask(stream, command);
        if beginnings.iter().any(|beginning| answer.starts_with(beginning)) {
            return answer;
        }
        assert!(answer.starts_with("+PONG") || answer.starts_with("-NOTBUSY"), "{answer}");
    }
}

#[test]
fn a_script_without_end_is_stopped_by_a_client_of_the_same_thread() {
    let (server, directory, port) = start("script");
    let (mut runs, mut other) = (connect(port), connect(port));
    assert_eq!(ask(&mut other, b"PING\r\n"), "+PONG\r\n");
    runs.write_all(b"EVAL \"while true do pcall(function() while true do end end) end\" 0\r\n").unwrap();
    let busy = ask_until(&mut other, b"PING\r\n", &["-BUSY"]);
    assert!(busy.contains("SCRIPT KILL"), "{busy}");
    assert!(ask(&mut other, b"FUNCTION STATS\r\n").contains("while true"));
    assert!(ask(&mut other, b"FUNCTION KILL\r\n").starts_with("-BUSY"));
    // One that comes now is let in.
    let mut late = connect(port);
    assert_eq!(ask(&mut late, b"SCRIPT KILL\r\n"), "+OK\r\n");
    let mut answer = [0; 512];
    let len = runs.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.starts_with("-ERR Script killed by user with SCRIPT KILL."), "{answer}");
    assert_eq!(ask(&mut other, b"PING\r\n"), "+PONG\r\n");
    // Scripts go on as before, and can be stopped again.
    assert_eq!(ask(&mut runs, b"EVAL \"return 7\" 0\r\n"), ":7\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_script_that_has_written_is_not_stopped() {
    let (server, directory, port) = start("unkillable");
    let (mut runs, mut other) = (connect(port), connect(port));
    let script = "local t = redis.call('SET', 'k', 'v'); for i = 1, 1e8 do t = i end; return t";
    runs.write_all(format!("EVAL \"{script}\" 0\r\n").as_bytes()).unwrap();
    let refused = ask_until(&mut other, b"SCRIPT KILL\r\n", &["-UNKILLABLE"]);
    assert!(refused.contains("SHUTDOWN NOSAVE"), "{refused}");
    let mut answer = [0; 512];
    let len = runs.read(&mut answer).unwrap();
    assert_eq!(&answer[..len], b":100000000\r\n");
    assert_eq!(ask(&mut other, b"GET k\r\n"), "$1\r\nv\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_held_engine_makes_commands_busy_and_nothing_else() {
    let (server, directory, port) = start("busy");
    let mut stream = connect(port);
    assert_eq!(ask(&mut stream, b"SET k v\r\n"), "+OK\r\n");
    let held = server.shared.engine.lock();
    let busy = ask(&mut stream, b"SET k other\r\n");
    assert!(busy.starts_with("-BUSY "), "{busy}");
    drop(held);
    // It was refused, not put off.
    assert_eq!(ask(&mut stream, b"GET k\r\n"), "$1\r\nv\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}
