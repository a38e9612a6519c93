//! The codec by example, then by mutation.

use crate::*;

fn decode(input: &[u8]) -> (Vec<Vec<String>>, Result<usize, ProtocolError>) {
    let (mut decoder, mut batch, mut input) = (Decoder::default(), Batch::default(), input.to_vec());
    let result = decoder.decode(&mut input, &mut batch);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ((0..batch.len()).map(|i| batch.args(i, &input).iter().map(text).collect()).collect(), result)
}

#[test]
fn pipelines_inline_and_pieces() {
    let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n\r\n*0\r\n*1\r\n$4\r\nPI";
    let (commands, result) = decode(input);
    assert_eq!(commands, [vec!["GET", "k"], vec!["PING"]]);
    assert_eq!(result, Ok(input.len() - 10));
}

#[test]
fn inline_quotes() {
    let (commands, _) = decode(b"set k \"a b\\x41\\n\" 'it\\'s'\r\n");
    assert_eq!(commands, [vec!["set", "k", "a bA\n", "it's"]]);
    assert_eq!(decode(b"set \"a\r\n").1, Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(decode(b"set \"a\"b\r\n").1, Err(ProtocolError::UnbalancedQuotes));
}

#[test]
fn refusals_have_redis_texts() {
    for (input, text) in [
        (&b"*a\r\n"[..], "Protocol error: invalid multibulk length"),
        (b"*2147483648\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
    ] {
        assert_eq!(decode(input).1.map_err(|e| e.to_string()), Err(text.to_owned()));
    }
    assert_eq!(decode(&[b'x'; 70_000]).1, Err(ProtocolError::TooBigInline));
    let mut decoder = Decoder::default();
    decoder.limits.authenticated = false;
    let refused = decoder.decode(&mut b"*11\r\n".to_vec(), &mut Batch::default());
    assert_eq!(refused, Err(ProtocolError::UnauthenticatedMultibulkLength));
}

#[test]
fn an_announced_count_costs_nothing_before_its_arguments_come() {
    let (mut decoder, mut batch) = (Decoder::default(), Batch::default());
    let mut input = b"*2147483647\r\n$1\r\na\r\n".to_vec();
    assert_eq!(decoder.decode(&mut input, &mut batch), Ok(0));
    assert!(decoder.ranges_kept() <= 16 && batch.is_empty());
    let count = 1_100_000;
    let mut input = format!("*{count}\r\n").into_bytes();
    (0..count).for_each(|_| input.extend_from_slice(b"$1\r\na\r\n"));
    assert_eq!(Decoder::default().decode(&mut input, &mut batch), Ok(input.len()));
    assert_eq!(batch.args(0, &input).len(), count);
}

#[test]
fn replies_in_both_versions() {
    let both = |write: fn(&mut Reply<'_>)| {
        [Version::Resp2, Version::Resp3].map(|version| {
            let mut out = Vec::new();
            write(&mut Reply::new(&mut out, version));
            String::from_utf8(out).expect("the examples are text")
        })
    };
    assert_eq!(both(|r| r.null()), ["$-1\r\n", "_\r\n"]);
    assert_eq!(both(|r| r.map(2)), ["*4\r\n", "%2\r\n"]);
    assert_eq!(both(|r| r.double(1.5)), ["$3\r\n1.5\r\n", ",1.5\r\n"]);
    assert_eq!(both(|r| r.double(3.0)), ["$1\r\n3\r\n", ",3\r\n"]);
    assert_eq!(both(|r| r.double(1e30)), ["$5\r\n1e+30\r\n", ",1e+30\r\n"]);
    assert_eq!(both(|r| r.boolean(true)), [":1\r\n", "#t\r\n"]);
    assert_eq!(both(|r| r.verbatim("txt", "hi")), ["$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"]);
    assert_eq!(both(|r| r.integer(i64::MIN))[0], ":-9223372036854775808\r\n");
    assert_eq!(both(|r| r.error("ERR a\r\nb"))[0], "-ERR a  b\r\n");
}

#[test]
fn replies_come_back() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Version::Resp3);
    reply.map(1);
    reply.bulk(b"k");
    reply.array(2);
    reply.integer(7);
    reply.null();
    let expected =
        Value::Map(vec![Value::Bulk(b"k".to_vec()), Value::Array(vec![Value::Integer(7), Value::Null])]);
    assert_eq!(parse_reply(&out), Ok(Some((expected, out.len()))));
    assert_eq!(skip_reply(&out), Ok(Some(out.len())));
    for cut in 0..out.len() {
        assert_eq!(parse_reply(&out[..cut]), Ok(None));
        assert_eq!(skip_reply(&out[..cut]), Ok(None));
    }
}

#[test]
fn values_of_resp3_come_back() {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Version::Resp3);
    assert!(reply.attribute(1));
    reply.simple("ttl");
    reply.integer(3);
    reply.push(3);
    reply.big_number("12345678901234567890123");
    reply.verbatim("txt", "hi");
    reply.double(-0.5);
    let push = Value::Push(vec![
        Value::BigNumber("12345678901234567890123".into()),
        Value::Verbatim(b"txt:hi".to_vec()),
        Value::Double("-0.5".into()),
    ]);
    let expected = Value::Attributed(vec![Value::Simple("ttl".into()), Value::Integer(3)], Box::new(push));
    assert_eq!(parse_reply(&out), Ok(Some((expected, out.len()))));
    assert_eq!(skip_reply(&out), Ok(Some(out.len())));
    assert_eq!(parse_reply(b"!5\r\nERR x\r\n"), Ok(Some((Value::Error("ERR x".into()), 11))));

    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Version::Resp2);
    assert!(!reply.attribute(1), "RESP2 has no attributes");
    reply.big_number("123");
    reply.bulk_integer(-7);
    reply.bulk_integer(i64::MIN);
    assert_eq!(out, b"$3\r\n123\r\n$2\r\n-7\r\n$20\r\n-9223372036854775808\r\n");
}

/// Counts that add up to more than a number holds are waited for, not added.
#[test]
fn skipping_survives_absurd_lengths() {
    for input in [
        &b"*2\r\n*9223372036854775807\r\n:1\r\n"[..],
        b"%9223372036854775807\r\n%9223372036854775807\r\n",
        b"*2\r\n$9223372036854775807\r\nx\r\n",
        b"|9223372036854775807\r\n|9223372036854775807\r\n",
    ] {
        assert_eq!(skip_reply(input), Ok(None));
        assert_eq!(parse_reply(input), Ok(None));
    }
}

/// Expected texts follow the rules of `d2string` in Redis 7.2 to 8.
#[test]
fn doubles_as_redis_writes_them() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (3.0, "3"),
        (-17.0, "-17"),
        (1e8, "100000000"),
        (1e18, "1000000000000000000"),
        (1e19, "1e+19"),
        (1e20, "1e+20"),
        (12_345_678_901_234_567_000.0, "12345678901234567000"),
        (1.5e300, "1.5e+300"),
        (f64::MAX, "1.7976931348623157e+308"),
        (-f64::MAX, "-1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (0.1, "0.1"),
        (-0.1, "-0.1"),
        (3.25, "3.25"),
        (1234.5678, "1234.5678"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (0.00015, "0.00015"),
        (0.000123456, "1.23456e-4"),
        (0.00123456789, "0.00123456789"),
        (1.0000000001, "1.0000000001"),
        (12345.000000001, "1.2345000000001e+4"),
        (0.1 + 0.2, "0.30000000000000004"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (f64::NAN, "nan"),
    ] {
        assert_eq!(std::str::from_utf8(DoubleText::new(value).as_bytes()), Ok(text));
    }
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..20_000 {
        let value = f64::from_bits(rng.u64(..));
        let text = DoubleText::new(value);
        let back: f64 = std::str::from_utf8(text.as_bytes()).unwrap().parse().unwrap();
        assert!(back == value || back.is_nan() && value.is_nan(), "{value:e} comes back as {back:e}");
    }
}

#[test]
fn lengths_are_canonical() {
    for length in ["01", "+1", "-0", "1 ", "", "99999999999999999999", "1a", "--1"] {
        let multibulk = format!("*{length}\r\n$1\r\na\r\n");
        assert_eq!(decode(multibulk.as_bytes()).1, Err(ProtocolError::InvalidMultibulkLength), "*{length}");
        let bulk = format!("*1\r\n${length}\r\na\r\n");
        assert_eq!(decode(bulk.as_bytes()).1, Err(ProtocolError::InvalidBulkLength), "${length}");
    }
    assert_eq!(decode(b"*-1\r\n*-7\r\n*0\r\n"), (vec![], Ok(14)));
    assert_eq!(decode(b"*1\r\n$0\r\n\r\n").0, [[""]]);
}

#[test]
fn long_length_lines_are_refused() {
    let long = [&b"*"[..], &[b'1'; 70_000]].concat();
    assert_eq!(decode(&long).1, Err(ProtocolError::TooBigMultibulkCount));
    let long = [&b"*1\r\n$"[..], &[b'1'; 70_000]].concat();
    assert_eq!(decode(&long).1, Err(ProtocolError::TooBigBulkCount));
    assert_eq!(decode(b"*").1, Ok(0));
}

/// With a bound of one, what `AUTH` allows counts for what was sent behind it.
#[test]
fn commands_one_by_one() {
    let mut input = b"AUTH x\r\n*11\r\n".to_vec();
    input.extend(b"$1\r\na\r\n".repeat(11));
    let (mut decoder, mut batch) = (Decoder::default(), Batch::default());
    decoder.limits.authenticated = false;
    decoder.limits.commands_max = 1;
    let consumed = decoder.decode(&mut input, &mut batch).unwrap();
    assert_eq!((consumed, batch.len()), (8, 1));
    decoder.limits.authenticated = true;
    batch.clear();
    assert_eq!(decoder.decode(&mut input[consumed..], &mut batch), Ok(input.len() - consumed));
    assert_eq!((batch.len(), batch.args(0, &input[consumed..]).len()), (1, 11));
}

/// 64 MiB in pieces of 4 KiB: if each piece looked at all before it, this would touch 512 GiB.
#[test]
fn a_large_value_is_scanned_once() {
    let len = 64 << 20;
    let mut input = format!("*2\r\n$3\r\nGET\r\n${len}\r\n").into_bytes();
    let (mut decoder, mut batch) = (Decoder::default(), Batch::default());
    let total = input.len() + len + 2;
    while input.len() < total {
        input.resize((input.len() + 4096).min(total), b'x');
        let consumed = decoder.decode(&mut input, &mut batch).unwrap();
        assert_eq!(consumed, if input.len() == total { total } else { 0 });
    }
    assert_eq!(batch.args(0, &input).get(1).map(<[u8]>::len), Some(len));
}

#[test]
fn arguments_kept_and_skipped() {
    let (mut decoder, mut batch) = (Decoder::default(), Batch::default());
    let mut input = b"SET key \"\" last\r\n".to_vec();
    decoder.decode(&mut input, &mut batch).unwrap();
    let args = batch.args(0, &input);
    assert_eq!(args.from(1).iter().collect::<Vec<_>>(), [&b"key"[..], b"", b"last"]);
    assert_eq!((args.from(3).len(), args.from(4).len(), args.from(9).len()), (1, 0, 0));
    let mut kept = ArgsBuf::from(args.from(2));
    kept.push(b"more");
    assert_eq!(kept.as_args().iter().collect::<Vec<_>>(), [&b""[..], b"last", b"more"]);
    assert_eq!((kept.as_args().get(3), &kept.as_args()[1]), (None, &b"last"[..]));
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {target}");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn mutated_input_never_panics() {
    for (target, run) in [("requests", fuzz::requests as fn(&[u8])), ("replies", fuzz::replies)] {
        let seeds = corpus(target);
        seeds.iter().for_each(|seed| run(seed));
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let mut data = rng.choice(&seeds).expect("the corpus is not empty").clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..=data.len());
                match rng.u8(..5) {
                    0 if at < data.len() => data[at] = rng.u8(..),
                    1 if at < data.len() => drop(data.remove(at)),
                    2 => data.insert(at, *rng.choice(b"*$\r\n0123456789-\"'\\%|~>").expect("not empty")),
                    3 => data.truncate(at),
                    _ => drop(data.splice(at..at, rng.choice(&seeds).expect("not empty").clone())),
                }
            }
            run(&data);
        }
    }
}

#[test]
fn the_corpus_is_valid() {
    for seed in corpus("requests") {
        assert_eq!(decode(&seed).1, Ok(seed.len()), "{}", String::from_utf8_lossy(&seed));
    }
    for seed in corpus("replies") {
        let mut at = 0;
        while at < seed.len() {
            let used = skip_reply(&seed[at..]).unwrap().expect("only whole replies");
            assert_eq!(parse_reply(&seed[at..]).unwrap().map(|(_, used)| used), Some(used));
            at += used;
        }
    }
}
