//! What clients are told, as scripts show it.

use crate::output::Output;
use leveret_amqp::text::show;
use leveret_amqp::{ContentHeader, FrameKind, Method};

pub(super) fn all(out: &mut Output) -> Vec<u8> {
    let mut all = Vec::new();
    out.gate(0, true);
    out.flush(|slices| {
        slices.iter().for_each(|slice| all.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    })
    .unwrap();
    all
}

pub(super) fn show_resp(who: &str, mut out: &[u8], told: &mut String) {
    while !out.is_empty() {
        let (value, len) = leveret_resp::parse_reply(out).unwrap().expect("an answer is whole");
        for line in leveret_resp::text::show(&value, false).lines() {
            *told += &format!("{who}< {line}\n");
        }
        out = &out[len..];
    }
}

pub(super) fn show_amqp(who: &str, mut out: &[u8], told: &mut String) {
    let mut content: Option<(Method<'_>, Vec<u8>, usize, Vec<u8>)> = None;
    while !out.is_empty() {
        let (frame, len) = leveret_amqp::parse(out, 0).unwrap().expect("a frame is whole");
        let rest = &out[len..];
        match frame.kind {
            FrameKind::Heartbeat => *told += &format!("{who}.0< heartbeat\n"),
            FrameKind::Method => {
                let method = Method::decode(frame.payload).unwrap();
                if method.has_content() {
                    content = Some((method, Vec::new(), 0, Vec::new()));
                } else {
                    *told += &format!("{who}.{}< {}\n", frame.channel, show(&method, None));
                }
            }
            FrameKind::Header => {
                let header = ContentHeader::parse(frame.payload).unwrap();
                let (_, properties, size, _) = content.as_mut().expect("a header follows a method");
                (*properties, *size) = (header.properties.raw().to_vec(), header.body_size as usize);
            }
            FrameKind::Body => {
                content.as_mut().expect("a body follows a header").3.extend_from_slice(frame.payload);
            }
        }
        if frame.kind != FrameKind::Method
            && let Some((method, properties, size, body)) =
                content.take_if(|(_, _, size, body)| body.len() == *size)
        {
            assert_eq!(size, body.len());
            *told += &format!("{who}.{}< {}\n", frame.channel, show(&method, Some((&properties, &body))));
        }
        out = rest;
    }
}
