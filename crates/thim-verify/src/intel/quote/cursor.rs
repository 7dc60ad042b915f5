//! Reading a quote from the front: each field has a name, so that an error says which one is cut off.

use std::ops::Range;

use super::wrong;
use crate::Error;

/// A part of a quote that is read from the front; places are counted from the quote's beginning.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// The place of the next byte in the quote.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, field: &str, count: usize) -> Result<&'a [u8], Error> {
        let left = self.rest.len();
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| {
            wrong(format_args!(
                "{field} needs {count} bytes at {}; {left} are left",
                self.at
            ))
        })?;
        self.rest = rest;
        self.at += count;
        Ok(taken)
    }

    /// As [`Cursor::take`], as a place in the quote.
    pub(super) fn range(&mut self, field: &str, count: usize) -> Result<Range<usize>, Error> {
        let start = self.at;
        self.take(field, count)?;
        Ok(start..self.at)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    pub(super) fn u16(&mut self, field: &str) -> Result<u16, Error> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// A length or a type.
    pub(super) fn u32(&mut self, field: &str) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &str) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// The next `count` bytes as a part of their own, which [`Cursor::finish`] demands to be used up.
    pub(super) fn inside(&mut self, field: &str, count: u32) -> Result<Self, Error> {
        let at = self.at;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let rest = self.take(field, count)?;
        Ok(Self { rest, at })
    }

    /// # Errors
    /// [`Error::Format`] when something is left.
    pub(super) fn finish(&self, field: &str) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(wrong(format_args!(
            "{} bytes more in the {field} than its parts need, from {}",
            self.rest.len(),
            self.at
        )))
    }
}
