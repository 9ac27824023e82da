//! The entries of `traits`.

use tidewater_model::{Aggregate, EventFilter, Millis, Path, TraitSpec, Window, expr::parse_condition};
use tidewater_operators::plan::MAX_TRAITS;

use super::{
    error::{ErrorKind, PipelineError, quoted},
    keys,
    reader::{Fields, Reader, Trail, either},
    tree::{Entry, Node},
};

pub(super) fn read_traits(reader: &mut Reader, entries: &[Entry]) -> Vec<TraitSpec> {
    let section = Trail::Root.key("traits");
    reader.at_most(MAX_TRAITS, entries, &section);
    entries.iter().filter_map(|entry| read_trait(reader, entry, &section.key(&entry.key))).collect()
}

fn read_trait(reader: &mut Reader, entry: &Entry, trail: &Trail<'_>) -> Option<TraitSpec> {
    const EXPECTED: &str = "a mapping such as `{ count: Order Completed }`";
    let fields = reader.fields(&entry.value, trail, &keys::TRAIT, EXPECTED)?;
    let computed = read_aggregate(reader, entry, &fields, trail);
    let mut condition = None;
    if let Some(node) = fields.get("where") {
        let trail = trail.key("where");
        let text = reader.definition(node, &trail, "a condition such as `properties.revenue >= 100`");
        condition = text.and_then(|text| match parse_condition(text) {
            Ok(predicate) => Some(predicate),
            Err(errors) => {
                reader.expression_errors(node, &trail, errors);
                None
            }
        });
    }
    let window = read_window(reader, &fields, trail);
    let (aggregate, events) = computed?;
    Some(TraitSpec { name: entry.key.clone(), aggregate, events, condition, window })
}

/// What is computed, and from which events.
fn read_aggregate(
    reader: &mut Reader,
    entry: &Entry,
    fields: &Fields<'_>,
    trail: &Trail<'_>,
) -> Option<(Aggregate, EventFilter)> {
    let is_aggregate = |key: &str| keys::AGGREGATES.contains(&key) || keys::TRAIT.not_built.contains(&key);
    let mut given = fields.entries.iter().filter(|entry| is_aggregate(&entry.key));
    let Some(first) = given.next() else {
        let message = format!("the trait {} says nothing to compute", quoted(&entry.key));
        let error = PipelineError::new(ErrorKind::MissingKey, message)
            .with_hint(format!("give it one of {}", either(keys::AGGREGATES)));
        reader.add(entry.key_span, trail, error);
        return None;
    };
    for other in given {
        let message = format!("a trait computes one thing, and {} is already there", quoted(&first.key));
        let trail = trail.key(&other.key);
        reader.add(other.key_span, &trail, PipelineError::new(ErrorKind::InvalidValue, message));
    }
    let (node, key_trail) = (&first.value, trail.key(&first.key));
    let (aggregate, takes_path): (fn(Path) -> Aggregate, bool) = match first.key.as_str() {
        "count" => (|_| Aggregate::Count, false),
        "first_time" => (|_| Aggregate::FirstTime, false),
        "last_time" => (|_| Aggregate::LastTime, false),
        "sum" => (Aggregate::Sum, true),
        "min" => (Aggregate::Min, true),
        "max" => (Aggregate::Max, true),
        "avg" => (Aggregate::Avg, true),
        "first" => (Aggregate::First, true),
        "last" => (Aggregate::Last, true),
        // Not built, which is already reported.
        _ => return None,
    };
    let event = fields.entry("event");
    if takes_path {
        let path = reader.path(node, &key_trail);
        let events = match event {
            Some(event) => read_event(reader, &event.value, &trail.key("event")),
            None => Some(EventFilter::Any),
        };
        return Some((aggregate(path?), events?));
    }
    if let Some(event) = event {
        let message =
            format!("`event` does not go with {}, which names its event itself", quoted(&first.key));
        reader.add(event.key_span, &trail.key("event"), PipelineError::new(ErrorKind::InvalidValue, message));
    }
    let events = read_event(reader, node, &key_trail)?;
    // These three read no path; the function ignores the one it gets.
    Path::parse("event").map(|path| (aggregate(path), events))
}

fn read_event(reader: &mut Reader, node: &Node, trail: &Trail<'_>) -> Option<EventFilter> {
    let name = reader.definition(node, trail, "the name of an event, or `\"*\"` for every event")?;
    Some(if name == "*" { EventFilter::Any } else { EventFilter::Named(name.to_owned()) })
}

fn read_window(reader: &mut Reader, fields: &Fields<'_>, trail: &Trail<'_>) -> Option<Window> {
    let length = fields.get("window").map(|node| reader.duration(node, &trail.key("window"), Millis(1)));
    let resolution = fields.entry("resolution").map(|entry| {
        let trail = trail.key("resolution");
        if length.is_none() {
            let error = PipelineError::new(ErrorKind::MissingKey, "`resolution` needs a `window`");
            reader.add(entry.key_span, &trail, error);
        }
        reader.duration(&entry.value, &trail, Millis(1))
    });
    let length = length.flatten()?;
    let resolution = match resolution {
        Some(read) => read?,
        None => Window::default_resolution(length),
    };
    Some(Window { length, resolution })
}
