//! Finds where JSON values begin and end, without building or judging them.
//!
//! Only structure is looked at: strings, brackets, commas. What a value holds is judged by the engine, event by
//! event, so that one bad event in a batch costs the others nothing; and depth costs no stack.

use std::ops::Range;

/// A place in a JSON text.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The text breaks off or is no JSON at this byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoJson {
    pub(super) at: usize,
}

impl<'a> Scan<'a> {
    /// Starts at a byte.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The next byte behind white space, which is not consumed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Goes through an object: `field` gets each key, as it stands between its quotes, and where its value lies.
    /// Returns where the object lies.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&'a [u8], Range<usize>),
    ) -> Result<Range<usize>, NoJson> {
        self.expect(b'{')?;
        let start = self.at - 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(start..self.at);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong());
            }
            let key = self.string()?;
            self.expect(b':')?;
            let value = self.value()?;
            field(&self.bytes[key.start + 1..key.end - 1], value);
            if self.ends_with(b'}')? {
                return Ok(start..self.at);
            }
        }
    }

    /// Goes through an array: `element` gets a scan at each element and leaves it behind the element.
    pub(super) fn array<E: From<NoJson>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.peek();
            element(self)?;
            if self.ends_with(b']')? {
                return Ok(());
            }
        }
    }

    /// The next value, whatever it is; of an object or array only that its brackets come in pairs.
    pub(super) fn value(&mut self) -> Result<Range<usize>, NoJson> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            Some(_) => self.scalar(),
            None => Err(self.wrong()),
        }
    }

    /// Where the scan is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn string(&mut self) -> Result<Range<usize>, NoJson> {
        let start = self.at;
        let mut at = start + 1;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else { return Err(self.wrong()) };
            at += found + 1;
            if rest[found] == b'"' {
                self.at = at;
                return Ok(start..at);
            }
            // Whatever is escaped is no end.
            at += 1;
        }
    }

    fn nested(&mut self) -> Result<Range<usize>, NoJson> {
        let start = self.at;
        let mut depth = 0usize;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
        Err(NoJson { at: start })
    }

    fn scalar(&mut self) -> Result<Range<usize>, NoJson> {
        let rest = &self.bytes[self.at..];
        let len = rest
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
            .unwrap_or(rest.len());
        if len == 0 {
            return Err(self.wrong());
        }
        self.at += len;
        Ok(self.at - len..self.at)
    }

    /// Consumes a comma (`false`) or the closing bracket (`true`).
    fn ends_with(&mut self, close: u8) -> Result<bool, NoJson> {
        match self.peek() {
            Some(b',') => self.at += 1,
            Some(byte) if byte == close => {
                self.at += 1;
                return Ok(true);
            }
            _ => return Err(self.wrong()),
        }
        Ok(false)
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoJson> {
        if self.peek() != Some(byte) {
            return Err(self.wrong());
        }
        self.at += 1;
        Ok(())
    }

    fn wrong(&self) -> NoJson {
        NoJson { at: self.at }
    }
}
