//! Customer events in the Segment spec's terms, and why one can be refused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The six kinds of event of the Segment spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Something a person did, named by `event`.
    Track,
    /// Who a person is; `traits` describe them.
    Identify,
    /// A page view; named "Page Viewed" unless `event` is given.
    Page,
    /// A screen view of an app; named "Screen Viewed" unless `event` is given.
    Screen,
    /// A person belongs to an account (`groupId`).
    Group,
    /// `previousId` and `userId` are the same person.
    Alias,
}

impl EventKind {
    /// The kind that `type` names, if it is one of the six.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "track" => Self::Track,
            "identify" => Self::Identify,
            "page" => Self::Page,
            "screen" => Self::Screen,
            "group" => Self::Group,
            "alias" => Self::Alias,
            _ => return None,
        })
    }

    /// The name that a trait's event filter sees when the event itself gives none.
    pub fn default_event_name(self) -> Option<&'static str> {
        match self {
            Self::Page => Some("Page Viewed"),
            Self::Screen => Some("Screen Viewed"),
            _ => None,
        }
    }

    /// Whether a trait's event name can match this kind (`"*"` matches every kind).
    pub fn is_named(self) -> bool {
        matches!(self, Self::Track | Self::Page | Self::Screen)
    }
}

/// A dotted path into an event's JSON, such as `context.traits.email`.
///
/// A path goes through objects only; where it names nothing its value is null.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Path(Vec<String>);

impl Path {
    /// Splits `text` at its dots. `None` if any step is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        steps.iter().all(|step| !step.is_empty()).then_some(Self(steps))
    }

    /// The keys from the top of the event down.
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Why an event was put in quarantine. The names are part of the metrics and of `tidewater redrive --reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// Not one well-formed JSON object in valid UTF-8, or nested deeper than 128 levels.
    BadJson,
    /// `type` is missing or none of the six kinds.
    BadType,
    /// No usable identifier is left after normalizing and blocking.
    NoIdentifier,
    /// The time does not parse, has no offset, or lies before `min_time` or after the year 9999.
    BadTime,
    /// Under `clock: event`: the event has no time of its own.
    NoTime,
    /// Dated more than `max_future` ahead of the wall clock.
    FutureTime,
    /// Larger than the limit on one event.
    TooLarge,
    /// A messageId that was accepted before, with other content.
    DuplicateConflict,
}

impl RejectReason {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::BadJson,
        Self::BadType,
        Self::NoIdentifier,
        Self::BadTime,
        Self::NoTime,
        Self::FutureTime,
        Self::TooLarge,
        Self::DuplicateConflict,
    ];

    /// The stable snake_case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadType => "bad_type",
            Self::NoIdentifier => "no_identifier",
            Self::BadTime => "bad_time",
            Self::NoTime => "no_time",
            Self::FutureTime => "future_time",
            Self::TooLarge => "too_large",
            Self::DuplicateConflict => "duplicate_conflict",
        }
    }

    /// The reason with this stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
