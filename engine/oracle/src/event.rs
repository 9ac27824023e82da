//! Reading one event: what it is, when it was, who it names, or why it can't be used.

use std::collections::BTreeSet;

use tidewater_model::{ClockKind, EventKind, PipelineSpec, RejectReason, Timestamp};

use crate::{
    identifier::{Id, IdentifierRules, scalar_text},
    json::{Json, Object},
};

/// What acceptance learns of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInfo {
    /// The event's time.
    pub time: Timestamp,
    /// The `messageId` it carries, if it carries a usable one: a non-empty string or a number.
    pub message_id: Option<String>,
}

/// Checks whether an event can be accepted, duplicates aside.
///
/// `accepted_at` becomes the event's time if it has none of its own; `wall` is the wall clock that `max_future`
/// is held against.
///
/// # Errors
/// The first reason that applies, in the order bad JSON, type, identifiers, time.
pub fn check_event(
    spec: &PipelineSpec,
    bytes: &[u8],
    accepted_at: Timestamp,
    wall: Timestamp,
) -> Result<EventInfo, RejectReason> {
    let object = Object::parse(bytes).ok_or(RejectReason::BadJson)?;
    let read = ReadEvent::new(spec, &IdentifierRules::new(&spec.identifiers), &object, accepted_at)?;
    check_future(spec, read.time, wall)?;
    Ok(EventInfo { time: read.time, message_id: message_id(&object) })
}

/// More than `max_future` ahead of the wall clock is refused under both clocks.
pub(crate) fn check_future(
    spec: &PipelineSpec,
    time: Timestamp,
    wall: Timestamp,
) -> Result<(), RejectReason> {
    let ahead = i128::from(time.0) - i128::from(wall.0);
    if ahead > i128::from(spec.max_future.0) { Err(RejectReason::FutureTime) } else { Ok(()) }
}

/// An event that can be used: who it is about and when it was.
#[derive(Debug)]
pub(crate) struct ReadEvent {
    pub(crate) time: Timestamp,
    /// Every identifier that stands at one of the `from` paths.
    pub(crate) identifiers: BTreeSet<Id>,
    /// The identifier whose profile the event counts for; one of `identifiers`.
    pub(crate) owner: Id,
    /// Of an alias event: what `previousId` can stand for.
    pub(crate) previous: Vec<Previous>,
}

/// The two readings of one `previousId`. Which one holds depends on the other events.
#[derive(Debug)]
pub(crate) struct Previous {
    /// As a value of the first identifier fed by `userId`.
    pub(crate) as_user: Option<Id>,
    /// As a value of the first identifier fed by `anonymousId`.
    pub(crate) as_anonymous: Option<Id>,
}

impl ReadEvent {
    /// Reads an event, without a look at the wall clock.
    pub(crate) fn new(
        spec: &PipelineSpec,
        rules: &IdentifierRules,
        event: &Object<'_>,
        accepted_at: Timestamp,
    ) -> Result<Self, RejectReason> {
        Self::with_time(rules, event, || match own_time(spec, event)? {
            Some(time) => Ok(time),
            None if spec.clock == ClockKind::Event => Err(RejectReason::NoTime),
            None => Ok(accepted_at),
        })
    }

    /// Reads an event that was accepted: whatever the rules about times were then, they let it in.
    pub(crate) fn of_log(
        rules: &IdentifierRules,
        event: &Object<'_>,
        accepted_at: Timestamp,
    ) -> Result<Self, RejectReason> {
        Self::with_time(rules, event, || Ok(written_time(event)?.unwrap_or(accepted_at)))
    }

    fn with_time(
        rules: &IdentifierRules,
        event: &Object<'_>,
        time: impl FnOnce() -> Result<Timestamp, RejectReason>,
    ) -> Result<Self, RejectReason> {
        let kind = kind(event).ok_or(RejectReason::BadType)?;
        let identifiers = rules.of_event(event);
        let (owner, previous) = match kind {
            EventKind::Alias => (alias_owner(rules, event), previous(rules, event)),
            _ => (identifiers.first().cloned(), Vec::new()),
        };
        let owner = owner.ok_or(RejectReason::NoIdentifier)?;
        Ok(Self { time: time()?, identifiers, owner, previous })
    }
}

/// The owner of an alias event is its `userId`; of several values the smallest.
fn alias_owner(rules: &IdentifierRules, event: &Object<'_>) -> Option<Id> {
    let user = rules.first_fed_by("userId")?;
    let owner = rules.values(user, event.get("userId")).min()?;
    Some((user, owner))
}

fn previous(rules: &IdentifierRules, event: &Object<'_>) -> Vec<Previous> {
    let scalars = match event.get("previousId") {
        Json::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let reading = |key: &str, raw: &Json<'_>| {
        let identifier = rules.first_fed_by(key)?;
        Some((identifier, rules.values(identifier, raw).next()?))
    };
    scalars
        .iter()
        .filter(|raw| !matches!(raw, Json::Array(_)))
        .map(|raw| Previous { as_user: reading("userId", raw), as_anonymous: reading("anonymousId", raw) })
        .collect()
}

/// What `type` names, if it is one of the six kinds.
pub(crate) fn kind(event: &Object<'_>) -> Option<EventKind> {
    match event.get("type") {
        Json::String(name) => EventKind::from_name(name),
        _ => None,
    }
}

/// The name that a trait's event filter sees. `None` for kinds that no name matches and for a track event without
/// a name.
pub(crate) fn event_name<'a>(event: &'a Object<'_>) -> Option<&'a str> {
    let kind = kind(event).filter(|kind| kind.is_named())?;
    match event.get("event") {
        Json::String(name) => Some(name),
        _ => kind.default_event_name(),
    }
}

/// What [`written_time`] says, not before `min_time`.
pub(crate) fn own_time(spec: &PipelineSpec, event: &Object<'_>) -> Result<Option<Timestamp>, RejectReason> {
    match written_time(event)? {
        Some(time) if time < spec.min_time => Err(RejectReason::BadTime),
        time => Ok(time),
    }
}

/// `timestamp`, else `originalTimestamp`; `None` if both are missing or null.
fn written_time(event: &Object<'_>) -> Result<Option<Timestamp>, RejectReason> {
    let written = match event.get("timestamp") {
        Json::Null => event.get("originalTimestamp"),
        written => written,
    };
    let time = match written {
        Json::Null => return Ok(None),
        Json::String(text) => Timestamp::parse(text.as_bytes()).ok(),
        // Epoch milliseconds.
        Json::Number(text) => whole_part(text).map(Timestamp),
        Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    };
    match time {
        Some(time) if time <= Timestamp::MAX => Ok(Some(time)),
        _ => Err(RejectReason::BadTime),
    }
}

/// A JSON number without what stands behind its point, rounded down: `1.5e1` is 15, `-0.5` is -1. `None` if it has more
/// digits than any time.
fn whole_part(text: &str) -> Option<i64> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // An exponent that is no i64 is larger than any text is long.
    let exponent: i64 =
        exponent.parse().unwrap_or(if exponent.starts_with('-') { -(1 << 40) } else { 1 << 40 });
    let leading = (digits.len() - significant.len()) as i64;
    let before_point = (whole.len() as i64).saturating_add(exponent) - leading;
    if before_point > 18 {
        return None;
    }
    let kept = before_point.clamp(0, significant.len() as i64) as usize;
    let zeros = before_point.max(0) as usize - kept;
    let value: i64 = format!("0{}{}", &significant[..kept], "0".repeat(zeros)).parse().ok()?;
    let is_cut = significant[kept..].contains(|digit| digit != '0');
    Some(if is_negative { -value - i64::from(is_cut) } else { value })
}

/// The `messageId`, if it is a non-empty string or a number.
pub(crate) fn message_id(event: &Object<'_>) -> Option<String> {
    match event.get("messageId") {
        id @ (Json::String(_) | Json::Number(_)) => {
            scalar_text(id).filter(|id| !id.is_empty()).map(|id| id.into_owned())
        }
        _ => None,
    }
}
