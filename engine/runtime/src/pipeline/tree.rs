//! A pipeline file as a tree in which every node knows its place. Bounded: size, depth, and what aliases expand to.

use std::{
    collections::{HashMap, hash_map},
    fmt,
    sync::Arc,
};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{
    connector::looks_secret,
    error::{ErrorKind, PipelineError, Report, quoted},
    source::{Position, SourceText, Span},
    url,
};

/// Lists and mappings inside each other.
pub(super) const MAX_DEPTH: usize = 64;
/// Bytes that all nodes of a file together may take after its aliases are expanded, about.
const MAX_WEIGHT: usize = 16 << 20;
/// What a node weighs besides its text.
const NODE_WEIGHT: usize = 64;

/// One value of the file. Without a span it comes from the Rust builder or from stored definitions.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Option<Span>,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something whose error is already reported; whoever meets it says nothing more.
    Invalid,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Option<Span>,
    pub(super) value: Node,
}

/// A single value as text; its type is settled by whoever reads it.
#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: ScalarStyle,
    /// A text whatever it looks like: `!!str`.
    pub(super) tagged: bool,
    /// As in the file, if `$$` or `${...}` made `text` another.
    pub(super) written: Option<Box<Written>>,
}

/// How a scalar stood in the file before substitution.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) text: String,
    /// Byte offsets in the scalar's text behind which a `$` of `$$` is missing.
    pub(super) dollars: Vec<usize>,
    /// What was put in for variables and files.
    pub(super) secrets: Vec<String>,
    /// Whether anything was substituted, also if only a default.
    pub(super) substituted: bool,
}

/// Shows nothing that was substituted.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.written.as_ref().map_or(&self.text, |written| &written.text))
    }
}

impl Scalar {
    pub(super) fn new(text: impl Into<String>, style: ScalarStyle) -> Self {
        Self { text: text.into(), style, tagged: false, written: None }
    }

    pub(super) fn is_substituted(&self) -> bool {
        self.written.as_ref().is_some_and(|written| written.substituted)
    }

    /// What was put in for variables and files.
    pub(super) fn secrets(&self) -> &[String] {
        self.written.as_ref().map_or(&[], |written| &written.secrets)
    }

    /// Whether its text decides its type.
    pub(super) fn is_plain(&self) -> bool {
        self.style == ScalarStyle::Plain && !self.tagged
    }

    /// YAML's null: nothing, `~` or `null` without quotes. Never what was substituted: with a variable that is set to
    /// nothing a key would be as if left out, and a secret with it.
    pub(super) fn is_null(&self) -> bool {
        self.is_plain()
            && !self.is_substituted()
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The value for a message, without secrets.
    pub(super) fn shown(&self) -> String {
        if !self.secrets().is_empty() {
            let written = self.written.as_ref().map_or("", |written| &written.text);
            return format!("the value of {}", quoted(written));
        }
        match self.text.as_str() {
            _ if self.is_null() => "nothing".to_owned(),
            "" => "an empty text".to_owned(),
            text => quoted(&url::masked(text)),
        }
    }
}

impl Node {
    /// A text that does not come from a file.
    pub(super) fn text(text: impl Into<String>) -> Self {
        // Quoted, so that an empty text or `null` is a text.
        Self { span: None, content: Content::Scalar(Scalar::new(text, ScalarStyle::DoubleQuoted)) }
    }

    /// A list of texts that does not come from a file.
    pub(super) fn texts(texts: &[String]) -> Self {
        Self { span: None, content: Content::List(texts.iter().map(Self::text).collect()) }
    }

    /// A mapping that does not come from a file.
    pub(super) fn map(entries: Vec<(String, Node)>) -> Self {
        let entry = |(key, value)| Entry { key, key_span: None, value };
        Self { span: None, content: Content::Map(entries.into_iter().map(entry).collect()) }
    }

    /// What kind of thing it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.content {
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
            Content::Invalid => "nothing usable",
        }
    }

    /// Calls `visit` for every scalar.
    pub(super) fn visit_scalars(&self, visit: &mut impl FnMut(&Scalar, Option<Span>)) {
        match &self.content {
            Content::Scalar(scalar) => visit(scalar, self.span),
            Content::List(items) => items.iter().for_each(|item| item.visit_scalars(visit)),
            Content::Map(entries) => entries.iter().for_each(|entry| entry.value.visit_scalars(visit)),
            Content::Invalid => {}
        }
    }
}

/// Reads a file's text. `None` if it is no tree at all; then the report says why.
pub(super) fn parse(text: &str, source: &Arc<SourceText>, report: &mut Report) -> Option<Node> {
    let mut builder =
        Builder { source, report, open: Vec::new(), anchors: HashMap::new(), weight: 0, root: None };
    for event in Parser::new_from_str(text) {
        let next = match event {
            Ok((event, span)) => builder.event(event, span.into()),
            Err(error) => {
                let start = Position { line: error.marker().line(), column: error.marker().col() + 1 };
                let message = format!("not valid YAML: {}", error.info());
                let positioned = builder.error(ErrorKind::Syntax, message, Span { start, end: start });
                Err(Box::new(hinted(*positioned, source.line(start.line))))
            }
        };
        if let Err(error) = next {
            report.add(*error);
            return None;
        }
    }
    let root = builder.root.take();
    if root.is_none() {
        let error = PipelineError::new(ErrorKind::Syntax, "the file is empty")
            .with_hint("a pipeline needs at least `identifiers`");
        report.add(error.at(Some(source), None, String::new()));
    }
    root
}

/// What most often makes a line of a pipeline file no YAML.
fn hinted(error: PipelineError, line: &str) -> PipelineError {
    if line.contains("${") {
        return error.with_hint("inside `{ }` and `[ ]` a `${...}` must be in quotes");
    }
    let value = line.split_once(": ").map_or("", |(_, value)| value.trim());
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) if !value.ends_with(quote) || value.matches(quote).count() > 2 => error
            .with_hint("a value that begins with a quote must be in quotes as a whole: `'\"A\" then \"B\"'`"),
        _ => error,
    }
}

/// What keeps a file from being a tree.
type Fault = Box<PipelineError>;

/// Puts the tree together from the parser's events, without recursion.
struct Builder<'a> {
    source: &'a Arc<SourceText>,
    report: &'a mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
    weight: usize,
    root: Option<Node>,
}

/// A list or mapping whose end is not reached.
struct Open {
    anchor: usize,
    span: Span,
    inside: Inside,
    /// The weight of everything before it.
    weight_before: usize,
    /// The deepest nesting below it.
    height: usize,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Span)>, seen: HashMap<String, Span> },
}

#[derive(Clone)]
struct Anchor {
    node: Node,
    weight: usize,
    height: usize,
}

impl Builder<'_> {
    fn error(&self, kind: ErrorKind, message: impl Into<String>, span: Span) -> Fault {
        let error = PipelineError::new(kind, message).at(Some(self.source), Some(span), String::new());
        // There is no tree yet that says what is a secret, so a line that may hold one is not shown.
        let line = self.source.line(span.start.line).to_ascii_lowercase();
        let inside = |open: &Open| match &open.inside {
            Inside::Map { key: Some((key, _)), .. } => looks_secret(key),
            _ => false,
        };
        let is_secret =
            looks_secret(&line) || ["headers", "url", "://"].iter().any(|word| line.contains(word));
        Box::new(if is_secret || self.open.iter().any(inside) { error.without_snippet() } else { error })
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                let weight = NODE_WEIGHT + text.len();
                self.add_weight(weight, span)?;
                let scalar = Scalar { tagged: tag.is_some(), ..Scalar::new(text, style) };
                let node = Node { span: Some(span), content: Content::Scalar(scalar) };
                self.finish(node, anchor, weight, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(anchor, tag.as_deref(), span, Inside::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let inside = Inside::Map { entries: Vec::new(), key: None, seen: HashMap::new() };
                self.start(anchor, tag.as_deref(), span, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => {
                let Some(Anchor { mut node, weight, height }) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.error(
                        ErrorKind::Syntax,
                        "this alias stands inside its own anchor",
                        span,
                    ));
                };
                self.add_weight(weight, span)?;
                self.check_depth(height, span)?;
                // Mistakes below point at the anchor's text, mistakes about the whole at the alias.
                if !matches!(node.content, Content::Scalar(_)) {
                    node.span = Some(span);
                }
                self.finish(node, 0, weight, height)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.error(ErrorKind::Syntax, "a second document: a file holds one pipeline", span))
            }
            _ => Ok(()),
        }
    }

    /// `!!str` makes a text of anything; other tags have no meaning here.
    fn check_tag(&self, tag: Option<&Tag>, span: Span) -> Result<(), Fault> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() || tag.suffix != "str" => {
                let message = format!("the tag {} means nothing here", quoted(&tag.to_string()));
                Err(self.error(ErrorKind::Syntax, message, span))
            }
            _ => Ok(()),
        }
    }

    fn add_weight(&mut self, weight: usize, span: Span) -> Result<(), Fault> {
        self.weight += weight;
        if self.weight > MAX_WEIGHT {
            return Err(self.error(
                ErrorKind::Limit,
                "the file is too large with its aliases expanded",
                span,
            ));
        }
        Ok(())
    }

    fn check_depth(&self, height: usize, span: Span) -> Result<(), Fault> {
        if self.open.len() + height > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.error(ErrorKind::Limit, message, span));
        }
        Ok(())
    }

    fn start(&mut self, anchor: usize, tag: Option<&Tag>, span: Span, inside: Inside) -> Result<(), Fault> {
        self.check_tag(tag, span)?;
        if let Some(Open { inside: Inside::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(self.error(ErrorKind::Syntax, "a key must be a plain text", span));
        }
        self.check_depth(1, span)?;
        let weight_before = self.weight;
        self.add_weight(NODE_WEIGHT, span)?;
        self.open.push(Open { anchor, span, inside, weight_before, height: 0 });
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let span = Span { start: open.span.start, end: end.end };
        let content = match open.inside {
            Inside::List(items) => Content::List(items),
            Inside::Map { entries, .. } => Content::Map(entries),
        };
        let weight = self.weight - open.weight_before;
        self.finish(Node { span: Some(span), content }, open.anchor, weight, open.height + 1)
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, weight: usize, height: usize) -> Result<(), Fault> {
        if anchor > 0 {
            // Kept beside the tree, so it counts again.
            if let Some(span) = node.span {
                self.add_weight(weight, span)?;
            }
            self.anchors.insert(anchor, Anchor { node: node.clone(), weight, height });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.height = open.height.max(height);
        match &mut open.inside {
            Inside::List(items) => items.push(node),
            Inside::Map { entries, key, seen } => match (key.take(), node) {
                (None, Node { span: Some(span), content: Content::Scalar(scalar) }) => {
                    *key = Some((scalar.text, span));
                }
                (None, node) => {
                    let span = node.span.unwrap_or(open.span);
                    return Err(self.error(ErrorKind::Syntax, "a key must be a plain text", span));
                }
                (Some((name, span)), value) => match seen.entry(name) {
                    hash_map::Entry::Vacant(vacant) => {
                        entries.push(Entry { key: vacant.key().clone(), key_span: Some(span), value });
                        vacant.insert(span);
                    }
                    hash_map::Entry::Occupied(first) => {
                        let message = format!("the key {} stands twice", quoted(first.key()));
                        let Position { line, column } = first.get().start;
                        let hint = format!("the first is at {}:{line}:{column}", self.source.file());
                        let error = self.error(ErrorKind::DuplicateKey, message, span);
                        self.report.add(error.with_hint(hint));
                    }
                },
            },
        }
        Ok(())
    }
}
