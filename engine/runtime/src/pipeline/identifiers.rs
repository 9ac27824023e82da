//! The entries of `identifiers`.

use regex::Regex;
use tidewater_model::{BlockRule, IdentifierSpec, Normalize};
use tidewater_operators::ingest::comparable;

use super::{
    error::{ErrorKind, PipelineError, quoted},
    keys,
    reader::{Reader, Trail},
    tree::{Content, Entry, Node},
};

/// More kinds of identifier than any company has; a hot path may keep one bit for each.
const MAX_IDENTIFIERS: usize = 64;

pub(super) fn read_identifiers(reader: &mut Reader, entries: &[Entry]) -> Vec<IdentifierSpec> {
    let section = Trail::Root.key("identifiers");
    reader.at_most(MAX_IDENTIFIERS, entries, &section);
    entries.iter().filter_map(|entry| read_identifier(reader, entry, &section.key(&entry.key))).collect()
}

fn read_identifier(reader: &mut Reader, entry: &Entry, trail: &Trail<'_>) -> Option<IdentifierSpec> {
    const EXPECTED: &str = "a mapping such as `{ from: userId }`";
    let fields = reader.fields(&entry.value, trail, &keys::IDENTIFIER, EXPECTED)?;
    let mut spec = IdentifierSpec {
        name: entry.key.clone(),
        from: Vec::new(),
        normalize: Normalize::None,
        block: Vec::new(),
    };
    match fields.get("from") {
        Some(node) => {
            let trail = trail.key("from");
            const EXPECTED: &str = "a path such as `context.traits.email`";
            spec.from = reader.definitions(node, &trail, EXPECTED, Reader::parsed_path);
            if matches!(&node.content, Content::List(items) if items.is_empty()) {
                reader.invalid(node, &trail, "expected at least one path".to_owned());
            }
        }
        None => {
            let message = format!("the identifier {} has no `from`", quoted(&entry.key));
            reader.add(entry.key_span, trail, PipelineError::new(ErrorKind::MissingKey, message));
        }
    }
    if let Some(node) = fields.get("normalize") {
        spec.normalize = read_normalize(reader, node, &trail.key("normalize"));
    }
    if let Some(node) = fields.get("block") {
        const EXPECTED: &str = "a value or a `/regular expression/`";
        spec.block = reader.definitions(node, &trail.key("block"), EXPECTED, |reader, node, trail, text| {
            read_block_rule(reader, node, trail, text, &spec)
        });
    }
    Some(spec)
}

fn read_normalize(reader: &mut Reader, node: &Node, trail: &Trail<'_>) -> Normalize {
    // `{ phone: US }` and, for good measure, `phone`.
    let planned = match &node.content {
        Content::Map(entries) => {
            entries.iter().map(|entry| (entry.key.as_str(), entry.key_span)).find(|(key, _)| is_planned(key))
        }
        Content::Scalar(scalar) if is_planned(&scalar.text) => Some((scalar.text.as_str(), node.span)),
        _ => None,
    };
    if let Some((key, span)) = planned {
        reader.not_built(span, &trail.key(key), &format!("normalize: {key}"));
        return Normalize::None;
    }
    match reader.choice(node, trail, keys::NORMALIZE) {
        Some("email") => Normalize::Email,
        Some("lowercase") => Normalize::Lowercase,
        Some("trim") => Normalize::Trim,
        _ => Normalize::None,
    }
}

fn is_planned(normalize: &str) -> bool {
    keys::NORMALIZE_NOT_BUILT.contains(&normalize)
}

fn read_block_rule(
    reader: &mut Reader,
    node: &Node,
    trail: &Trail<'_>,
    text: &str,
    spec: &IdentifierSpec,
) -> Option<BlockRule> {
    let Some(pattern) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) else {
        if let Some(error) = without_effect(text, spec).filter(|_| !reader.is_stored) {
            reader.add(node.span, trail, error);
            return None;
        }
        return Some(BlockRule::Exact(text.to_owned()));
    };
    match Regex::new(pattern) {
        Ok(_) => Some(BlockRule::Pattern(pattern.to_owned())),
        Err(error) => {
            // The library's message shows the pattern on lines of its own; its last line says what is wrong.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            reader.invalid(node, trail, format!("{} is no regular expression: {reason}", quoted(pattern)));
            None
        }
    }
}

/// Why no value can be this one: values are normalized before they are compared with rules, which stay as they are.
fn without_effect(text: &str, spec: &IdentifierSpec) -> Option<PipelineError> {
    let (message, instead) = match (with_flags(text), comparable(spec.normalize, text)) {
        (Some(instead), _) => {
            (format!("no flags can stand behind a regular expression, found {}", quoted(text)), instead)
        }
        (None, Some(instead)) if instead != text => {
            let (name, value) = (quoted(&spec.name), quoted(text));
            (format!("blocks nothing: {name} is normalized, so no value of it is {value}"), instead)
        }
        _ => return None,
    };
    let error = PipelineError::new(ErrorKind::InvalidValue, message);
    Some(error.with_hint(format!("did you mean `{instead}`?")))
}

/// Of an expression that is written with flags, as other languages have them, the one that means the same here.
fn with_flags(text: &str) -> Option<String> {
    let (pattern, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    if pattern.is_empty() || flags.is_empty() || !flags.chars().all(|flag| "gimsux".contains(flag)) {
        return None;
    }
    // The others change nothing where one match is enough.
    let flags: String = "imsx".chars().filter(|flag| flags.contains(*flag)).collect();
    let flags = if flags.is_empty() { flags } else { format!("(?{flags})") };
    Some(format!("/{flags}{pattern}/"))
}
