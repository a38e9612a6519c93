//! A cursor over a payload, with one function per AMQP type, named as the type. Consecutive bits share an octet.
//! (AMQP 0-9-1, 4.2.5)

use crate::{DecodeError, Table};

#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The octet bits are being taken from, and the mask of the next one; mask 0: none is open.
    bits: u8,
    mask: u8,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest, bits: 0, mask: 0 }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        self.mask = 0;
        Ok(head)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        self.mask = 0;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.mask == 0 {
            [self.bits] = self.array()?;
            self.mask = 1;
        }
        let bit = self.bits & self.mask != 0;
        self.mask <<= 1;
        Ok(bit)
    }

    #[inline]
    pub(crate) fn octet(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn short(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn longlong(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn shortstr_unchecked(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.octet()?;
        self.take(usize::from(len))
    }

    #[inline]
    pub(crate) fn shortstr(&mut self) -> Result<&'a [u8], DecodeError> {
        let text = self.shortstr_unchecked()?;
        if text.is_ascii() || std::str::from_utf8(text).is_ok() {
            Ok(text)
        } else {
            Err(DecodeError::ShortstrNotUtf8)
        }
    }

    #[inline]
    pub(crate) fn longstr(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.long()?;
        self.take(len as usize)
    }

    #[inline]
    pub(crate) fn table(&mut self) -> Result<Table<'a>, DecodeError> {
        Table::parse(self.longstr()?)
    }

    /// Nothing may be left.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Malformed) }
    }
}
