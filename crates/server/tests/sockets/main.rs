//! A whole server with sockets: somebody or a script holds its engine for too long, it moves to another port, or its threads change.

mod crew;
mod messages;
mod migrate;

use leveret_server::{Fsync, Settings};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;

fn ask(stream: &mut TcpStream, command: &[u8]) -> String {
    stream.write_all(command).unwrap();
    let mut answer = [0; 512];
    let len = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

fn free_port() -> u16 {
    // None that the kernel gives to clients: nobody takes it before the server listens on it.
    let mut ports = std::iter::repeat_with(|| fastrand::u16(15_000..32_000));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn start(name: &str, port: u16) -> (leveret_server::Server, std::path::PathBuf) {
    start_with(name, port, |_| {})
}

fn start_with(
    name: &str,
    port: u16,
    set: impl FnOnce(&mut Settings),
) -> (leveret_server::Server, std::path::PathBuf) {
    let directory = std::env::temp_dir().join(format!("leveret-{name}-{}", std::process::id()));
    let mut settings = Settings::new(directory.clone());
    settings.bind = vec!["127.0.0.1".into()];
    (settings.resp_port, settings.amqp_port) = (port, 0);
    settings.busy_after_ms.store(50, Ordering::Relaxed);
    set(&mut settings);
    (leveret_server::start(settings).unwrap(), directory)
}

#[test]
fn another_port_is_listened_on_before_the_old_one_is_left() {
    let (first, second) = (free_port(), free_port());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let (server, directory) = start("port", first);
    let mut client = TcpStream::connect(("127.0.0.1", first)).unwrap();
    let refused = ask(&mut client, format!("CONFIG SET maxclients 77 port {taken_port}\r\n").as_bytes());
    assert!(
        refused
            .starts_with("-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen"),
        "{refused}"
    );
    let kept = format!("*2\r\n$4\r\nport\r\n${}\r\n{first}\r\n", first.to_string().len());
    assert_eq!(ask(&mut client, b"CONFIG GET port\r\n"), kept);
    assert!(ask(&mut client, b"CONFIG GET maxclients\r\n").contains("10000"));
    TcpStream::connect(("127.0.0.1", first)).unwrap();
    // Away and back within one turn, then away.
    let there_and_back = format!("CONFIG SET port {second}\r\nCONFIG SET port {first}\r\nPING\r\n");
    let mut answer = ask(&mut client, there_and_back.as_bytes());
    while !answer.ends_with("+PONG\r\n") {
        answer += &ask(&mut client, b"");
    }
    assert_eq!(answer, "+OK\r\n+OK\r\n+PONG\r\n");
    let mut other = TcpStream::connect(("127.0.0.1", first)).unwrap();
    assert_eq!(ask(&mut other, format!("CONFIG SET port {second}\r\n").as_bytes()), "+OK\r\n");
    assert!(TcpStream::connect(("127.0.0.1", first)).is_err(), "nobody listens there any more");
    let mut moved = TcpStream::connect(("127.0.0.1", second)).unwrap();
    assert_eq!(ask(&mut moved, b"PING\r\n"), "+PONG\r\n");
    // Who was there stays.
    assert_eq!(ask(&mut client, b"CONFIG SET port 0\r\n"), "+OK\r\n");
    assert!(TcpStream::connect(("127.0.0.1", second)).is_err());
    assert_eq!(ask(&mut client, b"PING\r\n"), "+PONG\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
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
    let port = free_port();
    let (server, directory) = start("script", port);
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
fn what_came_before_a_script_without_end_is_answered_while_it_runs() {
    for fsync in [Fsync::Everysec, Fsync::Always] {
        let port = free_port();
        let (server, directory) = start_with("before", port, |settings| {
            settings.io_threads = 1;
            settings.busy_after_ms.store(1000, Ordering::Relaxed);
            settings.set_fsync(fsync);
        });
        let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(port)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(ask(client, b"PING\r\n"), "+PONG\r\n"));
        let [first, writer, reader, runs] = clients.as_mut_slice() else { unreachable!("there are four") };
        // All that comes while one command is executed is in one turn afterwards.
        first.write_all(b"EVAL \"for i = 1, 2e7 do end\" 0\r\n").unwrap();
        writer.write_all(b"SET a 1\r\n").unwrap();
        reader.write_all(b"GET a\r\n").unwrap();
        runs.write_all(b"EVAL \"while true do end\" 0\r\n").unwrap();
        assert_eq!(ask(first, b""), "$-1\r\n");
        // Both scripts let others in after a second.
        let (written, read) = (ask(writer, b""), ask(reader, b""));
        assert!(written == "+OK\r\n" || written.starts_with("-BUSY"), "{written}");
        assert!(["$1\r\n1\r\n", "$-1\r\n"].contains(&&*read) || read.starts_with("-BUSY"), "{read}");
        ask_until(writer, b"PING\r\n", &["-BUSY"]);
        assert_eq!(ask(reader, b"SCRIPT KILL\r\n"), "+OK\r\n");
        assert!(ask(runs, b"").starts_with("-ERR Script killed"));
        server.stop();
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn whatever_a_script_catches_it_is_stopped() {
    let port = free_port();
    let (server, directory) = start("stopped", port);
    let (mut runs, mut other) = (connect(port), connect(port));
    for script in [
        "while true do xpcall(function() error(1) end, function() while true do end end) end",
        "local function h() for i=1,15000 do end end local function g() for i=1,8000 do coroutine.wrap(h)() end end while true do coroutine.wrap(g)() end",
        "while true do string.gsub('x', 'x', function() for i = 1, 1e6 do end end) end",
    ] {
        runs.write_all(format!("EVAL \"{script}\" 0\r\n").as_bytes()).unwrap();
        ask_until(&mut other, b"PING\r\n", &["-BUSY"]);
        assert_eq!(ask(&mut other, b"SCRIPT KILL\r\n"), "+OK\r\n");
        let mut answer = [0; 512];
        let len = runs.read(&mut answer).unwrap();
        assert!(answer[..len].starts_with(b"-ERR Script killed"), "{script}");
    }
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn deep_values_and_much_memory_cost_a_script_only_itself() {
    let port = free_port();
    let (server, directory) = start("deep", port);
    let mut runs = connect(port);
    for script in [
        "cjson.encode_max_depth(2000000) local t={} for i=1,200000 do t={t} end return #cjson.encode(t)",
        "local function go(k) if k==0 then return cjson.decode(string.rep('[',1000)..string.rep(']',1000)) end return (('x'):gsub('x', function() go(k-1) end)) end return go(190)",
        "local t={} for i=1,1e9 do t[i]=string.rep('x',1000000)..i end return 1",
        "local t={} for i=1,5000 do t={t} end return t",
    ] {
        let answer = ask(&mut runs, format!("EVAL \"{script}\" 0\r\n").as_bytes());
        assert!(answer.starts_with(['-', '$', '*']), "{script}: {answer}");
        while !ask(&mut runs, b"ECHO done\r\n").contains("done") {}
    }
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_script_that_has_written_is_not_stopped() {
    let port = free_port();
    let (server, directory) = start("unkillable", port);
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
fn counting_may_begin_anew_in_the_middle_of_a_turn() {
    let port = free_port();
    let (server, directory) = start("counts", port);
    let mut stream = connect(port);
    assert_eq!(ask(&mut stream, b"SET k v\r\n"), "+OK\r\n");
    assert_eq!(ask(&mut stream, b"CONFIG RESETSTAT\r\n"), "+OK\r\n");
    assert_eq!(ask(&mut stream, b"GET k\r\n"), "$1\r\nv\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_held_engine_makes_commands_busy_and_nothing_else() {
    let port = free_port();
    let (server, directory) = start("busy", port);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(&mut stream, b"SET k v\r\n"), "+OK\r\n");
    let held = server.shared.engine.lock();
    let busy = ask(&mut stream, b"SET k other\r\n");
    assert!(busy.starts_with("-BUSY "), "{busy}");
    // Who speaks HTTP is not listened to any more, also when the engine is free again.
    let mut browser = TcpStream::connect(("127.0.0.1", port)).unwrap();
    browser.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(ask(&mut stream, b"PING\r\n").starts_with("-BUSY "));
    drop(held);
    browser.write_all(b"SET k browser\r\n").unwrap();
    let mut told = Vec::new();
    let ended = browser.read_to_end(&mut told);
    assert!(told.is_empty() && ended.is_ok_and(|len| len == 0), "{told:?}");
    // It was refused, not put off.
    assert_eq!(ask(&mut stream, b"GET k\r\n"), "$1\r\nv\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}
