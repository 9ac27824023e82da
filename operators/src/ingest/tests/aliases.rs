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

/// By owner and other identifier.
type Links = BTreeMap<(u128, Id), Link>;

/// What aliases say of a link: the first place of one that asserts it, and the first and the last of their times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    place: u64,
    /// Not asked for where one has been given up: what others assert keeps that one's times.
    times: Option<(i64, i64)>,
}

/// The links that aliases assert, recomputed.
fn recompute(plan: &Plan, seen: &[Seen], anonymous_is_fed: bool) -> Links {
    let mut links = Links::new();
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
                add(&mut links, (hash, meant), alias.place, alias.time);
            }
        }
    }
    links
}

fn add(links: &mut Links, key: (u128, Id), place: u64, time: i64) {
    let link = links.entry(key).or_insert(Link { place, times: Some((time, time)) });
    link.place = link.place.min(place);
    link.times = link.times.map(|(first, last)| (first.min(time), last.max(time)));
}

/// The links that stand after all that was said of them. Whatever is given up or asserted again was asserted before, by
/// an event at the same place.
fn standing(rows: &[AliasLink]) -> Links {
    let (mut links, mut given_up) = (Links::new(), BTreeSet::new());
    let (mut asserted, mut times) = (Vec::new(), BTreeMap::new());
    for (owner, other, time, place, kind) in rows {
        let key = (*owner, other.clone());
        let before = asserted.iter().position(|own| *own == (key.clone(), *place));
        match (kind, before) {
            (AliasLinkKind::Open | AliasLinkKind::Settled, _) => asserted.push((key.clone(), *place)),
            (AliasLinkKind::Again, Some(_)) => {}
            (AliasLinkKind::GivenUp, Some(before)) => {
                asserted.swap_remove(before);
                given_up.insert(key);
                continue;
            }
            (AliasLinkKind::Again | AliasLinkKind::GivenUp, None) => {
                panic!("{key:?} was not asserted at {place}")
            }
        }
        let (first, last) = times.entry(key).or_insert((*time, *time));
        (*first, *last) = ((*first).min(*time), (*last).max(*time));
    }
    for (key, place) in asserted {
        let times = times.get(&key).copied().filter(|_| !given_up.contains(&key));
        let link = links.entry(key).or_insert(Link { place, times });
        link.place = link.place.min(place);
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
        events in prop::collection::vec((event(), prop::option::weighted(0.4, any::<(bool, bool)>())), 1..20),
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
            event["timestamp"] = json!(WALL.0 - number as i64 * 5 % 7);
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
            let links = standing(&run.alias_links());
            let mut expected = recompute(&run.plan, &seen, anonymous_is_fed);
            for (key, link) in &mut expected {
                link.times = link.times.filter(|_| links.get(key).is_some_and(|found| found.times.is_some()));
            }
            prop_assert_eq!(links, expected);
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
    let link = |rank, kind| (owner, (rank, "p".to_owned()), WALL.0, 0, kind);
    let expected =
        [link(2, AliasLinkKind::Open), link(2, AliasLinkKind::GivenUp), link(0, AliasLinkKind::Settled)];
    assert_eq!(run.alias_links(), expected);
    assert!(run.decoder.bytes() > 0);
}

/// Clients send the same alias on every start.
#[test]
fn an_alias_that_is_sent_again_and_again_takes_no_more_room() {
    let mut run = Run::new(spec(), 2);
    run.decoder.note_changes();
    let alias = |owner: &str, time: i64| {
        format!(
            r#"{{"type":"alias","userId":"{owner}","previousId":["p","q"],"timestamp":{}}}"#,
            WALL.0 + time
        )
    };
    // Of more owners than are searched one by one, too.
    let owners: Vec<String> = (0..40).map(|number| format!("u{number}")).collect();
    let send = |run: &mut Run, times: &[i64]| {
        for owner in &owners {
            times.iter().for_each(|time| _ = run.push(&alias(owner, *time)).unwrap());
        }
        let size: usize = run.decoder.write_snapshot(true).iter().map(Vec::len).sum();
        (run.decoder.bytes(), size)
    };
    send(&mut run, &[0]);
    let before = send(&mut run, &[10, -10]);
    let rows = run.alias_links().len();
    for _ in 0..25 {
        assert_eq!(send(&mut run, &(-9..10).flat_map(|time| [time; 5]).collect::<Vec<_>>()), before);
    }
    assert_eq!(run.alias_links().len(), rows, "there is nothing new to say");
    // Given up and linked anew once each, with the first place and all the times between.
    run.push(r#"{"type":"identify","userId":"p"}"#).unwrap();
    let rows = run.alias_links();
    let of_first: Vec<_> =
        rows.iter().filter(|row| row.0 == run.plan.hash(0, "u0") && row.1.1 == "p").collect();
    let said = |kind| {
        let of_kind = of_first.iter().filter(|row| row.4 == kind);
        of_kind.map(|row| (row.1.0, row.2 - WALL.0, row.3)).collect::<Vec<_>>()
    };
    assert_eq!(said(AliasLinkKind::Open), [(2, 0, 0)]);
    assert_eq!(said(AliasLinkKind::Again), [(2, 10, 0), (2, -10, 0), (0, 10, 0)]);
    assert_eq!(said(AliasLinkKind::GivenUp), [(2, -10, 0)]);
    assert_eq!(said(AliasLinkKind::Settled), [(0, -10, 0)]);
}

#[test]
fn what_older_releases_stored_of_an_alias_sent_again_is_given_up_whole() {
    let mut run = Run::new(spec(), 1);
    // They wrote one for every event, each of which the workers know of.
    let mut pieces = Vec::new();
    for place in [0, 5, 9] {
        let mut one = Run::new(spec(), 1);
        one.place = place;
        one.push(r#"{"type":"alias","userId":"u","previousId":"p"}"#).unwrap();
        pieces.push(one.decoder.write_snapshot(true).concat());
    }
    let rest = pieces.iter().flat_map(|piece| &piece[17..]).copied();
    let piece: Vec<u8> = pieces[0][..16].iter().copied().chain([3]).chain(rest).collect();
    assert_eq!(pieces[0][16], 1, "a count");
    run.decoder.read_snapshot(&piece).unwrap();
    run.place = 20;
    run.push(r#"{"type":"alias","userId":"u","previousId":"p"}"#).unwrap();
    run.push(r#"{"type":"identify","userId":"p"}"#).unwrap();
    let rows = run.alias_links().into_iter().filter(|row| row.4 == AliasLinkKind::GivenUp);
    assert_eq!(rows.map(|row| row.3).collect::<Vec<_>>(), [0, 5, 9]);
}
