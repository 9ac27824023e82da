//! Pipelines built in Rust: the same definitions and the same checks as in a file.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tidewater_model::{ClockKind, Millis, Normalize, Timestamp};

use super::{
    Pipeline,
    definitions::{self, Identifier, Segment, Trait, clock_name, normalize_name},
    error::PipelineErrors,
    reader::Reader,
    secret::Secret,
    tree::Node,
};

/// A length of time for the builder: a text such as `"7d"`, a [`Duration`] or [`Millis`].
///
/// A wrong text is an error of [`PipelineBuilder::build`]. Of a [`Duration`] whatever is finer than a millisecond is
/// cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Length(String);

impl From<&str> for Length {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Length {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Millis> for Length {
    fn from(duration: Millis) -> Self {
        Self(duration.to_string())
    }
}

impl From<Duration> for Length {
    fn from(duration: Duration) -> Self {
        Millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)).into()
    }
}

impl Identifier {
    /// An identifier whose values stand at `path` of an event, such as `userId` or `context.traits.email`.
    pub fn from_path(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self { name: name.into(), from: vec![path.into()], normalize: None, block: Vec::new() }
    }

    /// Also takes the values at this path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.from.push(path.into());
        self
    }

    /// How a raw value is made comparable.
    #[must_use]
    pub fn normalize(mut self, normalize: Normalize) -> Self {
        self.normalize = normalize_name(normalize).map(str::to_owned);
        self
    }

    /// Values that are no identifiers: exact ones, or `"/regular expressions/"`.
    #[must_use]
    pub fn block<T: Into<String>>(mut self, rules: impl IntoIterator<Item = T>) -> Self {
        self.block.extend(rules.into_iter().map(Into::into));
        self
    }
}

impl Trait {
    fn new(compute: &str, name: impl Into<String>, of: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            compute: compute.to_owned(),
            of: of.into(),
            event: None,
            condition: None,
            window: None,
            resolution: None,
        }
    }

    /// How many events of this name; `"*"` counts every event.
    pub fn count(name: impl Into<String>, event: impl Into<String>) -> Self {
        Self::new("count", name, event)
    }

    /// The sum of the numbers at a path.
    pub fn sum(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new("sum", name, path)
    }

    /// The least number at a path.
    pub fn min(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new("min", name, path)
    }

    /// The greatest number at a path.
    pub fn max(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new("max", name, path)
    }

    /// The mean of the numbers at a path.
    pub fn avg(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new("avg", name, path)
    }

    /// What stands at a path in the earliest event that has something there.
    pub fn first(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new("first", name, path)
    }

    /// What stands at a path in the latest event that has something there.
    pub fn last(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new("last", name, path)
    }

    /// The time of the earliest event of this name; `"*"` takes every event.
    pub fn first_time(name: impl Into<String>, event: impl Into<String>) -> Self {
        Self::new("first_time", name, event)
    }

    /// The time of the latest event of this name; `"*"` takes every event.
    pub fn last_time(name: impl Into<String>, event: impl Into<String>) -> Self {
        Self::new("last_time", name, event)
    }

    /// Only events of this name count. For what is computed from a path; the others name their event themselves.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Only events that meet this condition count: `"properties.revenue >= 100"`.
    #[must_use]
    pub fn filter(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Only events of the last `length` count.
    #[must_use]
    pub fn window(mut self, length: impl Into<Length>) -> Self {
        self.window = Some(length.into().0);
        self
    }

    /// What times are rounded up to in the window; left out, it fits the window's length.
    #[must_use]
    pub fn resolution(mut self, resolution: impl Into<Length>) -> Self {
        self.resolution = Some(resolution.into().0);
        self
    }
}

/// Puts a pipeline together in Rust; made by [`Pipeline::builder`].
#[derive(Clone, Debug)]
pub struct PipelineBuilder {
    name: String,
    settings: BTreeMap<&'static str, String>,
    id_key: Option<Secret>,
    identifiers: Vec<Identifier>,
    traits: Vec<Trait>,
    segments: Vec<Segment>,
}

impl PipelineBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: super::DEFAULT_NAME.to_owned(),
            settings: BTreeMap::new(),
            id_key: None,
            identifiers: Vec::new(),
            traits: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn set(mut self, key: &'static str, text: String) -> Self {
        self.settings.insert(key, text);
        self
    }

    /// The pipeline's name in metrics and logs; left out, `pipeline`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The directory of the event log; left out, nothing is kept.
    #[must_use]
    pub fn state(self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into().to_string_lossy().into_owned();
        self.set("state", directory)
    }

    /// How many worker threads, 1 to 64; left out, one less than the machine has cores.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        self.set("workers", workers.to_string())
    }

    /// Where `now` comes from; left out, the wall clock.
    #[must_use]
    pub fn clock(self, clock: ClockKind) -> Self {
        self.set("clock", clock_name(clock).to_owned())
    }

    /// How long a messageId is remembered: a length of time or `"forever"`; left out, 7 days.
    #[must_use]
    pub fn dedup(self, duration: impl Into<Length>) -> Self {
        self.set("dedup", duration.into().0)
    }

    /// How far ahead of the wall clock an event may be dated; left out, 24 hours.
    #[must_use]
    pub fn max_future(self, duration: impl Into<Length>) -> Self {
        self.set("max_future", duration.into().0)
    }

    /// The earliest time that an event may have; left out, the beginning of 2000.
    #[must_use]
    pub fn min_time(self, time: Timestamp) -> Self {
        self.set("min_time", time.0.to_string())
    }

    /// The deployment's secret, of at least 8 characters, that profile ids depend on.
    #[must_use]
    pub fn id_key(mut self, secret: Secret) -> Self {
        self.id_key = Some(secret);
        self
    }

    /// Adds an identifier, of the next lower rank.
    #[must_use]
    pub fn identifier(mut self, identifier: Identifier) -> Self {
        self.identifiers.push(identifier);
        self
    }

    /// Adds a trait.
    #[must_use]
    pub fn trait_(mut self, computed: Trait) -> Self {
        self.traits.push(computed);
        self
    }

    /// Adds a segment: `("loyal", "orders >= 3")`.
    #[must_use]
    pub fn segment(mut self, name: impl Into<String>, condition: impl Into<String>) -> Self {
        self.segments.push(Segment { name: name.into(), condition: condition.into(), description: None });
        self
    }

    /// Says what people read about the segment added last.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        if let Some(segment) = self.segments.last_mut() {
            segment.description = Some(text.into());
        }
        self
    }

    /// The pipeline.
    ///
    /// # Errors
    /// Everything that is wrong with it, as for a file; the errors have key paths instead of positions.
    pub fn build(self) -> Result<Pipeline, PipelineErrors> {
        let mut entries: Vec<(String, Node)> =
            self.settings.iter().map(|(key, text)| ((*key).to_owned(), Node::text(text))).collect();
        entries.extend(self.id_key.map(|secret| ("id_key".to_owned(), Node::text(secret.expose()))));
        entries.extend(definitions::sections(&self.identifiers, &self.traits, &self.segments));
        Pipeline::from_tree(self.name, &Node::map(entries), Reader::new(None))
    }
}
