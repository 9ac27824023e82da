//! The entries of `segments`.

use tidewater_model::{
    IdentifierSpec, SegmentSpec,
    expr::{Predicate, parse_segment},
};
use tidewater_operators::{ingest::comparable, plan::MAX_SEGMENTS};

use super::{
    error::{ErrorKind, PipelineError, quoted},
    keys,
    names::{self, NameLists},
    reader::{Reader, Trail},
    tree::{Content, Entry, Node},
};

const EXPECTED: &str = "a condition such as `orders >= 3`";

/// The segments and their texts as written. References among them form no cycle, else the report says so.
pub(super) fn read_segments(
    reader: &mut Reader,
    entries: &[Entry],
    names: &NameLists,
    identifiers: &[IdentifierSpec],
) -> (Vec<SegmentSpec>, Vec<String>) {
    let section = Trail::Root.key("segments");
    reader.at_most(MAX_SEGMENTS, entries, &section);
    let mut predicates: Vec<Option<Predicate>> = Vec::with_capacity(entries.len());
    let (mut segments, mut texts) = (Vec::new(), Vec::new());
    for entry in entries {
        let trail = section.key(&entry.key);
        let Some((node, description)) = parts(reader, entry, &trail) else {
            predicates.push(None);
            continue;
        };
        let trail = if std::ptr::eq(node, &entry.value) { trail } else { trail.key("where") };
        let predicate = read_predicate(reader, node, &trail, names);
        if let Some((predicate, text)) = &predicate {
            if !reader.is_stored {
                check_values(reader, node, &trail, predicate, names, identifiers);
            }
            let (name, predicate) = (entry.key.clone(), predicate.clone());
            segments.push(SegmentSpec { name, predicate, description });
            texts.push((*text).to_owned());
        }
        predicates.push(predicate.map(|(predicate, _)| predicate));
    }
    names::check_cycles(reader, entries, &predicates);
    (segments, texts)
}

/// The condition's node and the description.
fn parts<'n>(reader: &mut Reader, entry: &'n Entry, trail: &Trail<'_>) -> Option<(&'n Node, Option<String>)> {
    match &entry.value.content {
        Content::Scalar(_) => return Some((&entry.value, None)),
        Content::Map(_) => {}
        _ => {
            let expected = "a condition such as `orders >= 3`, or a mapping with `where` and `description`";
            reader.wrong_type(&entry.value, trail, expected);
            return None;
        }
    }
    let fields = reader.fields(&entry.value, trail, &keys::SEGMENT, EXPECTED)?;
    let mut description = None;
    if let Some(node) = fields.get("description") {
        description = reader.definition(node, &trail.key("description"), "a text").map(str::to_owned);
    }
    let condition = fields.get("where");
    if condition.is_none() {
        let message = format!("the segment {} has no `where`", quoted(&entry.key));
        reader.add(entry.key_span, trail, PipelineError::new(ErrorKind::MissingKey, message));
    }
    Some((condition?, description))
}

fn read_predicate<'n>(
    reader: &mut Reader,
    node: &'n Node,
    trail: &Trail<'_>,
    names: &NameLists,
) -> Option<(Predicate, &'n str)> {
    let text = reader.definition(node, trail, EXPECTED)?;
    match parse_segment(text, &names.names()) {
        Ok(predicate) => Some((predicate, text)),
        Err(errors) => {
            reader.expression_errors(node, trail, errors);
            None
        }
    }
}

/// Reports comparisons of identifiers with what none of their values can be: those are normalized, what is written in a
/// condition stays as it is.
fn check_values(
    reader: &mut Reader,
    node: &Node,
    trail: &Trail<'_>,
    predicate: &Predicate,
    names: &NameLists,
    identifiers: &[IdentifierSpec],
) {
    let names = names.names();
    let mut open = vec![predicate];
    while let Some(predicate) = open.pop() {
        let (index, value) = match predicate {
            Predicate::And(parts) | Predicate::Or(parts) => {
                open.extend(parts.iter().rev());
                continue;
            }
            Predicate::Not(part) => {
                open.push(part);
                continue;
            }
            Predicate::IdentifierIs(index, value) => (*index, value),
            _ => continue,
        };
        // One with a mistake is a name, but has no rules.
        let spec =
            names.identifiers.get(index).and_then(|name| identifiers.iter().find(|spec| spec.name == *name));
        let Some(spec) = spec else { continue };
        let error = match comparable(spec.normalize, value) {
            Some(comparable) if comparable == *value => continue,
            Some(comparable) => {
                let instead = Predicate::IdentifierIs(index, comparable);
                let message = format!(
                    "never true: {} is normalized, so no value of it is {}",
                    quoted(&spec.name),
                    quoted(value)
                );
                PipelineError::new(ErrorKind::Expression, message)
                    .with_hint(format!("did you mean `{}`?", instead.display(&names)))
            }
            None => {
                let message = format!("never true: {} is always blocked as an identifier", quoted(value));
                PipelineError::new(ErrorKind::Expression, message)
            }
        };
        reader.add(node.span, trail, error);
    }
}
