//! A `run` that goes on: its admin listener, its signals, and the commands beside it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use common::*;

/// Follows its file, so that it never ends by itself.
const SERVICE: &str = "admin: { listen: 127.0.0.1:0 }";

fn service(events: u64) -> Place {
    let place = Place::with_shop(events);
    let pipeline = PIPELINE.replace("path: events.ndjson }", "path: events.ndjson, follow: true }");
    place.write("tidewater.yaml", &format!("{SERVICE}\n{pipeline}"));
    place
}

fn admin_address(running: &mut Running) -> String {
    let line = running.until("admin listener open");
    line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_admin_listener_tells_metrics_and_health() {
    let place = service(5_000);
    let mut running = place.start(&["run", "--color", "never"]);
    let address = admin_address(&mut running);
    running.until("ready");
    assert_eq!(
        until("ready", || Some(get(&address, "/readyz")).filter(|(status, _)| *status == 200)).1,
        "ready\n"
    );
    assert_eq!(get(&address, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(&address, "/").0, 404);
    assert_eq!(
        http(&address, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .0,
        405
    );

    let label = "{pipeline=\"tidewater\"}";
    let seen = |samples: &std::collections::BTreeMap<String, f64>| -> f64 {
        samples.iter().filter(|(name, _)| name.starts_with("tidewater_events_")).map(|(_, value)| value).sum()
    };
    let samples = until("all events", || {
        let samples = samples(&get(&address, "/metrics").1);
        let gauges = samples.get(&format!("tidewater_profiles{label}")).is_some_and(|value| *value > 0.0);
        (seen(&samples) == 5_000.0 && gauges).then_some(samples)
    });
    let value = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} in {samples:#?}"));
    for name in ["events", "events_duplicate", "epochs", "deltas", "log_bytes"] {
        assert!(value(&format!("tidewater_{name}_total{label}")) > 0.0, "{name}");
    }
    let above = [
        "identifiers",
        "profiles",
        "memory_bytes",
        "memory_limit_bytes",
        "epoch",
        "epoch_seconds_count",
        "log_sync_seconds_count",
    ];
    for name in above {
        assert!(value(&format!("tidewater_{name}{label}")) > 0.0, "{name}");
    }
    for name in ["log_waiting", "checkpoint_failing", "checkpoint_epoch"] {
        assert!(value(&format!("tidewater_{name}{label}")) >= 0.0, "{name}");
    }
    assert!(value("tidewater_events_quarantined_total{pipeline=\"tidewater\",reason=\"bad_json\"}") > 0.0);
    assert!(value("tidewater_segment_members{pipeline=\"tidewater\",segment=\"prospect\"}") > 0.0);
    assert!(samples.keys().any(|name| name.starts_with("tidewater_state_bytes{")));
    assert!(samples.keys().any(|name| name.starts_with("tidewater_epoch_seconds_bucket{")));
    assert!(value(&format!("tidewater_epoch_lag{label}")) >= 0.0);

    // Commands beside it: reading works, what the engine can be asked for is done by it, another writer is refused.
    assert_success(&place.run(&["verify"]));
    assert!(!place.memberships().is_empty());
    assert_fails(&place.run(&["run"]), 69, &["is in use by another process"]);

    running.signal("TERM");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(place.folded(), place.memberships());
}

#[test]
fn a_source_that_has_failed_is_seen_while_others_go_on_and_said_at_the_end() {
    let place = service(1_000);
    let sources = "sources:\n  other: { type: file, path: missing.ndjson }";
    place.write("tidewater.yaml", &place.read("tidewater.yaml").replace("sources:", sources));
    let mut running = place.start(&["run", "--color", "never"]);
    let address = admin_address(&mut running);
    let down = |source: &str| {
        let name = format!("tidewater_source_down{{pipeline=\"tidewater\",source=\"{source}\"}}");
        samples(&get(&address, "/metrics").1).get(&name).copied()
    };
    until("it is down", || down("other").filter(|down| *down == 1.0));
    assert_eq!(down("history"), Some(0.0));
    // As with a sink that is down: the others go on, so it takes events.
    assert_eq!(until("ready", || Some(get(&address, "/readyz")).filter(|(status, _)| *status == 200)).0, 200);
    running.signal("TERM");
    let (code, said) = running.end();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.lines().last().unwrap().contains("source `other` failed"), "{said}");
}

#[test]
fn a_running_engine_feeds_refused_events_again_and_delivers_what_follows() {
    let place = Place::new();
    let order = |n: u32, time: &str| {
        format!(
            "{{\"type\":\"track\",\"event\":\"Order Completed\",\"messageId\":\"m{n}\",\"userId\":\"u{n}\",\"timestamp\":\"{time}\"}}\n"
        )
    };
    let old = "2025-06-01T00:00:00Z";
    place.write("events.ndjson", &[&order(1, old), "no json\n", &order(2, old)].concat());
    let pipeline = "
state: ./state
clock: event
min_time: 2026-01-01T00:00:00Z
sources: { history: { type: file, path: events.ndjson, follow: true } }
identifiers: { user_id: { from: userId } }
traits: { orders: { count: Order Completed } }
segments: { customer: orders >= 1 }
sinks: { updates: { type: file, path: deltas.ndjson } }
";
    place.write("tidewater.yaml", pipeline);
    let mut running = place.start(&["run"]);
    running.until("ready");
    until("three refused", || (place.export("quarantine").len() == 3).then_some(()));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    place.write(
        "tidewater.yaml",
        &pipeline.replace("min_time: 2026-01-01T00:00:00Z", "min_time: 2025-01-01T00:00:00Z"),
    );
    let mut running = place.start(&["run"]);
    running.until("ready");
    let redriven = |arguments: &[&str]| stdout(&place.run(&[&["redrive"], arguments].concat()));
    assert_eq!(redriven(&["--reason", "bad_time"]), "2 accepted, 0 duplicates, 0 refused again\n");
    assert_eq!(redriven(&[]), "0 accepted, 0 duplicates, 1 refused again\n");
    assert_fails(&place.run(&["redrive", "--id", "77"]), 1, &["not in quarantine: 77"]);
    until("two deltas", || (place.read("deltas.ndjson").lines().count() == 2).then_some(()));
    assert_eq!(place.folded(), place.memberships());
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_full_quarantine_is_said_once_and_dropping_makes_room() {
    let place = service(100);
    let pipeline = place.read("tidewater.yaml");
    place.write("events.ndjson", &(0..200).map(|n| format!("no json {n}\n")).collect::<String>());
    let mut running = place.start(&["run", "--color", "never", "--quarantine-bytes", "4KiB"]);
    let address = admin_address(&mut running);
    running.until("the quarantine is full");
    let append = |text: &str| {
        let path = place.path("events.ndjson");
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let order = |n: u32| {
        format!(
            "{{\"type\":\"track\",\"event\":\"Order Completed\",\"messageId\":\"m{n}\",\"userId\":\"u\",\"timestamp\":\"2026-01-0{n}T00:00:00Z\"}}\n"
        )
    };
    append(&[order(1), order(2)].concat());
    // The stream goes on, and all that is refused is counted.
    let metric = |name: &str| {
        let samples = samples(&get(&address, "/metrics").1);
        samples
            .iter()
            .filter(|(sample, _)| sample.split('{').next() == Some(name))
            .map(|(_, value)| value)
            .sum::<f64>()
    };
    until("all are counted", || (metric("tidewater_events_quarantined_total") == 200.0).then_some(()));
    until("both are accepted", || (metric("tidewater_events_total") == 2.0).then_some(()));
    assert_eq!(get(&address, "/readyz"), (200, "ready\n".into()));
    let kept = place.export("quarantine");
    let lost = metric("tidewater_quarantine_lost_total");
    assert_eq!(kept.len() as f64 + lost, 200.0);
    assert_eq!(kept[0]["event"], "no json 0");

    // Asking for what can't help loses nothing; dropping makes room.
    let count = kept.len();
    let asked = |arguments: &[&str]| stdout(&place.run(&[&["redrive"], arguments].concat()));
    assert_eq!(asked(&[]), format!("0 accepted, 0 duplicates, {count} refused again\n"));
    assert_eq!(place.export("quarantine").len(), count);
    let id = place.export("quarantine")[0]["id"].to_string();
    assert_eq!(asked(&["--drop", "--id", &id]), "1 dropped\n");
    assert_eq!(asked(&["--drop", "--reason", "bad_time"]), "0 dropped\n");
    assert_eq!(asked(&["--drop", "--reason", "bad_json"]), format!("{} dropped\n", count - 1));
    assert_fails(&place.run(&["redrive", "--drop", "--id", &id]), 1, &[&format!("not in quarantine: {id}")]);
    append("no json again\n");
    until("room again", || (place.export("quarantine").len() == 1).then_some(()));
    assert_eq!(metric("tidewater_quarantine_lost_total"), lost);
    running.signal("TERM");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("ERROR").count(), 1, "{said}");
    assert!(said.contains("the quarantine has room again"), "{said}");

    // Nothing runs now: the command does it itself, and the state is as it was.
    assert_eq!(asked(&["--drop"]), "1 dropped\n");
    assert!(place.export("quarantine").is_empty());
    place.write("tidewater.yaml", &pipeline.replace(", follow: true", ""));
    assert_success(&place.run(&["run"]));
    assert_success(&place.run(&["verify"]));
}

#[test]
fn an_address_that_is_taken_is_said() {
    let place = service(10);
    let mut running = place.start(&["run", "--color", "never"]);
    let address = admin_address(&mut running);
    let other = service(10);
    other.write("tidewater.yaml", &other.read("tidewater.yaml").replace("127.0.0.1:0", &address));
    assert_fails(&other.run(&["run"]), 69, &["cannot listen on", "admin"]);
}

/// The start takes as long as the test likes: there is a pipe where it wants to read, before the engine opens the state
/// directory and while it does.
#[test]
fn a_start_that_takes_long_is_told_of_and_can_be_stopped() {
    let place = Place::with_shop(1_000);
    place.write("tidewater.yaml", &format!("{SERVICE}\n{PIPELINE}"));
    assert_success(&place.run(&["run"]));
    let mut checkpoints = std::fs::read_dir(place.path("state/checkpoints")).unwrap();
    let manifest = checkpoints.find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension().is_some_and(|end| end == "manifest").then_some(path)
    });
    for (signal, file) in [("TERM", place.path("state/meta")), ("INT", manifest.unwrap())] {
        std::fs::rename(&file, place.path("kept")).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let mut running = place.start(&["run", "--color", "never"]);
        let address = admin_address(&mut running);
        assert_eq!(get(&address, "/healthz"), (200, "ok\n".into()));
        assert_eq!(get(&address, "/readyz"), (503, "starting\n".into()));
        assert_eq!(get(&address, "/metrics").0, 200);
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("stopped before it had started"), "{said}");
        std::fs::rename(place.path("kept"), &file).unwrap();
    }
    let before = place.read("deltas.ndjson");
    assert_success(&place.run(&["run"]));
    assert_eq!(place.read("deltas.ndjson"), before);
    assert_success(&place.run(&["verify"]));
}

#[test]
fn a_run_that_is_stopped_half_way_goes_on_where_it_was() {
    const EVENTS: u64 = 150_000;
    let whole = Place::with_shop(EVENTS);
    assert_success(&whole.run(&["run"]));
    let all_lines = whole.read("deltas.ndjson").lines().count();

    let place = service(EVENTS);
    // In its first life there is only the first half of them, however fast it is.
    let events = std::fs::read(place.path("events.ndjson")).unwrap();
    let half =
        events.len() / 2 + events[events.len() / 2..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    std::fs::write(place.path("events.ndjson"), &events[..half]).unwrap();
    // Bytes: what is just being written may end within a character.
    let lines = || {
        let deltas = std::fs::read(place.path("deltas.ndjson")).unwrap_or_default();
        deltas.iter().filter(|byte| **byte == b'\n').count()
    };
    // How many lines there are in the end depends a little on where epochs were cut.
    let nearly_all = all_lines - all_lines / 20;
    let mut stopped_half_way = 0;
    for (life, signal) in ["TERM", "KILL", "INT", "KILL"].into_iter().enumerate() {
        let before = lines();
        let running = place.start(&["run", "--color", "never"]);
        if life == 1 {
            let mut file =
                std::fs::OpenOptions::new().append(true).open(place.path("events.ndjson")).unwrap();
            file.write_all(&events[half..]).unwrap();
        }
        until("a delta", || (lines() > before || lines() >= nearly_all).then_some(()));
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, if signal == "KILL" { None } else { Some(0) }, "{said}");
        stopped_half_way += u32::from(lines() < nearly_all);
    }
    assert!(stopped_half_way > 0);

    // The same file to its end, this time without following it.
    place.write("tidewater.yaml", &whole.read("tidewater.yaml"));
    assert_success(&place.run(&["run"]));
    // Ids are keyed by each state directory, so they differ; who is in what does not.
    let by_identifier = |place: &Place| {
        let row = |row: &serde_json::Value| (row["segment"].to_string(), row["identifiers"].to_string());
        let mut members: Vec<(String, String)> = place.export("memberships").iter().map(row).collect();
        members.sort();
        members
    };
    assert_eq!(by_identifier(&place), by_identifier(&whole));
    assert_eq!(place.folded(), place.memberships());
    assert_success(&place.run(&["verify"]));
}

#[test]
fn a_second_signal_stops_at_once() {
    let place = service(100);
    // A sink whose destination never answers keeps the engine from draining.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let sinks = format!("sinks:\n  hook: {{ type: webhook, url: \"{url}\" }}");
    place.write("tidewater.yaml", &place.read("tidewater.yaml").replace("sinks:", &sinks));
    let mut running = place.start(&["run", "--color", "never", "--shutdown-deadline", "1h"]);
    running.until("ready");
    until("deltas", || place.path("deltas.ndjson").exists().then_some(()));
    running.signal("TERM");
    running.until("stopping");
    running.signal("INT");
    let (code, said) = running.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("stopping at once"));
}

#[test]
fn a_sink_that_is_not_there_makes_the_exit_code() {
    let place = service(100);
    let sinks = "sinks:\n  hook: { type: webhook, url: \"http://127.0.0.1:9/\" }";
    place.write("tidewater.yaml", &place.read("tidewater.yaml").replace("sinks:", sinks));
    let mut running = place.start(&["run", "--color", "never", "--shutdown-deadline", "1s"]);
    running.until("ready");
    until("deltas", || {
        place
            .path("deltas.ndjson")
            .exists()
            .then(|| place.read("deltas.ndjson"))
            .filter(|text| !text.is_empty())
    });
    running.signal("TERM");
    let (code, said) = running.end();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("sink `hook`"), "{said}");
}
