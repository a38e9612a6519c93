//! A long string as shared blocks of at most 16 KiB, copied when they are written to while somebody else holds them. So
//! a reply or a checkpoint can hold what a string was at one moment without a copy, and a write costs one block at most.

use std::sync::Arc;

/// Bytes of a block; only the last one is shorter.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// A string of blocks. A clone is the string as it is now; both go their own way from then on.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// Shared as a whole too, so that a clone costs the same for every length.
    blocks: Arc<Vec<Arc<Vec<u8>>>>,
    len: usize,
}

impl Blocks {
    /// The bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Vec<u8>>> {
        self.blocks.iter()
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        let blocks = Arc::make_mut(&mut self.blocks);
        if let Some(last) = blocks.last_mut()
            && last.len() < BLOCK_BYTES
        {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - last.len()));
            Arc::make_mut(last).extend_from_slice(head);
            bytes = rest;
        }
        blocks.extend(bytes.chunks(BLOCK_BYTES).map(|part| Arc::new(part.to_vec())));
    }

    /// Overwrites bytes from `offset` on; a gap behind the end is filled with zeroes.
    pub fn write_at(&mut self, mut offset: usize, mut bytes: &[u8]) {
        while self.len < offset {
            let zeroes = [0; BLOCK_BYTES];
            self.append(zeroes.get(..offset - self.len).unwrap_or(&zeroes));
        }
        let blocks = Arc::make_mut(&mut self.blocks);
        while offset < self.len && !bytes.is_empty() {
            let Some(block) = blocks.get_mut(offset / BLOCK_BYTES) else { break };
            let block = Arc::make_mut(block);
            let at = offset % BLOCK_BYTES;
            let (head, rest) = bytes.split_at(bytes.len().min(block.len() - at));
            block[at..at + head.len()].copy_from_slice(head);
            (offset, bytes) = (offset + head.len(), rest);
        }
        self.append(bytes);
    }

    /// Appends the bytes from `start` up to `end` to `into`; what lies behind the end is left out.
    pub fn copy_range(&self, start: usize, end: usize, into: &mut Vec<u8>) {
        let end = end.min(self.len);
        let mut at = start;
        while at < end {
            let Some(block) = self.blocks.get(at / BLOCK_BYTES) else { break };
            let first = at % BLOCK_BYTES;
            let last = block.len().min(first + end - at);
            into.extend_from_slice(block.get(first..last).unwrap_or_default());
            at += last - first;
        }
    }

    /// All bytes, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        self.copy_range(0, self.len, &mut bytes);
        bytes
    }
}

impl From<&[u8]> for Blocks {
    fn from(bytes: &[u8]) -> Self {
        let mut blocks = Self::default();
        blocks.append(bytes);
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_what_a_vector_does() {
        for seed in 0..40 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut blocks, mut plain) = (Blocks::default(), Vec::new());
            let mut kept: Vec<(Blocks, Vec<u8>)> = Vec::new();
            for _ in 0..30 {
                let len = rng.usize(..40_000);
                let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
                match rng.u8(..4) {
                    0 => {
                        blocks.append(&bytes);
                        plain.extend_from_slice(&bytes);
                    }
                    1 => {
                        let offset = rng.usize(..=plain.len() + 20_000);
                        blocks.write_at(offset, &bytes);
                        plain.resize(plain.len().max(offset + bytes.len()), 0);
                        plain[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                    2 => kept.push((blocks.clone(), plain.clone())),
                    _ => {
                        let (start, end) = (rng.usize(..=plain.len()), rng.usize(..=plain.len() + 5));
                        let mut range = Vec::new();
                        blocks.copy_range(start, end, &mut range);
                        assert_eq!(range, plain.get(start..end.min(plain.len())).unwrap_or_default());
                    }
                }
                assert_eq!(blocks.len(), plain.len());
            }
            assert!(blocks.iter().rev().skip(1).all(|block| block.len() == BLOCK_BYTES));
            assert_eq!(blocks.to_vec(), plain, "seed {seed}");
            // What was kept is as it was.
            assert!(kept.iter().all(|(blocks, plain)| blocks.to_vec() == *plain), "seed {seed}");
        }
    }

    #[test]
    fn a_write_copies_one_block_of_a_shared_string() {
        let mut blocks = Blocks::from(&[7; 5 * BLOCK_BYTES][..]);
        let kept = blocks.clone();
        blocks.write_at(BLOCK_BYTES + 1, b"x");
        let copied =
            blocks.iter().zip(kept.iter()).filter(|(ours, theirs)| !Arc::ptr_eq(ours, theirs)).count();
        assert_eq!(copied, 1);
    }
}
