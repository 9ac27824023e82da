//! The elements of an array that the scanner has checked.

use super::fields::Field;

/// The elements of an array as written, brackets included; a nested array or object is one element. Text that was
/// never checked gives some elements or none, but always ends.
pub(crate) fn elements(array: &[u8]) -> Elements<'_> {
    Elements { text: array, at: 1 }
}

/// Iterator over the elements of an array.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        while let b' ' | b'\t' | b'\n' | b'\r' | b',' = self.text.get(self.at)? {
            self.at += 1;
        }
        let start = self.at;
        match self.text[start] {
            b']' => None,
            b'"' => {
                let (end, escaped) = self.string_end(start + 1)?;
                self.at = end + 1;
                let text = &self.text[start + 1..end];
                Some(if escaped { Field::Escaped(text) } else { Field::Text(text) })
            }
            b'[' | b'{' => {
                let nested = if self.text[start] == b'[' { Field::Array } else { |_| Field::Object };
                self.at = self.container_end(start)?;
                Some(nested(&self.text[start..self.at]))
            }
            first => {
                let rest = &self.text[start..];
                let len = rest
                    .iter()
                    .position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']'))?;
                self.at += len;
                Some(match first {
                    b't' => Field::Bool(true),
                    b'f' => Field::Bool(false),
                    b'n' => Field::Null,
                    _ => Field::Number(&rest[..len]),
                })
            }
        }
    }
}

impl Elements<'_> {
    /// The place of the closing quote, and whether there is an escape before it.
    fn string_end(&self, start: usize) -> Option<(usize, bool)> {
        let mut at = start;
        loop {
            match self.text.get(at)? {
                b'"' => return Some((at, self.text[start..at].contains(&b'\\'))),
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    /// The place behind the bracket that closes the one at `start`.
    fn container_end(&self, start: usize) -> Option<usize> {
        let (mut at, mut open) = (start, 0usize);
        loop {
            match self.text.get(at)? {
                b'"' => at = self.string_end(at + 1)?.0,
                b'[' | b'{' => open += 1,
                b']' | b'}' if open == 1 => return Some(at + 1),
                b']' | b'}' => open -= 1,
                _ => {}
            }
            at += 1;
        }
    }
}
