//! One JSON object, read whole and strictly: what this module accepts is well-formed in every corner, also in the
//! ones nobody asks for.
//!
//! Numbers stay the text they were written as, because identifiers and exact decimals are made from that text.

use std::borrow::Cow;

/// The most objects and arrays that may be open at once, the event itself included.
const MAX_DEPTH: usize = 128;

/// A JSON value that borrows from the text it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(&'a str),
    /// Without its escapes.
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// The members of an object in the order of the text; a key can stand more than once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a> {
    members: Vec<Member<'a>>,
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Json<'a>,
    /// The value as written.
    pub(crate) text: &'a str,
}

/// Stands for every path that names nothing.
static NULL: Json<'static> = Json::Null;

impl<'a> Object<'a> {
    /// Reads `bytes` as one JSON object with nothing but white space around it. `None` if it is anything else,
    /// holds invalid UTF-8 or half a surrogate pair, or is nested deeper than [`MAX_DEPTH`].
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { text: str::from_utf8(bytes).ok()?, at: 0 };
        reader.skip_space();
        let Json::Object(object) = reader.value(0)? else { return None };
        reader.skip_space();
        (reader.at == reader.text.len()).then_some(object)
    }

    /// The value at `key`, null if there is none. A key that stands twice: the last.
    pub(crate) fn get(&self, key: &str) -> &Json<'a> {
        self.members.iter().rfind(|member| member.key == key).map_or(&NULL, |member| &member.value)
    }

    /// The value at the end of `steps`, null if there is none. A path goes through objects only.
    pub(crate) fn at(&self, steps: &[String]) -> &Json<'a> {
        let Some((first, rest)) = steps.split_first() else { return &NULL };
        match (self.get(first), rest) {
            (value, []) => value,
            (Json::Object(object), rest) => object.at(rest),
            _ => &NULL,
        }
    }

    /// The members in the order of the text.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.members
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a value inside `depth` open objects and arrays.
    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        match self.peek()? {
            b'{' if depth < MAX_DEPTH => self.object(depth + 1).map(Json::Object),
            b'[' if depth < MAX_DEPTH => self.array(depth + 1).map(Json::Array),
            b'"' => self.string().map(Json::String),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Object<'a>> {
        let mut members = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Some(Object { members });
        }
        loop {
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return None;
            }
            self.skip_space();
            let start = self.at;
            let value = self.value(depth)?;
            members.push(Member { key, value, text: &self.text[start..self.at] });
            self.skip_space();
            if self.take(b'}') {
                return Some(Object { members });
            }
            if !self.take(b',') {
                return None;
            }
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Json<'a>>> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Some(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Some(items);
            }
            if !self.take(b',') {
                return None;
            }
            self.skip_space();
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Option<Json<'a>> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Some(&self.text[start..self.at])
    }

    /// Steps over one or more digits.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        if !self.take(b'"') {
            return None;
        }
        let mut start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            match self.peek()? {
                b'"' => {
                    let tail = &self.text[start..self.at];
                    self.at += 1;
                    return Some(match unescaped {
                        None => Cow::Borrowed(tail),
                        Some(text) => Cow::Owned(text + tail),
                    });
                }
                b'\\' => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    text.push(self.escape()?);
                    start = self.at;
                }
                ..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return None,
        })
    }

    /// Reads the four digits after `\u` and, where they are the first half of a surrogate pair, the second half too.
    fn unicode(&mut self) -> Option<char> {
        let first = self.four_hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            // The second half of a pair that stands alone is no character.
            return char::from_u32(first);
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return None;
        }
        let second = self.four_hex()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10 | low))
    }

    fn four_hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        // `from_str_radix` alone would take a sign.
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

#[cfg(test)]
mod tests;
