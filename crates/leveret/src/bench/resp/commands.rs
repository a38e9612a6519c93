//! The tests by name: the command, the kind of its reply, and a batch of it in which only the keys' digits change.

use leveret_resp::encode_command;

/// Stands for the twelve digits of a key.
const DIGITS: &str = "000000000000";

/// One kind of load.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    /// Words, separated by blanks; `{digits}` becomes the key's number, `{value}` the value.
    command: &'static str,
    /// First byte of a right reply.
    pub(crate) reply: u8,
    /// Null is a right reply as well, and counted.
    pub(crate) may_be_missing: bool,
}

const fn test(name: &'static str, command: &'static str, reply: u8) -> Test {
    Test { name, command, reply, may_be_missing: reply == b'$' }
}

/// All of them; keys are named as redis-benchmark names them.
pub(crate) const TESTS: &[Test] = &[
    test("ping", "PING", b'+'),
    test("set", "SET key:{digits} {value}", b'+'),
    test("get", "GET key:{digits}", b'$'),
    test("incr", "INCR counter:{digits}", b':'),
    test("del", "DEL key:{digits}", b':'),
    test("exists", "EXISTS key:{digits}", b':'),
    test("setex", "SETEX key:{digits} 3600 {value}", b'+'),
    test("lpush", "LPUSH mylist {value}", b':'),
    test("rpush", "RPUSH mylist {value}", b':'),
    test("lpop", "LPOP mylist", b'$'),
    test("rpop", "RPOP mylist", b'$'),
    test("lrange_100", "LRANGE mylist 0 99", b'*'),
    test("lrange_600", "LRANGE mylist 0 599", b'*'),
    test("sadd", "SADD myset element:{digits}", b':'),
    test("sismember", "SISMEMBER myset element:{digits}", b':'),
    test("hset", "HSET myhash element:{digits} {value}", b':'),
    test("hget", "HGET myhash element:{digits}", b'$'),
    test("zadd", "ZADD myzset {digits} element:{digits}", b':'),
    test("zscore", "ZSCORE myzset element:{digits}", b'$'),
    Test { may_be_missing: true, ..test("zrank", "ZRANK myzset element:{digits}", b':') },
    test("zrange", "ZRANGE myzset {digits} +inf BYSCORE LIMIT 0 10", b'*'),
    test("zrange_rank", "ZRANGE myzset 500000 500009", b'*'),
    test(
        "mset",
        "MSET key:{digits} {value} kez:{digits} {value} kea:{digits} {value} keb:{digits} {value} kec:{digits} {value} ked:{digits} {value} kee:{digits} {value} kef:{digits} {value} keg:{digits} {value} keh:{digits} {value}",
        b'+',
    ),
    // Collections of ten elements, each made by one command.
    test(
        "small_hash",
        "HSET hash:{digits} field:0 {value} field:1 {value} field:2 {value} field:3 {value} field:4 {value} field:5 {value} field:6 {value} field:7 {value} field:8 {value} field:9 {value}",
        b':',
    ),
    test(
        "small_list",
        "RPUSH list:{digits} {value}:0 {value}:1 {value}:2 {value}:3 {value}:4 {value}:5 {value}:6 {value}:7 {value}:8 {value}:9",
        b':',
    ),
    test(
        "small_set",
        "SADD set:{digits} {value}:0 {value}:1 {value}:2 {value}:3 {value}:4 {value}:5 {value}:6 {value}:7 {value}:8 {value}:9",
        b':',
    ),
    test(
        "small_zset",
        "ZADD zset:{digits} 100 {value}:0 200 {value}:1 300 {value}:2 400 {value}:3 500 {value}:4 600 {value}:5 700 {value}:6 800 {value}:7 900 {value}:8 1000 {value}:9",
        b':',
    ),
];

/// A command on the wire, and where the digits of its keys are.
pub(crate) struct Template {
    bytes: Vec<u8>,
    digits: Vec<usize>,
}

impl Test {
    /// The command with values of so many bytes.
    pub(crate) fn encode(&self, value_bytes: usize) -> Template {
        let value = "x".repeat(value_bytes);
        let (mut bytes, mut digits) = (Vec::new(), Vec::new());
        let words: Vec<String> = self
            .command
            .split(' ')
            .map(|word| word.replace("{digits}", DIGITS).replace("{value}", &value))
            .collect();
        encode_command(&mut bytes, &words.iter().map(String::as_bytes).collect::<Vec<_>>());
        // The encoding of each word again, to learn where it ends.
        let mut end = bytes.len();
        for (pattern, word) in self.command.rsplit(' ').zip(words.iter().rev()) {
            end -= 2;
            if let Some(at) = pattern.find("{digits}") {
                digits.push(end - word.len() + at);
            }
            end -= word.len() + 3 + word.len().to_string().len();
        }
        Template { bytes, digits }
    }
}

/// A batch of one command, sent again and again with other keys.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    command_bytes: usize,
    digits: Vec<usize>,
    count: usize,
}

impl Batch {
    /// Room for `pipeline` commands.
    pub(crate) fn new(template: &Template, pipeline: usize) -> Self {
        let command_bytes = template.bytes.len();
        let bytes = template.bytes.repeat(pipeline);
        Self { bytes, command_bytes, digits: template.digits.clone(), count: 0 }
    }

    /// Makes it a batch of `count` commands with keys from `pick`, which is told the key's place in its command,
    /// counted from the end.
    #[inline]
    pub(crate) fn fill(&mut self, count: u64, mut pick: impl FnMut(usize) -> u64) {
        self.count = count as usize;
        if self.digits.is_empty() {
            return;
        }
        for command in self.bytes.chunks_exact_mut(self.command_bytes).take(self.count) {
            for (place, &at) in self.digits.iter().enumerate() {
                write_digits(command.get_mut(at..at + DIGITS.len()).unwrap_or_default(), pick(place));
            }
        }
    }

    /// What goes to the server.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.count * self.command_bytes).unwrap_or_default()
    }

    /// Commands in it.
    pub(crate) fn sent(&self) -> u64 {
        self.count as u64
    }
}

#[inline]
fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(name: &str, count: u64) -> String {
        let test = TESTS.iter().find(|test| test.name == name).unwrap();
        let mut batch = Batch::new(&test.encode(3), 2);
        let mut next = 41;
        batch.fill(count, |_| {
            next += 1;
            next
        });
        String::from_utf8(batch.bytes().to_vec()).unwrap()
    }

    #[test]
    fn digits_are_placed() {
        let set = |key: u32| format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$3\r\nxxx\r\n");
        assert_eq!(batch("set", 2), set(42) + &set(43));
        assert_eq!(batch("set", 1), set(42));
        assert_eq!(batch("ping", 2), "*1\r\n$4\r\nPING\r\n".repeat(2));
        assert!(batch("mset", 1).contains("keh:000000000042"), "{}", batch("mset", 1));
        assert!(batch("mset", 1).contains("key:000000000051"), "{}", batch("mset", 1));
    }

    #[test]
    fn every_command_is_well_formed() {
        for test in TESTS {
            let template = test.encode(64);
            let reply = leveret_resp::skip_reply(&template.bytes).unwrap();
            assert_eq!(reply, Some(template.bytes.len()), "{}", test.name);
        }
    }
}
