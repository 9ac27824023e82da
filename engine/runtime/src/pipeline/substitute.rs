//! `${NAME}`, `${NAME:-default}`, `${file:PATH}` and `$$` in the values of a file. What was put in is remembered, so
//! that no message shows it.

use std::sync::Arc;

use super::{
    error::{ErrorKind, PipelineError, Report, quoted},
    secret::Environment,
    source::{SourceText, Span},
    tree::{Content, Node, Scalar, Written},
};

const EXPECTED: &str = "expected `${NAME}`, `${NAME:-default}` or `${file:PATH}`";

/// Bytes that all substituted values together may have.
const MAX_BYTES: usize = 4 << 20;

/// Substitutes in every value of the tree; keys stay as they are. A value with a mistake becomes invalid.
pub(super) fn substitute(
    root: &mut Node,
    environment: &dyn Environment,
    source: &Arc<SourceText>,
    report: &mut Report,
) {
    Substitution { environment, source, report, bytes_left: MAX_BYTES }.node(root);
}

struct Substitution<'a> {
    environment: &'a dyn Environment,
    source: &'a Arc<SourceText>,
    report: &'a mut Report,
    bytes_left: usize,
}

impl Substitution<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.content {
            Content::List(items) => items.iter_mut().for_each(|item| self.node(item)),
            Content::Map(entries) => entries.iter_mut().for_each(|entry| self.node(&mut entry.value)),
            Content::Scalar(scalar) => {
                let mistakes = self.scalar(scalar);
                if mistakes.is_empty() {
                    return;
                }
                for Mistake { start, end, error } in mistakes {
                    if self.report.counts_only() {
                        continue;
                    }
                    let span = node.span.map(|span| {
                        let at = |offset| self.source.locate(span, scalar.style, &scalar.text, offset);
                        Span { start: at(start), end: at(end) }
                    });
                    self.report.add(error.at(Some(self.source), span, String::new()));
                }
                node.content = Content::Invalid;
            }
            Content::Invalid => {}
        }
    }

    /// Substitutes in one value; unchanged if there are mistakes.
    fn scalar(&mut self, scalar: &mut Scalar) -> Vec<Mistake> {
        if !scalar.text.contains("$$") && !scalar.text.contains("${") {
            return Vec::new();
        }
        let mut mistakes = Vec::new();
        let mut text = String::with_capacity(scalar.text.len());
        let (mut dollars, mut secrets) = (Vec::new(), Vec::new());
        let mut substituted = false;
        let mut rest = scalar.text.as_str();
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let start = scalar.text.len() - rest.len();
            if let Some(after) = rest.strip_prefix("$$") {
                text.push('$');
                dollars.push(text.len());
                rest = after;
            } else if let Some(inside) = rest.strip_prefix("${") {
                let Some((reference, after)) = inside.split_once('}') else {
                    let error = PipelineError::new(ErrorKind::Environment, "`${` without its `}`")
                        .with_hint("write `$$` for a `$` that means itself");
                    mistakes.push(Mistake { start, end: scalar.text.len(), error: error.into() });
                    break;
                };
                rest = after;
                substituted = true;
                match resolve(reference, self.environment) {
                    Ok(Resolved::Secret(value)) if value.len() > self.bytes_left => {
                        let error = PipelineError::new(ErrorKind::Limit, "too much text is substituted");
                        mistakes.push(Mistake {
                            start,
                            end: scalar.text.len() - rest.len(),
                            error: error.into(),
                        });
                    }
                    Ok(Resolved::Secret(value)) => {
                        self.bytes_left -= value.len();
                        text.push_str(&value);
                        secrets.push(value);
                    }
                    Ok(Resolved::Default(value)) => text.push_str(value),
                    Err(error) => {
                        let end = scalar.text.len() - rest.len();
                        mistakes.push(Mistake { start, end, error });
                    }
                }
            } else {
                text.push('$');
                rest = &rest[1..];
            }
        }
        text.push_str(rest);
        if mistakes.is_empty() {
            let written = std::mem::replace(&mut scalar.text, text);
            scalar.written = Some(Box::new(Written { text: written, dollars, secrets, substituted }));
        }
        mistakes
    }
}

/// What is wrong with the bytes from `start` to `end` of a value.
struct Mistake {
    start: usize,
    end: usize,
    error: Box<PipelineError>,
}

enum Resolved<'a> {
    Secret(String),
    Default(&'a str),
}

/// What stands between `${` and `}`.
fn resolve<'a>(
    reference: &'a str,
    environment: &dyn Environment,
) -> Result<Resolved<'a>, Box<PipelineError>> {
    if let Some(path) = reference.strip_prefix("file:") {
        if path.is_empty() {
            return Err(PipelineError::new(ErrorKind::Environment, format!("no path; {EXPECTED}")).into());
        }
        let mut content = environment.file(path).map_err(|error| {
            let message = format!("cannot read the file {}: {error}", quoted(path));
            PipelineError::new(ErrorKind::Environment, message)
        })?;
        // Editors and `echo` end a file with a line break that is not part of the secret.
        content.truncate(content.trim_end_matches(['\n', '\r']).len());
        return Ok(Resolved::Secret(content));
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let mut characters = name.chars();
    let is_name = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        let message = format!("{} is no variable's name; {EXPECTED}", quoted(name));
        return Err(PipelineError::new(ErrorKind::Environment, message).into());
    }
    // The first `}` ends the outer reference, so what comes out would be neither the one nor the other.
    if default.is_some_and(|default| default.contains("${")) {
        let message = "a default can't hold another reference";
        return Err(PipelineError::new(ErrorKind::Environment, message).into());
    }
    match (environment.variable(name), default) {
        // As in a shell, the default also stands in for a variable that is set to nothing.
        (Some(value), Some(_)) if !value.is_empty() => Ok(Resolved::Secret(value)),
        (_, Some(default)) => Ok(Resolved::Default(default)),
        (Some(value), None) => Ok(Resolved::Secret(value)),
        (None, None) => {
            let message = format!("the environment variable {} is not set", quoted(name));
            let hint = format!("set it, or write `${{{name}:-default}}`");
            Err(PipelineError::new(ErrorKind::Environment, message).with_hint(hint).into())
        }
    }
}
