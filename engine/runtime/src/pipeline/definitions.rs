//! A pipeline's definitions as plain data: what the state directory keeps, what the Rust builder collects, and what
//! two versions of a pipeline are compared by. Texts are canonical, and no secret is in them.

use serde::{Deserialize, Serialize};
use tidewater_model::{
    Aggregate, BlockRule, ClockKind, Dedup, EventFilter, IdentifierSpec, Normalize, PipelineSpec, TraitSpec,
    expr::{Names, Predicate},
};

use super::{connector::ConnectorSpec, tree::Node};

/// The version of the stored form that this code writes and reads.
pub const DEFINITIONS_FORMAT: u32 = 1;

/// What a state directory was run with: everything that is computed, and the names of the connectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definitions {
    /// [`DEFINITIONS_FORMAT`] at the time of writing.
    pub format: u32,
    /// `wall` or `event`.
    pub clock: String,
    /// A duration or `forever`.
    pub dedup: String,
    /// A duration.
    pub max_future: String,
    /// An RFC 3339 time.
    pub min_time: String,
    /// Highest rank first.
    pub identifiers: Vec<Identifier>,
    /// In the order of the file; in a state directory in that of the first file that had them.
    pub traits: Vec<Trait>,
    /// As traits.
    pub segments: Vec<Segment>,
    /// Names and types of the sources.
    pub sources: Vec<Connector>,
    /// Names and types of the sinks.
    pub sinks: Vec<Connector>,
}

/// The definition of an identifier; see [`Identifier::from_path`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identifier {
    /// Its name.
    pub name: String,
    /// The paths that give its values.
    pub from: Vec<String>,
    /// `email`, `lowercase`, `trim` or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<String>,
    /// Exact values and `/regular expressions/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<String>,
}

/// The definition of a trait; see [`Trait::count`] and the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trait {
    /// Its name.
    pub name: String,
    /// What is computed, by its key in the file: `count`, `sum` and so on.
    pub compute: String,
    /// What stands after that key: an event's name or a path.
    pub of: String,
    /// The name of the events that count, for what is computed from a path; every event if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// A further condition on the events.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// A duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// A duration; what fits the window if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
}

/// The definition of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Who is a member.
    #[serde(rename = "where")]
    pub condition: String,
    /// What people read about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Name and type of a source or sink. Its configuration may hold secrets and is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// Its name.
    pub name: String,
    /// Its `type`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Definitions {
    pub(super) fn of(spec: &PipelineSpec, sources: &[ConnectorSpec], sinks: &[ConnectorSpec]) -> Self {
        let identifiers: Vec<String> = spec.identifiers.iter().map(|entry| entry.name.clone()).collect();
        let traits: Vec<String> = spec.traits.iter().map(|entry| entry.name.clone()).collect();
        let segments: Vec<String> = spec.segments.iter().map(|entry| entry.name.clone()).collect();
        let is_time =
            |entry: &TraitSpec| matches!(entry.aggregate, Aggregate::FirstTime | Aggregate::LastTime);
        let time_traits: Vec<bool> = spec.traits.iter().map(is_time).collect();
        let names = Names {
            identifiers: &identifiers,
            traits: &traits,
            time_traits: &time_traits,
            segments: &segments,
        };
        let text = |predicate: &Predicate| predicate.display(&names).to_string();
        let connectors = |specs: &[ConnectorSpec]| {
            let of = |spec: &ConnectorSpec| Connector { name: spec.name().into(), kind: spec.kind().into() };
            specs.iter().map(of).collect()
        };
        Self {
            format: DEFINITIONS_FORMAT,
            clock: clock_name(spec.clock).to_owned(),
            dedup: match spec.dedup {
                Dedup::Forever => "forever".to_owned(),
                Dedup::For(duration) => duration.to_string(),
            },
            max_future: spec.max_future.to_string(),
            min_time: spec.min_time.to_string(),
            identifiers: spec.identifiers.iter().map(identifier).collect(),
            traits: spec.traits.iter().map(|entry| computed_trait(entry, text)).collect(),
            segments: spec
                .segments
                .iter()
                .map(|entry| Segment {
                    name: entry.name.clone(),
                    condition: text(&entry.predicate),
                    description: entry.description.clone(),
                })
                .collect(),
            sources: connectors(sources),
            sinks: connectors(sinks),
        }
    }

    /// The same with everything whose order means nothing in the order in which `other` has it, and what only these have
    /// behind it. State is stored by place: so it stays of use whatever the order in the file.
    pub(crate) fn in_order_of(mut self, other: &Self) -> Self {
        fn sort<T>(list: &mut [T], other: &[T], name: impl Fn(&T) -> &str) {
            list.sort_by_key(|own| {
                other.iter().position(|known| name(known) == name(own)).unwrap_or(usize::MAX)
            });
        }
        sort(&mut self.traits, &other.traits, |entry| &entry.name);
        sort(&mut self.segments, &other.segments, |entry| &entry.name);
        sort(&mut self.sources, &other.sources, |entry| &entry.name);
        sort(&mut self.sinks, &other.sinks, |entry| &entry.name);
        self
    }

    /// As JSON, the same bytes for the same definitions.
    ///
    /// # Errors
    /// None that a value of this type can cause; serializing is fallible by its interface.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// If it is not that, or of a later format.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The settings and sections as they would stand in a file, without connectors.
    pub(super) fn to_tree(&self) -> Node {
        let settings = [
            ("clock", &self.clock),
            ("dedup", &self.dedup),
            ("max_future", &self.max_future),
            ("min_time", &self.min_time),
        ];
        let mut entries: Vec<(String, Node)> =
            settings.into_iter().map(|(key, text)| (key.to_owned(), Node::text(text.clone()))).collect();
        entries.extend(sections(&self.identifiers, &self.traits, &self.segments));
        Node::map(entries)
    }
}

/// The three sections as they would stand in a file.
pub(super) fn sections(
    identifiers: &[Identifier],
    traits: &[Trait],
    segments: &[Segment],
) -> [(String, Node); 3] {
    [
        ("identifiers".to_owned(), Node::map(identifiers.iter().map(Identifier::to_tree).collect())),
        ("traits".to_owned(), Node::map(traits.iter().map(Trait::to_tree).collect())),
        ("segments".to_owned(), Node::map(segments.iter().map(Segment::to_tree).collect())),
    ]
}

impl Identifier {
    fn to_tree(&self) -> (String, Node) {
        let mut entries = vec![("from".to_owned(), Node::texts(&self.from))];
        entries.extend(optional("normalize", self.normalize.as_ref()));
        entries.push(("block".to_owned(), Node::texts(&self.block)));
        (self.name.clone(), Node::map(entries))
    }
}

impl Trait {
    fn to_tree(&self) -> (String, Node) {
        let mut entries = vec![(self.compute.clone(), Node::text(&self.of))];
        entries.extend(optional("event", self.event.as_ref()));
        entries.extend(optional("where", self.condition.as_ref()));
        entries.extend(optional("window", self.window.as_ref()));
        entries.extend(optional("resolution", self.resolution.as_ref()));
        (self.name.clone(), Node::map(entries))
    }
}

impl Segment {
    fn to_tree(&self) -> (String, Node) {
        let mut entries = vec![("where".to_owned(), Node::text(&self.condition))];
        entries.extend(optional("description", self.description.as_ref()));
        (self.name.clone(), Node::map(entries))
    }
}

fn optional(key: &str, text: Option<&String>) -> Option<(String, Node)> {
    text.map(|text| (key.to_owned(), Node::text(text)))
}

pub(super) fn clock_name(clock: ClockKind) -> &'static str {
    match clock {
        ClockKind::Wall => "wall",
        ClockKind::Event => "event",
    }
}

pub(super) fn normalize_name(normalize: Normalize) -> Option<&'static str> {
    match normalize {
        Normalize::None => None,
        Normalize::Trim => Some("trim"),
        Normalize::Lowercase => Some("lowercase"),
        Normalize::Email => Some("email"),
    }
}

fn identifier(spec: &IdentifierSpec) -> Identifier {
    let rule = |rule: &BlockRule| match rule {
        BlockRule::Exact(value) => value.clone(),
        BlockRule::Pattern(pattern) => format!("/{pattern}/"),
    };
    Identifier {
        name: spec.name.clone(),
        from: spec.from.iter().map(ToString::to_string).collect(),
        normalize: normalize_name(spec.normalize).map(str::to_owned),
        block: spec.block.iter().map(rule).collect(),
    }
}

fn computed_trait(spec: &TraitSpec, text: impl Fn(&Predicate) -> String) -> Trait {
    let named = match &spec.events {
        EventFilter::Any => None,
        EventFilter::Named(name) => Some(name.clone()),
    };
    let compute = match spec.aggregate {
        Aggregate::Count => "count",
        Aggregate::Sum(_) => "sum",
        Aggregate::Min(_) => "min",
        Aggregate::Max(_) => "max",
        Aggregate::Avg(_) => "avg",
        Aggregate::First(_) => "first",
        Aggregate::Last(_) => "last",
        Aggregate::FirstTime => "first_time",
        Aggregate::LastTime => "last_time",
    };
    let (of, event) = match spec.aggregate.path() {
        Some(path) => (path.to_string(), named),
        None => (named.unwrap_or_else(|| "*".to_owned()), None),
    };
    Trait {
        name: spec.name.clone(),
        compute: compute.to_owned(),
        of,
        event,
        condition: spec.condition.as_ref().map(text),
        window: spec.window.map(|window| window.length.to_string()),
        resolution: spec.window.map(|window| window.resolution.to_string()),
    }
}
