//! MIGRATE between two whole servers, and to one that answers what the test wants.

use super::{ask, connect, free_port, start};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Two servers, a client of each, and how to end them.
struct Two {
    ports: [u16; 2],
    servers: Vec<(leveret_server::Server, std::path::PathBuf)>,
    here: TcpStream,
    there: TcpStream,
}

impl Two {
    fn new(name: &str) -> Self {
        let ports = [free_port(), free_port()];
        let servers =
            vec![start(&format!("{name}-here"), ports[0]), start(&format!("{name}-there"), ports[1])];
        Self { ports, servers, here: connect(ports[0]), there: connect(ports[1]) }
    }

    fn here(&mut self, command: &str) -> String {
        ask(&mut self.here, format!("{command}\r\n").as_bytes())
    }

    fn there(&mut self, command: &str) -> String {
        ask(&mut self.there, format!("{command}\r\n").as_bytes())
    }

    /// Keys of the first database to another one of the second server.
    fn migrate(&mut self, rest: &str) -> String {
        let port = self.ports[1];
        self.here(&format!("MIGRATE 127.0.0.1 {port} {rest}"))
    }

    fn stop(self) {
        for (server, directory) in self.servers {
            server.stop();
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}

#[test]
fn keys_of_every_type_move_with_their_deadlines_and_are_gone_after_a_restart() {
    let mut two = Two::new("moves");
    for command in [
        "SET string value PX 100000",
        "RPUSH list a b c",
        "SADD set a b c",
        "ZADD zset 1 a 2.5 b",
        "HSET hash f v g w",
        "XADD stream 1-1 f v",
        "SET stays x",
        "PFADD hll a b c",
    ] {
        assert!(!two.here(command).starts_with('-'), "{command}");
    }
    assert_eq!(two.migrate("string 3 1000"), "+OK\r\n");
    assert_eq!(two.migrate("\"\" 3 1000 KEYS list set missing zset hash stream hll"), "+OK\r\n");
    assert_eq!(two.here("KEYS *"), "*1\r\n$5\r\nstays\r\n");
    assert_eq!(two.there("SELECT 3"), "+OK\r\n");
    assert_eq!(two.there("DBSIZE"), ":7\r\n");
    assert_eq!(two.there("GET string"), "$5\r\nvalue\r\n");
    let ttl: i64 = two.there("PTTL string").trim_start_matches(':').trim_end().parse().unwrap();
    assert!((1..=100_000).contains(&ttl), "{ttl}");
    assert_eq!(two.there("LRANGE list 0 -1"), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_eq!(two.there("SCARD set"), ":3\r\n");
    assert_eq!(two.there("ZSCORE zset b"), "$3\r\n2.5\r\n");
    assert_eq!(two.there("HGET hash g"), "$1\r\nw\r\n");
    assert_eq!(two.there("XLEN stream"), ":1\r\n");
    assert_eq!(two.there("PFCOUNT hll"), ":3\r\n");
    assert_eq!(two.migrate("string 3 1000"), "+NOKEY\r\n");
    assert_eq!(two.migrate("\"\" 3 1000 KEYS string"), "+NOKEY\r\n");

    let (server, directory) = two.servers.remove(0);
    server.stop();
    let port = free_port();
    let mut settings = leveret_server::Settings::new(directory.clone());
    settings.bind = vec!["127.0.0.1".into()];
    (settings.resp_port, settings.amqp_port) = (port, 0);
    two.servers.push((leveret_server::start(settings).unwrap(), directory));
    assert_eq!(ask(&mut connect(port), b"KEYS *\r\n"), "*1\r\n$5\r\nstays\r\n");
    two.stop();
}

#[test]
fn what_the_target_refuses_stays() {
    let mut two = Two::new("refuses");
    assert_eq!(two.here("MSET a 1 b 2 c 3"), "+OK\r\n");
    assert_eq!(two.there("SET b other"), "+OK\r\n");
    let busy = "-ERR Target instance replied with error: BUSYKEY Target key name already exists.\r\n";
    assert_eq!(two.migrate("\"\" 0 1000 KEYS a b c"), busy);
    assert_eq!(two.here("MGET a b c"), "*3\r\n$-1\r\n$1\r\n2\r\n$-1\r\n");
    assert_eq!(two.there("MGET a b c"), "*3\r\n$1\r\n1\r\n$5\r\nother\r\n$1\r\n3\r\n");
    assert_eq!(two.migrate("b 0 1000 COPY REPLACE"), "+OK\r\n");
    assert_eq!((two.here("GET b"), two.there("GET b")), ("$1\r\n2\r\n".into(), "$1\r\n2\r\n".into()));

    let range = "-ERR Target instance replied with error: ERR DB index is out of range\r\n";
    assert_eq!(two.migrate("b 99 1000"), range);
    let unknown = two.migrate("b 0 1000 REPLACE AUTH2 ann wrong");
    assert!(unknown.starts_with("-ERR Target instance replied with error: WRONGPASS"), "{unknown}");
    assert_eq!(two.there("CONFIG SET requirepass pw"), "+OK\r\n");
    let no_password = two.migrate("b 0 1000 REPLACE");
    assert!(no_password.starts_with("-ERR Target instance replied with error: NOAUTH"), "{no_password}");
    assert_eq!(two.here("GET b"), "$1\r\n2\r\n");
    assert_eq!(two.migrate("b 0 1000 REPLACE AUTH pw"), "+OK\r\n");
    assert_eq!(two.here("SET b 4"), "+OK\r\n");
    assert_eq!(two.there("ACL SETUSER ann on >secret ~* +@all"), "+OK\r\n");
    assert_eq!(two.migrate("b 0 1000 AUTH2 ann secret REPLACE"), "+OK\r\n");
    assert_eq!(two.here("EXISTS b"), ":0\r\n");
    two.stop();
}

#[test]
fn many_keys_and_a_large_one_move_while_others_are_served() {
    let mut two = Two::new("many");
    let mut names = String::new();
    for i in 0..1000 {
        assert_eq!(two.here(&format!("SET key:{i} {i}")), "+OK\r\n");
        names += &format!(" key:{i}");
    }
    assert_eq!(two.here("SETRANGE large 3000000 x"), ":3000001\r\n");
    let mut other = connect(two.ports[0]);
    let port = two.ports[1];
    two.here
        .write_all(format!("MIGRATE 127.0.0.1 {port} \"\" 0 5000 KEYS large{names}\r\n").as_bytes())
        .unwrap();
    assert_eq!(ask(&mut other, b"PING\r\n"), "+PONG\r\n");
    assert_eq!(two.here(""), "+OK\r\n");
    assert_eq!(two.here("DBSIZE"), ":0\r\n");
    assert_eq!(two.there("DBSIZE"), ":1001\r\n");
    assert_eq!(two.there("GET key:999"), "$3\r\n999\r\n");
    assert_eq!(two.there("STRLEN large"), ":3000001\r\n");
    two.stop();
}

/// Reads one request of a client and gives its words.
fn request(from: &mut BufReader<TcpStream>) -> Vec<Vec<u8>> {
    let mut number = |mark: char| -> usize {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        line.trim_end().strip_prefix(mark).unwrap().parse().unwrap()
    };
    let count = number('*');
    let mut words = Vec::new();
    for _ in 0..count {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let len: usize = line.trim_end().strip_prefix('$').unwrap().parse().unwrap();
        let mut word = vec![0; len + 2];
        from.read_exact(&mut word).unwrap();
        word.truncate(len);
        words.push(word);
    }
    words
}

#[test]
fn a_key_that_is_changed_meanwhile_is_not_lost() {
    let port = free_port();
    let (server, directory) = start("meanwhile", port);
    let (mut client, mut other) = (connect(port), connect(port));
    assert_eq!(ask(&mut client, b"MSET a 1 b 2 c 3 d 4\r\n"), "+OK\r\n");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let target_port = target.local_addr().unwrap().port();
    let command = format!("MIGRATE 127.0.0.1 {target_port} \"\" 0 5000 KEYS a b c d\r\n");
    client.write_all(command.as_bytes()).unwrap();
    let mut link = BufReader::new(target.accept().unwrap().0);
    assert_eq!(request(&mut link)[0], b"SELECT");
    link.get_mut().write_all(b"+OK\r\n").unwrap();
    for key in [b"a", b"b", b"c", b"d"] {
        assert_eq!(request(&mut link)[..2], [b"RESTORE".to_vec(), key.to_vec()]);
    }
    // One is changed, one is deleted, one is written with what it was.
    assert_eq!(ask(&mut other, b"INCR b\r\n"), ":3\r\n");
    assert_eq!(ask(&mut other, b"DEL c\r\n"), ":1\r\n");
    assert_eq!(ask(&mut other, b"SET d 4\r\n"), "+OK\r\n");
    link.get_mut().write_all(b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n").unwrap();
    let answer = ask(&mut client, b"");
    assert!(answer.starts_with("-ERR the key 'b' was changed while it was on its way"), "{answer}");
    assert_eq!(ask(&mut client, b"MGET a b c d\r\n"), "*4\r\n$-1\r\n$1\r\n3\r\n$-1\r\n$1\r\n4\r\n");

    // Who has gone meanwhile has moved it all the same.
    client.write_all(format!("MIGRATE 127.0.0.1 {target_port} b 0 5000\r\n").as_bytes()).unwrap();
    let mut link = BufReader::new(target.accept().unwrap().0);
    request(&mut link);
    link.get_mut().write_all(b"+OK\r\n").unwrap();
    request(&mut link);
    drop(client);
    link.get_mut().write_all(b"+OK\r\n").unwrap();
    while ask(&mut other, b"EXISTS b\r\n") != ":0\r\n" {}
    assert_eq!(ask(&mut other, b"GET d\r\n"), "$1\r\n4\r\n");
    server.stop();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_target_that_says_nothing_costs_only_the_client_that_asked() {
    let port = free_port();
    let (server, directory) = start("silent", port);
    let (mut client, mut other) = (connect(port), connect(port));
    assert_eq!(ask(&mut client, b"SET a 1\r\n"), "+OK\r\n");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let target_port = target.local_addr().unwrap().port();
    client.write_all(format!("MIGRATE 127.0.0.1 {target_port} a 0 300\r\n").as_bytes()).unwrap();
    assert_eq!(ask(&mut other, b"GET a\r\n"), "$1\r\n1\r\n");
    assert_eq!(ask(&mut client, b""), "-IOERR error or timeout reading to target instance\r\n");
    assert_eq!(ask(&mut client, b"GET a\r\n"), "$1\r\n1\r\n");
    let nobody = free_port();
    let refused = ask(&mut client, format!("MIGRATE 127.0.0.1 {nobody} a 0 300\r\n").as_bytes());
    assert_eq!(refused, "-IOERR error or timeout writing to target instance\r\n");
    let nowhere = ask(&mut client, format!("MIGRATE nowhere.invalid {nobody} a 0 300\r\n").as_bytes());
    assert_eq!(nowhere, "-IOERR error or timeout connecting to the client\r\n");

    // A reply that does not end, and one that ends the connection.
    for reply in [vec![b'x'; 100_000], Vec::new()] {
        client.write_all(format!("MIGRATE 127.0.0.1 {target_port} a 0 300\r\n").as_bytes()).unwrap();
        // The first one was never accepted.
        let (_, mut link) = (target.accept().unwrap(), target.accept().unwrap().0);
        let _ = link.write_all(&reply);
        drop(link);
        assert_eq!(ask(&mut client, b""), "-IOERR error or timeout reading to target instance\r\n");
        drop(connect(target_port));
    }
    // The server does not wait for a target before it stops.
    client.write_all(format!("MIGRATE 127.0.0.1 {target_port} a 0 60000\r\n").as_bytes()).unwrap();
    assert_eq!(ask(&mut other, b"PING\r\n"), "+PONG\r\n");
    let begun = std::time::Instant::now();
    server.stop();
    assert!(begun.elapsed().as_secs() < 10);
    std::fs::remove_dir_all(directory).unwrap();
}
