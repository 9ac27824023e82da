//! Alias links against a recomputation from all events.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A pipeline in which user ids are lowercased, so that one text can stand for different values.
fn lowercased() -> PipelineSpec {
    let mut spec = spec();
    spec.identifiers[0].normalize = Normalize::Lowercase;
    spec.identifiers[2].block = vec![BlockRule::Exact("d".to_owned())];
    spec
}

/// An event that was accepted: what the recomputation needs of it.
struct Seen {
    event: Value,
    ids: BTreeSet<Id>,
    time: i64,
    place: u64,
}

/// The links that aliases assert, recomputed: (owner, other, time, place) and how often.
fn recompute(plan: &Plan, seen: &[Seen], anonymous_is_fed: bool) -> BTreeMap<(u128, Id, i64, u64), i32> {
    let mut links = BTreeMap::new();
    let texts = |value: &Value| -> BTreeSet<String> {
        let scalars = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let usable = scalars.iter().filter_map(|scalar| scalar.as_str()).filter(|text| *text != "null");
        usable.map(str::to_owned).collect()
    };
    for alias in seen.iter().filter(|seen| seen.event["type"] == "alias") {
        let owner = texts(&alias.event["userId"]).iter().map(|text| text.to_lowercase()).min().unwrap();
        let hash = plan.hash(0, &owner);
        // Two spellings that mean the same in every reading are one.
        let as_anonymous = |text: &String| (anonymous_is_fed && text != "d").then(|| text.clone());
        let readings: BTreeSet<_> = texts(&alias.event["previousId"])
            .iter()
            .map(|text| (text.to_lowercase(), as_anonymous(text)))
            .collect();
        for (user, anonymous) in readings {
            let user = (0, user);
            let carried = seen.iter().any(|other| other.place != alias.place && other.ids.contains(&user));
            let meant = match anonymous {
                _ if carried => user,
                Some(anonymous) => (2, anonymous),
                None => continue,
            };
            if meant != (0, owner.clone()) {
                *links.entry((hash, meant, alias.time, alias.place)).or_insert(0) += 1;
            }
        }
    }
    links
}

fn id() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "A", "d"]).prop_map(Value::from),
        1 => Just(json!(null)),
        1 => Just(json!("null")),
        1 => prop::collection::vec(prop::sample::select(vec!["a", "B", "c", "C"]), 1..4).prop_map(|texts| json!(texts)),
    ]
}

fn event() -> impl Strategy<Value = Value> {
    (prop::bool::weighted(0.5), id(), id(), id(), prop::option::weighted(0.2, id())).prop_map(
        |(alias, user, previous, anonymous, uid)| match alias {
            true => json!({"type": "alias", "userId": user, "previousId": previous, "properties": {"uid": uid}}),
            false => json!({"type": "identify", "userId": user, "anonymousId": anonymous, "properties": {"uid": uid}}),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn links_are_those_of_a_recomputation_after_every_event(
        events in prop::collection::vec((event(), prop::option::weighted(0.4, any::<(bool, bool)>())), 1..14),
        anonymous_is_fed in any::<bool>(),
        workers in 1..4usize,
    ) {
        let mut spec = lowercased();
        if !anonymous_is_fed {
            spec.identifiers[2].from = vec![path("context.id"), path("x.anonymousId")];
        }
        let mut run = Run::new(spec, workers);
        run.decoder.note_changes();
        let mut seen: Vec<Seen> = Vec::new();
        // The snapshots that together hold everything, oldest first.
        let mut snapshots: Vec<Vec<Vec<u8>>> = Vec::new();
        for (number, (event, snapshot)) in events.into_iter().enumerate() {
            let mut event = event;
            event["timestamp"] = json!(WALL.0 - number as i64);
            match run.push(&event.to_string()) {
                Ok(decoded) => {
                    let mut ids = decoded.others;
                    ids.insert(decoded.owner);
                    seen.push(Seen { event, ids, time: decoded.time, place: decoded.place });
                }
                Err(reason) => {
                    prop_assert_eq!(reason, RejectReason::NoIdentifier);
                    continue;
                }
            }
            let mut links = BTreeMap::new();
            for (owner, other, time, place, retract) in run.alias_links() {
                *links.entry((owner, other, time, place)).or_insert(0) += if retract { -1 } else { 1 };
            }
            links.retain(|_, count| *count != 0);
            prop_assert_eq!(links, recompute(&run.plan, &seen, anonymous_is_fed));
            if let Some((all, restarts)) = snapshot {
                let all = all || snapshots.is_empty();
                if all {
                    snapshots.clear();
                }
                snapshots.push(run.decoder.write_snapshot(all));
                if restarts {
                    run.decoder = restarted(&run.plan, workers, &snapshots, &seen);
                }
            }
        }
    }
}

/// A decoder that has read these snapshots, the newest first, and which user ids are carried.
fn restarted(plan: &Arc<Plan>, workers: usize, snapshots: &[Vec<Vec<u8>>], seen: &[Seen]) -> Decoder {
    let mut decoder = Decoder::new(Arc::clone(plan), workers);
    decoder.note_changes();
    for piece in snapshots.iter().rev().flatten() {
        decoder.read_snapshot(piece).unwrap();
    }
    for (rank, text) in seen.iter().flat_map(|seen| &seen.ids).filter(|(rank, _)| *rank == 0) {
        // As much of a node as says that an event carries it: hash, rank, flags, place, text.
        let mut node = plan.hash(usize::from(*rank), text).to_le_bytes().to_vec();
        node.extend_from_slice(&[*rank, crate::profile::record::CLUSTER as u8, 0, 0]);
        let node = [&(node.len() as u32).to_le_bytes()[..], &node].concat();
        decoder.read_nodes(&node).unwrap();
    }
    decoder
}

#[test]
fn the_owner_of_an_alias_is_its_user_id() {
    let mut spec = spec();
    spec.identifiers.rotate_left(1);
    let mut run = Run::new(spec, 1);
    let event = run
        .push(r#"{"type":"alias","userId":["u2","u1"],"anonymousId":"a","traits":{"email":"e@f"}}"#)
        .unwrap();
    assert_eq!(event.owner, (2, "u1".to_owned()));
    let others = [(0, "e@f"), (1, "a"), (2, "u2")].map(|(rank, text)| (rank, text.to_owned()));
    assert_eq!(event.others, BTreeSet::from(others));
    let no_user = r#"{"type":"alias","userId":"null","anonymousId":"a","properties":{"uid":"u"}}"#;
    assert_eq!(run.push(no_user), Err(RejectReason::NoIdentifier));
}

#[test]
fn a_discarded_event_carries_nothing() {
    let mut run = Run::new(spec(), 1);
    run.push(r#"{"type":"alias","userId":"u","previousId":"p"}"#).unwrap();
    let scanned = run.scan(br#"{"type":"identify","userId":"p"}"#).unwrap();
    run.decoder.discard(scanned);
    assert_eq!(run.alias_links().len(), 1);
    run.push(r#"{"type":"identify","userId":"p"}"#).unwrap();
    let owner = run.plan.hash(0, "u");
    let link = |rank, place, retract| (owner, (rank, "p".to_owned()), WALL.0, place, retract);
    assert_eq!(run.alias_links(), [link(2, 0, false), link(2, 0, true), link(0, 0, false)]);
    assert!(run.decoder.bytes() > 0);
}
