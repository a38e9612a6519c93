//! Replies of direct reply-to that are kept under a key as well: the header `x-reply-key` of the question says where, `x-reply-ttl` for how
//! many milliseconds, `database` in which database. The reply is stored in the commit that publishes it.

use crate::engine::Engine;
use leveret_base::codec::Changes;
use leveret_broker::{Exception, KeptReply, Message, REPLY_KEY_MAX, ReplyKey};
use leveret_keyspace::{DATABASES, Txn, UnixMillis};

/// The header that names the key.
pub(crate) const REPLY_KEY: &[u8] = b"x-reply-key";
const TTL: &[u8] = b"x-reply-ttl";
const DATABASE: &[u8] = b"database";

/// The last time that a key can be kept until.
const DEADLINE_MAX: UnixMillis = i64::MAX as UnixMillis;

/// Where the reply to a message is to be kept, if its headers say so. Of a time is refused what `SET` with `PX` refuses now.
pub fn reply_key(message: &Message, now_ms: UnixMillis) -> Result<Option<ReplyKey>, Exception> {
    let headers = message.headers();
    let Some(key) = headers.find(REPLY_KEY) else { return Ok(None) };
    let key =
        key.as_longstr().ok_or_else(|| Exception::precondition("the header 'x-reply-key' is no key"))?;
    if key.len() > REPLY_KEY_MAX {
        let text = format!("the header 'x-reply-key' has more than {REPLY_KEY_MAX} bytes");
        return Err(Exception::precondition(text));
    }
    let ttl_ms = match headers.find(TTL).map(|value| value.as_integer()) {
        None => None,
        Some(ttl) => match ttl.and_then(|ttl| u64::try_from(ttl).ok()) {
            Some(ttl) if ttl > 0 && now_ms.saturating_add(ttl) <= DEADLINE_MAX => Some(ttl),
            Some(_) | None => return Err(Exception::precondition("the header 'x-reply-ttl' is no time")),
        },
    };
    let db = match headers.find(DATABASE).map(|value| value.as_integer()) {
        None => 0,
        Some(Some(db)) if (0..i64::from(DATABASES)).contains(&db) => db as u8,
        Some(_) => return Err(Exception::precondition("the header 'database' is no database")),
    };
    Ok(Some(ReplyKey { db, key: key.into(), ttl_ms }))
}

impl Engine {
    /// Stores the replies that are to be kept.
    #[cold]
    pub(crate) fn keep_replies(&mut self) {
        for KeptReply { at: ReplyKey { db, key, ttl_ms }, message } in std::mem::take(&mut self.broker.kept) {
            let now_ms = self.now_ms();
            // It was in time when it was asked.
            let deadline = ttl_ms.map(|ms| now_ms.saturating_add(ms).min(DEADLINE_MAX));
            let changes = Changes::on(self.tail.changes());
            Txn::new(&mut self.keyspace, db, now_ms, changes).store(&key, message.body(), deadline);
        }
    }
}
