//! A changed file on an existing state: what `plan` says, and that `run` then does it.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;

#[test]
fn what_a_change_keeps_and_fills_is_said_and_done() {
    let place = Place::with_shop(3_000);
    assert_success(&place.run(&["run"]));
    assert!(stdout(&place.run(&["plan"])).contains("a start changes nothing"));

    let changed = place
        .read("tidewater.yaml")
        .replace("revenue >= 300", "revenue >= 100")
        .replace("  views_1d:", "  first_order: { first_time: Order Completed }\n  views_1d:")
        .replace("  prospect:", "  dated: has(first_order)\n  prospect:");
    place.write("tidewater.yaml", &changed);
    let planned = place.run(&["plan"]);
    assert_success(&planned);
    let said = stdout(&planned);
    for line in [
        "trait `first_order` added",
        "segment `big_spender` where: `revenue >= 300` -> `revenue >= 100`",
        "traits kept                   plan, orders, revenue, views_1d, last_seen",
        "traits filled from the log    first_order",
        "segments computed at once     big_spender, dated",
        "`tidewater run tidewater.yaml` does this.",
    ] {
        assert!(said.contains(line), "{line} in\n{said}");
    }
    assert_success(&place.run(&["run"]));
    assert_eq!(place.folded(), place.memberships());
    assert_success(&place.run(&["verify"]));
    assert!(stdout(&place.run(&["plan"])).contains("a start changes nothing"));
}

#[test]
fn a_change_that_loses_something_needs_to_be_asked_for() {
    let place = Place::with_shop(500);
    assert_success(&place.run(&["run"]));
    let changed = place.read("tidewater.yaml").replace("normalize: email", "normalize: trim");
    place.write("tidewater.yaml", &changed);
    let said = stdout(&place.run(&["plan"]));
    assert!(said.contains("Everything is computed again from the log."), "{said}");
    assert!(said.contains("`tidewater run --rebuild tidewater.yaml`"), "{said}");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&place.run(&["plan", "--format", "json"]))).unwrap();
    assert_eq!(json["needs_rebuild"].as_array().unwrap().len(), 1, "{json}");
    assert_fails(&place.run(&["run"]), 78, &["identifier `email` normalize", "tidewater plan"]);
    assert_success(&place.run(&["run", "--rebuild"]));
    assert_eq!(place.folded(), place.memberships());
    assert_success(&place.run(&["verify"]));
}

#[test]
fn a_source_of_another_name_is_said_to_begin_at_its_start() {
    let place = Place::with_shop(500);
    assert_success(&place.run(&["run"]));
    let begins = "Read from the start, since positions belong to a source's name: events.";
    let renamed = place.read("tidewater.yaml").replace("  history: {", "  events: {");
    assert!(renamed.contains("  events: { type: file"), "{renamed}");
    place.write("tidewater.yaml", &renamed);
    let planned = place.run(&["plan"]);
    assert_success(&planned);
    let said = stdout(&planned);
    assert!(said.contains(begins) && said.contains("unless `dedup` still remembers it"), "{said}");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&place.run(&["plan", "--format", "json"]))).unwrap();
    assert_eq!(json["new_sources"], serde_json::json!(["events"]));
    // It reads everything again, as was said: all of it is known to be the same.
    let read = place.run(&["run"]);
    assert_success(&read);
    assert!(!stdout(&place.run(&["plan"])).contains(begins));
}

#[test]
fn another_key_is_refused_by_plan_and_run_alike() {
    let place = Place::with_shop(500);
    let with_key = |key: &str| place.read("tidewater.yaml") + &format!("id_key: {key}\n");
    let (first, second) = (with_key("a-first-key"), with_key("a-second-key"));
    place.write("tidewater.yaml", &first);
    assert_success(&place.run(&["run"]));
    assert!(stdout(&place.run(&["plan"])).contains("a start changes nothing"));
    place.write("tidewater.yaml", &second);
    let planned = place.run(&["plan"]);
    assert_eq!(planned.status.code(), Some(78));
    let said = stdout(&planned);
    let what = ["`id_key` differs", "put the old key back", "start on an empty state directory"];
    assert!(said.contains("would refuse it") && what.iter().all(|what| said.contains(what)), "{said}");
    let json = place.run(&["plan", "--format", "json"]);
    assert_eq!(json.status.code(), Some(78));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["refused"].as_str().unwrap().contains("`id_key` differs"), "{json}");
    assert_fails(&place.run(&["run"]), 78, &what);
    // The directory has the key it was made with.
    place.write("tidewater.yaml", &first.replace("id_key: a-first-key\n", ""));
    assert_success(&place.run(&["plan"]));
    assert_success(&place.run(&["run"]));
}

#[test]
fn what_was_accepted_under_other_rules_is_no_fault_of_the_log() {
    let place = Place::new();
    place.write("tidewater.yaml", PIPELINE);
    let event = |who: &str, time: &str| {
        format!(r#"{{"type":"track","event":"Order Completed",{who},"timestamp":{time}}}"#) + "\n"
    };
    let events = [
        event(r#""userId":"u1""#, r#""2010-01-01T00:00:00Z""#),
        event(r#""anonymousId":"a1""#, r#""2026-01-01T00:00:00Z""#),
        event(r#""userId":"u2""#, "1767225600123.456"),
        event(r#""userId":"u2""#, "1.767225600124e12"),
    ];
    place.write("events.ndjson", &events.concat());
    assert_success(&place.run(&["run"]));
    assert_success(&place.run(&["verify"]));
    assert_eq!(place.memberships().len(), 2, "u1 is lapsed, u2 is loyal");

    let changed = PIPELINE
        .replace("clock: event", "clock: event\nmin_time: 2020-01-01T00:00:00Z")
        .replace("  anonymous_id: { from: anonymousId }\n", "");
    place.write("tidewater.yaml", &changed);
    assert_success(&place.run(&["run", "--rebuild"]));
    assert_success(&place.run(&["verify"]));
}
