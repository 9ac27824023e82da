//! What may be secret in a URL that stands in the file itself: the user's name and password, and all that is behind the
//! host. Many services put a token into the path.

use std::ops::Range;

use super::{
    source::{SourceText, Span},
    tree::{Content, Node, Scalar},
};

/// The places of those parts in the file, of everything under a node that looks like a URL.
pub(super) fn secret_spans(node: &Node, source: &SourceText) -> Vec<Span> {
    let mut spans = Vec::new();
    visit_urls(node, "", &mut |scalar, span| {
        let Some(span) = span else { return };
        let at = |offset| source.locate(span, scalar.style, &scalar.text, offset);
        spans
            .extend(secret_parts(&scalar.text).map(|part| Span { start: at(part.start), end: at(part.end) }));
    });
    spans
}

/// Calls `visit` for every text that such a part may be repeated as.
pub(super) fn visit_secrets(node: &Node, visit: &mut impl FnMut(&str)) {
    visit_urls(node, "", &mut |scalar, _| {
        for part in secret_parts(&scalar.text) {
            let text = &scalar.text[part];
            visit(text);
            text.split([':', '@', '/', '\\', '?', '#', '&', '=']).for_each(&mut *visit);
        }
    });
}

/// A text for a message: if it is a URL, without those parts.
pub(super) fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    if looks_like_url("", text) {
        secret_parts(text).rev().for_each(|part| masked.replace_range(part, "***"));
    }
    masked
}

fn visit_urls(node: &Node, key: &str, visit: &mut impl FnMut(&Scalar, Option<Span>)) {
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| visit_urls(item, key, visit)),
        Content::Map(entries) => entries.iter().for_each(|entry| visit_urls(&entry.value, &entry.key, visit)),
        Content::Scalar(scalar) if looks_like_url(key, &scalar.text) => visit(scalar, node.span),
        Content::Scalar(_) | Content::Invalid => {}
    }
}

/// Without its scheme it is a mistake, and so all the more likely to be shown.
fn looks_like_url(key: &str, text: &str) -> bool {
    text.contains("://") || key.to_ascii_lowercase().contains("url")
}

/// In the order of the text.
fn secret_parts(url: &str) -> impl DoubleEndedIterator<Item = Range<usize>> {
    // A reference gives nothing away, also one to a file with slashes in its name.
    let reference = if url.starts_with("${") { url.find('}').map_or(0, |at| at + 1) } else { 0 };
    let begin = url.find("://").map_or(reference, |at| at + 3);
    let behind = url[begin..].find(['/', '\\', '?', '#']).map(|at| begin + at);
    let (user, rest) = match url[begin..].rfind('@').map(|at| begin + at) {
        // A password that should have been escaped is one all the same; where the host begins is then anybody's guess.
        Some(at) if behind.is_some_and(|behind| behind < at) => (None, Some(begin..url.len())),
        at => (at.map(|at| begin..at), behind.map(|at| at + 1..url.len())),
    };
    user.into_iter().chain(rest)
}
