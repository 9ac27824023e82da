//! Reads single things out of the tree; whatever is wrong goes to the report with its place, and reading goes on.

use std::{collections::HashMap, fmt, sync::Arc};

use tidewater_model::{
    Millis, Path,
    expr::{ParseError, ParseErrorKind},
};

use super::{
    error::{ErrorKind, PipelineError, Report, quoted},
    keys::{self, Keys},
    source::{SourceText, Span},
    tree::{Content, Entry, Node, Scalar},
};

/// The longest duration that a pipeline may name, so that no sum of a time and a duration overflows.
const LONGEST: Millis = Millis(36_500 * Millis::DAY.0);
/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

/// The keys that lead to a place.
#[derive(Clone, Copy)]
pub(super) enum Trail<'a> {
    Root,
    Key(&'a Trail<'a>, &'a str),
    Item(&'a Trail<'a>, usize),
}

impl<'a> Trail<'a> {
    pub(super) fn key(&'a self, key: &'a str) -> Trail<'a> {
        Trail::Key(self, key)
    }
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A mapping whose keys are all known.
pub(super) struct Fields<'n> {
    pub(super) entries: &'n [Entry],
    by_key: HashMap<&'n str, &'n Entry>,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.by_key.get(key).copied()
    }
}

pub(super) struct Reader {
    /// `None` for a pipeline that does not come from a file.
    pub(super) source: Option<Arc<SourceText>>,
    pub(super) report: Report,
    /// What is read was stored by an engine that ran on it, maybe of a version with fewer rules: a state must open.
    pub(super) is_stored: bool,
}

impl Reader {
    pub(super) fn new(source: Option<Arc<SourceText>>) -> Self {
        Self { source, report: Report::default(), is_stored: false }
    }

    pub(super) fn add(&mut self, span: Option<Span>, trail: &Trail<'_>, error: PipelineError) {
        if !self.report.counts_only() {
            self.report.add(error.at(self.source.as_ref(), span, trail.to_string()));
        }
    }

    /// A section has a bound; the mistake stands at the first entry behind it.
    pub(super) fn at_most(&mut self, most: usize, entries: &[Entry], section: &Trail<'_>) {
        if let Some(entry) = entries.get(most) {
            let message = format!("more than {most} {section}");
            self.add(entry.key_span, section, PipelineError::new(ErrorKind::Limit, message));
        }
    }

    pub(super) fn wrong_type(&mut self, node: &Node, trail: &Trail<'_>, expected: &str) {
        let found = match &node.content {
            Content::Invalid => return,
            Content::Scalar(scalar) => scalar.shown(),
            _ => node.kind().to_owned(),
        };
        let message = format!("expected {expected}, found {found}");
        self.add(node.span, trail, PipelineError::new(ErrorKind::WrongType, message));
    }

    pub(super) fn invalid(&mut self, node: &Node, trail: &Trail<'_>, message: String) {
        self.add(node.span, trail, PipelineError::new(ErrorKind::InvalidValue, message));
    }

    pub(super) fn not_built(&mut self, span: Option<Span>, trail: &Trail<'_>, what: &str) {
        let error = PipelineError::new(ErrorKind::NotBuilt, format!("{} is not built yet", quoted(what)));
        self.add(span, trail, error);
    }

    /// The entries of a mapping with free keys. Nothing (`traits:` with all lines under it removed) is empty.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, trail: &Trail<'_>, expected: &str) -> &'n [Entry] {
        match &node.content {
            Content::Map(entries) => entries,
            Content::Scalar(scalar) if scalar.is_null() => &[],
            _ => {
                self.wrong_type(node, trail, expected);
                &[]
            }
        }
    }

    /// A mapping with the keys of the table. Other keys are reported, the rest can still be read.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        trail: &Trail<'_>,
        keys: &Keys,
        expected: &str,
    ) -> Option<Fields<'n>> {
        let Content::Map(entries) = &node.content else {
            self.wrong_type(node, trail, expected);
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if keys.built.contains(&key) {
                continue;
            }
            let trail = trail.key(key);
            if keys.not_built.contains(&key) {
                self.not_built(entry.key_span, &trail, key);
                continue;
            }
            let message = format!("unknown key {} in {}", quoted(key), keys.of);
            let all = || keys.built.iter().chain(keys.not_built).copied();
            let mut error = PipelineError::new(ErrorKind::UnknownKey, message).with_nearest(key, all());
            if error.hint.is_none() {
                error = error.with_hint(format!("{} has the keys {}", keys.of, list(keys.built, "and")));
            }
            self.add(entry.key_span, &trail, error);
        }
        let by_key = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        Some(Fields { entries, by_key })
    }

    /// A single value that is not null.
    pub(super) fn scalar<'n>(
        &mut self,
        node: &'n Node,
        trail: &Trail<'_>,
        expected: &str,
    ) -> Option<&'n Scalar> {
        match &node.content {
            Content::Scalar(scalar) if !scalar.is_null() && !scalar.text.is_empty() => Some(scalar),
            _ => {
                self.wrong_type(node, trail, expected);
                None
            }
        }
    }

    /// A text that becomes part of the definitions, which are stored: nothing of it may come from elsewhere.
    pub(super) fn definition<'n>(
        &mut self,
        node: &'n Node,
        trail: &Trail<'_>,
        expected: &str,
    ) -> Option<&'n str> {
        let scalar = self.scalar(node, trail, expected)?;
        if scalar.is_substituted() {
            let message =
                "a definition cannot hold a substituted value: definitions are stored with the state";
            let error = PipelineError::new(ErrorKind::Environment, message)
                .with_hint("write the value itself, or `$$` for a `$` that means itself");
            self.add(node.span, trail, error);
            return None;
        }
        Some(&scalar.text)
    }

    /// One definition or a list of them, each read from its text.
    pub(super) fn definitions<T>(
        &mut self,
        node: &Node,
        trail: &Trail<'_>,
        expected: &str,
        read: impl Fn(&mut Self, &Node, &Trail<'_>, &str) -> Option<T>,
    ) -> Vec<T> {
        let mut one = |node: &Node, trail: &Trail<'_>| {
            let text = self.definition(node, trail, expected)?;
            read(self, node, trail, text)
        };
        match &node.content {
            Content::List(items) => {
                let item = |(index, item)| one(item, &Trail::Item(trail, index));
                items.iter().enumerate().filter_map(item).collect()
            }
            _ => one(node, trail).into_iter().collect(),
        }
    }

    pub(super) fn path(&mut self, node: &Node, trail: &Trail<'_>) -> Option<Path> {
        let text = self.definition(node, trail, "a path such as `properties.revenue`")?;
        self.parsed_path(node, trail, text)
    }

    pub(super) fn parsed_path(&mut self, node: &Node, trail: &Trail<'_>, text: &str) -> Option<Path> {
        let path = Path::parse(text);
        if path.is_none() {
            let message = format!("{} is no path: expected keys with one dot between them", quoted(text));
            self.invalid(node, trail, message);
        }
        path
    }

    /// A duration of at least `least`.
    pub(super) fn duration(&mut self, node: &Node, trail: &Trail<'_>, least: Millis) -> Option<Millis> {
        const EXPECTED: &str = "a duration such as `500ms`, `30s`, `10m`, `2h`, `7d` or `4w`";
        let scalar = self.scalar(node, trail, EXPECTED)?;
        let Some(duration) = Millis::parse(&scalar.text) else {
            self.invalid(node, trail, format!("expected {EXPECTED}, found {}", scalar.shown()));
            return None;
        };
        if duration < least {
            self.invalid(node, trail, format!("expected at least {least}, found {}", scalar.shown()));
            return None;
        }
        if duration > LONGEST {
            self.invalid(node, trail, format!("expected at most {LONGEST}, found {}", scalar.shown()));
            return None;
        }
        Some(duration)
    }

    /// One of a few words.
    pub(super) fn choice(
        &mut self,
        node: &Node,
        trail: &Trail<'_>,
        choices: &[&'static str],
    ) -> Option<&'static str> {
        let scalar = self.scalar(node, trail, &either(choices))?;
        let found = choices.iter().find(|choice| **choice == scalar.text).copied();
        if found.is_none() {
            let message = format!("expected {}, found {}", either(choices), scalar.shown());
            let mut error = PipelineError::new(ErrorKind::InvalidValue, message);
            if scalar.secrets().is_empty() {
                error = error.with_nearest(&scalar.text, choices.iter().copied());
            }
            self.add(node.span, trail, error);
        }
        found
    }

    /// Reports a name that nothing can have. `dashes` are allowed in names that no expression uses.
    pub(super) fn check_name(&mut self, entry: &Entry, trail: &Trail<'_>, dashes: bool) {
        let name = entry.key.as_str();
        let mut characters = name.chars();
        let is_word = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || (dashes && c == '-'));
        let message = if !is_word {
            let dashes = if dashes { ", digits, `_` and `-`" } else { ", digits and `_`" };
            format!("{} is no name: expected letters{dashes}, not beginning with a digit", quoted(name))
        } else if name.len() > LONGEST_NAME {
            format!("the name {} is longer than {LONGEST_NAME} characters", quoted(name))
        } else if !dashes && keys::RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            format!("{} is a word of the segment language and cannot be a name", quoted(name))
        } else {
            return;
        };
        self.add(entry.key_span, trail, PipelineError::new(ErrorKind::InvalidName, message));
    }

    /// Reports mistakes in an expression at the characters they are about.
    pub(super) fn expression_errors(&mut self, node: &Node, trail: &Trail<'_>, errors: Vec<ParseError>) {
        for error in errors {
            let kind = match error.kind {
                ParseErrorKind::NotBuilt => ErrorKind::NotBuilt,
                _ => ErrorKind::Expression,
            };
            if self.report.counts_only() {
                continue;
            }
            let span = self.span_within(node, error.start, error.end);
            let mut positioned = PipelineError::new(kind, error.message);
            if let Some(suggestion) = error.suggestion {
                positioned = positioned.with_hint(format!("did you mean `{suggestion}`?"));
            }
            self.report.add(positioned.at(self.source.as_ref(), span, trail.to_string()));
        }
    }

    /// Where a part of a scalar's text stands in the file.
    fn span_within(&self, node: &Node, start: usize, end: usize) -> Option<Span> {
        let (source, span) = (self.source.as_ref()?, node.span?);
        let Content::Scalar(scalar) = &node.content else { return node.span };
        let at = |offset: usize| match &scalar.written {
            None => source.locate(span, scalar.style, &scalar.text, offset),
            Some(written) => {
                let dropped = written.dollars.iter().filter(|dollar| **dollar <= offset).count();
                source.locate(span, scalar.style, &written.text, offset + dropped)
            }
        };
        Some(Span { start: at(start), end: at(end) })
    }
}

/// `a`, `b` or `c`.
pub(super) fn either(words: &[&str]) -> String {
    list(words, "or")
}

/// `a`, `b` <conjunction> `c`.
pub(super) fn list(words: &[&str], conjunction: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}
