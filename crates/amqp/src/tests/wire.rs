//! Bytes written by hand against what they mean.

use crate::*;

fn encoded<'a>(method: impl Into<Method<'a>>, channel: u16) -> Vec<u8> {
    let mut out = Vec::new();
    method.into().encode(channel, &mut out);
    out
}

#[test]
fn frames_in_pieces() {
    let bytes = b"\x01\x00\x05\x00\x00\x00\x04\x00\x14\x00\x29\xce\x08\x00\x00\x00\x00\x00\x00\xce";
    for cut in 0..12 {
        assert_eq!(parse(&bytes[..cut], 0), Ok(None), "cut at {cut}");
    }
    let frame = Frame { kind: FrameKind::Method, channel: 5, payload: b"\x00\x14\x00\x29" };
    assert_eq!(parse(bytes, 0), Ok(Some((frame, 12))));
    assert_eq!(parse(bytes, 12), Ok(Some((frame, 12))), "frame_max counts the whole frame");
    assert_eq!(parse(bytes, 11), Err(FrameError::TooLarge { size: 4, max: 11 }));
    let beat = Frame { kind: FrameKind::Heartbeat, channel: 0, payload: b"" };
    assert_eq!(parse(&bytes[12..], 0), Ok(Some((beat, 8))));
    assert_eq!(&bytes[12..], HEARTBEAT);
}

#[test]
fn frames_refused() {
    assert_eq!(parse(b"\x04", 0), Err(FrameError::UnknownType(4)));
    assert_eq!(parse(b"GET / HTTP", 0), Err(FrameError::UnknownType(b'G')));
    assert_eq!(parse(b"\x03\x00\x01\x00\x00\x00\x01ab", 0), Err(FrameError::BadEnd(b'b')));
    assert_eq!(parse(b"\x08\x00\x00\x00\x00\x00\x01", 0), Err(FrameError::HeartbeatPayload(1)));
    let huge = FrameError::TooLarge { size: u32::MAX, max: 131_072 };
    assert_eq!(parse(b"\x03\x00\x01\xff\xff\xff\xff", 131_072), Err(huge), "before the payload arrives");
    assert_eq!(parse(b"\x03\x00\x01\xff\xff\xff\xff", 0), Ok(None));
}

#[test]
fn protocol_headers() {
    assert_eq!(parse_protocol_header(b"AMQP\0\0\x09"), None);
    assert_eq!(parse_protocol_header(b"AMQP\0\0\x09\x01rest"), Some(ProtocolHeader::Amqp091));
    assert_eq!(parse_protocol_header(b"AMQP\x03\x01\0\0"), Some(ProtocolHeader::Amqp10(3)));
    assert_eq!(
        parse_protocol_header(b"AMQP\x01\x01\0\x09"),
        Some(ProtocolHeader::Other(*b"AMQP\x01\x01\0\x09"))
    );
    assert_eq!(parse_protocol_header(b"GET / HT"), Some(ProtocolHeader::Other(*b"GET / HT")));
}

#[test]
fn a_publish_by_hand() {
    let publish =
        BasicPublish { exchange: b"logs", routing_key: b"a.b", mandatory: true, ..Default::default() };
    let bytes = encoded(publish, 1);
    assert_eq!(bytes, b"\x01\x00\x01\x00\x00\x00\x10\x00\x3c\x00\x28\x00\x00\x04logs\x03a.b\x01\xce");
    let (frame, _) = parse(&bytes, 0).unwrap().unwrap();
    let method = Method::decode(frame.payload).unwrap();
    assert_eq!(method, Method::BasicPublish(publish));
    assert_eq!((method.class_id(), method.method_id(), method.name()), (60, 40, "basic.publish"));
    assert!(method.has_content() && !method.is_synchronous());
}

#[test]
fn bits_share_an_octet() {
    let declare =
        QueueDeclare { queue: b"q", durable: true, auto_delete: true, nowait: true, ..Default::default() };
    let bytes = encoded(declare, 1);
    // passive, durable, exclusive, auto-delete, nowait from the lowest bit on; then an empty table.
    assert_eq!(bytes.get(15..21), Some(&b"\x1a\x00\x00\x00\x00\xce"[..]));
    let nack = BasicNack { delivery_tag: 7, multiple: false, requeue: true };
    assert_eq!(
        encoded(nack, 2),
        b"\x01\x00\x02\x00\x00\x00\x0d\x00\x3c\x00\x78\x00\x00\x00\x00\x00\x00\x00\x07\x02\xce"
    );
    // Spare bits mean nothing.
    assert_eq!(Method::decode(b"\x00\x55\x00\x0a\xff"), Ok(ConfirmSelect { nowait: true }.into()));
}

#[test]
fn methods_refused_as_rabbitmq_refuses_them() {
    for (payload, error) in [
        (&b""[..], DecodeError::Malformed),
        (b"\x00\x14\x00", DecodeError::Malformed),
        (b"\x00\x14\x00\x0a", DecodeError::Malformed),
        (b"\x00\x14\x00\x0a\x00\x01", DecodeError::Malformed),
        (b"\x00\x14\x00\x0a\x02a", DecodeError::Malformed),
        (b"\x00\x14\x00\x0a\x01\xff", DecodeError::ShortstrNotUtf8),
        (b"\x00\x32\x00\x63", DecodeError::UnknownMethod { class: 50, method: 99 }),
        (b"\x03\xe8\x00\x0a", DecodeError::UnknownMethod { class: 1000, method: 10 }),
    ] {
        assert_eq!(Method::decode(payload), Err(error), "{payload:?}");
    }
    assert_eq!(DecodeError::Malformed.reply_code(), ReplyCode::FrameError);
    assert_eq!(DecodeError::UnknownMethod { class: 50, method: 99 }.reply_code(), ReplyCode::CommandInvalid);
    assert_eq!(DecodeError::Weight(1).reply_code(), ReplyCode::UnexpectedFrame);
}

#[test]
fn a_content_in_frames() {
    let deliver = Method::from(BasicDeliver { consumer_tag: b"c", delivery_tag: 1, ..Default::default() });
    let mut properties = Vec::new();
    PropertyValues { delivery_mode: Some(2), ..Default::default() }.encode(&mut properties);
    assert_eq!(properties, b"\x10\x00\x02");
    let part = FRAME_MIN_SIZE as usize - FRAME_OVERHEAD;
    for (len, parts) in
        [(0, vec![]), (1, vec![1]), (part, vec![part]), (part + 1, vec![part, 1]), (3 * part, vec![part; 3])]
    {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut out = Vec::new();
        encode_content(9, &deliver, &properties, &body, FRAME_MIN_SIZE, &mut out);
        let (mut around, mut whole, mut at) = (Vec::new(), Vec::new(), 0);
        let mut left_out = Vec::new();
        encode_content_around(9, &deliver, &properties, len, FRAME_MIN_SIZE, &mut around, |at, part| {
            left_out.push((at, part));
        });
        for (before, part) in left_out {
            whole.extend_from_slice(&around[at..before]);
            whole.extend_from_slice(&body[part]);
            at = before;
        }
        whole.extend_from_slice(&around[at..]);
        assert_eq!(whole, out);
        let (mut at, mut frames) = (0, Vec::new());
        while let Some((frame, used)) = parse(&out[at..], FRAME_MIN_SIZE).unwrap() {
            assert_eq!(frame.channel, 9);
            frames.push((frame.kind, frame.payload.to_vec()));
            at += used;
        }
        assert_eq!(at, out.len());
        assert_eq!(Method::decode(&frames[0].1), Ok(deliver));
        let header = ContentHeader::parse(&frames[1].1).unwrap();
        assert_eq!((frames[1].0, header.class_id, header.body_size), (FrameKind::Header, 60, len as u64));
        assert_eq!(header.properties.raw(), properties);
        let bodies = &frames[2..];
        assert!(bodies.iter().all(|(kind, _)| *kind == FrameKind::Body));
        assert_eq!(bodies.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), parts);
        assert_eq!(bodies.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), body);
    }
}

#[test]
fn properties_by_hand() {
    let mut headers = TableBuf::new();
    headers.push(b"x-delay", Value::SignedInt(5));
    let values = PropertyValues {
        content_type: Some(b"text/plain"),
        headers: Some(headers.as_table()),
        priority: Some(3),
        expiration: Some(b"60000"),
        timestamp: Some(1_700_000_000),
        kind: Some(b"job"),
        cluster_id: Some(b""),
        ..Default::default()
    };
    let mut raw = Vec::new();
    values.encode(&mut raw);
    assert_eq!(raw.get(..2), Some(&[0b1010_1001, 0b0110_0100][..]));
    let properties = Properties::parse(&raw).unwrap();
    assert_eq!(PropertyValues::from(properties), values);
    assert_eq!(properties.headers().and_then(|headers| headers.find(b"x-delay")), Some(Value::Long(5)));
    assert_eq!((properties.priority(), properties.delivery_mode()), (Some(3), None));
    assert_eq!((properties.kind(), properties.cluster_id()), (Some(&b"job"[..]), Some(&b""[..])));
    assert_eq!(PropertyValues::from(Properties::from_validated(&raw)), values);
    for cut in 0..raw.len() {
        assert!(Properties::parse(&raw[..cut]).is_err(), "cut at {cut}");
    }
    raw.push(0);
    assert!(Properties::parse(&raw).is_err(), "a byte too many");
}

#[test]
fn content_headers_as_rabbitmq_reads_them() {
    let header = b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05";
    let with = |properties: &[u8]| [&header[..], properties].concat();
    // The two spare flags, the continuation flag among them, are not looked at.
    assert!(ContentHeader::parse(&with(b"\x00\x01")).is_ok());
    assert!(ContentHeader::parse(&with(b"\x00\x01\x00\x00")).is_err());
    // UTF-8 is not asked for among properties.
    let latin1 = with(b"\x80\x00\x01\xff");
    assert_eq!(ContentHeader::parse(&latin1).unwrap().properties.content_type(), Some(&b"\xff"[..]));
    let mut heavy = with(b"\x00\x00");
    heavy[3] = 1;
    assert_eq!(ContentHeader::parse(&heavy).map(|_| ()), Err(DecodeError::Weight(1)));
    assert!(ContentHeader::parse(header).is_err());
}

#[test]
fn reply_codes() {
    assert_eq!(
        ReplyCode::NotFound.text("no queue 'q' in vhost '/'"),
        "NOT_FOUND - no queue 'q' in vhost '/'"
    );
    let long = ReplyCode::NotFound.text(&"ä".repeat(200));
    assert!(long.len() <= 255 && long.ends_with("ä..."), "{long}");
    let exact = ReplyCode::NotFound.text(&"x".repeat(255 - "NOT_FOUND - ".len()));
    assert!(exact.len() == 255 && exact.ends_with('x'));
    for code in ReplyCode::ALL {
        assert_eq!(ReplyCode::from_code(code.code()), Some(*code));
    }
    assert_eq!(ReplyCode::from_code(1), None);
}
