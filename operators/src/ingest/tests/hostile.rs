//! Events made to hurt: each ends as accepted or refused, soon.

use super::*;

fn reason(run: &mut Run, event: &[u8]) -> Option<RejectReason> {
    match run.scan(event) {
        Ok(scanned) => {
            let place = run.place;
            run.decoder.append(scanned, place, &mut run.batches);
            run.place += 1;
            None
        }
        Err(reason) => Some(reason),
    }
}

fn event(extra: &str) -> Vec<u8> {
    format!(r#"{{"type":"track","userId":"u",{extra}}}"#).into_bytes()
}

#[test]
fn deep_nesting_is_refused() {
    let run = &mut Run::new(spec(), 1);
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"traits\":", "}")] {
        for depth in [127, 128, 10_000, 1_000_000] {
            let nested = event(&format!("\"traits\":{}0{}", open.repeat(depth), close.repeat(depth)));
            let expected = (depth > 127).then_some(RejectReason::BadJson);
            assert_eq!(reason(run, &nested), expected, "{open} {depth}");
            assert_eq!(reason(run, &nested[..nested.len() / 2]), Some(RejectReason::BadJson));
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_wherever_they_stand() {
    let run = &mut Run::new(spec(), 1);
    for bytes in [&b"\xff"[..], b"\x00", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1f", b"\xc0\x80"]
    {
        for place in ["\"x\":\"@\"", "\"@\":1", "\"messageId\":\"@\"", "\"x\":[[\"@\"]]", "\"x\":@", "@"] {
            let (before, after) = place.split_once('@').unwrap();
            let text = [&event(before)[..event(before).len() - 1], bytes, after.as_bytes(), b"}"].concat();
            assert_eq!(reason(run, &text), Some(RejectReason::BadJson), "{bytes:?} in {place}");
        }
    }
}

#[test]
fn every_prefix_is_refused() {
    let run = &mut Run::new(spec(), 1);
    let whole = event(r#""a":{"b":[1,-2.5e+7,"\u00e4\\",true,false,null]},"timestamp":1600000000000"#);
    assert_eq!(reason(run, &whole), None);
    for len in 0..whole.len() {
        assert_eq!(reason(run, &whole[..len]), Some(RejectReason::BadJson), "{len} bytes");
        // The same where the rest does stand behind it.
        let mut buffer = whole.clone();
        buffer.resize(whole.len() + PaddedEvent::PADDING, b' ');
        let scanned = run.decoder.scan(PaddedEvent::new(&buffer, len).unwrap(), WALL, WALL);
        assert_eq!(scanned.unwrap_err(), RejectReason::BadJson, "{len} bytes");
    }
}

#[test]
fn megabytes_pass() {
    let run = &mut Run::new(spec(), 1);
    let long = "x".repeat(1 << 20);
    assert_eq!(reason(run, &event(&format!("\"{long}\":\"{long}\",\"messageId\":\"{long}\""))), None);
    let escaped = "\\u00e4".repeat(1 << 17);
    assert_eq!(
        reason(run, &event(&format!("\"{escaped}\":\"{escaped}\",\"messageId\":\"{escaped}\""))),
        None
    );
    assert_eq!(
        reason(run, &event(&format!("\"anonymousId\":\"{long}\",\"properties\":{{\"uid\":\"{escaped}\"}}"))),
        None
    );
    assert_eq!(run.decoder.stats().oversized_identifiers, 2);
    assert_eq!(reason(run, &event(&format!("\"x\":\"{long}"))), Some(RejectReason::BadJson));
    let blank = " ".repeat(1 << 20);
    assert_eq!(reason(run, &[blank.as_bytes(), &event("\"a\":1"), blank.as_bytes()].concat()), None);
    assert_eq!(reason(run, blank.as_bytes()), Some(RejectReason::BadJson));
}

#[test]
fn numbers_of_any_size_are_numbers() {
    let run = &mut Run::new(spec(), 1);
    let digits = "9".repeat(100_000);
    for number in [format!("1e{digits}"), format!("-{digits}.{digits}E-{digits}"), "0e0".to_owned()] {
        assert_eq!(reason(run, &event(&format!("\"x\":{number}"))), None);
        assert_eq!(reason(run, &event(&format!("\"timestamp\":{number}"))), Some(RejectReason::BadTime));
        assert_eq!(reason(run, &event(&format!("\"messageId\":{number}"))), None);
    }
}

#[test]
fn keys_without_end_and_keys_again_and_again_are_read_once() {
    let traits = (0..500).map(|n| {
        feature(&format!("t{n}"), Aggregate::Sum(path(&format!("properties.p{n}"))), EventFilter::Any, None)
    });
    let run = &mut Run::new(PipelineSpec { traits: traits.collect(), ..spec() }, 1);
    let distinct: String = (0..200_000).map(|key| format!("\"k{key}\":{key},")).collect();
    assert_eq!(reason(run, &event(&format!("{distinct}\"messageId\":1"))), None);
    // Every one hides the 500 paths below the one before.
    let repeated = "\"properties\":{\"p1\":1},".repeat(100_000);
    assert_eq!(reason(run, &event(&format!("{repeated}\"messageId\":2"))), None);
    let event = run.event(&run.batches[0], 1);
    assert_eq!(event.values[1], Unpacked::Number(tidewater_model::Decimal::ONE));
}

#[test]
fn an_alias_of_more_ids_than_an_event_may_have_is_refused() {
    let run = &mut Run::new(spec(), 1);
    let alias = |previous: &mut dyn Iterator<Item = u32>, time: &str| {
        let previous: Vec<String> = previous.map(|number| format!("\"p{number}\"")).collect();
        let previous = previous.join(",");
        format!(r#"{{"type":"alias","userId":"u","timestamp":{time},"previousId":[{previous}]}}"#)
            .into_bytes()
    };
    for (count, expected) in [(100_000, Some(RejectReason::TooLarge)), (65_536, Some(RejectReason::TooLarge))]
    {
        assert_eq!(reason(run, &alias(&mut (0..count), "1600000000000")), expected, "{count} ids");
    }
    // Too large comes first, whatever else is wrong.
    assert_eq!(reason(run, &alias(&mut (0..65_536), "0")), Some(RejectReason::TooLarge));
    assert_eq!(reason(run, &alias(&mut (0..65_535), "0")), Some(RejectReason::BadTime));
    // What was refused in the same block leaves nothing with the events around it.
    let before = run.scan(&alias(&mut [1, 2].into_iter(), "1600000000000")).unwrap();
    assert_eq!(run.scan(&alias(&mut (0..65_536), "1600000000000")).unwrap_err(), RejectReason::TooLarge);
    assert_eq!(run.scan(&alias(&mut [3, 4].into_iter(), "0")).unwrap_err(), RejectReason::BadTime);
    let behind = run.scan(&alias(&mut [5].into_iter(), "1600000000000")).unwrap();
    for (scanned, place) in [(before, 0), (behind, 1)] {
        run.decoder.append(scanned, place, &mut run.batches);
    }
    let linked: Vec<(String, u64)> =
        run.alias_links().into_iter().map(|(_, other, _, place, _)| (other.1, place)).collect();
    assert_eq!(linked, [("p1", 0), ("p2", 0), ("p5", 1)].map(|(id, place)| (id.to_owned(), place)));
    // As many as there may be, in any spelling, are each linked once.
    let run = &mut Run::new(spec(), 1);
    let twice = &mut (0..65_535).flat_map(|number| [number, number / 2]);
    assert_eq!(reason(run, &alias(twice, "1600000000000")), None);
    assert_eq!(run.alias_links().len(), 65_535);
}

#[test]
fn memory_given_behind_an_event_is_checked() {
    assert!(PaddedEvent::new(&[0; 63], 0).is_none());
    assert!(PaddedEvent::new(&[0; 64], 1).is_none());
    assert!(PaddedEvent::new(&[0; 64], usize::MAX).is_none());
    assert_eq!(PaddedEvent::new(&[7; 70], 6).unwrap().bytes(), [7; 6]);
}
