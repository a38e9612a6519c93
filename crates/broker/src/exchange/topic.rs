//! Topic matching by a trie over words. (AMQP 0-9-1 3.1.3.3)
//!
//! A pattern is a path of words, `*` and `#`; where it ends its destinations stand. A key walks the trie word by word, taking the
//! branch of its word, the star's, and the hash's with every number of words: what does not match is never looked at,
//! so thousands of bindings cost a publish nothing. Several hashes on a path would be tried in all combinations; a hash is
//! therefore entered once for each place of the key.

use super::{Counted, Destination};
use std::collections::{HashMap, HashSet};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

#[derive(Default)]
struct Node {
    words: Map<Box<[u8]>, usize>,
    star: Option<usize>,
    hash: Option<usize>,
    destinations: Counted,
}

impl Node {
    fn child(&self, word: &[u8]) -> Option<usize> {
        match word {
            b"*" => self.star,
            b"#" => self.hash,
            word => self.words.get(word).copied(),
        }
    }

    fn set_child(&mut self, word: &[u8], child: Option<usize>) {
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
    free: Vec<usize>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|&byte| byte == b'.')
}

impl Trie {
    /// Adds a binding's pattern.
    pub(super) fn add(&mut self, pattern: &[u8], destination: Destination) {
        let mut at = 0;
        for word in words(pattern) {
            at = match self.nodes[at].child(word) {
                Some(child) => child,
                None => {
                    let child = self.free.pop().unwrap_or_else(|| {
                        self.nodes.push(Node::default());
                        self.nodes.len() - 1
                    });
                    self.nodes[at].set_child(word, Some(child));
                    child
                }
            };
        }
        self.nodes[at].destinations.add(destination);
    }

    /// Removes a binding's pattern, and the branches that only it had.
    pub(super) fn remove(&mut self, pattern: &[u8], destination: Destination) {
        let (mut at, mut path) = (0, Vec::new());
        for word in words(pattern) {
            let Some(child) = self.nodes[at].child(word) else { return };
            path.push((at, word));
            at = child;
        }
        self.nodes[at].destinations.remove(destination);
        while let Some((parent, word)) = path.pop()
            && self.nodes[at].is_empty()
        {
            self.nodes[parent].set_child(word, None);
            self.free.push(at);
            at = parent;
        }
    }

    /// Appends the destinations of all patterns that match; one may appear several times.
    pub(super) fn route(&self, key: &[u8], into: &mut Vec<Destination>) {
        let root = &self.nodes[0];
        if root.words.is_empty() && root.star.is_none() && root.hash.is_none() {
            return;
        }
        let words: Vec<&[u8]> = words(key).collect();
        self.walk(0, &words, 0, &mut HashSet::new(), into);
    }

    fn walk(
        &self,
        at: usize,
        words: &[&[u8]],
        place: usize,
        hashes: &mut HashSet<(usize, usize)>,
        into: &mut Vec<Destination>,
    ) {
        let node = &self.nodes[at];
        if let Some(hash) = node.hash {
            for skipped in place..=words.len() {
                if hashes.insert((hash, skipped)) {
                    self.walk(hash, words, skipped, hashes, into);
                }
            }
        }
        let Some(word) = words.get(place) else {
            return node.destinations.list(into);
        };
        if let Some(&child) = node.words.get(*word) {
            self.walk(child, words, place + 1, hashes, into);
        }
        if let Some(star) = node.star {
            self.walk(star, words, place + 1, hashes, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueId;

    /// One pattern alone, word by word.
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

    fn text(rng: &mut fastrand::Rng, parts: &[&str]) -> Vec<u8> {
        let len = rng.usize(1..6);
        let words: Vec<&str> = (0..len).map(|_| parts[rng.usize(..parts.len())]).collect();
        words.join(".").into_bytes()
    }

    #[test]
    fn the_trie_finds_what_each_pattern_alone_would() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut trie, mut bound) = (Trie::default(), Vec::<(Vec<u8>, Destination)>::new());
            for _ in 0..300 {
                let destination = Destination::Queue(QueueId(rng.u32(1..20)));
                if rng.u8(..3) > 0 || bound.is_empty() {
                    let pattern = text(&mut rng, &["a", "b", "", "*", "#", "#"]);
                    trie.add(&pattern, destination);
                    bound.push((pattern, destination));
                } else {
                    let (pattern, destination) = bound.swap_remove(rng.usize(..bound.len()));
                    trie.remove(&pattern, destination);
                }
                let key = text(&mut rng, &["a", "b", "", "c"]);
                let key_words: Vec<&[u8]> = words(&key).collect();
                let fits = |pattern: &[u8]| matches(&words(pattern).collect::<Vec<_>>(), &key_words);
                let mut expected: Vec<Destination> =
                    bound.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, to)| *to).collect();
                let mut found = Vec::new();
                trie.route(&key, &mut found);
                for list in [&mut expected, &mut found] {
                    list.sort_unstable();
                    list.dedup();
                }
                assert_eq!(found, expected, "seed {seed}: {}", String::from_utf8_lossy(&key));
            }
            for (pattern, destination) in bound.drain(..) {
                trie.remove(&pattern, destination);
            }
            assert_eq!(trie.free.len(), trie.nodes.len() - 1, "seed {seed}: branches are left over");
        }
    }

    #[test]
    fn many_hashes_do_not_take_for_ever() {
        let mut trie = Trie::default();
        trie.add("#.a.".repeat(30).trim_end_matches('.').as_bytes(), Destination::Queue(QueueId(1)));
        trie.add("#.a.".repeat(40).as_bytes(), Destination::Queue(QueueId(2)));
        let mut found = Vec::new();
        trie.route("a.".repeat(120).as_bytes(), &mut found);
        assert_eq!(found, [Destination::Queue(QueueId(2))]);
    }
}
