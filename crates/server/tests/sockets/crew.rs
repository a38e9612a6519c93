//! Those who wait for the disk, on several event loops whose threads change.

use crate::{connect, free_port, start_with};
use leveret_server::{Fsync, PlacementBy};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const CLIENTS: usize = 40;
const COMMANDS: usize = 600;

/// Sends commands, a few at a time, and waits for their answers.
fn talk(mut stream: TcpStream, client: usize) {
    // A loop that nobody serves is noticed.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let at_once = 1 + client % 3;
    for turn in 0..COMMANDS / at_once {
        let commands: String = (0..at_once).map(|i| format!("SET {client}:{turn}:{i} {turn}\r\n")).collect();
        stream.write_all(commands.as_bytes()).unwrap();
        let mut answers = vec![0; 5 * at_once];
        stream.read_exact(&mut answers).unwrap();
        assert_eq!(answers, b"+OK\r\n".repeat(at_once));
        if turn % 10 == client % 10 {
            std::thread::sleep(Duration::from_micros(100 * client as u64));
        }
    }
}

#[test]
fn whoever_waits_for_the_disk_is_answered_whichever_thread_serves_it() {
    let port = free_port();
    let (server, directory) = start_with("crew", port, |settings| {
        settings.set_fsync(Fsync::Always);
        settings.io_threads = 2;
        settings.placement = PlacementBy::Connection;
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let stream = connect(port);
            std::thread::spawn(move || talk(stream, client))
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let expected: usize = (0..CLIENTS).map(|client| COMMANDS / (1 + client % 3) * (1 + client % 3)).sum();
    assert_eq!(server.shared.engine.lock().keyspace.len(0), expected);
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}
