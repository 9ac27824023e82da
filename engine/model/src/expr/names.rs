//! What the names of an expression stand for.

use crate::{
    event::Path,
    expr::{ParseErrorKind, display::written, resolve::Resolver, tree::Name},
    suggest::nearest,
};

/// The names that a segment may use; the indices of a [`Predicate`](crate::expr::Predicate) point into these lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Identifiers, in rank order.
    pub identifiers: &'a [String],
    /// Traits, in the order of the file.
    pub traits: &'a [String],
    /// Per trait, whether its value is a time (`first_time`, `last_time`). Every other trait is a scalar.
    pub time_traits: &'a [bool],
    /// Segments, in the order of the file.
    pub segments: &'a [String],
}

impl Names<'_> {
    /// Whether the trait with this index is always a time.
    pub(super) fn is_time(&self, index: usize) -> bool {
        self.time_traits.get(index).copied().unwrap_or(false)
    }
}

/// What a name stands for.
pub(super) enum Meaning {
    Now,
    Identifier(usize),
    Trait(usize),
    Segment,
    Field(Path),
}

impl Resolver<'_> {
    /// What the name stands for, if anything.
    pub(super) fn meaning(&self, name: &Name) -> Option<Meaning> {
        if name.bare && name.text == "now" {
            return Some(Meaning::Now);
        }
        let Some(names) = self.names else { return Path::parse(&name.text).map(Meaning::Field) };
        let position = |list: &[String]| list.iter().position(|known| *known == name.text);
        position(names.identifiers)
            .map(Meaning::Identifier)
            .or_else(|| position(names.traits).map(Meaning::Trait))
            .or_else(|| position(names.segments).map(|_| Meaning::Segment))
    }

    /// What the name stands for; an error if that is nothing, or nothing in this place. Where an expression is
    /// expected, keywords are near names, too.
    pub(super) fn known(&mut self, name: &Name, is_expression: bool) -> Option<Meaning> {
        let meaning = self.meaning(name);
        let is_path = matches!(meaning, Some(Meaning::Field(_)));
        if name.bare && (meaning.is_none() || is_path) {
            let is = |word: &&str| name.text.eq_ignore_ascii_case(word);
            if is(&"null") {
                return self.misuse(name.span, "nothing compares with null: write `has(x)` or `not has(x)`");
            }
            if let Some(word) = ["now", "true", "false"].iter().find(|word| is(word)) {
                let message = format!("`{word}` is written in lower case");
                return self.error(ParseErrorKind::Syntax, name.span, message, Some((*word).to_owned()));
            }
        }
        let Some(names) = self.names else {
            return match meaning {
                Some(Meaning::Now) => self.misuse(name.span, "`now` can't be used in `where`"),
                None => self.misuse(name.span, format!("`{}` is no path: a step of it is empty", name.text)),
                found => found,
            };
        };
        if meaning.is_some() {
            return meaning;
        }
        let keywords: &[&str] = if is_expression { &["now", "true", "false"] } else { &[] };
        let values = || names.identifiers.iter().chain(names.traits).map(String::as_str);
        let suggestion = match nearest(&name.text, values().chain(keywords.iter().copied())) {
            Some(near) if values().any(|value| value == near) => Some(written(near)),
            Some(keyword) => Some(keyword.to_owned()),
            None => nearest(&name.text, names.segments.iter().map(String::as_str))
                .map(|segment| format!("in_segment({})", written(segment))),
        };
        let message = format!("no trait or identifier is named `{}`", name.text);
        self.error(ParseErrorKind::UnknownName, name.span, message, suggestion)
    }

    /// Reports a name in a broken part if it is unknown.
    pub(super) fn check(&mut self, name: &Name) {
        let is_word = ["has", "in_segment", "and", "or", "not", "null"]
            .iter()
            .any(|word| name.bare && name.text.eq_ignore_ascii_case(word));
        if !is_word && self.names.is_some() {
            self.known(name, true);
        }
    }
}
