//! The lengths of a row of chunks, with the sums of groups of them beside, so that a rank is found after looking at few: a
//! million members are about six thousand chunks in a hundred groups. Adding or removing a chunk sums up the groups behind it
//! anew, which happens once in a hundred insertions and is a walk over a few kilobytes.

/// Chunks in a group. Small in tests, which have more groups so.
const GROUP: usize = if cfg!(test) { 4 } else { 64 };

/// Lengths by chunk; none is more than 16 bits.
#[derive(Default)]
pub(super) struct Lens {
    lens: Vec<u16>,
    groups: Vec<u32>,
    total: usize,
}

impl Lens {
    /// Of all chunks together.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Of one chunk; 0 behind the last one.
    pub(super) fn get(&self, chunk: usize) -> usize {
        self.lens.get(chunk).map_or(0, |len| usize::from(*len))
    }

    /// Of all chunks before one.
    pub(super) fn before(&self, chunk: usize) -> usize {
        let group = (chunk / GROUP).min(self.groups.len());
        let groups: u32 = self.groups[..group].iter().sum();
        let lens = self.lens[group * GROUP..chunk.min(self.lens.len())].iter();
        groups as usize + lens.map(|len| usize::from(*len)).sum::<usize>()
    }

    /// In which chunk, and where in it, the item is before which there are so many.
    pub(super) fn find(&self, rank: usize) -> (usize, usize) {
        let (mut left, mut chunk) = (rank, 0);
        for count in &self.groups {
            let count = *count as usize;
            if left < count {
                break;
            }
            (left, chunk) = (left - count, chunk + GROUP);
        }
        for len in self.lens.get(chunk..).unwrap_or_default() {
            let len = usize::from(*len);
            if left < len {
                return (chunk, left);
            }
            (left, chunk) = (left - len, chunk + 1);
        }
        (self.lens.len(), 0)
    }

    pub(super) fn set(&mut self, chunk: usize, len: usize) {
        let before = usize::from(std::mem::replace(&mut self.lens[chunk], len as u16));
        let group = &mut self.groups[chunk / GROUP];
        *group = *group + len as u32 - before as u32;
        self.total = self.total + len - before;
    }

    pub(super) fn insert(&mut self, chunk: usize, len: usize) {
        self.lens.insert(chunk, len as u16);
        self.total += len;
        self.sum_up(chunk);
    }

    pub(super) fn remove(&mut self, chunk: usize) {
        self.total -= usize::from(self.lens.remove(chunk));
        self.sum_up(chunk);
    }

    /// Chunks from this one on are others.
    fn sum_up(&mut self, chunk: usize) {
        self.groups.truncate(chunk / GROUP);
        let rest = &self.lens[self.groups.len() * GROUP..];
        self.groups
            .extend(rest.chunks(GROUP).map(|lens| lens.iter().map(|len| u32::from(*len)).sum::<u32>()));
    }
}

#[cfg(test)]
mod tests {
    //! Random changes beside a plain vector.
    use super::Lens;

    #[test]
    fn it_counts_as_a_plain_vector_does() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut lens, mut plain) = (Lens::default(), Vec::<usize>::new());
        for _ in 0..3000 {
            match rng.u8(..4) {
                0 if !plain.is_empty() => {
                    let at = rng.usize(..plain.len());
                    plain.remove(at);
                    lens.remove(at);
                }
                1 | 2 if !plain.is_empty() => {
                    let (at, len) = (rng.usize(..plain.len()), rng.usize(1..9));
                    plain[at] = len;
                    lens.set(at, len);
                }
                _ => {
                    let (at, len) = (rng.usize(..=plain.len()), rng.usize(1..9));
                    plain.insert(at, len);
                    lens.insert(at, len);
                }
            }
            assert_eq!((lens.lens.len(), lens.total()), (plain.len(), plain.iter().sum()));
            let at = rng.usize(..=plain.len());
            assert_eq!(lens.before(at), plain[..at].iter().sum::<usize>());
            let rank = rng.usize(..lens.total() + 2);
            let (mut left, mut chunk) = (rank, 0);
            while chunk < plain.len() && left >= plain[chunk] {
                (left, chunk) = (left - plain[chunk], chunk + 1);
            }
            let expected = if chunk == plain.len() { (chunk, 0) } else { (chunk, left) };
            assert_eq!(lens.find(rank), expected);
        }
    }
}
