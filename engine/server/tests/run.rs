//! `run` on files, and what the state directory it leaves can be asked.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::*;
use serde_json::Value;

const EVENTS: u64 = 20_000;

#[test]
fn a_finite_run_ends_with_the_sinks_full_and_the_state_verified() {
    let place = Place::with_shop(EVENTS);
    let done = place.run(&["run", "--log-format", "json"]);
    assert_success(&done);
    assert_eq!(stdout(&done), "");
    let log: Vec<Value> = stderr(&done).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stopped = log.iter().find(|line| line["message"] == "stopped").unwrap();
    let count = |what: &str| stopped[what].as_u64().unwrap();
    assert_eq!(count("events") + count("duplicates") + count("quarantined"), EVENTS);
    assert!(count("duplicates") > 100 && count("quarantined") > 100);

    // The sink's lines fold to the memberships of the state, which are those of the batch evaluator.
    let members = place.folded();
    assert!(members.len() > 500, "{}", members.len());
    assert_eq!(members, place.memberships());
    let verified = place.run(&["verify"]);
    assert_success(&verified);
    assert!(stdout(&verified).starts_with("no differences in "), "{}", stdout(&verified));

    // A second run has nothing to do: not one line more.
    let before = place.read("deltas.ndjson");
    assert_success(&place.run(&["run"]));
    assert_eq!(place.read("deltas.ndjson"), before);
}

/// As when the disk of a log file is full, or nobody reads the other end of a pipe.
#[test]
fn log_lines_that_can_not_be_written_stop_nothing() {
    let place = Place::with_shop(EVENTS);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["run", "--log-level", "debug"]);
    assert_eq!(command.stderr(full).status().unwrap().code(), Some(0));
    assert_success(&place.run(&["verify"]));
    assert_eq!(place.folded(), place.memberships());
}

#[test]
fn exports_have_the_contracts_formats_and_agree_with_each_other() {
    let place = Place::with_shop(5_000);
    assert_success(&place.run(&["run"]));

    let keys = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let expect = |row: &Value, expected: &[&str]| {
        assert_eq!(keys(row), expected.iter().map(|key| (*key).to_owned()).collect());
    };
    let memberships = place.export("memberships");
    expect(&memberships[0], &["segment", "profile", "identifiers", "since"]);
    let profiles = place.export("profiles");
    expect(&profiles[0], &["profile", "identifiers", "traits"]);
    let identities = place.export("identities");
    expect(&identities[0], &["identifier", "value", "profile"]);

    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    assert!(memberships.is_sorted_by_key(|row| (text(row, "segment"), text(row, "profile"))));
    assert!(profiles.is_sorted_by_key(|row| text(row, "profile")));
    assert!(identities.is_sorted_by_key(|row| (text(row, "identifier"), text(row, "value"))));
    let known: BTreeSet<String> = profiles.iter().map(|row| text(row, "profile")).collect();
    assert!(memberships.iter().all(|row| known.contains(&text(row, "profile"))));
    for profile in &profiles {
        for (name, values) in profile["identifiers"].as_object().unwrap() {
            let value = values[0].as_str().unwrap();
            let at = identities
                .binary_search_by_key(&(name.clone(), value.to_owned()), |row| {
                    (text(row, "identifier"), text(row, "value"))
                })
                .unwrap();
            assert_eq!(identities[at]["profile"], profile["profile"]);
        }
    }

    // Events come out as they went in, and once: run on them, another state says the same.
    let events = stdout(&place.run(&["export", "events"]));
    let copy = Place::new();
    copy.write("tidewater.yaml", PIPELINE);
    copy.write("events.ndjson", &events);
    assert_success(&copy.run(&["run"]));
    assert_eq!(stdout(&copy.run(&["export", "events"])), events);
    let sizes = |rows: &[Value]| rows.iter().map(|row| text(row, "segment")).collect::<Vec<_>>();
    assert_eq!(sizes(&copy.export("memberships")), sizes(&memberships));

    for (what, header) in [
        ("memberships", "segment,profile,since,user_id,email,anonymous_id\r\n"),
        ("profiles", "profile,user_id,email,anonymous_id,plan,orders,revenue,views_1d,last_seen\r\n"),
        ("identities", "identifier,value,profile\r\n"),
        ("events", "place,epoch,accepted_at,event\r\n"),
        ("quarantine", "id,reason,source,received_at,bytes,event\r\n"),
    ] {
        assert_success(&place.run(&["export", what, "--format", "csv", "--out", "out.csv"]));
        let csv = String::from_utf8_lossy(&std::fs::read(place.path("out.csv")).unwrap()).into_owned();
        assert!(csv.starts_with(header), "{what}: {}", csv.lines().next().unwrap());
        assert!(csv.lines().count() > 20, "{what}");
    }
}

#[test]
fn quarantined_events_can_be_redriven_once_the_pipeline_takes_them() {
    let place = Place::new();
    let strict = PIPELINE.replace("clock: event", "clock: event\nmin_time: 2026-01-01T00:00:00Z");
    place.write("tidewater.yaml", &strict);
    let order = |n: u32, user: &str, time: &str| {
        format!(
            "{{\"type\":\"track\",\"event\":\"Order Completed\",\"messageId\":\"m{n}\",\"userId\":\"{user}\",\"timestamp\":\"{time}\"}}\n"
        )
    };
    let events = [
        order(1, "u1", "2026-02-01T00:00:00Z"),
        order(2, "u1", "2025-06-01T00:00:00Z"),
        "no json\n".to_owned(),
        order(3, "u2", "2025-06-01T00:00:00Z"),
    ];
    place.write("events.ndjson", &events.concat());
    assert_success(&place.run(&["run"]));
    let reasons = |place: &Place| -> Vec<String> {
        place.export("quarantine").iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(reasons(&place), ["bad_time", "bad_json", "bad_time"]);
    assert!(place.folded().is_empty());

    // Nothing has changed, and nothing changes, but for the numbers.
    let again = place.run(&["redrive", "--reason", "bad_time"]);
    assert_success(&again);
    assert_eq!(stdout(&again), "0 accepted, 0 duplicates, 2 refused again\n");
    assert_eq!(reasons(&place), ["bad_json", "bad_time", "bad_time"]);

    // The definitions were left alone; with the file put right one is fed by its number, then all.
    place.write("tidewater.yaml", PIPELINE);
    assert_success(&place.run(&["run"]));
    let id = place.export("quarantine")[1]["id"].to_string();
    let one = place.run(&["redrive", "--id", &id]);
    assert_success(&one);
    assert_eq!(stdout(&one), "1 accepted, 0 duplicates, 0 refused again\n");
    assert_fails(&place.run(&["redrive", "--id", &id]), 1, &["not in quarantine: "]);
    assert_eq!(stdout(&place.run(&["redrive"])), "1 accepted, 0 duplicates, 1 refused again\n");
    assert_eq!(reasons(&place), ["bad_json"]);

    // The sinks hear of it at the next run, and the log verifies.
    assert_success(&place.run(&["run"]));
    assert_eq!(
        place.folded().iter().map(|(segment, _)| segment.as_str()).collect::<Vec<_>>(),
        ["lapsed", "loyal"]
    );
    assert_success(&place.run(&["verify"]));
}

#[test]
fn after_a_change_sinks_get_the_difference_and_no_more() {
    let place = Place::with_shop(3_000);
    assert_success(&place.run(&["run"]));
    place.write("tidewater.yaml", &PIPELINE.replace("orders >= 2", "orders >= 1"));
    // What was delivered once is not delivered again.
    let before = place.folded();
    assert_success(&place.run(&["run"]));
    let after = place.folded();
    assert!(after.len() > before.len() && after.is_superset(&before));
    assert_eq!(after, place.memberships());
    assert_success(&place.run(&["verify"]));
}

#[test]
fn a_source_that_is_not_there_is_said_and_the_rest_is_done() {
    let place = Place::with_shop(1_000);
    let sources = "sources:\n  other: { type: file, path: missing.ndjson }";
    place.write("tidewater.yaml", &PIPELINE.replace("sources:", sources));
    assert_fails(&place.run(&["run"]), 69, &["source `other` failed", "missing.ndjson"]);
    assert!(!place.folded().is_empty());
}

#[test]
fn an_address_that_is_taken_ends_the_start() {
    let place = Place::with_shop(1_000);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let sources = format!("sources:\n  web: {{ type: http, listen: {address}, write_keys: [wk] }}");
    place.write("tidewater.yaml", &PIPELINE.replace("sources:", &sources));
    // Whether it is free now is no question of the file.
    assert_success(&place.run(&["validate"]));
    assert_fails(&place.run(&["run"]), 69, &["source `web`", &format!("cannot listen at {address}")]);
    // Before anything was read.
    assert!(!place.path("state").exists() && !place.path("deltas.ndjson").exists());
}

#[test]
fn a_sink_that_refuses_is_said_and_the_others_are_full() {
    let place = Place::with_shop(1_000);
    assert_success(&place.run(&["run"]));
    let full = place.folded();
    // The destination is not what was acknowledged: nobody knows what is missing in it.
    place.write("deltas.ndjson", "");
    place.generate(2_000);
    let sinks = "sinks:\n  second: { type: file, path: second.ndjson }";
    place.write("tidewater.yaml", &PIPELINE.replace("sinks:", sinks));
    std::fs::remove_file(place.path("events.ndjson")).unwrap();
    place.generate(1_000);
    let done = place.run(&["run"]);
    assert_fails(&done, 69, &["sink `updates` is parked"]);
    std::fs::copy(place.path("second.ndjson"), place.path("deltas.ndjson")).unwrap();
    assert_eq!(place.folded(), full);
}

#[test]
fn without_a_state_everything_still_works_but_stays() {
    let place = Place::with_shop(2_000);
    place.write("tidewater.yaml", &PIPELINE.replace("state: ./state\n", ""));
    let done = place.run(&["run"]);
    assert_success(&done);
    assert!(stderr(&done).contains("the pipeline has no `state`"));
    assert!(!place.path("state").exists() && !place.folded().is_empty());
}

#[test]
fn options_of_a_log_are_refused_where_there_is_none() {
    let place = Place::with_shop(10);
    place.write("tidewater.yaml", &PIPELINE.replace("state: ./state\n", ""));
    let options = [
        ("--rebuild", ""),
        ("--checkpoint-every", "1s"),
        ("--log-keep", "1d"),
        ("--log-keep-bytes", "1GiB"),
        ("--log-file-bytes", "1MiB"),
        ("--quarantine-bytes", "1MiB"),
        ("--log-store", "s3://logs/shop"),
    ];
    let run = |options: &[(&str, &str)]| {
        let words = options.iter().flat_map(|(name, value)| [*name, *value]);
        let words: Vec<&str> = ["run"].into_iter().chain(words.filter(|word| !word.is_empty())).collect();
        place.run(&words)
    };
    for option in options {
        let expected = format!(
            "the pipeline has no `state`, so no log, checkpoint or quarantine is kept that could need {}\n",
            option.0
        );
        assert_fails(&run(&[option]), 78, &[&expected]);
    }
    let all = options.map(|(name, _)| name).join(", ");
    assert_fails(&run(&options), 78, &[&format!("that could need {all}\n")]);
    assert!(!place.path("deltas.ndjson").exists());
}

/// Flips a bit near the beginning of the log.
fn damage(place: &Place) {
    let log = std::fs::read_dir(place.path("state/log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&log, bytes).unwrap();
}

#[test]
fn how_large_an_event_may_be_is_up_to_its_source() {
    let place = Place::new();
    let source = "{ type: file, path: events.ndjson";
    assert!(PIPELINE.contains(source));
    place.write("tidewater.yaml", &PIPELINE.replace(source, &format!("{source}, max_event_bytes: 4MiB")));
    let event = |message: &str, bytes: usize| {
        let long = "x".repeat(bytes);
        format!(
            "{{\"type\":\"track\",\"event\":\"a\",\"messageId\":\"{message}\",\"userId\":\"u1\",\"timestamp\":\"2026-02-01T00:00:00Z\",\"long\":\"{long}\"}}\n"
        )
    };
    place.write("events.ndjson", &[event("m1", 2 << 20), event("m2", 5 << 20)].concat());
    assert_success(&place.run(&["run"]));
    assert_eq!(stdout(&place.run(&["export", "events"])).lines().count(), 1);
    assert_eq!(place.export("quarantine")[0]["reason"], "too_large");
    // It is there as a whole, however small its source's limit was.
    assert_eq!(stdout(&place.run(&["redrive"])), "1 accepted, 0 duplicates, 0 refused again\n");
    assert_eq!(stdout(&place.run(&["export", "events"])), place.read("events.ndjson"));
}

#[test]
fn a_large_event_that_is_refused_and_fed_again_stays_whole() {
    let place = Place::new();
    let source = "{ type: file, path: events.ndjson";
    let limit = format!("{source}, max_event_bytes: 4MiB");
    let strict = PIPELINE.replace("clock: event", "clock: event\nmin_time: 2026-01-01T00:00:00Z");
    place.write("tidewater.yaml", &strict.replace(source, &limit));
    let long = "x".repeat(2 << 20);
    let event = format!(
        "{{\"type\":\"track\",\"event\":\"Order Completed\",\"messageId\":\"m1\",\"userId\":\"u1\",\"timestamp\":\"2025-06-01T00:00:00Z\",\"long\":\"{long}\"}}"
    );
    place.write("events.ndjson", &format!("{event}\n"));
    assert_success(&place.run(&["run"]));
    assert_eq!(place.export("quarantine")[0]["event"], *event);
    // Under what the file said before it is refused once more, by an engine that this command runs.
    assert_eq!(stdout(&place.run(&["redrive"])), "0 accepted, 0 duplicates, 1 refused again\n");
    let again = place.export("quarantine");
    assert_eq!((again[0]["reason"].as_str(), again[0]["event"] == *event), (Some("bad_time"), true));
    place.write("tidewater.yaml", &PIPELINE.replace(source, &limit));
    assert_success(&place.run(&["run"]));
    assert_eq!(stdout(&place.run(&["redrive"])), "1 accepted, 0 duplicates, 0 refused again\n");
}

#[test]
fn a_damaged_log_is_an_error_everywhere() {
    let place = Place::with_shop(100_000);
    assert_success(&place.run(&["run"]));
    damage(&place);
    assert_fails(&place.run(&["verify"]), 65, &["is damaged at byte"]);
    assert_fails(&place.run(&["export", "profiles", "--out", "p.ndjson"]), 65, &["is damaged at byte"]);
    assert!(!place.path("p.ndjson").exists());
    assert_fails(&place.run(&["run"]), 65, &["is damaged at byte"]);
}

#[test]
fn a_log_that_ends_before_what_was_delivered_is_a_difference() {
    let place = Place::with_shop(1_000);
    assert_success(&place.run(&["run"]));
    // Of the last write nobody can tell damage from what a crash cut off: but a crash comes before the delivery.
    damage(&place);
    let done = place.run(&["verify"]);
    assert_eq!(done.status.code(), Some(1));
    let expected =
        "sink updates has acknowledged epoch 1, but the log ends at epoch 0\n1 difference in 0 events";
    assert!(stdout(&done).starts_with(expected), "{}", stdout(&done));
    assert_eq!(place.run_unread(&["verify"]).status.code(), Some(1));
}
