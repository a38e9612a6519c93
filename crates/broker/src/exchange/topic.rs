//! Topic matching by a trie over words. (AMQP 0-9-1 3.1.3.3)
//!
//! A pattern is a path of words, `*` and `#`; where it ends its destinations stand. A key is read once, word by word, with
//! the set of places it may have reached: from each the branch of the word and that of the star. A place behind `#` stays
//! reached until the key ends, since any word may belong to the hash; it is therefore noted once and not tried with each
//! number of words, which would take for ever with several hashes. What does not match is never looked at, where trying
//! each pattern alone costs their number, and a cache of keys would have to be emptied at every bind.

use super::{Binding, Counted, Destination, Keys, Routes};
use crate::broker::Map;

#[derive(Default)]
struct Node {
    words: Map<Box<[u8]>, u32>,
    star: Option<u32>,
    hash: Option<u32>,
    /// The walk that reached it last, for a node behind `#`.
    reached: u64,
    destinations: Counted,
}

impl Node {
    fn child(&self, word: &[u8]) -> Option<u32> {
        match word {
            b"*" => self.star,
            b"#" => self.hash,
            word => self.words.get(word).copied(),
        }
    }

    fn set_child(&mut self, word: &[u8], child: Option<u32>) {
        match (word, child) {
            (b"*", child) => self.star = child,
            (b"#", child) => self.hash = child,
            (word, Some(child)) => drop(self.words.insert(word.into(), child)),
            (word, None) => drop(self.words.remove(word)),
        }
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.star.is_none() && self.hash.is_none() && self.destinations.is_empty()
    }
}

/// The patterns of one exchange.
pub(super) struct Trie {
    /// The first is the root.
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Walks so far.
    walks: u64,
    // Kept from walk to walk for their room.
    /// Reached by exactly the words so far.
    at: Vec<u32>,
    next: Vec<u32>,
    /// Reached behind a `#`: they stay.
    standing: Vec<u32>,
}

impl Default for Trie {
    fn default() -> Self {
        let (at, next, standing) = Default::default();
        Self { nodes: vec![Node::default()], free: Vec::new(), walks: 0, at, next, standing }
    }
}

/// The words of a key or pattern. The empty key has none; everywhere else a word may be empty. (RabbitMQ: `split_topic_key`)
#[inline]
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut words = key.split(|&byte| byte == b'.');
    if key.is_empty() {
        words.next();
    }
    words
}

impl Routes for Trie {
    fn add(&mut self, binding: &Binding) {
        let mut at = 0;
        for word in words(&binding.key) {
            at = match self.nodes[at as usize].child(word) {
                Some(child) => child,
                None => {
                    let child = self.free.pop().unwrap_or_else(|| {
                        self.nodes.push(Node::default());
                        self.nodes.len() as u32 - 1
                    });
                    self.nodes[at as usize].set_child(word, Some(child));
                    child
                }
            };
        }
        self.nodes[at as usize].destinations.add(binding.destination);
    }

    /// Removes a binding's pattern, and the branches that only it had.
    fn remove(&mut self, binding: &Binding) {
        let (mut at, mut path) = (0, Vec::new());
        for word in words(&binding.key) {
            let Some(child) = self.nodes[at as usize].child(word) else { return };
            path.push((at, word));
            at = child;
        }
        self.nodes[at as usize].destinations.remove(binding.destination);
        while let Some((parent, word)) = path.pop()
            && self.nodes[at as usize].is_empty()
        {
            self.nodes[parent as usize].set_child(word, None);
            // The room of its words goes, too.
            self.nodes[at as usize] = Node::default();
            self.free.push(at);
            at = parent;
        }
    }

    fn route(&mut self, keys: &Keys<'_>, into: &mut Vec<Destination>) {
        if !self.nodes[0].is_empty() {
            keys.each().for_each(|key| self.walk(key, into));
        }
    }
}

impl Trie {
    fn walk(&mut self, key: &[u8], into: &mut Vec<Destination>) {
        let Self { nodes, walks, at, next, standing, .. } = self;
        *walks += 1;
        at.clear();
        standing.clear();
        at.push(0);
        reach(nodes, standing, *walks, 0);
        for word in words(key) {
            if at.is_empty() && standing.is_empty() {
                return;
            }
            next.clear();
            at.iter().for_each(|&from| step(nodes, next, from, word));
            standing.iter().for_each(|&from| step(nodes, next, from, word));
            std::mem::swap(at, next);
            at.iter().for_each(|&node| reach(nodes, standing, *walks, node));
        }
        for &node in at.iter().chain(&*standing) {
            nodes[node as usize].destinations.list(into);
        }
    }
}

/// Where one more word leads.
#[inline]
fn step(nodes: &[Node], next: &mut Vec<u32>, from: u32, word: &[u8]) {
    let node = &nodes[from as usize];
    if let Some(&child) = node.words.get(word) {
        next.push(child);
    }
    if let Some(star) = node.star {
        next.push(star);
    }
}

/// A hash may be no word at all: what is behind it is reached along with what is in front of it, once in each walk.
#[inline]
fn reach(nodes: &mut [Node], standing: &mut Vec<u32>, walk: u64, mut node: u32) {
    while let Some(hash) = nodes[node as usize].hash
        && nodes[hash as usize].reached != walk
    {
        nodes[hash as usize].reached = walk;
        standing.push(hash);
        node = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueId;

    fn topic_matches(pattern: &[u8], key: &[u8]) -> bool {
        fn matches(pattern: &[&[u8]], words: &[&[u8]]) -> bool {
            match (pattern.split_first(), words.split_first()) {
                (None, None) => true,
                (Some((first, rest)), _) if **first == *b"#" => {
                    (0..=words.len()).any(|skipped| matches(rest, &words[skipped..]))
                }
                (Some((first, rest)), Some((word, others))) => {
                    (**first == *b"*" || first == word) && matches(rest, others)
                }
                (None, Some(_)) | (Some(_), None) => false,
            }
        }
        matches(&words(pattern).collect::<Vec<_>>(), &words(key).collect::<Vec<_>>())
    }

    fn binding(pattern: &[u8], queue: u32) -> Binding {
        let destination = Destination::Queue(QueueId(queue));
        Binding { destination, key: pattern.into(), arguments: Box::default() }
    }

    fn found(trie: &mut Trie, key: &[u8]) -> Vec<Destination> {
        let mut found = Vec::new();
        trie.route(
            &Keys { key, more: Vec::new(), headers: Default::default(), properties: Default::default() },
            &mut found,
        );
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Also the empty key, and words that are empty.
    fn text(rng: &mut fastrand::Rng, parts: &[&str]) -> Vec<u8> {
        let len = rng.usize(0..6);
        let words: Vec<&str> = (0..len).map(|_| parts[rng.usize(..parts.len())]).collect();
        words.join(".").into_bytes()
    }

    #[test]
    fn the_simple_matcher_knows_the_rules() {
        for (pattern, key, expected) in [
            ("#", "", true),
            ("*", "", false),
            ("", "", true),
            ("*", "a", true),
            ("*.*", ".", true),
            ("a.#.z", "a.z", true),
            ("a.#.z", "a.b.c.z", true),
            ("a.#.z", "a.b", false),
            ("#.*", "", false),
            ("#.#", "", true),
        ] {
            assert_eq!(topic_matches(pattern.as_bytes(), key.as_bytes()), expected, "{pattern:?} {key:?}");
        }
    }

    #[test]
    fn the_trie_finds_what_each_pattern_alone_would() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut trie, mut bound) = (Trie::default(), Vec::new());
            for _ in 0..300 {
                if rng.u8(..3) > 0 || bound.is_empty() {
                    let pattern = text(&mut rng, &["a", "b", "", "*", "#", "#"]);
                    bound.push(binding(&pattern, rng.u32(1..20)));
                    trie.add(&bound[bound.len() - 1]);
                } else {
                    trie.remove(&bound.swap_remove(rng.usize(..bound.len())));
                }
                let key = text(&mut rng, &["a", "b", "", "c"]);
                let mut expected: Vec<Destination> = bound
                    .iter()
                    .filter(|binding| topic_matches(&binding.key, &key))
                    .map(|binding| binding.destination)
                    .collect();
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(
                    found(&mut trie, &key),
                    expected,
                    "seed {seed}: {:?}",
                    String::from_utf8_lossy(&key)
                );
            }
            bound.iter().for_each(|binding| trie.remove(binding));
            assert_eq!(trie.free.len(), trie.nodes.len() - 1, "seed {seed}: branches are left over");
        }
    }

    #[test]
    fn many_hashes_do_not_take_for_ever() {
        let mut trie = Trie::default();
        trie.add(&binding("#.a.".repeat(30).trim_end_matches('.').as_bytes(), 1));
        trie.add(&binding("#.a.".repeat(40).as_bytes(), 2));
        assert_eq!(found(&mut trie, "a.".repeat(120).as_bytes()), [Destination::Queue(QueueId(2))]);
    }
}
