//! Which values of an event are identifiers: found by path, normalized, not blocked, not too long.

use std::{borrow::Cow, collections::BTreeSet};

use regex::Regex;
use tidewater_model::{
    BlockRule, IdentifierSpec, Normalize,
    identifier::{DEFAULT_BLOCKED, MAX_IDENTIFIER_BYTES},
};

use crate::json::{Json, Object};

/// An identifier: the index of its definition (its rank) and its normalized value. The derived order is by rank,
/// then by value bytewise, which is also what picks an owner.
pub(crate) type Id = (usize, String);

/// A pipeline's identifiers with their block patterns compiled.
#[derive(Clone, Debug)]
pub(crate) struct IdentifierRules {
    specs: Vec<IdentifierSpec>,
    /// Per identifier.
    patterns: Vec<Vec<Regex>>,
}

impl IdentifierRules {
    /// Compiles the block patterns. One that is no regular expression blocks nothing: the pipeline loader has
    /// refused it long before.
    pub(crate) fn new(specs: &[IdentifierSpec]) -> Self {
        let compile = |rule: &BlockRule| match rule {
            BlockRule::Pattern(pattern) => Regex::new(pattern).ok(),
            BlockRule::Exact(_) => None,
        };
        let patterns = specs.iter().map(|spec| spec.block.iter().filter_map(compile).collect()).collect();
        Self { specs: specs.to_vec(), patterns }
    }

    /// Every identifier of an event, whichever path it stands at.
    pub(crate) fn of_event(&self, event: &Object<'_>) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        for (identifier, spec) in self.specs.iter().enumerate() {
            for path in &spec.from {
                found
                    .extend(self.values(identifier, event.at(path.steps())).map(|value| (identifier, value)));
            }
        }
        found
    }

    /// The usable values of `identifier` in what stands at a path: a scalar, or each scalar of an array.
    pub(crate) fn values<'a>(
        &'a self,
        identifier: usize,
        found: &'a Json<'_>,
    ) -> impl Iterator<Item = String> + 'a {
        let scalars = match found {
            Json::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        scalars.iter().filter_map(scalar_text).filter_map(move |raw| self.usable(identifier, &raw))
    }

    /// The first identifier that the top-level key `key` feeds.
    pub(crate) fn first_fed_by(&self, key: &str) -> Option<usize> {
        self.specs.iter().position(|spec| spec.from.iter().any(|path| path.steps() == [key]))
    }

    /// Normalized, then blocked ones dropped, then at most 512 bytes kept.
    fn usable(&self, identifier: usize, raw: &str) -> Option<String> {
        let spec = &self.specs[identifier];
        let value = normalize(spec.normalize, raw)?;
        let blocked = is_blocked_by_default(&value)
            || spec.block.iter().any(|rule| matches!(rule, BlockRule::Exact(exact) if *exact == value))
            || self.patterns[identifier].iter().any(|pattern| pattern.is_match(&value));
        (!blocked && value.len() <= MAX_IDENTIFIER_BYTES).then_some(value)
    }
}

/// A scalar as a string: a number is the text it was written as.
pub(crate) fn scalar_text<'a>(value: &'a Json<'_>) -> Option<Cow<'a, str>> {
    match value {
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Number(text) => Some(Cow::Borrowed(text)),
        Json::Bool(true) => Some(Cow::Borrowed("true")),
        Json::Bool(false) => Some(Cow::Borrowed("false")),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn normalize(how: Normalize, raw: &str) -> Option<String> {
    match how {
        Normalize::None => Some(raw.to_owned()),
        Normalize::Trim => Some(raw.trim().to_owned()),
        Normalize::Lowercase => Some(raw.trim().to_lowercase()),
        Normalize::Email => {
            let email = raw.trim().to_lowercase();
            let (name, domain) = email.split_once('@')?;
            let is_email = !name.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !email.contains(|c: char| c.is_whitespace() || c.is_control());
            is_email.then_some(email)
        }
    }
}

fn is_blocked_by_default(value: &str) -> bool {
    let value = value.trim();
    // Also true of the empty value.
    value.bytes().all(|byte| matches!(byte, b'0' | b'-'))
        || DEFAULT_BLOCKED.iter().any(|blocked| value.eq_ignore_ascii_case(blocked))
}
