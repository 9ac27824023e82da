//! What may be secret in a URL that stands in the file itself: the user's name and password, and the query.

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
            text.split([':', '&', '=']).for_each(&mut *visit);
        }
    });
}

fn visit_urls(node: &Node, key: &str, visit: &mut impl FnMut(&Scalar, Option<Span>)) {
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| visit_urls(item, key, visit)),
        Content::Map(entries) => entries.iter().for_each(|entry| visit_urls(&entry.value, &entry.key, visit)),
        // Without its scheme it is a mistake, and so all the more likely to be shown.
        Content::Scalar(scalar)
            if scalar.text.contains("://") || key.to_ascii_lowercase().contains("url") =>
        {
            visit(scalar, node.span);
        }
        Content::Scalar(_) | Content::Invalid => {}
    }
}

fn secret_parts(url: &str) -> impl Iterator<Item = Range<usize>> {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let query = url[begin..].find(['?', '#']).map(|at| begin + at);
    // The last `@`, also behind a slash: a password that should have been escaped is one all the same.
    let user = url[begin..query.unwrap_or(url.len())].rfind('@').map(|at| begin..begin + at);
    user.into_iter().chain(query.map(|at| at + 1..url.len()))
}
