//! Writes definitions as a pipeline file that is read back as the same definitions.

use std::fmt::Write;

use tidewater_model::{
    Aggregate, BlockRule, ClockKind, Dedup, EventFilter, IdentifierSpec, Normalize, PipelineSpec, TraitSpec,
    expr::Names,
};

/// The pipeline file of `spec`, without sources and sinks.
pub fn yaml(spec: &PipelineSpec) -> String {
    let mut text = String::new();
    let clock = if spec.clock == ClockKind::Event { "event" } else { "wall" };
    let dedup = match spec.dedup {
        Dedup::For(length) => length.to_string(),
        Dedup::Forever => "forever".to_owned(),
    };
    // Writing to a string can't fail.
    let _ = writeln!(text, "clock: {clock}\ndedup: {dedup}\nmax_future: {}", spec.max_future);
    let _ = writeln!(text, "min_time: {}\n\nidentifiers:", spec.min_time.0);
    spec.identifiers.iter().for_each(|identifier| write_identifier(&mut text, identifier));
    write_section(&mut text, "traits", spec.traits.is_empty());
    spec.traits.iter().for_each(|part| write_trait(&mut text, part));

    let names = |all: Vec<&String>| all.into_iter().cloned().collect::<Vec<String>>();
    let identifiers = names(spec.identifiers.iter().map(|identifier| &identifier.name).collect());
    let traits = names(spec.traits.iter().map(|part| &part.name).collect());
    let segments = names(spec.segments.iter().map(|segment| &segment.name).collect());
    let is_time = |part: &TraitSpec| matches!(part.aggregate, Aggregate::FirstTime | Aggregate::LastTime);
    let time_traits: Vec<bool> = spec.traits.iter().map(is_time).collect();
    let names =
        Names { identifiers: &identifiers, traits: &traits, time_traits: &time_traits, segments: &segments };
    write_section(&mut text, "segments", spec.segments.is_empty());
    for segment in &spec.segments {
        let predicate = quoted(&segment.predicate.display(&names).to_string());
        let _ = match &segment.description {
            None => writeln!(text, "  {}: {predicate}", segment.name),
            Some(about) => {
                writeln!(text, "  {}: {{ where: {predicate}, description: {} }}", segment.name, quoted(about))
            }
        };
    }
    text
}

fn write_section(text: &mut String, name: &str, is_empty: bool) {
    let _ = writeln!(text, "\n{name}:{}", if is_empty { " {}" } else { "" });
}

fn write_identifier(text: &mut String, identifier: &IdentifierSpec) {
    let from: Vec<String> = identifier.from.iter().map(|path| quoted(&path.to_string())).collect();
    let _ = write!(text, "  {}: {{ from: [{}]", identifier.name, from.join(", "));
    let normalize = match identifier.normalize {
        Normalize::None => None,
        Normalize::Trim => Some("trim"),
        Normalize::Lowercase => Some("lowercase"),
        Normalize::Email => Some("email"),
    };
    if let Some(normalize) = normalize {
        let _ = write!(text, ", normalize: {normalize}");
    }
    if !identifier.block.is_empty() {
        let rule = |rule: &BlockRule| match rule {
            BlockRule::Exact(value) => quoted(value),
            BlockRule::Pattern(pattern) => quoted(&format!("/{pattern}/")),
        };
        let rules: Vec<String> = identifier.block.iter().map(rule).collect();
        let _ = write!(text, ", block: [{}]", rules.join(", "));
    }
    text.push_str(" }\n");
}

fn write_trait(text: &mut String, part: &TraitSpec) {
    let (kind, names_event) = match part.aggregate {
        Aggregate::Count => ("count", true),
        Aggregate::FirstTime => ("first_time", true),
        Aggregate::LastTime => ("last_time", true),
        Aggregate::Sum(_) => ("sum", false),
        Aggregate::Min(_) => ("min", false),
        Aggregate::Max(_) => ("max", false),
        Aggregate::Avg(_) => ("avg", false),
        Aggregate::First(_) => ("first", false),
        Aggregate::Last(_) => ("last", false),
    };
    let event = match &part.events {
        EventFilter::Any => "*",
        EventFilter::Named(name) => name,
    };
    let path = part.aggregate.path().map(ToString::to_string).unwrap_or_default();
    let of = if names_event { event } else { path.as_str() };
    let _ = write!(text, "  {}: {{ {kind}: {}", part.name, quoted(of));
    if !names_event && event != "*" {
        let _ = write!(text, ", event: {}", quoted(event));
    }
    if let Some(condition) = &part.condition {
        let condition = condition.display(&Names::default()).to_string();
        let _ = write!(text, ", where: {}", quoted(&condition));
    }
    if let Some(window) = part.window {
        let _ = write!(text, ", window: {}, resolution: {}", window.length, window.resolution);
    }
    text.push_str(" }\n");
}

/// In single quotes, where YAML knows no escapes but the doubled quote.
fn quoted(text: &str) -> String {
    // A single `$` could begin a variable.
    format!("'{}'", text.replace('\'', "''").replace('$', "$$"))
}
