//! When an event happened: its own time, read and held against what the pipeline allows.

use tidewater_model::{ClockKind, Millis, PipelineSpec, RejectReason, Timestamp};

use super::json::{Field, Fields, Node, PathTree, short_whole, unescape};

/// Reads event times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    timestamp: Node,
    original_timestamp: Node,
    clock: ClockKind,
    min_time: Timestamp,
    max_future: Millis,
}

/// An event's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTime {
    pub(super) time: Timestamp,
    /// Whether the event itself says so; else it is the time of acceptance.
    pub(super) is_own: bool,
}

impl Times {
    /// The rules of a pipeline; adds the paths they need to `tree`.
    pub(super) fn new(spec: &PipelineSpec, tree: &mut PathTree) -> Self {
        Self {
            timestamp: tree.want_key("timestamp"),
            original_timestamp: tree.want_key("originalTimestamp"),
            clock: spec.clock,
            min_time: spec.min_time,
            max_future: spec.max_future,
        }
    }

    /// The event's time: `timestamp`, else `originalTimestamp`, else `accepted_at`. Null counts as absent.
    ///
    /// # Errors
    /// `BadTime` if the time the event gives can't be read or lies before `min_time` or after 9999, `FutureTime` if that
    /// lies more than `max_future` after `wall`, `NoTime` if it gives none although the clock goes by event times.
    /// With [`Timestamp::MAX`] as `wall` only times that can't be read and those after 9999 are refused.
    #[inline]
    pub(super) fn read(
        &self,
        fields: Fields<'_>,
        accepted_at: Timestamp,
        wall: Timestamp,
    ) -> Result<EventTime, RejectReason> {
        let field = match fields.get(self.timestamp) {
            Field::Null => fields.get(self.original_timestamp),
            own => own,
        };
        // What stands in the log was accepted, under whatever rules there were.
        let replayed = wall == Timestamp::MAX;
        let earliest = if replayed { Timestamp::MIN } else { self.min_time };
        let (time, is_own) = match field {
            Field::Null if self.clock == ClockKind::Event && !replayed => return Err(RejectReason::NoTime),
            Field::Null => (accepted_at, false),
            own => {
                let time = parse_time(own).filter(|time| (earliest..=Timestamp::MAX).contains(time));
                (time.ok_or(RejectReason::BadTime)?, true)
            }
        };
        // The clock may have been set back since the time of acceptance was taken, which dates nothing in the future.
        if is_own && time.0 > wall.0.saturating_add(self.max_future.0) {
            return Err(RejectReason::FutureTime);
        }
        Ok(EventTime { time, is_own })
    }
}

/// A time as RFC 3339 with its offset, or as a number of epoch milliseconds; finer than 1 ms is cut off.
#[inline(always)]
fn parse_time(field: Field<'_>) -> Option<Timestamp> {
    match field {
        Field::Number(text) => short_whole(text).or_else(|| parse_millis(text)).map(Timestamp),
        Field::Text(text) => Timestamp::parse(text).ok(),
        Field::Escaped(raw) => {
            let mut text = Vec::new();
            unescape(raw, &mut text);
            Timestamp::parse(&text).ok()
        }
        Field::Null | Field::Bool(_) | Field::Array(_) | Field::Object => None,
    }
}

/// The whole part of any JSON number, rounded down; `None` if it is far outside every calendar.
#[cold]
fn parse_millis(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut halves = text.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = halves.next().unwrap_or_default();
    let mut parts = mantissa.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut digits = whole.iter().chain(fraction).map(|byte| i64::from(byte - b'0')).peekable();
    let mut before_point = whole.len() as i64 + halves.next().map_or(0, exponent);
    // Leading zeros say nothing, and no exponent makes more of a zero.
    while digits.next_if_eq(&0).is_some() {
        before_point -= 1;
    }
    if digits.peek().is_some() && before_point > 18 {
        return None;
    }
    let mut value = 0;
    for _ in 0..before_point.clamp(0, 18) {
        value = value * 10 + digits.next().unwrap_or(0);
    }
    let cut_off = digits.any(|digit| digit != 0);
    Some(if negative { -value - i64::from(cut_off) } else { value })
}

/// An exponent, cut to a size that no length of text makes up for.
fn exponent(text: &[u8]) -> i64 {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let size = digits.fold(0i64, |size, byte| (size * 10 + i64::from(byte - b'0')).min(1 << 40));
    if text.starts_with(b"-") { -size } else { size }
}
