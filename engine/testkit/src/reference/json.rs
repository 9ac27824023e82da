//! Looks values up in an event's JSON by path; what stands twice counts as it stands last.
//!
//! Numbers stay the text they were written as, which is why values are taken apart lazily, as raw text.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tidewater_model::{Decimal, Path, Scalar};

/// The members of an object.
pub(super) type Members<'a> = HashMap<String, &'a RawValue>;

/// The members of the object that `text` is; nothing of anything else.
pub(super) fn members(text: &str) -> Members<'_> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The text of what stands at a path.
pub(super) fn at<'a>(members: &Members<'a>, path: &Path) -> Option<&'a str> {
    let (first, rest) = path.steps().split_first()?;
    let mut found = members.get(first)?.get();
    for step in rest {
        found = self::members(found).get(step)?.get();
    }
    Some(found)
}

/// A string's value, if `text` is a string.
pub(super) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// The texts of an array's items, or the text itself if it is no array.
pub(super) fn items(text: &str) -> Vec<&str> {
    match text.starts_with('[') {
        true => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            items.into_iter().map(RawValue::get).collect()
        }
        false => vec![text],
    }
}

/// A scalar as the text an identifier is made of.
pub(super) fn scalar_text(text: &str) -> Option<String> {
    match text.as_bytes().first()? {
        b'"' => string(text),
        b'{' | b'[' | b'n' => None,
        _ => Some(text.to_owned()),
    }
}

/// A scalar as `first`, `last` and `where` see it.
pub(super) fn scalar(text: &str) -> Option<Scalar> {
    match text.as_bytes().first()? {
        b'"' => string(text).map(|text| Scalar::String(text.into())),
        b'{' | b'[' | b'n' => None,
        b't' => Some(Scalar::Bool(true)),
        b'f' => Some(Scalar::Bool(false)),
        _ => Decimal::parse(text.as_bytes()).map(Scalar::Number),
    }
}

/// A number, also one in a string.
pub(super) fn number(text: &str) -> Option<Decimal> {
    match text.as_bytes().first()? {
        b'"' => Decimal::parse(string(text)?.as_bytes()),
        b'-' | b'0'..=b'9' => Decimal::parse(text.as_bytes()),
        _ => None,
    }
}
