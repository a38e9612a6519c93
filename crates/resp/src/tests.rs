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
        (b"*1048577\r\n", "Protocol error: invalid multibulk length"),
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
fn mutated_input_never_panics() {
    let corpus: [&[u8]; 4] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*1\r\n$4\r\nPING\r\n",
        b"PING\r\nset a \"b \\x00\" 'c'\r\n",
        b"%1\r\n$1\r\nk\r\n*2\r\n:7\r\n_\r\n,1.5\r\n#t\r\n=6\r\ntxt:hi\r\n",
        b"*-1\r\n$-1\r\n*2\r\n$0\r\n\r\n+OK\r\n-ERR x\r\n",
    ];
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut data = rng.choice(corpus).expect("the corpus is not empty").to_vec();
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..data.len());
            match rng.u8(..4) {
                0 => data[at] = rng.u8(..),
                1 => drop(data.remove(at)),
                2 => data.insert(at, *rng.choice(b"*$\r\n0123456789-\"'\\").expect("not empty")),
                _ => data.truncate(at + 1),
            }
            if data.is_empty() {
                break;
            }
        }
        if !data.is_empty() {
            fuzz::requests(&data);
            fuzz::replies(&data);
        }
    }
}
