//! Kinds, names, rows and staging.

use tidewater_model::{EventKind, Millis, expr::Predicate};

use super::*;

#[test]
fn takes_the_six_kinds_and_no_other() {
    let mut run = Run::new(spec(), 1);
    for kind in ["track", "identify", "page", "screen", "group", "alias"] {
        assert!(EventKind::from_name(kind).is_some());
        run.push(&format!(r#"{{"type":"{kind}","userId":"u"}}"#)).unwrap();
    }
    run.push(r#"{"type":"tr\u0061ck","userId":"u"}"#).unwrap();
    for kind in [r#""Track""#, r#""tracks""#, r#""""#, "null", "1", "true", "[\"track\"]", "{}"] {
        let event = format!(r#"{{"type":{kind},"userId":"u"}}"#);
        assert_eq!(run.push(&event), Err(RejectReason::BadType), "{event}");
    }
    assert_eq!(run.push(r#"{"userId":"u"}"#), Err(RejectReason::BadType));
}

#[test]
fn reports_the_first_reason_that_applies() {
    let mut run = Run::new(spec(), 1);
    assert_eq!(run.push(r#"{"type":1,"timestamp":true"#), Err(RejectReason::BadJson));
    assert_eq!(run.push(r#"{"type":1,"timestamp":true}"#), Err(RejectReason::BadType));
    assert_eq!(run.push(r#"{"type":"track","timestamp":true}"#), Err(RejectReason::NoIdentifier));
    assert_eq!(run.push(r#"{"type":"track","userId":1,"timestamp":true}"#), Err(RejectReason::BadTime));
    assert!(run.batches[0].is_empty());
}

/// A pipeline in which program 0 counts all events and each name has a program.
fn counting() -> PipelineSpec {
    let count = |name: &str, events| feature(name, Aggregate::Count, events, None);
    let traits = vec![
        count("all", EventFilter::Any),
        count("orders", named("Order Completed")),
        count("pages", named("Page Viewed")),
        count("screens", named("Screen Viewed")),
    ];
    PipelineSpec { traits, ..spec() }
}

#[test]
fn finds_the_program_of_an_event() {
    let mut run = Run::new(counting(), 1);
    let plan = Arc::clone(&run.plan);
    let mut program_of = |members: &str| run.push(&format!(r#"{{"userId":"u",{members}}}"#)).unwrap().program;
    let of = |name: &str| plan.program_of[name];
    let (orders, pages, screens) = (of("Order Completed"), of("Page Viewed"), of("Screen Viewed"));
    assert_eq!(program_of(r#""type":"track","event":"Order Completed""#), orders);
    assert_eq!(program_of(r#""event":"Order\u0020Completed","type":"track""#), orders);
    assert_eq!(program_of(r#""type":"page","event":"Order Completed""#), orders);
    assert_eq!(program_of(r#""type":"track","event":"order completed""#), 0);
    assert_eq!(program_of(r#""type":"track""#), 0);
    assert_eq!(program_of(r#""type":"identify","event":"Order Completed""#), 0);
    assert_eq!(program_of(r#""type":"group","event":"Page Viewed""#), 0);
    assert_eq!(program_of(r#""type":"page""#), pages);
    assert_eq!(program_of(r#""type":"page","event":null"#), pages);
    assert_eq!(program_of(r#""type":"page","event":"""#), 0);
    assert_eq!(program_of(r#""type":"screen""#), screens);
    assert_eq!(program_of(r#""type":"screen","event":"Page Viewed""#), pages);
    assert_eq!(program_of(r#""type":"track","event":"Page Viewed","event":"Order Completed""#), orders);
}

#[test]
fn spreads_events_over_workers_and_keeps_their_order() {
    let mut run = Run::new(counting(), 3);
    for event in 0..300 {
        run.push(&format!(r#"{{"type":"page","userId":"u{event}","traits":{{"email":"E{event}@x.org"}}}}"#))
            .unwrap();
    }
    let mut seen = 0;
    for batch in &run.batches {
        assert!(batch.len() > 50);
        let events: Vec<_> = (0..batch.len()).map(|index| run.event(batch, index)).collect();
        assert!(events.windows(2).all(|pair| pair[0].place < pair[1].place));
        for event in events {
            assert_eq!(event.owner, (0, format!("u{}", event.place)));
            assert_eq!(event.others, BTreeSet::from([(1, format!("e{}@x.org", event.place))]));
            seen += 1;
        }
    }
    assert_eq!(seen, 300);
}

#[test]
fn events_wait_until_they_are_appended_or_discarded() {
    let last = feature("plan", Aggregate::Last(path("traits.plan")), EventFilter::Any, None);
    let mut run = Run::new(PipelineSpec { traits: vec![last], ..spec() }, 1);
    let event = |number: usize| {
        format!(r#"{{"type":"identify","userId":"u{number}","traits":{{"plan":"plan {number}"}}}}"#)
    };
    let bad = r#"{"type":"identify","traits":{"email":"a@b"},"userId":"u","timestamp":"never"}"#;
    for round in 0..5 {
        let mut waiting = Vec::new();
        for number in 0..7 {
            waiting.push(run.scan(event(round * 7 + number).as_bytes()).unwrap());
            assert_eq!(run.scan(bad.as_bytes()).unwrap_err(), RejectReason::BadTime);
        }
        for (number, scanned) in waiting.into_iter().enumerate() {
            if number % 3 == round % 3 {
                run.decoder.discard(scanned);
            } else {
                let place = (round * 7 + number) as u64;
                run.decoder.append(scanned, place, &mut run.batches);
            }
        }
    }
    let expected = (0..35u64).filter(|number| number % 7 % 3 != number / 7 % 3);
    let batch = &run.batches[0];
    assert!(expected.clone().eq(batch.events.iter().map(|row| row.place)));
    for (index, number) in expected.enumerate() {
        let event = run.event(batch, index);
        assert_eq!(
            (event.owner.1, event.strings),
            (format!("u{number}"), vec![Some(format!("plan {number}"))])
        );
    }
}

#[test]
fn a_bad_block_pattern_is_found_when_the_plan_is_made() {
    let mut spec = spec();
    spec.identifiers[1].block = vec![BlockRule::Pattern("(".to_owned())];
    let error = Plan::compile(spec, HashKey::FIXED).unwrap_err();
    assert!(error.to_string().starts_with("block pattern /(/ of email: "), "{error}");
}

#[test]
fn a_plan_without_anything_still_decodes() {
    let mut run = Run::new(PipelineSpec::default(), 1);
    assert_eq!(run.push(r#"{"type":"track","userId":"u"}"#), Err(RejectReason::NoIdentifier));
    assert_eq!(
        run.push(r#"{"type":"alias","userId":"u","previousId":"v"}"#),
        Err(RejectReason::NoIdentifier)
    );
    let always = Some(Predicate::And(Vec::new()));
    let mut condition = feature("n", Aggregate::Count, EventFilter::Any, None);
    condition.condition = always;
    let mut run = Run::new(PipelineSpec { traits: vec![condition], max_future: Millis(0), ..spec() }, 1);
    assert_eq!(run.push(r#"{"type":"track","userId":"u"}"#).unwrap().conditions, [true]);
}
