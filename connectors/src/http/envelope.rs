//! From a request's body to raw events: each event's own bytes stay as the client wrote them.
//!
//! Invariant: every element of a batch becomes exactly one raw event, whatever is in it; or the whole body is refused.

use std::ops::Range;

use tidewater_connector_api::RawEvents;

use super::{
    HttpSourceConfig,
    json::{NoJson, Scan},
    reply::Refusal,
};

/// Keys of a batch that count for every event in it that has no such key of its own.
const SHARED: [&[u8]; 3] = [b"context", b"integrations", b"sentAt"];

/// The events of a body, and the write key that stands in it.
pub(super) struct Envelope {
    pub(super) events: RawEvents,
    pub(super) write_key: Option<Vec<u8>>,
}

impl From<NoJson> for Refusal {
    fn from(error: NoJson) -> Self {
        Self::invalid(format!("the body is not valid JSON at byte {}", error.at))
    }
}

/// Takes a body that is one event. `kind` becomes its `type` if it has none.
pub(super) fn single(
    body: &[u8],
    kind: &str,
    events: RawEvents,
    config: &HttpSourceConfig,
) -> Result<Envelope, Refusal> {
    let mut envelope = Envelope { events, write_key: None };
    let mut typed = false;
    let mut scan = Scan::new(body, 0);
    let range = scan.object(|key, value| match key {
        b"type" => typed = true,
        b"writeKey" => envelope.write_key = text(&body[value]),
        _ => {}
    })?;
    if !scan.is_done() {
        return Err(NoJson { at: scan.at() }.into());
    }
    let kind = format!("\"type\":\"{kind}\"");
    let extra: &[&[u8]] = if typed { &[] } else { &[kind.as_bytes()] };
    push(&mut envelope.events, &body[range], extra, config.max_event_bytes);
    Ok(envelope)
}

/// Takes the events out of a batch.
pub(super) fn batch(body: &[u8], events: RawEvents, config: &HttpSourceConfig) -> Result<Envelope, Refusal> {
    let mut envelope = Envelope { events, write_key: None };
    let mut list = None;
    let mut shared: [Option<Range<usize>>; SHARED.len()] = [const { None }; SHARED.len()];
    let mut scan = Scan::new(body, 0);
    // The shared keys may stand behind the events. Of a key that stands twice the last counts.
    scan.object(|key, value| match key {
        b"batch" => list = Some(value),
        b"writeKey" => envelope.write_key = text(&body[value]),
        _ => {
            if let Some(place) = SHARED.iter().position(|name| *name == key) {
                shared[place] = (&body[value.clone()] != b"null").then_some(value);
            }
        }
    })?;
    if !scan.is_done() {
        return Err(NoJson { at: scan.at() }.into());
    }
    let Some(list) = list.filter(|list| body[list.start] == b'[') else {
        return Err(Refusal::invalid("the body has no array `batch`"));
    };
    let shared: Vec<(usize, Vec<u8>)> = shared
        .into_iter()
        .enumerate()
        .filter_map(|(place, value)| Some((place, member(SHARED[place], &body[value?]))))
        .collect();
    let shared_bytes: usize = shared.iter().map(|(_, member)| member.len()).sum();
    Scan::new(body, list.start).array(|scan| {
        let count = envelope.events.len() + 1;
        if count > config.max_batch_events {
            let most = config.max_batch_events;
            return Err(Refusal::invalid(format!("the batch has more than {most} events")));
        }
        // A small body must not become a large one by repeating what its events share.
        if shared_bytes.saturating_mul(count) > config.max_inflated_bytes {
            return Err(Refusal::invalid("what the events of the batch share is too large"));
        }
        item(body, scan, &shared, &mut envelope.events, config.max_event_bytes)
    })?;
    Ok(envelope)
}

/// Takes one element of a batch; leaves the scan behind it.
fn item(
    body: &[u8],
    scan: &mut Scan<'_>,
    shared: &[(usize, Vec<u8>)],
    events: &mut RawEvents,
    max_event_bytes: usize,
) -> Result<(), Refusal> {
    let start = scan.at();
    let mut has = [false; SHARED.len()];
    let found = Scan::new(body, start).object(|key, _| {
        if let Some(place) = SHARED.iter().position(|name| *name == key) {
            has[place] = true;
        }
    });
    // An element that is no object, or a broken one, goes on as it is: the engine tells what is wrong with it.
    let whole = scan.value()?;
    let extra: Vec<&[u8]> = match found {
        Ok(range) if range == whole => {
            shared.iter().filter(|(place, _)| !has[*place]).map(|(_, member)| member.as_slice()).collect()
        }
        _ => Vec::new(),
    };
    push(events, &body[whole], &extra, max_event_bytes);
    Ok(())
}

/// Adds an event, with members spliced in before its closing brace. The limit is on what the client wrote; an event beyond it
/// gets the members too, or it would lack them when it is fed again from quarantine.
fn push(events: &mut RawEvents, event: &[u8], extra: &[&[u8]], max_event_bytes: usize) {
    let parts = splice(event, extra);
    let parts = if parts.is_empty() { &[event][..] } else { &parts };
    if event.len() > max_event_bytes {
        let whole = parts.concat();
        events.push_oversized(&whole, whole.len() as u64);
    } else {
        events.push_parts(parts);
    }
}

/// The parts of an object with these members before its closing brace; none, and nothing allocated, without members.
fn splice<'a>(event: &'a [u8], extra: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let Some((_, open)) = event.split_last().filter(|_| !extra.is_empty()) else { return Vec::new() };
    let mut parts = vec![open];
    // `{` and white space alone hold no member that a comma would have to follow.
    let mut comma = open.trim_ascii_end().len() > 1;
    for member in extra {
        if comma {
            parts.push(b",");
        }
        parts.push(member);
        comma = true;
    }
    parts.push(b"}");
    parts
}

fn member(key: &[u8], value: &[u8]) -> Vec<u8> {
    [b"\"", key, b"\":", value].concat()
}

/// The text of a JSON string, if it is one.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<String>(value).ok().map(String::into_bytes)
}

#[cfg(test)]
mod tests;
