//! Messages of publish/subscribe between answers: a RESP2 client tells them apart by their place only.

use super::{ask, connect, free_port, start_with};
use std::io::{Read, Write};

#[test]
fn a_message_that_was_published_before_comes_before_the_next_answer() {
    for io_threads in [1, 2] {
        let port = free_port();
        let (server, directory) = start_with("messages", port, |settings| settings.io_threads = io_threads);
        let (mut listens, mut publishes) = (connect(port), connect(port));
        for round in 0..200 {
            assert!(ask(&mut listens, b"SUBSCRIBE c\r\n").ends_with("c\r\n:1\r\n"));
            publishes.write_all(b"PUBLISH c hello\r\n").unwrap();
            listens.write_all(b"UNSUBSCRIBE c\r\nGET k\r\n").unwrap();
            let mut told = String::new();
            while !told.ends_with("$-1\r\n") {
                told += &ask(&mut listens, b"");
            }
            let gone = "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n$-1\r\n";
            let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n";
            let count = ask(&mut publishes, b"");
            let heard = if count == ":1\r\n" { message } else { "" };
            assert_eq!(told, format!("{heard}{gone}"), "round {round}");
        }
        server.stop();
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn one_that_publishes_to_itself_hears_it_behind_the_answer_and_before_the_next() {
    let port = free_port();
    let (server, directory) = start_with("itself", port, |_| {});
    let mut client = connect(port);
    client.write_all(b"HELLO 3\r\nECHO ready\r\n").unwrap();
    while !ask(&mut client, b"").ends_with("ready\r\n") {}
    client.write_all(b"SUBSCRIBE c\r\nPUBLISH c 1\r\nSET a 1\r\nUNSUBSCRIBE c\r\nPING\r\n").unwrap();
    let expected = concat!(
        ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        ":1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n1\r\n",
        "+OK\r\n",
        ">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
        "+PONG\r\n",
    );
    let mut told = vec![0; expected.len()];
    client.read_exact(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told), expected);
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}
