//! Removing keys because memory is short. Samples of a few keys at a time offer candidates to a small pool; the one that
//! the policy likes least goes, and the rest stay for the next choice. (Redis: approximated LRU)

use crate::entry::Entry;
use crate::eviction::{Among, By};
use crate::{DATABASES, DbIndex, Keyspace, Txn, UnixMillis, event};

/// What came of looking for a key that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// A key has gone.
    Key,
    /// None was found yet; there are some.
    NotYet,
    /// There is none.
    Nothing,
}

/// Keys that may go soon, the best candidate last.
#[derive(Default)]
pub(crate) struct Pool(Vec<Candidate>);

struct Candidate {
    score: u64,
    db: DbIndex,
    key: Box<[u8]>,
}

/// Candidates kept. (Redis: EVPOOL_SIZE)
const POOL_MAX: usize = 16;
/// Keys visited in search of those that have a deadline, per choice.
const VISITS_MAX: usize = 1024;

impl Pool {
    fn offer(&mut self, score: u64, db: DbIndex, key: &[u8]) {
        let full = self.0.len() == POOL_MAX;
        if full && score <= self.0[0].score || self.0.iter().any(|c| c.db == db && *c.key == *key) {
            return;
        }
        if full {
            self.0.remove(0);
        }
        let at = self.0.partition_point(|candidate| candidate.score <= score);
        self.0.insert(at, Candidate { score, db, key: key.into() });
    }

    /// Candidates of another policy are none.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Keyspace {
    /// The higher the sooner it goes.
    fn score(&self, entry: &Entry, now_ms: UnixMillis) -> u64 {
        let eviction = &self.eviction;
        match eviction.policy.by {
            By::Lru => eviction.idle_seconds(entry.clock(), now_ms),
            By::Lfu => 255 - u64::from(eviction.frequency(entry.clock(), now_ms)),
            By::Ttl => u64::MAX - entry.deadline().unwrap_or(u64::MAX),
            By::Random => self.hash(entry.key()),
        }
    }

    fn may_go(&self, entry: &Entry) -> bool {
        self.eviction.policy.among == Among::AllKeys || entry.deadline().is_some()
    }

    /// How many keys of a database may go.
    fn candidates(&self, db: DbIndex) -> usize {
        match self.eviction.policy.among {
            Among::Nothing => 0,
            Among::AllKeys => self.len(db),
            Among::Volatile => self.with_deadline(db),
        }
    }

    /// Offers the next few keys of a database to the pool.
    fn sample(&mut self, db: DbIndex, now_ms: UnixMillis) {
        let mut pool = std::mem::take(&mut self.pool);
        let (mut seen, mut visits) = (0, 0);
        let mut cursor = self.dbs[db as usize].evict_cursor;
        while seen < self.eviction.samples && visits < VISITS_MAX {
            cursor = self.dbs[db as usize].table.scan(
                cursor,
                self.eviction.samples,
                |entry| self.hash(entry.key()),
                |entry| {
                    visits += 1;
                    if self.may_go(entry) {
                        seen += 1;
                        pool.offer(self.score(entry, now_ms), db, entry.key());
                    }
                },
            );
            // A sparse table has few keys to visit.
            visits += 1;
        }
        self.dbs[db as usize].evict_cursor = cursor;
        self.pool = pool;
    }
}

impl Txn<'_> {
    /// Removes the key that the policy likes least, of any database.
    pub fn evict(&mut self) -> Evicted {
        let home = self.db;
        let mut result = Evicted::Nothing;
        for db in 0..DATABASES {
            if self.keyspace.candidates(db) > 0 {
                self.keyspace.sample(db, self.now_ms);
                result = Evicted::NotYet;
            }
        }
        while result == Evicted::NotYet
            && let Some(candidate) = self.keyspace.pool.0.pop()
        {
            let found = self.keyspace.find(candidate.db, &candidate.key);
            if found.is_some_and(|entry| self.keyspace.may_go(entry)) {
                self.db = candidate.db;
                self.delete_as(&candidate.key, event::EVICTED);
                self.keyspace.eviction.evicted_count += 1;
                result = Evicted::Key;
            }
        }
        self.db = home;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eviction::Policy;
    use leveret_base::codec::Changes;

    const NOW: u64 = 1_700_000_000_000;

    fn filled(policy: &str, keys: usize) -> Keyspace {
        let mut keyspace = Keyspace::new(7);
        keyspace.set_policy(Policy::parse(policy).expect("the policy is known"));
        for i in 0..keys {
            // The first ones are the oldest, every second one has a deadline.
            let now = NOW + i as u64 * 1000;
            let deadline = (i % 2 == 0).then_some(NOW + 1_000_000_000 + i as u64);
            let mut txn = Txn::new(&mut keyspace, (i % 3) as u8, now, Changes::off());
            txn.put(format!("key:{i}").as_bytes(), b"value", deadline);
        }
        keyspace
    }

    fn evict(keyspace: &mut Keyspace, count: usize) -> (usize, Evicted) {
        let mut txn = Txn::new(keyspace, 0, NOW + 10_000_000, Changes::off());
        for gone in 0..count {
            let result = (0..1000).map(|_| txn.evict()).find(|result| *result != Evicted::NotYet);
            match result.unwrap_or(Evicted::NotYet) {
                Evicted::Key => {}
                other => return (gone, other),
            }
        }
        (count, Evicted::Key)
    }

    /// Which of the keys are still there.
    fn left(keyspace: &Keyspace, keys: usize) -> Vec<usize> {
        let is_there = |i: &usize| keyspace.find((i % 3) as u8, format!("key:{i}").as_bytes()).is_some();
        (0..keys).filter(is_there).collect()
    }

    #[test]
    fn old_keys_go_first() {
        for policy in ["allkeys-lru", "volatile-lru", "volatile-ttl"] {
            let mut keyspace = filled(policy, 2000);
            assert_eq!(evict(&mut keyspace, 500), (500, Evicted::Key), "{policy}");
            let left = left(&keyspace, 2000);
            assert_eq!(left.len(), 1500);
            let (mut old, mut young) = (0, 0);
            for i in &left {
                let volatile_only = policy.starts_with("volatile");
                if !volatile_only || i % 2 == 0 {
                    *if *i < 1000 { &mut old } else { &mut young } += 1;
                }
            }
            assert!(young > old + 200, "{policy}: {old} old and {young} young keys are left");
        }
    }

    #[test]
    fn rare_keys_go_first() {
        let mut keyspace = filled("allkeys-lfu", 1000);
        for _ in 0..100 {
            for i in (0..1000).filter(|i| i % 10 == 0) {
                let view = crate::View::new(&keyspace, (i % 3) as u8, NOW + 10_000_000, 0);
                assert!(view.look_up(format!("key:{i}").as_bytes()).is_some());
            }
        }
        assert_eq!(evict(&mut keyspace, 800), (800, Evicted::Key));
        let often = left(&keyspace, 1000).iter().filter(|i| *i % 10 == 0).count();
        assert!(often >= 90, "{often}");
    }

    #[test]
    fn only_what_may_go_goes() {
        for (policy, goes) in [
            ("noeviction", 0),
            ("volatile-lru", 150),
            ("volatile-random", 150),
            ("volatile-ttl", 150),
            ("volatile-lfu", 150),
            ("allkeys-random", 300),
            ("allkeys-lru", 300),
        ] {
            let mut keyspace = filled(policy, 300);
            assert_eq!(evict(&mut keyspace, 1000), (goes, Evicted::Nothing), "{policy}");
            let kept = left(&keyspace, 300);
            assert_eq!(kept.len(), 300 - goes);
            assert!(kept.iter().all(|i| goes == 0 || i % 2 == 1), "{policy}: {kept:?}");
            assert_eq!(keyspace.eviction.evicted_count, goes as u64);
        }
    }

    #[test]
    fn one_deadline_among_many_keys_is_found() {
        let mut keyspace = Keyspace::new(7);
        keyspace.set_policy(Policy::parse("volatile-lru").expect("the policy is known"));
        let mut txn = Txn::new(&mut keyspace, 0, NOW, Changes::off());
        for i in 0..20_000 {
            txn.put(format!("key:{i}").as_bytes(), b"value", (i == 777).then_some(NOW + 5_000));
        }
        assert_eq!(evict(&mut keyspace, 2), (1, Evicted::Nothing));
        assert_eq!(keyspace.len(0), 19_999);
    }
}
