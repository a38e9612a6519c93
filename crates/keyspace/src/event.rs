//! What happens to keys, by the names under which Redis announces it. (Redis: keyspace notifications)
//! A primitive says what it usually is; a command that is announced by a name of its own says so first.

/// One kind of happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// One of `class::*`.
    pub class: u32,
    /// As it is announced.
    pub name: &'static str,
}

/// Classes of events, and how they are announced, as bits.
pub mod class {
    #![allow(missing_docs, reason = "the letters below say what they are in Redis")]
    pub const GENERIC: u32 = 1;
    pub const STRING: u32 = 1 << 1;
    pub const LIST: u32 = 1 << 2;
    pub const SET: u32 = 1 << 3;
    pub const HASH: u32 = 1 << 4;
    pub const SORTED_SET: u32 = 1 << 5;
    pub const EXPIRED: u32 = 1 << 6;
    pub const EVICTED: u32 = 1 << 7;
    pub const STREAM: u32 = 1 << 8;
    pub const MODULE: u32 = 1 << 9;
    pub const NEW: u32 = 1 << 10;
    pub const BY_KEY: u32 = 1 << 11;
    pub const BY_EVENT: u32 = 1 << 12;
    pub const MISS: u32 = 1 << 13;

    /// What `A` stands for.
    const ALL: u32 = NEW - 1;

    /// What changes: a new key is in the change that makes it, and who looks for one changes nothing.
    pub(crate) const CHANGES: u32 = ALL;

    /// In the order in which Redis prints them.
    const LETTERS: &[(u32, char)] = &[
        (GENERIC, 'g'),
        (STRING, '$'),
        (LIST, 'l'),
        (SET, 's'),
        (HASH, 'h'),
        (SORTED_SET, 'z'),
        (EXPIRED, 'x'),
        (EVICTED, 'e'),
        (STREAM, 't'),
        (MODULE, 'd'),
        (NEW, 'n'),
        (BY_KEY, 'K'),
        (BY_EVENT, 'E'),
        (MISS, 'm'),
    ];

    /// The classes that the letters name. (Redis: `notify-keyspace-events`)
    pub fn parse(letters: &str) -> Option<u32> {
        letters.chars().try_fold(0, |classes, letter| {
            let bits = LETTERS.iter().find(|(_, other)| *other == letter).map(|(bit, _)| *bit);
            Some(classes | if letter == 'A' { ALL } else { bits? })
        })
    }

    /// The letters of the classes.
    pub fn letters(classes: u32) -> String {
        let whole = classes & ALL == ALL;
        let shown = LETTERS.iter().filter(|(bit, _)| classes & bit != 0 && !(whole && ALL & bit != 0));
        whole.then_some('A').into_iter().chain(shown.map(|(_, letter)| *letter)).collect()
    }
}

macro_rules! events {
    ($($name:ident = $class:ident $text:literal),+ $(,)?) => {
        $(pub(crate) const $name: Event = Event { class: class::$class, name: $text };)+
    };
}

events! {
    DELETED = GENERIC "del",
    EXPIRED = EXPIRED "expired",
    EVICTED = EVICTED "evicted",
    EXPIRE = GENERIC "expire",
    PERSIST = GENERIC "persist",
    RENAME_FROM = GENERIC "rename_from",
    RENAME_TO = GENERIC "rename_to",
    COPY_TO = GENERIC "copy_to",
    MOVE_FROM = GENERIC "move_from",
    MOVE_TO = GENERIC "move_to",
    RESTORE = GENERIC "restore",
    FLUSHED = GENERIC "flushdb",
    SWAPPED = GENERIC "swapdb",
    NEW = NEW "new",
    MISS = MISS "keymiss",
    PUT = STRING "set",
    ADD = STRING "incrby",
    ADD_FLOAT = STRING "incrbyfloat",
    APPEND = STRING "append",
    SET_RANGE = STRING "setrange",
    SET_BIT = STRING "setbit",
    HYPERLOGLOG_ADD = STRING "pfadd",
    PUSH_LEFT = LIST "lpush",
    PUSH_RIGHT = LIST "rpush",
    POP_LEFT = LIST "lpop",
    POP_RIGHT = LIST "rpop",
    LIST_SET = LIST "lset",
    LIST_INSERT = LIST "linsert",
    LIST_REMOVE = LIST "lrem",
    LIST_TRIM = LIST "ltrim",
    SORT_STORE = LIST "sortstore",
    HASH_SET = HASH "hset",
    HASH_ADD = HASH "hincrby",
    HASH_ADD_FLOAT = HASH "hincrbyfloat",
    HASH_DELETE = HASH "hdel",
    HASH_EXPIRE = HASH "hexpire",
    HASH_PERSIST = HASH "hpersist",
    HASH_EXPIRED = HASH "hexpired",
    SET_ADD = SET "sadd",
    SET_REMOVE = SET "srem",
    SET_POP = SET "spop",
    UNION_STORE = SET "sunionstore",
    INTERSECTION_STORE = SET "sinterstore",
    DIFFERENCE_STORE = SET "sdiffstore",
    SORTED_SET_PUT = SORTED_SET "zadd",
    SORTED_SET_ADD = SORTED_SET "zincr",
    SORTED_SET_REMOVE = SORTED_SET "zrem",
    SORTED_SET_POP_MIN = SORTED_SET "zpopmin",
    SORTED_SET_POP_MAX = SORTED_SET "zpopmax",
    REMOVE_RANKS = SORTED_SET "zremrangebyrank",
    REMOVE_SCORES = SORTED_SET "zremrangebyscore",
    REMOVE_NAMES = SORTED_SET "zremrangebylex",
    SORTED_UNION_STORE = SORTED_SET "zunionstore",
    SORTED_INTERSECTION_STORE = SORTED_SET "zinterstore",
    SORTED_DIFFERENCE_STORE = SORTED_SET "zdiffstore",
    GEO_SEARCH_STORE = SORTED_SET "geosearchstore",
    GEO_RADIUS_STORE = SORTED_SET "georadiusstore",
    RANGE_STORE = SORTED_SET "zrangestore",
    STREAM_ADD = STREAM "xadd",
    STREAM_DELETE = STREAM "xdel",
    STREAM_TRIM = STREAM "xtrim",
    STREAM_SET_IDS = STREAM "xsetid",
    GROUP_CREATE = STREAM "xgroup-create",
    GROUP_SET_ID = STREAM "xgroup-setid",
    GROUP_DESTROY = STREAM "xgroup-destroy",
    CONSUMER_CREATE = STREAM "xgroup-createconsumer",
    CONSUMER_DELETE = STREAM "xgroup-delconsumer",
}

/// Nothing that is announced.
pub(crate) const NOTHING: Event = Event { class: 0, name: "" };

#[cfg(test)]
mod tests {
    use super::class::{letters, parse};

    #[test]
    fn letters_are_read_and_printed_as_redis_does() {
        for (said, shown) in
            [("", ""), ("KEA", "AKE"), ("Ex", "xE"), ("Kg$lshzxetd", "AK"), ("AKEnm", "AnKEm")]
        {
            assert_eq!(letters(parse(said).expect("all letters are known")), shown);
        }
        assert_eq!(parse("KB"), None);
    }
}
