//! Splits an expression into tokens, each with its place in the text.
//!
//! What other languages write (`&&`, `=`, `1.5h`) is reported and then read as what it stands for, so that one
//! slip does not hide the mistakes behind it.

use crate::{
    decimal::Decimal,
    expr::{Comparison, ParseError, ParseErrorKind, parser::MAX_ERRORS},
    time::Millis,
};

/// Byte offsets of the first character and behind the last one.
pub(super) type Span = (usize, usize);

/// The largest literal span, in milliseconds; results of arithmetic are held to the same bound.
pub(super) const MAX_SPAN_MS: i64 = 1 << 53;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name; `bare` unless it stands in backticks, where it is never a keyword.
    Name {
        text: String,
        bare: bool,
    },
    Text(String),
    /// A number without its sign, also as it was written.
    Number {
        text: String,
        value: Decimal,
    },
    Duration(Millis),
    True,
    False,
    And,
    Or,
    Not,
    Compare(Comparison),
    Plus,
    Minus,
    Star,
    Slash,
    Open,
    Close,
}

pub(super) struct Lexed {
    pub(super) tokens: Vec<(Token, Span)>,
    pub(super) errors: Vec<ParseError>,
    /// Something was left out, so a parser's complaint about what is missing would only confuse.
    pub(super) has_gaps: bool,
}

/// Whether `name` can be written without backticks. Keywords count in any case, since the parser recognizes
/// `AND` in order to correct it, and `null` in order to say that nothing compares with it.
pub(super) fn is_bare_name(name: &str) -> bool {
    let keyword = ["and", "or", "not", "true", "false", "now", "null"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word));
    !name.is_empty() && bare_name_length(name) == name.len() && !keyword
}

pub(super) fn lex(text: &str) -> Lexed {
    let lexed = Lexed { tokens: Vec::new(), errors: Vec::new(), has_gaps: false };
    let mut lexer = Lexer { text, at: 0, lexed };
    while lexer.at < text.len() {
        lexer.next();
    }
    lexer.lexed
}

/// Steps of letters, digits, `_` and `$`, joined by dots; 0 if there is no name.
fn bare_name_length(text: &str) -> usize {
    let continues = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    if !text.starts_with(|c: char| continues(c) && !c.is_numeric()) {
        return 0;
    }
    let mut length = 0;
    loop {
        length += text[length..].find(|c| !continues(c)).unwrap_or(text.len() - length);
        match text[length..].strip_prefix('.') {
            Some(rest) if rest.starts_with(continues) => length += 1,
            _ => return length,
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    lexed: Lexed,
}

impl Lexer<'_> {
    /// Reads at least one character.
    fn next(&mut self) {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return };
        match first {
            _ if first.is_whitespace() => self.at += first.len_utf8(),
            '"' | '\'' | '`' => self.quoted(first),
            '0'..='9' => self.number(),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            _ if bare_name_length(rest) > 0 => self.name(bare_name_length(rest)),
            _ => self.symbol(first),
        }
    }

    fn push(&mut self, token: Token, length: usize) {
        let start = self.at;
        self.at += length;
        self.lexed.tokens.push((token, (start, self.at)));
    }

    fn error(&mut self, span: Span, message: impl Into<String>, suggestion: Option<String>) {
        if self.lexed.errors.len() >= MAX_ERRORS {
            return;
        }
        let mut error = ParseError::new(ParseErrorKind::Syntax, self.text, span, message);
        error.suggestion = suggestion;
        self.lexed.errors.push(error);
    }

    fn name(&mut self, length: usize) {
        let text = &self.text[self.at..self.at + length];
        let token = match text {
            "and" => Token::And,
            "or" => Token::Or,
            "not" => Token::Not,
            "true" => Token::True,
            "false" => Token::False,
            _ => Token::Name { text: text.to_owned(), bare: true },
        };
        self.push(token, length);
    }

    fn symbol(&mut self, first: char) {
        // Longest first. With what to write instead, where the language has another word for it.
        let symbols: [(&str, Token, Option<&str>); 22] = [
            ("===", Token::Compare(Comparison::Equal), Some("==")),
            ("!==", Token::Compare(Comparison::NotEqual), Some("!=")),
            ("==", Token::Compare(Comparison::Equal), None),
            ("!=", Token::Compare(Comparison::NotEqual), None),
            ("<=", Token::Compare(Comparison::LessOrEqual), None),
            (">=", Token::Compare(Comparison::GreaterOrEqual), None),
            ("<>", Token::Compare(Comparison::NotEqual), Some("!=")),
            ("=<", Token::Compare(Comparison::LessOrEqual), Some("<=")),
            ("=>", Token::Compare(Comparison::GreaterOrEqual), Some(">=")),
            ("&&", Token::And, Some("and")),
            ("||", Token::Or, Some("or")),
            ("<", Token::Compare(Comparison::Less), None),
            (">", Token::Compare(Comparison::Greater), None),
            ("=", Token::Compare(Comparison::Equal), Some("==")),
            ("&", Token::And, Some("and")),
            ("|", Token::Or, Some("or")),
            ("!", Token::Not, Some("not")),
            ("+", Token::Plus, None),
            ("-", Token::Minus, None),
            ("*", Token::Star, None),
            ("/", Token::Slash, None),
            ("(", Token::Open, None),
        ];
        let start = self.at;
        if first == ')' {
            return self.push(Token::Close, 1);
        }
        let found = symbols.into_iter().find(|(symbol, ..)| self.text[start..].starts_with(symbol));
        let Some((symbol, token, instead)) = found else {
            self.at += first.len_utf8();
            self.lexed.has_gaps = true;
            return self.error(
                (start, self.at),
                format!("unexpected character `{}`", first.escape_debug()),
                None,
            );
        };
        self.push(token, symbol.len());
        if let Some(instead) = instead {
            self.error(
                (start, self.at),
                format!("`{symbol}` is written `{instead}` here"),
                Some(instead.into()),
            );
        }
    }

    /// A number or a duration.
    fn number(&mut self) {
        let rest = &self.text[self.at..];
        let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(0);
        let mut length = whole;
        if rest[length..].starts_with('.') && digits(length + 1) > 0 {
            length += 1 + digits(length + 1);
        }
        if rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(length + 1 + sign);
            length += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
        let unit =
            rest[length..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - length);
        if unit > 0 {
            return self.duration(length, unit);
        }
        let span = (self.at, self.at + length);
        let text = rest[..length].to_owned();
        let value = Decimal::parse(text.as_bytes());
        if value.is_none() {
            let (message, suggestion) = if whole == 0 {
                ("a number begins with a digit", Some(format!("0{text}")))
            } else if whole > 1 && text.starts_with('0') {
                (
                    "a number has no leading zeros; an identifier's value is a string",
                    Some(format!("\"{text}\"")),
                )
            } else {
                ("numbers are at most 10^18 in size", None)
            };
            self.error(span, message, suggestion);
        }
        self.push(Token::Number { text, value: value.unwrap_or_default() }, length);
    }

    /// A number directly followed by letters.
    fn duration(&mut self, number: usize, unit: usize) {
        let text = &self.text[self.at..self.at + number + unit];
        let duration = Millis::parse(text).filter(|span| span.0 <= MAX_SPAN_MS);
        if duration.is_none() {
            let span = (self.at, self.at + text.len());
            let is_unit = Millis::parse(&format!("1{}", &text[number..])).is_some();
            let is_whole = text[..number].bytes().all(|byte| byte.is_ascii_digit());
            let message = match is_unit && is_whole {
                true => format!("`{text}` is too long a duration"),
                false => format!(
                    "`{text}` is no duration: write a whole number and ms, s, m, h, d or w, such as `30d`"
                ),
            };
            let suggestion = known_unit(&text[number..])
                .map(|unit| format!("{}{unit}", &text[..number]))
                .filter(|fixed| Millis::parse(fixed).is_some_and(|span| span.0 <= MAX_SPAN_MS));
            self.error(span, message, suggestion);
        }
        self.push(Token::Duration(duration.unwrap_or_default()), number + unit);
    }

    /// A string, or a name in backticks.
    fn quoted(&mut self, quote: char) {
        let start = self.at;
        let mut content = String::new();
        let mut rest = self.text[start + 1..].char_indices();
        let mut closed = None;
        while let Some((at, character)) = rest.next() {
            if character == quote {
                closed = Some(start + 1 + at + 1);
                break;
            }
            if character != '\\' {
                content.push(character);
                continue;
            }
            let escape = start + 1 + at;
            match unescape(&self.text[escape..]) {
                Some((unescaped, length)) => {
                    content.push(unescaped);
                    // The backslash is taken already; what follows it is ASCII.
                    for _ in 1..length {
                        rest.next();
                    }
                }
                None => {
                    let next = rest.next().map_or(0, |(_, next)| next.len_utf8());
                    let message =
                        r"unknown escape: write \\ for a backslash, or one of \n \r \t \u{…} and the quotes";
                    self.error((escape, escape + 1 + next), message, None);
                }
            }
        }
        let end = closed.unwrap_or(self.text.len());
        if closed.is_none() {
            self.error((start, end), format!("this {quote} is never closed"), None);
            self.lexed.has_gaps = true;
        } else if quote == '`' && content.is_empty() {
            self.error((start, end), "a name is missing between the backticks", None);
        }
        let token =
            if quote == '`' { Token::Name { text: content, bare: false } } else { Token::Text(content) };
        self.push(token, end - start);
    }
}

/// The character that `text`, which begins with a backslash, stands for, and how many bytes say so.
fn unescape(text: &str) -> Option<(char, usize)> {
    let simple = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        quote @ (b'\\' | b'"' | b'\'' | b'`') => char::from(*quote),
        b'u' => {
            let digits = text[2..].strip_prefix('{')?.split_once('}')?.0;
            let valid =
                (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let code = valid.then(|| u32::from_str_radix(digits, 16).ok())??;
            return Some((char::from_u32(code)?, digits.len() + 4));
        }
        _ => return None,
    };
    Some((simple, 2))
}

/// The unit that people mean by `days` or `min`. Not by `M`, which could be months.
fn known_unit(word: &str) -> Option<&'static str> {
    if word == "M" {
        return None;
    }
    let word = word.to_lowercase();
    ["ms", "s", "m", "h", "d", "w"].into_iter().find(|unit| *unit == word).or_else(|| {
        [
            ("millisecond", "ms"),
            ("sec", "s"),
            ("min", "m"),
            ("hour", "h"),
            ("hr", "h"),
            ("day", "d"),
            ("week", "w"),
        ]
        .into_iter()
        .find(|(long, _)| word.starts_with(long))
        .map(|(_, unit)| unit)
    })
}
