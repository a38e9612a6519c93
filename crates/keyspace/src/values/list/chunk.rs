//! A run of elements: for each its length, its bytes, and the length of both again, written backwards, so that the run
//! can be read from its end too.

/// Elements one behind the other, from `start` on.
#[derive(Clone)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

/// Lengths below this take one byte; others a mark and four.
const SHORT: usize = 0xff;

fn size_of_len(len: usize) -> usize {
    if len < SHORT { 1 } else { 5 }
}

fn write(element: &[u8], out: &mut Vec<u8>) {
    let (len, width) = (element.len(), size_of_len(element.len()));
    if width == 1 {
        out.push(len as u8);
    } else {
        out.push(SHORT as u8);
        out.extend_from_slice(&(len as u32).to_le_bytes());
    }
    out.extend_from_slice(element);
    if width == 1 {
        out.push(len as u8);
    } else {
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.push(SHORT as u8);
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.first_chunk()?) as usize)
}

/// The first element of a run, and the bytes it takes with its lengths.
fn first(run: &[u8]) -> Option<(&[u8], usize)> {
    let len = match usize::from(*run.first()?) {
        SHORT => number(run.get(1..)?)?,
        len => len,
    };
    let width = size_of_len(len);
    Some((run.get(width..width + len)?, len + 2 * width))
}

/// The last element of a run, likewise.
fn last(run: &[u8]) -> Option<(&[u8], usize)> {
    let len = match usize::from(*run.last()?) {
        SHORT => number(run.get(run.len().checked_sub(5)?..)?)?,
        len => len,
    };
    let width = size_of_len(len);
    let start = run.len().checked_sub(len + 2 * width)?;
    Some((run.get(start + width..start + width + len)?, len + 2 * width))
}

impl Chunk {
    /// One element alone.
    pub(super) fn of(element: &[u8]) -> Self {
        let mut chunk = Self { bytes: Vec::with_capacity(Self::needs(element)), start: 0, len: 0 };
        chunk.push(element);
        chunk
    }

    /// The bytes an element takes.
    pub(super) fn needs(element: &[u8]) -> usize {
        element.len() + 2 * size_of_len(element.len())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all elements.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn run(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut run = self.run();
        std::iter::from_fn(move || {
            let (element, size) = first(run)?;
            run = run.get(size..)?;
            Some(element)
        })
    }

    pub(super) fn iter_back(&self) -> impl Iterator<Item = &[u8]> {
        let mut run = self.run();
        std::iter::from_fn(move || {
            let (element, size) = last(run)?;
            run = run.get(..run.len() - size)?;
            Some(element)
        })
    }

    pub(super) fn push(&mut self, element: &[u8]) {
        write(element, &mut self.bytes);
        self.len += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<Box<[u8]>> {
        let (element, size) = first(self.run()).map(|(element, size)| (element.into(), size))?;
        self.start += size;
        self.len -= 1;
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        Some(element)
    }

    pub(super) fn pop_back(&mut self) -> Option<Box<[u8]>> {
        let (element, size) = last(self.run()).map(|(element, size)| (element.into(), size))?;
        self.bytes.truncate(self.bytes.len() - size);
        self.len -= 1;
        Some(element)
    }

    /// Where the element at a place begins.
    fn offset(&self, place: usize) -> usize {
        let mut offset = self.start;
        for _ in 0..place {
            offset += first(self.bytes.get(offset..).unwrap_or_default()).map_or(0, |(_, size)| size);
        }
        offset
    }

    pub(super) fn insert(&mut self, place: usize, element: &[u8]) {
        let (offset, mut written) = (self.offset(place), Vec::with_capacity(Self::needs(element)));
        write(element, &mut written);
        if place == 0 && self.start >= written.len() {
            // What was taken from the front has left room.
            self.start -= written.len();
            let end = self.start + written.len();
            self.bytes[self.start..end].copy_from_slice(&written);
        } else {
            self.bytes.splice(offset..offset, written);
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, place: usize) {
        let offset = self.offset(place);
        if let Some((_, size)) = first(self.bytes.get(offset..).unwrap_or_default()) {
            self.bytes.drain(offset..offset + size);
            self.len -= 1;
        }
    }

    /// Takes everything from a place on.
    pub(super) fn split_off(&mut self, place: usize) -> Chunk {
        let behind =
            Chunk { bytes: self.bytes.split_off(self.offset(place)), start: 0, len: self.len - place };
        self.len = place;
        behind
    }
}
