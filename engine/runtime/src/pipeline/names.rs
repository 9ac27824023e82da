//! One name, one thing: identifiers, traits and segments share a namespace, and no segment is defined by itself.

use std::collections::{HashMap, hash_map};

use tidewater_model::expr::{Names, Predicate};

use super::{
    error::{ErrorKind, PipelineError, quoted},
    reader::{Reader, Trail},
    tree::{Content, Entry},
};

/// The names in the order of the file, as expressions are resolved with them.
pub(super) struct NameLists {
    identifiers: Vec<String>,
    traits: Vec<String>,
    time_traits: Vec<bool>,
    segments: Vec<String>,
}

impl NameLists {
    /// All names count, also those of entries with mistakes, so that one mistake makes one error.
    pub(super) fn new(identifiers: &[Entry], traits: &[Entry], segments: &[Entry]) -> Self {
        let names = |entries: &[Entry]| entries.iter().map(|entry| entry.key.clone()).collect();
        let is_time = |entry: &Entry| match &entry.value.content {
            Content::Map(keys) => {
                keys.iter().any(|key| matches!(key.key.as_str(), "first_time" | "last_time"))
            }
            _ => false,
        };
        Self {
            identifiers: names(identifiers),
            traits: names(traits),
            time_traits: traits.iter().map(is_time).collect(),
            segments: names(segments),
        }
    }

    pub(super) fn names(&self) -> Names<'_> {
        Names {
            identifiers: &self.identifiers,
            traits: &self.traits,
            time_traits: &self.time_traits,
            segments: &self.segments,
        }
    }
}

/// Reports names that cannot be and names that two things have.
pub(super) fn check(reader: &mut Reader, identifiers: &[Entry], traits: &[Entry], segments: &[Entry]) {
    let sections = [("identifiers", "an identifier", identifiers), ("traits", "a trait", traits)];
    let sections = sections.into_iter().chain([("segments", "a segment", segments)]);
    let mut all: Vec<(&str, &str, &Entry)> = Vec::new();
    for (section, what, entries) in sections {
        all.extend(entries.iter().map(|entry| (section, what, entry)));
    }
    for (section, _, entry) in &all {
        let section = Trail::Root.key(section);
        reader.check_name(entry, &section.key(&entry.key), false);
    }
    // The second of two is the one further down the file, whatever the order of the sections.
    all.sort_by_key(|(_, _, entry)| entry.key_span.map(|span| span.start));
    let mut first_with: HashMap<&str, (&str, &Entry)> = HashMap::new();
    for (section, what, entry) in all {
        let first = match first_with.entry(&entry.key) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert((what, entry));
                continue;
            }
            hash_map::Entry::Occupied(first) => *first.get(),
        };
        let message = format!("{} is already the name of {}", quoted(&entry.key), first.0);
        let mut error = PipelineError::new(ErrorKind::DuplicateName, message);
        if let (Some(source), Some(span)) = (&reader.source, first.1.key_span) {
            let place = format!("{}:{}:{}", source.file(), span.start.line, span.start.column);
            error = error.with_hint(format!("{} {} is at {place}", first.0, quoted(&entry.key)));
        }
        let section = Trail::Root.key(section);
        reader.add(entry.key_span, &section.key(&entry.key), error);
    }
}

/// Reports segments that are defined by themselves through `in_segment()`, each cycle once.
pub(super) fn check_cycles(reader: &mut Reader, entries: &[Entry], predicates: &[Option<Predicate>]) {
    let references: Vec<Vec<usize>> =
        predicates.iter().map(|predicate| predicate.as_ref().map_or_else(Vec::new, referenced)).collect();
    // What refers only to finished segments is finished; what never is, is on a cycle or leads to one. No
    // recursion: a file can hold a chain of 50,000 segments.
    let mut referring: Vec<Vec<usize>> = vec![Vec::new(); references.len()];
    for (segment, targets) in references.iter().enumerate() {
        targets.iter().for_each(|target| referring[*target].push(segment));
    }
    let mut waits_for: Vec<usize> = references.iter().map(Vec::len).collect();
    let mut finished: Vec<usize> = (0..waits_for.len()).filter(|segment| waits_for[*segment] == 0).collect();
    while let Some(segment) = finished.pop() {
        for waiting in &referring[segment] {
            waits_for[*waiting] -= 1;
            if waits_for[*waiting] == 0 {
                finished.push(*waiting);
            }
        }
    }
    let mut visited = vec![false; references.len()];
    for start in 0..references.len() {
        let mut walk: Vec<usize> = Vec::new();
        let mut segment = start;
        while waits_for[segment] > 0 && !visited[segment] {
            visited[segment] = true;
            walk.push(segment);
            segment =
                references[segment].iter().copied().find(|next| waits_for[*next] > 0).unwrap_or(segment);
        }
        // The walk ended at one of its own: from there on it is a cycle.
        if let Some(from) = walk.iter().position(|walked| *walked == segment) {
            report_cycle(reader, entries, &walk[from..]);
        }
    }
}

fn report_cycle(reader: &mut Reader, entries: &[Entry], cycle: &[usize]) {
    const MOST_SHOWN: usize = 12;
    let Some(entry) = cycle.first().and_then(|first| entries.get(*first)) else { return };
    let shown = cycle.iter().take(MOST_SHOWN).map(|segment| quoted(&entries[*segment].key));
    let mut path: Vec<String> = shown.collect();
    if cycle.len() > MOST_SHOWN {
        path.push(format!("{} more", cycle.len() - MOST_SHOWN));
    }
    path.push(quoted(&entry.key));
    let message = format!("segments are defined by each other: {}", path.join(" -> "));
    let section = Trail::Root.key("segments");
    reader.add(entry.key_span, &section.key(&entry.key), PipelineError::new(ErrorKind::Cycle, message));
}

/// The segments that a predicate names, each as often as it does.
fn referenced(predicate: &Predicate) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open = vec![predicate];
    while let Some(predicate) = open.pop() {
        match predicate {
            Predicate::And(parts) | Predicate::Or(parts) => open.extend(parts),
            Predicate::Not(part) => open.push(part),
            Predicate::InSegment(segment) => found.push(*segment),
            _ => {}
        }
    }
    found
}
