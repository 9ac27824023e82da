//! What changed between two versions of a pipeline, in words.

use std::fmt;

use super::definitions::{Connector, Definitions, Identifier, Segment, Trait};

/// One difference between two versions of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefinitionChange {
    /// What changed: ``segment `loyal` ``.
    pub what: String,
    /// How: `added`, `removed`, ``where: `orders >= 3` -> `orders >= 5` ``.
    pub how: String,
    /// Whether the same log gives other clusters, traits or memberships than before. Otherwise only what is accepted
    /// from now on, where it comes from or goes to, or a description is another.
    pub affects_results: bool,
    /// Whether hardly anything that was computed can be kept: everything is computed again from the log.
    pub needs_rebuild: bool,
}

impl fmt::Display for DefinitionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.how)
    }
}

/// Everything that differs, in the order of the file's sections; empty if nothing does.
pub fn diff(old: &Definitions, new: &Definitions) -> Vec<DefinitionChange> {
    let mut changes = Vec::new();
    let settings = [
        // Under the other clock `now` is another, and with it every window.
        ("clock", &old.clock, &new.clock, true),
        ("dedup", &old.dedup, &new.dedup, false),
        ("max_future", &old.max_future, &new.max_future, false),
        ("min_time", &old.min_time, &new.min_time, false),
    ];
    for (key, old, new, affects_results) in settings {
        if old != new {
            let how = format!("`{old}` -> `{new}`");
            let needs_rebuild = affects_results;
            changes.push(DefinitionChange { what: format!("{key}:"), how, affects_results, needs_rebuild });
        }
    }
    compare(&mut changes, "identifier", &old.identifiers, &new.identifiers);
    let ranks = |list: &[Identifier], other: &[Identifier]| -> Vec<String> {
        let kept = |name: &String| other.iter().any(|entry| entry.name == *name);
        list.iter().map(|entry| entry.name.clone()).filter(kept).collect()
    };
    let (before, after) =
        (ranks(&old.identifiers, &new.identifiers), ranks(&new.identifiers, &old.identifiers));
    if before != after {
        let how = format!("`{}` -> `{}`", before.join(", "), after.join(", "));
        let what = "ranks of identifiers:".into();
        changes.push(DefinitionChange { what, how, affects_results: true, needs_rebuild: true });
    }
    compare(&mut changes, "trait", &old.traits, &new.traits);
    compare(&mut changes, "segment", &old.segments, &new.segments);
    compare(&mut changes, "source", &old.sources, &new.sources);
    compare(&mut changes, "sink", &old.sinks, &new.sinks);
    changes
}

/// A named definition as a list of key, text, and whether results depend on it.
trait Parts {
    fn name(&self) -> &str;
    fn parts(&self) -> Vec<(&'static str, Option<String>, bool)>;
}

fn compare<T: Parts>(changes: &mut Vec<DefinitionChange>, kind: &str, old: &[T], new: &[T]) {
    let find = |list: &'_ [T], name: &str| list.iter().position(|entry| entry.name() == name);
    let mut add = |entry: &T, how: String, affects_results: bool| {
        let what = format!("{kind} `{}`", entry.name());
        // Clusters and partial aggregates stand for themselves; whom an event is of does not.
        let needs_rebuild = affects_results && kind == "identifier";
        changes.push(DefinitionChange { what, how, affects_results, needs_rebuild });
    };
    let computed = |entry: &T| entry.parts().iter().any(|(_, _, affects)| *affects);
    for entry in old {
        if find(new, entry.name()).is_none() {
            add(entry, "removed".to_owned(), computed(entry));
        }
    }
    for entry in new {
        let Some(before) = find(old, entry.name()) else {
            add(entry, "added".to_owned(), computed(entry));
            continue;
        };
        for ((key, before, affects), (_, after, _)) in old[before].parts().into_iter().zip(entry.parts()) {
            if before != after {
                let shown =
                    |text: Option<String>| text.map_or("nothing".to_owned(), |text| format!("`{text}`"));
                add(entry, format!("{key}: {} -> {}", shown(before), shown(after)), affects);
            }
        }
    }
}

impl Parts for Identifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn parts(&self) -> Vec<(&'static str, Option<String>, bool)> {
        // Where a text could be taken for two it is quoted, so that other lists always are other texts.
        let item = |text: &String| match text.contains([',', '"']) {
            true => format!("{text:?}"),
            false => text.clone(),
        };
        let list = |texts: &[String]| {
            (!texts.is_empty()).then(|| texts.iter().map(item).collect::<Vec<_>>().join(", "))
        };
        vec![
            ("from", list(&self.from), true),
            ("normalize", self.normalize.clone(), true),
            ("block", list(&self.block), true),
        ]
    }
}

impl Parts for Trait {
    fn name(&self) -> &str {
        &self.name
    }

    fn parts(&self) -> Vec<(&'static str, Option<String>, bool)> {
        vec![
            ("computes", Some(format!("{} {}", self.compute, self.of)), true),
            ("event", self.event.clone(), true),
            ("where", self.condition.clone(), true),
            ("window", self.window.clone(), true),
            ("resolution", self.resolution.clone(), true),
        ]
    }
}

impl Parts for Segment {
    fn name(&self) -> &str {
        &self.name
    }

    fn parts(&self) -> Vec<(&'static str, Option<String>, bool)> {
        vec![("where", Some(self.condition.clone()), true), ("description", self.description.clone(), false)]
    }
}

impl Parts for Connector {
    fn name(&self) -> &str {
        &self.name
    }

    fn parts(&self) -> Vec<(&'static str, Option<String>, bool)> {
        vec![("type", Some(self.kind.clone()), false)]
    }
}
