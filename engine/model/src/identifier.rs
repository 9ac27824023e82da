//! Identifiers: what an event says about who it is, and the rules that make a value usable.

use serde::{Deserialize, Serialize};

use crate::event::Path;

/// One entry of the pipeline's `identifiers`; its place in the list is its rank (first = highest).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdentifierSpec {
    /// The name, unique among identifiers, traits and segments.
    pub name: String,
    /// Every path that gives a usable value counts; an array of scalars counts each.
    pub from: Vec<Path>,
    /// How a raw value is made comparable, before blocking.
    pub normalize: Normalize,
    /// Values that are no identifiers, besides [`DEFAULT_BLOCKED`].
    pub block: Vec<BlockRule>,
}

/// How a raw value is made comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// The value as it stands.
    #[default]
    None,
    /// Without white space (Unicode `White_Space`) at both ends.
    Trim,
    /// Trimmed and lowercased (Unicode, not locale dependent).
    Lowercase,
    /// Trimmed and lowercased; a value without exactly one `@`, with an empty side, or with white space or
    /// control characters in it is no identifier.
    Email,
}

/// A value that is no identifier although it stands where one is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockRule {
    /// This value exactly, after normalizing.
    Exact(String),
    /// Every value in which this regular expression finds a match, after normalizing.
    Pattern(String),
}

/// Values that are never identifiers, compared trimmed and ignoring ASCII case. The empty value and values of
/// only zeros and dashes are blocked too.
pub const DEFAULT_BLOCKED: [&str; 22] = [
    "null",
    "nil",
    "undefined",
    "none",
    "nan",
    "n/a",
    "na",
    "-1",
    "true",
    "false",
    "unknown",
    "anonymous",
    "guest",
    "not_authenticated",
    "not-specified",
    "[object object]",
    "id",
    "user_id",
    "userid",
    "email",
    "distinct_id",
    "distinctid",
];

/// The longest value that is an identifier, in bytes of UTF-8 after normalizing. Longer ones are counted, not used.
pub const MAX_IDENTIFIER_BYTES: usize = 512;
