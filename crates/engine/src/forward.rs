//! Publish/subscribe of both sides is one: what `PUBLISH` sends goes to queues that are bound to the exchange `leveret.pubsub`, and what
//! comes to that exchange is heard by subscribers of the channel that its routing key names. Each way ends on the other side, so
//! nothing comes round.

use crate::engine::Engine;
use leveret_amqp::{PropertyValues, TableBuf, Value};
use leveret_broker::{Exception, KEYSPACE, Message, PUBSUB, Published, VhostId};
use std::sync::Arc;

/// A routing key's bytes.
const ROUTING_KEY_MAX: usize = 255;

/// Bytes of a channel that go into a header: with the rest of it that fits into the smallest frame a consumer may ask for (4096).
const CHANNEL_MAX: usize = 2048;

/// Bytes of the properties of a message that does not come in frames. Those are one frame on their way to a consumer, of at most 128 KiB
/// with usual clients, and a dead letter has more of them.
pub const PROPERTIES_MAX: usize = 64 * 1024;

impl Engine {
    /// Publishes as [`leveret_broker::Txn::publish`] does; gives also how many subscribers have heard it.
    #[inline]
    pub fn publish(
        &mut self,
        vhost: VhostId,
        message: &Arc<Message>,
    ) -> Result<(Published, usize), Exception> {
        let heard = self.heard_count;
        let published = self.on_broker(|txn| txn.publish(vhost, message))?;
        Ok((published, (self.heard_count - heard) as usize))
    }

    // DEVIATION: Redis counts clients, and there are no queues.
    /// Sends to everybody who listens and to the queues that are bound; gives how many got it. (Redis: PUBLISH)
    pub fn publish_channel(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let mut count = self.publish_topic(channel, payload);
        if !self.broker.forwarding().is_empty() {
            count += self.forward(channel, payload);
        }
        count
    }

    #[cold]
    fn forward(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let exchanges = self.broker.forwarding().to_vec();
        let message = Arc::new(forwarded(channel, payload, self.now_ms()));
        self.on_broker(|txn| exchanges.iter().map(|exchange| txn.publish_from(*exchange, &message)).sum())
    }

    /// Messages that have come to the exchange are heard.
    #[cold]
    pub(crate) fn tell_subscribers(&mut self) {
        for message in std::mem::take(&mut self.broker.told) {
            self.heard_count += self.publish_topic(message.routing_key(), message.body()) as u64;
        }
    }

    /// Whether a user may bind anything to an exchange, as far as keys and channels say: `leveret.keyspace` tells of all keys, and
    /// `leveret.pubsub` of the channels that the binding's key names.
    pub fn may_lead_from(&self, user: &str, exchange: &[u8], key: &[u8]) -> bool {
        if exchange == KEYSPACE {
            return self.accounts.reads_all_keys(user);
        }
        let is_pattern = key.split(|byte| *byte == b'.').any(|word| matches!(word, b"*" | b"#"));
        self.may_tell(user, exchange, (!is_pattern).then_some(key))
    }

    /// Whether a user may publish to an exchange, as far as channels say: with this routing key, or with any.
    pub fn may_tell(&self, user: &str, exchange: &[u8], key: Option<&[u8]>) -> bool {
        exchange != PUBSUB || self.accounts.may_use_channel(user, key)
    }
}

/// The message of what was published. A channel that is no routing key is in the header `channel` as it is, if it is not too long for one.
fn forwarded(channel: &[u8], payload: &[u8], now_ms: u64) -> Message {
    let routing_key = routing_key(String::new(), channel);
    let mut headers = TableBuf::new();
    if routing_key.as_bytes() != channel && channel.len() <= CHANNEL_MAX {
        headers.push(b"channel", Value::LongStr(channel));
    }
    let headers = headers.as_table();
    let values = PropertyValues {
        delivery_mode: Some(2),
        timestamp: Some(now_ms / 1000),
        headers: (!headers.is_empty()).then_some(headers),
        ..PropertyValues::default()
    };
    let mut properties = Vec::new();
    values.encode(&mut properties);
    Message::new(PUBSUB, routing_key.as_bytes(), &properties, payload)
        .expect("the parts are as long as they may be")
}

/// A name of Redis behind `text` as a routing key. Clients read those as text: what is none is replaced, and what is too long is cut.
pub(crate) fn routing_key(mut text: String, name: &[u8]) -> String {
    // Of a long name no more is looked at than may be needed.
    text.push_str(&String::from_utf8_lossy(name.get(..ROUTING_KEY_MAX).unwrap_or(name)));
    let end = (0..=ROUTING_KEY_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::{CHANNEL_MAX, forwarded};

    #[test]
    fn what_is_published_fits_into_the_smallest_frame() {
        let channel = [0xff; CHANNEL_MAX + 1];
        let fits = forwarded(&channel[..CHANNEL_MAX], b"", 1);
        let header = fits.headers().find(b"channel").and_then(|value| value.as_longstr());
        assert_eq!(header, Some(&channel[..CHANNEL_MAX]));
        // Frame, class, weight and size. (AMQP 0-9-1 4.2.6.1)
        assert!(fits.properties().len() + 8 + 12 <= 4096);
        assert!(forwarded(&channel, b"", 1).headers().is_empty());
    }
}
