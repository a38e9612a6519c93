//! The mirror of the cursor: one function per AMQP type, writing straight into a connection's output.

use crate::Table;

pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The mask of the next bit in the last octet written; 0: none is open.
    mask: u8,
}

impl<'a> Writer<'a> {
    #[inline]
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, mask: 0 }
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.mask = 0;
    }

    #[inline]
    pub(crate) fn bit(&mut self, value: bool) {
        if self.mask == 0 {
            self.out.push(0);
            self.mask = 1;
        }
        if value && let Some(last) = self.out.last_mut() {
            *last |= self.mask;
        }
        self.mask <<= 1;
    }

    #[inline]
    pub(crate) fn octet(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    #[inline]
    pub(crate) fn short(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn long(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn longlong(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// At most 255 bytes fit. Names were checked when they were declared, `reply_text` cuts by itself; a longer one is
    /// a mistake of ours, and even then the frame stays well-formed.
    #[inline]
    pub(crate) fn shortstr(&mut self, text: &[u8]) {
        debug_assert!(text.len() <= 255, "a short string of {} bytes", text.len());
        let text = text.get(..255).unwrap_or(text);
        self.out.push(text.len() as u8);
        self.bytes(text);
    }

    #[inline]
    pub(crate) fn longstr(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("a long string is shorter than a frame");
        self.long(len);
        self.bytes(bytes);
    }

    #[inline]
    pub(crate) fn table(&mut self, table: Table<'_>) {
        self.longstr(table.raw());
    }
}
