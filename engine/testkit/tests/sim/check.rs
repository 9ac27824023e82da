//! Holds what the world was told against the log, and what follows from the log against the oracle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidewater::{
    Pipeline, ProfileId, Timestamp,
    pipeline::FixedEnvironment,
    testing::{self, Replayed},
};
use tidewater_model::Change;
use tidewater_oracle::{Event, evaluate};
use tidewater_storage::{Filter, StateReader};

use super::{
    Summary,
    events::PIPELINE,
    run::{Evidence, state},
    world::{is_usable, lines},
};

/// In so many epochs the oracle is asked; it computes everything anew each time.
const LOOKS: usize = 6;

/// Looks at everything.
///
/// # Errors
/// What is wrong first.
pub(super) fn check(mut evidence: Evidence) -> Result<Summary, String> {
    if let Some(wrong) = evidence.world.wrong.first() {
        return Err(wrong.clone());
    }
    let files: Arc<dyn tidewater_storage::Files> = Arc::new(evidence.files.clone());
    let replayed = testing::replay(Arc::clone(&files), state()).map_err(|error| error.to_string())?;
    let reader = StateReader::open_with(files, state()).map_err(|error| error.to_string())?;
    answered(&evidence, &replayed)?;
    refused(&evidence, &reader)?;
    delivered(&evidence, &replayed)?;
    exact(&replayed, &reader)?;
    let summary = &mut evidence.summary;
    summary.epochs = replayed.epochs.len() as u64;
    summary.events = replayed.epochs.iter().map(|epoch| epoch.events.len() as u64).sum();
    summary.deltas = replayed.epochs.iter().map(|epoch| epoch.deltas.len() as u64).sum();
    for destination in evidence.world.destinations.values() {
        summary.deliveries += destination.counts;
    }
    Ok(*summary)
}

/// Everything that was answered is in the log where it was said to be, and nothing is twice.
fn answered(evidence: &Evidence, replayed: &Replayed) -> Result<(), String> {
    let (mut clients, mut tape) = (BTreeMap::new(), BTreeMap::new());
    for epoch in &replayed.epochs {
        for event in &epoch.events {
            let text = String::from_utf8_lossy(event);
            let number = |key: &str| -> Option<usize> {
                let rest = text.split_once(key)?.1;
                rest[..rest.find(|letter: char| !letter.is_ascii_digit())?].parse().ok()
            };
            let before = match number(r#""messageId":"c"#) {
                Some(number) => clients.insert(number, epoch.epoch),
                None => number(r#""n":"#).and_then(|number| tape.insert(number, epoch.epoch)),
            };
            if let Some(before) = before {
                return Err(format!("in the log twice, in epochs {before} and {}: {text}", epoch.epoch));
            }
        }
    }
    let world = &evidence.world;
    for (number, told) in &world.clients.answered {
        match (clients.get(number), told) {
            (None, _) => return Err(format!("event {number} was answered and is not in the log")),
            (Some(found), Some(told)) if found != told => {
                return Err(format!("event {number} was said to be in epoch {told} and is in {found}"));
            }
            _ => {}
        }
    }
    for number in world.taped.keys() {
        if is_usable(&evidence.tape[*number]) && !tape.contains_key(number) {
            return Err(format!("event {number} of the tape was answered and is not in the log"));
        }
    }
    let count = |events: &[String]| events.iter().filter(|event| is_usable(event)).count();
    let (usable, of) = (count(&world.clients.events), count(&evidence.tape));
    if clients.len() != usable || tape.len() != of {
        let taped = tape.len();
        return Err(format!(
            "the log has {taped} of {of} events of the tape, {} of {usable} of clients",
            clients.len()
        ));
    }
    Ok(())
}

/// What was answered as refused is in quarantine, and so is what can't be used of the tape, which was read to its end.
fn refused(evidence: &Evidence, reader: &StateReader) -> Result<(), String> {
    let mut kept = BTreeSet::new();
    for record in reader.quarantine(Filter::All).map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        kept.insert(String::from_utf8_lossy(&record.bytes).into_owned());
    }
    let clients = &evidence.world.clients;
    if let Some(number) = clients.refused.iter().find(|number| !kept.contains(&clients.events[**number])) {
        return Err(format!("event {number} was answered as refused and is not in quarantine"));
    }
    match evidence.tape.iter().find(|event| !is_usable(event) && !kept.contains(*event)) {
        Some(event) => Err(format!("the tape is read, and this of it is not in quarantine: {event}")),
        None => Ok(()),
    }
}

/// Every destination has what follows from the log, and nobody was ever told anything else.
fn delivered(evidence: &Evidence, replayed: &Replayed) -> Result<(), String> {
    let world = &evidence.world;
    let last = replayed.epochs.last().map_or(0, |epoch| epoch.epoch);
    if world.last_told() > last {
        return Err(format!(
            "epoch {} was delivered and is not in the log, which ends at {last}",
            world.last_told()
        ));
    }
    let expected: BTreeMap<u64, Vec<String>> =
        replayed.epochs.iter().map(|epoch| (epoch.epoch, lines(&epoch.deltas))).collect();
    for (epoch, told) in world.told_epochs() {
        if expected.get(&epoch).is_none_or(|expected| expected != told) {
            return Err(format!("epoch {epoch} was delivered with deltas that do not follow from the log"));
        }
    }
    let mut last_now = Timestamp::MIN;
    for epoch in &replayed.epochs {
        if epoch.deltas.now() < last_now {
            return Err(format!("`now` goes back in the log at epoch {}", epoch.epoch));
        }
        last_now = epoch.deltas.now();
    }
    let all: Vec<(u64, String)> =
        expected.iter().flat_map(|(epoch, lines)| lines.iter().map(|line| (*epoch, line.clone()))).collect();
    for (name, destination) in &world.destinations {
        let found: Vec<(u64, String)> = if destination.lines.is_empty() {
            destination.applied.iter().map(|((epoch, _), line)| (*epoch, line.clone())).collect()
        } else {
            destination.lines.clone()
        };
        if let Some(place) =
            (0..all.len().max(found.len())).find(|place| all.get(*place) != found.get(*place))
        {
            let (should, is) = (all.get(place), found.get(place));
            return Err(format!("delta {place} at `{name}` should be {should:?} and is {is:?}"));
        }
    }
    Ok(())
}

/// The deltas added up are what the oracle says, at the end and at some epochs before.
fn exact(replayed: &Replayed, reader: &StateReader) -> Result<(), String> {
    let pipeline =
        Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new()).map_err(|errors| errors.to_string())?;
    let step = (replayed.epochs.len() / LOOKS).max(1);
    let last = replayed.epochs.len().saturating_sub(1);
    let mut members: BTreeSet<(usize, ProfileId)> = BTreeSet::new();
    let mut events: Vec<Event<'_>> = Vec::new();
    for (number, epoch) in replayed.epochs.iter().enumerate() {
        for (place, bytes) in (epoch.first_place..).zip(&epoch.events) {
            events.push(Event { place, accepted_at: epoch.accepted_at, bytes });
        }
        for delta in epoch.deltas.iter() {
            let member = (delta.segment_index(), delta.profile());
            let is_right = match delta.change() {
                Change::Entered => members.insert(member),
                Change::Exited => members.remove(&member),
            };
            if !is_right {
                return Err(format!("epoch {}: {member:?} {} again", epoch.epoch, delta.change().name()));
            }
        }
        if number % step == 0 || number == last {
            let outcome = evaluate(pipeline.spec(), reader.meta().key, &events, epoch.deltas.now());
            let expected: BTreeSet<_> = outcome.memberships.iter().copied().collect();
            if expected != members {
                return Err(format!(
                    "epoch {}: the deltas add up to {members:?}, not {expected:?}",
                    epoch.epoch
                ));
            }
        }
    }
    Ok(())
}
