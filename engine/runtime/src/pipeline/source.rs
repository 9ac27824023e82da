//! The text of a pipeline file: every position in it, also that of a character inside a quoted or folded value.

use std::{fmt, io, io::Read, path::Path};

use saphyr_parser::ScalarStyle;

use super::error::printable;

/// A place in the file: line and column in characters, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// From `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Position,
    pub(super) end: Position,
}

impl From<saphyr_parser::Span> for Span {
    fn from(span: saphyr_parser::Span) -> Self {
        let position = |mark: saphyr_parser::Marker| Position { line: mark.line(), column: mark.col() + 1 };
        Self { start: position(span.start), end: position(span.end) }
    }
}

/// The file's name and lines.
#[derive(Debug, Default)]
pub(super) struct SourceText {
    file: String,
    lines: Vec<Box<str>>,
    /// Values that look like secrets although they stand in the file.
    masks: Vec<Span>,
}

impl SourceText {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // The three line breaks of YAML; `\r\n` is one.
        let mut lines: Vec<Box<str>> = Vec::new();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            lines.extend(line.split('\r').map(Box::from));
        }
        Self { file: file.to_owned(), lines, masks: Vec::new() }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn line(&self, number: usize) -> &str {
        self.lines.get(number.wrapping_sub(1)).map_or("", |line| line)
    }

    /// Never shows what stands in these places again.
    pub(super) fn mask(&mut self, spans: Vec<Span>) {
        self.masks = spans;
    }

    /// The first line of a span with a mark under it.
    pub(super) fn snippet(&self, span: Span) -> Option<Snippet> {
        // Of longer lines only the surroundings are shown.
        const WIDTH: usize = 120;
        let Position { line, column } = span.start;
        let mut shown: Vec<char> = self.lines.get(line.checked_sub(1)?)?.chars().collect();
        for mask in &self.masks {
            if (mask.start.line..=mask.end.line).contains(&line) {
                let from = if mask.start.line == line { mask.start.column - 1 } else { 0 };
                let to = if mask.end.line == line { mask.end.column - 1 } else { shown.len() };
                shown.iter_mut().take(to).skip(from).for_each(|c| *c = '*');
            }
        }
        let first = if shown.len() <= WIDTH || column <= WIDTH / 2 { 0 } else { column - WIDTH / 2 };
        let cut = |there: bool| if there { "…" } else { "" };
        let middle: String = shown.iter().skip(first).take(WIDTH).collect();
        let text = format!("{}{}{}", cut(first > 0), middle.trim_end(), cut(shown.len() > first + WIDTH));
        let indent = column - 1 - first + usize::from(first > 0);
        let end = if span.end.line == line { span.end.column } else { shown.len() + 1 };
        Some(Snippet { line, text: printable(&text), indent, width: end.saturating_sub(column) })
    }

    /// Where the character at a byte offset of a scalar's value stands in the file.
    ///
    /// Exact for values on one line; for folded and literal ones the line is exact, and the column too unless the
    /// value's own white space differs from the file's.
    pub(super) fn locate(&self, span: Span, style: ScalarStyle, value: &str, offset: usize) -> Position {
        let mut cursor = Cursor { source: self, chars: Vec::new(), at: span.start };
        cursor.load();
        match style {
            ScalarStyle::Plain => cursor.skip_properties(),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                cursor.skip_properties();
                cursor.forward(1);
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {}
        }
        for (_, c) in value.char_indices().take_while(|(at, _)| *at < offset) {
            cursor.pass(c, style);
        }
        if value.get(offset..).and_then(|rest| rest.chars().next()).is_some_and(|c| !c.is_whitespace()) {
            cursor.skip_white(style);
        }
        cursor.at
    }
}

/// Walks through the text of a value as it stands in the file.
struct Cursor<'a> {
    source: &'a SourceText,
    /// The line that the cursor is in.
    chars: Vec<char>,
    at: Position,
}

impl Cursor<'_> {
    fn load(&mut self) {
        self.chars = self.source.line(self.at.line).chars().collect();
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at.column - 1 + ahead).copied()
    }

    fn forward(&mut self, characters: usize) {
        self.at.column += characters;
    }

    /// To the next line, unless this is the last.
    fn next_line(&mut self) -> bool {
        let more = self.at.line < self.source.lines.len();
        if more {
            self.at = Position { line: self.at.line + 1, column: 1 };
            self.load();
        }
        more
    }

    /// An anchor or tag before a value belongs to its span.
    fn skip_properties(&mut self) {
        while matches!(self.peek(0), Some('&' | '!')) {
            while self.peek(0).is_some_and(|c| !c.is_whitespace()) {
                self.forward(1);
            }
            self.skip_white(ScalarStyle::Plain);
        }
    }

    /// White space and line breaks that the value does not have.
    fn skip_white(&mut self, style: ScalarStyle) {
        loop {
            match self.peek(0) {
                Some(' ' | '\t') => self.forward(1),
                // An escaped line break.
                Some('\\') if style == ScalarStyle::DoubleQuoted && self.peek(1).is_none() => self.forward(1),
                None if self.next_line() => {}
                _ => return,
            }
        }
    }

    /// Passes what stands for `c`, a character of the value.
    fn pass(&mut self, c: char, style: ScalarStyle) {
        let escape =
            style == ScalarStyle::DoubleQuoted && self.peek(0) == Some('\\') && self.peek(1).is_some();
        if c.is_whitespace() && !escape {
            match self.peek(0) {
                Some(' ' | '\t') => self.forward(1),
                None if style == ScalarStyle::Literal => {
                    self.next_line();
                }
                // Folded: the next character that is not white skips to its line.
                _ => {}
            }
            return;
        }
        if !escape {
            self.skip_white(style);
        }
        let characters = match (style, self.peek(0)) {
            (ScalarStyle::DoubleQuoted, Some('\\')) => match self.peek(1) {
                Some('x') => 4,
                Some('u') => 6,
                Some('U') => 10,
                _ => 2,
            },
            (ScalarStyle::SingleQuoted, Some('\'')) => 2,
            _ => 1,
        };
        self.forward(characters);
    }
}

/// A line of the file and the mark under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    line: usize,
    text: String,
    indent: usize,
    width: usize,
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        // The mark never reaches far beyond what is shown of the line.
        let width = self.width.min((self.text.chars().count() + 1).saturating_sub(self.indent)).max(1);
        let blank = " ".repeat(number.len());
        writeln!(f, "  {number} | {}", self.text)?;
        write!(f, "  {blank} | {}{}", " ".repeat(self.indent), "^".repeat(width))
    }
}

/// The bytes of a file of at most `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
