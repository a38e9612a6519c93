//! A whole server with sockets, whose engine somebody holds for too long.

use leveret_server::Settings;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;

fn ask(stream: &mut TcpStream, command: &[u8]) -> String {
    stream.write_all(command).unwrap();
    let mut answer = [0; 512];
    let len = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

#[test]
fn a_held_engine_makes_commands_busy_and_nothing_else() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = std::env::temp_dir().join(format!("leveret-busy-{}", std::process::id()));
    let mut settings = Settings::new(directory.clone());
    settings.bind = vec!["127.0.0.1".into()];
    (settings.resp_port, settings.amqp_port) = (port, 0);
    settings.busy_after_ms.store(50, Ordering::Relaxed);
    let server = leveret_server::start(settings).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
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
