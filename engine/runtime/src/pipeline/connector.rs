//! The entries of `sources` and `sinks`: a type and a configuration that only the connector understands, with the
//! place of every key, so that what a connector finds wrong is reported like any other mistake.

use std::{fmt, sync::Arc};

use serde_json::{Map, Number, Value};

use super::{
    error::{ErrorKind, PipelineError, quoted},
    reader::{Reader, Trail},
    source::{SourceText, Span},
    tree::{Content, Entry, Node, Scalar},
    url,
};

/// Which way a connector moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectorRole {
    /// It brings events: an entry of `sources`.
    Source,
    /// It takes membership deltas: an entry of `sinks`.
    Sink,
}

impl ConnectorRole {
    /// `"source"` or `"sink"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Sink => "sinks",
        }
    }
}

/// One entry of `sources` or `sinks`. Its `Debug` shows no value of the configuration.
#[derive(Clone)]
pub struct ConnectorSpec {
    role: ConnectorRole,
    name: String,
    kind: String,
    config: Map<String, Value>,
    origin: Option<Origin>,
}

/// Where a connector's configuration stands in a file.
#[derive(Clone)]
struct Origin {
    source: Arc<SourceText>,
    name_span: Option<Span>,
    node: Arc<Node>,
}

impl fmt::Debug for ConnectorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorSpec")
            .field("role", &self.role)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("config", &self.config.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl ConnectorSpec {
    /// A connector that does not come from a file; its errors have no position.
    pub fn new(
        role: ConnectorRole,
        name: impl Into<String>,
        kind: impl Into<String>,
        config: Map<String, Value>,
    ) -> Self {
        Self { role, name: name.into(), kind: kind.into(), config, origin: None }
    }

    /// Whether it is a source or a sink.
    pub fn role(&self) -> ConnectorRole {
        self.role
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `type`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Everything but `type`, with variables and files substituted. It may hold secrets: never print or store it.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// A mistake in the value at a key path such as `audiences.loyal` or `write_keys[0]`.
    ///
    /// A path that the configuration does not have points at the nearest place above it, the empty path at the
    /// entry. Substituted values in the message are blotted out.
    pub fn value_error(&self, path: &str, message: impl Into<String>) -> PipelineError {
        self.error(path, &message.into(), false)
    }

    /// The same for a mistake in the key itself, such as an unknown one.
    pub fn key_error(&self, path: &str, message: impl Into<String>) -> PipelineError {
        self.error(path, &message.into(), true)
    }

    /// The `type` is not among those that exist (`known`); one in `planned` is named as not built yet.
    pub fn unknown_kind(&self, known: &[&str], planned: &[&str]) -> PipelineError {
        let (role, kind) = (self.role.name(), quoted(&self.kind));
        let mut error = if planned.contains(&self.kind.as_str()) {
            let mut error = self.error("type", &format!("the {role} type {kind} is not built yet"), false);
            error.kind = ErrorKind::NotBuilt;
            error
        } else {
            let error = self.error("type", &format!("unknown {role} type {kind}"), false);
            error.with_nearest(&self.kind, known.iter().copied())
        };
        if error.hint.is_none() {
            error = error.with_hint(format!("the types are {}", super::reader::list(known, "and")));
        }
        error
    }

    /// Whether all its values could be read; one with a variable that is not set can't be checked.
    pub(super) fn is_complete(&self) -> bool {
        fn complete(node: &Node) -> bool {
            match &node.content {
                Content::Scalar(_) => true,
                Content::List(items) => items.iter().all(complete),
                Content::Map(entries) => entries.iter().all(|entry| complete(&entry.value)),
                Content::Invalid => false,
            }
        }
        self.origin.as_ref().is_none_or(|origin| complete(&origin.node))
    }

    fn error(&self, path: &str, message: &str, at_key: bool) -> PipelineError {
        let section = self.role.section();
        let full_path = match path {
            "" => format!("{section}.{}", self.name),
            path => format!("{section}.{}.{path}", self.name),
        };
        let Some(Origin { source, name_span, node }) = &self.origin else {
            return PipelineError::new(ErrorKind::Connector, message).at(None, None, full_path);
        };
        let message = blot(node, message);
        let mut span = *name_span;
        let mut place: (&str, &Node) = (path, node);
        while let Some((key_span, rest, below)) = step(place.0, place.1) {
            span = if rest.is_empty() && at_key { key_span.or(below.span) } else { below.span };
            place = (rest, below);
        }
        PipelineError::new(ErrorKind::Connector, message).at(Some(source), span, full_path)
    }

    /// Reads an entry. `None` if it has no usable `type`.
    pub(super) fn read(
        reader: &mut Reader,
        role: ConnectorRole,
        entry: &Entry,
        trail: &Trail<'_>,
    ) -> Option<Self> {
        const EXPECTED: &str = "a mapping such as `{ type: file, path: events.ndjson }`";
        reader.check_name(entry, trail, true);
        let Content::Map(entries) = &entry.value.content else {
            reader.wrong_type(&entry.value, trail, EXPECTED);
            return None;
        };
        let Some(kind) = entries.iter().find(|entry| entry.key == "type") else {
            let error =
                PipelineError::new(ErrorKind::MissingKey, format!("the {} has no `type`", role.name()));
            reader.add(entry.key_span, trail, error);
            return None;
        };
        // It names code and is stored with the definitions.
        let kind = reader.definition(&kind.value, &trail.key("type"), "the name of a type")?;
        let mut config = Map::new();
        for entry in entries.iter().filter(|entry| entry.key != "type") {
            config.insert(entry.key.clone(), to_json(&entry.value));
        }
        let origin = reader.source.as_ref().map(|source| Origin {
            source: Arc::clone(source),
            name_span: entry.key_span,
            node: Arc::new(entry.value.clone()),
        });
        Some(Self { role, name: entry.key.clone(), kind: kind.to_owned(), config, origin })
    }
}

/// One step of a key path down from a node: where the key stands, the rest of the path, the node below.
fn step<'p, 'n>(path: &'p str, node: &'n Node) -> Option<(Option<Span>, &'p str, &'n Node)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    match &node.content {
        Content::List(items) => {
            // Both ways of writing an index: `[0]` and `.0`.
            let (index, rest) = match path.strip_prefix('[') {
                Some(inside) => inside.split_once(']')?,
                None => path.split_at(path.find(['.', '[']).unwrap_or(path.len())),
            };
            Some((None, rest, items.get(index.parse::<usize>().ok()?)?))
        }
        // Keys may hold dots themselves, so the longest that fits is meant.
        Content::Map(entries) => entries
            .iter()
            .filter_map(|entry| Some((entry, path.strip_prefix(entry.key.as_str())?)))
            .filter(|(entry, rest)| {
                !entry.key.is_empty() && (rest.is_empty() || rest.starts_with(['.', '[']))
            })
            .max_by_key(|(entry, _)| entry.key.len())
            .map(|(entry, rest)| (entry.key_span, rest, &entry.value)),
        _ => None,
    }
}

/// Replaces in a message everything that was substituted or looks like a secret.
fn blot(node: &Node, message: &str) -> String {
    // A shorter one is no secret, and without it the message would lose ordinary words.
    const SHORTEST: usize = 4;
    let mut secrets: Vec<String> = Vec::new();
    let mut collect = |text: &str| {
        if text.len() >= SHORTEST {
            secrets.push(text.to_owned());
            secrets.push(text.escape_debug().to_string());
        }
    };
    node.visit_scalars(&mut |scalar, _| {
        if !scalar.secrets().is_empty() {
            collect(&scalar.text);
            scalar.secrets().iter().for_each(|secret| collect(secret));
        }
    });
    visit_secret_scalars(node, &mut |scalar, _| collect(&scalar.text));
    url::visit_secrets(node, &mut collect);
    // The longest first, so that none leaves the rest of another behind.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(message.to_owned(), |message, secret| message.replace(secret, "***"))
}

/// Whether a key is the name of something that should not be shown. Of headers only the receiver knows which are secrets.
pub(super) fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("headers")
        || ["key", "token", "secret", "passw", "credential", "auth"].iter().any(|word| key.contains(word))
}

/// Calls `visit` for every scalar under a key that looks like a secret's and that stands in the file itself.
pub(super) fn visit_secret_scalars(node: &Node, visit: &mut impl FnMut(&Scalar, Option<Span>)) {
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| visit_secret_scalars(item, visit)),
        Content::Map(entries) => {
            for entry in entries {
                if looks_secret(&entry.key) {
                    entry.value.visit_scalars(visit);
                } else {
                    visit_secret_scalars(&entry.value, visit);
                }
            }
        }
        Content::Scalar(_) | Content::Invalid => {}
    }
}

/// The value as a connector reads it; plain scalars get the type that JSON gives them.
pub(super) fn to_json(node: &Node) -> Value {
    match &node.content {
        Content::List(items) => items.iter().map(to_json).collect(),
        Content::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.value))).collect())
        }
        Content::Scalar(scalar) if scalar.is_plain() => plain_to_json(scalar),
        Content::Scalar(scalar) => Value::String(scalar.text.clone()),
        Content::Invalid => Value::Null,
    }
}

fn plain_to_json(scalar: &Scalar) -> Value {
    match scalar.text.as_str() {
        _ if scalar.is_null() => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text => {
            let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            match serde_json::from_str::<Number>(text) {
                // A number with more digits than fit is an id, and an id must not lose digits.
                Ok(number) if !is_integer || number.is_i64() || number.is_u64() => Value::Number(number),
                _ => Value::String(text.to_owned()),
            }
        }
    }
}
