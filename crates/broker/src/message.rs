//! A message as it was published, shared by all queues that hold it: one allocation for everything it consists of.

use crate::Exception;
use crate::cursor::X_STREAM_OFFSET;
use crate::entries::Returns;
use crate::txn::REPLY_TO;
use leveret_amqp::{Properties, PropertyValues, ReplyCode, Table, TableBuf, Value};
use leveret_base::codec::Place;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, Ordering};

/// A published message. The properties are kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Exchange, routing key, properties and body, one behind the other.
    bytes: Box<[u8]>,
    exchange_len: u8,
    routing_key_len: u8,
    /// `delivery_mode` 2.
    pub persistent: bool,
    /// Most have none, and are then asked nothing about them.
    has_headers: bool,
    /// It has come through a dead letter exchange: its header `x-death` is ours, not its publisher's.
    pub(crate) died: bool,
    /// Its header `CC` names no keys any more: a queue that it died in has replaced them.
    pub(crate) is_rekeyed: bool,
    /// Its publisher wants replies on the channel itself.
    wants_reply: bool,
    /// 0 without.
    pub(crate) priority: u8,
    properties_len: u32,
    /// `expiration`, in milliseconds; `FOREVER` without.
    ttl_ms: u64,
    place: LogPlace,
}

/// No `expiration`.
const FOREVER: u64 = u64::MAX;

/// Where a message lies, once the log has it or it was spilled: in as little room as it takes, because there are millions of them. Only who
/// holds the engine says so.
#[derive(Debug)]
struct LogPlace {
    /// The halves of the position, the higher one first.
    position: [AtomicU32; 2],
    /// `NOWHERE` before.
    offset: AtomicU32,
}

const NOWHERE: u32 = u32::MAX;

impl Default for LogPlace {
    fn default() -> Self {
        Self { position: Default::default(), offset: AtomicU32::new(NOWHERE) }
    }
}

impl LogPlace {
    fn get(&self) -> Option<Place> {
        let offset = self.offset.load(Ordering::Acquire);
        let [high, low] = self.position.each_ref().map(|half| u64::from(half.load(Ordering::Relaxed)));
        (offset != NOWHERE).then_some(Place { position: high << 32 | low, offset })
    }

    #[inline]
    fn set(&self, place: Place) {
        if self.get().is_none_or(|known| known.run().is_some()) {
            let [high, low] = &self.position;
            high.store((place.position >> 32) as u32, Ordering::Relaxed);
            low.store(place.position as u32, Ordering::Relaxed);
            self.offset.store(place.offset, Ordering::Release);
        }
    }
}

/// Who copies a message has one that was recorded nowhere.
impl Clone for LogPlace {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for LogPlace {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for LogPlace {}

const _: () = assert!(size_of::<Message>() <= 48, "with its count a message is 64 bytes, and what it says");

impl Message {
    /// A whole message. Exchange and routing key have at most 255 bytes.
    pub fn new(
        exchange: &[u8],
        routing_key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) -> Result<Self, Exception> {
        let mut parts = MessageParts::new(exchange, routing_key);
        parts.header(properties, body.len());
        parts.bytes.extend_from_slice(body);
        parts.complete()
    }

    /// `expiration`, in milliseconds.
    #[inline]
    pub(crate) fn ttl_ms(&self) -> Option<u64> {
        (self.ttl_ms != FOREVER).then_some(self.ttl_ms)
    }

    /// Where the log has it, if it does.
    pub fn place(&self) -> Option<Place> {
        self.place.get().filter(|place| place.run().is_none())
    }

    /// Where it was spilled to last, if the log does not have it. It may not be there any more.
    pub(crate) fn spilled_to(&self) -> Option<Place> {
        self.place.get().filter(|place| place.run().is_some())
    }

    /// It lies there. In the log it has one place for ever: of what is recorded anew there is a copy, because queues may still
    /// have the old one, and a checkpoint on its way must not come to name what was recorded after it began.
    #[inline]
    pub(crate) fn lies_at(&self, place: Place) {
        self.place.set(place);
    }

    /// The exchange it was published to.
    #[inline]
    pub fn exchange(&self) -> &[u8] {
        self.part(0, self.exchange_len.into())
    }

    /// Its routing key.
    #[inline]
    pub fn routing_key(&self) -> &[u8] {
        self.part(self.exchange_len.into(), self.routing_key_len.into())
    }

    /// Property flags and list, as they came.
    #[inline]
    pub fn properties(&self) -> &[u8] {
        let names = usize::from(self.exchange_len) + usize::from(self.routing_key_len);
        self.part(names, self.properties_len as usize)
    }

    /// True when it must get the address of its publisher's channel. (RabbitMQ: direct reply-to)
    #[inline]
    pub fn wants_reply(&self) -> bool {
        self.wants_reply
    }

    /// The headers; empty without.
    #[inline]
    pub fn headers(&self) -> Table<'_> {
        if !self.has_headers {
            return Table::default();
        }
        Properties::from_validated(self.properties()).headers().unwrap_or_default()
    }

    /// The same message under other names, with other properties.
    pub(crate) fn rewritten(
        &self,
        exchange: &[u8],
        routing_key: &[u8],
        values: &PropertyValues<'_>,
    ) -> Message {
        let mut properties = Vec::new();
        values.encode(&mut properties);
        let message = Message::new(exchange, routing_key, &properties, self.body());
        let message = message.expect("properties that were checked are right in other company, too");
        Message { died: self.died, is_rekeyed: self.is_rekeyed, ..message }
    }

    /// Its properties taken apart.
    pub(crate) fn values(&self) -> PropertyValues<'_> {
        PropertyValues::from(Properties::from_validated(self.properties()))
    }

    /// The message with headers that tell how often it came back.
    pub(crate) fn with_returns(&self, returns: Returns) -> Message {
        let mut headers = TableBuf::from(self.headers());
        if returns.failed > 0 {
            headers.set(b"x-delivery-count", Value::Long(returns.failed.into()));
        }
        headers.set(b"x-acquired-count", Value::Long(returns.all().into()));
        let values = PropertyValues { headers: Some(headers.as_table()), ..self.values() };
        self.rewritten(self.exchange(), self.routing_key(), &values)
    }

    /// The routing keys of the headers `CC` and `BCC`. (RabbitMQ: sender-selected distribution)
    #[inline]
    pub(crate) fn more_keys(&self) -> Result<Vec<&[u8]>, Exception> {
        if self.has_headers && !self.is_rekeyed { self.find_more_keys() } else { Ok(Vec::new()) }
    }

    fn find_more_keys(&self) -> Result<Vec<&[u8]>, Exception> {
        let (headers, mut keys) = (self.headers(), Vec::new());
        for name in ["CC", "BCC"] {
            match headers.find(name.as_bytes()) {
                // What is no string in it is no key.
                Some(Value::Array(array)) => keys.extend(array.iter().filter_map(|value| value.as_longstr())),
                Some(other) => {
                    let kind = other.type_name();
                    return Err(Exception::precondition(format!(
                        "invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}"
                    )));
                }
                None => {}
            }
        }
        Ok(keys)
    }

    /// The message as everybody but its publisher sees it, if that is another: without the header `BCC`.
    #[inline]
    pub fn without_bcc(&self) -> Option<Message> {
        if self.has_headers { self.strip_bcc() } else { None }
    }

    fn strip_bcc(&self) -> Option<Message> {
        self.headers().find(BCC)?;
        let mut headers = TableBuf::from(self.headers());
        headers.remove(BCC);
        let mut values = self.values();
        values.headers = Some(headers.as_table());
        let mut properties = Vec::new();
        values.encode(&mut properties);
        let parts = [self.exchange(), self.routing_key(), &properties, self.body()];
        let has_headers = !headers.as_table().is_empty();
        let properties_len = properties.len() as u32;
        let Self {
            exchange_len,
            routing_key_len,
            persistent,
            died,
            is_rekeyed,
            wants_reply,
            priority,
            ttl_ms,
            ..
        } = *self;
        Some(Self {
            bytes: parts.concat().into(),
            exchange_len,
            routing_key_len,
            persistent,
            has_headers,
            died,
            is_rekeyed,
            wants_reply,
            priority,
            properties_len,
            ttl_ms,
            place: LogPlace::default(),
        })
    }

    /// Its properties, with the header that says where it is in a stream. (RabbitMQ: x-stream-offset)
    pub fn properties_in_stream(&self, offset: u64) -> Vec<u8> {
        let mut headers = TableBuf::from(self.headers());
        headers.set(X_STREAM_OFFSET.as_bytes(), Value::Long(offset as i64));
        let values = PropertyValues { headers: Some(headers.as_table()), ..self.values() };
        let mut properties = Vec::new();
        values.encode(&mut properties);
        properties
    }

    /// Bytes of all it consists of.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The content.
    #[inline]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body_start()..).unwrap_or_default()
    }

    /// Where the content begins in all that it consists of.
    #[inline]
    pub fn body_start(&self) -> usize {
        usize::from(self.exchange_len) + usize::from(self.routing_key_len) + self.properties_len as usize
    }

    /// Bytes that a delivery of it takes, or a little more.
    #[inline]
    pub fn size(&self) -> usize {
        self.bytes.len() + 128
    }

    fn part(&self, start: usize, len: usize) -> &[u8] {
        self.bytes.get(start..start + len).unwrap_or_default()
    }
}

/// All that it consists of.
impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A message that is arriving: the names first, then the header, then the body in parts.
#[derive(Debug, Clone)]
pub struct MessageParts {
    /// Kept aside until the header tells how much room is needed, so that one allocation suffices.
    names: SmallVec<[u8; 64]>,
    bytes: Vec<u8>,
    exchange_len: u8,
    routing_key_len: u8,
    properties_len: u32,
    body_len: usize,
}

impl MessageParts {
    /// Begins with the names, of at most 255 bytes each.
    pub fn new(exchange: &[u8], routing_key: &[u8]) -> Self {
        let lens = (u8::try_from(exchange.len()), u8::try_from(routing_key.len()));
        let (Ok(exchange_len), Ok(routing_key_len)) = lens else {
            panic!("a short string of AMQP has at most 255 bytes")
        };
        let mut names = SmallVec::from_slice(exchange);
        names.extend_from_slice(routing_key);
        Self { names, bytes: Vec::new(), exchange_len, routing_key_len, properties_len: 0, body_len: 0 }
    }

    /// The properties have come, and how long the body is going to be.
    pub fn header(&mut self, properties: &[u8], body_len: usize) {
        let before = self.names.len() + properties.len();
        // What is only announced costs nothing beyond this.
        self.bytes.reserve_exact(before + body_len.min(RESERVED_MAX));
        self.bytes.extend_from_slice(&self.names);
        self.bytes.extend_from_slice(properties);
        self.properties_len = properties.len() as u32;
        self.body_len = body_len;
    }

    /// Another part of the body; gives how many bytes are missing, or how many there are too many.
    pub fn body(&mut self, part: &[u8]) -> Result<usize, usize> {
        let before = self.names.len() + self.properties_len as usize;
        let has_room = self.bytes.capacity() - self.bytes.len() >= part.len();
        if !has_room && self.bytes.len() >= self.body_len / BELIEVED_FROM {
            self.bytes.reserve_exact((before + self.body_len).saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(part);
        let len = self.bytes.len() - before;
        self.body_len.checked_sub(len).ok_or_else(|| len - self.body_len)
    }

    /// Checks the properties that the broker acts on.
    pub fn complete(self) -> Result<Message, Exception> {
        let Self { names, bytes, exchange_len, routing_key_len, properties_len, .. } = self;
        let properties = bytes.get(names.len()..names.len() + properties_len as usize).unwrap_or_default();
        let parsed = Properties::parse(properties)
            .map_err(|error| Exception::new(ReplyCode::SyntaxError, error.to_string()))?;
        let persistent = parsed.delivery_mode() == Some(2);
        let has_headers = parsed.headers().is_some_and(|headers| !headers.is_empty());
        let ttl_ms = parsed.expiration().map(expiration).transpose()?.unwrap_or(FOREVER);
        let wants_reply = parsed.reply_to() == Some(REPLY_TO);
        let priority = parsed.priority().unwrap_or(0);
        Ok(Message {
            bytes: bytes.into_boxed_slice(),
            exchange_len,
            routing_key_len,
            persistent,
            has_headers,
            died: false,
            is_rekeyed: false,
            wants_reply,
            priority,
            properties_len,
            ttl_ms,
            place: LogPlace::default(),
        })
    }
}

/// The longest time that a message or queue may be given: ten years, in milliseconds. (RabbitMQ: TTL)
pub(crate) const EXPIRY_MAX_MS: i64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// Routing keys that nobody sees.
const BCC: &[u8] = b"BCC";

/// Bytes of an announced body that are reserved at once.
const RESERVED_MAX: usize = 1024 * 1024;

/// Once one part in so many of a body has come, the rest is believed, too, and gets its room at once: growing step by step
/// would touch twice the memory.
const BELIEVED_FROM: usize = 8;

/// RabbitMQ: per-message TTL.
fn expiration(text: &[u8]) -> Result<u64, Exception> {
    let shown = String::from_utf8_lossy(text);
    let number: Option<i128> = shown.parse().ok();
    match number {
        Some(number) if number > EXPIRY_MAX_MS.into() => {
            let text = format!("invalid expiration '{shown}': {{value_too_large,{number}}}");
            Err(Exception::precondition(text))
        }
        Some(number) if number >= 0 => Ok(number as u64),
        Some(number) => {
            Err(Exception::precondition(format!("invalid expiration '{shown}': {{value_negative,{number}}}")))
        }
        None => Err(Exception::precondition(format!("invalid expiration '{shown}': no_integer"))),
    }
}
