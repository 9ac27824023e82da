#![allow(clippy::unwrap_used)]

use super::{ErrorKind, FixedEnvironment, Pipeline, PipelineError};

mod builder;
mod connectors;
mod diff;
mod errors;
mod hostile;
mod not_built;
mod positions;
mod schema;
mod secrets;
mod valid;

/// The contract's example without the parts that are not built.
const EXAMPLE: &str = include_str!("tests/example.yaml");

/// The least that is a pipeline, for tests of something else.
const IDENTIFIERS: &str = "identifiers: { user_id: { from: userId }, email: { from: traits.email } }\n";

fn environment() -> FixedEnvironment {
    FixedEnvironment::new().variable("WEB_WRITE_KEY", "wk-5551").variable("META_TOKEN", "tok-7772")
}

#[track_caller]
fn load(text: &str) -> Pipeline {
    Pipeline::from_yaml(text, &environment()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn errors(text: &str) -> Vec<PipelineError> {
    match Pipeline::from_yaml(text, &environment()) {
        Ok(_) => panic!("loads although it must not:\n{text}"),
        Err(errors) => errors.into_iter().collect(),
    }
}

/// Checks that a file has exactly the expected mistakes (kind, parts of message, parts of hint), each at a mark `‸`
/// in the text; both in the order of the file.
#[track_caller]
fn check(marked: &str, expected: &[(ErrorKind, &str, &str)]) {
    let (text, marks) = unmark(marked);
    let errors = errors(&text);
    let listing: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let listing = listing.join("\n");
    let positions: Vec<(usize, usize)> = errors.iter().filter_map(|error| error.position).collect();
    assert_eq!(positions, marks, "\n{listing}");
    assert_eq!(errors.len(), expected.len(), "\n{listing}");
    for (error, (kind, message, hint)) in errors.iter().zip(expected) {
        assert_eq!(error.kind, *kind, "\n{error}");
        assert!(error.message.contains(message), "expected {message:?} in\n{error}");
        let found = error.hint.as_deref().unwrap_or_default();
        assert!(
            if hint.is_empty() { found.is_empty() } else { found.contains(hint) },
            "expected {hint:?} in\n{error}"
        );
    }
}

/// The text without its marks, and their positions.
fn unmark(marked: &str) -> (String, Vec<(usize, usize)>) {
    let (mut text, mut marks) = (String::new(), Vec::new());
    let (mut line, mut column) = (1, 1);
    for c in marked.chars() {
        match c {
            '‸' => {
                marks.push((line, column));
                continue;
            }
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        text.push(c);
    }
    (text, marks)
}
